//! How many tasks go into one message.
//!
//! A message costs the farm 50 to 100 µs, whatever it holds: publish, store, deliver, settle. A
//! *chunk* shares that among many tasks. It must stay short all the same: its tasks run one after
//! another, so a chunk is a delay for the tasks behind, and the last one of a job is time in which
//! other slots have nothing to do.

use farm_core::chunk::MOST_TASKS;

/// How long the tasks of one chunk may take together. A message is then 2 % of the work at most, and
/// nobody waits for a chunk for longer than a network and a scheduler take at their worst anyway.
const CHUNK_SECONDS: f64 = 5e-3;
/// Tasks longer than this travel alone: a message costs them less than 5 %.
const ALONE_SECONDS: f64 = 2e-3;
/// What a message costs. Parts of a job that are shorter are not worth one.
const MESSAGE_SECONDS: f64 = 100e-6;
/// A task that makes those behind it in its chunk wait noticeably.
const LONG_SECONDS: f64 = 50e-3;
/// If such tasks were seen, one chunk in so many may hold one.
const CHUNKS_PER_LONG_TASK: u64 = 100;
/// Bytes in a chunk at most: a message of this size is on its way for a few milliseconds, and a
/// queue of them is read in turns.
pub(crate) const MOST_BYTES: usize = 256 << 10;

/// What `FARM_GRANULARITY` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// As the measured service time suggests.
    Auto,
    /// Always so many, if there are as many.
    Fixed(u32),
}

/// What is known of the workers of a farm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Workers {
    /// How long their tasks take, if any was measured.
    pub service: Option<Service>,
    /// Tasks they compute at once.
    pub slots: u32,
    /// How many tasks a message brought them of late, if any came.
    pub tasks_per_message: Option<f64>,
}

/// How long tasks took of late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Service {
    pub count: u64,
    pub mean_seconds: f64,
    pub deviation_seconds: f64,
    pub longest_seconds: f64,
}

impl Granularity {
    /// Reads `auto`, `off` or a number of tasks.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            ("off", _) => Ok(Self::Fixed(1)),
            (_, Ok(tasks)) if (1..=MOST_TASKS).contains(&tasks) => Ok(Self::Fixed(tasks)),
            _ => Err(format!(
                "{text:?} is neither auto, nor off, nor a number of tasks from 1 to {MOST_TASKS}"
            )),
        }
    }

    /// How many tasks the next message is to hold; `left` is how many of the job are still to be
    /// sent, if that is known.
    pub fn tasks(self, workers: &Workers, left: Option<u64>) -> u32 {
        match self {
            Self::Fixed(tasks) => tasks,
            Self::Auto => workers
                .service
                .map_or(1, |service| service.tasks(workers.slots, left)),
        }
    }
}

impl Service {
    fn tasks(&self, slots: u32, left: Option<u64>) -> u32 {
        if self.mean_seconds >= ALONE_SECONDS {
            return 1;
        }
        let most = self.fitting().min(self.unspoilt());
        let share = left.map_or(MOST_TASKS, |left| self.share(slots, left));
        most.min(share).clamp(1, MOST_TASKS)
    }

    /// How many fit into [`CHUNK_SECONDS`]. The time of `n` of them has the mean `n m` and, if they
    /// do not depend on each other, the deviation `√n s`; `n m + √n s` is to fit.
    fn fitting(&self) -> u32 {
        // Less is not measured.
        let mean = self.mean_seconds.max(1e-9);
        let deviation = self.deviation_seconds;
        let root = (deviation * deviation + 4.0 * mean * CHUNK_SECONDS).sqrt() - deviation;
        (root / (2.0 * mean)).powi(2) as u32
    }

    /// How many keep long tasks out of nearly all chunks. A pause of the machine that makes one task
    /// in a million look long then changes nothing.
    fn unspoilt(&self) -> u32 {
        if self.longest_seconds < LONG_SECONDS {
            return MOST_TASKS;
        }
        u32::try_from(self.count / CHUNKS_PER_LONG_TASK).unwrap_or(MOST_TASKS)
    }

    /// How many of those that are left keep all slots busy to the end: half of a slot's share each
    /// time, so that whoever takes the last chunk has about as much left as the others.
    fn share(&self, slots: u32, left: u64) -> u32 {
        let share = left.div_ceil(2 * u64::from(slots.max(1)));
        let worth_it = (MESSAGE_SECONDS / self.mean_seconds.max(1e-9)).ceil() as u64;
        u32::try_from(share.max(worth_it)).unwrap_or(MOST_TASKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn even(mean_seconds: f64) -> Service {
        Service {
            count: 1000,
            mean_seconds,
            deviation_seconds: 0.0,
            longest_seconds: mean_seconds,
        }
    }

    fn next(service: Service) -> u32 {
        let workers = Workers {
            service: Some(service),
            slots: 4,
            ..Workers::default()
        };
        Granularity::Auto.tasks(&workers, None)
    }

    #[test]
    fn the_setting_is_a_word_or_a_number() {
        assert_eq!(Granularity::parse("auto"), Ok(Granularity::Auto));
        assert_eq!(Granularity::parse("off"), Ok(Granularity::Fixed(1)));
        assert_eq!(Granularity::parse("4096"), Ok(Granularity::Fixed(4096)));
        for bad in ["", "on", "0", "4097", "-1", "1.5"] {
            assert!(Granularity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_nobody_has_measured_travels_alone() {
        let workers = Workers {
            service: None,
            slots: 8,
            ..Workers::default()
        };
        assert_eq!(Granularity::Auto.tasks(&workers, Some(1_000_000)), 1);
        assert_eq!(Granularity::Fixed(7).tasks(&workers, None), 7);
    }

    #[test]
    fn a_chunk_is_five_milliseconds_of_work() {
        assert_eq!(next(even(1e-3)), 5);
        assert_eq!(next(even(99.99e-6)), 50);
        assert_eq!(next(even(0.0)), MOST_TASKS);
        assert_eq!(next(even(1.99e-3)), 2);
        assert_eq!(next(even(2e-3)), 1);
        assert_eq!(next(even(10.0)), 1);
    }

    #[test]
    fn tasks_of_uneven_length_make_smaller_chunks() {
        let uneven = Service {
            deviation_seconds: 1e-3,
            ..even(1e-4)
        };
        let tasks = f64::from(next(uneven));
        assert!(tasks < 50.0 && tasks * 1e-4 + tasks.sqrt() * 1e-3 <= CHUNK_SECONDS);
        // One in a hundred takes 100 ms, the others 10 µs.
        let mixed = Service {
            count: 10_000,
            mean_seconds: 1.01e-3,
            deviation_seconds: 9.9e-3,
            longest_seconds: 0.1,
        };
        assert_eq!(next(mixed), 1);
    }

    #[test]
    fn one_long_task_matters_among_few_and_not_among_many() {
        let longest = |count| Service {
            count,
            longest_seconds: 0.2,
            ..even(1e-6)
        };
        assert_eq!(next(longest(50)), 1);
        assert_eq!(next(longest(1_000)), 10);
        assert_eq!(next(longest(1_000_000)), MOST_TASKS);
    }

    #[test]
    fn a_small_job_is_shared_by_all_slots_unless_it_is_too_small() {
        let workers = |mean| Workers {
            service: Some(even(mean)),
            slots: 8,
            ..Workers::default()
        };
        assert_eq!(Granularity::Auto.tasks(&workers(40e-6), Some(100)), 7);
        assert_eq!(Granularity::Auto.tasks(&workers(1.0001e-6), Some(100)), 100);
    }

    /// When the last slot is done if whoever is free takes the next chunk.
    fn makespan_seconds(service: Service, slots: u32, tasks: u64) -> f64 {
        let workers = Workers {
            service: Some(service),
            slots,
            ..Workers::default()
        };
        let mut free_seconds = vec![0.0_f64; slots as usize];
        let mut left = tasks;
        while left > 0 {
            let chunk = u64::from(Granularity::Auto.tasks(&workers, Some(left))).min(left);
            let first = free_seconds.iter_mut().min_by(|a, b| a.total_cmp(b));
            *first.unwrap() += chunk as f64 * service.mean_seconds;
            left -= chunk;
        }
        free_seconds.into_iter().fold(0.0, f64::max)
    }

    proptest! {
        #[test]
        fn there_is_always_at_least_one_and_never_more_than_a_chunk_holds(
            count in any::<u64>(), mean in 0f64..1e3, deviation in 0f64..1e4, longest in 0f64..1e4,
            slots in any::<u32>(), left in proptest::option::of(any::<u64>()),
        ) {
            let service = Service {
                count, mean_seconds: mean, deviation_seconds: deviation, longest_seconds: longest,
            };
            let workers = Workers { service: Some(service), slots, ..Workers::default() };
            prop_assert!((1..=MOST_TASKS).contains(&Granularity::Auto.tasks(&workers, left)));
        }

        #[test]
        fn longer_tasks_never_make_larger_chunks(
            mean in 1e-7f64..1e-2, more in 1f64..10.0, deviation in 0f64..1e-2,
        ) {
            let of = |mean_seconds| next(Service { deviation_seconds: deviation, ..even(mean_seconds) });
            prop_assert!(of(mean * more) <= of(mean));
        }

        /// Of a job of even tasks, the last slot is done at most one task, or what a message is
        /// worth, later than if the work could be shared out evenly.
        #[test]
        fn no_slot_holds_the_last_big_chunk(
            mean in 1e-6f64..1e-2, slots in 1u32..64, tasks in 1u64..20_000,
        ) {
            let ideal = tasks as f64 * mean / f64::from(slots);
            let late = makespan_seconds(even(mean), slots, tasks) - ideal;
            prop_assert!(late <= MESSAGE_SECONDS + mean + 1e-9, "{late} s");
        }
    }
}
