//! Whether the queue has room.
//!
//! What a replica remembers of a full queue makes many refusals cost little: neither a trace of each on
//! NATS, nor a crowd of half-taken jobs that fill every place that comes free.
//!
//! The stream's own bound is of messages, and a message may hold many tasks. So whoever publishes looks
//! at the stream now and then, and counts what it has sent since.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farm_core::telemetry::Carried;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::runtime::broker::Broker;

/// For how long a queue that was full is believed to be.
const BELIEVED: Duration = Duration::from_millis(100);
/// Begun submits that may wait for room at once.
const WAITING: usize = 4;
/// How old a look at the queue may be; and how long one may take.
const FRESH: Duration = Duration::from_millis(250);
/// Messages published after which older ones count half.
const MANY: u64 = 10_000;

pub(crate) struct Room {
    full_until: Mutex<Option<Instant>>,
    waiting: Semaphore,
    queue: Mutex<Option<Look>>,
    /// One at a time looks at the queue.
    looking: tokio::sync::Mutex<()>,
    published: Mutex<Carried>,
}

/// The queue, as it was last seen.
struct Look {
    when: Instant,
    messages: u64,
    max_tasks: u64,
    /// Sent by this replica since.
    sent_tasks: u64,
}

impl Room {
    pub fn new() -> Self {
        Self {
            full_until: Mutex::new(None),
            waiting: Semaphore::new(WAITING),
            queue: Mutex::new(None),
            looking: tokio::sync::Mutex::new(()),
            published: Mutex::default(),
        }
    }

    /// Tasks that this replica has published of late, and the messages they went in.
    pub fn published(&self) -> Carried {
        *lock(&self.published)
    }

    /// Counts a message that is stored.
    pub fn note_published(&self, tasks: u32) {
        let mut published = lock(&self.published);
        if published.messages >= MANY {
            published.tasks /= 2;
            published.messages /= 2;
        }
        published.tasks += u64::from(tasks);
        published.messages += 1;
    }

    /// Takes room for the tasks of a message; those in the queue hold `tasks_per_message` each.
    ///
    /// # Errors
    /// About how many tasks are in the queue, if those are as many as it may hold. If NATS does not say
    /// soon how long the queue is, there is room: the stream has a bound itself.
    pub async fn take(
        &self,
        tasks: u32,
        tasks_per_message: f64,
        broker: &Broker,
    ) -> Result<(), String> {
        if tasks <= 1 && tasks_per_message <= 1.0 {
            // The stream counts those as we would.
            return Ok(());
        }
        let take = || self.take_of_last_look(tasks, tasks_per_message);
        if let Some(taken) = take() {
            return taken;
        }
        let _looking = self.looking.lock().await;
        if let Some(taken) = take() {
            return taken;
        }
        let seen = tokio::time::timeout(FRESH, broker.tasks.get_info()).await;
        let seen = seen.ok().and_then(Result::ok);
        self.note_look(seen.map(|queue| (queue.state.messages, queue.config.max_messages)));
        take().unwrap_or(Ok(()))
    }

    /// `None` if the last look is too old.
    fn take_of_last_look(&self, tasks: u32, tasks_per_message: f64) -> Option<Result<(), String>> {
        let mut queue = lock(&self.queue);
        let look = queue.as_mut().filter(|look| look.when.elapsed() <= FRESH)?;
        let stored = (look.messages as f64 * tasks_per_message).round() as u64;
        let queued = stored.saturating_add(look.sent_tasks);
        if queued >= look.max_tasks {
            return Some(Err(format!("it holds about {queued} tasks")));
        }
        look.sent_tasks += u64::from(tasks);
        Some(Ok(()))
    }

    /// Notes the messages in the queue, and how many it may hold. If they are not known, what was seen
    /// before holds a while longer.
    fn note_look(&self, seen: Option<(u64, i64)>) {
        let when = Instant::now();
        let mut queue = lock(&self.queue);
        match (seen, queue.as_mut()) {
            (Some((messages, most)), _) => {
                *queue = Some(Look {
                    when,
                    messages,
                    // Without a bound it is -1.
                    max_tasks: u64::try_from(most).unwrap_or(u64::MAX),
                    sent_tasks: 0,
                });
            }
            (None, Some(look)) => look.when = when,
            (None, None) => {}
        }
    }

    /// The queue has just refused a task.
    pub fn note_full(&self) {
        *lock(&self.full_until) = Some(Instant::now() + BELIEVED);
    }

    /// Whether the queue was full a moment ago.
    pub fn is_full(&self) -> bool {
        lock(&self.full_until).is_some_and(|until| Instant::now() < until)
    }

    /// A place among the submits that wait for room, if there is one.
    pub fn wait(&self) -> Option<SemaphorePermit<'_>> {
        self.waiting.try_acquire().ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers only: a holder that panicked cannot have left them half-changed for long.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_believed_for_a_moment_and_few_wait_for_it() {
        let room = Room::new();
        assert!(!room.is_full());
        room.note_full();
        assert!(room.is_full());
        tokio::time::advance(BELIEVED).await;
        assert!(!room.is_full());
        let places: Vec<_> = (0..WAITING).map(|_| room.wait().unwrap()).collect();
        assert!(room.wait().is_none());
        drop(places);
        assert!(room.wait().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_full_of_tasks_and_not_of_messages() {
        let room = Room::new();
        assert_eq!(room.take_of_last_look(64, 64.0), None, "nobody has looked");
        room.note_look(Some((2, 256)));
        assert_eq!(room.take_of_last_look(64, 64.0), Some(Ok(())));
        assert_eq!(room.take_of_last_look(64, 64.0), Some(Ok(())));
        let full = room.take_of_last_look(1, 64.0).unwrap().unwrap_err();
        assert_eq!(full, "it holds about 256 tasks");
        // What was sent meanwhile is seen by the next look.
        room.note_look(Some((1, 256)));
        assert_eq!(room.take_of_last_look(64, 64.0), Some(Ok(())));
        room.note_look(Some((1 << 40, -1)));
        assert_eq!(room.take_of_last_look(64, 4096.0), Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_believed_for_a_moment_and_longer_if_there_is_no_other() {
        let room = Room::new();
        room.note_look(None);
        assert_eq!(room.take_of_last_look(64, 1.0), None);
        room.note_look(Some((99, 100)));
        tokio::time::advance(FRESH).await;
        assert_eq!(room.take_of_last_look(64, 1.0), Some(Ok(())));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(room.take_of_last_look(64, 1.0), None);
        room.note_look(None);
        assert!(room.take_of_last_look(64, 1.0).unwrap().is_err());
    }

    #[test]
    fn what_was_published_long_ago_matters_little() {
        let room = Room::new();
        assert_eq!(room.published().tasks_per_message(), None);
        (0..10).for_each(|_| room.note_published(64));
        assert_eq!(room.published().tasks_per_message(), Some(64.0));
        (0..20 * MANY).for_each(|_| room.note_published(1));
        assert!(room.published().tasks_per_message().unwrap() < 1.01);
    }
}
