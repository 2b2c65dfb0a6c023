//! What can be done with an image.

use std::io::Cursor;
use std::time::Instant;

use farm_sdk::{ResultExt, TaskError};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, imageops::FilterType};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::base64_bytes::Base64Bytes;
use crate::metadata::Metadata;
use crate::source::Decoded;
use crate::task::{EncodedImage, Format, Output};

/// One thing to do with an image, as JSON: `"metadata"`, `{"thumbnail": {"side_pixels": 128}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Scale down until neither side is longer than `side_pixels`; a small image stays as it is.
    Thumbnail(Thumbnail),
    /// Write again as JPEG.
    Recompress {
        /// From 1, small, to 100, good.
        #[serde(deserialize_with = "percent")]
        quality: u8,
    },
    /// Write again in another format.
    Convert {
        /// The format to write.
        format: Format,
    },
    /// Read size, colours and EXIF tags.
    Metadata,
}

/// How to make a thumbnail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thumbnail {
    /// The longer side may be this long.
    pub side_pixels: u32,
    /// The format to write. Default: JPEG, or PNG if parts of the image may be transparent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

impl Default for Thumbnail {
    fn default() -> Self {
        Self {
            side_pixels: 256,
            format: None,
        }
    }
}

impl Default for Operation {
    fn default() -> Self {
        Operation::Thumbnail(Thumbnail::default())
    }
}

fn percent<'de, D: Deserializer<'de>>(wire: D) -> Result<u8, D::Error> {
    let quality = u8::deserialize(wire)?;
    if (1..=100).contains(&quality) {
        return Ok(quality);
    }
    Err(D::Error::custom(format!(
        "{quality} is not between 1 and 100"
    )))
}

impl Operation {
    /// Applies the operation and takes its time.
    ///
    /// # Errors
    /// Permanent, if the format cannot hold the image.
    pub fn apply(&self, original: &Decoded) -> Result<Output, TaskError> {
        let started = Instant::now();
        let (name, image, metadata) = match self {
            Operation::Thumbnail(thumbnail) => ("thumbnail", Some(thumbnail.make(original)?), None),
            Operation::Recompress { quality } => {
                ("recompress", Some(recompress(original, *quality)?), None)
            }
            Operation::Convert { format } => ("convert", Some(convert(original, *format)?), None),
            Operation::Metadata => ("metadata", None, Some(Metadata::read(original))),
        };
        Ok(Output {
            operation: name.to_owned(),
            seconds: started.elapsed().as_secs_f64(),
            image,
            metadata,
        })
    }
}

impl Thumbnail {
    fn make(&self, original: &Decoded) -> Result<EncodedImage, TaskError> {
        let image = &original.image;
        let side_pixels = self.side_pixels.max(1);
        let opaque = if image.color().has_alpha() {
            Format::Png
        } else {
            Format::Jpeg
        };
        let format = self.format.unwrap_or(opaque);
        let name = original.derived_name(&format!("thumbnail-{side_pixels}"), format.extension());
        if image.width().max(image.height()) <= side_pixels {
            return encode(name, image, format);
        }
        encode(
            name,
            &image.resize(side_pixels, side_pixels, FilterType::Lanczos3),
            format,
        )
    }
}

fn recompress(original: &Decoded, quality: u8) -> Result<EncodedImage, TaskError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    original
        .image
        .to_rgb8()
        .write_with_encoder(encoder)
        .permanent()?;
    let name = original.derived_name(&format!("quality-{quality}"), Format::Jpeg.extension());
    Ok(encoded(name, &original.image, Format::Jpeg, bytes))
}

fn convert(original: &Decoded, format: Format) -> Result<EncodedImage, TaskError> {
    let name = original.derived_name("converted", format.extension());
    encode(name, &original.image, format)
}

fn encode(name: String, image: &DynamicImage, format: Format) -> Result<EncodedImage, TaskError> {
    let mut file = Cursor::new(Vec::new());
    // JPEG knows no transparency and WebP no 16-bit channels: both take the nearest 8-bit form.
    let written = match format {
        Format::Jpeg => image.to_rgb8().write_to(&mut file, format.into()),
        Format::Webp => image.to_rgba8().write_to(&mut file, format.into()),
        Format::Png => image.write_to(&mut file, format.into()),
    };
    written.permanent()?;
    Ok(encoded(name, image, format, file.into_inner()))
}

fn encoded(name: String, image: &DynamicImage, format: Format, bytes: Vec<u8>) -> EncodedImage {
    EncodedImage {
        name,
        format,
        width_pixels: image.width(),
        height_pixels: image.height(),
        bytes_base64: Base64Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn original(width_pixels: u32, height_pixels: u32) -> Decoded {
        let json = format!(
            r#"{{"name": "a.b.png", "synthetic": {{"width_pixels": {width_pixels}, "height_pixels": {height_pixels}}}}}"#
        );
        Decoded::from_task(&serde_json::from_str(&json).unwrap(), 1_000_000).unwrap()
    }

    fn apply(json: &str, original: &Decoded) -> EncodedImage {
        let operation: Operation = serde_json::from_str(json).unwrap();
        operation.apply(original).unwrap().image.unwrap()
    }

    #[test]
    fn a_thumbnail_keeps_the_shape() {
        let thumbnail = apply(
            r#"{"thumbnail": {"side_pixels": 100}}"#,
            &original(300, 600),
        );
        assert_eq!((thumbnail.width_pixels, thumbnail.height_pixels), (50, 100));
        assert_eq!(thumbnail.name, "a.b-thumbnail-100.jpg");
        let read_back = image::load_from_memory(&thumbnail.bytes_base64.0).unwrap();
        assert_eq!((read_back.width(), read_back.height()), (50, 100));
    }

    #[test]
    fn a_small_image_is_not_blown_up() {
        let thumbnail = apply(r#"{"thumbnail": {}}"#, &original(30, 20));
        assert_eq!((thumbnail.width_pixels, thumbnail.height_pixels), (30, 20));
    }

    #[test]
    fn every_format_can_be_written_and_read_back() {
        let mut original = original(40, 30);
        for image in [
            original.image.to_rgba16().into(),
            original.image.to_luma8().into(),
        ] {
            original.image = image;
            for format in [Format::Jpeg, Format::Png, Format::Webp] {
                let json = serde_json::to_string(&Operation::Convert { format }).unwrap();
                let converted = apply(&json, &original);
                let guessed = image::guess_format(&converted.bytes_base64.0).unwrap();
                assert_eq!(guessed, format.into());
                assert!(image::load_from_memory(&converted.bytes_base64.0).is_ok());
            }
        }
    }

    #[test]
    fn lower_quality_is_smaller() {
        let original = original(200, 200);
        let bytes = |quality| {
            let json = format!(r#"{{"recompress": {{"quality": {quality}}}}}"#);
            apply(&json, &original).bytes_base64.0.len()
        };
        assert!(bytes(20) < bytes(90));
        assert!(serde_json::from_str::<Operation>(r#"{"recompress": {"quality": 0}}"#).is_err());
    }
}
