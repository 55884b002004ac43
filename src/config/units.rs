use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    net::SocketAddr,
    num::NonZeroU16,
    ops::Deref,
    str::FromStr,
    time::{Duration, SystemTime},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use crate::{
    ledger::{Period, Zone},
    price::NanoUsd,
    scaled::{DURATIONS, duration, scaled},
};

/// A value that is written as text in a form of its own, such as `200ms`; it dereferences to the
/// value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Written<T>(T);

impl<T> Written<T> {
    /// The same value, to be written as text.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Written<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// How a value is written in the configuration.
pub trait Unit: Sized {
    /// Names the form in the schema.
    const NAME: &'static str;
    /// Completes "expected …".
    const FORM: &'static str;

    /// Reads the text.
    fn read(text: &str) -> Option<Self>;

    /// Writes the text that [`read`](Self::read) takes.
    fn write(&self) -> String;

    /// The JSON types that the form can be written in.
    fn json_types() -> &'static [&'static str] {
        &["string"]
    }
}

impl<'de, T: Unit> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text even where a number stands: a float would not be what was written.
        deserializer.deserialize_str(ReadUnit(PhantomData))
    }
}

struct ReadUnit<T>(PhantomData<T>);

impl<T: Unit> Visitor<'_> for ReadUnit<T> {
    type Value = Written<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        // `invalid_value` would be reported at the field, which may be lines away from the value.
        T::read(text.trim()).map(Written).ok_or_else(|| E::custom(format_args!("expected {}", T::FORM)))
    }
}

impl<T: Unit> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl<T: Unit> JsonSchema for Written<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": T::json_types(), "description": T::FORM })
    }
}

/// A number of bytes, written `10MB` or `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The number of bytes, or the largest that fits.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The shortest and the longest pause between two attempts, written `200ms..5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// No pause is longer.
    pub most: Duration,
}

const SIZES: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Writes a number with the largest of `units` that divides it.
fn unscaled(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |factor: u64| value == 0 || value.is_multiple_of(factor);
    let (unit, factor) = units
        .iter()
        .filter(|(_, factor)| fits(*factor))
        .max_by_key(|(_, factor)| *factor)
        .unwrap_or(&units[0]);
    format!("{}{unit}", value / factor)
}

impl Unit for Duration {
    const NAME: &'static str = "Duration";
    const FORM: &'static str = "a duration such as 200ms, 5s, 10m, 1h or 1d";

    fn read(text: &str) -> Option<Self> {
        duration(text)
    }

    fn write(&self) -> String {
        unscaled(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
    }
}

impl Unit for Size {
    const NAME: &'static str = "Size";
    const FORM: &'static str = "a size such as 10MB or 64KiB; units are B, KB, MB, GB, KiB, MiB, GiB";

    fn read(text: &str) -> Option<Self> {
        scaled(text, &SIZES).map(Self)
    }

    fn write(&self) -> String {
        unscaled(self.0, &SIZES)
    }
}

impl Unit for Backoff {
    const NAME: &'static str = "Backoff";
    const FORM: &'static str = "two durations such as 200ms..5s";

    fn read(text: &str) -> Option<Self> {
        let (first, most) = text.split_once("..")?;
        Some(Self { first: Duration::read(first.trim())?, most: Duration::read(most.trim())? })
    }

    fn write(&self) -> String {
        format!("{}..{}", self.first.write(), self.most.write())
    }
}

impl Unit for NanoUsd {
    const NAME: &'static str = "Dollars";
    const FORM: &'static str = "an amount of dollars such as 12.50, with at most nine decimals";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json_types() -> &'static [&'static str] {
        &["number", "string"]
    }
}

impl Unit for Zone {
    const NAME: &'static str = "Zone";
    const FORM: &'static str = "a time zone such as Europe/Berlin";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Unit for Period {
    const NAME: &'static str = "Period";
    const FORM: &'static str = "one of second, minute, hour, day, week, month, quarter, year, total, or a time that looks back, such as 30d";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Unit for SocketAddr {
    const NAME: &'static str = "Address";
    const FORM: &'static str = "an address and a port such as 127.0.0.1:8080 or [::]:8080";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Unit for SystemTime {
    const NAME: &'static str = "Time";
    const FORM: &'static str = "a time such as 2027-01-31T00:00:00Z (RFC 3339)";

    fn read(text: &str) -> Option<Self> {
        jiff::Timestamp::from_str(text).ok().map(Self::from)
    }

    fn write(&self) -> String {
        jiff::Timestamp::try_from(*self).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }
}

/// A failure that is worth another attempt: a status of the provider, or no connection, or no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryOn {
    /// The provider answered with this status.
    Status(NonZeroU16),
    /// There was no connection, or it broke before there was an answer.
    Connect,
    /// A deadline passed before there was an answer.
    Timeout,
}

impl Unit for RetryOn {
    const NAME: &'static str = "RetryOn";
    const FORM: &'static str = "a status such as 429, or connect, or timeout";

    fn read(text: &str) -> Option<Self> {
        match text {
            "connect" => Some(Self::Connect),
            "timeout" => Some(Self::Timeout),
            status => {
                status.parse().ok().filter(|s: &NonZeroU16| (400..600).contains(&s.get())).map(Self::Status)
            }
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Connect => "connect".to_owned(),
            Self::Timeout => "timeout".to_owned(),
        }
    }

    fn json_types() -> &'static [&'static str] {
        &["integer", "string"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_ranges_are_read_exactly_or_not_at_all() {
        assert_eq!(Duration::read("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(Duration::read("10m"), Some(Duration::from_secs(600)));
        assert_eq!(Size::read("10MB"), Some(Size(10_000_000)));
        assert_eq!(Size::read("64KiB"), Some(Size(65_536)));
        let backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) };
        assert_eq!(Backoff::read("200ms..5s"), Some(backoff));
        for wrong in ["", "5", "s", "-5s", "1.5s", "5 sec", "99999999999999999999s"] {
            assert_eq!(Duration::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["200ms", "90s", "10m", "1h", "0s"] {
            let duration = Duration::read(text).unwrap();
            assert_eq!(Duration::read(&duration.write()), Some(duration));
        }
        assert_eq!(Size(256_000_000).write(), "256MB");
        assert_eq!(Size(65_536).write(), "64KiB");
        assert_eq!(Duration::from_secs(600).write(), "10m");
    }

    #[test]
    fn only_failures_can_be_tried_again() {
        assert_eq!(RetryOn::read("429").map(|on| on.write()).as_deref(), Some("429"));
        assert_eq!(RetryOn::read("connect"), Some(RetryOn::Connect));
        assert_eq!(RetryOn::read("200"), None);
        assert_eq!(RetryOn::read("conect"), None);
    }
}
