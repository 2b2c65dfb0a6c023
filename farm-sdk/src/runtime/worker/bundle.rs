//! A chunk under way in a slot: its tasks one after another, until the last or until it is cut.
//!
//! It is cut when it turns out longer than a chunk should be, when its results would not fit one
//! message, or when this replica is to stop: what is done by then is settled, and the rest goes back
//! to the queue as smaller chunks, so that no other slot idles while one holds many tasks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use farm_core::Codec;
use farm_core::chunk::{Apart, OutcomeWriter};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::runtime::dead_letter;
use crate::verdict::Verdict;

/// How long a chunk may take before others may have its rest.
pub(super) const LONGEST: Duration = Duration::from_millis(50);
/// What a failure takes up at most.
const MOST_CAUSE_BYTES: usize = 8100;
/// Parts that the rest of a chunk is cut into, if it has so many tasks.
const PARTS: u32 = 4;

pub(super) struct Bundle {
    state: Mutex<State>,
    /// Told when the last task that was begun has ended.
    ended: Notify,
}

struct State {
    tasks: u32,
    room_bytes: usize,
    outcomes: OutcomeWriter,
    /// Of the results so far; one message names one.
    codec: Option<Codec>,
    /// Tasks that have ended, of which nothing else is to be done.
    apart: Vec<(u32, Apart)>,
    services_seconds: Vec<f32>,
    started: Option<Instant>,
    /// The task that is begun next.
    next: u32,
    running: bool,
    cut: bool,
    /// The verdict on the task that ran when the bundle was cut, and its service time.
    late: Option<(Verdict, Duration)>,
}

/// What a bundle came to: to be stored as one outcome.
pub(super) struct Settled {
    pub body: Bytes,
    pub codec: Codec,
    pub done: u32,
    /// Tasks whose outcome is elsewhere, by their place in the chunk.
    pub apart: Vec<(u32, Apart)>,
    pub services_seconds: Vec<f32>,
}

/// Whether to go on with the next task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Task(u32),
    Over,
}

impl Bundle {
    /// A chunk of `tasks`, whose results may take up `room_bytes` in their message.
    pub fn new(tasks: u32, room_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                tasks,
                room_bytes,
                outcomes: OutcomeWriter::default(),
                codec: None,
                apart: Vec::new(),
                services_seconds: Vec::new(),
                started: None,
                next: 0,
                running: false,
                cut: false,
                late: None,
            }),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next task.
    pub fn begin(&self) -> Next {
        let mut state = self.lock();
        state.started.get_or_insert_with(Instant::now);
        if state.cut || state.next == state.tasks {
            return Next::Over;
        }
        state.running = true;
        state.next += 1;
        Next::Task(state.next - 1)
    }

    /// Notes the verdict on the task that was begun, and begins the next one. `Over` after the last,
    /// and when the bundle was cut.
    pub fn end(&self, verdict: Verdict, service: Duration) -> Next {
        let mut state = self.lock();
        state.running = false;
        if state.cut {
            state.late = Some((verdict, service));
            drop(state);
            self.ended.notify_one();
            return Next::Over;
        }
        if let Some(verdict) = state.take_in(verdict, service) {
            state.cut = true;
            state.late = Some((verdict, service));
            drop(state);
            self.ended.notify_one();
            return Next::Over;
        }
        if state.next == state.tasks {
            return Next::Over;
        }
        state.running = true;
        state.next += 1;
        Next::Task(state.next - 1)
    }

    /// Stops before the next task, if the bundle runs since before `at` and has not ended.
    pub fn cut(&self, at: Instant) -> bool {
        let mut state = self.lock();
        let runs = state.running && !state.cut;
        let long = state.started.is_some_and(|started| started <= at);
        state.cut |= runs && long;
        runs && long
    }

    /// What it came to. Once, after its last task or after it was cut.
    pub fn settle(&self) -> Settled {
        self.lock().settle()
    }

    /// The verdict on the task that went on when the bundle was cut.
    pub async fn late(&self) -> (Verdict, Duration) {
        loop {
            if let Some(late) = self.lock().late.take() {
                return late;
            }
            self.ended.notified().await;
        }
    }
}

impl State {
    /// Gives the verdict back if there is no room for it any more.
    fn take_in(&mut self, verdict: Verdict, service: Duration) -> Option<Verdict> {
        let index = self.next - 1;
        let apart = match verdict {
            Verdict::Done(output) => {
                let cost_bytes = OutcomeWriter::cost_bytes(output.bytes.len());
                let fits = self.outcomes.body_bytes() + cost_bytes <= self.room_bytes;
                if !fits || *self.codec.get_or_insert(output.codec) != output.codec {
                    return Some(Verdict::Done(output));
                }
                let service_seconds = service.as_secs_f32();
                self.outcomes.push_done(service_seconds, &output.bytes);
                self.services_seconds.push(service_seconds);
                return None;
            }
            verdict if self.outcomes.body_bytes() + MOST_CAUSE_BYTES > self.room_bytes => {
                return Some(verdict);
            }
            Verdict::Retry { delay, cause } => Apart::Retry {
                delay,
                cause: dead_letter::cut(&cause),
            },
            Verdict::Dead { cause } => Apart::Failed {
                cause: dead_letter::cut(&cause),
            },
        };
        self.outcomes.push_apart(&apart);
        self.apart.push((index, apart));
        None
    }

    fn settle(&mut self) -> Settled {
        let ended = self.outcomes.done() + self.outcomes.apart();
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let mut apart = std::mem::take(&mut self.apart);
        let mut push = |index, entry: Apart| {
            outcomes.push_apart(&entry);
            apart.push((index, entry));
        };
        if ended < self.next {
            push(ended, Apart::Kept);
        }
        for (index, count) in parts(self.next, self.tasks) {
            push(index, Apart::Requeued { count });
        }
        let done = outcomes.done();
        Settled {
            body: outcomes.finish(),
            codec: self.codec.unwrap_or_default(),
            done,
            apart,
            services_seconds: std::mem::take(&mut self.services_seconds),
        }
    }
}

/// The tasks from `next` on in some parts, each as where it begins and how many.
fn parts(next: u32, tasks: u32) -> impl Iterator<Item = (u32, u32)> {
    let each = (tasks - next).div_ceil(PARTS).max(1);
    (next..tasks)
        .step_by(each as usize)
        .map(move |first| (first, each.min(tasks - first)))
}

/// The outcome of a chunk that may kill the replicas that compute it: every task is queued alone.
pub(super) fn dissolved(tasks: u32) -> Settled {
    let mut outcomes = OutcomeWriter::default();
    let apart: Vec<_> = (0..tasks)
        .map(|index| (index, Apart::Requeued { count: 1 }))
        .collect();
    for (_, entry) in &apart {
        outcomes.push_apart(entry);
    }
    Settled {
        body: outcomes.finish(),
        codec: Codec::default(),
        done: 0,
        apart,
        services_seconds: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoded;
    use farm_core::chunk::{Entry, read_outcome};

    const SERVICE: Duration = Duration::from_millis(1);

    fn done(output: &'static [u8]) -> Verdict {
        Verdict::Done(Encoded::json(output))
    }

    fn kinds(settled: &Settled, tasks: u32) -> Vec<&'static str> {
        let entries = read_outcome(tasks, settled.body.clone()).unwrap();
        let kind = |entry: &Entry| match entry {
            Entry::Done { .. } => "done",
            Entry::Apart(Apart::Retry { .. }) => "retry",
            Entry::Apart(Apart::Failed { .. }) => "failed",
            Entry::Apart(Apart::Kept) => "kept",
            Entry::Apart(Apart::Requeued { .. }) => "requeued",
        };
        entries.iter().map(kind).collect()
    }

    #[test]
    fn every_task_has_its_own_verdict() {
        let bundle = Bundle::new(3, 10_000);
        assert_eq!(bundle.begin(), Next::Task(0));
        assert_eq!(bundle.end(done(b"1"), SERVICE), Next::Task(1));
        let dead = Verdict::Dead {
            cause: "bad".to_owned(),
        };
        assert_eq!(bundle.end(dead, SERVICE), Next::Task(2));
        assert_eq!(bundle.end(done(b"3"), SERVICE), Next::Over);
        let settled = bundle.settle();
        assert_eq!(kinds(&settled, 3), ["done", "failed", "done"]);
        assert_eq!((settled.done, settled.apart.len()), (2, 1));
        assert_eq!(settled.services_seconds, [0.001, 0.001]);
        assert_eq!(bundle.begin(), Next::Over);
    }

    #[tokio::test]
    async fn what_runs_when_a_bundle_is_cut_is_kept_and_the_rest_is_queued_again() {
        let bundle = Bundle::new(12, 10_000);
        bundle.begin();
        assert_eq!(bundle.end(done(b"1"), SERVICE), Next::Task(1));
        assert!(
            !bundle.cut(Instant::now() - Duration::from_secs(1)),
            "too soon"
        );
        assert!(bundle.cut(Instant::now()));
        assert!(!bundle.cut(Instant::now()), "once");
        let settled = bundle.settle();
        let kinds = kinds(&settled, 12);
        assert_eq!(
            kinds,
            [
                "done", "kept", "requeued", "requeued", "requeued", "requeued"
            ]
        );
        let requeued: Vec<_> = settled
            .apart
            .iter()
            .skip(1)
            .map(|(index, _)| *index)
            .collect();
        assert_eq!(requeued, [2, 5, 8, 11]);
        assert_eq!(bundle.end(done(b"2"), SERVICE), Next::Over);
        assert_eq!(bundle.late().await, (done(b"2"), SERVICE));
    }

    #[tokio::test]
    async fn a_result_without_room_is_kept_apart() {
        let bundle = Bundle::new(3, 40);
        bundle.begin();
        bundle.end(done(b"small"), SERVICE);
        let large = done(&[0; 100]);
        assert_eq!(bundle.end(large.clone(), SERVICE), Next::Over);
        assert!(!bundle.cut(Instant::now()), "it is cut already");
        assert_eq!(kinds(&bundle.settle(), 3), ["done", "kept", "requeued"]);
        assert_eq!(bundle.late().await.0, large);
    }

    #[test]
    fn a_dissolved_chunk_has_each_task_alone() {
        let settled = dissolved(3);
        assert_eq!(kinds(&settled, 3), ["requeued"; 3]);
        assert_eq!(settled.done, 0);
    }
}
