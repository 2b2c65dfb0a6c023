//! Policies against each other: quality against workers.

use std::ops::Range;

use farm_sim::evaluation::Estimate;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::style::{Axis, GOAL, PALETTE, axes, beside, heading, short};
use super::{Area, Drawn, draw};
use crate::failure::Failure;

const WIDTH: u32 = 900;
const CHART_HEIGHT: u32 = 540;
const LEGEND_LINE: u32 = 24;
/// Shares of quality at which the axis has a number.
const TICKS: [f64; 9] = [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
/// Quality is drawn as if it were no better.
const BEST_RATIO: f64 = 0.9995;

/// One policy.
#[derive(Debug, Clone)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Share of tasks within their deadline.
    pub qos_ratio: Estimate,
    /// Mean parallelism.
    pub parallelism: Estimate,
}

/// Draws policies with their 95 % intervals; the dashed line is `target_qos_ratio`.
///
/// Quality has a logarithmic axis of what misses: from 99 to 99.9 % is as far as from 90 to 99 %.
///
/// # Errors
/// Never for reasons outside.
pub fn pareto(title: &str, points: &[Point], target_qos_ratio: f64) -> Result<String, Failure> {
    let legend_height = (points.len() as u32 + 2) * LEGEND_LINE;
    draw((WIDTH, CHART_HEIGHT + legend_height), title, |area| {
        heading(area, title)?;
        let (upper, lower) = area.split_vertically(CHART_HEIGHT);
        chart(&upper, points, target_qos_ratio)?;
        legend(&lower, points)
    })
}

/// The axis of quality, from a lowest share upwards.
struct Quality {
    lowest_ratio: f64,
}

/// Height of a share of quality, in powers of ten of what misses.
fn height(ratio: f64) -> f64 {
    -(1.0 - ratio.clamp(0.0, BEST_RATIO)).log10()
}

impl Quality {
    /// An axis on which all these shares have a place, beginning at one of its numbers.
    fn of(ratios: impl Iterator<Item = f64>) -> Self {
        let lowest = ratios.fold(BEST_RATIO, f64::min);
        let tick = TICKS.into_iter().rfind(|tick| *tick <= lowest);
        Self {
            lowest_ratio: tick.unwrap_or(0.0),
        }
    }
}

impl Ranged for Quality {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, ratio: &f64, (bottom, top): (i32, i32)) -> i32 {
        let low = height(self.lowest_ratio);
        let share = (height(*ratio) - low) / (height(BEST_RATIO) - low);
        bottom + (f64::from(top - bottom) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let shown = TICKS.into_iter().filter(|tick| *tick >= self.lowest_ratio);
        shown.collect()
    }

    fn range(&self) -> Range<f64> {
        self.lowest_ratio..BEST_RATIO
    }
}

impl ValueFormatter<f64> for Quality {
    fn format(ratio: &f64) -> String {
        short(&(ratio * 100.0))
    }
}

fn half_width(estimate: &Estimate) -> f64 {
    estimate.half_width_95.unwrap_or(0.0)
}

/// Whole workers around all points.
fn workers(points: &[Point]) -> Range<f64> {
    let most = |side: f64| {
        let ends = points.iter().map(move |point| {
            let workers = &point.parallelism;
            side * (workers.mean + side * half_width(workers))
        });
        ends.fold(f64::MIN, f64::max)
    };
    match points.is_empty() {
        true => 0.0..1.0,
        false => (-most(-1.0) - 0.5).floor().max(0.0)..(most(1.0) + 0.5).ceil(),
    }
}

fn chart(area: &Area<'_>, points: &[Point], target_qos_ratio: f64) -> Drawn {
    let lows = points
        .iter()
        .map(|point| point.qos_ratio.mean - half_width(&point.qos_ratio));
    let workers = workers(points);
    let goal = [workers.start, workers.end].map(|workers| (workers, target_qos_ratio));
    let mut chart = ChartBuilder::on(area)
        .margin_left(10)
        .margin_right(24)
        .margin_bottom(8)
        .margin_top(50)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(workers, Quality::of(lows.chain([target_qos_ratio])))?;
    let x = Axis {
        name: "workers, mean",
        labels: 10,
        format: &short,
    };
    let y = Axis {
        name: "QoS: tasks within their deadline, %",
        labels: TICKS.len(),
        format: &Quality::format,
    };
    axes(&mut chart, &x, &y)?;
    chart.draw_series(DashedLineSeries::new(goal, 6, 4, GOAL.stroke_width(2)))?;
    for (index, point) in points.iter().enumerate() {
        let (x, y) = (point.parallelism.mean, point.qos_ratio.mean);
        let (wide, tall) = (half_width(&point.parallelism), half_width(&point.qos_ratio));
        let bars = [
            [(x - wide, y), (x + wide, y)],
            [(x, y - tall), (x, y + tall)],
        ];
        let style = colour(index).stroke_width(2);
        chart.draw_series(bars.map(|bar| PathElement::new(bar, style)))?;
        let mark = Polygon::new(outline(index), colour(index).filled());
        chart.draw_series([EmptyElement::at((x, y)) + mark])?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, points: &[Point]) -> Drawn {
    let height = |line: usize| (line as u32 * LEGEND_LINE + LEGEND_LINE / 2) as i32;
    let write = |name: &str, y: i32| area.draw(&Text::new(name.to_owned(), (104, y), beside(16)));
    for (index, point) in points.iter().enumerate() {
        let y = height(index);
        write(&point.name, y)?;
        let mark = Polygon::new(outline(index), colour(index).filled());
        area.draw(&(EmptyElement::at((86, y)) + mark))?;
    }
    let y = height(points.len());
    write("target", y)?;
    for dash in [76, 87] {
        let dash = [(dash, y), (dash + 8, y)];
        area.draw(&PathElement::new(dash, GOAL.stroke_width(2)))?;
    }
    Ok(())
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// Outline of a point's mark around it, in pixels: a disc first, and another shape each time the
/// colours are used up.
fn outline(index: usize) -> Vec<(i32, i32)> {
    match index / PALETTE.len() % 4 {
        0 => vec![
            (-6, -2),
            (-4, -4),
            (-2, -6),
            (2, -6),
            (4, -4),
            (6, -2),
            (6, 2),
            (4, 4),
            (2, 6),
            (-2, 6),
            (-4, 4),
            (-6, 2),
        ],
        1 => vec![(-7, 6), (7, 6), (0, -7)],
        2 => vec![(-6, -6), (6, -6), (6, 6), (-6, 6)],
        _ => vec![(0, -8), (8, 0), (0, 8), (-8, 0)],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn point(name: &str, quality: [f64; 3], workers: [f64; 3]) -> Point {
        Point {
            name: name.to_owned(),
            qos_ratio: Estimate::of(quality),
            parallelism: Estimate::of(workers),
        }
    }

    #[test]
    fn every_policy_is_in_the_legend() {
        let points: Vec<Point> = (0..30)
            .map(|number| {
                let quality = 0.5 + 0.016 * f64::from(number);
                let workers = 10.0 + f64::from(number);
                let spread = |value: f64| [value - 0.01, value, value + 0.01];
                point(
                    &format!("policy {number}"),
                    spread(quality),
                    spread(workers),
                )
            })
            .collect();
        let svg = pareto("all", &points, 0.95).unwrap();
        for point in &points {
            assert!(
                svg.contains(&format!("\n{}\n", point.name)),
                "{}",
                point.name
            );
        }
    }

    #[test]
    fn nothing_and_perfection_can_be_drawn() {
        let all_met = point("all", [1.0; 3], [5.0; 3]);
        let none_met = point("none", [0.0; 3], [0.0; 3]);
        for points in [vec![], vec![all_met, none_met]] {
            let svg = pareto("edge", &points, 0.95).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn the_quality_axis_is_one_of_misses() {
        let axis = Quality::of([0.93, 0.99].into_iter());
        assert_eq!(axis.lowest_ratio, 0.9);
        let at = |ratio: f64| axis.map(&ratio, (1000, 0));
        assert_eq!((at(0.9), at(BEST_RATIO), at(1.0)), (1000, 0, 0));
        assert!((at(0.99) - at(0.999) - (at(0.9) - at(0.99))).abs() <= 1);
        assert_eq!(
            [0.95, 0.999].map(|ratio| Quality::format(&ratio)),
            ["95", "99.9"]
        );
    }
}
