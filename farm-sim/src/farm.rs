//! The queue of a farm and its workers, event by event.
//!
//! Tasks are handed out first in first out. Because the next task always goes to the worker that
//! looks for one first, a task is handed out at its turn in one go: its start, its end and the time
//! its result is collected are known then. Nothing is handed out beyond the time up to which the
//! farm was advanced, so that workers can come and go in between. A task whose worker failed is
//! handed out again ahead of those that still wait, as JetStream does.

mod window;
mod workers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_pcg::Pcg64Mcg;

pub use window::Window;
use workers::Workers;

use crate::platform::Platform;
use crate::random::{Cause, Sampler, exponential, random_for};
use crate::workload::Stream;
use crate::{Nanoseconds, nanoseconds};

/// A task whose result was not counted yet.
#[derive(Debug, Clone, Copy)]
struct Computed {
    collected: Nanoseconds,
    ended: Nanoseconds,
    sojourn: Nanoseconds,
    service: Nanoseconds,
    met: bool,
}

/// Totals since the farm began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks whose result was collected.
    pub collected: u64,
    /// Tasks collected within their deadline.
    pub met: u64,
    /// Tasks whose worker failed, or is about to before it has finished the task it has now.
    pub failures: u64,
}

/// What is in the farm at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Tasks that wait for a worker.
    pub backlog: u64,
    /// Tasks that are computed, or were when their worker failed and are not handed out again yet.
    pub in_flight: u64,
    /// Results that were not counted as collected yet.
    pub results: u64,
    /// Workers that take tasks, or will once they have finished theirs. Those that start, that
    /// failed or that are leaving are not among them.
    pub workers: u32,
}

/// A farm: one queue, first in first out, and workers that come and go.
///
/// ```
/// use farm_sim::farm::{Farm, Window};
/// use farm_sim::nanoseconds;
/// use farm_sim::platform::Platform;
/// use farm_sim::workload::Workload;
/// let mut farm = Farm::new(&Platform::ideal());
/// farm.begin(Workload::paper().stream(42), 15, 42);
/// let end = nanoseconds(400.0);
/// farm.advance(end);
/// farm.collect(0, end, &mut Window::default());
/// assert_eq!(farm.totals().collected, 1140);
/// ```
#[derive(Debug, Clone)]
pub struct Farm {
    stream: Stream,
    now: Nanoseconds,
    /// Tasks of the stream submitted by now.
    submitted: usize,
    /// The next task of the stream to hand out.
    next: usize,
    /// Tasks of failed workers and when they are handed out again.
    again: BinaryHeap<Reverse<(Nanoseconds, usize)>>,
    workers: Workers,
    /// How many workers are to leave, and when.
    leaving: Vec<(Nanoseconds, u32)>,
    computed: Vec<Computed>,
    totals: Totals,
    collection: Sampler,
    collection_random: Pcg64Mcg,
    failures: Option<Failing>,
}

#[derive(Debug, Clone)]
struct Failing {
    mean_time_between: f64,
    redelivery: Nanoseconds,
    restart: Nanoseconds,
    random: Pcg64Mcg,
}

impl Farm {
    /// A farm without tasks and workers.
    pub fn new(platform: &Platform) -> Self {
        let failures = platform.failures.as_ref().map(|failures| Failing {
            mean_time_between: failures.mean_time_between_seconds * 1e9,
            redelivery: nanoseconds(failures.redelivery_seconds),
            restart: nanoseconds(failures.restart_seconds),
            random: random_for(0, Cause::Failures),
        });
        Self {
            stream: Stream::default(),
            now: 0,
            submitted: 0,
            next: 0,
            again: BinaryHeap::new(),
            workers: Workers::new(nanoseconds(platform.poll_seconds)),
            leaving: Vec::new(),
            computed: Vec::new(),
            totals: Totals::default(),
            collection: platform.collection.sampler(),
            collection_random: random_for(0, Cause::Collection),
            failures,
        }
    }

    /// Begins anew at time 0, with these tasks and workers.
    pub fn begin(&mut self, stream: Stream, workers: u32, seed: u64) {
        self.stream = stream;
        self.now = 0;
        self.submitted = 0;
        self.next = 0;
        self.again.clear();
        self.computed.clear();
        self.totals = Totals::default();
        self.collection_random = random_for(seed, Cause::Collection);
        if let Some(failing) = &mut self.failures {
            failing.random = random_for(seed, Cause::Failures);
        }
        self.leaving.clear();
        self.workers.clear();
        // Their polls are spread evenly: nobody starts twelve workers in the same nanosecond.
        let poll = self.workers.poll();
        for worker in 0..u64::from(workers) {
            self.workers
                .join(0, poll * worker / u64::from(workers.max(1)));
        }
    }

    /// The tasks, to be used for the next run.
    pub fn take_stream(&mut self) -> Stream {
        std::mem::take(&mut self.stream)
    }

    /// The time up to which it was advanced.
    pub fn now(&self) -> Nanoseconds {
        self.now
    }

    /// The tasks of the run.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Adds workers that take their first task at `at`, or now if that is past.
    pub fn join(&mut self, workers: u32, at: Nanoseconds) {
        for _ in 0..workers {
            self.workers.join(self.now, at.max(self.now));
        }
    }

    /// Lets `workers` leave: those that are not there yet first, the last to come before the others,
    /// then those that are the first to look for another task. Who computes finishes the task.
    pub fn leave(&mut self, workers: u32) {
        for _ in 0..workers {
            self.workers.leave(self.now);
        }
    }

    /// The same once it is `at`.
    pub fn leave_at(&mut self, workers: u32, at: Nanoseconds) {
        if at > self.now {
            self.leaving.push((at, workers));
        } else {
            self.leave(workers);
        }
    }

    /// Hands out tasks up to and including the time `until`, and lets workers leave on the way.
    pub fn advance(&mut self, until: Nanoseconds) {
        while let Some((at, workers)) = self.next_leaving(until) {
            self.hand_out(at);
            self.now = at;
            self.leave(workers);
        }
        self.hand_out(until);
        self.now = self.now.max(until);
        let waiting = &self.stream.tasks[self.submitted..];
        let arrived = waiting.iter().take_while(|task| task.arrival <= until);
        self.submitted += arrived.count();
        self.totals.submitted = self.submitted as u64;
    }

    fn next_leaving(&mut self, until: Nanoseconds) -> Option<(Nanoseconds, u32)> {
        let times = self.leaving.iter().enumerate();
        let (index, (at, _)) = times.min_by_key(|(_, (at, _))| *at)?;
        (*at <= until).then(|| self.leaving.remove(index))
    }

    fn hand_out(&mut self, until: Nanoseconds) {
        loop {
            let fresh = self.stream.tasks.get(self.next);
            let fresh = fresh.map_or(Nanoseconds::MAX, |task| task.arrival);
            let again = self.again.peek();
            let again = again.map_or(Nanoseconds::MAX, |Reverse((ready, _))| *ready);
            let ready = fresh.min(again);
            if ready > until {
                return;
            }
            let Some(start) = self.workers.take(ready, until) else {
                return;
            };
            let lost = if again <= start {
                self.again.pop()
            } else {
                None
            };
            let task = lost.map_or(self.next, |Reverse((_, task))| task);
            self.next += usize::from(lost.is_none());
            self.compute(task, start);
        }
    }

    fn compute(&mut self, index: usize, start: Nanoseconds) {
        let task = self.stream.tasks[index];
        if let Some(failing) = &mut self.failures {
            let alive = exponential(&mut failing.random) * failing.mean_time_between;
            let alive = alive as Nanoseconds;
            if alive < task.service {
                let failed = start + alive;
                self.totals.failures += 1;
                self.again
                    .push(Reverse((failed + failing.redelivery, index)));
                self.workers.join(failed, failed + failing.restart);
                return;
            }
        }
        let ended = start + task.service;
        self.workers.busy_until(ended);
        let collecting = self.collection.seconds(&mut self.collection_random);
        let collected = ended + nanoseconds(collecting);
        let sojourn = collected - task.arrival;
        self.computed.push(Computed {
            collected,
            ended,
            sojourn,
            service: task.service,
            met: sojourn <= task.deadline,
        });
    }

    /// Counts the results collected by `upto`; those collected after `from` make the window.
    ///
    /// Results that were counted once are not counted again: windows must not overlap by more than
    /// what was left uncounted.
    pub fn collect(&mut self, from: Nanoseconds, upto: Nanoseconds, window: &mut Window) {
        window.clear();
        let totals = &mut self.totals;
        self.computed.retain(|computed| {
            if computed.collected > upto {
                return true;
            }
            totals.collected += 1;
            totals.met += u64::from(computed.met);
            if computed.collected > from {
                window.count(computed.service, computed.sojourn, computed.met);
            }
            false
        });
    }

    /// What is in it now.
    pub fn contents(&self) -> Contents {
        let waiting_again = self.again.iter();
        let ready_again = waiting_again
            .filter(|Reverse((ready, _))| *ready <= self.now)
            .count();
        let running = self.computed.iter();
        let running = running.filter(|computed| computed.ended > self.now).count();
        let lost = self.again.len() - ready_again;
        let ended = self.computed.len() - running;
        Contents {
            backlog: (self.submitted - self.next + ready_again) as u64,
            in_flight: (running + lost) as u64,
            results: ended as u64,
            workers: self.workers.present(self.now),
        }
    }

    /// Totals since it began; results as far as they were collected.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether every task was computed, and its result counted.
    pub fn is_drained(&self) -> bool {
        self.next == self.stream.tasks.len() && self.again.is_empty() && self.computed.is_empty()
    }
}
