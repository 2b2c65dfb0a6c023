//! The queue of a farm and its workers, event by event.
//!
//! Tasks are handed out first in first out. Because the next task always goes to the worker that
//! looks for one first, a task is handed out at its turn in one go: its start, its end and the time
//! its result is collected are known then. Nothing is handed out beyond the time up to which the
//! farm was advanced, so that workers can come and go in between.

mod window;
mod workers;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64Mcg;

pub use window::Window;
use workers::Workers;

use crate::platform::Platform;
use crate::random::{Cause, Sampler, random_for};
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
    /// Workers that failed.
    pub failures: u64,
}

/// What is in the farm at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Tasks that wait for a worker.
    pub backlog: u64,
    /// Tasks that are computed, or were when their worker failed and are not handed out again yet.
    pub in_flight: u64,
    /// Results that were not collected yet.
    pub results: u64,
    /// Workers that take tasks or compute one.
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
        self.workers.clear();
        // Their polls are spread evenly: nobody starts twelve workers in the same nanosecond.
        let poll = self.workers.poll();
        for worker in 0..u64::from(workers) {
            self.workers.join(poll * worker / u64::from(workers.max(1)));
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
            self.workers.join(at.max(self.now));
        }
    }

    /// Lets `workers` leave: those that did not start yet first, then those that are the first to
    /// look for another task.
    pub fn leave(&mut self, workers: u32) {
        for _ in 0..workers {
            self.workers.leave(self.now);
        }
    }

    /// Hands out tasks up to and including the time `until`.
    pub fn advance(&mut self, until: Nanoseconds) {
        while let Some((ready, task, is_again)) = self.head() {
            if ready > until {
                break;
            }
            let Some(start) = self.workers.take(ready, until) else {
                break;
            };
            if is_again {
                self.again.pop();
            } else {
                self.next += 1;
            }
            self.compute(task, start);
        }
        self.now = self.now.max(until);
        let arrived = self.stream.tasks[self.submitted..]
            .iter()
            .take_while(|task| task.arrival <= until)
            .count();
        self.submitted += arrived;
        self.totals.submitted += arrived as u64;
    }

    /// The task that is handed out next, the time it can be, and whether it was handed out before.
    fn head(&self) -> Option<(Nanoseconds, usize, bool)> {
        let fresh = self.stream.tasks.get(self.next);
        let fresh = fresh.map(|task| (task.arrival, self.next, false));
        let again = self.again.peek();
        let again = again.map(|Reverse((ready, task))| (*ready, *task, true));
        match (fresh, again) {
            (Some(fresh), Some(again)) => Some(if again.0 <= fresh.0 { again } else { fresh }),
            (fresh, again) => fresh.or(again),
        }
    }

    fn compute(&mut self, index: usize, start: Nanoseconds) {
        let task = self.stream.tasks[index];
        if let Some(failing) = &mut self.failures {
            let alive: f64 = Exp1.sample(&mut failing.random);
            let alive = (alive * failing.mean_time_between) as Nanoseconds;
            if alive < task.service {
                let failed = start + alive;
                self.totals.failures += 1;
                self.again
                    .push(Reverse((failed + failing.redelivery, index)));
                self.workers.join(failed + failing.restart);
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

    /// When the last task so far ends, and when its result is there.
    pub fn is_drained(&self) -> bool {
        self.next == self.stream.tasks.len() && self.again.is_empty() && self.computed.is_empty()
    }
}
