//! From a name and parameters to a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::learned::{Artefact, BuiltInModels, Models};
use crate::policies::{
    CompletionTime, External, Fixed, Learned, OneStep, Predictive, PredictiveSettings, Queue,
    QueueSettings, Reactive, Utilisation, UtilisationSettings, check_interval,
};
use crate::settings::Settings;
use crate::{InvalidSetting, Limits, Policy};

/// Names of the policies that [`PolicySpec::parse`] knows.
pub const POLICY_NAMES: [&str; 10] = [
    "static",
    "queue",
    "utilisation",
    "reactive-average",
    "reactive-maximum",
    "predictive",
    "external",
    "sarsa",
    "dqn",
    "onnx",
];

/// Those of them that need a trained policy's file: the parameter `model`.
pub const TRAINED_POLICY_NAMES: [&str; 3] = ["sarsa", "dqn", "onnx"];

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
    External,
    Learned(Trained),
}

/// A trained policy; clones share what was read.
#[derive(Debug, Clone)]
struct Trained {
    policy: &'static str,
    model: String,
    artefact: Arc<Artefact>,
    time_scale: f64,
}

impl PartialEq for Trained {
    fn eq(&self, other: &Self) -> bool {
        self.policy == other.policy
            && self.model == other.model
            && self.time_scale == other.time_scale
            && Arc::ptr_eq(&self.artefact, &other.artefact)
    }
}

/// How far a policy may go in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    One,
    Free,
}

impl PolicySpec {
    /// Chooses a policy by its name, with parameters as people write them; durations carry a unit.
    /// Of trained policies it knows the [built-in](BuiltInModels) ones.
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
        Self::parse_with(name, parameters, &BuiltInModels)
    }

    /// Like [`parse`](Self::parse), with trained policies from `models`. Their files are read here
    /// and shared by all clones.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse); of a trained policy also that its file is not found, cannot
    /// be used, or is of another kind than the policy needs.
    pub fn parse_with(
        name: &str,
        parameters: &BTreeMap<String, String>,
        models: &dyn Models,
    ) -> Result<Self, Vec<InvalidSetting>> {
        let Some(known) = POLICY_NAMES.into_iter().find(|known| *known == name) else {
            let known = POLICY_NAMES.join(", ");
            let cause = format!("{name:?} is unknown; known are: {known}");
            return Err(vec![InvalidSetting::new("policy", cause)]);
        };
        let mut settings = Settings::new(parameters);
        let kind = Kind::read(known, &mut settings, models);
        // The paper's rules know no other step; every other policy is freed by default.
        let step = match kind {
            Some(Kind::Static(_)) => Step::Free,
            Some(Kind::Reactive(_)) => read_step(&mut settings, Step::One),
            _ => read_step(&mut settings, Step::Free),
        };
        let wrong = settings.finish();
        match kind {
            Some(kind) if wrong.is_empty() => Ok(Self { kind, step }),
            _ => Err(wrong),
        }
    }

    /// Name of the policy.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Static(_) => "static",
            Kind::Queue(_) => "queue",
            Kind::Utilisation(_) => "utilisation",
            Kind::Reactive(CompletionTime::Mean) => "reactive-average",
            Kind::Reactive(CompletionTime::Longest) => "reactive-maximum",
            Kind::Predictive(_) => "predictive",
            Kind::External => "external",
            Kind::Learned(trained) => trained.policy,
        }
    }

    /// What keeps the policy from deciding well every `interval_seconds` within `limits`: nothing,
    /// but for trained policies, which were promised an interval and a range of parallelism.
    ///
    /// The names are `interval` and `max`.
    pub fn check_fit(&self, interval_seconds: f64, limits: &Limits) -> Vec<InvalidSetting> {
        match &self.kind {
            Kind::Learned(trained) => trained.check_fit(interval_seconds, limits),
            _ => Vec::new(),
        }
    }

    /// A policy that has seen nothing yet.
    pub fn build(&self) -> Box<dyn Policy> {
        let policy: Box<dyn Policy> = match &self.kind {
            Kind::Static(parallelism) => Box::new(Fixed::new(*parallelism)),
            Kind::Queue(settings) => Box::new(Queue::new(*settings)),
            Kind::Utilisation(settings) => Box::new(Utilisation::new(*settings)),
            Kind::Reactive(completion) if self.step == Step::One => {
                Box::new(Reactive::published(*completion))
            }
            Kind::Reactive(completion) => Box::new(Reactive::new(*completion)),
            Kind::Predictive(settings) => Box::new(Predictive::new(*settings)),
            Kind::External => Box::new(External::new()),
            Kind::Learned(trained) => Box::new(trained.build()),
        };
        match self.step {
            Step::One => Box::new(OneStep::new(policy)),
            Step::Free => policy,
        }
    }
}

impl Kind {
    /// `None` if a trained policy could not be had; the settings know why.
    fn read(name: &'static str, settings: &mut Settings<'_>, models: &dyn Models) -> Option<Self> {
        Some(match name {
            "static" => Self::Static(settings.required_count("parallelism", 0..=1_000_000)),
            "queue" => Self::Queue(read_queue(settings)),
            "utilisation" => Self::Utilisation(read_utilisation(settings)),
            "reactive-average" => Self::Reactive(CompletionTime::Mean),
            "reactive-maximum" => Self::Reactive(CompletionTime::Longest),
            "predictive" => Self::Predictive(read_predictive(settings)),
            "external" => Self::External,
            trained => Self::Learned(Trained::read(trained, settings, models)?),
        })
    }
}

impl Trained {
    fn read(
        policy: &'static str,
        settings: &mut Settings<'_>,
        models: &dyn Models,
    ) -> Option<Self> {
        let time_scale = settings.number("time_scale", 1.0, 0.001..=1000.0);
        let model = settings.required_text("model", "the name of a trained policy's file")?;
        let artefact = match models.load(model) {
            Ok(artefact) => artefact,
            Err(cause) => return settings.refuse("model", cause),
        };
        let needed = if policy == "sarsa" {
            "table"
        } else {
            "network"
        };
        if artefact.kind() != needed {
            let found = artefact.kind();
            let cause = format!("{model:?} is a {found}; the policy {policy} needs a {needed}");
            return settings.refuse("model", cause);
        }
        Some(Self {
            policy,
            model: model.to_owned(),
            artefact,
            time_scale,
        })
    }

    fn build(&self) -> Learned {
        Learned::new(self.policy, Arc::clone(&self.artefact), self.time_scale)
    }

    fn check_fit(&self, interval_seconds: f64, limits: &Limits) -> Vec<InvalidSetting> {
        let contract = self.artefact.contract();
        let (least, most) = (contract.min_parallelism, contract.max_parallelism);
        let model = &self.model;
        let mut wrong = Vec::new();
        if let Err(cause) = check_interval(contract, self.time_scale, interval_seconds) {
            wrong.push(InvalidSetting::new(
                "interval",
                format!("{cause} ({model})"),
            ));
        }
        let max = limits.max;
        if max > most || max < least {
            let cause =
                format!("{max} is not in {least} to {most}, with which {model} was trained");
            wrong.push(InvalidSetting::new("max", cause));
        }
        wrong
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
        memory_seconds: settings.optional_seconds("memory"),
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
        let untrained = |name: &&str| !TRAINED_POLICY_NAMES.contains(name);
        for name in POLICY_NAMES.into_iter().filter(untrained) {
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
