//! The two published rules, deciding for themselves on the published tasks.

use std::collections::BTreeMap;

use farm_policy::PolicySpec;
use farm_sim::episode::{Episode, Outcome};
use farm_sim::scenario::Scenario;

use crate::published::{episodes, mean_and_deviation, streams};

fn run(policy: &str, seed: u64, stream: farm_sim::workload::Stream) -> Outcome {
    let mut rule = PolicySpec::parse(policy, &BTreeMap::new()).unwrap().build();
    let mut episode = Episode::new(&Scenario::paper(), seed).unwrap();
    episode.begin(stream, seed);
    episode.run(rule.as_mut()).unwrap()
}

#[test]
fn the_reactive_rules_land_in_the_published_intervals() {
    let (streams, episodes) = (streams(), episodes());
    for (policy, published) in [
        ("reactive-average", "ReactiveAverage"),
        ("reactive-maximum", "ReactiveMaximum"),
    ] {
        let published = &episodes[published];
        let outcomes: Vec<Outcome> = published
            .iter()
            .map(|episode| run(policy, episode.seed, streams[&episode.seed].clone()))
            .collect();
        let of = |value: fn(&Outcome) -> f64| mean_and_deviation(outcomes.iter().map(value));
        let qos = of(|outcome| 100.0 * outcome.collected_qos_ratio());
        let workers = of(|outcome| outcome.parallelism_mean);
        let actions = of(|outcome| f64::from(outcome.scaling_actions));
        let most = of(|outcome| f64::from(outcome.parallelism_max));
        let steps = of(|outcome| f64::from(outcome.steps));
        let published_qos = mean_and_deviation(published.iter().map(|episode| episode.qos_percent));
        let published_workers =
            mean_and_deviation(published.iter().map(|episode| episode.workers_mean));
        println!(
            "{policy}: QoS {:.2} ± {:.2} % (published {:.2} ± {:.2}), workers {:.2} ± {:.2} ({:.2} ± {:.2}), \
             actions {:.1}, most workers {:.1}, steps {:.1}",
            qos.0,
            qos.1,
            published_qos.0,
            published_qos.1,
            workers.0,
            workers.1,
            published_workers.0,
            published_workers.1,
            actions.0,
            most.0,
            steps.0
        );
        assert!(
            (qos.0 - published_qos.0).abs() < published_qos.1,
            "{policy}"
        );
        assert!(
            (workers.0 - published_workers.0).abs() < published_workers.1,
            "{policy}"
        );
    }
}
