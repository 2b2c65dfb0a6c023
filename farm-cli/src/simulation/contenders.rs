//! Policies from the command line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use farm_policy::learned::{Artefact, BuiltInModels, MAX_ARTEFACT_BYTES, Models};
use farm_policy::{Limits, PolicySpec};
use farm_sim::evaluation::Contender;
use farm_sim::scenario::Scenario;

use crate::failure::Failure;

/// A policy as people write it: `predictive`, `queue:target=0.9,window=1m`.
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

    /// The policy.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn spec(&self) -> Result<PolicySpec, Failure> {
        PolicySpec::parse_with(&self.name, &self.parameters, &ModelFiles).map_err(|wrong| {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            Failure::Usage(format!("--policy {}: {}", self.title(), wrong.join("; ")))
        })
    }

    /// The policy on a scenario, alone or behind a guard with the default limits.
    ///
    /// # Errors
    /// All that is wrong with it, and why it does not fit the scenario.
    pub fn contender(
        &self,
        scenario: &Scenario,
        one_step: bool,
        guarded: bool,
    ) -> Result<Contender, Failure> {
        let spec = self.spec()?;
        let limits = limits(scenario);
        let wrong = spec.check_fit(scenario.control.interval_seconds, &limits);
        if let Some(wrong) = wrong.first() {
            let (policy, scenario) = (self.title(), &scenario.name);
            return Err(Failure::Usage(format!(
                "--policy {policy} does not fit the scenario {scenario}: {wrong}"
            )));
        }
        let guard = guarded.then_some(limits);
        let guarded = if guarded { ", guarded" } else { "" };
        Ok(Contender {
            name: format!("{}{guarded}", self.title()),
            spec,
            one_step,
            guard,
        })
    }
}

/// The guard's default limits within the scenario's bounds.
fn limits(scenario: &Scenario) -> Limits {
    Limits {
        min: scenario.control.min_parallelism,
        max: scenario.control.max_parallelism,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> PolicyWords {
        text.parse().unwrap()
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
            words.spec().unwrap();
        }
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_at_once() {
        let told = words("queue:target=x,speed=9").spec().unwrap_err();
        assert!(matches!(told, Failure::Usage(_)));
        let told = told.to_string();
        assert!(
            told.contains("target: ") && told.contains("speed: "),
            "{told}"
        );
        let told = words("sarsa:model=nowhere.json").spec().unwrap_err();
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
    }
}
