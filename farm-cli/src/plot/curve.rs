//! A training: quality and workers over the steps learnt from.

use farm_train::course::CurvePoint;
use plotters::prelude::*;

use super::style::{Axis, GOAL, PALETTE, axes, heading, short};
use super::{Area, Drawn, draw};
use crate::failure::Failure;

const SIZE: (u32, u32) = (900, 620);
const HEADING_PIXELS: u32 = 40;

/// Draws a training; the dashed line is `target_qos_ratio`, the ring the checkpoint that was kept.
///
/// # Errors
/// Never for reasons outside.
pub fn learning_curve(
    title: &str,
    points: &[CurvePoint],
    kept: Option<usize>,
    target_qos_ratio: f64,
) -> Result<String, Failure> {
    let thousands = |steps: u64| steps as f64 / 1000.0;
    let series = |value: fn(&CurvePoint) -> f64| -> Vec<(f64, f64)> {
        let points = points.iter();
        points
            .map(|point| (thousands(point.steps), value(point)))
            .collect()
    };
    let quality = series(|point| point.score.qos_ratio * 100.0);
    let workers = series(|point| point.score.parallelism);
    let [blue, vermilion, ..] = PALETTE;
    draw(SIZE, title, |area| {
        heading(area, title)?;
        let (_, body) = area.split_vertically(HEADING_PIXELS);
        let parts = body.split_evenly((2, 1));
        let [upper, lower] = parts.as_slice() else {
            return Ok(());
        };
        let goal = Some(target_qos_ratio * 100.0);
        paint(
            upper,
            "QoS on validation seeds, %",
            vermilion,
            &quality,
            goal,
            kept,
        )?;
        paint(lower, "workers, mean", blue, &workers, None, kept)
    })
}

fn paint(
    area: &Area<'_>,
    name: &str,
    colour: RGBColor,
    points: &[(f64, f64)],
    goal: Option<f64>,
    kept: Option<usize>,
) -> Drawn {
    let values = || points.iter().map(|(_, value)| *value).chain(goal);
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let margin = ((high - low) * 0.1).max(0.1);
    let end = points.last().map_or(1.0, |(steps, _)| *steps).max(0.001);
    let mut chart = ChartBuilder::on(area)
        .margin_left(10)
        .margin_right(24)
        .margin_top(8)
        .x_label_area_size(46)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end * 1.02, (low - margin)..(high + margin))?;
    let x = Axis {
        name: "control steps trained, thousands",
        labels: 10,
        format: &short,
    };
    let y = Axis {
        name,
        labels: 6,
        format: &short,
    };
    axes(&mut chart, &x, &y)?;
    if let Some(goal) = goal {
        let line = [(0.0, goal), (end * 1.02, goal)];
        chart.draw_series(DashedLineSeries::new(line, 6, 4, GOAL.stroke_width(2)))?;
    }
    chart.draw_series(LineSeries::new(
        points.iter().copied(),
        colour.stroke_width(2),
    ))?;
    let dots = points
        .iter()
        .map(|point| Circle::new(*point, 3, colour.filled()));
    chart.draw_series(dots)?;
    if let Some(point) = kept.and_then(|index| points.get(index)) {
        chart.draw_series([Circle::new(*point, 8, BLACK.stroke_width(2))])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use farm_train::course::Score;

    #[test]
    fn a_training_of_any_length_can_be_drawn() {
        let point = CurvePoint {
            steps: 2000,
            seconds: 0.1,
            score: Score {
                qos_ratio: 0.9,
                qos_ratio_sd: 0.01,
                parallelism: 14.0,
                scaling_actions: 9.0,
                reward: -1.0,
            },
        };
        for points in [vec![], vec![point], vec![point; 3]] {
            let svg = learning_curve("SARSA", &points, Some(0), 0.95).unwrap();
            assert!(svg.contains("control steps trained"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}
