//! What was collected in a stretch of time.

use crate::{Nanoseconds, seconds};

/// Sums over the results collected in a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// Results.
    pub count: u64,
    /// Results within their deadline.
    pub met: u64,
    service_sum: f64,
    service_squares: f64,
    service_max: Nanoseconds,
    sojourn_sum: f64,
    sojourn_max: Nanoseconds,
}

impl Window {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn count(&mut self, service: Nanoseconds, sojourn: Nanoseconds, met: bool) {
        let service_seconds = seconds(service);
        self.count += 1;
        self.met += u64::from(met);
        self.service_sum += service_seconds;
        self.service_squares += service_seconds * service_seconds;
        self.service_max = self.service_max.max(service);
        self.sojourn_sum += seconds(sojourn);
        self.sojourn_max = self.sojourn_max.max(sojourn);
    }

    fn mean_of(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }

    /// Mean service time in seconds; `None` if nothing was collected.
    pub fn service_seconds_mean(&self) -> Option<f64> {
        self.mean_of(self.service_sum)
    }

    /// Variance of the service time in seconds squared.
    pub fn service_seconds_variance(&self) -> Option<f64> {
        let mean = self.service_seconds_mean()?;
        let squares = self.mean_of(self.service_squares)?;
        Some((squares - mean * mean).max(0.0))
    }

    /// Longest service time in seconds.
    pub fn service_seconds_max(&self) -> Option<f64> {
        (self.count > 0).then(|| seconds(self.service_max))
    }

    /// Mean sojourn time in seconds.
    pub fn sojourn_seconds_mean(&self) -> Option<f64> {
        self.mean_of(self.sojourn_sum)
    }

    /// Longest sojourn time in seconds.
    pub fn sojourn_seconds_max(&self) -> Option<f64> {
        (self.count > 0).then(|| seconds(self.sojourn_max))
    }

    /// Share of the results within their deadline.
    pub fn qos_ratio(&self) -> Option<f64> {
        self.mean_of(self.met as f64)
    }
}
