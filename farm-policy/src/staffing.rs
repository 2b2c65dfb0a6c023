//! How many workers a load needs: queueing theory.
//!
//! The farm is a queue with many servers, Poisson arrivals and a general service time (M/G/c). Its
//! waiting time has no closed form; the one of exponential service (Erlang C), scaled by the
//! variability of the service, is close: within a few percent over the range of farms
//! (Allen, *Probability, Statistics, and Queueing Theory*, 1990, after Allen and Cunneen; Whitt,
//! *Approximations for the GI/G/m queue*, 1993).

/// Above this many servers the square-root rule is as good as the recursion, and much faster.
const MOST_EXACT_SERVERS: u32 = 10_000;

/// Probability that a task finds every server busy (Erlang C): 1 if the load is too much for them.
///
/// ```
/// use farm_policy::staffing::erlang_c;
/// // One server: the probability that it is busy.
/// assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12);
/// assert_eq!(erlang_c(4, 4.0), 1.0);
/// ```
pub fn erlang_c(servers: u32, offered_load_erlangs: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |blocked, servers| {
        next_blocking(blocked, servers, offered_load_erlangs)
    });
    waiting_probability(blocked, servers, offered_load_erlangs)
}

/// Erlang B of one server more, from the Erlang B of one less.
fn next_blocking(blocked: f64, servers: u32, offered_load_erlangs: f64) -> f64 {
    let lost = offered_load_erlangs * blocked;
    lost / (f64::from(servers) + lost)
}

/// Erlang C from Erlang B.
fn waiting_probability(blocked: f64, servers: u32, offered_load_erlangs: f64) -> f64 {
    let utilisation = offered_load_erlangs / f64::from(servers);
    if utilisation < 1.0 {
        blocked / (1.0 - utilisation * (1.0 - blocked))
    } else {
        1.0
    }
}

/// A stream of tasks and how long they take.
///
/// ```
/// use farm_policy::staffing::Load;
/// let load = Load { arrival_rate_per_second: 5.0, service_seconds: 1.5, service_scv: 0.25 };
/// let workers = load.servers_for(1.5, 0.05);
/// assert!(load.waits_longer(workers, 1.5) <= 0.05);
/// assert!(load.waits_longer(workers - 1, 1.5) > 0.05);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Tasks per second.
    pub arrival_rate_per_second: f64,
    /// Mean service time.
    pub service_seconds: f64,
    /// Squared coefficient of variation of the service time: variance over squared mean.
    /// 0 is constant, 1 exponential.
    pub service_scv: f64,
}

impl Load {
    /// Mean number of busy servers, in erlangs: rate × service time.
    pub fn offered_erlangs(&self) -> f64 {
        self.arrival_rate_per_second * self.service_seconds
    }

    /// Mean wait of those tasks that wait at all, in seconds (Allen-Cunneen); infinite under
    /// overload.
    pub fn mean_wait_if_any_seconds(&self, servers: u32) -> f64 {
        let spare = f64::from(servers) - self.offered_erlangs();
        if spare > 0.0 {
            self.service_seconds / spare * (1.0 + self.service_scv) / 2.0
        } else {
            f64::INFINITY
        }
    }

    /// Probability that a task waits longer than `seconds`: 1 under overload.
    pub fn waits_longer(&self, servers: u32, seconds: f64) -> f64 {
        let waits = erlang_c(servers, self.offered_erlangs());
        self.tail(waits, servers, seconds)
    }

    /// Mean number of tasks that wait; infinite under overload.
    pub fn mean_waiting_tasks(&self, servers: u32) -> f64 {
        let waits = erlang_c(servers, self.offered_erlangs());
        waits * self.mean_wait_if_any_seconds(servers) * self.arrival_rate_per_second
    }

    /// Fewest servers with which at most the share `allowed` of tasks waits longer than `seconds`;
    /// 0 without load.
    pub fn servers_for(&self, seconds: f64, allowed: f64) -> u32 {
        let offered = self.offered_erlangs();
        if offered <= 0.0 {
            return 0;
        }
        if offered > f64::from(MOST_EXACT_SERVERS) / 2.0 {
            return square_root_servers(offered, allowed);
        }
        let mut blocked = 1.0;
        for servers in 1..MOST_EXACT_SERVERS {
            blocked = next_blocking(blocked, servers, offered);
            let waits = waiting_probability(blocked, servers, offered);
            if self.tail(waits, servers, seconds) <= allowed {
                return servers;
            }
        }
        MOST_EXACT_SERVERS
    }

    fn tail(&self, waits: f64, servers: u32, seconds: f64) -> f64 {
        let mean = self.mean_wait_if_any_seconds(servers);
        if mean.is_finite() && mean > 0.0 {
            waits * (-seconds.max(0.0) / mean).exp()
        } else {
            waits
        }
    }
}

/// Square-root safety staffing (Halfin and Whitt, 1981): the load and a margin of β √load, β by the
/// bound of the normal tail, on the safe side.
fn square_root_servers(offered_load_erlangs: f64, allowed: f64) -> u32 {
    let beta = (-2.0 * allowed.clamp(1e-9, 1.0).ln()).sqrt();
    // A float beyond u32 saturates.
    (offered_load_erlangs + beta * offered_load_erlangs.sqrt()).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn erlang_c_agrees_with_the_textbook() {
        // Tables and the closed form for two servers: 2ρ²/(1+ρ).
        assert!((erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
        assert!((erlang_c(2, 1.6) - 2.0 * 0.64 / 1.8).abs() < 1e-12);
        // Sum formula, ten servers and eight erlangs.
        assert!((erlang_c(10, 8.0) - 0.409_180).abs() < 1e-5);
        assert_eq!(erlang_c(0, 1.0), 1.0);
    }

    #[test]
    fn a_huge_load_is_staffed_quickly_and_sanely() {
        let load = Load {
            arrival_rate_per_second: 1e6,
            service_seconds: 1.0,
            service_scv: 1.0,
        };
        let workers = load.servers_for(1.0, 0.05);
        assert!((1_000_000..1_010_000).contains(&workers), "{workers}");
        let absurd = Load {
            arrival_rate_per_second: 1e15,
            ..load
        };
        assert_eq!(absurd.servers_for(1.0, 0.05), u32::MAX);
    }

    proptest! {
        #[test]
        fn the_staffing_is_the_fewest_that_does(
            rate in 0.01f64..200.0,
            service_seconds in 0.01f64..5.0,
            service_scv in 0.0f64..4.0,
            slack_seconds in 0.0f64..10.0,
            allowed in 0.001f64..0.5,
        ) {
            let load = Load { arrival_rate_per_second: rate, service_seconds, service_scv };
            let workers = load.servers_for(slack_seconds, allowed);
            prop_assert!(load.waits_longer(workers, slack_seconds) <= allowed);
            prop_assert!(workers == 1 || load.waits_longer(workers - 1, slack_seconds) > allowed);
        }
    }
}
