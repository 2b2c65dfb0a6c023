//! What the guard promises, whatever it is shown.

use std::borrow::Cow;

use farm_policy::learned::{ActionSpace, Contract, Models, Sense, Table};
use farm_policy::{Guard, Limits, Observation, PolicySpec, Ruling};
use proptest::prelude::*;

/// One pass of a control loop that may fail in any way.
#[derive(Debug, Clone)]
enum Pass {
    Seen(Box<Observation>),
    Blind { time_seconds: f64, parallelism: u32 },
}

impl Pass {
    fn parallelism(&self) -> u32 {
        match self {
            Self::Seen(observation) => observation.parallelism,
            Self::Blind { parallelism, .. } => *parallelism,
        }
    }

    fn rule(&self, guard: &mut Guard) -> Ruling {
        match self {
            Self::Seen(observation) => guard.decide(observation),
            Self::Blind {
                time_seconds,
                parallelism,
            } => guard.hold(*time_seconds, *parallelism, "blind"),
        }
    }
}

/// Mostly sensible numbers, sometimes nonsense.
fn number(most: f64) -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => 0.0..most,
        1 => Just(0.0),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 1e300, f64::MIN_POSITIVE]),
    ]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 0u64..100, 5 => Just(0u64), 1 => any::<u64>()]
}

fn workers() -> impl Strategy<Value = u32> {
    prop_oneof![10 => 0u32..40, 1 => any::<u32>()]
}

/// Time goes on by about an interval, stands still, jumps, or falls back.
fn gap() -> impl Strategy<Value = f64> {
    prop_oneof![15 => Just(8.0), 1 => Just(0.0), 1 => Just(900.0), 1 => Just(-50.0), 1 => Just(f64::NAN)]
}

prop_compose! {
    fn observation()(
        (backlog_tasks, in_flight_tasks, collected_tasks, submitted_tasks) in
            (count(), count(), count(), count()),
        (parallelism, available_parallelism) in (workers(), workers()),
        arrival_rate_per_second in number(50.0),
        service in prop::option::of((number(5.0), number(9.0))),
        sojourn in prop::option::of((number(9.0), number(20.0))),
        qos_ratio in prop::option::of(number(1.0)),
        deadline_seconds in prop::option::of(number(9.0)),
        cold_start_seconds in number(20.0),
    ) -> Observation {
        Observation {
            backlog_tasks,
            in_flight_tasks,
            collected_tasks,
            submitted_tasks,
            available_parallelism,
            arrival_rate_per_second,
            service_seconds_mean: service.map(|(mean, _)| mean),
            service_seconds_variance: service.map(|(_, variance)| variance),
            sojourn_seconds_mean: sojourn.map(|(mean, _)| mean),
            sojourn_seconds_max: sojourn.map(|(_, longest)| longest),
            qos_ratio,
            deadline_seconds,
            cold_start_seconds,
            ..Observation::idle(0.0, parallelism)
        }
    }
}

fn passes() -> impl Strategy<Value = Vec<Pass>> {
    let pass = prop_oneof![
        5 => observation().prop_map(|observation| Pass::Seen(Box::new(observation))),
        1 => workers().prop_map(|parallelism| Pass::Blind { time_seconds: 0.0, parallelism }),
    ];
    prop::collection::vec((gap(), pass), 1..60).prop_map(|passes| {
        let mut now = 1000.0;
        let at = |(gap, pass): (f64, Pass)| {
            let time_seconds = now + gap;
            now = if gap.is_nan() { now } else { time_seconds };
            match pass {
                Pass::Seen(observation) => Pass::Seen(Box::new(Observation {
                    time_seconds,
                    ..*observation
                })),
                Pass::Blind { parallelism, .. } => Pass::Blind {
                    time_seconds,
                    parallelism,
                },
            }
        };
        passes.into_iter().map(at).collect()
    })
}

prop_compose! {
    fn limits()(
        min in 0u32..5,
        room in 1u32..30,
        step_up in prop::option::of(1u32..5),
        step_down in prop::option::of(1u32..5),
        stabilisation_seconds in prop::sample::select(vec![0.0, 30.0, 120.0]),
        cooldown_seconds in prop::sample::select(vec![0.0, 20.0]),
        idle_seconds in prop::sample::select(vec![0.0, 16.0, 300.0]),
    ) -> Limits {
        Limits {
            min,
            max: min + room,
            step_up,
            step_down,
            stabilisation_seconds,
            cooldown_seconds,
            idle_seconds,
        }
    }
}

fn spec() -> impl Strategy<Value = PolicySpec> {
    let given = [
        ("static", "parallelism", "7"),
        ("queue", "target", "2"),
        ("utilisation", "step", "free"),
        ("reactive-average", "step", "one"),
        ("reactive-average", "step", "free"),
        ("reactive-maximum", "step", "free"),
        ("predictive", "step", "free"),
        ("predictive", "step", "one"),
    ];
    let mut specs: Vec<PolicySpec> = given
        .iter()
        .map(|(name, parameter, value)| {
            let parameters = [((*parameter).to_owned(), (*value).to_owned())].into();
            PolicySpec::parse(name, &parameters).unwrap()
        })
        .collect();
    let parameters = [("model".to_owned(), "erratic".to_owned())].into();
    specs.push(PolicySpec::parse_with("sarsa", &parameters, &Erratic).unwrap());
    prop::sample::select(specs)
}

/// A trained policy that jumps about.
struct Erratic;

impl Models for Erratic {
    fn read(&self, _: &str) -> Result<Cow<'_, [u8]>, String> {
        let contract = Contract {
            features: Contract::features(&[Sense::TaskQueue, Sense::Workers], 200),
            min_parallelism: 0,
            max_parallelism: 200,
            ..Contract::paper(ActionSpace::every_level(0, 200))
        };
        let edges = vec![vec![1.0, 5.0, 30.0], vec![2.0, 4.0, 9.0, 30.0]];
        let mut table = Table::new(contract, edges);
        for state in 0..table.states() {
            table.values_mut(state)[(state * 67 % 201) as usize] = 1.0;
        }
        Ok(table.to_json().into_bytes().into())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_guard_does_no_harm(spec in spec(), limits in limits(), passes in passes()) {
        let mut guard = Guard::new(spec.build(), limits.clone());
        for pass in &passes {
            let ruling = pass.rule(&mut guard);
            let (target, present) = (ruling.target, pass.parallelism());
            prop_assert!((limits.min..=limits.max).contains(&target));
            prop_assert!(!ruling.reasons.is_empty());
            prop_assert_eq!(ruling.held, ruling.wanted.is_none());
            if matches!(pass, Pass::Blind { .. }) {
                prop_assert!(ruling.held);
            }
            // Above a million, workers are nonsense, and what was last decided stays.
            if ruling.held && present <= 1_000_000 {
                prop_assert_eq!(target, present.max(limits.min).min(limits.max));
            }
            if (limits.min..=limits.max).contains(&present) {
                let up = limits.step_up.unwrap_or(u32::MAX);
                let down = limits.step_down.unwrap_or(u32::MAX);
                prop_assert!(target.saturating_sub(present) <= up);
                prop_assert!(present.saturating_sub(target) <= down);
            }
        }
    }

    #[test]
    fn a_loaded_farm_never_shrinks_while_nothing_can_be_seen(
        spec in spec(),
        limits in limits(),
        passes in passes(),
    ) {
        let mut guard = Guard::new(spec.build(), limits.clone());
        for pass in &passes {
            let ruling = pass.rule(&mut guard);
            let Pass::Seen(observation) = pass else { continue };
            let unseen = observation.available_parallelism == 0 || ruling.held;
            let present = observation.parallelism.min(limits.max);
            if observation.is_loaded() && unseen && observation.parallelism <= 1_000_000 {
                prop_assert!(ruling.target >= present, "{:?}", ruling);
            }
        }
    }

    #[test]
    fn zero_needs_idleness_or_zero(spec in spec(), limits in limits(), passes in passes()) {
        let mut guard = Guard::new(spec.build(), limits);
        for pass in &passes {
            let ruling = pass.rule(&mut guard);
            if let Pass::Seen(observation) = pass
                && ruling.target == 0
                && !ruling.held
            {
                prop_assert!(!observation.is_loaded());
            }
        }
    }

    #[test]
    fn equal_histories_give_equal_rulings(
        spec in spec(),
        limits in limits(),
        passes in passes(),
    ) {
        let mut guards = [(); 2].map(|()| Guard::new(spec.build(), limits.clone()));
        for pass in &passes {
            let [one, other] = guards.each_mut().map(|guard| pass.rule(guard));
            prop_assert_eq!(one, other);
        }
    }
}
