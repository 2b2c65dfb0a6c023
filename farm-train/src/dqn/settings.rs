//! What a training is told beside what it trains for.

use farm_policy::InvalidSetting;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::Schedule;
use super::network::best;
use crate::course::{Score, VALIDATION_SEEDS};

/// How far from the best a drawn action is that is near it.
const NEAR: usize = 2;

/// How Double DQN learns. The default trains for every scenario of this repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DqnSettings {
    /// Control steps to train for.
    pub steps: u64,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Episodes that run side by side, whose actions are chosen together.
    pub environments: usize,
    /// What a reward one step later is worth.
    pub discount: f64,
    /// Steps whose rewards are taken as they were before a value is trusted for the rest.
    pub reward_steps: usize,
    /// Added to each reward: what a usual step costs. Values then tell good from usual, and a
    /// longer episode is no worse than a shorter one.
    pub reward_offset: f64,
    /// Multiplied with the sum, so that values are of the size of 1.
    pub reward_scale: f64,
    /// What the result is bounded to, on both sides.
    pub reward_limit: f64,
    /// Step size of Adam.
    pub learning_rate: Schedule,
    /// Experiences in a batch.
    pub batch: usize,
    /// Experiences that are kept.
    pub replay_capacity: usize,
    /// Steps before the first update.
    pub warm_up_steps: u64,
    /// Steps between two updates. Steps cost next to nothing beside updates, and many fresh ones
    /// tell small differences between actions better than the same few seen often.
    pub steps_per_update: u64,
    /// Share of the way that the slow network moves towards the fast one.
    pub target_rate: f64,
    /// Updates between two moves of the slow network.
    pub target_every_updates: u64,
    /// Error up to which the loss is quadratic; beyond it is linear (Huber). What is rare and bad
    /// then counts for less than its share: the default bounds hardly anything.
    pub huber_delta: f64,
    /// Longest gradient; a longer one is shortened to it.
    pub gradient_norm_max: f64,
    /// Share of actions that are drawn instead of chosen.
    pub epsilon: Schedule,
    /// Share of the drawn actions that are taken from the two on each side of the best, which tell
    /// best from almost best; the others from all.
    pub near_share: f64,
    /// How often the network is scored, evenly over the training.
    pub checkpoints: u32,
    /// Validation episodes of a score.
    pub checkpoint_episodes: u64,
    /// Checkpoints that are scored again in the end.
    pub finalists: usize,
    /// Validation episodes of that score.
    pub final_episodes: u64,
    /// What is asked of the checkpoint that is kept: of those with this share of tasks within
    /// their deadline it is the one of fewest workers. One point less weighs
    /// [`WORKERS_PER_POINT`](Self::WORKERS_PER_POINT) workers.
    pub target_qos_ratio: f64,
}

impl Default for DqnSettings {
    fn default() -> Self {
        Self {
            steps: 3_200_000,
            hidden: vec![64, 64],
            environments: 16,
            discount: 0.98,
            reward_steps: 3,
            reward_offset: 13.0,
            reward_scale: 0.05,
            reward_limit: 100.0,
            learning_rate: Schedule::Line {
                from: 1e-3,
                to: 1e-5,
                share: 1.0,
            },
            batch: 64,
            replay_capacity: 600_000,
            warm_up_steps: 5_000,
            steps_per_update: 20,
            target_rate: 0.005,
            target_every_updates: 1,
            huber_delta: 10.0,
            gradient_norm_max: 10.0,
            epsilon: Schedule::Line {
                from: 1.0,
                to: 0.05,
                share: 0.5,
            },
            near_share: 0.8,
            checkpoints: 50,
            checkpoint_episodes: 200,
            finalists: 5,
            final_episodes: 1_000,
            target_qos_ratio: 0.9942,
        }
    }
}

impl DqnSettings {
    /// Workers that one percentage point of quality below the target weighs among checkpoints.
    pub const WORKERS_PER_POINT: f64 = 10.0;

    /// Those of arXiv 2602.06555: 80 episodes, hardly 2264 steps.
    ///
    /// The paper's own runs kept the checkpoint that did best by reward on seeds it had trained on;
    /// here it is chosen like any other.
    pub fn published() -> Self {
        Self {
            steps: 2_264,
            hidden: vec![128, 64],
            environments: 1,
            discount: 0.97,
            reward_steps: 1,
            reward_offset: 0.0,
            reward_scale: 1.0,
            reward_limit: 100.0,
            learning_rate: Schedule::constant(3e-4),
            batch: 64,
            replay_capacity: 75_000,
            warm_up_steps: 400,
            steps_per_update: 1,
            target_rate: 0.01,
            target_every_updates: 600,
            huber_delta: 1.0,
            gradient_norm_max: 3.0,
            epsilon: Schedule::Episodes {
                from: 0.8,
                to: 0.05,
                factor: 0.98,
            },
            near_share: 0.0,
            checkpoints: 8,
            ..Self::default()
        }
    }

    /// A reward as it is learned.
    pub(super) fn worth(&self, reward: f64) -> f32 {
        let worth = (reward + self.reward_offset) * self.reward_scale;
        worth.clamp(-self.reward_limit, self.reward_limit) as f32
    }

    /// The best action, or with probability `epsilon` another one that is drawn.
    pub(super) fn choose(&self, values: &[f32], epsilon: f64, random: &mut Pcg64Mcg) -> usize {
        let best = best(values);
        if random.random::<f64>() >= epsilon {
            return best;
        }
        if random.random::<f64>() >= self.near_share {
            return random.random_range(0..values.len());
        }
        let last = values.len() - 1;
        random.random_range(best.saturating_sub(NEAR)..=(best + NEAR).min(last))
    }

    /// By what checkpoints are compared: workers, and what is missing to the target.
    pub(super) fn cost(&self, score: &Score) -> f64 {
        let missing_points = 100.0 * (self.target_qos_ratio - score.qos_ratio).max(0.0);
        score.parallelism + Self::WORKERS_PER_POINT * missing_points
    }

    /// Tells whether it can be trained with.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let counts = [
            ("steps", self.steps),
            ("environments", self.environments as u64),
            ("reward_steps", self.reward_steps as u64),
            ("batch", self.batch as u64),
            ("replay_capacity", self.replay_capacity as u64),
            ("steps_per_update", self.steps_per_update),
            ("target_every_updates", self.target_every_updates),
            ("checkpoints", self.checkpoints.into()),
            ("checkpoint_episodes", self.checkpoint_episodes),
            ("finalists", self.finalists as u64),
            ("final_episodes", self.final_episodes),
            (
                "hidden",
                self.hidden
                    .iter()
                    .map(|width| *width as u64)
                    .min()
                    .unwrap_or(1),
            ),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(invalid(name, "0 trains nothing: use at least 1".to_owned()));
        }
        let most = VALIDATION_SEEDS.end - VALIDATION_SEEDS.start;
        let episodes = [
            ("checkpoint_episodes", self.checkpoint_episodes),
            ("final_episodes", self.final_episodes),
        ];
        if let Some((name, count)) = episodes.iter().find(|(_, count)| *count > most) {
            let cause = format!("{count} are more than the {most} validation seeds");
            return Err(invalid(name, cause));
        }
        let ratios = [
            ("discount", self.discount),
            ("target_rate", self.target_rate),
            ("near_share", self.near_share),
            ("target_qos_ratio", self.target_qos_ratio),
        ];
        for (name, ratio) in ratios {
            if !(0.0..=1.0).contains(&ratio) {
                let cause = format!("{ratio} is not from 0 to 1");
                return Err(invalid(name, cause));
            }
        }
        let positive = [
            ("reward_scale", self.reward_scale),
            ("reward_limit", self.reward_limit),
            ("huber_delta", self.huber_delta),
            ("gradient_norm_max", self.gradient_norm_max),
        ];
        for (name, number) in positive {
            if !(number > 0.0 && number.is_finite()) {
                let cause = format!("{number} is not above 0");
                return Err(invalid(name, cause));
            }
        }
        Ok(())
    }
}

fn invalid(setting: &str, cause: String) -> InvalidSetting {
    InvalidSetting {
        setting: setting.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_settings_given_here_make_sense() {
        for settings in [DqnSettings::default(), DqnSettings::published()] {
            settings.check().unwrap();
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(
                serde_json::from_str::<DqnSettings>(&json).unwrap(),
                settings
            );
        }
    }

    #[test]
    fn drawn_actions_are_near_the_best_as_often_as_told() {
        let settings = DqnSettings {
            near_share: 0.8,
            ..DqnSettings::default()
        };
        let mut values = [0.0; 20];
        values[18] = 1.0;
        let mut random = Pcg64Mcg::seed_from_u64(4);
        let mut drawn = [0_u32; 20];
        for _ in 0..10_000 {
            drawn[settings.choose(&values, 0.5, &mut random)] += 1;
        }
        // 5000 chosen; of 4000 near and 1000 anywhere 1000 + 50 each from 16 to 19.
        assert!((5_850..6_250).contains(&drawn[18]), "{drawn:?}");
        for near in [16, 17, 19] {
            assert!((930..1_170).contains(&drawn[near]), "{drawn:?}");
        }
        assert!(
            drawn[..16].iter().all(|count| (20..90).contains(count)),
            "{drawn:?}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let empty = DqnSettings {
            hidden: vec![8, 0],
            ..DqnSettings::default()
        };
        assert!(empty.check().unwrap_err().to_string().contains("hidden"));
        let endless = DqnSettings {
            discount: f64::NAN,
            ..DqnSettings::default()
        };
        assert!(
            endless
                .check()
                .unwrap_err()
                .to_string()
                .contains("discount")
        );
    }
}
