//! What all pictures have in common.

use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Drawn};

/// Colours that everyone tells apart (Okabe and Ito, 2008), without its yellow: white does not
/// carry it.
pub const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x00, 0x00, 0x00),
];
/// Text and axes.
pub const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xE2, 0xE2, 0xE2);
/// What is to be reached.
pub const GOAL: RGBColor = RGBColor(0x77, 0x77, 0x77);

/// Plain text; the backend makes 14 pixels of 17.
pub fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Text right of and level with a point.
pub fn beside(size: u32) -> TextStyle<'static> {
    text(size).pos(Pos::new(HPos::Left, VPos::Center))
}

/// Writes the heading of a picture.
///
/// # Errors
/// Never for reasons outside.
pub fn heading(area: &Area<'_>, title: &str) -> Drawn {
    let style = ("sans-serif", 21).into_font().style(FontStyle::Bold);
    area.draw(&Text::new(title.to_owned(), (16, 12), style.color(&INK)))?;
    Ok(())
}

/// What stands at an axis.
pub struct Axis<'a> {
    /// Quantity and unit.
    pub name: &'a str,
    /// About how many numbers.
    pub labels: usize,
    /// How a number is written.
    pub format: &'a dyn Fn(&f64) -> String,
}

/// Draws axes and grid of a chart.
///
/// # Errors
/// Never for reasons outside.
pub fn axes<'a, X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x: &Axis<'a>,
    y: &Axis<'a>,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(16))
        .axis_desc_style(text(17))
        .x_desc(x.name)
        .y_desc(y.name)
        .x_labels(x.labels)
        .y_labels(y.labels)
        .x_label_formatter(x.format)
        .y_label_formatter(y.format)
        .draw()?;
    Ok(())
}

/// Whole numbers as such, others with one digit.
pub fn short(number: &f64) -> String {
    if (number - number.round()).abs() < 1e-6 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}
