use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, ToSpan, Zoned, civil::Weekday, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::Zone;

/// How long a quota lasts.
///
/// What is used in a second, a minute or an hour is given back evenly while it passes, so that there
/// is no edge at which twice as much could be had. From a day on periods are those of the calendar, in
/// UTC if nothing else is said: a day in a zone where clocks are changed may have 23 or 25 hours. A rolling period looks back from now, in steps of a sixtieth of it: what was used counts until
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
    /// One of the calendar, in another time zone than UTC or said to be in that.
    In(Calendar, Zone),
    /// So many seconds up to now, at least 60.
    Rolling(u32),
    /// For ever.
    Total,
}

/// The periods that begin with a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Calendar {
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
            Self::Day
            | Self::Week
            | Self::Month
            | Self::Quarter
            | Self::Year
            | Self::Total
            | Self::In(..) => Shape::Calendar,
        }
    }

    fn calendar(self) -> Option<Calendar> {
        Some(match self {
            Self::Day => Calendar::Day,
            Self::Week => Calendar::Week,
            Self::Month => Calendar::Month,
            Self::Quarter => Calendar::Quarter,
            Self::Year => Calendar::Year,
            Self::In(calendar, _) => calendar,
            _ => return None,
        })
    }

    /// The same in `zone`, if it is of the calendar and says nothing of a zone itself.
    ///
    /// ```
    /// use bartizan::ledger::{Period, Zone};
    ///
    /// let berlin: Zone = "Europe/Berlin".parse()?;
    ///
    /// assert_eq!(Period::Month.in_zone(berlin).to_string(), "month in Europe/Berlin");
    /// assert_eq!(Period::Hour.in_zone(berlin), Period::Hour);
    /// # Ok::<_, &str>(())
    /// ```
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Self {
        match (self, self.calendar()) {
            (Self::In(..), _) | (_, None) => self,
            (_, Some(calendar)) => Self::In(calendar, zone),
        }
    }

    /// The window of the calendar that `now` lies in, and the moment in which the next one begins.
    /// Periods that are not of the calendar have one window, which has no end.
    pub fn window(self, now: SystemTime) -> (Window, Option<SystemTime>) {
        let Some(calendar) = self.calendar() else { return (Window(0), None) };
        let zone = if let Self::In(_, zone) = self { zone.rules() } else { TimeZone::UTC };
        let today = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone()).date();
        let (start, span) = match calendar {
            Calendar::Day => (today, 1.day()),
            Calendar::Week => (
                today.checked_sub(i64::from(today.weekday().since(Weekday::Monday)).days()).unwrap_or(today),
                1.week(),
            ),
            Calendar::Month => (today.first_of_month(), 1.month()),
            Calendar::Quarter => {
                let past = i64::from((today.month() - 1) % 3).months();
                (today.first_of_month().checked_sub(past).unwrap_or(today), 3.months())
            }
            Calendar::Year => (today.first_of_year(), 1.year()),
        };
        let second = |date: jiff::civil::Date| date.to_zoned(zone.clone()).map(|at: Zoned| at.timestamp());
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

const CALENDARS: [(Calendar, &str); 5] = [
    (Calendar::Day, "day"),
    (Calendar::Week, "week"),
    (Calendar::Month, "month"),
    (Calendar::Quarter, "quarter"),
    (Calendar::Year, "year"),
];

/// As it is written in a configuration: `month`, `month in Europe/Berlin`, `30d`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Rolling(seconds) = self {
            let of = |(_, unit): &&(&str, u32)| seconds % unit == 0;
            let (name, unit) = UNITS.iter().find(of).unwrap_or(&("s", 1));
            return write!(f, "{}{name}", seconds / unit);
        }
        if let Self::In(calendar, zone) = self {
            let name = CALENDARS.iter().find(|(one, _)| one == calendar).map_or("", |(_, name)| name);
            return write!(f, "{name} in {zone}");
        }
        let name = NAMED.iter().find(|(period, _)| period == self).map_or("total", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a period is one of second, minute, hour, day, week, month, quarter, year, total, \
                            a day or longer in a time zone such as `month in Europe/Berlin`, or a time such as 24h or 30d that looks back from now, at least a minute";
        if let Some((period, _)) = NAMED.iter().find(|(_, name)| *name == text) {
            return Ok(*period);
        }
        if let Some((name, zone)) = text.split_once(" in ") {
            let calendar = CALENDARS.iter().find(|(_, known)| *known == name).map(|(calendar, _)| *calendar);
            return calendar.map_or(Err(FORM), |calendar| Ok(Self::In(calendar, zone.parse()?)));
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
    fn windows_in_a_zone_begin_with_its_days() {
        let berlin = |period: &str| format!("{period} in Europe/Berlin").parse::<Period>().unwrap();
        for (period, now, from, to) in [
            ("day", "2026-11-21T23:30:00Z", "2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"),
            ("week", "2026-11-22T22:59:59Z", "2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"),
            ("month", "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
            ("quarter", "2026-11-21T12:00:00Z", "2026-09-30T22:00:00Z", "2026-12-31T23:00:00Z"),
            ("year", "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z", "2027-12-31T23:00:00Z"),
        ] {
            assert_eq!(window(berlin(period), now), (from.to_owned(), Some(to.to_owned())), "{period}");
        }
    }

    #[test]
    fn days_on_which_clocks_are_changed_are_shorter_or_longer() {
        for (zone, noon, hours) in [
            ("Europe/Berlin", "2026-03-29T12:00:00Z", 23),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", 25),
            ("America/New_York", "2026-03-08T17:00:00Z", 23),
            ("America/New_York", "2026-11-01T17:00:00Z", 25),
            // There the clock is changed at midnight, and the day begins at one.
            ("Asia/Beirut", "2026-03-29T12:00:00Z", 23),
            ("Asia/Kolkata", "2026-03-29T12:00:00Z", 24),
        ] {
            let day: Period = format!("day in {zone}").parse().unwrap();
            let noon: SystemTime = noon.parse::<Timestamp>().unwrap().into();

            let (Window(began), next) = day.window(noon);
            let next = next.unwrap();
            let (Window(following), _) = day.window(next);

            let ends = next.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            assert_eq!((ends as i64 - began) / 3_600, hours, "{zone}");
            // No moment is between two days, or in both.
            assert_eq!(following, ends as i64, "{zone}");
            assert_eq!(day.window(next - Duration::from_secs(1)).0, Window(began), "{zone}");
        }
    }

    #[test]
    fn a_zone_stands_with_the_period() {
        let month: Period = "month in Europe/Berlin".parse().unwrap();

        assert_eq!(month, Period::Month.in_zone("Europe/Berlin".parse().unwrap()));
        assert_eq!(month.to_string().parse(), Ok(month));
        assert_ne!("day in UTC".parse(), Ok(Period::Day));
        assert_eq!(month.in_zone("UTC".parse().unwrap()), month);
        for wrong in ["month in Nowhere", "hour in Europe/Berlin", "24h in Europe/Berlin", "total in UTC"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
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
