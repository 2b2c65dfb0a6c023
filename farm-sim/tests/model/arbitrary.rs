//! Scenarios of all kinds, with numbers from one end of what is allowed to the other.

use farm_sim::platform::{ColdStart, Failures, Platform};
use farm_sim::random::Duration;
use farm_sim::scenario::{Control, Randomisation, Scenario};
use farm_sim::workload::{Arrivals, Deadline, Phase, Rate, Recording, Workload};
use proptest::prelude::*;

/// A time in seconds: often nothing, often usual, now and then absurd.
fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..2.0, 0.0..20.0, 0.0..86_400.0]
}

pub fn duration() -> BoxedStrategy<Duration> {
    prop_oneof![
        seconds().prop_map(Duration::Constant),
        (seconds(), seconds()).prop_map(|(one, other)| Duration::Uniform {
            low: one.min(other),
            high: one.max(other),
        }),
        (1e-9..1000.0, prop_oneof![1e-6..0.1, 0.1..8.0, 8.0..1e6]).prop_map(|(mean, shape)| {
            Duration::Gamma {
                mean,
                shape,
                clip: None,
            }
        }),
        (0.1..10.0, 1.0..8.0, seconds(), seconds()).prop_map(|(mean, shape, one, other)| {
            Duration::Gamma {
                mean,
                shape,
                clip: Some((f64::min(one, other), f64::max(one, other))),
            }
        }),
        prop::collection::vec(seconds(), 1..5).prop_map(Duration::Empirical),
    ]
    .boxed()
}

fn rate() -> BoxedStrategy<Rate> {
    let number = || prop_oneof![Just(0.0), 0.0..10.0];
    let time = || prop_oneof![0.001..1.0, 1.0..100.0];
    prop_oneof![
        number().prop_map(Rate::Constant),
        (number(), number(), time()).prop_map(|(mean, amplitude, period_seconds)| Rate::Sine {
            mean,
            amplitude,
            period_seconds,
        }),
        (number(), number()).prop_map(|(low, high)| Rate::Ramp { low, high }),
        (number(), number(), time(), time()).prop_map(|(low, high, off_seconds, on_seconds)| {
            Rate::OnOff {
                low,
                high,
                off_seconds,
                on_seconds,
            }
        }),
    ]
    .boxed()
}

fn arrivals() -> BoxedStrategy<Arrivals> {
    let phase = (0_u64..100, 1_u64..20).prop_map(|(tasks, windows)| Phase { tasks, windows });
    let recording = prop::collection::vec(0.0..50.0, 0..100).prop_map(|mut times: Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        let lines: Vec<String> = times.iter().map(f64::to_string).collect();
        let text = format!("arrival_seconds\n{}", lines.join("\n"));
        Arrivals::Recorded(Recording::parse(&text).unwrap())
    });
    prop_oneof![
        (0.0..10.0, 0.0..50.0).prop_map(|(per_second, seconds)| Arrivals::Constant {
            per_second,
            seconds,
        }),
        // As many at once as may be.
        (1e5..1e6, 0.0..0.001).prop_map(|(per_second, seconds)| Arrivals::Constant {
            per_second,
            seconds,
        }),
        (rate(), 0.0..50.0).prop_map(|(rate, seconds)| Arrivals::Poisson { rate, seconds }),
        (prop::collection::vec(phase, 0..4), any::<bool>())
            .prop_map(|(phases, shuffled)| Arrivals::Phases { phases, shuffled }),
        recording,
    ]
    .boxed()
}

fn deadline() -> BoxedStrategy<Deadline> {
    prop_oneof![
        Just(Deadline::Never),
        (1e-9..1e5).prop_map(Deadline::Seconds),
        (0.1..1e3, seconds(), seconds()).prop_map(|(factor, one, other)| Deadline::ServiceTimes {
            factor,
            bounds: (f64::min(one, other), f64::max(one, other)),
        }),
    ]
    .boxed()
}

prop_compose! {
    fn calls()(
        scale_up_call in duration(),
        scale_down_call in duration(),
        blocking in any::<bool>(),
        read_out in duration(),
        cold_start in prop_oneof![
            duration().prop_map(ColdStart::After),
            seconds().prop_map(ColdStart::BeforeAnswer),
        ],
        warm_start in prop::option::of(duration()),
        slots_max in prop_oneof![Just(1_u32), 1..9_u32, Just(u32::MAX)],
        slot_change in duration(),
    ) -> Platform {
        Platform {
            scale_up_call, scale_down_call, blocking, read_out, cold_start, warm_start,
            slots_max, slot_change, ..Platform::ideal()
        }
    }
}

fn failures() -> BoxedStrategy<Failures> {
    (1.0..1e6, seconds(), seconds())
        .prop_map(
            |(mean_time_between_seconds, redelivery_seconds, restart_seconds)| Failures {
                mean_time_between_seconds,
                redelivery_seconds,
                restart_seconds,
            },
        )
        .boxed()
}

prop_compose! {
    pub fn platform()(
        calls in calls().boxed(),
        drain_notice in duration(),
        poll_seconds in prop_oneof![Just(0.0), 1e-9..1e-3, 0.001..1.0, seconds()],
        collection in duration(),
        telemetry_delay_seconds in seconds(),
        telemetry_noise_ratio in prop_oneof![Just(0.0), 0.0..10.0],
        failures in prop::option::of(failures()),
    ) -> Platform {
        Platform {
            drain_notice, poll_seconds, collection, telemetry_delay_seconds,
            telemetry_noise_ratio, failures, ..calls
        }
    }
}

prop_compose! {
    fn control()(
        interval_seconds in prop_oneof![Just(0.001), 0.5..10.0, Just(86_400.0)],
        max_steps in prop::option::of(1_u32..100),
        drain_seconds in seconds(),
        mut workers in prop::array::uniform3(0_u32..40),
        target_qos_ratio in 0.0..=1.0,
        hide_script in any::<bool>(),
    ) -> Control {
        workers.sort_unstable();
        let [min_parallelism, initial_parallelism, max] = workers;
        Control {
            interval_seconds, max_steps, drain_seconds, initial_parallelism, min_parallelism,
            max_parallelism: max.max(1), target_qos_ratio, hide_script,
        }
    }
}

fn range() -> BoxedStrategy<(f64, f64)> {
    prop_oneof![
        Just((1.0, 1.0)),
        (0.01..1.0, 1.0..100.0),
        Just((0.01, 0.01)),
        Just((100.0, 100.0))
    ]
    .boxed()
}

prop_compose! {
    pub fn scenario()(
        arrivals in arrivals(),
        service in duration(),
        deadline in deadline(),
        platform in platform().boxed(),
        control in control().boxed(),
        rate in range(),
        service_range in range(),
        start_up in range(),
    ) -> Scenario {
        Scenario {
            name: "arbitrary".to_owned(),
            workload: Workload { arrivals, service, deadline },
            platform,
            control,
            randomisation: Randomisation { rate, service: service_range, start_up },
        }
    }
}
