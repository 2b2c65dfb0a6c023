//! A farm in a few lines: one queue, first in first out, and workers that take time to start.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use farm_policy::Observation;

/// One task of a stream.
#[derive(Clone, Copy)]
pub struct Task {
    pub arrival_seconds: f64,
    pub service_seconds: f64,
}

/// Mean of the paper's service time.
pub const MEAN_SERVICE_SECONDS: f64 = 1.4715;
const START_SECONDS: f64 = 5.0;
const INTERVAL_SECONDS: f64 = 8.0;

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Share of tasks done within twice their own service time.
    pub qos_ratio: f64,
    /// Parallelism after each decision.
    pub parallelism: Vec<u32>,
}

impl Report {
    pub fn mean_parallelism(&self) -> f64 {
        let sum: u32 = self.parallelism.iter().sum();
        f64::from(sum) / self.parallelism.len() as f64
    }

    /// Changes among the decisions from one to before another.
    pub fn changes(&self, from: usize, before: usize) -> usize {
        let decisions = self.parallelism[from..before].windows(2);
        decisions.filter(|pair| pair[0] != pair[1]).count()
    }
}

/// Runs the stream on a farm that `decide` scales.
pub fn run(
    tasks: &[Task],
    initial_parallelism: u32,
    decide: &mut dyn FnMut(&Observation) -> u32,
) -> Report {
    Farm::new(tasks, initial_parallelism).run(decide)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Started(u32),
    Arrived(usize),
    Decide,
}

/// Completions of one control interval.
#[derive(Default)]
struct Window {
    arrived: u32,
    service: Vec<f64>,
    sojourn: Vec<f64>,
    in_deadline: u32,
}

struct Farm<'a> {
    tasks: &'a [Task],
    /// Ordered by time in nanoseconds.
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now_seconds: f64,
    queue: VecDeque<usize>,
    asked: u32,
    ready: u32,
    busy: u32,
    submitted: u64,
    done: u64,
    in_deadline: u64,
    last_change: i32,
    window: Window,
}

impl<'a> Farm<'a> {
    fn new(tasks: &'a [Task], parallelism: u32) -> Self {
        let mut farm = Self {
            tasks,
            events: BinaryHeap::new(),
            now_seconds: 0.0,
            queue: VecDeque::new(),
            asked: parallelism,
            ready: parallelism,
            busy: 0,
            submitted: 0,
            done: 0,
            in_deadline: 0,
            last_change: 0,
            window: Window::default(),
        };
        for (index, task) in tasks.iter().enumerate() {
            farm.at(task.arrival_seconds, Event::Arrived(index));
        }
        farm.at(INTERVAL_SECONDS, Event::Decide);
        farm
    }

    fn at(&mut self, seconds: f64, event: Event) {
        self.events.push(Reverse(((seconds * 1e9) as u64, event)));
    }

    fn run(mut self, decide: &mut dyn FnMut(&Observation) -> u32) -> Report {
        let mut report = Report::default();
        while let Some(Reverse((nanoseconds, event))) = self.events.pop() {
            self.now_seconds = nanoseconds as f64 / 1e9;
            match event {
                Event::Arrived(task) => self.arrive(task),
                Event::Done(task) => self.finish(task),
                Event::Started(more) => self.ready = (self.ready + more).min(self.asked),
                Event::Decide if self.done == self.tasks.len() as u64 => break,
                Event::Decide => {
                    let target = decide(&self.observe());
                    self.scale(target);
                    report.parallelism.push(target);
                    self.at(self.now_seconds + INTERVAL_SECONDS, Event::Decide);
                }
            }
            self.start_tasks();
        }
        report.qos_ratio = self.in_deadline as f64 / self.done as f64;
        report
    }

    fn arrive(&mut self, task: usize) {
        self.submitted += 1;
        self.window.arrived += 1;
        self.queue.push_back(task);
    }

    fn start_tasks(&mut self) {
        while self.busy < self.ready {
            let Some(task) = self.queue.pop_front() else {
                break;
            };
            self.busy += 1;
            let end = self.now_seconds + self.tasks[task].service_seconds;
            self.at(end, Event::Done(task));
        }
    }

    fn finish(&mut self, task: usize) {
        let Task {
            arrival_seconds,
            service_seconds,
        } = self.tasks[task];
        let sojourn = self.now_seconds - arrival_seconds;
        self.busy -= 1;
        self.done += 1;
        self.window.service.push(service_seconds);
        self.window.sojourn.push(sojourn);
        // The half millisecond forgives the rounding to nanoseconds.
        if sojourn <= 2.0 * service_seconds + 0.0005 {
            self.in_deadline += 1;
            self.window.in_deadline += 1;
        }
    }

    fn scale(&mut self, target: u32) {
        self.last_change = target as i32 - self.asked as i32;
        if target > self.asked {
            let more = target - self.asked;
            self.at(self.now_seconds + START_SECONDS, Event::Started(more));
        }
        self.asked = target;
        self.ready = self.ready.min(target);
    }

    fn observe(&mut self) -> Observation {
        let window = std::mem::take(&mut self.window);
        let ended = window.sojourn.len() as f64;
        Observation {
            interval_seconds: INTERVAL_SECONDS,
            backlog_tasks: self.queue.len() as u64,
            in_flight_tasks: self.busy.into(),
            collected_tasks: self.done,
            submitted_tasks: self.submitted,
            available_parallelism: self.ready,
            arrival_rate_per_second: f64::from(window.arrived) / INTERVAL_SECONDS,
            service_seconds_mean: mean(&window.service),
            service_seconds_variance: variance(&window.service),
            service_seconds_max: maximum(&window.service),
            sojourn_seconds_mean: mean(&window.sojourn),
            sojourn_seconds_max: maximum(&window.sojourn),
            qos_ratio: (ended > 0.0).then(|| f64::from(window.in_deadline) / ended),
            deadline_seconds: Some(2.0 * MEAN_SERVICE_SECONDS),
            cold_start_seconds: START_SECONDS,
            last_change: self.last_change,
            ordered_parallelism: None,
            ..Observation::idle(self.now_seconds, self.asked)
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    (count > 0.0).then(|| values.iter().sum::<f64>() / count)
}

fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(squares / values.len() as f64)
}

fn maximum(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}
