//! Quantities as people write them in configuration: always with a unit.

use std::time::Duration;

/// A quantity that cannot be read, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: write it like {example}")]
pub struct InvalidQuantity {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// Reads a duration with its unit, such as `250ms`, `30s`, `1m 30s` or `24h`.
///
/// # Errors
/// A bare number, an unknown unit or trailing text.
///
/// ```
/// use farm_core::quantity::parse_duration;
/// use std::time::Duration;
/// assert_eq!(parse_duration("1m 30s")?, Duration::from_secs(90));
/// assert!(parse_duration("30").is_err());
/// # Ok::<(), farm_core::quantity::InvalidQuantity>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let refused = || InvalidQuantity {
        text: text.to_owned(),
        what: "duration",
        example: "250ms, 30s or 24h",
    };
    // "0" has no unit to doubt in humantime's eyes; in ours a unit is always written.
    if text.trim().bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused());
    }
    humantime::parse_duration(text.trim()).map_err(|_| refused())
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads a rate per second, such as `100/s` or `0.5/s`.
///
/// # Errors
/// A bare number, another unit, or a rate that is not above zero.
///
/// ```
/// use farm_core::quantity::parse_rate;
/// assert_eq!(parse_rate("2.5/s")?, 2.5);
/// assert!(parse_rate("100").is_err());
/// assert!(parse_rate("0/s").is_err());
/// # Ok::<(), farm_core::quantity::InvalidQuantity>(())
/// ```
pub fn parse_rate(text: &str) -> Result<f64, InvalidQuantity> {
    text.trim()
        .strip_suffix("/s")
        .and_then(|number| number.trim_end().parse::<f64>().ok())
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| InvalidQuantity {
            text: text.to_owned(),
            what: "rate",
            example: "100/s or 0.5/s",
        })
}

/// Reads a size with its unit, such as `512KiB`, `64MiB`, `1GB` or `100B`.
///
/// # Errors
/// A bare number, an unknown unit, or more than fits 64 bits.
///
/// ```
/// use farm_core::quantity::parse_bytes;
/// assert_eq!(parse_bytes("64MiB")?, 64 << 20);
/// assert_eq!(parse_bytes("1 GB")?, 1_000_000_000);
/// assert!(parse_bytes("64").is_err());
/// # Ok::<(), farm_core::quantity::InvalidQuantity>(())
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, InvalidQuantity> {
    let refused = || InvalidQuantity {
        text: text.to_owned(),
        what: "size",
        example: "512KiB, 64MiB or 1GB",
    };
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| refused())?;
    let unit: u64 = match text[digits..].trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(refused()),
    };
    number.checked_mul(unit).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quantity_without_a_unit_is_refused() {
        for bad in ["", "0", "30", "s", "-1s", "30 parsecs"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "30", "MiB", "-1MB", "1TB", "99999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_being_written(seconds in 0u32.., nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds.into(), nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (parse_duration(&text), parse_bytes(&text));
        }
    }
}
