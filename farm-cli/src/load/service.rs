//! How long tasks take.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp, Gamma};
use rand_pcg::Pcg64Mcg;

use super::service_random;

const LONGEST_SECONDS: f64 = 86_400.0;

/// A distribution of service times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Service {
    /// Always the same.
    Constant(f64),
    /// Memoryless, with this rate per second.
    Exponential(Exp<f64>),
    /// Gamma.
    Gamma(Gamma<f64>),
}

impl Service {
    /// A constant service time.
    ///
    /// # Errors
    /// A time below 0 or above a day.
    pub fn constant(seconds: f64) -> Result<Self, String> {
        if (0.0..=LONGEST_SECONDS).contains(&seconds) {
            return Ok(Service::Constant(seconds));
        }
        Err(format!(
            "{seconds} is not between 0 and {LONGEST_SECONDS} seconds"
        ))
    }

    /// A gamma distribution; its squared coefficient of variation is `1 / shape`.
    ///
    /// # Errors
    /// A mean or shape that is not above 0.
    pub fn gamma(mean_seconds: f64, shape: f64) -> Result<Self, String> {
        Gamma::new(shape, mean_seconds / shape)
            .map(Service::Gamma)
            .map_err(|e| e.to_string())
    }

    fn sample(&self, random: &mut Pcg64Mcg) -> Duration {
        let seconds = match self {
            Service::Constant(seconds) => *seconds,
            Service::Exponential(exponential) => exponential.sample(random),
            Service::Gamma(gamma) => gamma.sample(random),
        };
        Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_SECONDS))
    }

    /// Service times without end.
    pub fn times(self, seed: u64) -> impl Iterator<Item = Duration> + Send {
        let mut random = service_random(seed);
        std::iter::repeat_with(move || self.sample(&mut random))
    }
}

impl FromStr for Service {
    type Err = String;

    /// Reads `gamma:mean=1.5,shape=4`, `exponential:mean=1.5` or `constant:seconds=0.1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = || {
            "write it like gamma:mean=1.5,shape=4 or exponential:mean=1.5 or constant:seconds=0.1 (seconds)".to_owned()
        };
        let (kind, parameters) = text.split_once(':').ok_or_else(unreadable)?;
        let mut numbers = BTreeMap::new();
        for parameter in parameters.split(',') {
            let (name, value) = parameter.split_once('=').ok_or_else(unreadable)?;
            let value: f64 = value.trim().parse().map_err(|_| unreadable())?;
            numbers.insert(name.trim(), value);
        }
        let numbers: Vec<_> = numbers.into_iter().collect();
        match (kind, numbers.as_slice()) {
            ("constant", [("seconds", seconds)]) => Service::constant(*seconds),
            ("exponential", [("mean", mean)]) if *mean > 0.0 => Exp::new(1.0 / mean)
                .map(Service::Exponential)
                .map_err(|e| e.to_string()),
            ("gamma", [("mean", mean), ("shape", shape)]) => Service::gamma(*mean, *shape),
            _ => Err(unreadable()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mean_and_scv(text: &str) -> (f64, f64) {
        let service: Service = text.parse().unwrap();
        let times: Vec<f64> = service
            .times(1)
            .take(20_000)
            .map(|t| t.as_secs_f64())
            .collect();
        let mean = times.iter().sum::<f64>() / 20_000.0;
        let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / 20_000.0;
        (mean, variance / (mean * mean))
    }

    #[test]
    fn times_have_the_mean_and_the_spread_asked_for() {
        for (text, mean, scv) in [
            ("constant:seconds=0.1", 0.1, 0.0),
            ("exponential:mean=2", 2.0, 1.0),
            ("gamma:mean=1.5,shape=4", 1.5, 0.25),
        ] {
            let (seen_mean, seen_scv) = mean_and_scv(text);
            assert!(
                (seen_mean / mean - 1.0).abs() < 0.03,
                "{text}: mean {seen_mean}"
            );
            assert!((seen_scv - scv).abs() < 0.06, "{text}: spread {seen_scv}");
        }
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for bad in [
            "",
            "gamma",
            "gamma:mean=1.5",
            "gamma:mean=-1,shape=4",
            "gamma:mean=1,shape=0",
            "exponential:mean=0",
            "exponential:mean=x",
            "constant:seconds=-1",
            "normal:mean=1",
        ] {
            assert!(bad.parse::<Service>().is_err(), "{bad:?}");
        }
    }
}
