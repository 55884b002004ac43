use std::{fmt, str::FromStr, time::SystemTime};

use jiff::{Timestamp, ToSpan, civil::Weekday, tz::TimeZone};

/// How long a budget lasts. Periods are those of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January.
    Year,
    /// For ever.
    Total,
}

/// One run of a period, named by the second of the Unix epoch in which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(pub i64);

impl Period {
    /// The window that `now` lies in, and the moment in which the next one begins.
    pub fn window(self, now: SystemTime) -> (Window, Option<SystemTime>) {
        let today = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC).date();
        let (start, span) = match self {
            Self::Day => (today, 1.day()),
            Self::Week => (
                today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).unwrap_or(today),
                1.week(),
            ),
            Self::Month => (today.first_of_month(), 1.month()),
            Self::Year => (today.first_of_year(), 1.year()),
            Self::Total => return (Window(0), None),
        };
        let second =
            |date: jiff::civil::Date| date.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp());
        let window = Window(second(start).map_or(0, Timestamp::as_second));
        let next = start.checked_add(span).and_then(second).ok().map(SystemTime::from);
        (window, next)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Total => "total",
        })
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            "year" => Ok(Self::Year),
            "total" => Ok(Self::Total),
            _ => Err("a period is one of day, week, month, year, total"),
        }
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

        assert_eq!(
            window(Period::Day, now),
            ("2026-11-21T00:00:00Z".into(), Some("2026-11-22T00:00:00Z".into()))
        );
        assert_eq!(
            window(Period::Week, now),
            ("2026-11-16T00:00:00Z".into(), Some("2026-11-23T00:00:00Z".into()))
        );
        assert_eq!(
            window(Period::Month, now),
            ("2026-11-01T00:00:00Z".into(), Some("2026-12-01T00:00:00Z".into()))
        );
        assert_eq!(
            window(Period::Year, now),
            ("2026-01-01T00:00:00Z".into(), Some("2027-01-01T00:00:00Z".into()))
        );
        assert_eq!(window(Period::Total, now), ("1970-01-01T00:00:00Z".into(), None));
    }
}
