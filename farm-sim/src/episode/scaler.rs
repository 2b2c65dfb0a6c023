//! What an order for another parallelism sets in motion.

use std::cmp::Ordering;

use rand_pcg::Pcg64Mcg;

use crate::farm::Farm;
use crate::platform::{ColdStart, Platform};
use crate::random::{Cause, Sampler, random_for};
use crate::{Nanoseconds, nanoseconds};

/// The platform as it carries out orders.
#[derive(Debug, Clone)]
pub(super) struct Scaler {
    scale_up_call: Sampler,
    scale_down_call: Sampler,
    cold_start: Start,
    warm_start: Option<Sampler>,
    drain_notice: Sampler,
    slot_change: Sampler,
    read_out: Sampler,
    slots_max: u32,
    calls_random: Pcg64Mcg,
    cold_random: Pcg64Mcg,
    /// Factor of all times of starting.
    factor: f64,
    /// When each replica takes tasks, ascending; kept if replicas have more than one slot.
    replicas: Vec<Nanoseconds>,
    /// Replicas removed since the beginning: so many places stay warm.
    removed_replicas: u32,
}

#[derive(Debug, Clone)]
enum Start {
    After(Sampler),
    BeforeAnswer(f64),
}

/// What chance says to the order of one step, in seconds.
#[derive(Debug, Clone, Copy)]
struct Draws {
    up_call: f64,
    down_call: f64,
    warm_start: Option<f64>,
    notice: f64,
    slot_change: f64,
    read_out: f64,
}

/// What a blocking controller waits for, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub call: f64,
    pub read_out: f64,
}

impl Scaler {
    pub fn new(platform: &Platform) -> Self {
        Self {
            scale_up_call: platform.scale_up_call.sampler(),
            scale_down_call: platform.scale_down_call.sampler(),
            cold_start: match &platform.cold_start {
                ColdStart::After(duration) => Start::After(duration.sampler()),
                ColdStart::BeforeAnswer(early) => Start::BeforeAnswer(*early),
            },
            warm_start: platform.warm_start.as_ref().map(|warm| warm.sampler()),
            drain_notice: platform.drain_notice.sampler(),
            slot_change: platform.slot_change.sampler(),
            read_out: platform.read_out.sampler(),
            slots_max: platform.slots_max,
            calls_random: random_for(0, Cause::StartUp),
            cold_random: random_for(0, Cause::ColdStart),
            factor: 1.0,
            replicas: Vec::new(),
            removed_replicas: 0,
        }
    }

    /// Begins anew with replicas for `parallelism`, all of them running.
    pub fn begin(&mut self, parallelism: u32, factor: f64, seed: u64) {
        self.calls_random = random_for(seed, Cause::StartUp);
        self.cold_random = random_for(seed, Cause::ColdStart);
        self.factor = factor;
        self.removed_replicas = 0;
        self.replicas.clear();
        if self.slots_max > 1 {
            let replicas = parallelism.div_ceil(self.slots_max);
            self.replicas.resize(replicas as usize, 0);
        }
    }

    /// Slots each replica has at that parallelism.
    pub fn slots(&self, parallelism: u32) -> u32 {
        let replicas = self.replicas.len().max(1) as u32;
        match self.slots_max {
            1 => 1,
            _ => parallelism.div_ceil(replicas).max(1),
        }
    }

    /// Changes the workers of `farm`, of which `before` were asked for so far.
    pub fn order(&mut self, before: u32, target: u32, farm: &mut Farm) -> Waits {
        let draws = self.draw();
        let call = match target.cmp(&before) {
            Ordering::Greater => self.add(before, target, draws, farm),
            Ordering::Less => {
                self.remove(before, target);
                farm.leave_at(before - target, farm.now() + nanoseconds(draws.notice));
                draws.down_call
            }
            Ordering::Equal => 0.0,
        };
        Waits {
            call,
            read_out: draws.read_out,
        }
    }

    /// The same number of draws at every step, whatever is ordered: all policies meet the same
    /// chances.
    fn draw(&mut self) -> Draws {
        let random = &mut self.calls_random;
        Draws {
            up_call: self.scale_up_call.seconds(random) * self.factor,
            down_call: self.scale_down_call.seconds(random),
            warm_start: self
                .warm_start
                .as_ref()
                .map(|warm| warm.seconds(random) * self.factor),
            notice: self.drain_notice.seconds(random),
            slot_change: self.slot_change.seconds(random),
            read_out: self.read_out.seconds(random),
        }
    }

    /// The worker of number *n* lives in the replica of number *n / slots*: running replicas fill
    /// their slots first, and others are started only for the rest.
    fn add(&mut self, before: u32, target: u32, draws: Draws, farm: &mut Farm) -> f64 {
        let slots = self.slots_max;
        let mut call_seconds = draws.slot_change;
        let mut warm_left = self.removed_replicas;
        let mut added = before;
        while added < target {
            let replica = added / slots;
            let room = (replica + 1).saturating_mul(slots).min(target) - added;
            let running = self.replicas.get(replica as usize).copied();
            let ready = match (running, draws.warm_start) {
                (Some(running), _) => running.max(farm.now() + nanoseconds(draws.slot_change)),
                (None, Some(warm_seconds)) if warm_left > 0 => {
                    warm_left -= 1;
                    call_seconds = call_seconds.max(self.warm_call_seconds(warm_seconds, draws));
                    self.start(warm_seconds, farm)
                }
                (None, _) => {
                    call_seconds = call_seconds.max(draws.up_call);
                    let cold_seconds = self.cold_start_seconds(draws);
                    self.start(cold_seconds, farm)
                }
            };
            farm.join(room, ready);
            added += room;
        }
        self.replicas.sort_unstable();
        call_seconds
    }

    fn start(&mut self, start_seconds: f64, farm: &Farm) -> Nanoseconds {
        let ready = farm.now() + nanoseconds(start_seconds);
        if self.slots_max > 1 {
            self.replicas.push(ready);
        }
        ready
    }

    fn cold_start_seconds(&mut self, draws: Draws) -> f64 {
        match &self.cold_start {
            Start::After(sampler) => sampler.seconds(&mut self.cold_random) * self.factor,
            Start::BeforeAnswer(early) => (draws.up_call - early).max(0.0),
        }
    }

    /// A call that answers some time after the worker takes tasks is shorter if that starts warm.
    fn warm_call_seconds(&self, warm_seconds: f64, draws: Draws) -> f64 {
        match self.cold_start {
            Start::After(_) => draws.up_call,
            Start::BeforeAnswer(early) => warm_seconds + early,
        }
    }

    fn remove(&mut self, before: u32, target: u32) {
        let replicas = target.div_ceil(self.slots_max);
        self.removed_replicas += before.div_ceil(self.slots_max) - replicas;
        self.replicas.truncate(replicas as usize);
    }
}
