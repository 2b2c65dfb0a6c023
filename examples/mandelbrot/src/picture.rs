//! What to draw: the job, and the regions it is cut into.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::fractal::Point;

/// Longest side of a picture, in pixels.
pub const MAX_SIDE_PIXELS: u32 = 4096;
/// Longest side of a tile, in pixels: a packed tile then stays well below a message's 1 MiB.
pub const MAX_TILE_PIXELS: u32 = 256;

/// The job: a picture, as JSON. Every field has a default, so `{}` is a picture too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Picture {
    /// The point in the middle.
    pub centre: Point,
    /// Width of the view on the complex plane.
    #[serde(deserialize_with = "view_width")]
    pub width: f64,
    /// Width of the picture.
    #[serde(deserialize_with = "between::<_, 1, MAX_SIDE_PIXELS>")]
    pub width_pixels: u32,
    /// Height of the picture.
    #[serde(deserialize_with = "between::<_, 1, MAX_SIDE_PIXELS>")]
    pub height_pixels: u32,
    /// Side of a tile: smaller tiles are more tasks, and share out more evenly.
    #[serde(deserialize_with = "between::<_, 8, MAX_TILE_PIXELS>")]
    pub tile_pixels: u32,
    /// A point that has not escaped by then counts as inside the set.
    #[serde(deserialize_with = "between::<_, 1, 100_000>")]
    pub max_iterations: u32,
    /// Each pixel is the mean of this many points squared.
    #[serde(deserialize_with = "between::<_, 1, 4>")]
    pub samples_per_side: u32,
    /// Where on the palette the colours start, 0 to 1.
    pub palette_offset: f64,
    /// Draw the Julia set of this constant instead of the Mandelbrot set.
    pub julia: Option<Point>,
}

impl Default for Picture {
    /// Seahorse Valley: spirals around small copies of the whole set.
    fn default() -> Self {
        Self {
            centre: Point {
                re: -0.7463,
                im: 0.1102,
            },
            width: 0.005,
            width_pixels: 1920,
            height_pixels: 1200,
            tile_pixels: 96,
            max_iterations: 2000,
            samples_per_side: 3,
            palette_offset: 0.3,
            julia: None,
        }
    }
}

impl Picture {
    /// The regions that cover the picture, row by row; those at the edges may be smaller.
    pub fn regions(self) -> impl Iterator<Item = Region> {
        let side = self.tile_pixels;
        let columns = self.width_pixels.div_ceil(side);
        let rows = self.height_pixels.div_ceil(side);
        (0..rows * columns).map(move |position| {
            let (x_pixels, y_pixels) = (position % columns * side, position / columns * side);
            Region {
                x_pixels,
                y_pixels,
                width_pixels: side.min(self.width_pixels - x_pixels),
                height_pixels: side.min(self.height_pixels - y_pixels),
                picture: self.clone(),
            }
        })
    }

    /// The point of the complex plane at a position on the picture; `y` grows downwards.
    pub fn point_at(&self, x_pixels: f64, y_pixels: f64) -> Point {
        let plane_per_pixel = self.width / f64::from(self.width_pixels);
        Point {
            re: self.centre.re + (x_pixels - f64::from(self.width_pixels) / 2.0) * plane_per_pixel,
            im: self.centre.im - (y_pixels - f64::from(self.height_pixels) / 2.0) * plane_per_pixel,
        }
    }
}

/// The task: one rectangle of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Distance from the picture's left edge.
    pub x_pixels: u32,
    /// Distance from the picture's upper edge.
    pub y_pixels: u32,
    /// Width of the region.
    #[serde(deserialize_with = "between::<_, 1, MAX_TILE_PIXELS>")]
    pub width_pixels: u32,
    /// Height of the region.
    #[serde(deserialize_with = "between::<_, 1, MAX_TILE_PIXELS>")]
    pub height_pixels: u32,
    /// The picture it belongs to.
    pub picture: Picture,
}

/// Reads a whole number and names the bounds it breaks.
pub fn between<'de, D, const LOWEST: u32, const HIGHEST: u32>(wire: D) -> Result<u32, D::Error>
where
    D: Deserializer<'de>,
{
    let number = u32::deserialize(wire)?;
    if (LOWEST..=HIGHEST).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::custom(format!(
        "{number} is not between {LOWEST} and {HIGHEST}"
    )))
}

/// Below this width neighbouring pixels are the same 64-bit number.
const NARROWEST_VIEW: f64 = 1e-11;

fn view_width<'de, D: Deserializer<'de>>(wire: D) -> Result<f64, D::Error> {
    let width = f64::deserialize(wire)?;
    if (NARROWEST_VIEW..=16.0).contains(&width) {
        return Ok(width);
    }
    Err(D::Error::custom(format!(
        "{width} is not between {NARROWEST_VIEW} and 16"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn regions_cover_every_pixel_once() {
        let picture = Picture {
            width_pixels: 50,
            height_pixels: 33,
            tile_pixels: 16,
            ..Picture::default()
        };
        let mut covered = vec![0; 50 * 33];
        for region in picture.regions() {
            for y in region.y_pixels..region.y_pixels + region.height_pixels {
                for x in region.x_pixels..region.x_pixels + region.width_pixels {
                    covered[(y * 50 + x) as usize] += 1;
                }
            }
        }
        assert!(covered.iter().all(|&times| times == 1));
    }

    #[test]
    fn an_empty_object_is_the_default_picture() {
        assert_eq!(
            serde_json::from_str::<Picture>("{}").unwrap(),
            Picture::default()
        );
    }

    #[test]
    fn a_picture_out_of_bounds_is_refused_with_the_bounds() {
        let refusal = |json| {
            serde_json::from_str::<Picture>(json)
                .unwrap_err()
                .to_string()
        };
        assert!(refusal(r#"{"width_pixels": 100000}"#).contains("between 1 and 4096"));
        assert!(refusal(r#"{"tile_pixels": 0}"#).contains("between 8 and 256"));
        assert!(refusal(r#"{"width": -1}"#).contains("between 0.00000000001 and 16"));
        assert!(refusal(r#"{"widht": 1}"#).contains("unknown field `widht`"));
    }

    #[test]
    fn the_middle_of_the_picture_is_its_centre() {
        let picture = Picture {
            width_pixels: 50,
            height_pixels: 30,
            ..Picture::default()
        };
        assert_eq!(picture.point_at(25.0, 15.0), picture.centre);
        assert!(picture.point_at(25.0, 0.0).im > picture.centre.im);
    }
}
