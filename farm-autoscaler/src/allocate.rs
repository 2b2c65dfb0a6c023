//! How a parallelism is split into replicas and slots. Pure.
//!
//! A slot costs a message, a replica a cold start and memory: the split takes the fewest replicas
//! that reach the parallelism. On OpenFaaS CE, with at most 5 replicas a function, slots are what
//! makes more than 5 workers possible.

use farm_core::decision::Allocation;

/// What the split has to keep within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Most slots of a replica; `None` if slots are not ours to change.
    pub slots_max: Option<u32>,
    /// Slots each replica has now.
    pub slots_now: u32,
    /// Most replicas the function or the platform allows.
    pub replicas_max: Option<u32>,
    /// Fewest replicas the platform allows: 1 where it knows no zero.
    pub replicas_min: u32,
}

/// The fewest replicas that reach `parallelism`, and the fewest slots with which they do.
///
/// Less than `parallelism` only if `room` is too small for it; more by less than one replica's
/// slots, because all replicas have the same slots.
pub(crate) fn allocate(parallelism: u32, room: &Room) -> Allocation {
    let most = room.replicas_max.unwrap_or(u32::MAX).max(1);
    let bounded = |replicas: u32| replicas.min(most).max(room.replicas_min);
    let slots_now = room.slots_now.max(1);
    if parallelism == 0 {
        return Allocation {
            replicas: bounded(0),
            slots: room.slots_max.map_or(slots_now, |max| slots_now.min(max)),
        };
    }
    match room.slots_max {
        None => Allocation {
            replicas: bounded(parallelism.div_ceil(slots_now)),
            slots: slots_now,
        },
        Some(slots_max) => {
            let slots_max = slots_max.max(1);
            let replicas = bounded(parallelism.div_ceil(slots_max)).max(1);
            Allocation {
                replicas,
                slots: parallelism.div_ceil(replicas).min(slots_max),
            }
        }
    }
}

/// The slots to order while only `available` of the replicas take tasks: those that run cover for
/// those that start, as far as they may.
pub(crate) fn cover(parallelism: u32, wanted: Allocation, available: u32, room: &Room) -> u32 {
    match room.slots_max {
        Some(slots_max) if (1..wanted.replicas).contains(&available) => parallelism
            .div_ceil(available)
            .min(slots_max)
            .max(wanted.slots),
        _ => wanted.slots,
    }
}

/// Replicas × slots.
pub(crate) fn parallelism(replicas: u32, slots: u32) -> u32 {
    replicas.saturating_mul(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(slots_max: Option<u32>, slots_now: u32, replicas_max: Option<u32>) -> Room {
        Room {
            slots_max,
            slots_now,
            replicas_max,
            replicas_min: 0,
        }
    }

    #[test]
    fn five_replicas_reach_32_workers() {
        let split = allocate(32, &room(Some(7), 1, Some(5)));
        assert_eq!((split.replicas, split.slots), (5, 7));
    }

    #[test]
    fn one_slot_a_replica_for_pure_computation() {
        let split = allocate(4, &room(Some(1), 1, None));
        assert_eq!((split.replicas, split.slots), (4, 1));
    }

    #[test]
    fn slots_that_are_not_ours_stay() {
        let split = allocate(9, &room(None, 4, None));
        assert_eq!((split.replicas, split.slots), (3, 4));
    }

    #[test]
    fn running_replicas_cover_for_those_that_start() {
        let room = room(Some(8), 2, None);
        let wanted = allocate(9, &room);
        assert_eq!((wanted.replicas, wanted.slots), (2, 5));
        assert_eq!(cover(9, wanted, 1, &room), 8);
        assert_eq!(cover(9, wanted, 2, &room), 5);
        assert_eq!(cover(9, wanted, 0, &room), 5);
    }

    fn rooms() -> impl Strategy<Value = Room> {
        let most = proptest::option::of(1u32..200);
        (proptest::option::of(1u32..200), 0u32..200, most, 0u32..=1).prop_map(
            |(slots_max, slots_now, replicas_max, replicas_min)| Room {
                slots_max,
                slots_now,
                replicas_max,
                replicas_min,
            },
        )
    }

    proptest! {
        #[test]
        fn it_stays_within_its_room(wish in 0u32..5_000, room in rooms()) {
            let split = allocate(wish, &room);
            prop_assert!(split.slots >= 1);
            prop_assert!(split.replicas <= room.replicas_max.unwrap_or(u32::MAX));
            prop_assert!(split.replicas >= room.replicas_min.min(1));
            prop_assert!(split.slots <= room.slots_max.unwrap_or(u32::MAX));
            prop_assert_eq!(split.replicas == 0, wish == 0 && room.replicas_min == 0);
        }

        #[test]
        fn it_reaches_what_the_room_allows(wish in 1u32..5_000, room in rooms()) {
            let split = allocate(wish, &room);
            let slots = room.slots_max.unwrap_or(room.slots_now.max(1));
            let most = parallelism(room.replicas_max.unwrap_or(u32::MAX), slots);
            let got = parallelism(split.replicas, split.slots);
            prop_assert!(got >= wish.min(most), "{got} of {wish}, {most} possible");
            // All replicas alike: at most one slot each too many, or one replica's slots if those are fixed.
            let slack = if room.slots_max.is_some() { split.replicas } else { slots };
            prop_assert!(got < wish + slack);
        }

        #[test]
        fn fewer_replicas_would_not_do(wish in 1u32..5_000, room in rooms()) {
            let split = allocate(wish, &room);
            let slots = room.slots_max.unwrap_or(room.slots_now.max(1));
            prop_assert!(split.replicas == 1 || (split.replicas - 1) * slots < wish);
        }

        #[test]
        fn more_is_never_less(wish in 0u32..5_000, room in rooms()) {
            let (less, more) = (allocate(wish, &room), allocate(wish + 1, &room));
            prop_assert!(less.replicas <= more.replicas);
        }

        #[test]
        fn cover_stays_within_its_room(wish in 1u32..5_000, available in 0u32..300, room in rooms()) {
            let wanted = allocate(wish, &room);
            let slots = cover(wish, wanted, available, &room);
            prop_assert!(slots >= wanted.slots);
            prop_assert!(slots <= room.slots_max.unwrap_or(wanted.slots));
        }
    }
}
