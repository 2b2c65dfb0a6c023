//! Means of episodes and how well they are known.

use serde::Serialize;

/// A mean over episodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % confidence interval (Student's t); `None` of one episode.
    pub half_width_95: Option<f64>,
    /// Standard deviation of the episodes, as of a sample; 0 of one episode.
    pub sd: f64,
}

impl Estimate {
    /// The mean of these values; of none, not a number.
    ///
    /// ```
    /// use farm_sim::evaluation::Estimate;
    /// let estimate = Estimate::of([1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(estimate.mean, 2.5);
    /// let half_width = estimate.half_width_95.expect("more than one value");
    /// assert!((half_width - 2.054).abs() < 0.01);
    /// ```
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() == 1 {
            return Self {
                mean,
                half_width_95: None,
                sd: 0.0,
            };
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (squares / (count - 1.0)).sqrt();
        Self {
            mean,
            half_width_95: Some(student_t_975(count - 1.0) * sd / count.sqrt()),
            sd,
        }
    }
}

/// The 97.5 % quantile of Student's t, within 0.2 %.
///
/// Exact for one and two degrees of freedom, beyond those the expansion in their inverse around the
/// normal quantile (Abramowitz and Stegun, *Handbook of Mathematical Functions*, 26.7.5).
fn student_t_975(degrees_of_freedom: f64) -> f64 {
    const NORMAL: f64 = 1.959_963_985;
    match degrees_of_freedom {
        n if n < 1.5 => 12.706_204_736,
        n if n < 2.5 => 4.302_652_730,
        n => {
            let x = NORMAL;
            let terms = [
                (x.powi(3) + x) / 4.0,
                (5.0 * x.powi(5) + 16.0 * x.powi(3) + 3.0 * x) / 96.0,
                (3.0 * x.powi(7) + 19.0 * x.powi(5) + 17.0 * x.powi(3) - 15.0 * x) / 384.0,
                (79.0 * x.powi(9) + 776.0 * x.powi(7) + 1482.0 * x.powi(5)
                    - 1920.0 * x.powi(3)
                    - 945.0 * x)
                    / 92_160.0,
            ];
            terms.iter().rev().fold(0.0, |sum, term| (sum + term) / n) + x
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (degrees, quantile) in [
            (1.0, 12.706),
            (2.0, 4.303),
            (3.0, 3.182),
            (5.0, 2.571),
            (9.0, 2.262),
            (99.0, 1.984),
            (1e6, 1.960),
        ] {
            let found = student_t_975(degrees);
            assert!((found / quantile - 1.0).abs() < 0.002, "{degrees}: {found}");
        }
    }

    #[test]
    fn one_episode_has_no_interval() {
        let one = Estimate::of([3.0]);
        assert_eq!((one.mean, one.half_width_95, one.sd), (3.0, None, 0.0));
    }

    #[test]
    fn an_interval_holds_the_mean_nineteen_times_out_of_twenty() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        let held = (0..4000).filter(|_| {
            let values: Vec<f64> = (0..10)
                .map(|_| (0..12).map(|_| random.random::<f64>()).sum::<f64>())
                .collect();
            let estimate = Estimate::of(values);
            (estimate.mean - 6.0).abs() < estimate.half_width_95.unwrap()
        });
        let share = held.count() as f64 / 4000.0;
        assert!((share - 0.95).abs() < 0.012, "{share}");
    }
}
