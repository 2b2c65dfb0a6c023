//! Where states begin and end.

use farm_policy::learned::{ActionSpace, Contract, Feature, Sense};
use farm_sim::scenario::Scenario;
use farm_sim::workload::Phase;
use serde::{Deserialize, Serialize};

/// What a table sees where neither phases to come nor tasks so far are told.
pub(super) const SENSES_WITHOUT_SCRIPT: [Sense; 4] = [
    Sense::ArrivalRateSmoothed,
    Sense::ArrivalRatePeak,
    Sense::Workers,
    Sense::TasksInSystem,
];

/// Parts into which each phase of a script is divided by the tasks collected.
const PARTS_OF_PHASE: usize = 8;
/// Most bins of a feature that counts workers.
const MOST_WORKER_BINS: u32 = 32;
/// Rates, in tasks per second, where nothing is known of the load.
const RATE_EDGES: [f64; 5] = [1.0, 2.0, 4.0, 6.0, 8.0];
/// A queue that is short, that is emptied while a task may wait, and that is not.
const QUEUE_EDGES: [f64; 2] = [2.5, 9.5];

/// The bins of one feature: a number falls in the bin whose index is the count of edges that are
/// not above it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureBins {
    /// Which feature.
    pub sense: Sense,
    /// Where the next bin begins, ascending.
    pub edges: Vec<f64>,
}

impl FeatureBins {
    /// Bins of `sense` with these edges.
    pub fn new(sense: Sense, edges: impl Into<Vec<f64>>) -> Self {
        Self {
            sense,
            edges: edges.into(),
        }
    }
}

/// Bins that suit a scenario: the tasks collected, which tell how far the script is much finer than
/// the phases to come do and are known on a live farm as well, and the queue in three. The workers
/// one by one, but only for a policy that changes them by steps: one that chooses a level does as
/// well without, and learns much sooner. Features that are not named make one bin.
pub fn suitable_bins(scenario: &Scenario, contract: &Contract) -> Vec<FeatureBins> {
    let (min, max) = (contract.min_parallelism, contract.max_parallelism);
    let mut bins = Vec::new();
    if let ActionSpace::Steps(_) = contract.actions {
        bins.push(FeatureBins::new(Sense::Workers, worker_edges(min, max, 1)));
    }
    if scenario.control.hide_script {
        bins.push(FeatureBins::new(Sense::ArrivalRateSmoothed, RATE_EDGES));
        bins.push(FeatureBins::new(Sense::ArrivalRatePeak, RATE_EDGES));
        let crowd = worker_edges(min, max, 4);
        bins.push(FeatureBins::new(Sense::TasksInSystem, crowd));
    } else {
        bins.push(FeatureBins::new(Sense::TaskQueue, QUEUE_EDGES));
        bins.push(FeatureBins::new(Sense::OutputQueue, script_edges(scenario)));
    }
    bins
}

/// One edge for each feature's bins, in the order of the features.
pub(super) fn edges(features: &[Feature], bins: &[FeatureBins]) -> Vec<Vec<f64>> {
    let of = |sense| bins.iter().find(|bins| bins.sense == sense);
    let edges = features.iter().map(|feature| of(feature.sense));
    edges
        .map(|bins| bins.map(|bins| bins.edges.clone()).unwrap_or_default())
        .collect()
}

fn worker_edges(min: u32, max: u32, width: u32) -> Vec<f64> {
    let width = width.max((max.saturating_sub(min) + 1).div_ceil(MOST_WORKER_BINS));
    (min + 1..=max)
        .step_by(width as usize)
        .map(|workers| f64::from(workers) - 0.5)
        .collect()
}

/// Phases of equal rate that follow each other are one.
fn script_edges(scenario: &Scenario) -> Vec<f64> {
    let phases = scenario.phases();
    let same_rate = |a: &Phase, b: &Phase| a.tasks * b.windows == b.tasks * a.windows;
    let mut edges = Vec::new();
    let mut before = 0.0;
    for phases in phases.chunk_by(same_rate) {
        let tasks: f64 = phases.iter().map(|phase| phase.tasks as f64).sum();
        let part = |part: usize| before + tasks * part as f64 / PARTS_OF_PHASE as f64;
        edges.extend((1..=PARTS_OF_PHASE).map(part));
        before += tasks;
    }
    edges
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::{Actions, Sense, Table};
    use farm_sim::scenario::{SCENARIO_NAMES, Scenario};

    use super::{edges, suitable_bins};
    use crate::sarsa::contract;

    #[test]
    fn a_script_is_divided_by_its_rates() {
        let scenario = Scenario::paper();
        let bins = suitable_bins(&scenario, &contract(&scenario, Actions::Step));
        let script = bins.iter().find(|bins| bins.sense == Sense::OutputQueue);
        let script = &script.unwrap().edges;
        assert_eq!(script.len(), 24);
        assert_eq!((script[7], script[15], script[23]), (90.0, 540.0, 1140.0));
    }

    #[test]
    fn bins_are_of_features_that_are_seen_and_make_tables_of_bearable_size() {
        for name in SCENARIO_NAMES {
            for actions in [Actions::Step, Actions::Free] {
                let scenario = Scenario::named(name).unwrap();
                let contract = contract(&scenario, actions);
                let bins = suitable_bins(&scenario, &contract);
                let seen = |sense| {
                    contract
                        .features
                        .iter()
                        .any(|feature| feature.sense == sense)
                };
                assert!(bins.iter().all(|bins| seen(bins.sense)), "{name}");
                let edges = edges(&contract.features, &bins);
                let states = Table::new(contract, edges).states();
                assert!((50..100_000).contains(&states), "{name}: {states} states");
            }
        }
    }
}
