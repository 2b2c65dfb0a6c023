//! What a training is told beside what it trains for.

use farm_policy::InvalidSetting;
use farm_policy::learned::Sense;
use serde::{Deserialize, Serialize};

use super::{FeatureBins, Schedule, TraceKind};
use crate::course::Score;

/// How SARSA(λ) learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SarsaSettings {
    /// Control steps to train for.
    pub steps: u64,
    /// How states are told apart; `None`: as it [suits](super::suitable_bins) the scenario.
    pub bins: Option<Vec<FeatureBins>>,
    /// Step size: the share of a surprise that corrects a value.
    pub alpha: Schedule,
    /// What a reward one step later is worth, γ.
    pub discount: f64,
    /// How much less a choice is taught than the one after it, λ.
    pub lambda: f64,
    /// What a choice that is made again adds to its trace.
    pub traces: TraceKind,
    /// Traces fainter than this are forgotten.
    pub trace_threshold: f64,
    /// Share of actions that are drawn instead of chosen.
    pub epsilon: Schedule,
    /// How far from the best action one is drawn, in places of the action space; `None`: any.
    pub exploration_reach: Option<usize>,
    /// Value of an action never taken. Above all others, it makes every action be tried.
    pub initial_value: f64,
    /// Whether the state after the last step still has a value, as in the paper, or none.
    pub bootstrap_after_end: bool,
    /// Share of tasks that are to meet their deadline. With it, the price of
    /// [`Reward::MissedTasks`](farm_sim::environment::Reward::MissedTasks) is adapted at each
    /// checkpoint, and of the checkpoints that meet it the one of fewest workers is kept, where
    /// one point less weighs [`WORKERS_PER_POINT`](Self::WORKERS_PER_POINT) workers. `None`: the
    /// price stays, and the highest reward is kept.
    pub target_qos_ratio: Option<f64>,
    /// Relative change of the price when twice as many tasks miss their deadline as may.
    pub price_gain: f64,
    /// Share of the training, back from a checkpoint, over which its table is averaged; what is
    /// longer ago fades. 0: the table of that moment.
    pub averaging_ratio: f64,
    /// How often the table is scored, evenly over the training.
    pub checkpoints: u32,
    /// Validation episodes of a score.
    pub checkpoint_episodes: u64,
    /// Checkpoints that are scored again on all validation seeds in the end.
    pub finalists: usize,
}

impl Default for SarsaSettings {
    fn default() -> Self {
        Self {
            steps: 8_000_000,
            bins: None,
            alpha: Schedule::Line {
                from: 0.1,
                to: 0.005,
                share: 1.0,
            },
            discount: 0.95,
            lambda: 0.8,
            traces: TraceKind::Replacing,
            trace_threshold: 0.01,
            epsilon: Schedule::Line {
                from: 0.3,
                to: 0.02,
                share: 0.7,
            },
            exploration_reach: Some(2),
            initial_value: 0.0,
            bootstrap_after_end: false,
            target_qos_ratio: Some(0.9938),
            price_gain: 0.2,
            averaging_ratio: 0.2,
            checkpoints: 50,
            checkpoint_episodes: 200,
            finalists: 5,
        }
    }
}

impl SarsaSettings {
    /// Workers that one percentage point of quality below the target weighs among checkpoints.
    pub const WORKERS_PER_POINT: f64 = 10.0;

    /// Those of arXiv 2602.06555: its defaults and bins, 260 episodes, hardly 7427 steps. To be
    /// used with [`Reward::Paper`](farm_sim::environment::Reward::Paper).
    ///
    /// The paper does not record with which of its bins the published table was trained.
    pub fn published() -> Self {
        let bins = [
            (Sense::InputQueue, &[0.5, 1.5, 2.5][..]),
            (Sense::TaskQueue, &[0.5, 2.5, 5.5, 9.5, 15.5, 30.5]),
            (Sense::Workers, &[3.5, 7.5, 11.5, 12.5, 16.5, 20.5, 24.5]),
            (
                Sense::CompletionSecondsMean,
                &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
            ),
            (Sense::ArrivalRate, &[0.15, 0.5, 1.5, 3.5]),
            (Sense::Qos, &[0.5, 0.8, 0.9, 0.95, 0.999]),
        ];
        Self {
            steps: 7_427,
            bins: Some(
                bins.map(|(sense, edges)| FeatureBins::new(sense, edges))
                    .to_vec(),
            ),
            alpha: Schedule::constant(0.025),
            discount: 0.99,
            lambda: 0.5,
            traces: TraceKind::Accumulating,
            trace_threshold: 1e-5,
            epsilon: Schedule::Episodes {
                from: 0.4,
                to: 0.1,
                factor: 0.995,
            },
            exploration_reach: None,
            initial_value: 0.0,
            bootstrap_after_end: true,
            target_qos_ratio: None,
            averaging_ratio: 0.0,
            checkpoints: 26,
            ..Self::default()
        }
    }

    /// By what checkpoints are compared, less being better: workers and what is missing to the
    /// target, or the reward that is missing.
    pub(super) fn cost(&self, score: &Score) -> f64 {
        let Some(target) = self.target_qos_ratio else {
            return -score.reward;
        };
        let missing_points = 100.0 * (target - score.qos_ratio).max(0.0);
        score.parallelism + Self::WORKERS_PER_POINT * missing_points
    }

    /// The price of a missed task after a policy of this score.
    pub(super) fn adapted_price(&self, price: f64, score: &Score) -> f64 {
        let Some(target) = self.target_qos_ratio else {
            return price;
        };
        let missed = 1.0 - score.qos_ratio;
        let allowed = (1.0 - target).max(1e-6);
        let factor = 1.0 + self.price_gain * (missed / allowed - 1.0);
        // No single score turns the price over.
        price * factor.clamp(0.8, 1.25)
    }

    /// What samples of the mean weigh at the next checkpoint.
    pub(super) fn memory_ratio(&self) -> f64 {
        let checkpoints = self.averaging_ratio * f64::from(self.checkpoints);
        1.0 - 1.0 / checkpoints.max(1.0)
    }

    /// Tells whether it can be trained with.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    ///
    /// ```
    /// use farm_train::sarsa::SarsaSettings;
    /// let settings = SarsaSettings { lambda: 1.5, ..SarsaSettings::default() };
    /// let wrong = settings.check().unwrap_err();
    /// assert_eq!(wrong.to_string(), "lambda: 1.5 is not from 0 to 1");
    /// ```
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let counts = [
            ("steps", self.steps),
            (
                "exploration_reach",
                self.exploration_reach.unwrap_or(1) as u64,
            ),
            ("checkpoints", self.checkpoints.into()),
            ("checkpoint_episodes", self.checkpoint_episodes),
            ("finalists", self.finalists as u64),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(invalid(name, "0 is not at least 1".to_owned()));
        }
        let ratios = [
            ("discount", self.discount),
            ("lambda", self.lambda),
            ("trace_threshold", self.trace_threshold),
            ("price_gain", self.price_gain),
            ("target_qos_ratio", self.target_qos_ratio.unwrap_or(1.0)),
            ("averaging_ratio", self.averaging_ratio),
        ];
        for (name, ratio) in ratios {
            if !(0.0..=1.0).contains(&ratio) {
                return Err(invalid(name, format!("{ratio} is not from 0 to 1")));
            }
        }
        if !self.initial_value.is_finite() {
            let cause = format!("{} is no number", self.initial_value);
            return Err(invalid("initial_value", cause));
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
    use super::SarsaSettings;
    use crate::course::Score;

    fn score(qos_ratio: f64, parallelism: f64) -> Score {
        Score {
            qos_ratio,
            qos_ratio_sd: 0.0,
            parallelism,
            scaling_actions: 0.0,
            reward: -parallelism,
        }
    }

    #[test]
    fn the_settings_given_here_make_sense() {
        for settings in [SarsaSettings::default(), SarsaSettings::published()] {
            settings.check().unwrap();
            let json = serde_json::to_string(&settings).unwrap();
            let read: SarsaSettings = serde_json::from_str(&json).unwrap();
            assert_eq!(read, settings);
        }
    }

    #[test]
    fn quality_beyond_the_target_is_worth_nothing() {
        let settings = SarsaSettings {
            target_qos_ratio: Some(0.99),
            ..SarsaSettings::default()
        };
        let lean = settings.cost(&score(0.99, 13.0));
        assert!(lean < settings.cost(&score(0.999, 14.0)));
        assert!(lean < settings.cost(&score(0.98, 12.0)));
    }

    #[test]
    fn the_price_follows_what_is_missed() {
        let settings = SarsaSettings {
            target_qos_ratio: Some(0.99),
            price_gain: 0.2,
            ..SarsaSettings::default()
        };
        let price = |qos_ratio| settings.adapted_price(10.0, &score(qos_ratio, 14.0));
        assert!((price(0.99) - 10.0).abs() < 1e-9);
        assert!((price(0.98) - 12.0).abs() < 1e-9);
        assert!(price(0.999) < 10.0);
        assert_eq!(price(0.1), 12.5);
    }
}
