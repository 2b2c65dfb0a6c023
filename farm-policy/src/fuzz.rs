//! Bad input to what decides: policy artefacts and the parameters of policies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::PolicySpec;
use crate::learned::{ActionSpace, Artefact, Contract, Table};
use crate::spec::POLICY_NAMES;

const ARTEFACTS: &[&[u8]] = &[
    br#"{"format":"rust-farm policy table","version":1,"contract":{"version":1,"features":[{"sense":"workers","low":1.0,"high":32.0}],"actions":{"steps":[-1,0,1]},"interval_seconds":8.0,"min_parallelism":1,"max_parallelism":32},"training":{},"edges":[[2.0,4.0]],"visited":{"0":[0.0,1.0,0.5]}}"#,
    include_bytes!("../models/paper.sarsa.json"),
    include_bytes!("../models/paper.dqn.onnx"),
];
const PARAMETERS: &[&[u8]] = &[
    b"10s",
    b"0.95",
    b"32",
    b"free",
    b"one",
    b"paper",
    b"paper.onnx",
    b"1e308",
    b"-1",
    b"NaN",
];

fn read(bytes: &[u8]) {
    let Ok(artefact) = Artefact::read(bytes) else {
        return;
    };
    let features = artefact.contract().features.len();
    match artefact {
        Artefact::Table(table) => {
            let state = table.state(&vec![f64::NAN; features]);
            assert!(state < table.states());
            let again = Table::from_json(table.to_json().as_bytes()).unwrap();
            assert_eq!(again.states(), table.states());
            let _ = (table.best(state), table.nearest(state));
        }
        Artefact::Network(network) => {
            let _ = network.decide(&vec![0.0; features]);
            let _ = network.decide(&vec![f64::MAX; features]);
        }
    }
}

proptest! {
    #[test]
    fn artefacts(bytes in farm_fuzz::bytes(ARTEFACTS)) {
        read(&bytes);
    }

    #[test]
    fn small_tables(bytes in farm_fuzz::bytes(&ARTEFACTS[..1])) {
        read(&bytes);
    }

    #[test]
    fn parameters(
        name in proptest::sample::select(POLICY_NAMES.as_slice()),
        values in proptest::collection::vec(farm_fuzz::text(PARAMETERS), 8),
        any_key in "[a-z.]{0,12}",
    ) {
        let keys = ["min", "max", "memory", "service", "step", "model", "headroom"];
        let given: BTreeMap<String, String> = keys
            .into_iter()
            .chain([any_key.as_str()])
            .map(str::to_owned)
            .zip(values)
            .collect();
        if let Ok(spec) = PolicySpec::parse(name, &given) {
            let _ = spec.build();
        }
    }
}

mod fixed {
    use super::*;

    #[test]
    fn a_table_as_trained_is_read() {
        let table = Table::new(Contract::paper(ActionSpace::unit_steps()), vec![]);
        assert!(Artefact::read(table.to_json().as_bytes()).is_ok());
        assert!(
            ARTEFACTS[1..]
                .iter()
                .all(|seed| Artefact::read(seed).is_ok())
        );
    }
}
