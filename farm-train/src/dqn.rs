//! Double DQN: a network that tells what each action is worth.
//!
//! Mnih et al. 2015 with the targets of van Hasselt et al. 2016: experiences are kept and learned
//! from in random batches, towards a second network that follows slowly. Rewards of several steps
//! are added up before a value is trusted for the rest. What comes out is an ONNX file with the
//! normalisation of its input inside, which [`farm_policy::learned::Network`] reads.

mod learner;
mod matrix;
mod network;
mod onnx;
mod replay;
mod schedule;
mod settings;
mod training;

use farm_policy::learned::{ActionSpace, Actions, Contract, Feature, Sense};
use farm_sim::environment::Reward;
use farm_sim::random::Duration;
use farm_sim::scenario::Scenario;

use crate::course::Course;

pub use schedule::Schedule;
pub use settings::DqnSettings;
pub use training::{TrainError, Trained, train};

/// Features that tell how much of one phase of the script is done.
const PIECES_OF_A_PHASE: u64 = 3;

/// What a network is trained for by default: the [`contract`] of the scenario, and workers against
/// missed deadlines as the reward.
///
/// The price of a missed deadline is what puts the quality on the paper's workload a little above
/// 99.2 %: free actions reach it with fewer workers, so a worker saves more there.
pub fn course(scenario: Scenario, actions: Actions) -> Course {
    let missed_task_worker_seconds = match actions {
        Actions::Step => 40.0,
        Actions::Free => 32.0,
    };
    let price = missed_task_worker_seconds / scenario.control.interval_seconds;
    Course {
        contract: contract(&scenario, actions),
        reward: Reward::MissedTasks { price },
        scenario,
    }
}

/// What a network sees and does by default.
///
/// Bounds are narrow where differences matter: a queue of 40 is as bad as one of 400. How far the
/// script is, where it is known, is told piece by piece, each piece of a phase by a feature of its
/// own: so a network can tell moments apart that are close in the whole. Free actions go up to
/// twice the workers that its busiest phase keeps busy: more never pays.
pub fn contract(scenario: &Scenario, actions: Actions) -> Contract {
    let control = &scenario.control;
    let (min, max) = (control.min_parallelism, control.max_parallelism);
    let mut features = Vec::new();
    let mut see = |sense, low, high| features.push(Feature { sense, low, high });
    see(Sense::TaskQueue, 0.0, 40.0);
    see(Sense::Workers, f64::from(min), f64::from(max));
    see(Sense::CompletionSecondsMean, 0.0, 6.0);
    see(Sense::CompletionSecondsMax, 0.0, 12.0);
    see(Sense::ArrivalRate, 0.0, 12.0);
    see(Sense::Qos, 0.8, 1.0);
    if control.hide_script {
        see(Sense::ArrivalRate1, 0.0, 12.0);
        see(Sense::ArrivalRate2, 0.0, 12.0);
        see(Sense::ArrivalRate3, 0.0, 12.0);
        see(Sense::OfferedLoad, 0.0, 24.0);
        see(Sense::InFlight, 0.0, f64::from(max));
        see(Sense::StartingWorkers, 0.0, 8.0);
    } else {
        let mut start = 0;
        for phase in scenario.phases() {
            let edge = |piece| (start + phase.tasks * piece / PIECES_OF_A_PHASE) as f64;
            for piece in 0..PIECES_OF_A_PHASE {
                see(Sense::OutputQueue, edge(piece), edge(piece + 1));
            }
            start += phase.tasks;
        }
    }
    let space = match peak_load_erlangs(scenario) {
        Some(load) if actions == Actions::Free => {
            let enough = (2.0 * load).ceil() as u32;
            ActionSpace::every_level(min, enough.clamp(min, max))
        }
        _ => ActionSpace::named(actions, min, max),
    };
    Contract {
        features,
        interval_seconds: control.interval_seconds,
        min_parallelism: min,
        max_parallelism: max,
        ..Contract::paper(space)
    }
}

/// Busy workers that the busiest phase of the script needs, if it is known.
fn peak_load_erlangs(scenario: &Scenario) -> Option<f64> {
    let Duration::Gamma { mean, .. } = scenario.workload.service else {
        return None;
    };
    let known = (!scenario.control.hide_script).then(|| scenario.phases())?;
    let rates = known
        .iter()
        .map(|phase| phase.tasks as f64 / phase.windows as f64);
    rates.max_by(f64::total_cmp).map(|rate| rate * mean)
}
