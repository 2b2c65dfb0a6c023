//! The largest value of the last while.

use std::collections::VecDeque;

/// Largest of the values of a sliding window of time.
///
/// Keeps only values that can still become the largest: later ones are smaller. So it holds at
/// most as many entries as there are different values.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentMaximum {
    /// (time in seconds, value), the values falling.
    entries: VecDeque<(f64, u32)>,
}

impl RecentMaximum {
    /// Adds a value and drops what is older than the window. A time before that of an entry
    /// means that the clock was set back: what was known is forgotten.
    pub(crate) fn push(&mut self, time_seconds: f64, value: u32, window_seconds: f64) {
        if self
            .entries
            .back()
            .is_some_and(|&(time, _)| time > time_seconds)
        {
            self.entries.clear();
        }
        while self
            .entries
            .back()
            .is_some_and(|&(_, smaller)| smaller <= value)
        {
            self.entries.pop_back();
        }
        self.entries.push_back((time_seconds, value));
        while self
            .entries
            .front()
            .is_some_and(|&(time, _)| time_seconds - time > window_seconds)
        {
            self.entries.pop_front();
        }
    }

    /// The largest value that is no older than the window.
    pub(crate) fn maximum(&self, time_seconds: f64, window_seconds: f64) -> Option<u32> {
        self.entries
            .iter()
            .find(|&&(time, _)| time_seconds - time <= window_seconds)
            .map(|&(_, value)| value)
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_maximum_of_the_window(
            values in proptest::collection::vec((0.0f64..5.0, 0u32..9), 1..60),
            window_seconds in 0.0f64..30.0,
        ) {
            let mut recent = RecentMaximum::default();
            let mut all = Vec::new();
            let mut now = 0.0;
            for (gap, value) in values {
                now += gap;
                all.push((now, value));
                recent.push(now, value, window_seconds);
                let expected = all
                    .iter()
                    .filter(|(time, _)| now - time <= window_seconds)
                    .map(|&(_, value)| value)
                    .max();
                prop_assert_eq!(recent.maximum(now, window_seconds), expected);
            }
        }
    }

    #[test]
    fn a_clock_set_back_forgets() {
        let mut recent = RecentMaximum::default();
        recent.push(100.0, 9, 60.0);
        recent.push(40.0, 2, 60.0);
        assert_eq!(recent.maximum(40.0, 60.0), Some(2));
    }
}
