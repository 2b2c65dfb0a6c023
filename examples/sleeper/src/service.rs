//! How long a task takes.

use std::hash::{DefaultHasher, Hash, Hasher};

use farm_sdk::{ResultExt, TaskError, TaskId};
use rand::SeedableRng;
use rand_distr::Distribution;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A day: longer than any test, and a duration that every clock can hold.
const MAX_SECONDS: f64 = 86_400.0;

/// A service time drawn from an exponential distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// Its mean.
    #[serde(deserialize_with = "positive")]
    pub mean_seconds: f64,
    /// Equal seeds draw equal times. Default: made from the task's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A service time drawn from a gamma distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Its mean.
    #[serde(deserialize_with = "positive")]
    pub mean_seconds: f64,
    /// The larger, the steadier: the squared coefficient of variation is `1 / shape`.
    #[serde(deserialize_with = "positive")]
    pub shape: f64,
    /// Equal seeds draw equal times. Default: made from the task's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Exponential {
    /// Draws a time for `task`.
    pub fn draw_seconds(&self, task: &TaskId) -> Result<f64, TaskError> {
        let distribution = rand_distr::Exp::new(1.0 / self.mean_seconds).permanent()?;
        Ok(distribution.sample(&mut random(self.seed, task)))
    }
}

impl Gamma {
    /// Draws a time for `task`.
    pub fn draw_seconds(&self, task: &TaskId) -> Result<f64, TaskError> {
        let scale = self.mean_seconds / self.shape;
        let distribution = rand_distr::Gamma::new(self.shape, scale).permanent()?;
        Ok(distribution.sample(&mut random(self.seed, task)))
    }
}

/// Seeded by the task unless told otherwise, so that a retry takes as long as the first attempt.
fn random(seed: Option<u64>, task: &TaskId) -> Pcg64Mcg {
    let seed = seed.unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        task.hash(&mut hasher);
        hasher.finish()
    });
    Pcg64Mcg::seed_from_u64(seed)
}

fn positive<'de, D: Deserializer<'de>>(wire: D) -> Result<f64, D::Error> {
    let number = seconds(wire)?;
    if number > 0.0 {
        return Ok(number);
    }
    Err(D::Error::custom("must be above 0"))
}

/// Reads a number of seconds between nothing and a day.
pub fn seconds<'de, D: Deserializer<'de>>(wire: D) -> Result<f64, D::Error> {
    let seconds = f64::deserialize(wire)?;
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    Err(D::Error::custom(format!(
        "{seconds} is not between 0 and {MAX_SECONDS}"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn task(number: u32) -> TaskId {
        format!("job.{number}").parse().unwrap()
    }

    #[test]
    fn a_retry_takes_as_long_as_the_first_attempt() {
        let exponential = Exponential {
            mean_seconds: 1.5,
            seed: None,
        };
        let first = exponential.draw_seconds(&task(1)).unwrap();
        assert_eq!(exponential.draw_seconds(&task(1)).unwrap(), first);
        assert_ne!(exponential.draw_seconds(&task(2)).unwrap(), first);
    }

    #[test]
    fn times_have_the_mean_and_the_spread_asked_for() {
        let gamma = Gamma {
            mean_seconds: 1.5,
            shape: 4.0,
            seed: None,
        };
        let times: Vec<f64> = (0..20_000)
            .map(|n| gamma.draw_seconds(&task(n)).unwrap())
            .collect();
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 1.5).abs() < 0.02, "{mean}");
        assert!((variance / (mean * mean) - 0.25).abs() < 0.02, "{variance}");
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for bad in ["-1", "1e9", "\"1s\""] {
            let json = format!(r#"{{"mean_seconds": {bad}}}"#);
            assert!(serde_json::from_str::<Exponential>(&json).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Gamma>(r#"{"mean_seconds": 1, "shape": 0}"#).is_err());
    }
}
