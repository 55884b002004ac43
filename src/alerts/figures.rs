//! Figures as people read them: no more places than tell something.

use crate::{ledger::Measure, price::NanoUsd};

/// Dollars, with cents; of less than one as many places as it takes to see two figures.
pub(super) fn dollars(amount: NanoUsd) -> String {
    rounded(amount.as_usd(), 2)
}

/// An amount without its unit.
pub(super) fn amount(measure: Measure, amount: u64) -> String {
    if measure == Measure::Usd { dollars(NanoUsd(amount)) } else { amount.to_string() }
}

/// The same with its unit.
pub(super) fn shown(measure: Measure, limit: u64) -> String {
    if measure == Measure::Usd {
        format!("{} usd", dollars(NanoUsd(limit)))
    } else {
        measure.show(limit).to_string()
    }
}

/// A number with at most so many places behind the point; one below 1 with as many as show two figures.
pub(super) fn rounded(value: f64, places: usize) -> String {
    let size = value.abs();
    let places = if size >= 1.0 || size == 0.0 {
        places
    } else {
        // Of 0.0012, the first figure is at the third place.
        let first = (-size.log10()).ceil().clamp(1.0, 12.0) as usize;
        places.max(first + 1)
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    (if text == "-0" { "0" } else { text }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_places_as_tell_something() {
        for (value, places, text) in [
            (0.0, 2, "0"),
            (6.0, 2, "6"),
            (8.123_456, 2, "8.12"),
            (1234.5, 2, "1234.5"),
            (0.5, 1, "0.5"),
            (0.333_333, 2, "0.33"),
            (0.001_234_5, 2, "0.0012"),
            (0.000_000_001, 2, "0.000000001"),
            (-0.04, 1, "-0.04"),
            (99.96, 1, "100"),
        ] {
            assert_eq!(rounded(value, places), text);
        }
        assert_eq!(dollars(NanoUsd(333_333_333)), "0.33");
        assert_eq!(
            (shown(Measure::Usd, 12_345_678_901), amount(Measure::Tokens, 7)),
            ("12.35 usd".into(), "7".into())
        );
    }
}
