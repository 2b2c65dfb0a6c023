//! `utilisation`: workers by the share of them that is busy.

use crate::policies::whole_workers;
use crate::{Action, Observation, Policy, PolicyError};

/// What [`Utilisation`] can be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UtilisationSettings {
    /// Share of the workers that is to be busy. Default 0.7.
    pub target_ratio: f64,
    /// Deviation from the target, relative to it, that is left alone. Default 0.1.
    pub tolerance_ratio: f64,
    /// Time constant over which the load is averaged, in seconds. Default 30.
    pub smoothing_seconds: f64,
}

impl Default for UtilisationSettings {
    fn default() -> Self {
        Self {
            target_ratio: 0.7,
            tolerance_ratio: 0.1,
            smoothing_seconds: 30.0,
        }
    }
}

/// The policy `utilisation`: keep the share of busy workers at a target.
///
/// Formula: `wanted = ⌈parallelism × utilisation / target⌉`, unless
/// `|utilisation / target − 1| ≤ tolerance`, where
/// `utilisation = arrival rate × mean service time / parallelism`, averaged exponentially.
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `target` | ratio, 0.05 to 1 | 0.7 |
/// | `tolerance` | ratio, 0 to 1 | 0.1 |
/// | `smoothing` | duration | 30s |
/// | `step` | `one` or `free` | free |
///
/// The utilisation is that of the *offered* load, not the busy share of the workers: the latter
/// stops at 1 however much is asked for, and takes several intervals to find the way up. While
/// tasks wait, and in a window in which none ended, it is the busy share if that is larger:
/// arrivals say nothing of a batch that came before. Parallelism that was asked for and still
/// starts counts as if it were there, so it is not asked for twice.
///
/// Source: the Horizontal Pod Autoscaler of Kubernetes (formula and tolerance); measuring the true
/// rate is from Kalavri et al., *Three steps is all you need* (DS2), OSDI 2018.
///
/// Choose it for a steady load of which you know the margin it needs. It knows no deadline, and of
/// a backlog only that there is one: the spare share works it off.
#[derive(Debug, Clone)]
pub struct Utilisation {
    settings: UtilisationSettings,
    service_seconds: Option<f64>,
    offered_erlangs: Option<f64>,
    reason: String,
}

impl Utilisation {
    /// A policy that has seen nothing yet.
    pub fn new(settings: UtilisationSettings) -> Self {
        Self {
            settings,
            service_seconds: None,
            offered_erlangs: None,
            reason: "nothing seen yet".to_owned(),
        }
    }

    /// Busy workers that the load needs, averaged.
    fn learn(&mut self, observation: &Observation) -> f64 {
        let gain = if self.settings.smoothing_seconds > 0.0 {
            1.0 - (-observation.interval_seconds / self.settings.smoothing_seconds).exp()
        } else {
            1.0
        };
        let seen = observation.service_seconds_mean.filter(|mean| *mean > 0.0);
        self.service_seconds = seen.or(self.service_seconds);
        let arriving = self.service_seconds.unwrap_or(0.0) * observation.arrival_rate_per_second;
        // Arrivals say nothing of a batch that came before, nor of tasks longer than the window.
        let offered = if observation.backlog_tasks > 0 || seen.is_none() {
            arriving.max(observation.in_flight_tasks as f64)
        } else {
            arriving
        };
        let before = self.offered_erlangs.unwrap_or(offered);
        let averaged = before + gain * (offered - before);
        self.offered_erlangs = Some(averaged);
        averaged
    }
}

impl Policy for Utilisation {
    fn name(&self) -> &'static str {
        "utilisation"
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        let offered = self.learn(observation);
        let parallelism = observation.parallelism;
        let UtilisationSettings {
            target_ratio: target,
            tolerance_ratio: tolerance,
            ..
        } = self.settings;
        let utilisation = offered / f64::from(parallelism.max(1));
        let near = parallelism > 0 && (utilisation / target - 1.0).abs() <= tolerance;
        let wanted = if near {
            parallelism
        } else {
            whole_workers(offered / target)
        };
        self.reason = format!(
            "{offered:.1} busy workers of {parallelism} are {:.0} %, the target is {:.0} %: {}",
            100.0 * utilisation,
            100.0 * target,
            if near {
                "near enough".to_owned()
            } else {
                format!("{wanted} workers")
            }
        );
        Ok(Action {
            parallelism: wanted,
        })
    }

    fn reason(&self) -> String {
        self.reason.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rate: f64, service: Option<f64>, parallelism: u32) -> Observation {
        Observation {
            arrival_rate_per_second: rate,
            service_seconds_mean: service,
            ..Observation::idle(8.0, parallelism)
        }
    }

    fn wanted(observation: &Observation) -> u32 {
        let mut policy = Utilisation::new(UtilisationSettings::default());
        policy.decide(observation).unwrap().parallelism
    }

    #[test]
    fn it_is_the_formula_of_the_autoscaler_of_kubernetes() {
        assert_eq!(wanted(&at(7.0, Some(1.0), 10)), 10);
        // 7 % over is left alone, 20 % is not.
        assert_eq!(wanted(&at(7.5, Some(1.0), 10)), 10);
        assert_eq!(wanted(&at(8.4, Some(1.0), 10)), 12);
        assert_eq!(wanted(&at(1.4, Some(1.0), 10)), 2);
        assert_eq!(wanted(&at(0.0, Some(1.0), 10)), 0);
        // An overload is answered in one step.
        assert_eq!(wanted(&at(70.0, Some(1.0), 10)), 100);
    }

    #[test]
    fn a_batch_that_arrived_before_keeps_its_workers() {
        let batch = Observation {
            backlog_tasks: 500,
            in_flight_tasks: 10,
            ..at(0.0, Some(1.0), 10)
        };
        assert_eq!(wanted(&batch), 15);
    }

    #[test]
    fn without_a_service_time_it_counts_the_busy() {
        let busy = Observation {
            in_flight_tasks: 10,
            ..at(3.0, None, 10)
        };
        assert_eq!(wanted(&busy), 15);
    }
}
