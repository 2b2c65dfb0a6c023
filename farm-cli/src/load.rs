//! Open-loop load: sending simulated workloads on time, and the account of what became of them.

pub mod collect;
pub mod report;
pub mod sender;
pub mod service;

use std::time::Duration;

use farm_sim::workload::{Deadline, Workload};
use farm_sim::{Nanoseconds, seconds};

/// One task to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedTask {
    /// When it is to be sent, from the start of the load.
    pub at: Duration,
    /// How long its worker is to take.
    pub service: Duration,
    /// Sojourn time allowed to it.
    pub deadline: Option<Duration>,
}

/// A stream of tasks in the order of their times.
pub type Plan = Box<dyn Iterator<Item = PlannedTask> + Send>;

/// The tasks of a workload; `time_scale` shortens (or lengthens) all its times alike.
pub fn plan(workload: &Workload, seed: u64, time_scale: f64) -> Plan {
    let scaled = move |seconds: f64| {
        Duration::try_from_secs_f64(seconds * time_scale).unwrap_or(Duration::MAX)
    };
    let deadline = workload.deadline;
    Box::new(workload.tasks(seed).map(move |task| PlannedTask {
        at: scaled(seconds(task.arrival)),
        service: scaled(seconds(task.service)),
        deadline: deadline_seconds(deadline, task.service).map(scaled),
    }))
}

/// The deadline of the time that the worker is told, which is whole nanoseconds.
fn deadline_seconds(deadline: Deadline, service: Nanoseconds) -> Option<f64> {
    deadline.seconds(seconds(service))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use farm_sim::scenario::Scenario;
    use farm_sim::workload::{Arrivals, Rate};

    /// FNV-1a over all times of a plan, in nanoseconds.
    fn fingerprint(plan: Plan) -> u64 {
        let times = plan.flat_map(|task| [task.at, task.service, task.deadline.unwrap()]);
        let bytes = times.flat_map(|time| (time.as_nanos() as u64).to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Equal bits on every machine and in every release: measurements stay comparable.
    #[test]
    fn the_papers_load_of_a_seed_never_changes() {
        let tasks: Vec<_> = plan(&Workload::paper(), 42, 1.0).collect();
        let nanoseconds = |task: &PlannedTask| {
            let deadline = task.deadline.unwrap();
            [task.at, task.service, deadline].map(|time| time.as_nanos())
        };
        assert_eq!(tasks.len(), 1140);
        assert_eq!(nanoseconds(&tasks[0]), [0, 2_870_500_000, 5_741_000_000]);
        assert_eq!(
            nanoseconds(&tasks[1]),
            [129_639_421, 1_081_529_557, 2_163_059_114]
        );
        assert_eq!(
            nanoseconds(&tasks[1139]),
            [209_773_114_895, 1_231_620_551, 2_463_241_102]
        );
        let whole = fingerprint(plan(&Workload::paper(), 42, 1.0));
        assert_eq!(whole, 0x5f1d8e680ba0b744);
    }

    #[test]
    fn a_time_scale_shortens_all_times_alike() {
        let workload = Scenario::named("heavy").unwrap().workload;
        let pairs = plan(&workload, 1, 1.0).zip(plan(&workload, 1, 0.1));
        for (full, short) in pairs {
            for (full, short) in [
                (full.at, short.at),
                (full.service, short.service),
                (full.deadline.unwrap(), short.deadline.unwrap()),
            ] {
                assert!((full.as_secs_f64() / 10.0 - short.as_secs_f64()).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn a_load_without_end_is_not_held() {
        let workload = Workload {
            arrivals: Arrivals::Poisson {
                rate: Rate::Constant(1e6),
                seconds: 7.0 * 86_400.0,
            },
            deadline: Deadline::Never,
            ..Workload::paper()
        };
        let first: Vec<_> = plan(&workload, 1, 1.0).take(1000).collect();
        assert!(first[999].at < Duration::from_millis(2));
        assert_eq!(first[0].deadline, None);
    }
}
