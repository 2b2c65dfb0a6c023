//! Draws from distributions, with the same bits on every machine.
//!
//! A logarithm of the system's library may differ in its last bit from machine to machine, and
//! crates of distributions call it. Here every function that is not exactly rounded by IEEE 754
//! comes from `libm`, which is the same Rust code everywhere.

use rand::Rng;
use rand_pcg::Pcg64Mcg;

/// Above 0 and below 1, each of 2⁵³ values alike.
pub(crate) fn uniform(random: &mut Pcg64Mcg) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    ((random.next_u64() >> 11) as f64 + 0.5) * STEP
}

/// Exponential with mean 1.
pub(crate) fn exponential(random: &mut Pcg64Mcg) -> f64 {
    -libm::log(uniform(random))
}

/// Normal with mean 0 and variance 1: Marsaglia's polar method (1964).
pub(crate) fn normal(random: &mut Pcg64Mcg) -> f64 {
    loop {
        let across = 2.0 * uniform(random) - 1.0;
        let up = 2.0 * uniform(random) - 1.0;
        let square = across * across + up * up;
        if square < 1.0 && square > 0.0 {
            return across * (-2.0 * libm::log(square) / square).sqrt();
        }
    }
}

/// Poisson; a mean of 0 gives 0.
pub(crate) fn poisson(mean: f64, random: &mut Pcg64Mcg) -> u64 {
    match mean {
        _ if mean <= 0.0 => 0,
        _ if mean < 12.0 => poisson_by_product(mean, random),
        _ => poisson_by_rejection(mean, random),
    }
}

/// As many uniform numbers as it takes for their product to fall to e^−mean (Knuth).
fn poisson_by_product(mean: f64, random: &mut Pcg64Mcg) -> u64 {
    let enough = libm::exp(-mean);
    let mut product = uniform(random);
    let mut count = 0;
    while product > enough {
        product *= uniform(random);
        count += 1;
    }
    count
}

/// Transformed rejection with squeeze: algorithm PTRS of Hörmann (1993).
fn poisson_by_rejection(mean: f64, random: &mut Pcg64Mcg) -> u64 {
    let log_mean = libm::log(mean);
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.024_83 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = uniform(random) - 0.5;
        let v = uniform(random);
        let us = 0.5 - u.abs();
        let count = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        if us >= 0.07 && v <= squeeze {
            return count as u64;
        }
        if count < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let height = libm::log(v * inverse_alpha / (a / (us * us) + b));
        if height <= count * log_mean - mean - libm::lgamma(count + 1.0) {
            return count as u64;
        }
    }
}

/// A gamma distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gamma {
    method: Method,
    scale: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    /// A whole shape is a sum of that many exponential times: the logarithm of a product.
    Erlang(u32),
    /// Marsaglia and Tsang (2000), for shapes of at least 1.
    Large(Large),
    /// The same with a shape one larger, times a power of a uniform number.
    Small { larger: Large, exponent: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Large {
    d: f64,
    c: f64,
}

/// Up to this shape the product of uniform numbers is the faster method.
const LARGEST_ERLANG: f64 = 6.0;

impl Gamma {
    /// The distribution of that mean and shape, both above 0.
    pub fn new(mean: f64, shape: f64) -> Self {
        let method = match shape {
            _ if shape < 1.0 => Method::Small {
                larger: Large::new(shape + 1.0),
                exponent: 1.0 / shape,
            },
            _ if shape <= LARGEST_ERLANG && shape.fract() == 0.0 => Method::Erlang(shape as u32),
            _ => Method::Large(Large::new(shape)),
        };
        Self {
            method,
            scale: mean / shape,
        }
    }

    /// One draw.
    pub fn sample(&self, random: &mut Pcg64Mcg) -> f64 {
        let unscaled = match self.method {
            Method::Erlang(shape) => {
                let product: f64 = (0..shape).map(|_| uniform(random)).product();
                -libm::log(product)
            }
            Method::Large(large) => large.sample(random),
            Method::Small { larger, exponent } => {
                larger.sample(random) * libm::pow(uniform(random), exponent)
            }
        };
        unscaled * self.scale
    }
}

impl Large {
    fn new(shape: f64) -> Self {
        let d = shape - 1.0 / 3.0;
        Self {
            d,
            c: 1.0 / (9.0 * d).sqrt(),
        }
    }

    fn sample(&self, random: &mut Pcg64Mcg) -> f64 {
        loop {
            let x = normal(random);
            let root = 1.0 + self.c * x;
            if root <= 0.0 {
                continue;
            }
            let cube = root * root * root;
            let u = uniform(random);
            let square = x * x;
            let surely = u < 1.0 - 0.0331 * square * square;
            if surely || libm::log(u) < 0.5 * square + self.d * (1.0 - cube + libm::log(cube)) {
                return self.d * cube;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Cause, random_for};

    const DRAWS: usize = 200_000;

    /// Mean and variance of many draws, and whether they are within five standard errors of what
    /// they should be: a right sampler fails once in a million seeds, and the seed is fixed.
    fn assert_moments(
        name: &str,
        mean: f64,
        variance: f64,
        kurtosis: f64,
        mut draw: impl FnMut(&mut Pcg64Mcg) -> f64,
    ) {
        let mut random = random_for(1, Cause::Exploration);
        let values: Vec<f64> = (0..DRAWS).map(|_| draw(&mut random)).collect();
        let count = DRAWS as f64;
        let found_mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - found_mean).powi(2));
        let found_variance = squares.sum::<f64>() / count;
        let mean_error = (variance / count).sqrt();
        let variance_error = variance * ((kurtosis - 1.0) / count).sqrt();
        assert!(
            (found_mean - mean).abs() < 5.0 * mean_error,
            "{name}: mean {found_mean}, not {mean} ± {mean_error}"
        );
        assert!(
            (found_variance - variance).abs() < 5.0 * variance_error,
            "{name}: variance {found_variance}, not {variance} ± {variance_error}"
        );
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        assert_moments("uniform", 0.5, 1.0 / 12.0, 1.8, uniform);
        assert_moments("exponential", 1.0, 1.0, 9.0, exponential);
        assert_moments("normal", 0.0, 1.0, 3.0, normal);
        for shape in [0.3, 1.0, 2.5, 4.0, 6.0, 7.0, 40.0] {
            let gamma = Gamma::new(2.0, shape);
            let variance = 4.0 / shape;
            let kurtosis = 3.0 + 6.0 / shape;
            assert_moments("gamma", 2.0, variance, kurtosis, |random| {
                gamma.sample(random)
            });
        }
        for mean in [0.4, 7.5, 11.9, 12.1, 60.0, 5000.0] {
            assert_moments("poisson", mean, mean, 3.0 + 1.0 / mean, |random| {
                poisson(mean, random) as f64
            });
        }
    }

    /// Each count's share of the draws, against its probability: the two methods meet at 12.
    #[test]
    fn poisson_numbers_have_their_probabilities() {
        for mean in [0.8, 7.5, 12.5, 30.0] {
            let mut random = random_for(2, Cause::Exploration);
            let mut seen = vec![0_u32; 200];
            for _ in 0..DRAWS {
                seen[poisson(mean, &mut random) as usize] += 1;
            }
            let mut probability = libm::exp(-mean);
            for (count, seen) in seen.iter().enumerate() {
                let expected = probability * DRAWS as f64;
                let error = expected.sqrt().max(1.0);
                assert!(
                    (f64::from(*seen) - expected).abs() < 5.0 * error,
                    "mean {mean}: {count} was drawn {seen} times, not {expected}"
                );
                probability *= mean / (count + 1) as f64;
            }
        }
    }

    #[test]
    fn a_mean_of_nothing_is_no_task() {
        let mut random = random_for(3, Cause::Exploration);
        assert_eq!(poisson(0.0, &mut random), 0);
    }
}
