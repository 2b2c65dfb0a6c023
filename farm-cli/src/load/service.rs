//! How long tasks take, as people write it.

use std::collections::BTreeMap;

use farm_sim::random::Duration;

/// Reads `gamma:mean=1.5,shape=4`, `exponential:mean=1.5` or `constant:seconds=0.1`.
///
/// # Errors
/// What is no distribution of service times, and how to write one.
pub fn parse_service(text: &str) -> Result<Duration, String> {
    let unreadable = || {
        "write it like gamma:mean=1.5,shape=4 or exponential:mean=1.5 or constant:seconds=0.1 (seconds)".to_owned()
    };
    let (kind, parameters) = text.split_once(':').ok_or_else(unreadable)?;
    let mut numbers = BTreeMap::new();
    for parameter in parameters.split(',') {
        let (name, value) = parameter.split_once('=').ok_or_else(unreadable)?;
        let value: f64 = value.trim().parse().map_err(|_| unreadable())?;
        numbers.insert(name.trim(), value);
    }
    let numbers: Vec<_> = numbers.into_iter().collect();
    match (kind, numbers.as_slice()) {
        ("constant", [("seconds", seconds)]) => checked(Duration::Constant(*seconds)),
        ("exponential", [("mean", mean)]) => checked(gamma(*mean, 1.0)),
        ("gamma", [("mean", mean), ("shape", shape)]) => checked(gamma(*mean, *shape)),
        _ => Err(unreadable()),
    }
}

/// Reads a constant service time in seconds.
///
/// # Errors
/// What is no number of seconds.
pub fn parse_service_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse();
    let seconds = seconds.map_err(|_| "use a number of seconds".to_owned())?;
    checked(Duration::Constant(seconds))
}

/// Clipped to what a sleeper takes.
fn gamma(mean: f64, shape: f64) -> Duration {
    const LONGEST_SECONDS: f64 = 86_400.0;
    Duration::Gamma {
        mean,
        shape,
        clip: Some((0.0, LONGEST_SECONDS)),
    }
}

fn checked(service: Duration) -> Result<Duration, String> {
    service.check().map(|()| service)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_distribution_is_the_one_written() {
        for (text, service) in [
            ("constant:seconds=0.1", Duration::Constant(0.1)),
            ("exponential:mean=2", gamma(2.0, 1.0)),
            ("gamma:shape=4, mean=1.5", gamma(1.5, 4.0)),
        ] {
            assert_eq!(parse_service(text).unwrap(), service, "{text}");
        }
        assert_eq!(
            parse_service_seconds("0.1"),
            parse_service("constant:seconds=0.1")
        );
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for bad in [
            "",
            "gamma",
            "gamma:mean=1.5",
            "gamma:mean=-1,shape=4",
            "gamma:mean=1,shape=0",
            "exponential:mean=0",
            "exponential:mean=x",
            "constant:seconds=-1",
            "normal:mean=1",
        ] {
            assert!(parse_service(bad).is_err(), "{bad:?}");
        }
        assert!(parse_service_seconds("100000").is_err());
    }
}
