use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use crate::ledger::{Measure, Period, Quota};

/// So many requests in so much time, written `600/minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In what time.
    pub per: Duration,
}

impl Rate {
    /// The same as a quota of a [ledger](crate::ledger).
    pub fn quota(&self) -> Quota {
        let period = match self.per.as_secs() {
            0 | 1 => Period::Second,
            60 => Period::Minute,
            3_600 => Period::Hour,
            seconds => Period::Rolling(u32::try_from(seconds).unwrap_or(u32::MAX)),
        };
        Quota::new(Measure::Requests, self.requests.get().into(), period)
    }
}

const UNITS: [(&str, u64); 4] = [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400)];

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "a rate is a number and a unit, such as 600/minute; units are second, minute, hour, day";
        let (requests, unit) = text.split_once('/').ok_or(FORM)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or(FORM)?;
        let requests = requests.trim().parse().map_err(|_| FORM)?;
        Ok(Self { requests, per: Duration::from_secs(*seconds) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.per) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.requests),
            None => write!(f, "{} in {:?}", self.requests, self.per),
        }
    }
}
