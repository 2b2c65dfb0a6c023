//! Images in, smaller images out: thumbnails, recompression, conversion and metadata, as a farm.
//!
//! A task carries one image and the operations to apply; the job is simply many tasks, so there
//! is no emitter function, and every result is answered as it comes, so there is no collector.

mod base64_bytes;
mod metadata;
mod operation;
mod source;
mod synthetic;
mod task;

use farm_sdk::{BoxError, Farm, TaskContext, TaskError, blocking};
use source::Decoded;
use task::{ImageTask, Processed};

/// What every task of a replica shares.
struct App {
    /// Images with more pixels are refused before they are decoded.
    max_pixels: u64,
}

/// Enough for a 40-megapixel camera; one such image takes 160 MB of memory.
const DEFAULT_MAX_PIXELS: u64 = 40_000_000;

impl App {
    async fn connect() -> Result<Self, BoxError> {
        let max_pixels = match std::env::var("IMAGING_MAX_PIXELS") {
            Ok(text) => text
                .parse()
                .map_err(|_| format!("IMAGING_MAX_PIXELS is {text:?}: write a whole number"))?,
            Err(_) => DEFAULT_MAX_PIXELS,
        };
        Ok(Self { max_pixels })
    }
}

/// Worker: decodes the image once and applies each operation to it.
fn process(task: ImageTask, app: &TaskContext<App>) -> Result<Processed, TaskError> {
    let decoded = Decoded::from_task(&task, app.max_pixels)?;
    let outputs = task
        .operations
        .iter()
        .map(|operation| operation.apply(&decoded))
        .collect::<Result<_, _>>()?;
    Ok(Processed::new(&decoded, outputs))
}

#[tokio::main]
async fn main() -> Result<(), farm_sdk::Error> {
    Farm::new(blocking(process)).run(App::connect).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn task(json: &str) -> ImageTask {
        serde_json::from_str(json).unwrap()
    }

    #[tokio::test]
    async fn a_poison_image_does_not_stop_the_others() {
        let good = r#"{"synthetic": {"width_pixels": 300, "height_pixels": 200, "seed": 1}}"#;
        let corrupt = r#"{"name": "a.png", "bytes_base64": "AAAA"}"#;
        let huge = r#"{"synthetic": {"width_pixels": 5000, "height_pixels": 5000}}"#;

        let farm = Farm::new(blocking(process));
        let app = App {
            max_pixels: 1_000_000,
        };
        let done = farm
            .run_in_memory(app, [good, corrupt, huge, good].map(task))
            .await;

        assert_eq!(done.results.len(), 2);
        let thumbnail = done.results[0].outputs[0].image.as_ref().unwrap();
        assert_eq!(
            (thumbnail.width_pixels, thumbnail.height_pixels),
            (256, 171)
        );

        let causes: Vec<_> = done.dead.iter().map(|dead| dead.cause.as_str()).collect();
        assert!(causes[0].contains("a.png: not an image"), "{}", causes[0]);
        assert!(
            causes[1].contains("the limit is 1000000 (IMAGING_MAX_PIXELS)"),
            "{}",
            causes[1]
        );
        assert!(
            done.dead.iter().all(|dead| dead.attempts == 1),
            "permanent means no retry"
        );
    }
}
