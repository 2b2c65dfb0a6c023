//! Files that were damaged on their way: refused or read, never a panic.

use farm_policy::learned::{Artefact, Network, Table};
use proptest::prelude::*;
use prost::Message;

use crate::files::{graph, model, table};

/// One thing that happens to bytes; positions are shares of the length.
#[derive(Debug, Clone)]
enum Damage {
    Cut(f64),
    Change(f64, u8),
    Drop(f64),
    Insert(f64, Vec<u8>),
    Repeat(f64, f64),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at =
            |share: f64, bytes: &[u8]| ((bytes.len() as f64 * share) as usize).min(bytes.len());
        match self {
            Self::Cut(share) => bytes.truncate(at(*share, bytes)),
            Self::Change(share, byte) => {
                let place = at(*share, bytes);
                if let Some(changed) = bytes.get_mut(place) {
                    *changed = *byte;
                }
            }
            Self::Drop(share) => {
                let place = at(*share, bytes);
                if place < bytes.len() {
                    bytes.remove(place);
                }
            }
            Self::Insert(share, more) => {
                let place = at(*share, bytes);
                bytes.splice(place..place, more.iter().copied());
            }
            Self::Repeat(from, to) => {
                let (from, to) = (at(*from, bytes), at(*to, bytes));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, part);
            }
        }
    }
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let share = || 0.0..=1.0;
    let damage = prop_oneof![
        1 => share().prop_map(Damage::Cut),
        6 => (share(), any::<u8>()).prop_map(|(share, byte)| Damage::Change(share, byte)),
        2 => share().prop_map(Damage::Drop),
        1 => (share(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(share, more)| Damage::Insert(share, more)),
        1 => (share(), share()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    prop::collection::vec(damage, 1..5)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        damage.apply(&mut bytes);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_table_is_refused_or_read(damages in damages(), input in prop::array::uniform2(any::<f64>())) {
        let bytes = damaged(table().to_json().into_bytes(), &damages);
        if let Ok(table) = Table::from_json(&bytes) {
            let state = table.state(&input);
            prop_assert!(state < table.states());
            let _ = table.nearest(state).and_then(|state| table.best(state));
        }
        let _ = Artefact::read(&bytes).is_ok();
    }

    #[test]
    fn a_damaged_network_is_refused_or_read(damages in damages()) {
        let mut metadata = model();
        metadata.graph = None;
        // What is appended to a protobuf is merged into it: the metadata stay whole, so that the
        // graph is looked at.
        let mut bytes = damaged(graph().encode_to_vec(), &damages);
        metadata.encode(&mut bytes).unwrap();
        if let Ok(network) = Network::from_onnx(&bytes) {
            let _ = network.decide(&[100.0, 16.0]).is_ok();
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Artefact::read(&bytes).is_err());
    }
}
