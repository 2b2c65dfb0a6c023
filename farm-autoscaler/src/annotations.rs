//! What a function's annotations ask of the autoscaler.
//!
//! | annotation | meaning | default |
//! |---|---|---|
//! | `farm.policy` | scale this function, by this policy | not scaled |
//! | `farm.policy.<parameter>` | a parameter of the policy | the policy's |
//! | `farm.policy.model` | file of a trained policy, built in or in `FARM_MODEL_DIR` | none |
//! | `farm.name` | the farm whose workers it runs | the function's name |
//! | `farm.min`, `farm.max` | bounds of the parallelism | 1, 10 |
//! | `farm.slots.max` | most tasks one replica may compute at once | slots are left alone |
//! | `farm.replicas.max` | most replicas | what the platform gives |
//! | `farm.deadline` | deadline of a task, with unit | none |
//! | `farm.target_qos` | share of tasks that are to meet it, above 0, at most 1 | 0.95 |
//! | `farm.interval` | control interval, with unit | `FARM_SCALER_INTERVAL` |
//! | `farm.idle` | idle time before it goes to 0, with unit | the guard's |
//! | `farm.step.up`, `farm.step.down` | most that one decision adds or takes | unlimited |
//! | `farm.stabilisation` | how long a lower wish must last, with unit | the guard's |
//! | `farm.cooldown` | rest after a change, with unit | the guard's |

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use farm_core::FarmName;
use farm_core::control::MAX_SLOTS;
use farm_core::gateway::FunctionStatus;
use farm_core::quantity::{format_duration, parse_duration};
use farm_policy::learned::Models;
use farm_policy::{InvalidSetting, Limits, PolicySpec};

use crate::config::{LONGEST_INTERVAL, SHORTEST_INTERVAL};

/// More parallelism than any farm has: beyond it a number is a slip of the pen.
const MAX_PARALLELISM: u32 = 1_000_000;
/// Longest duration that makes sense in an annotation.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const PREFIX: &str = "farm.";
const POLICY: &str = "farm.policy";
const POLICY_PARAMETERS: &str = "farm.policy.";

/// The annotations that are read.
const KEYS: &[&str] = &[
    "farm.name",
    "farm.policy",
    "farm.min",
    "farm.max",
    "farm.slots.max",
    "farm.replicas.max",
    "farm.deadline",
    "farm.target_qos",
    "farm.interval",
    "farm.idle",
    "farm.step.up",
    "farm.step.down",
    "farm.stabilisation",
    "farm.cooldown",
];

/// The `farm.*` annotations of one function: while they stay the same, so does its farm.
pub(crate) type Declared = BTreeMap<String, String>;

/// How one farm is to be scaled.
#[derive(Clone)]
pub(crate) struct Settings {
    pub farm: FarmName,
    pub function: String,
    pub policy: PolicySpec,
    pub limits: Limits,
    pub slots_max: Option<u32>,
    pub replicas_max: Option<u32>,
    pub deadline_seconds: Option<f64>,
    pub target_qos_ratio: f64,
    pub interval: Duration,
}

/// What the annotations of a function that wants to be scaled came to.
pub(crate) struct Reading {
    /// The farm it scales, as far as that could be read.
    pub farm: String,
    /// How, or every reason why not.
    pub settings: Result<Settings, Vec<String>>,
    /// What looks like a slip but stops nothing.
    pub warnings: Vec<String>,
}

/// The `farm.*` annotations of `function`, if it wants to be scaled.
pub(crate) fn declared(function: &FunctionStatus) -> Option<Declared> {
    function.annotation(POLICY)?;
    let all = function.annotations.as_ref()?;
    Some(
        all.iter()
            .filter(|(key, _)| key.starts_with(PREFIX))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

/// Reads all annotations, then reports all bad ones together. Trained policies come from `models`.
pub(crate) fn read(
    function: &str,
    declared: &Declared,
    default_interval: Duration,
    models: &dyn Models,
) -> Reading {
    let mut reader = Reader {
        declared,
        bad: Vec::new(),
    };
    let name = reader.text("farm.name").unwrap_or(function);
    let farm = FarmName::new(name).map_err(|error| format!("farm.name: {error}"));
    let policy = policy(declared, models);
    let limits = limits(&mut reader);
    let slots_max = reader.number("farm.slots.max", 1, MAX_SLOTS);
    let replicas_max = reader.number("farm.replicas.max", 1, MAX_PARALLELISM);
    let deadline = reader.duration("farm.deadline", Duration::from_micros(1));
    let interval = reader.bounded("farm.interval", SHORTEST_INTERVAL, LONGEST_INTERVAL);
    let interval = interval.unwrap_or(default_interval);
    let target_qos_ratio = reader.ratio("farm.target_qos", 0.95);

    let mut bad = reader.bad;
    if let Ok(policy) = &policy {
        let misfits = policy.check_fit(interval.as_secs_f64(), &limits);
        bad.extend(misfits.iter().map(misfit));
    }
    let settings = match (farm, policy) {
        (Ok(farm), Ok(policy)) if bad.is_empty() => Ok(Settings {
            farm,
            function: function.to_owned(),
            policy,
            limits,
            slots_max,
            replicas_max,
            deadline_seconds: deadline.map(|deadline| deadline.as_secs_f64()),
            target_qos_ratio,
            interval,
        }),
        (farm, policy) => {
            bad.extend(farm.err());
            bad.extend(policy.err().into_iter().flatten());
            Err(bad)
        }
    };
    Reading {
        farm: name.to_owned(),
        settings,
        warnings: misspelt(declared),
    }
}

fn policy(declared: &Declared, models: &dyn Models) -> Result<PolicySpec, Vec<String>> {
    let parameters = declared
        .iter()
        .filter_map(|(key, value)| {
            let parameter = key.strip_prefix(POLICY_PARAMETERS)?;
            Some((parameter.to_owned(), value.clone()))
        })
        .collect();
    let name = declared.get(POLICY).map_or("", |name| name.trim());
    PolicySpec::parse_with(name, &parameters, models)
        .map_err(|invalid| invalid.iter().map(policy_problem).collect())
}

/// Names the annotation that a setting of the policy was read from.
fn policy_problem(invalid: &InvalidSetting) -> String {
    match invalid.setting.as_str() {
        "policy" | "name" => format!("{POLICY}: {}", invalid.cause),
        parameter => format!("{POLICY_PARAMETERS}{parameter}: {}", invalid.cause),
    }
}

/// Names the annotation that does not go with the policy.
fn misfit(invalid: &InvalidSetting) -> String {
    format!("{PREFIX}{}: {}", invalid.setting, invalid.cause)
}

fn limits(reader: &mut Reader) -> Limits {
    let default = Limits::default();
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
    let limits = Limits {
        min: reader.number("farm.min", 0, MAX_PARALLELISM).unwrap_or(1),
        max: reader.number("farm.max", 1, MAX_PARALLELISM).unwrap_or(10),
        step_up: reader.number("farm.step.up", 1, MAX_PARALLELISM),
        step_down: reader.number("farm.step.down", 1, MAX_PARALLELISM),
        stabilisation_seconds: seconds(reader.duration("farm.stabilisation", Duration::ZERO))
            .unwrap_or(default.stabilisation_seconds),
        cooldown_seconds: seconds(reader.duration("farm.cooldown", Duration::ZERO))
            .unwrap_or(default.cooldown_seconds),
        idle_seconds: seconds(reader.duration("farm.idle", Duration::ZERO))
            .unwrap_or(default.idle_seconds),
    };
    if limits.min > limits.max {
        reader.bad.push(format!(
            "farm.min: {} is above farm.max ({})",
            limits.min, limits.max
        ));
    }
    limits
}

/// Annotations under `farm.` that nothing reads, with the one that may have been meant.
fn misspelt(declared: &Declared) -> Vec<String> {
    declared
        .keys()
        .filter(|key| !KEYS.contains(&key.as_str()) && !key.starts_with(POLICY_PARAMETERS))
        .map(|key| match closest(key) {
            Some(known) => format!("{key} is not an annotation of the autoscaler: {known} is"),
            None => format!("{key} is not an annotation of the autoscaler"),
        })
        .collect()
}

fn closest(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|known| (distance(key, known), *known))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known)
}

/// How many letters must be put in, left out or changed to make `a` of `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

struct Reader<'a> {
    declared: &'a Declared,
    bad: Vec<String>,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.declared.get(key).map(|text| text.trim())
    }

    fn read<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parse(self.text(key)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.bad.push(format!("{key}: {reason}"));
                None
            }
        }
    }

    fn number<T>(&mut self, key: &str, least: T, most: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        self.read(key, |text| match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!(
                "{text:?} is not a whole number from {least} to {most}"
            )),
        })
    }

    fn ratio(&mut self, key: &str, default: f64) -> f64 {
        self.read(key, |text| match text.parse() {
            Ok(ratio) if ratio > 0.0 && ratio <= 1.0 => Ok(ratio),
            _ => Err(format!(
                "{text:?} is not a share above 0 and up to 1: write it like 0.95"
            )),
        })
        .unwrap_or(default)
    }

    fn duration(&mut self, key: &str, least: Duration) -> Option<Duration> {
        self.bounded(key, least, LONGEST)
    }

    fn bounded(&mut self, key: &str, least: Duration, most: Duration) -> Option<Duration> {
        self.read(key, |text| {
            let duration = parse_duration(text).map_err(|error| error.to_string())?;
            match (least..=most).contains(&duration) {
                true => Ok(duration),
                false => Err(format!(
                    "{text:?} is not between {} and {}",
                    format_duration(least),
                    format_duration(most)
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use farm_policy::learned::{ActionSpace, Contract, Table};

    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Reading {
        let declared = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        read("f", &declared, Duration::from_secs(2), &Shelf)
    }

    /// Holds a table for intervals of 8 s and 1 to 32 workers, by the name `mine`.
    struct Shelf;

    impl Models for Shelf {
        fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
            let contract = Contract::paper(ActionSpace::unit_steps());
            match name {
                "mine" => Ok(Table::new(contract, vec![]).to_json().into_bytes().into()),
                _ => Err(format!("{name:?} is unknown")),
            }
        }
    }

    fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
        read_pairs(pairs).settings.err().unwrap_or_default()
    }

    #[test]
    fn a_trained_policy_is_read_with_its_model() {
        let reading = read_pairs(&[
            (POLICY, "sarsa"),
            ("farm.policy.model", "mine"),
            ("farm.interval", "8s"),
            ("farm.max", "32"),
        ]);
        let settings = reading.settings.ok().unwrap();
        assert_eq!(settings.policy.name(), "sarsa");
        assert!(reading.warnings.is_empty(), "{:?}", reading.warnings);

        let faster = [
            (POLICY, "sarsa"),
            ("farm.policy.model", "mine"),
            ("farm.policy.time_scale", "0.25"),
        ];
        assert!(problems(&faster).is_empty());
    }

    #[test]
    fn a_model_that_does_not_fit_is_told_at_once() {
        let missing = [(POLICY, "dqn"), ("farm.policy.model", "yours")];
        assert_eq!(
            problems(&missing),
            ["farm.policy.model: \"yours\" is unknown"]
        );
        let other = [(POLICY, "onnx"), ("farm.policy.model", "mine")];
        assert_eq!(
            problems(&other),
            ["farm.policy.model: \"mine\" is a table; the policy onnx needs a network"]
        );
        let misfit = [
            (POLICY, "sarsa"),
            ("farm.policy.model", "mine"),
            ("farm.max", "40"),
        ];
        assert_eq!(
            problems(&misfit),
            [
                "farm.interval: the control interval is 2 s, where the model was trained with 8 s \
                 (mine)",
                "farm.max: 40 is not in 1 to 32, with which mine was trained",
            ]
        );
    }

    #[test]
    fn a_policy_is_all_it_takes() {
        let settings = read_pairs(&[(POLICY, "queue")]).settings.ok().unwrap();
        assert_eq!(settings.farm.as_str(), "f");
        assert_eq!((settings.limits.min, settings.limits.max), (1, 10));
        assert_eq!(settings.interval, Duration::from_secs(2));
        assert_eq!(
            (settings.slots_max, settings.deadline_seconds),
            (None, None)
        );
    }

    #[test]
    fn every_bad_annotation_is_told_at_once() {
        let pairs = [
            (POLICY, "quue"),
            ("farm.name", "No Good"),
            ("farm.min", "-1"),
            ("farm.max", "2000000"),
            ("farm.slots.max", "0"),
            ("farm.replicas.max", "many"),
            ("farm.deadline", "30"),
            ("farm.target_qos", "NaN"),
            ("farm.interval", "1ms"),
            ("farm.idle", "900y"),
            ("farm.step.up", "0"),
            ("farm.step.down", "1.5"),
            ("farm.stabilisation", "-1s"),
            ("farm.cooldown", "soon"),
        ];
        let problems = read_pairs(&pairs).settings.err().unwrap().join("; ");
        for (key, _) in pairs {
            assert!(
                problems.contains(&format!("{key}: ")),
                "{key} in {problems}"
            );
        }
    }

    #[test]
    fn what_could_never_be_controlled_is_refused() {
        let bad = [
            ("farm.target_qos", "0"),
            ("farm.target_qos", "1.01"),
            ("farm.interval", "2h"),
        ];
        for pair in bad {
            let reading = read_pairs(&[(POLICY, "queue"), pair]);
            assert!(reading.settings.is_err(), "{pair:?}");
        }
        let fine = [
            (POLICY, "queue"),
            ("farm.target_qos", "1"),
            ("farm.interval", "1h"),
        ];
        assert!(read_pairs(&fine).settings.is_ok());
    }

    #[test]
    fn a_parameter_is_named_as_it_was_written() {
        let reading = read_pairs(&[(POLICY, "queue"), ("farm.policy.target", "-3")]);
        let problems = reading.settings.err().unwrap();
        assert!(
            problems[0].starts_with("farm.policy.target: "),
            "{problems:?}"
        );
    }

    #[test]
    fn a_slip_is_pointed_out() {
        let warnings = read_pairs(&[
            (POLICY, "queue"),
            ("farm.targetqos", "1"),
            ("farm.colour", ""),
        ]);
        assert_eq!(
            warnings.warnings,
            [
                "farm.colour is not an annotation of the autoscaler",
                "farm.targetqos is not an annotation of the autoscaler: farm.target_qos is",
            ]
        );
    }
}
