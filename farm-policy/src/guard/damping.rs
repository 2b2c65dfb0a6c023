//! More patience for a farm that flaps.

/// Lengthens the stabilisation of a farm whose falls do not last (flap damping, as in RFC 2439).
///
/// A rise soon after a descent means that the descent was a mistake: the next one of its size has
/// to wait four times as long, up to 64 times after three mistakes but no longer than a quarter of an hour;
/// a long time without one takes a step back. Small descents save little, so their mistakes are remembered longer; they have an
/// account of their own, so that noise does not delay the answer to a load that ends.
#[derive(Debug, Clone, Default)]
pub(super) struct FlapDamping {
    small: Account,
    large: Account,
    /// The descent that goes on: where from, and when it last fell.
    descent: Option<(u32, f64)>,
}

/// Mistakes of one size of descents.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    flaps: u32,
    /// The last flap, or the last forgiveness.
    since_seconds: f64,
}

const MOST_FLAPS: u32 = 3;
/// However often it flapped, a farm that is too large for this long is too large.
const LONGEST_SECONDS: f64 = 900.0;
/// How many windows a small mistake is remembered.
const SMALL_MEMORY_WINDOWS: f64 = 16.0;
/// How many windows a large one is.
const LARGE_MEMORY_WINDOWS: f64 = 8.0;

/// Whether a descent may be an answer to mere noise: that of a Poisson load is the square root of
/// the workers it keeps busy.
fn is_small(from: u32, to: u32) -> bool {
    let noise = f64::from(from).sqrt().ceil();
    f64::from(from.saturating_sub(to)) <= noise
}

impl FlapDamping {
    /// The longest window that can come of a base.
    pub(super) fn longest_window_seconds(base_seconds: f64) -> f64 {
        lengthened_seconds(base_seconds, MOST_FLAPS)
    }

    /// How long any fall has to be wanted.
    pub(super) fn window_seconds(&self, base_seconds: f64) -> f64 {
        self.large.window_seconds(base_seconds)
    }

    /// How long this fall has to be wanted.
    pub(super) fn window_of_fall_seconds(
        &self,
        present: u32,
        target: u32,
        base_seconds: f64,
    ) -> f64 {
        let from = self.descent.map_or(present, |(from, _)| from.max(present));
        let any = self.window_seconds(base_seconds);
        if is_small(from, target) {
            any.max(self.small.window_seconds(base_seconds))
        } else {
            any
        }
    }

    /// Time since the last fall of the descent that goes on.
    pub(super) fn since_fall_seconds(&self, now_seconds: f64) -> f64 {
        let fell = self.descent.map(|(_, seconds)| seconds);
        fell.map_or(f64::INFINITY, |seconds| now_seconds - seconds)
    }

    /// Notes what was decided.
    pub(super) fn observe(
        &mut self,
        now_seconds: f64,
        present: u32,
        target: u32,
        base_seconds: f64,
    ) {
        self.small
            .forgive(now_seconds, base_seconds, SMALL_MEMORY_WINDOWS);
        self.large
            .forgive(now_seconds, base_seconds, LARGE_MEMORY_WINDOWS);
        if target < present {
            let from = self.descent.map_or(present, |(from, _)| from);
            self.descent = Some((from, now_seconds));
        } else if target > present
            && let Some((from, fell_seconds)) = self.descent.take()
        {
            let since_seconds = now_seconds - fell_seconds;
            let (account, memory) = if is_small(from, present) {
                (&mut self.small, SMALL_MEMORY_WINDOWS)
            } else {
                (&mut self.large, LARGE_MEMORY_WINDOWS)
            };
            if since_seconds <= memory * account.window_seconds(base_seconds) {
                account.blame(now_seconds);
            }
        }
    }
}

fn lengthened_seconds(base_seconds: f64, flaps: u32) -> f64 {
    let lengthened = base_seconds * f64::from(1 << (2 * flaps));
    lengthened.min(LONGEST_SECONDS).max(base_seconds)
}

impl Account {
    fn window_seconds(self, base_seconds: f64) -> f64 {
        lengthened_seconds(base_seconds, self.flaps)
    }

    fn blame(&mut self, now_seconds: f64) {
        self.flaps = (self.flaps + 1).min(MOST_FLAPS);
        self.since_seconds = now_seconds;
    }

    fn forgive(&mut self, now_seconds: f64, base_seconds: f64, memory_windows: f64) {
        let quiet_seconds = now_seconds - self.since_seconds;
        if self.flaps > 0 && quiet_seconds > memory_windows * self.window_seconds(base_seconds) {
            self.flaps -= 1;
            self.since_seconds = now_seconds;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fall_that_does_not_last_lengthens_the_wait_for_small_falls() {
        let mut damping = FlapDamping::default();
        damping.observe(100.0, 10, 9, 30.0);
        damping.observe(500.0, 9, 10, 30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 9, 30.0), 120.0);
        assert_eq!(damping.window_of_fall_seconds(10, 2, 30.0), 30.0);
        // Sixteen windows of quiet.
        damping.observe(2420.0, 10, 10, 30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 9, 30.0), 120.0);
        damping.observe(2421.0, 10, 10, 30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 9, 30.0), 30.0);
    }

    #[test]
    fn a_large_fall_is_a_mistake_only_if_it_is_soon_undone() {
        let mut damping = FlapDamping::default();
        damping.observe(100.0, 10, 2, 30.0);
        damping.observe(400.0, 2, 10, 30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 2, 30.0), 30.0);
        damping.observe(500.0, 10, 2, 30.0);
        damping.observe(550.0, 2, 10, 30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 2, 30.0), 120.0);
    }

    #[test]
    fn the_wait_has_an_end() {
        let mut damping = FlapDamping::default();
        for flap in 0..9 {
            let now = 50.0 * f64::from(flap);
            damping.observe(now, 10, 2, 30.0);
            damping.observe(now + 8.0, 2, 10, 30.0);
        }
        let longest = FlapDamping::longest_window_seconds(30.0);
        assert_eq!(damping.window_of_fall_seconds(10, 2, 30.0), longest);
        assert_eq!(longest, 900.0);
        assert_eq!(FlapDamping::longest_window_seconds(1800.0), 1800.0);
    }

    #[test]
    fn many_small_falls_are_one_large_descent() {
        let mut damping = FlapDamping::default();
        for (step, present) in (6..=10).rev().enumerate() {
            damping.observe(8.0 * step as f64, present, present - 1, 30.0);
        }
        damping.observe(400.0, 5, 6, 30.0);
        assert_eq!(damping.window_of_fall_seconds(6, 5, 30.0), 30.0);
        assert_eq!(damping.window_of_fall_seconds(6, 1, 30.0), 30.0);
    }

    #[test]
    fn without_a_window_there_is_nothing_to_lengthen() {
        let mut damping = FlapDamping::default();
        for pass in 0..20u32 {
            damping.observe(f64::from(pass), 10, 9 + 2 * (pass % 2), 0.0);
            assert_eq!(damping.window_of_fall_seconds(10, 9, 0.0), 0.0);
        }
    }
}
