//! One episode, step by step: workers, queue, arrivals and quality over time.

use farm_sim::episode::TracePoint;
use plotters::prelude::*;

use super::style::{Axis, GOAL, PALETTE, axes, heading, short};
use super::{Area, Drawn, draw};
use crate::failure::Failure;

const SIZE: (u32, u32) = (900, 820);
const HEADING_PIXELS: u32 = 40;

/// A quantity over time.
struct Panel {
    name: &'static str,
    colour: RGBColor,
    /// Whether it holds during the step before its point, rather than at it.
    stepped: bool,
    top: f64,
    goal: Option<f64>,
    /// Times in seconds and values; a step without a value is a gap.
    points: Vec<(f64, Option<f64>)>,
}

/// Draws an episode; `target_qos_ratio` is marked.
///
/// # Errors
/// Never for reasons outside.
pub fn episode(
    title: &str,
    trace: &[TracePoint],
    target_qos_ratio: f64,
) -> Result<String, Failure> {
    let panels = panels(trace, target_qos_ratio);
    let end = trace.last().map_or(1.0, |point| point.time_seconds);
    draw(SIZE, title, |area| {
        heading(area, title)?;
        let (_, body) = area.split_vertically(HEADING_PIXELS);
        for (index, (part, panel)) in body.split_evenly((4, 1)).iter().zip(&panels).enumerate() {
            panel.paint(part, end, index + 1 == panels.len())?;
        }
        Ok(())
    })
}

fn panels(trace: &[TracePoint], target_qos_ratio: f64) -> [Panel; 4] {
    let over_time = |value: fn(&TracePoint) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        let points = trace.iter();
        points
            .map(|point| (point.time_seconds, value(point)))
            .collect()
    };
    let panel = |name, colour, stepped, points: Vec<(f64, Option<f64>)>| {
        let most = points
            .iter()
            .filter_map(|(_, value)| *value)
            .fold(1.0, f64::max);
        Panel {
            name,
            colour,
            stepped,
            top: most * 1.1,
            goal: None,
            points,
        }
    };
    let [blue, vermilion, green, purple, ..] = PALETTE;
    let quality = over_time(|point| point.qos_ratio.map(|ratio| ratio * 100.0));
    [
        panel(
            "workers",
            blue,
            true,
            over_time(|point| Some(f64::from(point.parallelism))),
        ),
        panel(
            "tasks waiting",
            vermilion,
            false,
            over_time(|point| Some(point.backlog_tasks as f64)),
        ),
        panel(
            "arrivals, tasks/s",
            green,
            true,
            over_time(|point| Some(point.arrival_rate_per_second)),
        ),
        Panel {
            top: 105.0,
            goal: Some(target_qos_ratio * 100.0),
            ..panel("QoS, % of window", purple, false, quality)
        },
    ]
}

impl Panel {
    fn paint(&self, area: &Area<'_>, end: f64, is_last: bool) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin_left(10)
            .margin_right(24)
            .margin_top(8)
            .x_label_area_size(if is_last { 46 } else { 24 })
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..self.top)?;
        let x = Axis {
            name: if is_last { "time, s" } else { "" },
            labels: 10,
            format: &short,
        };
        let y = Axis {
            name: self.name,
            labels: 5,
            format: &short,
        };
        axes(&mut chart, &x, &y)?;
        if let Some(goal) = self.goal {
            let line =
                DashedLineSeries::new([(0.0, goal), (end, goal)], 6, 4, GOAL.stroke_width(1));
            chart.draw_series(line)?;
        }
        for run in self.runs() {
            let alone = run.len() == 1;
            chart.draw_series(LineSeries::new(run.clone(), self.colour.stroke_width(2)))?;
            if !self.stepped || alone {
                let dots = run
                    .into_iter()
                    .map(|point| Circle::new(point, 2, self.colour.filled()));
                chart.draw_series(dots)?;
            }
        }
        Ok(())
    }

    /// Lines without gaps.
    fn runs(&self) -> Vec<Vec<(f64, f64)>> {
        let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        let mut before_seconds = 0.0;
        for &(at_seconds, value) in &self.points {
            let last = runs.len() - 1;
            match value {
                Some(value) => {
                    if self.stepped {
                        runs[last].push((before_seconds, value));
                    }
                    runs[last].push((at_seconds, value));
                }
                None if !runs[last].is_empty() => runs.push(Vec::new()),
                None => {}
            }
            before_seconds = at_seconds;
        }
        runs.retain(|run| !run.is_empty());
        runs
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn point(time_seconds: f64, qos_ratio: Option<f64>) -> TracePoint {
        TracePoint {
            time_seconds,
            parallelism: 12,
            backlog_tasks: 3,
            arrival_rate_per_second: 1.5,
            qos_ratio,
        }
    }

    #[test]
    fn a_step_without_a_value_is_a_gap() {
        let trace = [
            point(8.0, Some(1.0)),
            point(16.0, None),
            point(24.0, Some(0.5)),
        ];
        let [workers, .., quality] = panels(&trace, 0.95);
        assert_eq!(quality.runs(), [vec![(8.0, 100.0)], vec![(24.0, 50.0)]]);
        assert_eq!(workers.runs()[0][..2], [(0.0, 12.0), (8.0, 12.0)]);
    }

    #[test]
    fn a_picture_has_its_title_and_its_axes() {
        let svg = episode("predictive <on> paper", &[point(8.0, Some(1.0))], 0.95).unwrap();
        for text in [
            "<title>predictive &lt;on> paper</title>",
            "workers",
            "tasks waiting",
            "time, s",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(episode("nothing", &[], 0.95).unwrap().ends_with("</svg>\n"));
    }
}
