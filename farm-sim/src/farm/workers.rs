//! Who looks for a task next.

use crate::Nanoseconds;

/// The workers of a farm. They have no names: only the times at which they look for tasks matter.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    /// How often an idle worker looks; 1 ns if it is told.
    poll: Nanoseconds,
    /// When workers that compute or start look for their next task; the earliest last.
    busy: Vec<Nanoseconds>,
    /// When idle workers look within a period of `poll`; ascending.
    idle: Vec<Nanoseconds>,
    /// When workers take their first task, as long as that is to come.
    starting: Vec<Nanoseconds>,
}

impl Workers {
    pub fn new(poll: Nanoseconds) -> Self {
        Self {
            poll: poll.max(1),
            busy: Vec::new(),
            idle: Vec::new(),
            starting: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.busy.clear();
        self.idle.clear();
        self.starting.clear();
    }

    pub fn poll(&self) -> Nanoseconds {
        self.poll
    }

    /// A worker that looks for its first task at `at`.
    pub fn join(&mut self, at: Nanoseconds) {
        self.starting.push(at);
        self.busy_until(at);
    }

    /// A worker that looks for its next task at `at`.
    pub fn busy_until(&mut self, at: Nanoseconds) {
        let index = self.busy.partition_point(|other| *other > at);
        self.busy.insert(index, at);
    }

    /// The worker that is first to look at or after `ready` takes a task, if that is by `until`.
    pub fn take(&mut self, ready: Nanoseconds, until: Nanoseconds) -> Option<Nanoseconds> {
        self.rest(ready);
        let idle = self.first_idle(ready);
        let busy = self.busy.last().copied();
        match (idle, busy) {
            (Some((index, at)), busy) if busy.is_none_or(|busy| at <= busy) => {
                (at <= until).then(|| {
                    self.idle.remove(index);
                    at
                })
            }
            (_, Some(at)) => (at <= until).then(|| {
                self.busy.pop();
                at
            }),
            (_, None) => None,
        }
    }

    /// One worker leaves: one that starts, or the first to look after `now`.
    pub fn leave(&mut self, now: Nanoseconds) {
        self.starting.retain(|at| *at > now);
        // The last to be ready is the last that was asked for.
        let latest = (0..self.starting.len()).max_by_key(|index| self.starting[*index]);
        if let Some(index) = latest {
            let at = self.starting.swap_remove(index);
            if let Some(position) = self.busy.iter().position(|other| *other == at) {
                self.busy.remove(position);
            }
            return;
        }
        self.rest(now);
        let idle = self.first_idle(now);
        match (idle, self.busy.last().copied()) {
            (Some((index, at)), busy) if busy.is_none_or(|busy| at <= busy) => {
                self.idle.remove(index);
            }
            _ => {
                self.busy.pop();
            }
        }
    }

    /// Workers that take tasks or compute one at `now`.
    pub fn present(&self, now: Nanoseconds) -> u32 {
        let starting = self.starting.iter().filter(|at| **at > now).count();
        (self.busy.len() + self.idle.len() - starting) as u32
    }

    /// Workers that found nothing by `ready` go idle.
    fn rest(&mut self, ready: Nanoseconds) {
        while let Some(at) = self.busy.last().copied().filter(|at| *at <= ready) {
            self.busy.pop();
            let phase = at % self.poll;
            let index = self.idle.partition_point(|other| *other < phase);
            self.idle.insert(index, phase);
        }
    }

    /// The idle worker that looks first at or after `ready`, and when.
    fn first_idle(&self, ready: Nanoseconds) -> Option<(usize, Nanoseconds)> {
        let first = *self.idle.first()?;
        let phase = ready % self.poll;
        let index = self.idle.partition_point(|other| *other < phase);
        Some(match self.idle.get(index) {
            Some(other) => (index, ready - phase + other),
            None => (0, ready - phase + self.poll + first),
        })
    }
}
