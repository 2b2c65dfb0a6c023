//! SARSA(λ) on a table: the value of each action in each of finitely many states.
//!
//! After every step the surprise, `reward + γ · value of the next choice − value of this choice`,
//! corrects the choice just made and, through eligibility traces, those before it (Rummery and
//! Niranjan 1994; Sutton and Barto 2018, chapter 12). The table is read as
//! [`farm_policy::learned::Table`].
//!
//! Three things make a training settle where another would not:
//!
//! * a target instead of a price: what a missed task costs is adapted until the policy meets the
//!   target with as few workers as it can ([`SarsaSettings::target_qos_ratio`]);
//! * a checkpoint is a mean of the table over the steps before it, not the table of that moment
//!   (Polyak and Juditsky 1992);
//! * what is drawn to explore lies near what is best ([`SarsaSettings::exploration_reach`]): a farm
//!   that is left with four workers for the sake of learning teaches nothing for many steps.

mod bins;
mod learner;
mod settings;
mod traces;
mod training;

use farm_policy::learned::{ActionSpace, Actions, Contract};
use farm_sim::environment::Reward;
use farm_sim::scenario::Scenario;

pub use bins::{FeatureBins, suitable_bins};
pub use settings::SarsaSettings;
pub use traces::TraceKind;
pub use training::{TrainError, Trained, greedy, train};

pub use crate::dqn::Schedule;

use crate::course::Course;

/// Worker-seconds that one task beyond its deadline is worth at the beginning of a training; from
/// then on the target decides.
const MISSED_TASK_WORKER_SECONDS: f64 = 40.0;
/// More actions than this take a table too long to compare.
const MOST_LEVELS: u32 = 32;

/// What a table is trained for by default: the [`contract`] of the scenario, and workers against
/// missed deadlines as the reward.
pub fn course(scenario: Scenario, actions: Actions) -> Course {
    let price = MISSED_TASK_WORKER_SECONDS / scenario.control.interval_seconds;
    Course {
        contract: contract(&scenario, actions),
        reward: Reward::MissedTasks { price },
        scenario,
    }
}

/// What a table sees and does by default: the paper's nine numbers, and one worker more or less or
/// one of up to 32 levels, evenly from the fewest to the most workers.
///
/// Where the script is hidden, four numbers tell the load instead, and a step is at most three
/// workers up and two down: what is not known is not worth 32 levels.
///
/// ```
/// use farm_policy::learned::Actions;
/// use farm_sim::scenario::Scenario;
/// let contract = farm_train::sarsa::contract(&Scenario::paper(), Actions::Step);
/// assert_eq!((contract.features.len(), contract.actions.len()), (9, 3));
/// ```
pub fn contract(scenario: &Scenario, actions: Actions) -> Contract {
    let control = &scenario.control;
    let (min, max) = (control.min_parallelism, control.max_parallelism);
    let space = match actions {
        Actions::Step => ActionSpace::unit_steps(),
        Actions::Free if control.hide_script => ActionSpace::Steps((-2..=3).collect()),
        Actions::Free => ActionSpace::Levels(levels(min, max)),
    };
    let mut contract = Contract {
        interval_seconds: control.interval_seconds,
        min_parallelism: min,
        max_parallelism: max,
        ..Contract::paper(space)
    };
    if control.hide_script {
        contract.features = Contract::features(&bins::SENSES_WITHOUT_SCRIPT, max);
    }
    contract
}

fn levels(min: u32, max: u32) -> Vec<u32> {
    let stride = (max.saturating_sub(min) + 1).div_ceil(MOST_LEVELS) as usize;
    let mut levels: Vec<u32> = (min..=max).step_by(stride).collect();
    if levels.last() != Some(&max) {
        levels.push(max);
    }
    levels
}
