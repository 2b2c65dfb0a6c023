//! The published actions, on the published tasks, with the lengths of the published steps.

use farm_sim::episode::Episode;
use farm_sim::scenario::Scenario;

use crate::published::{Published, episodes, mean_and_deviation, streams};

/// How far the simulator is from one episode.
#[derive(Debug)]
struct Deviation {
    qos_points: f64,
    queue_tasks: f64,
    window_qos_points: f64,
    rate_per_second: f64,
}

fn replay(published: &Published, stream: farm_sim::workload::Stream) -> Option<Deviation> {
    let mut episode = Episode::new(&Scenario::paper(), published.seed).unwrap();
    episode.begin(stream, published.seed);
    let count = published.steps.len() as f64;
    let (mut queue, mut window, mut rate) = (0.0, 0.0, 0.0);
    for step in &published.steps {
        episode.step_for(step.workers, step.seconds?);
        let observation = episode.observation();
        queue += (observation.backlog_tasks as f64 - step.queue).abs();
        window += (observation.qos_ratio.unwrap_or(1.0) - step.qos_ratio).abs();
        rate += (observation.arrival_rate_per_second - step.arrival_rate_per_second).abs();
    }
    let outcome = episode.outcome();
    Some(Deviation {
        qos_points: 100.0 * outcome.collected_qos_ratio() - published.qos_percent,
        queue_tasks: queue / count,
        window_qos_points: 100.0 * window / count,
        rate_per_second: rate / count,
    })
}

#[test]
fn published_actions_give_the_published_quality() {
    let streams = streams();
    println!(
        "policy            episodes  |QoS error|   bias  |queue error|  |window QoS error|  |rate error|"
    );
    for (policy, episodes) in episodes() {
        let deviations: Vec<Deviation> = episodes
            .iter()
            .filter_map(|published| replay(published, streams[&published.seed].clone()))
            .collect();
        let mean = |of: fn(&Deviation) -> f64| mean_and_deviation(deviations.iter().map(of)).0;
        let error_points = mean(|deviation| deviation.qos_points.abs());
        let bias_points = mean(|deviation| deviation.qos_points);
        let queue_tasks = mean(|deviation| deviation.queue_tasks);
        let window_points = mean(|deviation| deviation.window_qos_points);
        let rate = mean(|deviation| deviation.rate_per_second);
        println!(
            "{policy:16} {:9} {error_points:12.2} {bias_points:+6.2} {queue_tasks:14.2} {window_points:19.2} {rate:13.3}",
            deviations.len(),
        );
        assert!(deviations.len() >= 9, "{policy}: step lengths are missing");
        assert!(error_points < 0.5, "{policy}: QoS is {error_points} off");
        assert!(
            queue_tasks < 1.0,
            "{policy}: the queue is {queue_tasks} off"
        );
    }
}
