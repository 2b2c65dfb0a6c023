//! Medians: what a noisy machine leaves of a figure.

/// Median and range of what the runs of one side came to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = match values.len() % 2 {
            0 => *values.get(middle.checked_sub(1)?)?,
            _ => upper,
        };
        Some(Self {
            median: (lower + upper) / 2.0,
            least: first,
            most: last,
        })
    }
}

/// A number as a person writes it: three digits or more, thousands apart.
pub(crate) fn written(number: f64) -> String {
    let magnitude = number.abs();
    let decimals = match magnitude {
        m if m >= 100.0 || m == 0.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{number:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        "" => grouped,
        fraction => format!("{grouped}.{fraction}"),
    }
}

/// Median and range in one cell: `41,200 (38,100–43,000)`.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> String {
    match Spread::of(values) {
        None => "–".to_owned(),
        Some(s) if s.least == s.most => written(s.median),
        Some(s) => format!(
            "{} ({}–{})",
            written(s.median),
            written(s.least),
            written(s.most)
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).unwrap().median, 2.0);
        let even = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((even.median, even.least, even.most), (2.5, 1.0, 4.0));
    }

    #[test]
    fn numbers_are_written_with_thousands_apart() {
        for (number, text) in [
            (1_234_567.0, "1,234,567"),
            (123.4, "123"),
            (-1234.0, "-1,234"),
            (12.34, "12.3"),
            (0.5, "0.500"),
            (0.0, "0"),
        ] {
            assert_eq!(written(number), text);
        }
    }
}
