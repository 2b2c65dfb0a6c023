//! Tasks in hand: those that are to be published next, and where one message ends.

use std::collections::VecDeque;

use bytes::Bytes;
use farm_core::chunk::ChunkWriter;
use farm_core::job::ChunkBounds;

/// Tasks that have come and are not published, in order.
#[derive(Default)]
pub(super) struct Hand {
    tasks: VecDeque<Bytes>,
    /// Length of the body if all of them were in one message.
    body_bytes: usize,
    /// Whether these are the last.
    pub ended: bool,
}

/// The tasks that go into the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lot {
    pub tasks: usize,
    /// Whether no other task can belong to them.
    pub full: bool,
}

impl Hand {
    pub fn add(&mut self, task: Bytes) {
        self.body_bytes += ChunkWriter::cost_bytes(task.len());
        self.tasks.push_back(task);
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Tasks that are still to be published, if that is known.
    pub fn left(&self) -> Option<u64> {
        self.ended.then_some(self.tasks.len() as u64)
    }

    /// What goes into the next message. A lot that is full depends on nothing but the tasks: not on
    /// how many of them have come.
    pub fn next(&self, bounds: ChunkBounds) -> Lot {
        let most_tasks = usize::try_from(bounds.tasks.max(1)).unwrap_or(usize::MAX);
        let most_bytes = usize::try_from(bounds.body_bytes).unwrap_or(usize::MAX);
        if self.tasks.len() < most_tasks && self.body_bytes <= most_bytes {
            return Lot {
                tasks: self.tasks.len(),
                full: self.ended && !self.is_empty(),
            };
        }
        let mut bytes = 0;
        let fitting = self.tasks.iter().take(most_tasks).take_while(|task| {
            bytes += ChunkWriter::cost_bytes(task.len());
            bytes <= most_bytes
        });
        Lot {
            // One that is too large for company travels alone.
            tasks: fitting.count().max(1),
            full: true,
        }
    }

    /// Takes the first `count` out, as the body of a message.
    pub fn take(&mut self, count: usize) -> Bytes {
        let taken = self.tasks.drain(..count.min(self.tasks.len()));
        let taken: Vec<Bytes> = taken.collect();
        let cost = |task: &Bytes| ChunkWriter::cost_bytes(task.len());
        self.body_bytes -= taken.iter().map(cost).sum::<usize>();
        body(&taken)
    }
}

/// The body of a message of these tasks: one is its own, several are a chunk's.
pub(super) fn body(tasks: &[Bytes]) -> Bytes {
    if let [task] = tasks {
        return task.clone();
    }
    let mut writer = ChunkWriter::default();
    for task in tasks {
        writer.push(task);
    }
    writer.take().1
}

#[cfg(test)]
mod tests {
    use super::*;
    use farm_core::chunk::read_tasks;
    use proptest::prelude::*;

    fn bounds(tasks: u32, body_bytes: u64) -> ChunkBounds {
        ChunkBounds { tasks, body_bytes }
    }

    fn hand(lengths: &[usize]) -> Hand {
        let mut hand = Hand::default();
        for length in lengths {
            hand.add(vec![b'x'; *length].into());
        }
        hand
    }

    #[test]
    fn a_lot_is_full_by_number_by_bytes_or_at_the_end() {
        let lot = |tasks, full| Lot { tasks, full };
        let mut three = hand(&[6, 6, 6]);
        assert_eq!(three.next(bounds(3, 1000)), lot(3, true));
        assert_eq!(three.next(bounds(4, 1000)), lot(3, false));
        assert_eq!(three.next(bounds(4, 30)), lot(3, false));
        assert_eq!(three.next(bounds(4, 29)), lot(2, true));
        assert_eq!(three.next(bounds(4, 5)), lot(1, true));
        assert_eq!(three.left(), None);
        three.ended = true;
        assert_eq!(three.next(bounds(4, 1000)), lot(3, true));
        assert_eq!(three.left(), Some(3));
        assert!(!hand(&[]).next(bounds(1, 1)).full);
    }

    #[test]
    fn one_task_is_a_body_of_its_own() {
        let mut hand = hand(&[3, 1, 2]);
        assert_eq!(hand.take(1), "xxx");
        assert_eq!(read_tasks(2, hand.take(2)).unwrap(), ["x", "xx"]);
        assert!(hand.is_empty() && hand.body_bytes == 0);
    }

    /// The lots that tasks are cut into if `at_once` of them come at a time.
    fn lots(lengths: &[usize], bounds: ChunkBounds, at_once: usize) -> Vec<usize> {
        let (mut hand, mut lots) = (Hand::default(), Vec::new());
        let mut cut = |hand: &mut Hand| {
            while hand.next(bounds).full {
                lots.push(hand.next(bounds).tasks);
                hand.take(hand.next(bounds).tasks);
            }
        };
        for lengths in lengths.chunks(at_once) {
            for length in lengths {
                hand.add(vec![b'x'; *length].into());
            }
            cut(&mut hand);
        }
        hand.ended = true;
        cut(&mut hand);
        lots
    }

    proptest! {
        /// What a repeat relies on: however the tasks come, they are cut at the same places.
        #[test]
        fn lots_do_not_depend_on_how_the_tasks_come(
            lengths in proptest::collection::vec(0usize..50, 0..100),
            tasks in 1u32..20, body_bytes in 0u64..200, at_once in 1usize..40,
        ) {
            let bounds = bounds(tasks, body_bytes);
            let cut = lots(&lengths, bounds, at_once);
            prop_assert_eq!(cut.iter().sum::<usize>(), lengths.len());
            prop_assert_eq!(cut, lots(&lengths, bounds, 1));
        }
    }
}
