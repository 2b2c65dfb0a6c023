//! From numbers to one state of finitely many.

/// Divides each feature into bins, and numbers their combinations in mixed radix: the first
/// feature changes slowest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    edges: Vec<Vec<f64>>,
    states: u64,
}

impl Grid {
    /// One list of edges for each of `features`; see [`Table::new`](super::Table::new) for what
    /// happens to edges that divide nothing.
    pub fn new(mut edges: Vec<Vec<f64>>, features: usize) -> Self {
        edges.resize_with(features, Vec::new);
        let mut states = 1_u64;
        for edges in &mut edges {
            edges.retain(|edge| edge.is_finite());
            edges.sort_by(f64::total_cmp);
            edges.dedup();
            match states.checked_mul(edges.len() as u64 + 1) {
                Some(product) => states = product,
                None => edges.clear(),
            }
        }
        Self { edges, states }
    }

    pub fn edges(&self) -> &[Vec<f64>] {
        &self.edges
    }

    /// Number of states.
    pub fn states(&self) -> u64 {
        self.states
    }

    /// The state of `input`. A number that is missing or NaN falls in the lowest bin.
    pub fn state(&self, input: &[f64]) -> u64 {
        let mut state = 0;
        for (index, edges) in self.edges.iter().enumerate() {
            let number = input.get(index).copied().unwrap_or(f64::NAN);
            // Counting beats searching for the few edges that a feature has.
            let bin = edges.iter().filter(|edge| **edge <= number).count();
            state = state * (edges.len() as u64 + 1) + bin as u64;
        }
        state
    }

    /// The states that differ from `state` in one feature, the nearest first; among equally near
    /// ones the later feature first, and of one feature the higher bin.
    pub fn neighbours(&self, state: u64) -> impl Iterator<Item = u64> + '_ {
        let axes = self.axes(state);
        let farthest = axes.iter().map(|axis| axis.bins).max().unwrap_or(1);
        (1..farthest).flat_map(move |distance| {
            let near: Vec<u64> = axes
                .iter()
                .rev()
                .flat_map(|axis| axis.at(state, distance))
                .collect();
            near
        })
    }

    fn axes(&self, state: u64) -> Vec<Axis> {
        let (mut rest, mut stride) = (state, 1_u64);
        let mut axes: Vec<Axis> = Vec::with_capacity(self.edges.len());
        for edges in self.edges.iter().rev() {
            let bins = edges.len() as u64 + 1;
            let bin = rest % bins;
            axes.push(Axis { bin, bins, stride });
            rest /= bins;
            stride = stride.saturating_mul(bins);
        }
        axes.reverse();
        axes
    }
}

/// Where a state lies in one feature.
struct Axis {
    bin: u64,
    bins: u64,
    /// How much the state's number grows from one bin to the next.
    stride: u64,
}

impl Axis {
    /// The states `distance` bins above and below.
    fn at(&self, state: u64, distance: u64) -> impl Iterator<Item = u64> {
        let above = (self.bin + distance < self.bins).then(|| state + distance * self.stride);
        let below = (distance <= self.bin).then(|| state - distance * self.stride);
        above.into_iter().chain(below)
    }
}
