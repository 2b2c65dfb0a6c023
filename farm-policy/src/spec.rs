//! From a name and parameters to a policy.

use std::collections::BTreeMap;

use crate::policies::{
    CompletionTime, Fixed, OneStep, Predictive, PredictiveSettings, Queue, QueueSettings, Reactive,
    Utilisation, UtilisationSettings,
};
use crate::settings::Settings;
use crate::{InvalidSetting, Policy};

/// Names of the policies that [`PolicySpec::parse`] knows.
pub const POLICY_NAMES: [&str; 6] = [
    "static",
    "queue",
    "utilisation",
    "reactive-average",
    "reactive-maximum",
    "predictive",
];

/// A policy that was chosen, with its parameters checked; builds any number of fresh policies.
///
/// The parameters of each are documented at its type in [`policies`](crate::policies).
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    kind: Kind,
    step: Step,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Static(u32),
    Queue(QueueSettings),
    Utilisation(UtilisationSettings),
    Reactive(CompletionTime),
    Predictive(PredictiveSettings),
}

/// How far a policy may go in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    One,
    Free,
}

impl PolicySpec {
    /// Chooses a policy by its name, with parameters as people write them; durations carry a unit.
    ///
    /// # Errors
    /// Everything that is wrong at once: an unknown policy, unknown parameters, bad values.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use farm_policy::PolicySpec;
    /// let parameters = BTreeMap::from([
    ///     ("memory".to_owned(), "60".to_owned()),
    ///     ("headrom".to_owned(), "2".to_owned()),
    /// ]);
    /// let wrong = PolicySpec::parse("predictive", &parameters).unwrap_err();
    /// assert_eq!(wrong.len(), 2);
    /// assert_eq!(
    ///     wrong[1].to_string(),
    ///     "headrom: unknown parameter; known are: headroom, memory, service, step",
    /// );
    /// ```
    pub fn parse(
        name: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<InvalidSetting>> {
        let mut settings = Settings::new(parameters);
        let Some(kind) = Kind::read(name, &mut settings) else {
            let known = POLICY_NAMES.join(", ");
            let cause = format!("{name:?} is unknown; known are: {known}");
            return Err(vec![InvalidSetting::new("policy", cause)]);
        };
        // The paper's rules know no other step; every other policy is freed by default.
        let step = match kind {
            Kind::Static(_) => Step::Free,
            Kind::Reactive(_) => read_step(&mut settings, Step::One),
            _ => read_step(&mut settings, Step::Free),
        };
        let wrong = settings.finish();
        if wrong.is_empty() {
            Ok(Self { kind, step })
        } else {
            Err(wrong)
        }
    }

    /// Name of the policy.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Static(_) => "static",
            Kind::Queue(_) => "queue",
            Kind::Utilisation(_) => "utilisation",
            Kind::Reactive(CompletionTime::Mean) => "reactive-average",
            Kind::Reactive(CompletionTime::Longest) => "reactive-maximum",
            Kind::Predictive(_) => "predictive",
        }
    }

    /// A policy that has seen nothing yet.
    pub fn build(&self) -> Box<dyn Policy> {
        let policy: Box<dyn Policy> = match self.kind {
            Kind::Static(parallelism) => Box::new(Fixed::new(parallelism)),
            Kind::Queue(settings) => Box::new(Queue::new(settings)),
            Kind::Utilisation(settings) => Box::new(Utilisation::new(settings)),
            Kind::Reactive(completion) if self.step == Step::One => {
                Box::new(Reactive::published(completion))
            }
            Kind::Reactive(completion) => Box::new(Reactive::new(completion)),
            Kind::Predictive(settings) => Box::new(Predictive::new(settings)),
        };
        match self.step {
            Step::One => Box::new(OneStep::new(policy)),
            Step::Free => policy,
        }
    }
}

impl Kind {
    fn read(name: &str, settings: &mut Settings<'_>) -> Option<Self> {
        Some(match name {
            "static" => Self::Static(settings.required_count("parallelism", 0..=1_000_000)),
            "queue" => Self::Queue(read_queue(settings)),
            "utilisation" => Self::Utilisation(read_utilisation(settings)),
            "reactive-average" => Self::Reactive(CompletionTime::Mean),
            "reactive-maximum" => Self::Reactive(CompletionTime::Longest),
            "predictive" => Self::Predictive(read_predictive(settings)),
            _ => return None,
        })
    }
}

fn read_step(settings: &mut Settings<'_>, default: Step) -> Step {
    let words = [("one", Step::One), ("free", Step::Free)];
    settings.choice("step", default, &words)
}

fn read_queue(settings: &mut Settings<'_>) -> QueueSettings {
    let default = QueueSettings::default();
    QueueSettings {
        target_tasks_per_worker: settings.number(
            "target",
            default.target_tasks_per_worker,
            0.01..=1e6,
        ),
        window_seconds: settings.seconds("window", default.window_seconds),
    }
}

fn read_utilisation(settings: &mut Settings<'_>) -> UtilisationSettings {
    let default = UtilisationSettings::default();
    UtilisationSettings {
        target_ratio: settings.number("target", default.target_ratio, 0.05..=1.0),
        tolerance_ratio: settings.number("tolerance", default.tolerance_ratio, 0.0..=1.0),
        smoothing_seconds: settings.seconds("smoothing", default.smoothing_seconds),
    }
}

fn read_predictive(settings: &mut Settings<'_>) -> PredictiveSettings {
    let default = PredictiveSettings::default();
    PredictiveSettings {
        headroom: settings.number("headroom", default.headroom, 0.0..=10.0),
        memory_seconds: settings.seconds("memory", default.memory_seconds),
        service_seconds: settings.positive_seconds("service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, given: &[(&str, &str)]) -> Result<PolicySpec, Vec<String>> {
        let parameters = given
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        PolicySpec::parse(name, &parameters)
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_name_is_a_policy_of_that_name() {
        for name in POLICY_NAMES {
            let needed: &[_] = if name == "static" {
                &[("parallelism", "4")]
            } else {
                &[]
            };
            let spec = parse(name, needed).unwrap();
            assert_eq!((spec.name(), spec.build().name()), (name, name));
        }
    }

    #[test]
    fn an_unknown_policy_is_told_the_known_ones() {
        let wrong = parse("sarsaparilla", &[]).unwrap_err();
        assert_eq!(wrong.len(), 1);
        for name in POLICY_NAMES {
            assert!(wrong[0].contains(name), "{wrong:?}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let wrong = parse(
            "utilisation",
            &[
                ("target", "70"),
                ("tolerance", "NaN"),
                ("smoothing", "30"),
                ("step", "two"),
                ("speed", "9"),
            ],
        );
        assert_eq!(
            wrong.unwrap_err(),
            [
                "target: \"70\" is not a number from 0.05 to 1",
                "tolerance: \"NaN\" is not a number from 0 to 1",
                "smoothing: \"30\" is not a duration: write it like 250ms, 30s or 24h",
                "step: \"two\" is not one of: one, free",
                "speed: unknown parameter; known are: target, tolerance, smoothing, step",
            ]
        );
        for (name, given) in [
            ("static", vec![]),
            ("static", vec![("parallelism", "-1")]),
            ("predictive", vec![("service", "0s")]),
            ("predictive", vec![("memory", "48h")]),
            ("reactive-average", vec![("step", "")]),
        ] {
            assert_eq!(
                parse(name, &given).unwrap_err().len(),
                1,
                "{name} {given:?}"
            );
        }
    }

    #[test]
    fn the_paper_rules_take_one_step_unless_freed() {
        let loaded = crate::Observation {
            arrival_rate_per_second: 20.0,
            ..crate::Observation::idle(8.0, 12)
        };
        let wanted = |given| {
            let mut policy = parse("reactive-average", given).unwrap().build();
            policy.decide(&loaded).unwrap().parallelism
        };
        assert_eq!(wanted(&[]), 13);
        assert_eq!(wanted(&[("step", "free")]), 30);
    }
}
