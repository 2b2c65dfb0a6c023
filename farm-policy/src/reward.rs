//! What one control interval was worth, from the observation at its end.
//!
//! Simulator, training and live evaluation score with the same functions.

use crate::Observation;

/// How an episode of the paper's experiment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpisodeEnd {
    /// Every task was collected before the last step.
    AllCollected,
    /// The steps ran out.
    OutOfSteps {
        /// Tasks that were not collected by then.
        unfinished_tasks: u64,
    },
}

/// The reward of arXiv 2602.06555, exactly.
///
/// With `qos` the share of tasks inside their deadline (1 in an empty window), `q` the task queue,
/// `w` the workers, `d` the applied change ([`Observation::last_change`]), and *pressed* meaning
/// `q > 30 or qos < 0.95`:
///
/// ```text
///   36 (qos − 0.95) − 2.5 max(0, q/30 − 1)²
/// − 0.05 max(0, w − 14)        if q ≤ 8 and qos ≥ 0.95
/// − 0.08 |d|
/// + 5.5 |d|                    if d > 0 and pressed
/// + 0.1 |d|                    if d < 0 and not pressed
/// + 3.6                        if qos ≥ 0.95 and q ≤ 15
/// last step: + 8 if everything was collected in time, otherwise − 2 min(unfinished, 30)
/// ```
///
/// Its constants fit the paper's workload alone (14 workers, queues of tens, 95 %). For any other
/// farm use [`quality_and_cost`].
///
/// ```
/// use farm_policy::{Observation, reward};
/// let quiet = Observation::idle(8.0, 12);
/// assert!((reward::paper(&quiet, None) - (36.0 * 0.05 + 3.6)).abs() < 1e-9);
/// ```
pub fn paper(observation: &Observation, end: Option<EpisodeEnd>) -> f64 {
    let [_, queue, _, _, workers, _, _, _, qos] = observation.paper_view();
    let change = f64::from(observation.last_change);
    let size = change.abs();
    let pressed = queue > 30.0 || qos < 0.95;

    let mut reward = 36.0 * (qos - 0.95) - 2.5 * (queue / 30.0 - 1.0).max(0.0).powi(2);
    reward -= 0.08 * size;
    if queue <= 8.0 && qos >= 0.95 {
        reward -= 0.05 * (workers - 14.0).max(0.0);
    }
    if change > 0.0 && pressed {
        reward += 5.5 * size;
    }
    if change < 0.0 && !pressed {
        reward += 0.1 * size;
    }
    if qos >= 0.95 && queue <= 15.0 {
        reward += 3.6;
    }
    reward + end.map_or(0.0, paper_ending)
}

fn paper_ending(end: EpisodeEnd) -> f64 {
    match end {
        EpisodeEnd::AllCollected => 8.0,
        EpisodeEnd::OutOfSteps { unfinished_tasks } => -2.0 * unfinished_tasks.min(30) as f64,
    }
}

/// What a worker, a missed deadline and a change cost: the prices of [`quality_and_cost`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Price of one worker for one second. Default 0.01.
    pub worker_second: f64,
    /// Price of one second with every task late, of which the shortfall `max(0, target − qos)` is
    /// the share that is paid. Default 2.5: one percentage point below the target costs as much as
    /// 2.5 workers.
    pub late_second: f64,
    /// Price of one worker more or less. Default 0.02: two seconds of a worker.
    pub changed_worker: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            worker_second: 0.01,
            late_second: 2.5,
            changed_worker: 0.02,
        }
    }
}

/// The price of an interval, negated: what the farm promises and what it costs, nothing else.
///
/// ```text
/// − Δt (worker_second · w + late_second · max(0, target − qos)) − changed_worker · |d|
/// ```
///
/// Above the target quality earns nothing, so the optimum is the cheapest farm that keeps its
/// promise. It holds no constant of a workload: the target is the farm's own, and it does not pay
/// for actions as such. A window in which tasks waited and none ended counts as wholly late:
/// otherwise a farm without workers would be the cheapest.
///
/// ```
/// use farm_policy::{Observation, reward::{Prices, quality_and_cost}};
/// let kept = Observation { qos_ratio: Some(0.96), ..Observation::idle(8.0, 10) };
/// let missed = Observation { qos_ratio: Some(0.90), ..kept.clone() };
/// let prices = Prices::default();
/// assert!((quality_and_cost(&kept, &prices) + 0.8).abs() < 1e-9);
/// assert!((quality_and_cost(&missed, &prices) + 1.8).abs() < 1e-9);
/// ```
pub fn quality_and_cost(observation: &Observation, prices: &Prices) -> f64 {
    let starved = observation.backlog_tasks > 0;
    let qos = observation
        .qos_ratio
        .unwrap_or(if starved { 0.0 } else { 1.0 });
    let shortfall = (observation.target_qos_ratio - qos).max(0.0);
    let per_second =
        prices.worker_second * f64::from(observation.parallelism) + prices.late_second * shortfall;
    -observation.interval_seconds * per_second
        - prices.changed_worker * f64::from(observation.last_change.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(queue: u64, qos: f64, workers: u32, change: i32) -> Observation {
        Observation {
            backlog_tasks: queue,
            qos_ratio: Some(qos),
            last_change: change,
            ..Observation::idle(8.0, workers)
        }
    }

    #[test]
    fn every_term_of_the_paper_counts_when_it_should() {
        let cases = [
            // 36·0.05 − 0.05·2 + 3.6
            (observed(0, 1.0, 16, 0), 5.3),
            // the same with one worker given back: − 0.08 + 0.1
            (observed(0, 1.0, 16, -1), 5.32),
            // a rise that was not needed
            (observed(0, 1.0, 14, 1), 5.32),
            // 36·(−0.45) − 2.5·1 − 0.08 + 5.5
            (observed(60, 0.5, 16, 1), -13.28),
            // a fall under pressure earns nothing
            (observed(60, 0.5, 16, -1), -18.78),
            // between the two queue bounds: no worker price, but the bonus
            (observed(15, 0.95, 20, 0), 3.6),
            (observed(16, 0.95, 20, 0), 0.0),
        ];
        for (observation, expected) in cases {
            let reward = paper(&observation, None);
            assert!(
                (reward - expected).abs() < 1e-9,
                "{reward} for {observation:?}"
            );
        }
    }

    #[test]
    fn the_end_of_an_episode_is_scored_once() {
        let last = observed(0, 1.0, 14, 0);
        let base = paper(&last, None);
        let with = |end| paper(&last, Some(end)) - base;
        assert!((with(EpisodeEnd::AllCollected) - 8.0).abs() < 1e-9);
        let late = |unfinished_tasks| EpisodeEnd::OutOfSteps { unfinished_tasks };
        assert!((with(late(7)) + 14.0).abs() < 1e-9);
        assert!((with(late(700)) + 60.0).abs() < 1e-9);
    }

    #[test]
    fn a_farm_without_workers_is_not_the_cheapest() {
        let starved = Observation {
            backlog_tasks: 5,
            ..Observation::idle(8.0, 0)
        };
        let working = observed(5, 0.95, 32, 0);
        let prices = Prices::default();
        assert!(quality_and_cost(&starved, &prices) < quality_and_cost(&working, &prices));
    }
}
