//! The farm against a second implementation: every look of every worker, one after the other.

use farm_sim::Nanoseconds;
use farm_sim::farm::{Farm, Window};
use farm_sim::platform::Platform;
use farm_sim::workload::{Stream, Task};
use proptest::prelude::*;

/// Workers that join (some time after they were ordered) or leave.
#[derive(Debug, Clone, Copy)]
enum Order {
    Join(u32, Nanoseconds),
    Leave(u32),
}

#[derive(Debug)]
struct Plain {
    poll: Nanoseconds,
    /// When each worker looks next, and whether it ever was there.
    workers: Vec<(Nanoseconds, bool)>,
    tasks: Vec<Task>,
    sojourns: Vec<Nanoseconds>,
}

impl Plain {
    fn run(&mut self, until: Nanoseconds) {
        while let Some(worker) = self.workers.iter_mut().min_by_key(|(looks, _)| *looks) {
            let (looks, was_there) = worker;
            if *looks > until {
                return;
            }
            *was_there = true;
            match self.tasks.get(self.sojourns.len()) {
                Some(task) if task.arrival <= *looks => {
                    *looks += task.service;
                    self.sojourns.push(*looks - task.arrival);
                }
                _ => *looks += self.poll,
            }
        }
    }

    fn leave(&mut self, now: Nanoseconds) {
        let workers = self.workers.iter().enumerate();
        let to_come = workers.filter(|(_, (looks, was_there))| *looks > now && !was_there);
        let last_to_come = to_come.max_by_key(|(_, (looks, _))| *looks);
        let workers = self.workers.iter().enumerate();
        let first_to_look = workers.min_by_key(|(_, (looks, _))| *looks);
        if let Some((index, _)) = last_to_come.or(first_to_look) {
            self.workers.swap_remove(index);
        }
    }
}

/// Orders come at odd nanoseconds and workers look at even ones: no order meets a look.
fn even(nanoseconds: Nanoseconds) -> Nanoseconds {
    nanoseconds / 2 * 2
}

fn tasks() -> impl Strategy<Value = Vec<Task>> {
    prop::collection::vec((0_u64..3_000_000_000, 1_000_000_u64..4_000_000_000), 1..60).prop_map(
        |mut pairs| {
            pairs.sort_unstable();
            let mut before = 0;
            let mut now = 0;
            pairs
                .into_iter()
                .map(|(at, service)| {
                    now += (at - before) * 5;
                    before = at;
                    Task {
                        arrival: even(now),
                        service: even(service),
                        deadline: 2 * service,
                    }
                })
                .collect()
        },
    )
}

fn orders() -> impl Strategy<Value = Vec<(Nanoseconds, Order)>> {
    let order = prop_oneof![
        (1_u32..5, 0_u64..3_000_000_000).prop_map(|(workers, after)| Order::Join(workers, after)),
        (1_u32..4).prop_map(Order::Leave),
    ];
    prop::collection::vec((0_u64..20_000_000_000, order), 0..12).prop_map(|mut orders| {
        orders.sort_unstable_by_key(|(at, _)| *at);
        orders
    })
}

proptest! {
    #![proptest_config(crate::cases(400))]

    #[test]
    fn both_hand_out_the_same_tasks_at_the_same_times(
        tasks in tasks(),
        orders in orders(),
        workers in 1_u32..8,
        poll in 50_000_000_u64..400_000_000,
    ) {
        // Whatever the number of workers is, their first looks are even.
        let poll = poll / 1_680 * 1_680;
        let platform = Platform { poll_seconds: farm_sim::seconds(poll), ..Platform::ideal() };
        let mut farm = Farm::new(&platform);
        let stream = Stream { tasks: tasks.clone(), phase_starts: Vec::new() };
        farm.begin(stream, workers, 1);
        let first_looks = (0..u64::from(workers)).map(|worker| poll * worker / u64::from(workers));
        let mut plain = Plain {
            poll,
            workers: first_looks.map(|looks| (looks, false)).collect(),
            tasks,
            sojourns: Vec::new(),
        };
        for (at, order) in orders {
            let now = even(at) + 1;
            farm.advance(now);
            plain.run(now);
            match order {
                Order::Join(more, after) => {
                    let looks = now + even(after) + 1;
                    farm.join(more, looks);
                    plain.workers.extend((0..more).map(|_| (looks, false)));
                }
                Order::Leave(fewer) => {
                    farm.leave(fewer);
                    for _ in 0..fewer {
                        plain.leave(now);
                    }
                }
            }
            let there = plain.workers.iter().filter(|(looks, was)| *looks <= now || *was);
            prop_assert_eq!(farm.contents().workers as usize, there.count());
        }
        let end = 1_000_000_000_000;
        farm.advance(end);
        plain.run(end);
        let mut window = Window::default();
        farm.collect(0, end, &mut window);
        prop_assert_eq!(window.count as usize, plain.sojourns.len());
        let sum: f64 = plain.sojourns.iter().map(|sojourn| farm_sim::seconds(*sojourn)).sum();
        let mean = window.sojourn_seconds_mean().unwrap_or(0.0);
        prop_assert!((mean * window.count as f64 - sum).abs() < 1e-6);
        let longest = plain.sojourns.iter().max().map(|sojourn| farm_sim::seconds(*sojourn));
        prop_assert_eq!(window.sojourn_seconds_max(), longest);
        let deadlines = plain.tasks.iter().map(|task| task.deadline);
        let met = plain.sojourns.iter().zip(deadlines).filter(|(sojourn, due)| **sojourn <= *due);
        prop_assert_eq!(window.met as usize, met.count());
    }
}
