//! Reads the text format of Prometheus and OpenMetrics, strictly enough for a scraper.

use std::collections::BTreeSet;

use super::finding::{Fault, Judgement};

/// What every farm function tells from its start, by the name a query uses; see docs/operations.md.
const REQUIRED: [&str; 14] = [
    "farm_task_service_seconds_count",
    "farm_task_sojourn_seconds_count",
    "farm_tasks_with_deadline_total",
    "farm_tasks_in_deadline_total",
    "farm_qos_ratio",
    "farm_slots",
    "farm_slots_busy",
    "farm_backlog_tasks",
    "farm_in_flight_tasks",
    "farm_dead_tasks",
    "farm_cold_start_seconds",
    "http_requests_total",
    "http_request_duration_seconds_count",
    "http_requests_in_flight",
];

/// Whether `text` can be scraped and has what dashboards and alerts of farms ask for.
pub fn judge(text: &str) -> Judgement {
    let names = names(text).map_err(|(line, why)| {
        Fault::new(
            format!("line {line} of the metrics: {why}"),
            "let the SDK serve the port, or write the format of Prometheus",
        )
    })?;
    let missing: Vec<_> = REQUIRED
        .into_iter()
        .filter(|name| !names.contains(name))
        .collect();
    match missing.is_empty() {
        true => Ok(format!("{} metrics, all that a farm tells", names.len())),
        false => Err(Fault::new(
            format!("missing: {}", missing.join(", ")),
            "let the SDK serve the metrics port; docs/operations.md lists them",
        )),
    }
}

/// The names of all samples; else the number of the line that is wrong, and why.
fn names(text: &str) -> Result<BTreeSet<&str>, (usize, String)> {
    let mut names = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: &str| (index + 1, format!("{why}: {:?}", super::log::brief(line)));
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (name, rest) = name_of(line).ok_or_else(|| wrong("no metric name"))?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => after_labels(labels).ok_or_else(|| wrong("labels"))?,
            None => rest,
        };
        // A value, perhaps a time; an exemplar comes behind '#'.
        let sample = rest.split(" # ").next().unwrap_or_default();
        let mut words = sample.split_whitespace();
        let value = words.next().is_some_and(is_number);
        if !value || !words.next().is_none_or(is_number) || words.next().is_some() {
            return Err(wrong("no value"));
        }
        names.insert(name);
    }
    Ok(names)
}

fn name_of(line: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_part(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let first = name.chars().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

/// What follows the labels, if they are `name="value"` with commas between.
fn after_labels(mut text: &str) -> Option<&str> {
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (_, rest) = name_of(text)?;
        text = after_quoted(rest.strip_prefix("=\"")?)?;
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None => return text.strip_prefix('}'),
        }
    }
}

fn after_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return text.get(index + 1..),
            _ => {}
        }
    }
    None
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn samples_are_read_and_nonsense_is_not() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"}\\\" #\"} 3 1.5\n\nb 1e3\n\
                    c_bucket{le=\"+Inf\"} 1 # {trace=\"t\"} 0.5\nd{} NaN\n# EOF\n";
        let found: Vec<_> = names(text).unwrap().into_iter().collect();
        assert_eq!(found, ["a_total", "b", "c_bucket", "d"]);
        for wrong in [
            "a",
            "a b",
            "1a 1",
            "a{x=1} 1",
            "a{x=\"1\" 1",
            "a 1 2 3",
            "<html>",
        ] {
            assert_eq!(names(wrong).unwrap_err().0, 1, "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let all: String = REQUIRED.map(|name| format!("{name} 0\n")).concat();
        assert!(judge(&all).is_ok());
        let fault = judge(&all.replace("farm_slots ", "farm_slot ")).unwrap_err();
        assert!(format!("{fault:?}").contains("missing: farm_slots\""));
    }
}
