//! Numbers that change while a training goes on.

use serde::{Deserialize, Serialize};

/// How a number falls, or rises, in the course of a training.
///
/// ```
/// use farm_train::dqn::Schedule;
/// let epsilon = Schedule::Line { from: 1.0, to: 0.1, share: 0.5 };
/// assert!((epsilon.at(0.25, 100) - 0.55).abs() < 1e-12);
/// assert!((epsilon.at(0.75, 300) - 0.1).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// In a straight line, then constant.
    Line {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
        /// Share of the training after which it is reached, 0 to 1.
        share: f64,
    },
    /// Multiplied with a factor after each episode.
    Episodes {
        /// First value.
        from: f64,
        /// Smallest value.
        to: f64,
        /// The factor.
        factor: f64,
    },
}

impl Schedule {
    /// Always the same.
    pub const fn constant(value: f64) -> Self {
        Self::Line {
            from: value,
            to: value,
            share: 0.0,
        }
    }

    /// Its value after a share of the training, 0 to 1, and that many episodes.
    pub fn at(&self, progress_ratio: f64, episodes: u32) -> f64 {
        match *self {
            Self::Line { from, to, share } => match progress_ratio < share {
                true => from + (to - from) * progress_ratio / share,
                false => to,
            },
            Self::Episodes { from, to, factor } => {
                let mut value = from;
                // Multiplied step by step: `powi` may round differently on another machine.
                for _ in 0..episodes {
                    value *= factor;
                    if value <= to {
                        return to;
                    }
                }
                value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_should() {
        let line = Schedule::Line {
            from: 0.5,
            to: 0.02,
            share: 0.4,
        };
        assert_eq!(line.at(0.0, 0), 0.5);
        assert!((line.at(0.2, 9) - 0.26).abs() < 1e-12);
        assert_eq!((line.at(0.4, 9), line.at(1.0, 99)), (0.02, 0.02));
        assert_eq!(Schedule::constant(3.0).at(0.3, 7), 3.0);
    }

    #[test]
    fn factors_apply_per_episode_down_to_the_smallest() {
        let falling = Schedule::Episodes {
            from: 0.8,
            to: 0.05,
            factor: 0.98,
        };
        assert_eq!(falling.at(0.9, 0), 0.8);
        assert!((falling.at(0.0, 49) - 0.8 * 0.98_f64.powi(49)).abs() < 1e-12);
        assert_eq!(falling.at(0.0, 1_000_000_000), 0.05);
    }
}
