//! Pictures as SVG: of one episode, of policies against each other, of a training,
//! of a benchmark.
//!
//! White background, the palette of Okabe and Ito, and a shape beside every colour, so that they
//! can be read by everyone, in dark pages and in print.

pub mod bench;
pub mod curve;
pub mod episode;
pub mod pareto;
mod style;

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::failure::Failure;

/// A picture while it is drawn.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What drawing comes to; it fails only for reasons that are faults of ours.
type Drawn = Result<(), Box<dyn Error>>;

/// Draws a picture of that size in pixels; `title` is for those who cannot see it.
fn draw(
    size: (u32, u32),
    title: &str,
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(Box::<dyn Error>::from)?;
        paint(&area)?;
        area.present().map_err(Box::<dyn Error>::from)?;
    }
    let escaped = title.replace('&', "&amp;").replace('<', "&lt;");
    Ok(svg.replacen('>', &format!(" role=\"img\">\n<title>{escaped}</title>"), 1))
}

/// Writes a picture, and the folder it belongs into.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, svg: &str) -> Result<(), Failure> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let written = folder
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, svg));
    written.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
