//! Tables: numbering of states, nearest states, files.

use farm_policy::learned::{ActionSpace, Contract, Sense, Table};
use proptest::prelude::*;

use crate::files::{contract, table};

/// What the repository promises of the format: a change of this file breaks what people trained.
const GOLDEN: &str = include_str!("table.json");

#[test]
fn the_file_is_what_is_documented() {
    assert_eq!(table().to_json(), GOLDEN.trim_end());
    assert_eq!(Table::from_json(GOLDEN.as_bytes()).unwrap(), table());
}

#[test]
fn states_are_numbered_in_mixed_radix() {
    let table = table();
    assert_eq!((table.states(), table.visited()), (6, 3));
    let states = [
        [0.0, 1.0],
        [0.99, 9.0],
        [1.0, 8.9],
        [9.0, 32.0],
        [10.0, 1.0],
        [800.0, 9.0],
    ];
    assert_eq!(states.map(|input| table.state(&input)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(table.state(&[f64::NAN, f64::INFINITY]), 1);
    assert_eq!(table.state(&[f64::INFINITY]), 4);
    assert_eq!(table.state(&[f64::NEG_INFINITY, 9.0, 7.0]), 1);
}

#[test]
fn of_equal_values_the_last_action_is_best() {
    let mut table = table();
    assert_eq!(
        [0, 1, 5].map(|state| table.best(state)),
        [Some(1), Some(0), Some(2)]
    );
    table.values_mut(0).copy_from_slice(&[0.5, 0.5, 0.25]);
    assert_eq!(table.best(0), Some(1));
    assert_eq!(table.values_mut(2), [0.0; 3]);
    assert_eq!(table.best(2), Some(2));
    assert_eq!(
        (table.best(3), table.values(6), table.values(u64::MAX)),
        (None, None, None)
    );
}

#[test]
fn the_nearest_state_differs_in_one_feature() {
    let table = table();
    // 3 is (1..10, from 9): below it 1 and above it 5 are visited; the higher bin goes first.
    assert_eq!(
        [0, 1, 5].map(|state| table.nearest(state)),
        [Some(0), Some(1), Some(5)]
    );
    assert_eq!(table.nearest(3), Some(5));
    // 2 is (1..10, below 9), 4 is (from 10, below 9); the later feature goes first.
    assert_eq!((table.nearest(2), table.nearest(4)), (Some(0), Some(5)));
    let empty = Table::new(contract(), table.edges().to_vec());
    assert_eq!(empty.nearest(3), None);
}

#[test]
fn edges_that_divide_nothing_are_dropped() {
    let given = vec![
        vec![5.0, f64::NAN, 1.0, 5.0, f64::INFINITY],
        vec![],
        vec![3.0],
    ];
    let table = Table::new(contract(), given);
    assert_eq!(table.edges(), [vec![1.0, 5.0], vec![]]);
    assert_eq!(table.states(), 3);

    let many = Contract {
        features: Contract::features(&[Sense::TaskQueue; 12], 32),
        ..contract()
    };
    let edges: Vec<f64> = (0..99).map(f64::from).collect();
    let table = Table::new(many, vec![edges; 12]);
    assert_eq!(table.states(), 100_u64.pow(9));
    assert_eq!(table.state(&[99.0; 12]), table.states() - 1);
}

#[test]
fn a_table_too_large_to_index_is_the_same_table() {
    let features = Contract::features(&Sense::PAPER, 32);
    let contract = Contract {
        features,
        ..Contract::paper(ActionSpace::every_level(1, 32))
    };
    let edges: Vec<f64> = (0..20).map(f64::from).collect();
    let mut table = Table::new(contract, vec![edges; 9]);
    assert!(table.states() > 1 << 32);
    let inputs: Vec<[f64; 9]> = (0..1000)
        .map(|step: u32| std::array::from_fn(|index| f64::from(step.pow(2) % (7 + index as u32))))
        .collect();
    for (step, input) in inputs.iter().enumerate() {
        let state = table.state(input);
        table.values_mut(state)[step % 32] += 1.0 / (step + 1) as f64;
    }
    let read = Table::from_json(table.to_json().as_bytes()).unwrap();
    assert_eq!(read, table);
    assert!(read.visited() > 10);
    for input in inputs {
        let state = table.state(&input);
        assert_eq!(read.best(state), table.best(state));
    }
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -5.0..5.0,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY)
    ]
}

fn any_edges() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(any_number(), 0..6), 0..4)
}

proptest! {
    #[test]
    fn every_input_is_a_state(
        edges in any_edges(),
        inputs in prop::collection::vec(prop::collection::vec(any_number(), 0..4), 1..20),
        values in prop::collection::vec(-1e9..1e9, 3),
    ) {
        let mut table = Table::new(contract(), edges);
        for input in &inputs {
            let state = table.state(input);
            prop_assert!(state < table.states());
            table.values_mut(state).copy_from_slice(&values);
            prop_assert_eq!(table.nearest(state), Some(state));
        }
        for state in 0..table.states() {
            let visited = table.nearest(state).is_none_or(|near| table.values(near).is_some());
            prop_assert!(visited);
        }
        // To the last bit.
        let read = Table::from_json(table.to_json().as_bytes()).unwrap();
        prop_assert_eq!(read.to_json(), table.to_json());
        prop_assert_eq!(read, table);
    }

    #[test]
    fn a_bin_is_the_count_of_edges_not_above(edges in any_edges(), input in prop::collection::vec(any_number(), 2)) {
        let table = Table::new(contract(), edges);
        let bins: Vec<u64> = table.edges().iter().zip(&input)
            .map(|(edges, number)| edges.iter().filter(|edge| *edge <= number).count() as u64)
            .collect();
        let radix = table.edges()[1].len() as u64 + 1;
        prop_assert_eq!(table.state(&input), bins[0] * radix + bins[1]);
    }
}
