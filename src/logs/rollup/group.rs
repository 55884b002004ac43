use std::fmt::Write as _;

use super::super::row::{Row, provider};

/// What is told apart by a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::logs) enum Level {
    /// Whose they are and what for: keys, teams, customers, models and targets.
    Full,
    /// Whose they are: keys, teams and customers.
    Who,
    /// What answers: models and targets.
    What,
    /// Only how they came out.
    All,
    /// All of that, of those that have a feature, which is told apart too.
    Feature,
    /// Whose they are, of those that have an end user, who is told apart too.
    User,
}

impl Level {
    /// Those that every record counts for.
    pub(in crate::logs) const OF_ALL: [Self; 4] = [Self::Full, Self::Who, Self::What, Self::All];

    pub(in crate::logs) const ALL: [Self; 6] =
        [Self::Full, Self::Who, Self::What, Self::All, Self::Feature, Self::User];

    /// The most groups of one level. Clients choose models and users as they like; those beyond it are not told apart.
    pub(in crate::logs) const MOST: u64 = 100_000;

    /// In tables.
    pub(in crate::logs) fn number(self) -> i16 {
        self as i16
    }

    /// Those that a record counts for.
    pub(in crate::logs) fn of(row: &Row<'_>) -> impl Iterator<Item = Self> {
        let feature = row.feature().map(|_| Self::Feature);
        let user = row.user().map(|_| Self::User);
        Self::OF_ALL.into_iter().chain(feature).chain(user)
    }
}

/// The numbers of the groups of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::logs) struct Groups {
    /// Of [`Level::OF_ALL`], in that order.
    of_all: [i64; 4],
    /// If the record has a feature.
    feature: Option<i64>,
    /// If the record has an end user.
    user: Option<i64>,
}

impl Groups {
    /// Those of a record, whose numbers `number` knows.
    pub(in crate::logs) fn of<E>(
        row: &Row<'_>,
        mut number: impl FnMut(Level) -> Result<i64, E>,
    ) -> Result<Self, E> {
        let mut of_all = [0; 4];
        for (group, level) in of_all.iter_mut().zip(Level::OF_ALL) {
            *group = number(level)?;
        }
        Ok(Self {
            of_all,
            feature: row.feature().map(|_| number(Level::Feature)).transpose()?,
            user: row.user().map(|_| number(Level::User)).transpose()?,
        })
    }

    /// The one that tells apart most, but for features and users.
    #[cfg(feature = "sqlite")]
    pub(in crate::logs) fn full(self) -> i64 {
        self.of_all[0]
    }

    /// Each group with its level.
    pub(in crate::logs) fn all(self) -> impl Iterator<Item = (Level, i64)> {
        let others = [(Level::Feature, self.feature), (Level::User, self.user)];
        let others = others.into_iter().filter_map(|(level, group)| Some((level, group?)));
        Level::OF_ALL.into_iter().zip(self.of_all).chain(others)
    }
}

/// What a group tells apart.
#[derive(Clone, Copy, Debug)]
pub(in crate::logs) struct Names<'a> {
    pub(in crate::logs) level: Level,
    /// Key, team, customer, user, feature, model, target and provider.
    pub(in crate::logs) who_and_what: [Option<&'a str>; 8],
    pub(in crate::logs) status: Option<u16>,
    pub(in crate::logs) error: Option<&'a str>,
    pub(in crate::logs) finish: Option<&'a str>,
    /// Whether something doesn't work.
    pub(in crate::logs) failed: bool,
}

impl<'a> Names<'a> {
    pub(in crate::logs) fn of(row: &Row<'a>, level: Level) -> Self {
        let who = matches!(level, Level::Full | Level::Who | Level::Feature | Level::User);
        let what = matches!(level, Level::Full | Level::What | Level::Feature);
        let target = row.target.filter(|_| what);
        Self {
            level,
            who_and_what: [
                row.key.filter(|_| who),
                row.team.filter(|_| who),
                row.customer.filter(|_| who),
                row.user().filter(|_| level == Level::User),
                row.feature().filter(|_| level == Level::Feature),
                row.model.filter(|_| what),
                target,
                target.map(provider),
            ],
            status: row.status,
            error: row.error,
            finish: row.finish,
            failed: row.failed,
        }
    }

    /// Of what there is too much to tell it apart: what clients and providers call by names of their own.
    pub(in crate::logs) fn others(self) -> Self {
        Self { who_and_what: [None; 8], finish: None, ..self }
    }

    /// Writes what tells it from all other groups.
    pub(in crate::logs) fn write(&self, text: &mut String) {
        let _ = write!(text, "{} {} {}", self.level.number(), self.status.unwrap_or_default(), self.failed);
        for name in self.who_and_what.iter().chain([&self.error, &self.finish]) {
            // With its length, because clients call models and users as they like.
            let _ = match name {
                Some(name) => write!(text, " {}:{name}", name.len()),
                None => write!(text, " -"),
            };
        }
    }

    /// Writes what tells all groups of a record from those of others.
    #[cfg(feature = "sqlite")]
    pub(in crate::logs) fn write_all(row: &Row<'a>, text: &mut String) {
        // The full one has all that others have which every record counts for.
        let fullest = Level::of(row).filter(|level| *level == Level::Full || !Level::OF_ALL.contains(level));
        fullest.for_each(|level| Self::of(row, level).write(text));
    }
}
