//! `queue`: workers by the tasks in the farm.

use crate::policies::whole_workers;
use crate::recent::RecentMaximum;
use crate::{Action, Observation, Policy, PolicyError};

/// What [`Queue`] can be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSettings {
    /// Tasks per worker that are to be in the farm, those that are computed included. Default 1.
    pub target_tasks_per_worker: f64,
    /// A fall goes no lower than the most that was needed in this time, in seconds. Default 300.
    pub window_seconds: f64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            target_tasks_per_worker: 1.0,
            window_seconds: 300.0,
        }
    }
}

/// The policy `queue`: as many workers as the tasks in the farm need at a given load per worker.
///
/// Formula: `wanted = ⌈(backlog + in flight) / target⌉`, and when that falls, the largest of the
/// last `window`.
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `target` | tasks per worker | 1 |
/// | `window` | duration | 5m |
/// | `step` | `one` or `free` | free |
///
/// Tasks that are computed count, as in KEDA's scaler for JetStream: with the backlog alone a farm
/// that keeps up would be told to have no workers. At a target of 1 hardly a task waits; at 10 a
/// task waits for about nine others.
///
/// Source: KEDA's lag threshold; the window is the scale-down stabilisation of the Kubernetes HPA.
///
/// Choose it for batches and for farms without a deadline. It knows neither service time nor
/// deadline, so the target has to be set anew when tasks get longer.
#[derive(Debug, Clone)]
pub struct Queue {
    settings: QueueSettings,
    recent: RecentMaximum,
    reason: String,
}

impl Queue {
    /// A policy that has seen nothing yet.
    pub fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            recent: RecentMaximum::default(),
            reason: "nothing seen yet".to_owned(),
        }
    }
}

impl Policy for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        let (now, window) = (observation.time_seconds, self.settings.window_seconds);
        let target = self.settings.target_tasks_per_worker;
        let tasks = observation.tasks_in_system();
        let needed = whole_workers(tasks as f64 / target);
        self.recent.push(now, needed, window);
        let kept = self.recent.maximum(now, window).unwrap_or(needed);
        // The window holds a fall back; it never causes a rise.
        let wanted = needed.max(kept.min(observation.parallelism));

        self.reason = format!("{tasks} tasks at {target} per worker need {needed} workers");
        if wanted > needed {
            self.reason += &format!("; up to {kept} were needed within {window:.0} s");
        }
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

    fn wanted(policy: &mut Queue, time_seconds: f64, tasks: u64, parallelism: u32) -> u32 {
        let observation = Observation {
            backlog_tasks: tasks,
            ..Observation::idle(time_seconds, parallelism)
        };
        policy.decide(&observation).unwrap().parallelism
    }

    #[test]
    fn it_rises_at_once_and_falls_after_the_window() {
        let mut policy = Queue::new(QueueSettings {
            target_tasks_per_worker: 2.0,
            window_seconds: 60.0,
        });
        assert_eq!(wanted(&mut policy, 0.0, 9, 1), 5);
        assert_eq!(wanted(&mut policy, 30.0, 2, 5), 5);
        assert!(policy.reason().contains("up to 5"), "{}", policy.reason());
        assert_eq!(wanted(&mut policy, 61.0, 2, 5), 1);
        assert_eq!(wanted(&mut policy, 200.0, 0, 1), 0);
    }

    #[test]
    fn the_window_never_raises() {
        let mut policy = Queue::new(QueueSettings::default());
        assert_eq!(wanted(&mut policy, 0.0, 9, 1), 9);
        // Something else lowered the farm to 3 meanwhile.
        assert_eq!(wanted(&mut policy, 8.0, 2, 3), 3);
    }
}
