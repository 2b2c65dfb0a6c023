//! A drawn region: the result of a task.

use serde::{Deserialize, Serialize};

use crate::fractal::{Point, escape_time};
use crate::palette;
use crate::picture::{MAX_SIDE_PIXELS, Picture, Region, between};

/// The result: the colours of one region, and where it belongs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tile {
    /// Distance from the picture's left edge.
    pub x_pixels: u32,
    /// Distance from the picture's upper edge.
    pub y_pixels: u32,
    /// Width of the tile; its height follows from the number of colours.
    #[serde(deserialize_with = "between::<_, 1, MAX_SIDE_PIXELS>")]
    pub width_pixels: u32,
    /// Width of the whole picture.
    #[serde(deserialize_with = "between::<_, 1, MAX_SIDE_PIXELS>")]
    pub picture_width_pixels: u32,
    /// Height of the whole picture.
    #[serde(deserialize_with = "between::<_, 1, MAX_SIDE_PIXELS>")]
    pub picture_height_pixels: u32,
    /// One palette index a pixel, row by row; packed on the wire.
    #[serde(rename = "colours_zlib_base64", with = "packed")]
    pub colours: Vec<u8>,
}

impl Tile {
    /// Draws a region.
    pub fn draw(region: &Region) -> Self {
        let Region {
            picture,
            x_pixels,
            y_pixels,
            width_pixels,
            height_pixels,
        } = region;
        let colours = (*y_pixels..y_pixels + height_pixels)
            .flat_map(|y| (*x_pixels..x_pixels + width_pixels).map(move |x| (x, y)))
            .map(|(x, y)| pixel(picture, x, y))
            .collect();
        Self {
            x_pixels: *x_pixels,
            y_pixels: *y_pixels,
            width_pixels: *width_pixels,
            picture_width_pixels: picture.width_pixels,
            picture_height_pixels: picture.height_pixels,
            colours,
        }
    }
}

/// The palette index of one pixel: the mean over its sample points, or inside if half of them are.
fn pixel(picture: &Picture, x_pixels: u32, y_pixels: u32) -> u8 {
    let samples = picture.samples_per_side;
    let offset = |sample: u32| (f64::from(sample) + 0.5) / f64::from(samples);
    let (mut turns, mut escaped) = (0.0, 0);
    for (row, column) in (0..samples).flat_map(|row| (0..samples).map(move |column| (row, column)))
    {
        let point = picture.point_at(
            f64::from(x_pixels) + offset(column),
            f64::from(y_pixels) + offset(row),
        );
        if let Some(time) = sample(picture, point) {
            turns += palette::turns(time);
            escaped += 1;
        }
    }
    if escaped * 2 <= samples * samples {
        return palette::INSIDE;
    }
    palette::index(turns / f64::from(escaped) + picture.palette_offset)
}

fn sample(picture: &Picture, point: Point) -> Option<f64> {
    let (start, constant) = match picture.julia {
        Some(constant) => (point, constant),
        None => (Point { re: 0.0, im: 0.0 }, point),
    };
    escape_time(start, constant, picture.max_iterations)
}

/// Colours as base64 of zlib: a fifth of the size, and JSON can carry it.
mod packed {
    use std::io::{Read, Write};

    use base64::{Engine, prelude::BASE64_STANDARD};
    use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    use crate::picture::MAX_TILE_PIXELS;

    pub fn serialize<S: Serializer>(colours: &[u8], wire: S) -> Result<S::Ok, S::Error> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(colours).map_err(ser::Error::custom)?;
        let bytes = zlib.finish().map_err(ser::Error::custom)?;
        wire.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(wire: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(wire)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(de::Error::custom)?;
        // A few bytes of zlib can unpack to gigabytes: no tile is longer than this.
        let longest = u64::from(MAX_TILE_PIXELS) * u64::from(MAX_TILE_PIXELS);
        let mut colours = Vec::new();
        ZlibDecoder::new(bytes.as_slice())
            .take(longest)
            .read_to_end(&mut colours)
            .map_err(de::Error::custom)?;
        Ok(colours)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn first_tile(picture: Picture) -> Tile {
        Tile::draw(&picture.regions().next().unwrap())
    }

    #[test]
    fn a_tile_survives_the_wire_and_gets_smaller() {
        let tile = first_tile(Picture::default());
        let wire = serde_json::to_string(&tile).unwrap();
        assert!(wire.len() < tile.colours.len(), "{} bytes", wire.len());
        assert_eq!(serde_json::from_str::<Tile>(&wire).unwrap(), tile);
    }

    #[test]
    fn the_inside_of_the_set_is_drawn_in_one_colour() {
        let inside = Picture {
            centre: Point { re: -0.1, im: 0.0 },
            width: 0.1,
            width_pixels: 16,
            height_pixels: 16,
            tile_pixels: 16,
            ..Picture::default()
        };
        assert!(
            first_tile(inside)
                .colours
                .iter()
                .all(|&colour| colour == palette::INSIDE)
        );
    }

    #[test]
    fn a_julia_set_of_zero_is_a_disc() {
        let picture = Picture {
            centre: Point { re: 0.0, im: 0.0 },
            julia: Some(Point { re: 0.0, im: 0.0 }),
            width: 4.0,
            width_pixels: 64,
            height_pixels: 64,
            tile_pixels: 64,
            ..Picture::default()
        };
        let inside = first_tile(picture)
            .colours
            .iter()
            .filter(|&&colour| colour == palette::INSIDE)
            .count();
        // A quarter of the side is the radius: π · 16² pixels.
        assert!((780..830).contains(&inside), "{inside}");
    }
}
