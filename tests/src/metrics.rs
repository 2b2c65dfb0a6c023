//! Reads the OpenMetrics text that Prometheus scrapes.

use std::collections::BTreeMap;

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Panics
    /// If the text is not OpenMetrics: a line that is no sample, or no `# EOF` at its end.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "no end mark: {text}");
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line:?}")))
            .collect();
        Self { samples }
    }

    /// Names of all samples.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|sample| sample.name.as_str())
    }

    /// The sum of all samples of `name` that carry `labels`; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        self.samples
            .iter()
            .filter(carries)
            .map(|sample| sample.value)
            .reduce(|sum, value| sum + value)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

/// Reads `key="value",…`; the farm's values hold no quotation marks.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    text.split(',')
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (key, value) = label.split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_select_what_is_added_up() {
        let metrics = Metrics::parse(
            "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\nb 5\n# EOF\n",
        );
        assert_eq!(metrics.sum("a_total", &[("x", "1")]), Some(7.0));
        assert_eq!(metrics.sum("a_total", &[("y", "3")]), Some(4.0));
        assert_eq!(metrics.sum("a_total", &[("y", "9")]), None);
        assert_eq!(metrics.sum("b", &[]), Some(5.0));
    }
}
