use std::{fmt, iter::Sum, ops::Add, str::FromStr};

use serde::{Serialize, Serializer};

const NANOS: u64 = 1_000_000_000;

/// Money in billionths of a dollar; written and read as dollars, `0.0045`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Whole dollars.
    pub const fn from_usd(dollars: u64) -> Self {
        Self(dollars.saturating_mul(NANOS))
    }

    /// In dollars, to be shown: sums are made of whole nano-dollars.
    pub const fn as_usd(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }

    /// The sum, or the largest amount there is.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl NanoUsd {
    /// The amount in a JSON number of dollars with so many decimals left out, rounded up to the
    /// nano-dollar; `None` for what is no amount.
    pub(super) fn at_least(text: &str, decimals: u32) -> Option<Self> {
        let (value, shift) = decimal(text).ok()?;
        let shift = shift.checked_sub(decimals.try_into().ok()?)?;
        let power = 10u128.checked_pow(shift.unsigned_abs())?;
        let nanos = if shift >= 0 { value.checked_mul(power)? } else { value.div_ceil(power) };
        u64::try_from(nanos).ok().map(Self)
    }
}

/// A number and the power of ten by which it is one of nano-dollars.
fn decimal(text: &str) -> Result<(u128, i32), NotAnAmount> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().map_err(|_| NotAnAmount)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || digits.len() > 30 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotAnAmount);
    }
    let value = digits.parse().map_err(|_| NotAnAmount)?;
    let fraction = i32::try_from(fraction.len()).map_err(|_| NotAnAmount)?;
    Ok((value, 9 + i32::from(exponent) - fraction))
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self(0), Self::saturating_add)
    }
}

/// So many digits, and the point, has the largest amount.
const LONGEST: usize = 21;

impl NanoUsd {
    /// As it is written, at the end of `buffer`. Each record has many amounts, and formatting is slow.
    fn text(self, buffer: &mut [u8; LONGEST]) -> &str {
        let (mut dollars, mut nanos, mut digits) = (self.0 / NANOS, self.0 % NANOS, 9);
        while digits > 0 && nanos % 10 == 0 {
            (nanos, digits) = (nanos / 10, digits - 1);
        }
        let mut start = LONGEST;
        let mut put = |byte: u8| {
            start -= 1;
            buffer[start] = byte;
        };
        for _ in 0..digits {
            put(b'0' + (nanos % 10) as u8);
            nanos /= 10;
        }
        if digits > 0 {
            put(b'.');
        }
        loop {
            put(b'0' + (dollars % 10) as u8);
            dollars /= 10;
            if dollars == 0 {
                break;
            }
        }
        str::from_utf8(&buffer[start..]).unwrap_or_default()
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; LONGEST]))
    }
}

/// As a decimal string in dollars, because a JSON number would be read as a float.
impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; LONGEST]))
    }
}

/// A text that is not an amount of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAmount;

impl fmt::Display for NotAnAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an amount of dollars such as 12.50, with at most nine decimals")
    }
}

impl std::error::Error for NotAnAmount {}

/// Reads plain decimals and the exponent form that floats are printed in (`1.5e-7`), exactly.
impl FromStr for NanoUsd {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (value, shift) = decimal(text)?;
        let power = 10u128.checked_pow(shift.unsigned_abs()).ok_or(NotAnAmount)?;
        let nanos = if shift >= 0 {
            value.checked_mul(power).ok_or(NotAnAmount)?
        } else if value.is_multiple_of(power) {
            value / power
        } else {
            return Err(NotAnAmount);
        };
        u64::try_from(nanos).map(Self).map_err(|_| NotAnAmount)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        let read = |text: &str| text.parse::<NanoUsd>().map(|amount| amount.0);

        assert_eq!(read("200"), Ok(200 * NANOS));
        assert_eq!(read("0.15"), Ok(150_000_000));
        assert_eq!(read("1.5e-7"), Ok(150));
        assert_eq!(read("2e3"), Ok(2_000 * NANOS));
        for wrong in ["", ".5", "-1", "1,5", "0.0000000001", "99999999999999", "1e-99", "NaN"] {
            assert_eq!(read(wrong), Err(NotAnAmount), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_written_without_needless_zeros() {
        assert_eq!(NanoUsd(4_500_000).to_string(), "0.0045");
        assert_eq!(NanoUsd::from_usd(12).to_string(), "12");
        assert_eq!(NanoUsd(1).to_string(), "0.000000001");
        assert_eq!(NanoUsd(0).to_string(), "0");
        assert_eq!(NanoUsd(u64::MAX).to_string(), "18446744073.709551615");
        assert_eq!(serde_json::to_string(&NanoUsd(u64::MAX)).unwrap(), r#""18446744073.709551615""#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanos: u64, power in 0..20_u32) {
            let amount = NanoUsd(nanos / 10_u64.pow(power) * 10_u64.pow(power));

            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}
