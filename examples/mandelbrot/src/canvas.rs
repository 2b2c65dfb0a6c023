//! The picture as it comes together: what the collector folds.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer, ser::Error};

use crate::palette;
use crate::tile::Tile;

/// The tiles so far, as one palette index a pixel. Serialises to a [`Summary`].
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Canvas {
    width_pixels: u32,
    height_pixels: u32,
    tiles: u64,
    colours: Vec<u8>,
}

/// What the job answers with.
#[derive(Serialize)]
struct Summary {
    width_pixels: u32,
    height_pixels: u32,
    tiles: u64,
    /// Absent if no tile was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    png_base64: Option<String>,
}

impl Canvas {
    /// This canvas with one more tile; the first one tells how large the picture is.
    pub fn with(mut self, tile: &Tile) -> Self {
        if self.tiles == 0 {
            self.width_pixels = tile.picture_width_pixels;
            self.height_pixels = tile.picture_height_pixels;
            let pixels = self.width_pixels as usize * self.height_pixels as usize;
            self.colours = vec![palette::INSIDE; pixels];
        }
        self.tiles += 1;
        let (x, width) = (tile.x_pixels as usize, tile.width_pixels as usize);
        let canvas_rows = self
            .colours
            .chunks_exact_mut(self.width_pixels as usize)
            .skip(tile.y_pixels as usize);
        for (canvas_row, tile_row) in canvas_rows.zip(tile.colours.chunks_exact(width)) {
            if let Some(place) = canvas_row.get_mut(x..x + width) {
                place.copy_from_slice(tile_row);
            }
        }
        self
    }

    fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width_pixels, self.height_pixels);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(palette::rgb());
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.colours)?;
        writer.finish()?;
        Ok(bytes)
    }
}

impl Serialize for Canvas {
    fn serialize<S: Serializer>(&self, wire: S) -> Result<S::Ok, S::Error> {
        let png = (self.tiles > 0)
            .then(|| self.png())
            .transpose()
            .map_err(S::Error::custom)?;
        Summary {
            width_pixels: self.width_pixels,
            height_pixels: self.height_pixels,
            tiles: self.tiles,
            png_base64: png.map(|bytes| BASE64_STANDARD.encode(bytes)),
        }
        .serialize(wire)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tile(x_pixels: u32, y_pixels: u32, width_pixels: u32, colours: Vec<u8>) -> Tile {
        Tile {
            x_pixels,
            y_pixels,
            width_pixels,
            picture_width_pixels: 3,
            picture_height_pixels: 2,
            colours,
        }
    }

    #[test]
    fn tiles_find_their_place_in_any_order() {
        let tiles = [
            tile(2, 0, 1, vec![3, 6]),
            tile(0, 1, 2, vec![4, 5]),
            tile(0, 0, 2, vec![1, 2]),
        ];
        let forwards = tiles.iter().fold(Canvas::default(), Canvas::with);
        let backwards = tiles.iter().rev().fold(Canvas::default(), Canvas::with);
        assert_eq!(forwards.colours, [1, 2, 3, 4, 5, 6]);
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn a_tile_that_does_not_fit_changes_nothing_else() {
        let canvas = Canvas::default()
            .with(&tile(2, 1, 2, vec![7, 8]))
            .with(&tile(0, 9, 1, vec![9]));
        assert_eq!(canvas.colours, [palette::INSIDE; 6]);
    }

    #[test]
    fn the_summary_holds_a_png_of_these_pixels() {
        let canvas = Canvas::default().with(&tile(0, 0, 3, vec![1, 2, 3, 4, 5, 6]));
        let summary = serde_json::to_value(&canvas).unwrap();
        let bytes = BASE64_STANDARD
            .decode(summary["png_base64"].as_str().unwrap())
            .unwrap();

        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, canvas.colours);
        assert_eq!(
            reader.info().palette.as_deref(),
            Some(palette::rgb().as_slice())
        );
        assert_eq!(summary["tiles"], 1);
    }

    #[test]
    fn a_job_without_tiles_has_no_png() {
        let summary = serde_json::to_value(Canvas::default()).unwrap();
        assert_eq!(summary.get("png_base64"), None);
    }
}
