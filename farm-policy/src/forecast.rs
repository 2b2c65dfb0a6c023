//! Forecast of a rate.

/// Holt's linear method with a damped trend (Gardner and McKenzie, 1985).
///
/// ```text
/// level' = α x + (1 − α)(level + φ trend)
/// trend' = β (level' − level) + (1 − β) φ trend
/// forecast(h) = level + (φ + φ² + … + φʰ) trend
/// ```
///
/// The damping φ keeps a short climb from being drawn into the sky. A value further from the
/// forecast than the `surprise` given with it is a change, not noise: the level restarts there
/// (a tracking signal, after Trigg and Leach), so that a jump of the load costs one interval and
/// not the several that smoothing takes.
///
/// ```
/// use farm_policy::DampedTrend;
/// let mut rate = DampedTrend::default();
/// for value in [5.0, 5.0, 5.0] { rate.observe(value, 2.0); }
/// assert!((rate.forecast(2.0) - 5.0).abs() < 1e-9);
/// rate.observe(9.0, 2.0);
/// assert!((rate.forecast(0.0) - 9.0).abs() < 1e-9);
/// ```
#[derive(Debug, Clone)]
pub struct DampedTrend {
    level_gain: f64,
    trend_gain: f64,
    damping: f64,
    state: Option<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    level: f64,
    trend: f64,
}

impl Default for DampedTrend {
    /// Gains 0.25 (level) and 0.1 (trend), damping 0.8.
    fn default() -> Self {
        Self::new(0.25, 0.1, 0.8)
    }
}

impl DampedTrend {
    /// Gains α (level) and β (trend) and damping φ, each from 0 to 1 (ratios).
    pub fn new(level_gain: f64, trend_gain: f64, damping: f64) -> Self {
        Self {
            level_gain: level_gain.clamp(0.0, 1.0),
            trend_gain: trend_gain.clamp(0.0, 1.0),
            damping: damping.clamp(0.0, 1.0),
            state: None,
        }
    }

    /// Takes the next value; one further than `surprise` from the forecast restarts the level.
    pub fn observe(&mut self, value: f64, surprise: f64) {
        let Some(State { level, trend }) = self.state else {
            let (level, trend) = (value, 0.0);
            self.state = Some(State { level, trend });
            return;
        };
        let drift = self.damping * trend;
        let expected = level + drift;
        self.state = Some(if (value - expected).abs() > surprise {
            let (level, trend) = (value, 0.0);
            State { level, trend }
        } else {
            let risen = self.level_gain * value + (1.0 - self.level_gain) * expected;
            State {
                level: risen,
                trend: self.trend_gain * (risen - level) + (1.0 - self.trend_gain) * drift,
            }
        });
    }

    /// The value expected `steps` intervals after the last one, never negative; 0 before the first.
    pub fn forecast(&self, steps: f64) -> f64 {
        let Some(State { level, trend }) = self.state else {
            return 0.0;
        };
        let reach = if self.damping < 1.0 {
            self.damping * (1.0 - self.damping.powf(steps)) / (1.0 - self.damping)
        } else {
            steps
        };
        (level + reach * trend).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_climb_is_followed_and_damped() {
        let mut rate = DampedTrend::new(0.5, 0.5, 0.8);
        for step in 0..40 {
            rate.observe(f64::from(step), f64::INFINITY);
        }
        let (next, far) = (rate.forecast(1.0), rate.forecast(1000.0));
        assert!(next > 37.0 && next < 41.0, "{next}");
        assert!(far - next < 5.0, "{far} must stay near {next}");
    }

    #[test]
    fn a_fall_never_forecasts_less_than_nothing() {
        let mut rate = DampedTrend::new(0.9, 0.9, 1.0);
        for value in [9.0, 5.0, 1.0, 0.0] {
            rate.observe(value, f64::INFINITY);
        }
        assert!(rate.forecast(50.0) >= 0.0);
    }
}
