//! A benchmark: medians over a logarithmic axis, with the range of the runs.

use farm_bench::{Curve, Figure};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::style::{Axis, INK, PALETTE, axes, heading, text};
use super::{Drawn, draw};
use crate::failure::Failure;

const SIZE: (u32, u32) = (900, 520);
const HEADING_PIXELS: u32 = 40;

/// Draws the curves of a figure.
///
/// # Errors
/// Never for reasons outside.
pub fn figure(figure: &Figure) -> Result<String, Failure> {
    draw(SIZE, &figure.title, |area| {
        heading(area, &figure.title)?;
        let (_, body) = area.split_vertically(HEADING_PIXELS);
        let x = span(points(figure).map(|(x, ..)| x)).unwrap_or((1.0, 10.0));
        let x = (x.0 / 1.2..x.1 * 1.2).log_scale();
        let values = points(figure).flat_map(|(_, y, low, high)| [y, low, high]);
        let (low, high) = span(values).unwrap_or((0.1, 1.0));
        let mut builder = ChartBuilder::on(&body);
        builder
            .margin_left(10)
            .margin_right(24)
            .margin_top(8)
            .x_label_area_size(46)
            .y_label_area_size(90);
        if figure.y_logarithmic {
            let y = (low / 1.5..high * 1.5).log_scale();
            paint(figure, &mut builder.build_cartesian_2d(x, y)?)
        } else {
            paint(figure, &mut builder.build_cartesian_2d(x, 0.0..high * 1.1)?)
        }
    })
}

type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn paint<'b, X, Y>(figure: &Figure, chart: &mut Chart<'b, 'b, X, Y>) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let axis = |name| Axis {
        name,
        labels: 10,
        format: &quantity,
    };
    axes(chart, &axis(&figure.x_name), &axis(&figure.y_name))?;
    for (index, (curve, colour)) in figure.curves.iter().zip(PALETTE).enumerate() {
        let stroke = colour.stroke_width(2);
        let medians = curve.points.iter().map(|(x, y, ..)| (*x, *y));
        let legend = chart
            .draw_series(LineSeries::new(medians.clone(), stroke))?
            .label(curve.name.clone());
        legend.legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], stroke));
        let ranges = curve.points.iter();
        chart.draw_series(
            ranges.map(|(x, _, low, high)| PathElement::new([(*x, *low), (*x, *high)], stroke)),
        )?;
        // A shape beside every colour.
        match index % 3 {
            0 => drop(chart.draw_series(medians.map(|at| Circle::new(at, 5, colour.filled())))?),
            1 => drop(
                chart.draw_series(medians.map(|at| TriangleMarker::new(at, 7, colour.filled())))?,
            ),
            _ => drop(chart.draw_series(medians.map(|at| Cross::new(at, 5, stroke)))?),
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(text(16))
        .border_style(INK)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

fn points(figure: &Figure) -> impl Iterator<Item = (f64, f64, f64, f64)> {
    let curves = figure.curves.iter();
    curves.flat_map(|Curve { points, .. }| points.iter().copied())
}

/// Least and most of what is above zero.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold(None, |span, value| {
            let (low, high) = span.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
}

/// A number with thousands and millions shortened.
fn quantity(number: &f64) -> String {
    match *number {
        n if n >= 1e6 => format!("{} M", trimmed(n / 1e6)),
        n if n >= 1e3 => format!("{} k", trimmed(n / 1e3)),
        n => trimmed(n),
    }
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_figure_of_any_length_can_be_drawn() {
        let point = (1.0, 40_000.0, 30_000.0, 50_000.0);
        for points in [vec![], vec![point], vec![point, (256.0, 1e6, 9e5, 2e6)]] {
            for y_logarithmic in [true, false] {
                let curve = |name: &str| Curve {
                    name: name.to_owned(),
                    points: points.clone(),
                };
                let drawn = figure(&Figure {
                    name: "throughput".to_owned(),
                    title: "Throughput".to_owned(),
                    x_name: "tasks in a message".to_owned(),
                    y_name: "tasks per second".to_owned(),
                    y_logarithmic,
                    curves: vec![curve("raw loop"), curve("farm"), curve("third")],
                });
                let svg = drawn.unwrap();
                assert!(svg.contains("tasks in a message") && svg.contains("raw loop"));
                assert!(!svg.contains("NaN") && !svg.contains("inf"));
            }
        }
    }

    #[test]
    fn large_numbers_are_short() {
        for (number, text) in [
            (1.0, "1"),
            (40_000.0, "40 k"),
            (1.5e6, "1.5 M"),
            (0.1, "0.1"),
        ] {
            assert_eq!(quantity(&number), text);
        }
    }
}
