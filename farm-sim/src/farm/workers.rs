//! Who looks for a task next.

use crate::Nanoseconds;

/// One that computes, or that is not there yet.
#[derive(Debug, Clone, Copy)]
struct Busy {
    /// When it looks for its next task.
    looks: Nanoseconds,
    /// From when on, until then, it is not there: it starts, or stands up after a failure.
    absent_from: Nanoseconds,
}

impl Busy {
    fn is_absent(&self, now: Nanoseconds) -> bool {
        self.absent_from <= now && now < self.looks
    }
}

/// The workers of a farm. They have no names: only the times at which they look for tasks matter.
/// One that was told to leave, or that will be the next to find out that somebody has to, is no
/// longer among them, even while it computes its last task.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    /// How often an idle worker looks; 1 ns if it is told.
    poll: Nanoseconds,
    polls_per_nanosecond: f64,
    /// Those that compute or are not there yet; who looks first comes last.
    busy: Vec<Busy>,
    /// When idle workers look within a period of `poll`; ascending.
    idle: Vec<Nanoseconds>,
}

impl Workers {
    pub fn new(poll: Nanoseconds) -> Self {
        let poll = poll.max(1);
        Self {
            poll,
            polls_per_nanosecond: 1.0 / poll as f64,
            busy: Vec::new(),
            idle: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.busy.clear();
        self.idle.clear();
    }

    pub fn poll(&self) -> Nanoseconds {
        self.poll
    }

    /// One that is not there from `absent_from` until it looks for a task at `looks`.
    pub fn join(&mut self, absent_from: Nanoseconds, looks: Nanoseconds) {
        self.insert(Busy { looks, absent_from });
    }

    /// One that computes until it looks for its next task at `looks`.
    pub fn busy_until(&mut self, looks: Nanoseconds) {
        self.insert(Busy {
            looks,
            absent_from: Nanoseconds::MAX,
        });
    }

    fn insert(&mut self, busy: Busy) {
        // One by one: for a few dozen workers faster than a search by halves and a block move.
        let mut index = self.busy.len();
        self.busy.push(busy);
        while index > 0 && self.busy[index - 1].looks <= busy.looks {
            self.busy[index] = self.busy[index - 1];
            index -= 1;
        }
        self.busy[index] = busy;
    }

    /// The worker that is first to look at or after `ready` takes a task, if that is by `until`.
    pub fn take(&mut self, ready: Nanoseconds, until: Nanoseconds) -> Option<Nanoseconds> {
        self.rest(ready);
        let (first, looks) = self.first(ready)?;
        (looks <= until).then(|| {
            self.remove(first);
            looks
        })
    }

    /// One worker leaves: the last to be there of those that are not there yet, else the first to
    /// look at or after `now`.
    pub fn leave(&mut self, now: Nanoseconds) {
        let absent = self.busy.iter().position(|busy| busy.is_absent(now));
        if let Some(index) = absent {
            self.busy.remove(index);
            return;
        }
        self.rest(now);
        if let Some((first, _)) = self.first(now) {
            self.remove(first);
        }
    }

    /// Workers that take tasks or compute one at `now`.
    pub fn present(&self, now: Nanoseconds) -> u32 {
        let absent = self.busy.iter().filter(|busy| busy.is_absent(now)).count();
        (self.busy.len() + self.idle.len() - absent) as u32
    }

    /// Workers that found nothing by `ready` go idle.
    fn rest(&mut self, ready: Nanoseconds) {
        while let Some(busy) = self.busy.pop_if(|busy| busy.looks <= ready) {
            let phase = self.phase(busy.looks);
            let mut index = self.idle.len();
            self.idle.push(phase);
            while index > 0 && self.idle[index - 1] > phase {
                self.idle[index] = self.idle[index - 1];
                index -= 1;
            }
            self.idle[index] = phase;
        }
    }

    /// `at % poll`, without the division, which would take a tenth of all the time of a run.
    fn phase(&self, at: Nanoseconds) -> Nanoseconds {
        /// Below this the quotient is off by one at most.
        const EXACT: Nanoseconds = 1 << 52;
        if self.poll == 1 {
            return 0;
        }
        if at >= EXACT {
            return at % self.poll;
        }
        let polls = (at as f64 * self.polls_per_nanosecond) as Nanoseconds;
        match at.checked_sub(polls * self.poll) {
            None => at + self.poll - polls * self.poll,
            Some(phase) if phase >= self.poll => phase - self.poll,
            Some(phase) => phase,
        }
    }

    /// Who looks first at or after `ready`, and when; none of the busy looks before.
    fn first(&self, ready: Nanoseconds) -> Option<(First, Nanoseconds)> {
        let busy = self.busy.last().map(|busy| (First::Busy, busy.looks));
        let idle = self
            .first_idle(ready)
            .map(|(index, looks)| (First::Idle(index), looks));
        match (idle, busy) {
            (Some(idle), Some(busy)) => Some(if idle.1 <= busy.1 { idle } else { busy }),
            (idle, busy) => idle.or(busy),
        }
    }

    fn first_idle(&self, ready: Nanoseconds) -> Option<(usize, Nanoseconds)> {
        let earliest = *self.idle.first()?;
        let phase = self.phase(ready);
        let index = self.idle.partition_point(|other| *other < phase);
        Some(match self.idle.get(index) {
            Some(other) => (index, ready - phase + other),
            None => (0, ready - phase + self.poll + earliest),
        })
    }

    fn remove(&mut self, first: First) {
        match first {
            First::Idle(index) => {
                self.idle.remove(index);
            }
            First::Busy => {
                self.busy.pop();
            }
        }
    }
}

/// Which worker is the first to look.
#[derive(Debug, Clone, Copy)]
enum First {
    /// An idle one, by its place among them.
    Idle(usize),
    /// The last of the busy.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_phase_is_a_remainder(poll in 1_u64..10_000_000_000, at in 0_u64..1 << 62, shift in 0..62) {
            let workers = Workers::new(poll);
            for at in [at >> shift, (at >> shift) / poll * poll] {
                prop_assert_eq!(workers.phase(at), at % poll);
                prop_assert_eq!(workers.phase(at.saturating_sub(1)), at.saturating_sub(1) % poll);
            }
        }
    }

    /// Takes tasks that are ready at `ready` until nobody is left, and tells when.
    fn looks(workers: &mut Workers, ready: Nanoseconds) -> Vec<Nanoseconds> {
        std::iter::from_fn(|| workers.take(ready, Nanoseconds::MAX)).collect()
    }

    #[test]
    fn the_first_to_look_takes_the_task() {
        let mut workers = Workers::new(100);
        workers.join(0, 30);
        workers.busy_until(260);
        workers.busy_until(310);
        workers.join(0, 90);
        // At 250 two are idle and look at 30 and 90 of each hundred.
        assert_eq!(looks(&mut workers, 250), [260, 290, 310, 330]);
        assert_eq!(workers.take(250, Nanoseconds::MAX), None);
    }

    #[test]
    fn nobody_takes_a_task_beyond_the_horizon() {
        let mut workers = Workers::new(100);
        workers.join(0, 30);
        assert_eq!(workers.take(40, 129), None);
        assert_eq!(workers.take(40, 130), Some(130));
    }

    #[test]
    fn those_who_are_not_there_yet_leave_first_the_last_before_the_others() {
        let mut workers = Workers::new(1);
        workers.join(0, 0);
        workers.join(10, 50);
        workers.join(10, 70);
        workers.busy_until(40);
        assert_eq!(workers.present(20), 2);
        workers.leave(20);
        assert_eq!(workers.present(20), 2);
        assert_eq!(looks(&mut workers.clone(), 20), [20, 40, 50]);
        workers.leave(20);
        assert_eq!(looks(&mut workers.clone(), 20), [20, 40]);
        workers.leave(20);
        assert_eq!(looks(&mut workers.clone(), 20), [40]);
        workers.leave(20);
        workers.leave(20);
        assert_eq!(looks(&mut workers, 20), [0; 0]);
    }

    #[test]
    fn who_computes_is_present_until_it_fails() {
        let mut workers = Workers::new(1);
        workers.join(60, 90);
        assert_eq!(
            [59, 60, 89, 90].map(|now| workers.present(now)),
            [1, 0, 0, 1]
        );
    }
}
