//! Drives the deciding part through everything that can go wrong, with every policy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use farm_core::FarmName;
use farm_policy::learned::{ActionSpace, Contract, Models, Sense, Table};
use farm_policy::{Limits, POLICY_NAMES, PolicySpec, TRAINED_POLICY_NAMES};
use proptest::prelude::*;

use super::*;
use crate::reports::{Refused, Sums};

const BOUNDS: Bounds = Bounds { min: 0, max: None };

fn settings(policy: &str, limits: Limits, slots_max: Option<u32>) -> Settings {
    let mut parameters = BTreeMap::new();
    if policy == "static" {
        parameters.insert("parallelism".to_owned(), "6".to_owned());
    }
    if policy == "sarsa" {
        parameters.insert("model".to_owned(), "erratic".to_owned());
    }
    Settings {
        farm: FarmName::new("f").unwrap(),
        function: "f".to_owned(),
        policy: PolicySpec::parse_with(policy, &parameters, &Shelf).unwrap(),
        limits,
        slots_max,
        replicas_max: None,
        deadline_seconds: Some(2.0),
        target_qos_ratio: 0.95,
        interval: Duration::from_secs(2),
    }
}

/// All of them, but of the trained ones just the table: a network differs in how it computes only.
fn policies() -> Vec<&'static str> {
    let is_made_here = |name: &&str| *name == "sarsa" || !TRAINED_POLICY_NAMES.contains(name);
    POLICY_NAMES.into_iter().filter(is_made_here).collect()
}

/// Holds a trained policy that jumps about.
struct Shelf;

impl Models for Shelf {
    fn read(&self, _: &str) -> Result<Cow<'_, [u8]>, String> {
        let contract = Contract {
            features: Contract::features(&[Sense::TaskQueue, Sense::Workers], 32),
            interval_seconds: 2.0,
            ..Contract::paper(ActionSpace::every_level(1, 32))
        };
        let mut table = Table::new(contract, vec![vec![1.0, 8.0, 40.0], vec![2.0, 5.0, 16.0]]);
        for state in 0..table.states() {
            table.values_mut(state)[(state * 13 % 32) as usize] = 1.0;
        }
        Ok(table.to_json().into_bytes().into())
    }
}

fn queue(backlog: u64, in_flight: u64, submitted: u64) -> Queue {
    Queue {
        backlog,
        in_flight,
        submitted,
        settled: submitted.saturating_sub(backlog + in_flight),
    }
}

fn census(replicas: u32, slots_each: u32) -> Census {
    Census {
        replicas,
        slots: replicas * slots_each,
        slots_each,
        alike: true,
        busy: replicas * slots_each,
        cold_start_seconds: 1.0,
        refused: None,
    }
}

fn sight(queue: Queue, replicas: u32) -> Sight {
    Sight {
        queue,
        tasks_per_message: 1.0,
        replicas: Replicas {
            asked: replicas,
            available: replicas,
        },
        census: census(replicas, 1),
        window: Window::default(),
        slots_ordered: None,
        start_up_seconds: None,
    }
}

fn patient() -> Limits {
    Limits {
        cooldown_seconds: 3_600.0,
        ..Limits::default()
    }
}

#[test]
fn the_first_look_changes_nothing() {
    let mut decider = Decider::new(&settings("static", Limits::default(), None));
    let sight = sight(queue(500, 1, 501), 1);
    let first = decider.decide(1.0, &sight, BOUNDS, None);
    assert!(first.ruling.held && first.plan.is_none());
    let second = decider.decide(2.0, &sight, BOUNDS, None);
    assert_eq!(second.plan.unwrap().allocation.replicas, 6);
}

#[test]
fn a_queue_of_chunks_is_seen_in_tasks() {
    let mut decider = Decider::new(&settings("queue", Limits::default(), None));
    let in_chunks = |queue| Sight {
        tasks_per_message: 256.0,
        ..sight(queue, 1)
    };
    // Nothing was settled yet: nobody knows that these ten messages are chunks.
    decider.decide(0.0, &sight(queue(10, 0, 10), 1), BOUNDS, None);
    let seen = decider.decide(2.0, &in_chunks(queue(12, 2, 18)), BOUNDS, None);
    let observed = seen.observed.unwrap();
    assert_eq!(observed.backlog_tasks, 12 * 256);
    assert_eq!(observed.in_flight_tasks, 2 * 256);
    assert_eq!(observed.arrival_rate_per_second, 8.0 * 256.0 / 2.0);
    let shown = seen.shown.unwrap();
    assert_eq!(shown.backlog_tasks, 12 * 256);
    assert_eq!(shown.in_flight_tasks, 2 * 256);
    assert_eq!(shown.submitted_tasks, 10 + 8 * 256);
    // Smaller chunks are no submits taken back.
    let later = decider.decide(4.0, &sight(queue(0, 0, 18), 1), BOUNDS, None);
    let shown = later.shown.unwrap();
    assert_eq!(shown.arrival_rate_per_second, 0.0);
    assert_eq!(
        (shown.submitted_tasks, shown.collected_tasks),
        (10 + 8 * 256, 10 + 8 * 256)
    );
}

#[test]
fn a_long_time_without_a_look_is_no_interval() {
    let mut decider = Decider::new(&settings("queue", Limits::default(), None));
    let busy = sight(queue(50, 1, 60), 1);
    for second in [2.0, 4.0, 6.0] {
        decider.decide(second, &busy, BOUNDS, None);
    }
    let jump = decider.decide(606.0, &busy, BOUNDS, None);
    assert!(jump.ruling.held && jump.plan.is_none());
    let reasons = jump.ruling.reasons.join("; ");
    assert!(reasons.contains("not looked at for 600 s"), "{reasons}");
    assert!(decider.decide(608.0, &busy, BOUNDS, None).plan.is_some());
}

#[test]
fn refused_reports_are_no_silence() {
    let mut decider = Decider::new(&settings("queue", Limits::default(), None));
    let mut sight = sight(queue(50, 1, 60), 1);
    decider.decide(2.0, &sight, BOUNDS, None);
    sight.census = Census {
        refused: Some((3, Refused::FromTheFuture)),
        ..Census::default()
    };
    let held = decider.decide(4.0, &sight, BOUNDS, None);
    assert!(held.plan.is_none());
    let last = held.ruling.reasons.last().unwrap();
    assert_eq!(
        last,
        "3 reports were refused, the last because it is from the future: check the clocks"
    );
}

#[test]
fn a_request_that_got_lost_is_repeated_during_the_cooldown() {
    let mut decider = Decider::new(&settings("static", patient(), None));
    let sight = sight(queue(9, 1, 10), 1);
    decider.decide(1.0, &sight, BOUNDS, None);
    for second in 2..9 {
        let decision = decider.decide(f64::from(second), &sight, BOUNDS, None);
        assert_eq!(decision.plan.unwrap().allocation.replicas, 6, "{second}");
    }
}

#[test]
fn a_function_that_somebody_woke_is_not_put_to_sleep_at_once() {
    let limits = Limits {
        min: 0,
        idle_seconds: 4.0,
        stabilisation_seconds: 0.0,
        ..Limits::default()
    };
    let mut decider = Decider::new(&settings("queue", limits, None));
    let asleep = sight(queue(0, 0, 10), 0);
    for second in 1..20 {
        decider.decide(f64::from(second), &asleep, BOUNDS, None);
    }
    // A request through the gateway woke it: its first task may take a moment.
    let awake = sight(queue(0, 0, 10), 1);
    for second in 20..24 {
        let decision = decider.decide(f64::from(second), &awake, BOUNDS, None);
        let replicas = decision.plan.map_or(1, |plan| plan.allocation.replicas);
        assert_eq!(replicas, 1, "{second}: {:?}", decision.ruling);
    }
    let slept_again = (24..40)
        .filter_map(|second| decider.decide(f64::from(second), &awake, BOUNDS, None).plan)
        .any(|plan| plan.allocation.replicas == 0);
    assert!(slept_again);
}

#[test]
fn the_next_decision_starts_from_what_the_platform_can_give() {
    let five = Bounds {
        min: 1,
        max: Some(5),
    };
    let limits = Limits {
        max: 32,
        ..Limits::default()
    };
    let mut decider = Decider::new(&settings("queue", limits, Some(2)));
    let sight = sight(queue(100, 0, 100), 5);
    decider.decide(1.0, &sight, five, None);
    let decision = decider.decide(2.0, &sight, five, None);
    assert_eq!(decision.ruling.target, 32);
    assert_eq!(decider.asked, Some((10, 5)));
    let last = decision.ruling.reasons.last().unwrap();
    assert_eq!(
        last,
        "10 instead of 32: no more than 5 replicas × 2 slots are allowed"
    );
}

/// What happens between two looks.
#[derive(Debug, Clone)]
struct Turn {
    arrivals: u64,
    done: u64,
    service_seconds: f64,
    /// The queue, or the gateway, cannot be seen.
    is_blind: bool,
    is_mute: bool,
    /// The scale request does not arrive.
    is_lost: bool,
    /// Somebody else scales.
    meddles: Option<u32>,
    queue_is_recreated: bool,
    seconds: f64,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let happens = |percent: f64| proptest::bool::weighted(percent / 100.0);
    let turn = (
        (0u64..200, 0u64..200, 0.0f64..5.0, 0.0f64..10.0),
        (happens(20.0), happens(20.0), happens(20.0), happens(2.0)),
        proptest::option::weighted(0.05, 0u32..20),
    );
    let turn = turn.prop_map(
        |((arrivals, done, service_seconds, seconds), faults, meddles)| {
            let (is_blind, is_mute, is_lost, queue_is_recreated) = faults;
            Turn {
                arrivals,
                done,
                service_seconds,
                is_blind,
                is_mute,
                is_lost,
                meddles,
                queue_is_recreated,
                seconds,
            }
        },
    );
    proptest::collection::vec(turn, 1..60)
}

/// A platform and a farm, just real enough to be scaled.
struct World {
    replicas: u32,
    slots: u32,
    waiting: u64,
    submitted: u64,
    at_seconds: f64,
}

impl World {
    fn pass_time(&mut self, turn: &Turn) {
        self.at_seconds += turn.seconds;
        if turn.queue_is_recreated {
            (self.waiting, self.submitted) = (0, 0);
        }
        self.waiting = (self.waiting + turn.arrivals).saturating_sub(turn.done);
        self.submitted += turn.arrivals;
        if let Some(replicas) = turn.meddles {
            self.replicas = replicas;
        }
    }

    fn look(&self, turn: &Turn) -> Sight {
        let in_flight = self.waiting.min(u64::from(self.replicas * self.slots));
        let service = Sums {
            count: turn.done,
            sum: turn.done as f64 * turn.service_seconds,
            sum_squared: turn.done as f64 * turn.service_seconds.powi(2),
            max: turn.service_seconds,
        };
        let census = match turn.is_mute {
            true => Census::default(),
            false => census(self.replicas, self.slots),
        };
        Sight {
            census,
            window: Window {
                service,
                sojourn: service,
                with_deadline: turn.done,
                in_deadline: turn.done / 2,
                ..Window::default()
            },
            slots_ordered: Some(self.slots),
            ..sight(
                queue(self.waiting - in_flight, in_flight, self.submitted),
                self.replicas,
            )
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever fails: it holds when it is blind, and stays within its limits when it is not.
    #[test]
    fn a_farm_in_trouble_is_never_harmed(
        policy in proptest::sample::select(policies()),
        turns in turns(),
        min in 0u32..4,
        max in 4u32..40,
        slots_max in proptest::option::of(1u32..8),
        ceiling in proptest::option::of(1u32..12),
    ) {
        let limits = Limits { min, max, idle_seconds: 5.0, ..Limits::default() };
        let mut decider = Decider::new(&settings(policy, limits, slots_max));
        let bounds = Bounds { min: 0, max: ceiling };
        let mut world = World { replicas: 1, slots: 1, waiting: 0, submitted: 0, at_seconds: 0.0 };
        for turn in turns {
            world.pass_time(&turn);
            if turn.is_blind {
                let decision = decider.hold(world.at_seconds, "nothing is to be seen", None);
                prop_assert!(decision.plan.is_none() && decision.ruling.held);
                continue;
            }
            let sight = world.look(&turn);
            let decision = decider.decide(world.at_seconds, &sight, bounds, None);
            let loaded = world.waiting > 0;
            if turn.is_mute && loaded && world.replicas > 0 {
                prop_assert!(decision.plan.is_none(), "scaled blindly: {decision:?}");
            }
            let Some(plan) = decision.plan else { continue };
            prop_assert!((min..=max).contains(&decision.ruling.target), "{decision:?}");
            prop_assert!(plan.allocation.replicas <= ceiling.unwrap_or(u32::MAX));
            prop_assert!(plan.allocation.slots <= slots_max.unwrap_or(u32::MAX));
            prop_assert!(plan.slots_now >= plan.allocation.slots);
            prop_assert!(plan.allocation.replicas > 0 || min == 0 && !loaded, "{decision:?}");
            if !turn.is_lost {
                world.replicas = plan.allocation.replicas;
                if slots_max.is_some() && world.replicas > 0 {
                    world.slots = plan.slots_now;
                }
            }
        }
    }

    /// However long the trouble lasted, the second look after it decides.
    #[test]
    fn it_recovers_by_itself(
        policy in proptest::sample::select(policies()),
        turns in turns(),
    ) {
        let limits = Limits { max: 20, ..Limits::default() };
        let mut decider = Decider::new(&settings(policy, limits, None));
        let mut world = World { replicas: 3, slots: 1, waiting: 0, submitted: 0, at_seconds: 0.0 };
        for turn in &turns {
            world.pass_time(turn);
            match turn.is_blind {
                true => decider.hold(world.at_seconds, "nothing is to be seen", None),
                false => decider.decide(world.at_seconds, &world.look(turn), BOUNDS, None),
            };
        }
        let well = Turn {
            arrivals: 40,
            done: 10,
            service_seconds: 0.5,
            is_blind: false,
            is_mute: false,
            is_lost: false,
            meddles: Some(3),
            queue_is_recreated: false,
            seconds: 2.0,
        };
        for _ in 0..2 {
            world.pass_time(&well);
            let decision = decider.decide(world.at_seconds, &world.look(&well), BOUNDS, None);
            if !decision.ruling.held {
                return Ok(());
            }
        }
        prop_assert!(false, "still held after two looks");
    }
}
