//! What comes in and what goes out.

use image::ImageFormat;
use serde::{Deserialize, Serialize};

use crate::base64_bytes::Base64Bytes;
use crate::metadata::Metadata;
use crate::operation::Operation;
use crate::source::Decoded;
use crate::synthetic::Synthetic;

/// The task: one image, as bytes or as a description, and what to do with it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTask {
    /// Name of the file; results are named after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file itself: JPEG, PNG, WebP or GIF (its first frame).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_base64: Option<Base64Bytes>,
    /// Instead of a file: an image to make up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// What to do, in this order; each works on the original.
    #[serde(default = "thumbnail_only")]
    pub operations: Vec<Operation>,
}

fn thumbnail_only() -> Vec<Operation> {
    vec![Operation::default()]
}

/// The file formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lossy, without transparency.
    Jpeg,
    /// Lossless.
    Png,
    /// Lossless here: the encoder writes no lossy WebP.
    Webp,
}

impl Format {
    /// The end of a file name.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Png => "png",
            Format::Webp => "webp",
        }
    }
}

impl From<Format> for ImageFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Webp => ImageFormat::WebP,
        }
    }
}

/// The result: what became of one image.
#[derive(Debug, Serialize, Deserialize)]
pub struct Processed {
    /// Name of the original.
    pub name: String,
    /// Width of the original, upright.
    pub width_pixels: u32,
    /// Height of the original, upright.
    pub height_pixels: u32,
    /// Time to decode, or make up, the original.
    pub decode_seconds: f64,
    /// One entry for each operation asked for, in the same order.
    pub outputs: Vec<Output>,
}

impl Processed {
    /// Gathers what came of `decoded`.
    pub fn new(decoded: &Decoded, outputs: Vec<Output>) -> Self {
        Self {
            name: decoded.name.clone(),
            width_pixels: decoded.image.width(),
            height_pixels: decoded.image.height(),
            decode_seconds: decoded.seconds,
            outputs,
        }
    }
}

/// What one operation made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Output {
    /// The operation's name.
    pub operation: String,
    /// Time it took, without decoding.
    pub seconds: f64,
    /// The image it made, unless it was `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<EncodedImage>,
    /// What it read, if it was `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// An image file.
#[derive(Debug, Serialize, Deserialize)]
pub struct EncodedImage {
    /// A file name made from the original's.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Its width.
    pub width_pixels: u32,
    /// Its height.
    pub height_pixels: u32,
    /// The file itself.
    pub bytes_base64: Base64Bytes,
}
