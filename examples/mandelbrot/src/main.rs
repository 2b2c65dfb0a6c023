//! A picture of the Mandelbrot set, or of a Julia set, computed as a farm of tiles.
//!
//! ```text
//! picture ──► emitter ──► tiles to draw ──► worker × N ──► drawn tiles ──► collector ──► PNG
//! ```
//!
//! Tiles differ in cost by orders of magnitude: outside the set a point escapes after a few
//! iterations, inside it every iteration is spent. Workers pull the next tile when they are free,
//! so nobody has to know in advance which tiles are the dear ones.

mod canvas;
mod fractal;
mod palette;
mod picture;
mod tile;

use canvas::Canvas;
use farm_sdk::{Farm, TaskContext, TaskError, blocking, no_state};
use picture::{Picture, Region};
use tile::Tile;

/// Emitter: cuts the picture into regions.
fn split(picture: Picture) -> impl Iterator<Item = Region> {
    picture.regions()
}

/// Worker: draws one region. Pure computation, so a plain function on a blocking thread.
fn draw(region: Region, _: &TaskContext<()>) -> Result<Tile, TaskError> {
    Ok(Tile::draw(&region))
}

/// Collector: puts every tile in its place; the finished canvas is answered as a PNG.
fn assemble(canvas: Canvas, tile: Tile) -> Canvas {
    canvas.with(&tile)
}

#[tokio::main]
async fn main() -> Result<(), farm_sdk::Error> {
    Farm::new(blocking(draw))
        .emitter(split)
        .collector(Canvas::default, assemble)
        .run(no_state)
        .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_farm_draws_what_one_loop_draws() {
        let picture: Picture =
            serde_json::from_str(r#"{"width_pixels": 70, "height_pixels": 50, "tile_pixels": 16}"#)
                .unwrap();
        let direct = picture
            .clone()
            .regions()
            .fold(Canvas::default(), |canvas, region| {
                canvas.with(&Tile::draw(&region))
            });

        let farm = Farm::new(blocking(draw))
            .emitter(split)
            .collector(Canvas::default, assemble);
        let done = farm.run_in_memory((), [picture]).await;

        assert!(done.dead.is_empty());
        assert_eq!(done.summaries, [direct]);
    }
}
