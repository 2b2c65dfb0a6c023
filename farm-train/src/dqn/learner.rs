//! Double DQN: how values are learned from experiences.

use super::network::{Adam, Network, Pass, best, clip};
use super::replay::Batch;
use super::settings::DqnSettings;

/// The network that learns, and the slower one that it learns towards.
#[derive(Debug, Clone)]
pub struct Learner {
    online: Network,
    target: Network,
    adam: Adam,
    updates: u64,
    gradient_norm_max: f32,
    huber_delta: f32,
    target_rate: f32,
    target_every_updates: u64,
    scratch: Scratch,
}

/// Memory that every update needs anew.
#[derive(Debug, Clone, Default)]
struct Scratch {
    pass: Pass,
    target_pass: Pass,
    goals: Vec<f32>,
    slopes: Vec<f32>,
    gradient: Vec<f32>,
}

impl Learner {
    /// A learner that begins with this network.
    pub fn new(network: Network, settings: &DqnSettings) -> Self {
        Self {
            adam: Adam::new(network.parameters().len()),
            target: network.clone(),
            online: network,
            updates: 0,
            gradient_norm_max: settings.gradient_norm_max as f32,
            huber_delta: settings.huber_delta as f32,
            target_rate: settings.target_rate as f32,
            target_every_updates: settings.target_every_updates,
            scratch: Scratch::default(),
        }
    }

    /// The network that explores.
    pub fn online(&self) -> &Network {
        &self.online
    }

    /// The network that lags behind it: an average over its past.
    pub fn target(&self) -> &Network {
        &self.target
    }

    /// Learns from a batch; tells its mean loss.
    pub fn learn(&mut self, batch: &Batch, learning_rate: f32) -> f32 {
        self.set_goals(batch);
        let Scratch {
            pass,
            goals,
            slopes,
            gradient,
            ..
        } = &mut self.scratch;
        let values = self.online.compute(&batch.observations, pass);
        let count = batch.actions.len().max(1);
        let actions = values.len() / count;
        slopes.clear();
        slopes.resize(values.len(), 0.0);
        let (share, delta) = (1.0 / count as f32, self.huber_delta);
        let mut loss = 0.0;
        for (row, (action, goal)) in batch.actions.iter().zip(goals).enumerate() {
            let index = row * actions + action;
            let error = values[index] - *goal;
            let bounded = error.clamp(-delta, delta);
            slopes[index] = share * bounded;
            loss += share * bounded * (error - bounded / 2.0);
        }
        self.online.gradient(slopes, pass, gradient);
        clip(gradient, self.gradient_norm_max);
        let parameters = self.online.parameters_mut();
        self.adam.step(parameters, gradient, learning_rate);
        self.updates += 1;
        if self.updates.is_multiple_of(self.target_every_updates) {
            self.target.approach(&self.online, self.target_rate);
        }
        loss
    }

    /// What the values of the actions taken should be: the rewards, and what the slow network
    /// thinks the action is worth that the fast one would take next (van Hasselt 2016).
    fn set_goals(&mut self, batch: &Batch) {
        let Scratch {
            pass,
            target_pass,
            goals,
            ..
        } = &mut self.scratch;
        let next = self.online.compute(&batch.next_observations, pass);
        let worth = self.target.compute(&batch.next_observations, target_pass);
        let actions = next.len() / batch.actions.len().max(1);
        let next = next.chunks_exact(actions.max(1));
        let worth = worth.chunks_exact(actions.max(1));
        let known = batch.rewards.iter().zip(&batch.discounts);
        goals.clear();
        for ((next, worth), (reward, discount)) in next.zip(worth).zip(known) {
            goals.push(reward + discount * worth[best(next)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::{Feature, Sense};
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn learner(settings: &DqnSettings) -> Learner {
        let feature = Feature {
            sense: Sense::TaskQueue,
            low: -1.0,
            high: 1.0,
        };
        let mut random = Pcg64Mcg::seed_from_u64(2);
        Learner::new(Network::new(&[feature], &[8], 2, &mut random), settings)
    }

    fn batch(discount: f32) -> Batch {
        Batch {
            observations: vec![-1.0, 1.0],
            actions: vec![0, 1],
            rewards: vec![0.5, -0.25],
            next_observations: vec![1.0, -1.0],
            discounts: vec![discount, 0.0],
        }
    }

    #[test]
    fn the_slow_network_judges_what_the_fast_one_chooses() {
        let mut learner = learner(&DqnSettings::default());
        let mut pass = Pass::default();
        // The fast network prefers the other action than the slow one.
        let mut values = learner.target.compute(&[1.0], &mut pass).to_vec();
        let slow = best(&values);
        let biases = learner.online.parameters_mut().len() - 2;
        learner.online.parameters_mut()[biases + 1 - slow] += 1000.0;
        learner.set_goals(&batch(0.5));
        let expected = 0.5 + 0.5 * values.remove(1 - slow);
        assert_eq!(learner.scratch.goals, [expected, -0.25]);
    }

    #[test]
    fn values_come_to_the_rewards() {
        let mut learner = learner(&DqnSettings::default());
        let batch = batch(0.0);
        let losses: Vec<f32> = (0..500).map(|_| learner.learn(&batch, 0.01)).collect();
        assert!(losses[0] > 1e-2 && losses[499] < 1e-6, "{losses:?}");
        let mut pass = Pass::default();
        let values = learner.online.compute(&batch.observations, &mut pass);
        assert!((values[0] - 0.5).abs() < 1e-2 && (values[3] + 0.25).abs() < 1e-2);
    }

    #[test]
    fn the_slow_network_moves_when_it_is_due() {
        let settings = DqnSettings {
            target_rate: 0.5,
            target_every_updates: 2,
            ..DqnSettings::default()
        };
        let mut learner = learner(&settings);
        let before = learner.target.clone();
        learner.learn(&batch(0.9), 0.01);
        assert_eq!(learner.target, before);
        learner.learn(&batch(0.9), 0.01);
        let expected: Vec<f32> = (before.parameters().iter())
            .zip(learner.online.parameters())
            .map(|(before, online)| before + 0.5 * (online - before))
            .collect();
        assert_eq!(learner.target.parameters(), expected);
    }

    #[test]
    fn the_same_bits_on_every_machine() {
        let mut learner = learner(&DqnSettings {
            gradient_norm_max: 0.5,
            huber_delta: 0.1,
            target_rate: 0.1,
            ..DqnSettings::default()
        });
        for _ in 0..50 {
            learner.learn(&batch(0.9), 0.01);
        }
        let parameters = learner.online.parameters().iter();
        let bits = parameters.fold(0_u64, |sum, number| {
            sum.rotate_left(5) ^ u64::from(number.to_bits())
        });
        assert_eq!(bits, 1_053_234_596_936_775_155);
    }
}
