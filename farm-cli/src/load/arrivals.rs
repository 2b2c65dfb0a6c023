//! When tasks arrive at a given rate.

use std::time::Duration;

use rand_distr::{Distribution, Exp, ExpError};

use super::arrival_random;

/// Evenly spaced arrivals at `rate_per_second`, the first at once, for as long as `duration`.
pub fn constant(rate_per_second: f64, duration: Duration) -> impl Iterator<Item = Duration> + Send {
    // Each time is computed from its number: gaps that are added up drift.
    (0_u64..)
        .map(move |number| Duration::from_secs_f64(number as f64 / rate_per_second))
        .take_while(move |at| *at < duration)
}

/// Arrivals of a Poisson process of `rate_per_second`, for as long as `duration`.
///
/// # Errors
/// The rate is no positive number.
pub fn poisson(
    rate_per_second: f64,
    duration: Duration,
    seed: u64,
) -> Result<impl Iterator<Item = Duration> + Send, ExpError> {
    let gaps = Exp::new(rate_per_second)?.sample_iter(arrival_random(seed));
    let times = gaps.scan(0.0, |at_seconds, gap_seconds: f64| {
        *at_seconds += gap_seconds;
        Some(Duration::try_from_secs_f64(*at_seconds).unwrap_or(Duration::MAX))
    });
    Ok(times.take_while(move |at| *at < duration))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_constant_rate_offers_exactly_rate_times_duration() {
        let times: Vec<_> = constant(50.0, Duration::from_secs(30)).collect();
        assert_eq!(times.len(), 1500);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[1499], Duration::from_millis(29_980));
    }

    #[test]
    fn a_poisson_process_has_its_rate_and_its_spread() {
        let counts: Vec<f64> = (0..400)
            .map(|seed| poisson(20.0, Duration::from_secs(5), seed).unwrap().count() as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / 400.0;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 400.0;
        assert!((mean - 100.0).abs() < 2.0, "{mean}");
        assert!((variance - 100.0).abs() < 25.0, "{variance}");
    }

    #[test]
    fn equal_seeds_give_equal_arrivals() {
        let times = |seed| {
            poisson(5.0, Duration::from_secs(9), seed)
                .unwrap()
                .collect::<Vec<_>>()
        };
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }
}
