use super::Level;

/// Of how long a time a sum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::logs) enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub(in crate::logs) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// In tables.
    pub(in crate::logs) fn number(self) -> i16 {
        self as i16
    }

    pub(in crate::logs) const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// For how many days its sums are kept.
    pub(in crate::logs) const fn days(self) -> u64 {
        match self {
            Self::Minute => 8,
            Self::Hour => 93,
            Self::Day => 400,
        }
    }

    /// The second before which its sums are forgotten: a day later than they are no longer read.
    pub(in crate::logs) fn forgotten(self, now: u64) -> u64 {
        now.saturating_sub((self.days() + 1) * Self::Day.seconds())
    }

    /// The beginning of the step in which a second is.
    pub(in crate::logs) fn floor(self, second: u64) -> u64 {
        second - second % self.seconds()
    }

    /// The beginning of the next step, or the second if one begins with it.
    pub(in crate::logs) fn ceil(self, second: u64) -> u64 {
        second.next_multiple_of(self.seconds())
    }

    /// The steps of which there are sums of a level.
    pub(in crate::logs) fn of(level: Level) -> &'static [Self] {
        match level {
            // Users are many.
            Level::User => &Self::ALL[1..],
            _ => &Self::ALL,
        }
    }
}
