//! Where the messages of a job end.

use farm_core::JobId;
use farm_core::job::{ChunkBounds, ChunkPlan, JobSpec};

use super::hand::Hand;
use crate::http::refusal::Refusal;
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{Announced, Jobs};

pub(super) enum Packing {
    /// Where it suits the workers now; with so many bytes at most.
    Free(u64),
    /// Where it is planned, since a repeat must cut the same body at the same places.
    Planned(Box<Planned>),
}

/// Bounds that are written down before a message goes by them.
pub(super) struct Planned {
    spec: JobSpec,
    plan: ChunkPlan,
    /// Of the spec in the bucket; none if the plan is for others to change, or nobody.
    revision: Option<u64>,
    body_bytes: u64,
}

/// What is to be done about the tasks in hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More of them, or an answer, is awaited.
    Wait,
    /// So many go into a message.
    Send(usize),
    /// First these bounds are planned.
    Plan(ChunkBounds),
}

impl Packing {
    pub fn new(announced: Announced, body_bytes: u64) -> Self {
        let Announced { spec, revision } = announced;
        let Some(plan) = spec.chunks.clone() else {
            return Self::Free(body_bytes);
        };
        Self::Planned(Box::new(Planned {
            spec,
            plan,
            revision,
            body_bytes,
        }))
    }

    /// Whether messages end as it suits the workers.
    pub fn is_adaptive(&self) -> bool {
        match self {
            Self::Free(_) => true,
            Self::Planned(planned) => planned.changes_left() > 0,
        }
    }

    /// What becomes of `hand`, whose first task is task `first` of the job. `wish` is how many tasks
    /// would be best together; `idle` says that nothing is gained by waiting for company.
    pub fn next(&self, hand: &Hand, first: u64, wish: u32, idle: bool) -> Next {
        let planned = match self {
            Self::Planned(planned) => planned,
            Self::Free(body_bytes) => {
                let lot = hand.next(ChunkBounds {
                    tasks: wish,
                    body_bytes: *body_bytes,
                });
                return match lot.tasks > 0 && (lot.full || idle) {
                    true => Next::Send(lot.tasks),
                    false => Next::Wait,
                };
            }
        };
        planned.next(hand, first, wish, idle)
    }

    /// Plans `bounds` from task `first` on, if that is still for this submit to say.
    ///
    /// # Errors
    /// The jobs bucket does not say whether it is planned.
    pub async fn plan(
        &mut self,
        broker: &Broker,
        job: &JobId,
        first: u64,
        bounds: ChunkBounds,
    ) -> Result<(), Refusal> {
        let Self::Planned(planned) = self else {
            return Ok(());
        };
        let Some(revision) = planned.revision else {
            return Ok(());
        };
        let mut plan = planned.plan.clone();
        plan.change(first, bounds);
        let spec = JobSpec {
            chunks: Some(plan.clone()),
            ..planned.spec.clone()
        };
        planned.revision = Jobs::new(broker).update_spec(job, &spec, revision).await?;
        if planned.revision.is_some() {
            planned.plan = plan;
        }
        Ok(())
    }

    /// The plan that a repeat has to go by.
    pub fn made(&self) -> Option<ChunkPlan> {
        match self {
            Self::Free(_) => None,
            Self::Planned(planned) => Some(planned.plan.clone()),
        }
    }

    /// What was refused as too large shows what is; false if messages must end where they do.
    pub fn shrink(&mut self, body_bytes: u64) -> bool {
        match self {
            Self::Free(most) => {
                *most = (*most).min(body_bytes);
                true
            }
            Self::Planned(_) => false,
        }
    }
}

impl Planned {
    fn changes_left(&self) -> usize {
        match self.revision {
            Some(_) => self.plan.changes_left(),
            None => 0,
        }
    }

    fn next(&self, hand: &Hand, first: u64, wish: u32, idle: bool) -> Next {
        let now = self.plan.at(first);
        let wish = ChunkBounds {
            tasks: wish,
            body_bytes: self.body_bytes,
        };
        // The last change is kept for tasks that come too slowly to wait for company.
        let is_better =
            self.changes_left() > 1 && (wish.tasks / 2 >= now.tasks || wish.tasks <= now.tasks / 2);
        let lot = hand.next(now);
        match (is_better, lot.full) {
            (true, _) if hand.next(wish).full => Next::Plan(wish),
            (true, _) if !idle => Next::Wait,
            (_, true) => Next::Send(lot.tasks),
            _ if idle && lot.tasks > 0 && self.changes_left() > 0 => Next::Plan(ChunkBounds::ALONE),
            _ => Next::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const BYTES: u64 = 1 << 20;

    fn hand(tasks: usize) -> Hand {
        let mut hand = Hand::default();
        (0..tasks).for_each(|_| hand.add(Bytes::from_static(b"{}")));
        hand
    }

    fn bounds(tasks: u32) -> ChunkBounds {
        ChunkBounds {
            tasks,
            body_bytes: BYTES,
        }
    }

    fn planned(plan: ChunkPlan, revision: Option<u64>) -> Packing {
        let spec = JobSpec {
            created_seconds: 0.0,
            accepted: None,
            deadline_seconds: None,
            callback_url: None,
            chunks: Some(plan),
        };
        Packing::new(Announced { spec, revision }, BYTES)
    }

    #[test]
    fn unplanned_tasks_leave_when_they_are_enough_or_nothing_is_on_its_way() {
        let free = Packing::Free(BYTES);
        assert_eq!(free.next(&hand(0), 0, 10, true), Next::Wait);
        assert_eq!(free.next(&hand(9), 0, 10, false), Next::Wait);
        assert_eq!(free.next(&hand(9), 0, 10, true), Next::Send(9));
        assert_eq!(free.next(&hand(11), 0, 10, false), Next::Send(10));
    }

    #[test]
    fn planned_tasks_that_come_slowly_are_planned_to_travel_alone() {
        let many = planned(ChunkPlan::from_start(bounds(100)), Some(1));
        assert_eq!(many.next(&hand(3), 0, 100, false), Next::Wait);
        let alone = Next::Plan(ChunkBounds::ALONE);
        assert_eq!(many.next(&hand(3), 0, 100, true), alone);
        let alone = planned(ChunkPlan::from_start(ChunkBounds::ALONE), Some(1));
        assert_eq!(alone.next(&hand(3), 0, 100, true), Next::Send(1));
    }

    #[test]
    fn what_turns_out_to_be_short_is_planned_to_travel_together() {
        let alone = planned(ChunkPlan::from_start(ChunkBounds::ALONE), Some(1));
        assert_eq!(alone.next(&hand(99), 256, 100, false), Next::Wait);
        let together = Next::Plan(bounds(100));
        assert_eq!(alone.next(&hand(100), 256, 100, false), together);
    }

    #[test]
    fn a_repeat_goes_by_the_plan_alone() {
        let mut plan = ChunkPlan::from_start(bounds(100));
        plan.change(200, ChunkBounds::ALONE);
        let repeat = planned(plan, None);
        assert!(!repeat.is_adaptive());
        assert_eq!(repeat.next(&hand(99), 0, 1, true), Next::Wait);
        assert_eq!(repeat.next(&hand(100), 100, 1, true), Next::Send(100));
        assert_eq!(repeat.next(&hand(60), 150, 1, true), Next::Send(50));
        assert_eq!(repeat.next(&hand(100), 200, 4096, false), Next::Send(1));
    }

    fn plan_of(packing: &mut Packing) -> &mut ChunkPlan {
        match packing {
            Packing::Planned(planned) => &mut planned.plan,
            Packing::Free(_) => panic!("nothing is planned"),
        }
    }

    /// How a body is cut whose tasks come as `come` says, and the plan that was made for it.
    fn cut(mut packing: Packing, come: &[(usize, u32, bool)]) -> (Vec<usize>, Packing) {
        let (mut hand, mut first, mut lots) = (Hand::default(), 0, Vec::new());
        let last = come.len() - 1;
        for (step, (tasks, wish, idle)) in come.iter().enumerate() {
            (0..*tasks).for_each(|_| hand.add(Bytes::from_static(b"{}")));
            hand.ended = step == last;
            loop {
                match packing.next(&hand, first, *wish, *idle || hand.ended) {
                    Next::Wait => break,
                    Next::Send(tasks) => {
                        hand.take(tasks);
                        lots.push(tasks);
                        first += tasks as u64;
                    }
                    Next::Plan(bounds) => {
                        plan_of(&mut packing).change(first, bounds);
                    }
                }
            }
        }
        (lots, packing)
    }

    proptest! {
        /// What a keyed submit relies on: whoever goes by its plan cuts the body where it did, and
        /// nothing stays in hand.
        #[test]
        fn a_repeat_cuts_where_the_first_did(
            come in proptest::collection::vec((0usize..300, 1u32..200, any::<bool>()), 1..150),
            at_once in 1usize..500,
        ) {
            let total: usize = come.iter().map(|(tasks, ..)| tasks).sum();
            let start = ChunkPlan::from_start(bounds(50));
            let (lots, mut packing) = cut(planned(start, Some(1)), &come);
            prop_assert_eq!(lots.iter().sum::<usize>(), total);
            let made = plan_of(&mut packing).clone();
            prop_assert!(made.changes_left() < ChunkPlan::MOST_SEGMENTS);
            let mut repeat: Vec<_> = vec![(at_once, 7, true); total / at_once];
            repeat.push((total % at_once, 7, true));
            let (again, _) = cut(planned(made, None), &repeat);
            prop_assert_eq!(lots, again);
        }
    }
}
