//! What the guard allows a policy.

use crate::InvalidSetting;

/// Largest parallelism that is believed or allowed.
pub(crate) const MAX_PARALLELISM: u32 = 1_000_000;

/// Bounds, speed and patience of a farm's scaling.
///
/// ```
/// use farm_policy::Limits;
/// let limits = Limits { max: 32, ..Limits::default() };
/// assert!(limits.check().is_ok());
/// let upside_down = Limits { min: 5, max: 2, ..limits };
/// assert!(upside_down.check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Smallest parallelism; 0 allows scaling to zero. Default 1.
    pub min: u32,
    /// Largest parallelism. Default 10.
    pub max: u32,
    /// Most workers added in one decision. Default: any number.
    pub step_up: Option<u32>,
    /// Most workers removed in one decision. Default: any number.
    pub step_down: Option<u32>,
    /// A fall goes no lower than the most that was wanted in this time, in seconds. Default 30;
    /// 0 falls at once, and switches flap damping off.
    pub stabilisation_seconds: f64,
    /// Time after a change in which no other is made, in seconds. Default 0.
    pub cooldown_seconds: f64,
    /// A farm that may scale to zero does so after this time without work, in seconds. Default 300.
    pub idle_seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min: 1,
            max: 10,
            step_up: None,
            step_down: None,
            stabilisation_seconds: 30.0,
            cooldown_seconds: 0.0,
            idle_seconds: 300.0,
        }
    }
}

impl Limits {
    /// Tells whether the limits can be kept.
    ///
    /// # Errors
    /// Every rule that is broken, not just the first.
    pub fn check(&self) -> Result<(), Vec<InvalidSetting>> {
        let mut wrong = Vec::new();
        let mut require = |holds: bool, setting: &str, cause: String| {
            if !holds {
                wrong.push(InvalidSetting::new(setting, cause));
            }
        };
        let range = format!("{} is not in 1 to {MAX_PARALLELISM}", self.max);
        require((1..=MAX_PARALLELISM).contains(&self.max), "max", range);
        let order = format!("{} is more than max {}", self.min, self.max);
        require(self.min <= self.max, "min", order);
        for (setting, step) in [("step_up", self.step_up), ("step_down", self.step_down)] {
            let cause = "0 would never move: leave it out or give at least 1".to_owned();
            require(step != Some(0), setting, cause);
        }
        for (setting, seconds) in [
            ("stabilisation_seconds", self.stabilisation_seconds),
            ("cooldown_seconds", self.cooldown_seconds),
            ("idle_seconds", self.idle_seconds),
        ] {
            let cause = format!("{seconds} is not a time of 0 s or more");
            require(seconds.is_finite() && seconds >= 0.0, setting, cause);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_is_told() {
        let wrong = Limits {
            min: 3,
            max: 0,
            step_up: Some(0),
            step_down: Some(0),
            stabilisation_seconds: f64::NAN,
            cooldown_seconds: -1.0,
            idle_seconds: f64::INFINITY,
        };
        let told: Vec<String> = wrong
            .check()
            .unwrap_err()
            .into_iter()
            .map(|error| error.setting)
            .collect();
        assert_eq!(
            told,
            [
                "max",
                "min",
                "step_up",
                "step_down",
                "stabilisation_seconds",
                "cooldown_seconds",
                "idle_seconds"
            ]
        );
        assert!(Limits::default().check().is_ok());
    }
}
