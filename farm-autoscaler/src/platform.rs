//! What the platform turned out to allow: how many replicas it gives, whether it knows zero.
//!
//! A gateway that clamps says "accepted" and gives less. It is found out by looking: less than
//! was asked for, after a request that was accepted. Somebody else's hand looks the same, so the
//! same number must follow a second request; so does a request that got lost, so a count that did
//! not move at all is believed only after several. A request that failed teaches nothing: nobody
//! knows when, or whether, it is carried out. What was learnt is forgotten after a while, and as
//! soon as it is seen to be wrong: limits change.

use std::time::Duration;

use tokio::time::Instant;

/// The provider of OpenFaaS CE, which gives 1 to 5 replicas.
const CE_PROVIDER: &str = "faas-netes-ce";
const CE_REPLICAS_MAX: u32 = 5;
/// So many accepted requests without any effect are no accident.
const FRUITLESS_REQUESTS: u32 = 3;
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Fewest and most replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub min: u32,
    pub max: Option<u32>,
}

/// A request that was accepted and did not give what it asked for yet.
struct Request {
    asked: u32,
    before: u32,
    /// So many in a row that came to nothing.
    fruitless: u32,
    /// What an earlier one gave instead.
    given: Option<u32>,
    /// Whether its outcome was looked at.
    seen: bool,
}

#[derive(Clone, Copy)]
struct Learnt {
    replicas: u32,
    at: Instant,
}

/// Replicas that were asked for and do not run yet.
struct Rise {
    replicas: u32,
    accepted: Instant,
    /// When they were looked for in vain the last time.
    missed: Instant,
}

/// What is known of the platform with regard to one function.
#[derive(Default)]
pub(crate) struct Platform {
    request: Option<Request>,
    rise: Option<Rise>,
    start_up: Option<Duration>,
    most: Option<Learnt>,
    least: Option<Learnt>,
}

impl Platform {
    /// The bounds for a function that declares `replicas_max`, on this provider.
    pub fn bounds(
        &self,
        replicas_max: Option<u32>,
        provider: Option<&str>,
        now: Instant,
    ) -> Bounds {
        let fresh = |learnt: Option<Learnt>| {
            learnt
                .filter(|learnt| now.saturating_duration_since(learnt.at) < FORGET_AFTER)
                .map(|learnt| learnt.replicas)
        };
        let is_ce = provider == Some(CE_PROVIDER);
        let ce_max = is_ce.then_some(CE_REPLICAS_MAX);
        Bounds {
            min: fresh(self.least).unwrap_or(0).max(u32::from(is_ce)),
            max: [replicas_max, ce_max, fresh(self.most)]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// The gateway accepted a request for `asked` replicas while there were `before`.
    pub fn accepted(&mut self, asked: u32, before: u32, now: Instant) {
        self.rise = (asked > before).then_some(Rise {
            replicas: asked,
            accepted: now,
            missed: now,
        });
        let (fruitless, given) = match &self.request {
            Some(last) if last.asked == asked => {
                let again = last.before == before;
                (if again { last.fruitless } else { 0 }, last.given)
            }
            _ => (0, None),
        };
        self.request = Some(Request {
            asked,
            before,
            fruitless: fruitless + 1,
            given,
            seen: false,
        });
    }

    /// A request failed: it may be carried out nevertheless, now or later.
    pub fn failed(&mut self) {
        self.request = None;
    }

    /// How long replicas took lately from being asked for to being available: scheduling, image
    /// and probes included, which a replica itself cannot know.
    pub fn start_up(&mut self, available: u32, now: Instant) -> Option<Duration> {
        if let Some(rise) = &mut self.rise {
            if available < rise.replicas {
                rise.missed = now;
            } else {
                // They became available between the last look and this one.
                let middle = rise.missed + (now - rise.missed) / 2;
                self.start_up = Some(middle - rise.accepted);
                self.rise = None;
            }
        }
        self.start_up
    }

    /// The gateway refused zero replicas as a bad request.
    pub fn refused_zero(&mut self, now: Instant) {
        self.least = Some(Learnt {
            replicas: 1,
            at: now,
        });
    }

    /// The gateway says `replicas`, after the last request. Returns what that taught.
    pub fn saw(&mut self, replicas: u32, now: Instant) -> Option<String> {
        if self.most.is_some_and(|most| replicas > most.replicas) {
            self.most = None;
        }
        if self.least.is_some_and(|least| replicas < least.replicas) {
            self.least = None;
        }
        let request = self.request.as_mut()?;
        if replicas == request.asked {
            self.request = None;
            return None;
        }
        // One request, one lesson: later looks see what others did.
        if std::mem::replace(&mut request.seen, true) {
            return None;
        }
        let moved = replicas.abs_diff(request.asked) < request.before.abs_diff(request.asked);
        let again = request.given == Some(replicas);
        if moved {
            request.given = Some(replicas);
        }
        let never_moves = !moved && request.fruitless >= FRUITLESS_REQUESTS;
        if !again && !never_moves {
            return None;
        }
        let learnt = Some(Learnt { replicas, at: now });
        // The rest of them will never come.
        self.rise = None;
        let asked = request.asked;
        let bound = if replicas < asked {
            self.most = learnt;
            "most"
        } else {
            self.least = learnt;
            "least"
        };
        self.request = None;
        Some(format!(
            "{asked} replicas were asked for and {replicas} given: taken as the {bound} the platform allows"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(platform: &Platform) -> Bounds {
        platform.bounds(None, None, Instant::now())
    }

    /// Asks twice for `asked`, of a platform that has `before` and gives `given`.
    fn ask_twice(platform: &mut Platform, asked: u32, before: u32, given: u32) -> Option<String> {
        platform.accepted(asked, before, Instant::now());
        assert_eq!(platform.saw(given, Instant::now()), None);
        platform.accepted(asked, given, Instant::now());
        platform.saw(given, Instant::now())
    }

    #[test]
    fn a_clamp_is_learnt_when_it_shows_again() {
        let mut platform = Platform::default();
        let reason = ask_twice(&mut platform, 8, 2, 5).unwrap();
        assert!(reason.contains("8 replicas were asked for and 5 given"));
        assert_eq!(bounds(&platform).max, Some(5));
    }

    #[test]
    fn one_look_is_no_clamp() {
        let mut platform = Platform::default();
        platform.accepted(8, 2, Instant::now());
        for _ in 0..5 {
            assert_eq!(platform.saw(5, Instant::now()), None);
        }
        platform.accepted(8, 5, Instant::now());
        assert_eq!(platform.saw(8, Instant::now()), None);
        assert_eq!(bounds(&platform).max, None);
    }

    #[test]
    fn a_failed_request_teaches_nothing() {
        let mut platform = Platform::default();
        platform.accepted(8, 2, Instant::now());
        platform.saw(5, Instant::now());
        platform.failed();
        assert_eq!(platform.saw(5, Instant::now()), None);
        platform.accepted(8, 5, Instant::now());
        assert_eq!(platform.saw(5, Instant::now()), None);
        assert_eq!(bounds(&platform).max, None);
    }

    #[test]
    fn what_is_exceeded_is_no_clamp() {
        let mut platform = Platform::default();
        ask_twice(&mut platform, 8, 2, 5).unwrap();
        platform.saw(6, Instant::now());
        assert_eq!(bounds(&platform).max, None);
    }

    #[test]
    fn a_lost_request_is_not_a_clamp() {
        let mut platform = Platform::default();
        platform.accepted(8, 2, Instant::now());
        assert_eq!(platform.saw(2, Instant::now()), None);
        platform.accepted(8, 2, Instant::now());
        assert_eq!(platform.saw(8, Instant::now()), None);
        assert_eq!(bounds(&platform), Bounds { min: 0, max: None });
    }

    #[test]
    fn what_never_moves_is_a_clamp() {
        let mut platform = Platform::default();
        for _ in 0..2 {
            platform.accepted(8, 5, Instant::now());
            assert_eq!(platform.saw(5, Instant::now()), None);
        }
        platform.accepted(8, 5, Instant::now());
        assert!(platform.saw(5, Instant::now()).is_some());
        assert_eq!(bounds(&platform).max, Some(5));
    }

    #[test]
    fn a_platform_without_zero_is_learnt() {
        let mut platform = Platform::default();
        assert!(ask_twice(&mut platform, 0, 3, 1).is_some());
        assert_eq!(bounds(&platform).min, 1);
        let mut platform = Platform::default();
        platform.refused_zero(Instant::now());
        assert_eq!(bounds(&platform).min, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_timed_to_between_two_looks() {
        let mut platform = Platform::default();
        assert_eq!(platform.start_up(2, Instant::now()), None);
        platform.accepted(3, 2, Instant::now());
        for available in [2, 2, 3] {
            tokio::time::advance(Duration::from_secs(2)).await;
            platform.start_up(available, Instant::now());
        }
        let took = platform.start_up(3, Instant::now());
        assert_eq!(took, Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_community_edition_is_known() {
        let platform = Platform::default();
        let bounds = platform.bounds(Some(9), Some("faas-netes-ce"), Instant::now());
        assert_eq!(
            bounds,
            Bounds {
                min: 1,
                max: Some(5)
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_is_forgotten() {
        let mut platform = Platform::default();
        ask_twice(&mut platform, 8, 2, 5).unwrap();
        assert_eq!(bounds(&platform).max, Some(5));
        tokio::time::advance(FORGET_AFTER).await;
        assert_eq!(bounds(&platform).max, None);
    }
}
