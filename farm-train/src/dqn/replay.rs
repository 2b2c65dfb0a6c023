//! What was experienced, kept to be learned from again.

use std::collections::VecDeque;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Some experiences, one after the other in flat arrays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// What was seen, a row for each.
    pub observations: Vec<f32>,
    /// The index of the action taken then.
    pub actions: Vec<usize>,
    /// The discounted rewards from then on.
    pub rewards: Vec<f32>,
    /// What was seen after them, a row for each.
    pub next_observations: Vec<f32>,
    /// By how much the value of what followed is discounted; 0 if the episode ended.
    pub discounts: Vec<f32>,
}

/// One experience.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experience<'a> {
    /// What was seen.
    pub observation: &'a [f32],
    /// The index of the action taken.
    pub action: usize,
    /// The discounted rewards from then on.
    pub reward: f32,
    /// What was seen after them.
    pub next_observation: &'a [f32],
    /// By how much the value of what followed is discounted.
    pub discount: f32,
}

/// The last experiences, up to a capacity.
#[derive(Debug, Clone)]
pub struct Replay {
    features: usize,
    capacity: usize,
    kept: Batch,
    /// Where the next experience goes once it is full.
    oldest: usize,
}

impl Replay {
    /// Keeps up to `capacity` experiences of that many features.
    pub fn new(features: usize, capacity: usize) -> Self {
        Self {
            features,
            capacity,
            kept: Batch::default(),
            oldest: 0,
        }
    }

    /// Experiences that are kept.
    pub fn len(&self) -> usize {
        self.kept.actions.len()
    }

    /// Keeps one more, in place of the oldest if it is full.
    pub fn push(&mut self, experience: Experience) {
        if self.len() < self.capacity {
            self.kept.push(experience);
            return;
        }
        let (at, kept) = (self.oldest, &mut self.kept);
        let row = at * self.features..(at + 1) * self.features;
        kept.observations[row.clone()].copy_from_slice(experience.observation);
        kept.actions[at] = experience.action;
        kept.rewards[at] = experience.reward;
        kept.next_observations[row].copy_from_slice(experience.next_observation);
        kept.discounts[at] = experience.discount;
        self.oldest = (at + 1) % self.capacity;
    }

    /// Fills `batch` with `size` experiences, each as likely as any other.
    pub fn sample(&self, size: usize, random: &mut Pcg64Mcg, batch: &mut Batch) {
        batch.clear();
        if self.len() == 0 {
            return;
        }
        for _ in 0..size {
            batch.push(self.get(random.random_range(0..self.len())));
        }
    }

    fn get(&self, index: usize) -> Experience<'_> {
        let row = index * self.features..(index + 1) * self.features;
        Experience {
            observation: &self.kept.observations[row.clone()],
            action: self.kept.actions[index],
            reward: self.kept.rewards[index],
            next_observation: &self.kept.next_observations[row],
            discount: self.kept.discounts[index],
        }
    }
}

impl Batch {
    fn clear(&mut self) {
        self.observations.clear();
        self.actions.clear();
        self.rewards.clear();
        self.next_observations.clear();
        self.discounts.clear();
    }

    fn push(&mut self, experience: Experience) {
        self.observations.extend_from_slice(experience.observation);
        self.actions.push(experience.action);
        self.rewards.push(experience.reward);
        (self.next_observations).extend_from_slice(experience.next_observation);
        self.discounts.push(experience.discount);
    }
}

/// The last steps of one episode, until the rewards that follow them are known.
#[derive(Debug, Clone)]
pub struct Recent {
    steps: usize,
    discount: f32,
    pending: VecDeque<Taken>,
}

#[derive(Debug, Clone)]
struct Taken {
    observation: Vec<f32>,
    action: usize,
    reward: f32,
}

impl Recent {
    /// Adds up the rewards of `steps` steps, each discounted once more than the one before.
    pub fn new(steps: usize, discount: f32) -> Self {
        Self {
            steps,
            discount,
            pending: VecDeque::with_capacity(steps),
        }
    }

    /// Takes a step in, and puts into `replay` what is complete by it.
    pub fn push(&mut self, step: Experience, ended: bool, replay: &mut Replay) {
        self.pending.push_back(Taken {
            observation: step.observation.to_vec(),
            action: step.action,
            reward: step.reward,
        });
        while self.pending.len() >= self.steps || (ended && !self.pending.is_empty()) {
            let (mut reward, mut discount) = (0.0, 1.0);
            for taken in &self.pending {
                reward += discount * taken.reward;
                discount *= self.discount;
            }
            let Some(first) = self.pending.pop_front() else {
                return;
            };
            replay.push(Experience {
                observation: &first.observation,
                action: first.action,
                reward,
                next_observation: step.next_observation,
                discount: if ended { 0.0 } else { discount },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn step<'a>(from: &'a [f32], action: usize, reward: f32, to: &'a [f32]) -> Experience<'a> {
        Experience {
            observation: from,
            action,
            reward,
            next_observation: to,
            discount: 1.0,
        }
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut replay = Replay::new(2, 3);
        for number in 0..5_u8 {
            let number = f32::from(number);
            replay.push(step(&[number, -number], 1, number, &[0.5, number]));
        }
        assert_eq!(replay.len(), 3);
        let kept: Vec<f32> = (0..3).map(|index| replay.get(index).reward).collect();
        assert_eq!(kept, [3.0, 4.0, 2.0]);
        assert_eq!(replay.get(1).observation, [4.0, -4.0]);
        assert_eq!(replay.get(1).next_observation, [0.5, 4.0]);
    }

    #[test]
    fn every_experience_is_as_likely() {
        let mut replay = Replay::new(1, 4);
        for number in 0..4_u8 {
            replay.push(step(&[0.0], 0, f32::from(number), &[0.0]));
        }
        let (mut random, mut batch) = (Pcg64Mcg::seed_from_u64(3), Batch::default());
        replay.sample(4000, &mut random, &mut batch);
        assert_eq!(
            (batch.actions.len(), batch.observations.len()),
            (4000, 4000)
        );
        for number in 0..4_u8 {
            let drawn = batch.rewards.iter().filter(|r| **r == f32::from(number));
            // Mean 1000, standard deviation 27.
            assert!((850..1150).contains(&drawn.count()));
        }
        replay.sample(2, &mut random, &mut batch);
        assert_eq!(batch.actions.len(), 2);
    }

    #[test]
    fn rewards_of_several_steps_are_discounted_one_by_one() {
        let mut replay = Replay::new(1, 9);
        let mut recent = Recent::new(3, 0.5);
        for number in 0..4_u8 {
            let (from, to) = ([f32::from(number)], [f32::from(number + 1)]);
            recent.push(step(&from, 0, 8.0, &to), number == 3, &mut replay);
        }
        let told: Vec<_> = (0..replay.len())
            .map(|index| replay.get(index))
            .map(|e| {
                (
                    e.observation[0],
                    e.reward,
                    e.next_observation[0],
                    e.discount,
                )
            })
            .collect();
        let expected = [
            (0.0, 14.0, 3.0, 0.125),
            (1.0, 14.0, 4.0, 0.0),
            (2.0, 12.0, 4.0, 0.0),
            (3.0, 8.0, 4.0, 0.0),
        ];
        assert_eq!(told, expected);
        // Nothing of an episode is left over for the next.
        recent.push(step(&[7.0], 0, 1.0, &[8.0]), false, &mut replay);
        assert_eq!(replay.len(), 4);
    }
}
