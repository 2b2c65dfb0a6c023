//! The iteration z ← z² + c, and how fast it escapes.

use serde::{Deserialize, Serialize};

/// A point of the complex plane.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

/// Far beyond 2, where escape is certain, so that the fraction below is smooth.
const ESCAPE_RADIUS: f64 = 256.0;

/// How many iterations it takes `z` to escape, with a fraction, or `None` if it stays.
///
/// The fraction is the usual smooth iteration count, `n + 1 - log2(ln|z| / ln(radius))`:
/// it makes neighbouring points differ gradually instead of in bands.
pub fn escape_time(z: Point, c: Point, max_iterations: u32) -> Option<f64> {
    let Point { mut re, mut im } = z;
    for iteration in 0..max_iterations {
        let (re_squared, im_squared) = (re * re, im * im);
        let norm_squared = re_squared + im_squared;
        if norm_squared > ESCAPE_RADIUS * ESCAPE_RADIUS {
            let overshoot = (norm_squared.ln() / 2.0 / ESCAPE_RADIUS.ln()).log2();
            return Some(f64::from(iteration) + 1.0 - overshoot);
        }
        im = 2.0 * re * im + c.im;
        re = re_squared - im_squared + c.re;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Point = Point { re: 0.0, im: 0.0 };

    fn in_mandelbrot_set(re: f64, im: f64) -> bool {
        escape_time(ORIGIN, Point { re, im }, 10_000).is_none()
    }

    #[test]
    fn known_points_of_the_mandelbrot_set() {
        // The main cardioid, the disc of period 2, the tip of the antenna, a point of period 3.
        for (re, im) in [
            (0.0, 0.0),
            (-1.0, 0.0),
            (-2.0, 0.0),
            (-0.122561, 0.744861),
            (0.25, 0.0),
        ] {
            assert!(in_mandelbrot_set(re, im), "{re} + {im}i is inside");
        }
        for (re, im) in [(0.26, 0.0), (-2.001, 0.0), (1.0, 0.0), (0.0, 1.1)] {
            assert!(!in_mandelbrot_set(re, im), "{re} + {im}i is outside");
        }
    }

    #[test]
    fn the_julia_set_of_zero_is_the_unit_disc() {
        assert_eq!(escape_time(Point { re: 0.6, im: 0.6 }, ORIGIN, 1000), None);
        assert!(escape_time(Point { re: 0.8, im: 0.8 }, ORIGIN, 1000).is_some());
    }

    #[test]
    fn the_count_is_smooth_where_the_iteration_number_jumps() {
        let counts: Vec<f64> = (0..1000)
            .filter_map(|step| {
                let re = 0.3 + f64::from(step) * 1e-4;
                escape_time(ORIGIN, Point { re, im: 0.0 }, 1000)
            })
            .collect();
        assert_eq!(counts.len(), 1000);
        assert!(
            counts
                .windows(2)
                .all(|pair| pair[0] > pair[1] && pair[0] - pair[1] < 0.02)
        );
    }
}
