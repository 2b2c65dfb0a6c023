//! From escape times to 256 colours.

/// The palette index of points inside the set.
pub const INSIDE: u8 = 0;

/// Colours that outside points run through, again and again: position from 0 to 1, and RGB.
const STOPS: [(f64, [u8; 3]); 8] = [
    (0.00, [0, 7, 60]),
    (0.16, [12, 60, 160]),
    (0.35, [80, 170, 225]),
    (0.50, [240, 250, 245]),
    (0.64, [255, 190, 50]),
    (0.80, [180, 60, 20]),
    (0.92, [60, 10, 50]),
    (1.00, [0, 7, 60]),
];

/// Turns of the palette for every factor e in the escape time: escape times near the set differ
/// by factors, so that equal ratios get equal steps of colour.
const TURNS_PER_E_FOLD: f64 = 0.2;

/// Position on the palette of one escape time, in turns.
pub fn turns(escape_time: f64) -> f64 {
    escape_time.max(1.0).ln() * TURNS_PER_E_FOLD
}

/// The palette index, never [`INSIDE`], of a position in turns.
pub fn index(turns: f64) -> u8 {
    1 + (turns.rem_euclid(1.0) * 255.0).min(254.0) as u8
}

/// The palette as RGB bytes, for a PNG.
pub fn rgb() -> Vec<u8> {
    let outside = (0..255).map(|position| colour(f64::from(position) / 255.0));
    std::iter::once([0, 0, 8])
        .chain(outside)
        .flatten()
        .collect()
}

/// The colour between the two stops around `position`, eased at both ends.
fn colour(position: f64) -> [u8; 3] {
    let pair = STOPS
        .windows(2)
        .find(|pair| position <= pair[1].0)
        .unwrap_or(&STOPS[..2]);
    let (from, to) = (pair[0], pair[1]);
    let way = (position - from.0) / (to.0 - from.0);
    let eased = way * way * (3.0 - 2.0 * way);
    std::array::from_fn(|channel| {
        let (from, to) = (f64::from(from.1[channel]), f64::from(to.1[channel]));
        (from + (to - from) * eased).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_256_colours_without_a_jump() {
        let rgb = rgb();
        assert_eq!(rgb.len(), 3 * 256);
        let outside: Vec<&[u8]> = rgb[3..].chunks(3).collect();
        for (one, next) in outside.iter().zip(outside.iter().cycle().skip(1)) {
            let widest = (0..3)
                .map(|channel| one[channel].abs_diff(next[channel]))
                .max();
            assert!(widest < Some(16), "{one:?} to {next:?}");
        }
    }

    #[test]
    fn no_outside_point_takes_the_colour_of_the_inside() {
        for turns in [-3.7, -1e-18, 0.0, 0.999_999_999_999_999_9, 1e9, f64::NAN] {
            assert_ne!(index(turns), INSIDE, "{turns}");
        }
        assert_eq!(index(0.25), index(7.25));
    }
}
