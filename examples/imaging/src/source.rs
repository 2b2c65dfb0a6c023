//! From a task to pixels.

use std::io::Cursor;
use std::time::Instant;

use farm_sdk::{ResultExt, TaskError};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::task::ImageTask;

/// An image in memory, upright.
pub struct Decoded {
    /// Name of the file.
    pub name: String,
    /// Its pixels, turned the way its orientation tag asks.
    pub image: DynamicImage,
    /// Its EXIF block, if it has one.
    pub exif: Option<Vec<u8>>,
    /// The format it came in.
    pub format: String,
    /// Time it took.
    pub seconds: f64,
}

impl Decoded {
    /// Decodes, or makes up, the image of a task.
    ///
    /// # Errors
    /// Permanent: no image or two of them, a corrupt file, or more than `max_pixels`.
    pub fn from_task(task: &ImageTask, max_pixels: u64) -> Result<Self, TaskError> {
        let started = Instant::now();
        let mut decoded = match (&task.bytes_base64, &task.synthetic) {
            (Some(bytes), None) => {
                let name = task.name.as_deref().unwrap_or("image");
                from_file(name, &bytes.0, max_pixels)?
            }
            (None, Some(synthetic)) => {
                let name = task.name.clone().unwrap_or_else(|| synthetic.name());
                check_size(
                    &name,
                    synthetic.width_pixels,
                    synthetic.height_pixels,
                    max_pixels,
                )?;
                Self {
                    name,
                    image: synthetic.draw(),
                    exif: None,
                    format: "synthetic".into(),
                    seconds: 0.0,
                }
            }
            _ => {
                return Err(TaskError::permanent(
                    "give either bytes_base64 or synthetic, and only one",
                ));
            }
        };
        decoded.seconds = started.elapsed().as_secs_f64();
        Ok(decoded)
    }

    /// The name of a file made from this one: `a.png` becomes `a-<what>.<extension>`.
    pub fn derived_name(&self, what: &str, extension: &str) -> String {
        let stem = self
            .name
            .rsplit_once('.')
            .map_or(self.name.as_str(), |(stem, _)| stem);
        format!("{stem}-{what}.{extension}")
    }
}

fn from_file(name: &str, bytes: &[u8], max_pixels: u64) -> Result<Decoded, TaskError> {
    let corrupt =
        |error| TaskError::permanent(format!("{name}: not an image this farm can read: {error}"));
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .permanent()?;
    // Eight bytes for the widest pixel, twice for what a decoder keeps beside it.
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(16));
    reader.limits(limits);
    let format = reader
        .format()
        .map_or("unknown", |format| format.to_mime_type())
        .to_owned();

    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width_pixels, height_pixels) = decoder.dimensions();
    check_size(name, width_pixels, height_pixels, max_pixels)?;
    // A broken EXIF block is no reason to refuse the picture.
    let exif = decoder.exif_metadata().unwrap_or_default();
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(corrupt)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(Decoded {
        name: name.to_owned(),
        image,
        exif,
        format,
        seconds: 0.0,
    })
}

fn check_size(
    name: &str,
    width_pixels: u32,
    height_pixels: u32,
    max_pixels: u64,
) -> Result<(), TaskError> {
    let pixels = u64::from(width_pixels) * u64::from(height_pixels);
    if (1..=max_pixels).contains(&pixels) {
        return Ok(());
    }
    Err(TaskError::permanent(format!(
        "{name}: {width_pixels} x {height_pixels} is {pixels} pixels; the limit is {max_pixels} (IMAGING_MAX_PIXELS)"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::{ImageEncoder, RgbImage, codecs::jpeg::JpegEncoder};

    use super::*;
    use crate::metadata::Metadata;

    /// A TIFF block with one tag: orientation 6, "turn a quarter to the right".
    const TURNED: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    fn jpeg(exif: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        RgbImage::new(30, 20).write_with_encoder(encoder).unwrap();
        bytes
    }

    fn refusal(json: &str) -> String {
        let task = serde_json::from_str(json).unwrap();
        Decoded::from_task(&task, 1_000_000)
            .err()
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_camera_held_upright_gives_an_upright_image() {
        let decoded = from_file("a.jpg", &jpeg(TURNED), 1_000_000).unwrap();
        assert_eq!((decoded.image.width(), decoded.image.height()), (20, 30));
        let metadata = Metadata::read(&decoded);
        assert_eq!(
            metadata.exif["Orientation"],
            "row 0 at right and column 0 at top"
        );
        assert_eq!(metadata.format, "image/jpeg");
    }

    #[test]
    fn a_broken_exif_block_does_not_spoil_the_image() {
        let decoded = from_file("a.jpg", &jpeg(b"MM\0*\0\0\xff\xff"), 1_000_000).unwrap();
        assert_eq!(decoded.image.width(), 30);
        assert!(Metadata::read(&decoded).exif_error.is_some());
    }

    #[test]
    fn half_a_file_is_refused_for_good() {
        let bytes = jpeg(TURNED);
        let error = from_file("a.jpg", &bytes[..60], 1_000_000).err().unwrap();
        assert!(matches!(error, TaskError::Permanent { .. }));
        assert!(
            error.to_string().starts_with("a.jpg: not an image"),
            "{error}"
        );
    }

    #[test]
    fn size_is_checked_before_anything_is_decoded() {
        let error = from_file("a.jpg", &jpeg(TURNED), 599)
            .err()
            .unwrap()
            .to_string();
        assert_eq!(
            error,
            "a.jpg: 30 x 20 is 600 pixels; the limit is 599 (IMAGING_MAX_PIXELS)"
        );
    }

    #[test]
    fn a_task_has_exactly_one_image() {
        let synthetic = r#""synthetic": {"width_pixels": 1, "height_pixels": 1}"#;
        assert!(refusal("{}").contains("either bytes_base64 or synthetic"));
        assert!(refusal(&format!(r#"{{"bytes_base64": "", {synthetic}}}"#)).contains("only one"));
        assert!(
            refusal(r#"{"synthetic": {"width_pixels": 0, "height_pixels": 9}}"#)
                .contains("0 pixels")
        );
    }
}
