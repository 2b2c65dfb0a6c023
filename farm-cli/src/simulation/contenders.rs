//! Policies from the command line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use farm_core::quantity::parse_duration;
use farm_policy::learned::{Artefact, BuiltInModels, MAX_ARTEFACT_BYTES, Models};
use farm_policy::{Limits, PolicySpec};
use farm_sim::evaluation::Contender;
use farm_sim::scenario::Scenario;

use crate::failure::Failure;

/// A policy as people write it: `predictive`, `queue:target=0.9,window=1m,farm.min=4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWords {
    name: String,
    parameters: BTreeMap<String, String>,
}

/// How far a policy may go in one decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pace {
    /// One worker more or less, as all policies of the paper
    Step,
    /// As far as the policy likes
    #[default]
    Free,
}

impl Pace {
    /// Whether it is one worker.
    pub fn is_step(self) -> bool {
        self == Self::Step
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Free => "free",
        }
    }
}

/// All policies that need no parameter, and all trained ones built in.
pub fn usual() -> Vec<PolicyWords> {
    let words = |name: &str, model: Option<&str>| PolicyWords {
        name: name.to_owned(),
        parameters: model
            .map(|model| ("model".to_owned(), model.to_owned()))
            .into_iter()
            .collect(),
    };
    let plain = [
        "reactive-average",
        "reactive-maximum",
        "queue",
        "utilisation",
        "predictive",
    ];
    let mut usual = plain.map(|name| words(name, None)).to_vec();
    usual.extend(BuiltInModels::names().filter_map(|model| {
        let artefact = BuiltInModels.load(model).ok()?;
        let name = match *artefact {
            Artefact::Table(_) => "sarsa",
            Artefact::Network(_) => "dqn",
        };
        Some(words(name, Some(model)))
    }));
    usual
}

/// How limits of the guard begin, as in a stack file: `farm.min`.
const LIMIT_PREFIX: &str = "farm.";

/// Trained policies by name, or by the path of their file.
pub struct ModelFiles;

impl Models for ModelFiles {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        let no_such_name = match BuiltInModels.read(name) {
            Ok(bytes) => return Ok(bytes.into_owned().into()),
            Err(cause) => cause,
        };
        let path = Path::new(name);
        if !path.exists() {
            return Err(format!(
                "there is no file {name:?}, and as a name {no_such_name}"
            ));
        }
        let unreadable = |error| format!("cannot read {name:?}: {error}");
        let bytes = path.metadata().map_err(unreadable)?.len();
        if bytes > MAX_ARTEFACT_BYTES as u64 {
            return Err(format!("{name:?} has {bytes} bytes: no trained policy"));
        }
        std::fs::read(path).map(Cow::Owned).map_err(unreadable)
    }
}

impl std::str::FromStr for PolicyWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameters) = match text.split_once(':') {
            Some((name, parameters)) => (name, parameters),
            None => (text, ""),
        };
        let parameters = parameters.split(',').filter(|part| !part.is_empty());
        let parameters: Result<_, String> = parameters.map(parse_parameter).collect();
        Ok(Self {
            name: name.trim().to_owned(),
            parameters: parameters?,
        })
    }
}

/// Reads `key=value`.
///
/// # Errors
/// There is no `=`.
pub fn parse_parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err(format!(
            "{text:?} is no parameter: write it like target=0.9"
        )),
    }
}

impl PolicyWords {
    /// The same with more parameters.
    #[must_use]
    pub fn with(mut self, parameters: &[(String, String)]) -> Self {
        self.parameters.extend(parameters.iter().cloned());
        self
    }

    /// Name and parameters: `static parallelism=15`; of a file its name without its folder.
    pub fn title(&self) -> String {
        let parameters = self.parameters.iter().map(|(key, value)| {
            let shown = match key.as_str() {
                "model" => value.rsplit('/').next().unwrap_or(value),
                _ => value,
            };
            format!(" {key}={shown}")
        });
        std::iter::once(self.name.clone())
            .chain(parameters)
            .collect()
    }

    /// The policy on a scenario: alone, or behind a guard if `guarded` or if it has settings of one.
    ///
    /// # Errors
    /// All that is wrong with it, and why it does not fit the scenario.
    pub fn contender(
        &self,
        scenario: &Scenario,
        one_step: bool,
        guarded: bool,
    ) -> Result<Contender, Failure> {
        let is_limit = |(key, _): &(&String, &String)| key.starts_with(LIMIT_PREFIX);
        let (given, parameters): (Vec<_>, Vec<_>) = self.parameters.iter().partition(is_limit);
        let mut wrong = Vec::new();
        let limits = limits(scenario, &given, &mut wrong);
        let parameters = parameters.into_iter();
        let parameters = parameters.map(|(key, value)| (key.clone(), value.clone()));
        let spec = PolicySpec::parse_with(&self.name, &parameters.collect(), &ModelFiles);
        let refuse = |wrong: &[String]| {
            let cause = wrong.join("; ");
            Failure::Usage(format!("--policy {}: {cause}", self.title()))
        };
        let spec = match spec {
            Ok(spec) if wrong.is_empty() => spec,
            Ok(_) => return Err(refuse(&wrong)),
            Err(more) => {
                wrong.extend(more.iter().map(ToString::to_string));
                return Err(refuse(&wrong));
            }
        };
        let unfit = spec.check_fit(scenario.control.interval_seconds, &limits);
        if let Some(unfit) = unfit.first() {
            let scenario = &scenario.name;
            return Err(refuse(&[format!(
                "does not fit the scenario {scenario}: {unfit}"
            )]));
        }
        let note = if guarded { ", guarded" } else { "" };
        Ok(Contender {
            name: format!("{}{note}", self.title()),
            spec,
            one_step,
            guard: (guarded || !given.is_empty()).then_some(limits),
        })
    }
}

/// The guard's limits within the scenario's bounds, with those given as in a stack file.
fn limits(scenario: &Scenario, given: &[(&String, &String)], wrong: &mut Vec<String>) -> Limits {
    let mut limits = Limits {
        min: scenario.control.min_parallelism,
        max: scenario.control.max_parallelism,
        ..Limits::default()
    };
    for (key, value) in given {
        let count = || value.parse::<u32>().map_err(|error| error.to_string());
        let seconds = || match parse_duration(value) {
            Ok(duration) => Ok(duration.as_secs_f64()),
            Err(error) => Err(error.to_string()),
        };
        let set = match key.trim_start_matches(LIMIT_PREFIX) {
            "min" => count().map(|count| limits.min = count),
            "max" => count().map(|count| limits.max = count),
            "step.up" => count().map(|count| limits.step_up = Some(count)),
            "step.down" => count().map(|count| limits.step_down = Some(count)),
            "stabilisation" => seconds().map(|seconds| limits.stabilisation_seconds = seconds),
            "cooldown" => seconds().map(|seconds| limits.cooldown_seconds = seconds),
            _ => Err(
                "is unknown; known are: min, max, step.up, step.down, stabilisation, cooldown"
                    .to_owned(),
            ),
        };
        wrong.extend(set.err().map(|cause| format!("{key}: {value:?} {cause}")));
    }
    if let Err(broken) = limits.check() {
        let broken = broken.iter();
        wrong.extend(broken.map(|broken| format!("{LIMIT_PREFIX}{broken}")));
    }
    limits
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> PolicyWords {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> Failure {
        let refused = words(text).contender(&Scenario::paper(), false, false);
        refused.unwrap_err()
    }

    #[test]
    fn a_policy_is_a_name_and_parameters() {
        assert_eq!(words("predictive").title(), "predictive");
        let queue = words("queue:window=1m,target=0.9");
        assert_eq!(queue.title(), "queue target=0.9 window=1m");
        let trained = words("sarsa:model=out/mine.json");
        assert_eq!(trained.title(), "sarsa model=mine.json");
        let more = words("queue").with(&[("target".to_owned(), "2".to_owned())]);
        assert_eq!(more, words("queue:target=2"));
        assert!("queue:target".parse::<PolicyWords>().is_err());
    }

    #[test]
    fn the_usual_policies_can_all_be_built() {
        let usual = usual();
        assert!(usual.len() >= 5 + BuiltInModels::names().count());
        for words in usual {
            let scenario = Scenario::paper();
            assert!(
                words.contender(&scenario, false, false).is_ok(),
                "{words:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_at_once() {
        let told = refused("queue:target=x,speed=9,farm.min=y,farm.mix=1");
        assert!(matches!(told, Failure::Usage(_)));
        let told = told.to_string();
        for word in ["target: ", "speed: ", "farm.min: ", "farm.mix: "] {
            assert!(told.contains(word), "{told}");
        }
        let told = refused("sarsa:model=nowhere.json");
        assert!(
            told.to_string().contains("no file \"nowhere.json\""),
            "{told}"
        );
    }

    #[test]
    fn a_guard_keeps_to_the_scenarios_bounds() {
        let scenario = Scenario::paper();
        let contender = words("predictive")
            .contender(&scenario, false, true)
            .unwrap();
        let limits = contender.guard.unwrap();
        assert_eq!((limits.min, limits.max), (1, 32));
        assert_eq!(contender.name, "predictive, guarded");
        let own = words("queue:farm.min=4,farm.stabilisation=0s,farm.step.down=2");
        let own = own.contender(&scenario, false, false).unwrap();
        let limits = own.guard.unwrap();
        assert_eq!((limits.min, limits.max, limits.step_down), (4, 32, Some(2)));
        assert_eq!(limits.stabilisation_seconds, 0.0);
        assert!(
            refused("queue:farm.min=40")
                .to_string()
                .contains("40 is more than max 32")
        );
    }
}
