//! What holds in every scenario.

use farm_sim::episode::Episode;
use farm_sim::farm::{Farm, Window};
use farm_sim::nanoseconds;
use farm_sim::platform::Platform;
use farm_sim::scenario::{Control, Scenario};
use proptest::prelude::*;

use crate::arbitrary;

const STEPS: usize = 60;

/// Parallelisms a policy without a plan asks for.
fn wishes() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..50, STEPS)
}

proptest! {
    #![proptest_config(crate::cases(300))]

    /// What passes the check runs, whatever it is; no task is lost, none is counted twice.
    #[test]
    fn every_task_is_somewhere(
        scenario in arbitrary::scenario().boxed(),
        wishes in wishes(),
        seed in any::<u64>(),
    ) {
        prop_assert_eq!(scenario.check(), Ok(()));
        let mut episode = Episode::new(&scenario, seed).unwrap();
        let mut time_seconds = 0.0;
        for wish in wishes {
            episode.step(wish);
            let seen = episode.observation().clone();
            prop_assert_eq!(
                seen.submitted_tasks,
                seen.collected_tasks + seen.backlog_tasks + seen.in_flight_tasks + seen.result_queue
            );
            let control = &scenario.control;
            prop_assert!(seen.parallelism >= control.min_parallelism);
            prop_assert!(seen.parallelism <= control.max_parallelism);
            prop_assert!(seen.available_parallelism <= seen.parallelism);
            prop_assert!(seen.slots >= 1 && seen.slots <= scenario.platform.slots_max);
            prop_assert!(seen.time_seconds >= time_seconds);
            time_seconds = seen.time_seconds;
            prop_assert!(seen.qos_ratio.is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
            prop_assert!(seen.paper_view().iter().all(|number| number.is_finite()));
        }
        let outcome = episode.outcome();
        prop_assert!(outcome.met <= outcome.collected);
        prop_assert_eq!(outcome.collected + outcome.unfinished, outcome.submitted);
        prop_assert_eq!(episode.trace().len(), 0);
    }

    /// Without drains there are never more tasks computed than workers were asked for.
    #[test]
    fn workers_that_were_not_asked_for_do_not_work(
        mut scenario in arbitrary::scenario().boxed(),
        mut wishes in wishes(),
        seed in any::<u64>(),
    ) {
        scenario.platform.failures = None;
        wishes.sort_unstable();
        let mut episode = Episode::new(&scenario, seed).unwrap();
        for wish in wishes {
            episode.step(wish.max(scenario.control.initial_parallelism));
            let seen = episode.observation();
            prop_assert!(seen.in_flight_tasks <= u64::from(seen.parallelism));
            prop_assert!(seen.backlog_tasks == 0 || scenario.platform.poll_seconds > 0.0
                || seen.in_flight_tasks >= u64::from(seen.available_parallelism));
        }
    }

    /// However often it was scaled, and whoever failed: in the end as many work as were asked for.
    #[test]
    fn the_workers_asked_for_come(
        mut platform in arbitrary::platform().boxed(),
        wishes in prop::collection::vec(0_u32..30, 1..20),
        seed in any::<u64>(),
    ) {
        platform.failures = None;
        let scenario = Scenario {
            platform,
            control: Control { min_parallelism: 0, ..Scenario::paper().control },
            ..Scenario::paper()
        };
        let mut episode = Episode::new(&scenario, seed).unwrap();
        let last = *wishes.last().unwrap();
        for wish in wishes {
            episode.step_for(wish, 3.3);
        }
        // Longer than any start and any notice.
        for _ in 0..4 {
            episode.step_for(last, 90_000.0);
        }
        prop_assert_eq!(episode.observation().available_parallelism, last);
    }

    /// A deadline is met to the nanosecond or not at all.
    #[test]
    fn deadlines_are_counted_to_the_nanosecond(late in 0_u64..3, service in 1_u64..1_000_000) {
        use farm_sim::workload::{Stream, Task};
        let task = Task { arrival: 5, service, deadline: service + 1 - late.min(service) };
        let mut farm = Farm::new(&Platform::ideal());
        farm.begin(Stream { tasks: vec![task], phase_starts: Vec::new() }, 1, 0);
        farm.advance(nanoseconds(1.0));
        farm.collect(0, nanoseconds(1.0), &mut Window::default());
        prop_assert_eq!(farm.totals().met, u64::from(late < 2));
    }
}

#[test]
fn what_would_take_all_memory_or_all_time_is_refused() {
    use farm_sim::random::Duration;
    use farm_sim::workload::{Arrivals, Phase, Rate};
    type Spoil = fn(&mut Scenario);
    let cases: [(&str, Spoil); 10] = [
        ("workload.arrivals", |scenario| {
            scenario.workload.arrivals = Arrivals::Poisson {
                rate: Rate::Constant(1e6),
                seconds: 1e6,
            };
        }),
        ("workload.arrivals", |scenario| {
            scenario.workload.arrivals = Arrivals::Constant {
                per_second: 0.0,
                seconds: 1e300,
            };
        }),
        ("workload.arrivals", |scenario| {
            let phases = vec![Phase {
                tasks: 1,
                windows: u64::MAX,
            }];
            scenario.workload.arrivals = Arrivals::Phases {
                phases,
                shuffled: true,
            };
        }),
        ("randomisation.rate", |scenario| {
            scenario.randomisation.rate = (1.0, 100.0);
            scenario.workload.arrivals = Arrivals::Poisson {
                rate: Rate::Constant(1e3),
                seconds: 1e3,
            };
        }),
        ("randomisation.start_up", |scenario| {
            scenario.randomisation.start_up = (0.0, 1.0);
        }),
        ("workload.service", |scenario| {
            scenario.workload.service = Duration::Constant(f64::INFINITY);
        }),
        ("control.max_steps", |scenario| {
            scenario.control.max_steps = Some(0)
        }),
        ("control.drain_seconds", |scenario| {
            scenario.control.drain_seconds = f64::NAN
        }),
        ("control.min_parallelism", |scenario| {
            scenario.control.max_parallelism = u32::MAX
        }),
        ("platform.poll_seconds", |scenario| {
            scenario.platform.poll_seconds = -1.0
        }),
    ];
    for (setting, spoil) in cases {
        let mut scenario = Scenario::paper();
        spoil(&mut scenario);
        let cause = scenario.check().unwrap_err();
        assert!(cause.starts_with(setting), "{setting}: {cause}");
    }
}
