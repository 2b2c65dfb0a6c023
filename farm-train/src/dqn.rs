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
use farm_sim::scenario::Scenario;

use crate::course::Course;

pub use schedule::Schedule;
pub use settings::DqnSettings;
pub use training::{TrainError, Trained, train};

/// Worker-seconds that one task beyond its deadline is worth.
const MISSED_TASK_WORKER_SECONDS: f64 = 40.0;

/// What a network is trained for by default: the [`contract`] of the scenario, and workers against
/// missed deadlines as the reward.
pub fn course(scenario: Scenario, actions: Actions) -> Course {
    let price = MISSED_TASK_WORKER_SECONDS / scenario.control.interval_seconds;
    Course {
        contract: contract(&scenario, actions),
        reward: Reward::MissedTasks { price },
        scenario,
    }
}

/// What a network sees and does by default.
///
/// Bounds are narrow where differences matter: a queue of 40 is as bad as one of 400. How far the
/// script is, where it is known, is told once for each phase, as the share of its tasks that are
/// collected: a network sees the beginning of a phase as sharply as its end.
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
        let mut start = 0.0;
        for phase in scenario.phases() {
            let end = start + phase.tasks as f64;
            see(Sense::OutputQueue, start, end);
            start = end;
        }
    }
    Contract {
        features,
        interval_seconds: control.interval_seconds,
        min_parallelism: min,
        max_parallelism: max,
        ..Contract::paper(ActionSpace::named(actions, min, max))
    }
}
