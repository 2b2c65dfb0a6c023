//! A network of fully connected layers, its gradient, and Adam.
//!
//! Written out rather than taken from a tensor library: those choose their instructions by the
//! processor they find, and so round differently from one machine to the next. Here the same seed
//! gives the same weights to the last bit everywhere.

use farm_policy::learned::Feature;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::matrix::{multiply, transpose};

/// Values of all actions: features, normalised by their bounds, through layers with ReLU between
/// them.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Numbers going into each layer, and those coming out of the last.
    widths: Vec<usize>,
    /// The middle of each feature's bounds.
    middles: Vec<f32>,
    /// What makes the bounds −1 and 1.
    scales: Vec<f32>,
    /// Of each layer its weights, a row for each number going in, then its biases.
    parameters: Vec<f32>,
}

/// One layer of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer<'a> {
    /// Numbers coming out.
    pub width: usize,
    /// A row for each number going in, a column for each coming out.
    pub weights: &'a [f32],
    /// What is added to each number coming out.
    pub biases: &'a [f32],
}

/// What a network computed for a batch, kept for the gradient and to be written anew.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// What goes into each layer and, at the end, the values, a row for each observation.
    numbers: Vec<Vec<f32>>,
    slope: Vec<f32>,
    slope_before: Vec<f32>,
    turned: Vec<f32>,
}

impl Pass {
    /// The values of all actions, a row for each observation.
    pub fn values(&self) -> &[f32] {
        self.numbers.last().map_or(&[], Vec::as_slice)
    }
}

impl Network {
    /// A network with random weights (He's uniform initialisation) for these features, with hidden
    /// layers of these widths.
    pub fn new(
        features: &[Feature],
        hidden: &[usize],
        actions: usize,
        random: &mut Pcg64Mcg,
    ) -> Self {
        let mut widths = vec![features.len()];
        widths.extend(hidden);
        widths.push(actions);
        let mut parameters = Vec::new();
        for pair in widths.windows(2) {
            let bound = (6.0 / pair[0] as f32).sqrt();
            let weights =
                (0..pair[0] * pair[1]).map(|_| bound * (2.0 * random.random::<f32>() - 1.0));
            parameters.extend(weights);
            parameters.extend(std::iter::repeat_n(0.0, pair[1]));
        }
        let middle = |feature: &Feature| ((feature.low + feature.high) / 2.0) as f32;
        let scale = |feature: &Feature| match feature.high - feature.low {
            // A feature that never changes says nothing.
            0.0 => 0.0,
            range => (2.0 / range) as f32,
        };
        Self {
            widths,
            middles: features.iter().map(middle).collect(),
            scales: features.iter().map(scale).collect(),
            parameters,
        }
    }

    /// What is subtracted from each feature, and what the rest is multiplied with.
    pub fn normalisation(&self) -> (&[f32], &[f32]) {
        (&self.middles, &self.scales)
    }

    /// Weights and biases of all layers, in their order.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Weights and biases of all layers, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    /// The layers in the order in which they compute.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = Layer<'_>> + ExactSizeIterator {
        let mut layers = Vec::with_capacity(self.widths.len() - 1);
        let mut rest = self.parameters.as_slice();
        for pair in self.widths.windows(2) {
            let (weights, after) = rest.split_at(pair[0] * pair[1]);
            let (biases, after) = after.split_at(pair[1]);
            rest = after;
            let width = pair[1];
            layers.push(Layer {
                width,
                weights,
                biases,
            });
        }
        layers.into_iter()
    }

    /// Computes the values of `observations`, one after the other in a slice.
    pub fn compute<'a>(&self, observations: &[f32], pass: &'a mut Pass) -> &'a [f32] {
        pass.numbers.resize_with(self.widths.len(), Vec::new);
        let rows = observations.chunks_exact(self.middles.len());
        let batch = rows.len();
        pass.numbers[0].clear();
        for row in rows {
            let bounds = self.middles.iter().zip(&self.scales);
            let normal = row
                .iter()
                .zip(bounds)
                .map(|(x, (middle, scale))| (x - middle) * scale);
            pass.numbers[0].extend(normal);
        }
        let last = self.widths.len() - 2;
        for (index, layer) in self.layers().enumerate() {
            let (before, after) = pass.numbers.split_at_mut(index + 1);
            let outputs = &mut after[0];
            outputs.resize(batch * layer.width, 0.0);
            let inner = self.widths[index];
            multiply(&before[index], layer.weights, inner, layer.width, outputs);
            let floor = if index == last {
                f32::NEG_INFINITY
            } else {
                0.0
            };
            for row in outputs.chunks_exact_mut(layer.width) {
                for (output, bias) in row.iter_mut().zip(layer.biases) {
                    *output = (*output + bias).max(floor);
                }
            }
        }
        pass.values()
    }

    /// Writes the gradient of a loss with respect to the parameters, given its slope with respect
    /// to the values of the last [`compute`](Self::compute).
    pub fn gradient(&self, value_slopes: &[f32], pass: &mut Pass, gradient: &mut Vec<f32>) {
        gradient.resize(self.parameters.len(), 0.0);
        pass.slope.clear();
        pass.slope.extend_from_slice(value_slopes);
        let mut end = gradient.len();
        for (index, layer) in self.layers().enumerate().rev() {
            let inner = self.widths[index];
            let inputs = &pass.numbers[index];
            let start = end - layer.weights.len() - layer.width;
            let (weights, biases) = gradient[start..end].split_at_mut(layer.weights.len());
            end = start;
            transpose(inputs, inner, &mut pass.turned);
            let batch = pass.slope.len() / layer.width;
            multiply(&pass.turned, &pass.slope, batch, layer.width, weights);
            biases.fill(0.0);
            for row in pass.slope.chunks_exact(layer.width) {
                for (bias, slope) in biases.iter_mut().zip(row) {
                    *bias += slope;
                }
            }
            if index == 0 {
                break;
            }
            transpose(layer.weights, layer.width, &mut pass.turned);
            pass.slope_before.resize(inputs.len(), 0.0);
            let before = &mut pass.slope_before;
            multiply(&pass.slope, &pass.turned, layer.width, inner, before);
            for (slope, input) in before.iter_mut().zip(inputs) {
                if *input <= 0.0 {
                    *slope = 0.0;
                }
            }
            std::mem::swap(&mut pass.slope, &mut pass.slope_before);
        }
    }

    /// Moves every parameter towards the one of `other`, by this share of the way.
    pub fn approach(&mut self, other: &Self, rate: f32) {
        for (mine, other) in self.parameters.iter_mut().zip(&other.parameters) {
            *mine += rate * (other - *mine);
        }
    }
}

/// Index of the highest value, of equal ones the first.
pub fn best(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Shortens a gradient that is longer than `longest`.
pub fn clip(gradient: &mut [f32], longest: f32) {
    let length = gradient
        .iter()
        .map(|slope| slope * slope)
        .sum::<f32>()
        .sqrt();
    if length > longest {
        let share = longest / length;
        gradient.iter_mut().for_each(|slope| *slope *= share);
    }
}

/// Adam (Kingma and Ba 2015) with its usual constants.
#[derive(Debug, Clone)]
pub struct Adam {
    means: Vec<f32>,
    squares: Vec<f32>,
    mean_weight: f32,
    square_weight: f32,
}

impl Adam {
    const MEAN_DECAY: f32 = 0.9;
    const SQUARE_DECAY: f32 = 0.999;
    const SMALLEST: f32 = 1e-8;

    /// For that many parameters.
    pub fn new(parameters: usize) -> Self {
        Self {
            means: vec![0.0; parameters],
            squares: vec![0.0; parameters],
            mean_weight: 1.0,
            square_weight: 1.0,
        }
    }

    /// Takes one step down the gradient.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f32) {
        self.mean_weight *= Self::MEAN_DECAY;
        self.square_weight *= Self::SQUARE_DECAY;
        let rate = learning_rate / (1.0 - self.mean_weight);
        let square_scale = 1.0 / (1.0 - self.square_weight);
        let moments = self.means.iter_mut().zip(&mut self.squares);
        for ((parameter, slope), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments)
        {
            *mean += (1.0 - Self::MEAN_DECAY) * (slope - *mean);
            *square += (1.0 - Self::SQUARE_DECAY) * (slope * slope - *square);
            *parameter -= rate * *mean / ((*square * square_scale).sqrt() + Self::SMALLEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::Sense;
    use rand::SeedableRng;

    use super::*;

    fn network(hidden: &[usize]) -> Network {
        let feature = |sense, low, high| Feature { sense, low, high };
        let features = [
            feature(Sense::TaskQueue, 0.0, 60.0),
            feature(Sense::Workers, 1.0, 32.0),
            feature(Sense::Qos, 0.8, 1.0),
        ];
        Network::new(&features, hidden, 3, &mut Pcg64Mcg::seed_from_u64(5))
    }

    const OBSERVATIONS: [f32; 15] = [
        0.0, 12.0, 1.0, 7.0, 13.0, 0.97, 60.0, 32.0, 0.8, 31.0, 9.0, 0.9, 2.0, 1.0, 0.99,
    ];

    #[test]
    fn bounds_become_minus_one_and_one() {
        let mut pass = Pass::default();
        let network = network(&[4]);
        network.compute(&[0.0, 32.0, 0.9], &mut pass);
        let expected = [-1.0, 1.0, 0.0];
        for (number, expected) in pass.numbers[0].iter().zip(expected) {
            assert!((number - expected).abs() < 1e-6, "{number} for {expected}");
        }
    }

    #[test]
    fn rows_of_a_batch_do_not_touch_each_other() {
        let network = network(&[8, 6]);
        let mut pass = Pass::default();
        let together = network.compute(&OBSERVATIONS, &mut pass).to_vec();
        let alone = OBSERVATIONS.chunks_exact(3);
        let alone: Vec<f32> = alone
            .flat_map(|row| network.compute(row, &mut pass).to_vec())
            .collect();
        assert_eq!(together, alone);
    }

    /// Half the sum of squares of the values, whose slopes are the values themselves.
    fn loss(network: &Network) -> f64 {
        let mut pass = Pass::default();
        let values = network.compute(&OBSERVATIONS, &mut pass);
        values
            .iter()
            .map(|value| 0.5 * f64::from(*value).powi(2))
            .sum()
    }

    #[test]
    fn the_gradient_is_the_one_of_finite_differences() {
        let mut network = network(&[8, 6]);
        let (mut pass, mut gradient) = (Pass::default(), Vec::new());
        let slopes = network.compute(&OBSERVATIONS, &mut pass).to_vec();
        network.gradient(&slopes, &mut pass, &mut gradient);
        assert_eq!(gradient.len(), network.parameters().len());
        let step = 1e-3;
        for (index, found) in gradient.iter().enumerate() {
            let centre = network.parameters()[index];
            network.parameters_mut()[index] = centre + step;
            let above = loss(&network);
            network.parameters_mut()[index] = centre - step;
            let below = loss(&network);
            network.parameters_mut()[index] = centre;
            let expected = (above - below) / f64::from(2.0 * step);
            let found = f64::from(*found);
            let tolerance = 2e-3 * expected.abs().max(1.0);
            assert!(
                (found - expected).abs() < tolerance,
                "{index}: {found} for {expected}"
            );
        }
    }

    #[test]
    fn adam_takes_the_steps_of_its_paper() {
        let mut adam = Adam::new(2);
        let mut parameters = [1.0, -1.0];
        adam.step(&mut parameters, &[10.0, -0.001], 0.1);
        // The first step is the learning rate, however steep.
        assert!((parameters[0] - 0.9).abs() < 1e-5 && (parameters[1] + 0.9).abs() < 1e-4);
        adam.step(&mut parameters, &[-10.0, 0.0], 0.1);
        // m = 0.9·1 − 0.1·10 = −0.1, v as before: −0.1/0.19/10 of 0.1 further.
        assert!((parameters[0] - (0.9 + 0.1 * 0.1 / 0.19 / 10.0)).abs() < 1e-5);
    }

    #[test]
    fn long_gradients_are_shortened_and_keep_their_direction() {
        let mut gradient = [3.0, -4.0];
        clip(&mut gradient, 10.0);
        assert_eq!(gradient, [3.0, -4.0]);
        clip(&mut gradient, 1.0);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] + 0.8).abs() < 1e-6);
    }

    #[test]
    fn of_equal_values_the_first_is_best() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn a_network_approaches_another() {
        let (mut mine, other) = (network(&[4]), network(&[4]));
        mine.parameters_mut().fill(0.0);
        mine.approach(&other, 0.25);
        assert_eq!(mine.parameters()[0], 0.25 * other.parameters()[0]);
        mine.approach(&other, 1.0);
        assert_eq!(mine, other);
    }
}
