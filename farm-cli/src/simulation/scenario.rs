//! Scenarios by name or from a file.

use std::path::Path;

use farm_sim::scenario::{SCENARIO_NAMES, Scenario};

use crate::failure::Failure;

/// What `--help` says about scenarios.
const SCENARIO_HELP: &str = "\
Scenarios:
  paper           the experiment of arXiv 2602.06555: its workload, its platform, every 8 s
  paper-shuffled  its phases in a random order, unannounced
  paper-fast      the same on this project's platform, every 1 s, as all that follow
  phases          phases that oscillate
  poisson         steady, 6 tasks/s
  sine            1 to 9 tasks/s, three times in 6 minutes
  ramp            0.5 to 10 to 0.5 tasks/s
  bursts          1 task/s, 8 for 20 s of each minute
  heavy           steady, service times that vary much
  departures      recorded: flights that left New York on one day
A file holds one as JSON; --show-scenario prints one to begin with.";

/// The end of a command's `--help`: its own words, then the scenarios.
pub fn help_after(own: &str) -> String {
    format!("{own}\n\n{SCENARIO_HELP}")
}

/// The scenario of that name, or in the JSON file at that path.
///
/// # Errors
/// There is neither, or the file holds none that can be simulated.
pub fn read(text: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = Scenario::named(text) {
        return Ok(scenario);
    }
    let path = Path::new(text);
    if !text.ends_with(".json") && !path.exists() {
        let known = SCENARIO_NAMES.join(", ");
        return Err(Failure::Usage(format!(
            "--scenario: there is no scenario {text:?} and no such file; known are: {known}"
        )));
    }
    let json = std::fs::read(path)
        .map_err(|error| Failure::Refused(format!("cannot read {}: {error}", path.display())))?;
    parse(&json).map_err(|cause| Failure::Refused(format!("{}: {cause}", path.display())))
}

fn parse(json: &[u8]) -> Result<Scenario, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let scenario: Scenario =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            match error.path().to_string() {
                path if path == "." => error.inner().to_string(),
                path => format!("{path}: {}", error.inner()),
            }
        })?;
    deserializer.end().map_err(|error| error.to_string())?;
    scenario.check()?;
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_named_scenario_is_told_in_the_help_and_survives_a_file() {
        for name in SCENARIO_NAMES {
            assert!(SCENARIO_HELP.contains(&format!("\n  {name} ")), "{name}");
            let scenario = Scenario::named(name).unwrap();
            let json = serde_json::to_vec(&scenario).unwrap();
            assert_eq!(parse(&json).unwrap(), scenario, "{name}");
        }
    }

    #[test]
    fn a_bad_file_is_told_where() {
        let changed = |path: &str, value: serde_json::Value| {
            let mut json = serde_json::to_value(Scenario::paper()).unwrap();
            *json.pointer_mut(path).unwrap() = value;
            parse(json.to_string().as_bytes()).unwrap_err()
        };
        let told = changed("/platform/poll_seconds", "often".into());
        assert!(told.starts_with("platform.poll_seconds: "), "{told}");
        let told = changed("/control/interval_seconds", 0.into());
        assert!(told.starts_with("control.interval_seconds: "), "{told}");
        let told = parse(b"{").unwrap_err();
        assert!(told.contains("line 1"), "{told}");
    }
}
