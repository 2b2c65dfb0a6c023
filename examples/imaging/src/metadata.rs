//! What a file says about its image.

use std::collections::BTreeMap;

use exif::{Exif, In, Reader};
use serde::{Deserialize, Serialize};

use crate::source::Decoded;

/// Tags and text beyond these bounds are left out, so that a result stays a small message.
const MAX_TAGS: usize = 100;
const MAX_VALUE_CHARS: usize = 200;

/// Size, colours and EXIF tags of an image.
#[derive(Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Media type, or `synthetic`.
    pub format: String,
    /// Width, upright.
    pub width_pixels: u32,
    /// Height, upright.
    pub height_pixels: u32,
    /// Bits for all channels of one pixel.
    pub bits_per_pixel: u16,
    /// Whether parts of it may be transparent.
    pub has_alpha: bool,
    /// EXIF tags of the main image, as text with units; empty if the file has none.
    pub exif: BTreeMap<String, String>,
    /// Why the EXIF block could not be read, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exif_error: Option<String>,
}

impl Metadata {
    /// Reads what the file of `decoded` says.
    pub fn read(decoded: &Decoded) -> Self {
        let block = decoded
            .exif
            .clone()
            .map(|block| Reader::new().read_raw(block));
        let (exif, exif_error) = match block {
            None => (BTreeMap::new(), None),
            Some(Ok(exif)) => (tags(&exif), None),
            Some(Err(error)) => (BTreeMap::new(), Some(error.to_string())),
        };
        let colour = decoded.image.color();
        Self {
            format: decoded.format.clone(),
            width_pixels: decoded.image.width(),
            height_pixels: decoded.image.height(),
            bits_per_pixel: colour.bits_per_pixel(),
            has_alpha: colour.has_alpha(),
            exif,
            exif_error,
        }
    }
}

fn tags(exif: &Exif) -> BTreeMap<String, String> {
    exif.fields()
        .filter(|field| field.ifd_num == In::PRIMARY)
        .take(MAX_TAGS)
        .map(|field| {
            let value = field.display_value().with_unit(exif).to_string();
            (
                field.tag.to_string(),
                value.chars().take(MAX_VALUE_CHARS).collect(),
            )
        })
        .collect()
}
