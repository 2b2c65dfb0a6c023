//! What scenarios come to: tables for people, all numbers for programs, curves for pictures.

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::statistics::Spread;

/// All that one invocation measured.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Where it was measured.
    pub machine: Machine,
    /// Pairs of runs for every figure.
    pub pairs: usize,
    /// How long a run is meant to take, in seconds.
    pub run_seconds: f64,
    /// `FARM_SLOTS` of the workers.
    pub slots: usize,
    /// One for each scenario, in the order they ran.
    pub scenarios: Vec<Report>,
}

/// What one scenario came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: &'static str,
    /// How long it took, in seconds.
    pub elapsed_seconds: f64,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

/// What was found: for people, for pictures, for programs.
#[derive(Debug, Serialize)]
pub struct Findings {
    /// For people.
    pub tables: Vec<Table>,
    /// For pictures.
    #[serde(skip)]
    pub figures: Vec<Figure>,
    /// Every run, with all that was counted.
    pub runs: Vec<Value>,
}

impl Findings {
    /// With what serialises as the runs.
    pub(crate) fn new(tables: Vec<Table>, figures: Vec<Figure>, runs: &[impl Serialize]) -> Self {
        Self {
            tables,
            figures,
            runs: runs.iter().map(|run| json!(run)).collect(),
        }
    }
}

/// A table for people.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// The heading.
    pub heading: Vec<String>,
    /// As many cells each as the heading has.
    pub rows: Vec<Vec<String>>,
    /// What a reader must know to read it.
    pub notes: Vec<String>,
}

impl Table {
    pub(crate) fn new<const N: usize>(title: impl Into<String>, heading: [&str; N]) -> Self {
        Self {
            title: title.into(),
            heading: heading.map(str::to_owned).to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// A picture: curves over a common axis.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Name of the file, without its ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// Quantity and unit of the horizontal axis.
    pub x_name: String,
    /// Quantity and unit of the vertical axis.
    pub y_name: String,
    /// Whether the vertical axis is logarithmic; the horizontal one always is.
    pub y_logarithmic: bool,
    /// What is drawn.
    pub curves: Vec<Curve>,
}

/// One line of a picture.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name in the key.
    pub name: String,
    /// Points from left to right: x, and the median, least and most of y.
    pub points: Vec<(f64, f64, f64, f64)>,
}

impl Curve {
    /// The points at which there are values.
    pub(crate) fn new<V: IntoIterator<Item = f64>>(
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, V)>,
    ) -> Self {
        let points = points.into_iter().filter_map(|(x, values)| {
            let y = Spread::of(values)?;
            Some((x, y.median, y.least, y.most))
        });
        Self {
            name: name.into(),
            points: points.collect(),
        }
    }
}
