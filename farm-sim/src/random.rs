//! Chance, one stream per cause.

mod draws;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

pub use draws::Gamma;
pub(crate) use draws::{exponential, normal, poisson};

/// No duration is longer, whatever is drawn.
const LONGEST_SECONDS: f64 = 86_400.0;

/// What a stream of random numbers is for: changing one cause leaves the draws of the others alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Times at which tasks arrive.
    Arrivals = 1,
    /// How long tasks take.
    Service = 2,
    /// How long workers take to start, and scale calls to answer.
    StartUp = 3,
    /// When results are collected.
    Collection = 4,
    /// Workers that fail.
    Failures = 5,
    /// Errors of measurement.
    Noise = 6,
    /// Scenarios that differ from episode to episode.
    Scenario = 7,
    /// Choices of a learner.
    Exploration = 8,
    /// How long each added worker takes to start, where that does not depend on the scale call.
    ColdStart = 9,
}

/// Random numbers of `seed` for one cause.
pub fn random_for(seed: u64, cause: Cause) -> Pcg64Mcg {
    // An odd multiplier spreads neighbouring causes over the whole range of seeds.
    let spread = (cause as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Pcg64Mcg::seed_from_u64(seed ^ spread)
}

/// How long something takes, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Duration {
    /// Always the same.
    Constant(f64),
    /// Anything between two bounds alike.
    Uniform {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
    },
    /// Gamma; its squared coefficient of variation is `1 / shape`. `shape` 1 is exponential.
    Gamma {
        /// Mean in seconds.
        mean: f64,
        /// Shape.
        shape: f64,
        /// Bounds to which draws are clipped.
        clip: Option<(f64, f64)>,
    },
    /// One of these, each as likely.
    Empirical(Vec<f64>),
}

impl Duration {
    /// Tells whether draws can be made from it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let fits = |seconds: f64| (0.0..=LONGEST_SECONDS).contains(&seconds);
        let sound = match self {
            Self::Constant(seconds) => fits(*seconds),
            Self::Uniform { low, high } => fits(*low) && fits(*high) && low <= high,
            Self::Gamma { mean, shape, clip } => {
                let clip = clip.is_none_or(|(low, high)| fits(low) && fits(high) && low <= high);
                fits(*mean) && *mean > 0.0 && shape.is_finite() && *shape > 0.0 && clip
            }
            Self::Empirical(values) => {
                !values.is_empty() && values.iter().all(|value| fits(*value))
            }
        };
        let cause = || {
            format!(
                "{self:?} is no duration: use seconds from 0 to {LONGEST_SECONDS}, low <= high, mean and shape above 0"
            )
        };
        sound.then_some(()).ok_or_else(cause)
    }

    /// A sampler of it.
    pub fn sampler(&self) -> Sampler {
        match self {
            Self::Constant(seconds) => Sampler::Constant(*seconds),
            Self::Uniform { low, high } => Sampler::Uniform(*low, *high - *low),
            Self::Gamma { mean, shape, clip } => {
                let clip = clip.unwrap_or((0.0, LONGEST_SECONDS));
                Sampler::Gamma(Gamma::new(*mean, *shape), clip)
            }
            Self::Empirical(values) => Sampler::Empirical(values.clone()),
        }
    }

    /// The same with all times multiplied by `factor`.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        match self {
            Self::Constant(seconds) => Self::Constant(seconds * factor),
            Self::Uniform { low, high } => Self::Uniform {
                low: low * factor,
                high: high * factor,
            },
            Self::Gamma { mean, shape, clip } => Self::Gamma {
                mean: mean * factor,
                shape: *shape,
                clip: clip.map(|(low, high)| (low * factor, high * factor)),
            },
            Self::Empirical(values) => {
                Self::Empirical(values.iter().map(|value| value * factor).collect())
            }
        }
    }
}

/// Draws durations.
#[derive(Debug, Clone)]
pub enum Sampler {
    /// Always the same.
    Constant(f64),
    /// From the first, as far as the second.
    Uniform(f64, f64),
    /// Gamma, clipped.
    Gamma(Gamma, (f64, f64)),
    /// One of these.
    Empirical(Vec<f64>),
}

impl Sampler {
    /// One draw, in seconds.
    pub fn seconds(&self, random: &mut Pcg64Mcg) -> f64 {
        match self {
            Self::Constant(seconds) => *seconds,
            Self::Uniform(low, width) => low + width * random.random::<f64>(),
            // Unlike `clamp` this cannot panic.
            Self::Gamma(gamma, (low, high)) => gamma.sample(random).max(*low).min(*high),
            Self::Empirical(values) => {
                let index = random.random_range(0..values.len().max(1));
                values.get(index).copied().unwrap_or(0.0)
            }
        }
    }
}
