//! Images out of nothing, of any size, the same ones for the same seed.

use image::{DynamicImage, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// An image to make up: soft lights over a sky, with a grain that keeps encoders busy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Its width.
    pub width_pixels: u32,
    /// Its height.
    pub height_pixels: u32,
    /// Equal seeds make equal images.
    #[serde(default)]
    pub seed: u64,
}

/// A soft light: position and radius as shares of the image, and a colour.
struct Light {
    x: f32,
    y: f32,
    radius: f32,
    rgb: [f32; 3],
}

impl Synthetic {
    /// A file name that says what it is.
    pub fn name(&self) -> String {
        format!(
            "synthetic-{}-{}x{}.png",
            self.seed, self.width_pixels, self.height_pixels
        )
    }

    /// Draws it.
    pub fn draw(&self) -> DynamicImage {
        let mut random = Pcg64Mcg::seed_from_u64(self.seed);
        let lights: [Light; 5] = std::array::from_fn(|_| Light {
            x: random.random(),
            y: random.random(),
            radius: random.random_range(0.1..0.5),
            rgb: std::array::from_fn(|_| random.random_range(0.0..220.0)),
        });
        let (width, height) = (self.width_pixels as f32, self.height_pixels as f32);
        DynamicImage::ImageRgb8(RgbImage::from_fn(
            self.width_pixels,
            self.height_pixels,
            |x, y| {
                let rgb = sky(&lights, x as f32 / width, y as f32 / height);
                let grain: f32 = random.random_range(-6.0..6.0);
                Rgb(rgb.map(|channel| (channel + grain).clamp(0.0, 255.0) as u8))
            },
        ))
    }
}

fn sky(lights: &[Light], x: f32, y: f32) -> [f32; 3] {
    let mut rgb = [20.0 + 60.0 * y, 30.0 + 50.0 * y, 90.0 - 50.0 * y];
    for light in lights {
        let (dx, dy) = (x - light.x, y - light.y);
        let glow = (-(dx * dx + dy * dy) / (light.radius * light.radius)).exp();
        for (channel, colour) in rgb.iter_mut().zip(light.rgb) {
            *channel += colour * glow;
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synthetic(seed: u64) -> Synthetic {
        Synthetic {
            width_pixels: 40,
            height_pixels: 30,
            seed,
        }
    }

    #[test]
    fn equal_seeds_make_equal_images() {
        assert_eq!(synthetic(1).draw(), synthetic(1).draw());
        assert_ne!(synthetic(1).draw(), synthetic(2).draw());
    }
}
