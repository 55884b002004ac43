use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, ToSpan, Zoned, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// How long a quota lasts.
///
/// What is used in a second, a minute or an hour is given back evenly while it passes, so that there
/// is no edge at which twice as much could be had. From a day on periods are those of the calendar, in
/// UTC. A rolling period looks back from now, in steps of a sixtieth of it: what was used counts until
/// the last of its step is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Period {
    /// A second, given back evenly.
    Second,
    /// A minute, given back evenly.
    Minute,
    /// An hour, given back evenly.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January, April, July or October.
    Quarter,
    /// From the first of January.
    Year,
    /// So many seconds up to now, at least 60.
    Rolling(u32),
    /// For ever.
    Total,
}

/// One run of a period, named by the second of the Unix epoch in which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Window(pub i64);

/// How an account of a period keeps what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One sum until the next window.
    Calendar,
    /// Given back evenly, all of it in this time.
    Bucket(Duration),
    /// A sum for each step of this many seconds; so many steps count besides the current one.
    Rolling { step: i64, steps: i64 },
}

impl Period {
    /// As it stands behind an amount: ` per month`.
    pub(crate) fn in_words(self) -> String {
        match self {
            Self::Total => " in total".into(),
            Self::Rolling(_) => format!(" in {self}"),
            period => format!(" per {period}"),
        }
    }

    /// Whether it is so short that what is used in it is given back while it passes.
    pub(crate) fn is_given_back(self) -> bool {
        matches!(self.shape(), Shape::Bucket(_))
    }

    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Second => Shape::Bucket(Duration::from_secs(1)),
            Self::Minute => Shape::Bucket(Duration::from_secs(60)),
            Self::Hour => Shape::Bucket(Duration::from_secs(3_600)),
            Self::Rolling(seconds) => {
                let step = i64::from(seconds / 60).max(1);
                Shape::Rolling { step, steps: (i64::from(seconds) + step - 1) / step }
            }
            Self::Day | Self::Week | Self::Month | Self::Quarter | Self::Year | Self::Total => {
                Shape::Calendar
            }
        }
    }

    /// The window of the calendar that `now` lies in, and the moment in which the next one begins.
    /// Periods that are not of the calendar have one window, which has no end.
    pub fn window(self, now: SystemTime) -> (Window, Option<SystemTime>) {
        let today = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC).date();
        let (start, span) = match self {
            Self::Day => (today, 1.day()),
            Self::Week => (
                today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).unwrap_or(today),
                1.week(),
            ),
            Self::Month => (today.first_of_month(), 1.month()),
            Self::Quarter => {
                let past = i64::from((today.month() - 1) % 3).months();
                (today.first_of_month().checked_sub(past).unwrap_or(today), 3.months())
            }
            Self::Year => (today.first_of_year(), 1.year()),
            _ => return (Window(0), None),
        };
        let second = |date: jiff::civil::Date| date.to_zoned(TimeZone::UTC).map(|at: Zoned| at.timestamp());
        let window = Window(second(start).map_or(0, Timestamp::as_second));
        let next = start.checked_add(span).and_then(second).ok().map(SystemTime::from);
        (window, next)
    }
}

const NAMED: [(Period, &str); 9] = [
    (Period::Second, "second"),
    (Period::Minute, "minute"),
    (Period::Hour, "hour"),
    (Period::Day, "day"),
    (Period::Week, "week"),
    (Period::Month, "month"),
    (Period::Quarter, "quarter"),
    (Period::Year, "year"),
    (Period::Total, "total"),
];

/// The units in which a rolling period is written.
const UNITS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// As it is written in a configuration: `month`, `30d`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Rolling(seconds) = self {
            let of = |(_, unit): &&(&str, u32)| seconds % unit == 0;
            let (name, unit) = UNITS.iter().find(of).unwrap_or(&("s", 1));
            return write!(f, "{}{name}", seconds / unit);
        }
        let name = NAMED.iter().find(|(period, _)| period == self).map_or("total", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a period is one of second, minute, hour, day, week, month, quarter, year, total, \
                            or a time such as 24h or 30d that looks back from now, at least a minute";
        if let Some((period, _)) = NAMED.iter().find(|(_, name)| *name == text) {
            return Ok(*period);
        }
        let rolling = UNITS.iter().find_map(|(name, unit)| {
            let number: u32 = text.strip_suffix(name)?.parse().ok()?;
            number.checked_mul(*unit)
        });
        rolling.filter(|seconds| *seconds >= 60).map(Self::Rolling).ok_or(FORM)
    }
}

impl TryFrom<String> for Period {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(period: Period, now: &str) -> (String, Option<String>) {
        let now: Timestamp = now.parse().unwrap();
        let (start, next) = period.window(now.into());
        let text = |at: SystemTime| Timestamp::try_from(at).unwrap().to_string();
        (Timestamp::from_second(start.0).unwrap().to_string(), next.map(text))
    }

    #[test]
    fn windows_are_those_of_the_calendar() {
        let now = "2026-11-21T15:30:00Z";
        for (period, from, to) in [
            (Period::Day, "2026-11-21", "2026-11-22"),
            (Period::Week, "2026-11-16", "2026-11-23"),
            (Period::Month, "2026-11-01", "2026-12-01"),
            (Period::Quarter, "2026-10-01", "2027-01-01"),
            (Period::Year, "2026-01-01", "2027-01-01"),
        ] {
            assert_eq!(
                window(period, now),
                (format!("{from}T00:00:00Z"), Some(format!("{to}T00:00:00Z"))),
                "{period}"
            );
        }
        assert_eq!(window(Period::Total, now), ("1970-01-01T00:00:00Z".into(), None));
    }

    #[test]
    fn a_period_is_read_as_it_is_written() {
        for (period, _) in NAMED {
            assert_eq!(period.to_string().parse(), Ok(period));
        }
        for text in ["30d", "24h", "90m", "61s", "36h"] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.to_string().parse(), Ok(period), "{text}");
        }
        assert_eq!("24h".parse::<Period>().map(|period| period.to_string()), Ok("1d".into()));
        for wrong in ["", "d", "59s", "-1d", "1.5h", "99999999999d", "fortnight"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rolling_period_never_looks_back_less_far_than_it_says() {
        for seconds in [60, 61, 119, 3_600, 3_661, 86_400] {
            let Shape::Rolling { step, steps } = Period::Rolling(seconds).shape() else { panic!() };
            assert!(step * steps >= i64::from(seconds), "{seconds}");
            assert!(steps <= 120, "{seconds}");
        }
    }
}
