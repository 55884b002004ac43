use std::{collections::HashMap, fmt::Write as _};

use rusqlite::Transaction;

use super::{
    super::row::{Row, provider},
    database::unsigned,
};

/// The most groups of one level. Clients choose models and users as they like; those beyond it are not told apart.
const MOST: u64 = 100_000;
/// The most that are known at once.
const MOST_KNOWN: usize = 100_000;

/// What is told apart by a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Level {
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
    pub(super) const OF_ALL: [Self; 4] = [Self::Full, Self::Who, Self::What, Self::All];

    pub(super) const ALL: [Self; 6] =
        [Self::Full, Self::Who, Self::What, Self::All, Self::Feature, Self::User];

    pub(super) fn number(self) -> i64 {
        self as i64
    }
}

/// The groups of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Groups {
    /// Of [`Level::OF_ALL`], in that order.
    pub(super) of_all: [i64; 4],
    /// If the record has a feature.
    pub(super) feature: Option<i64>,
    /// If the record has an end user.
    pub(super) user: Option<i64>,
}

impl Groups {
    /// Each group with its level.
    pub(super) fn all(self) -> impl Iterator<Item = (Level, i64)> {
        let others = [(Level::Feature, self.feature), (Level::User, self.user)];
        let others = others.into_iter().filter_map(|(level, group)| Some((level, group?)));
        Level::OF_ALL.into_iter().zip(self.of_all).chain(others)
    }
}

/// The groups that are known, so that none is looked for twice.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By what the groups of each level tell apart.
    ids: HashMap<Box<str>, i64>,
    /// Those of whole records, by what the fullest ones tell apart.
    records: HashMap<Box<str>, Groups>,
    /// How many groups of each level there are in the file, as far as that is known.
    counts: HashMap<Level, u64>,
    text: String,
}

/// What a group tells apart, in the order of the table.
struct Names<'a>([Option<&'a str>; 8], Option<u16>, Option<&'a str>, Option<&'a str>);

impl<'a> Names<'a> {
    fn of(row: &'a Row<'a>, level: Level) -> Self {
        let who = matches!(level, Level::Full | Level::Who | Level::Feature | Level::User);
        let what = matches!(level, Level::Full | Level::What | Level::Feature);
        let target = row.target.filter(|_| what);
        Self(
            [
                row.key.filter(|_| who),
                row.team.filter(|_| who),
                row.customer.filter(|_| who),
                row.user().filter(|_| level == Level::User),
                row.feature().filter(|_| level == Level::Feature),
                row.model.filter(|_| what),
                target,
                target.map(provider),
            ],
            row.status,
            row.error,
            row.finish,
        )
    }

    /// Of what there is too much to tell it apart.
    fn others(self) -> Self {
        Self([None; 8], self.1, self.2, self.3)
    }

    fn write(&self, level: Level, text: &mut String) {
        let _ = write!(text, "{}", level.number());
        for name in self.0.iter().chain([&self.2, &self.3]) {
            // A name that is empty is another one than none.
            text.push_str(if name.is_some() { "\u{1f}=" } else { "\u{1f}" });
            text.push_str(name.unwrap_or_default());
        }
        let _ = write!(text, "\u{1f}{}", self.1.unwrap_or_default());
    }
}

impl Known {
    /// Forgets everything: what was learnt in a transaction that failed is not there.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.records.clear();
        self.counts.clear();
    }

    /// The groups of a record.
    pub(super) fn groups(
        &mut self,
        transaction: &Transaction<'_>,
        row: &Row<'_>,
    ) -> rusqlite::Result<Groups> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        Names::of(row, Level::Full).write(Level::Full, &mut text);
        let feature = row.feature().map(|_| Level::Feature);
        let user = row.user().map(|_| Level::User);
        for level in feature.into_iter().chain(user) {
            Names::of(row, level).write(level, &mut text);
        }
        let groups = match self.records.get(&*text) {
            Some(groups) => *groups,
            None => {
                let mut of_all = [0; 4];
                for (id, level) in of_all.iter_mut().zip(Level::OF_ALL) {
                    *id = self.id(transaction, Names::of(row, level), level)?;
                }
                let mut id = |level| self.id(transaction, Names::of(row, level), level);
                let (feature, user) = (feature.map(&mut id).transpose()?, user.map(&mut id).transpose()?);
                let groups = Groups { of_all, feature, user };
                if self.records.len() >= MOST_KNOWN {
                    self.records.clear();
                }
                self.records.insert(text.as_str().into(), groups);
                groups
            }
        };
        self.text = text;
        Ok(groups)
    }

    fn id(&mut self, transaction: &Transaction<'_>, names: Names<'_>, level: Level) -> rusqlite::Result<i64> {
        let mut text = String::new();
        names.write(level, &mut text);
        if let Some(id) = self.ids.get(&*text) {
            return Ok(*id);
        }
        let id = match find(transaction, &names, level)? {
            Some(id) => id,
            None if self.count(transaction, level)? >= MOST => {
                let others = names.others();
                find(transaction, &others, level)?.map_or_else(|| make(transaction, &others, level), Ok)?
            }
            None => {
                *self.counts.entry(level).or_default() += 1;
                make(transaction, &names, level)?
            }
        };
        if self.ids.len() >= MOST_KNOWN {
            self.ids.clear();
        }
        self.ids.insert(text.into(), id);
        Ok(id)
    }

    fn count(&mut self, transaction: &Transaction<'_>, level: Level) -> rusqlite::Result<u64> {
        if let Some(count) = self.counts.get(&level) {
            return Ok(*count);
        }
        let mut count = transaction.prepare_cached("SELECT count(*) FROM groups WHERE level = ?1")?;
        let count = count.query_row([level.number()], |row| row.get(0).map(unsigned))?;
        self.counts.insert(level, count);
        Ok(count)
    }
}

fn find(transaction: &Transaction<'_>, names: &Names<'_>, level: Level) -> rusqlite::Result<Option<i64>> {
    let mut find = transaction.prepare_cached(
        "SELECT id FROM groups WHERE level = ?1 AND key IS ?2 AND user IS ?5 AND team IS ?3 AND customer IS ?4
         AND feature IS ?6 AND model IS ?7 AND target IS ?8 AND provider IS ?9 AND status IS ?10 AND error IS ?11
         AND finish IS ?12",
    )?;
    let mut rows = find.query(params(names, level))?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

fn make(transaction: &Transaction<'_>, names: &Names<'_>, level: Level) -> rusqlite::Result<i64> {
    let mut make = transaction.prepare_cached(
        "INSERT INTO groups (level, key, team, customer, user, feature, model, target, provider, status, error, finish)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    make.insert(params(names, level))
}

fn params<'a>(Names(names, status, error, finish): &Names<'a>, level: Level) -> impl rusqlite::Params {
    let [key, team, customer, user, feature, model, target, provider] =
        names.map(|name| name.map(str::to_owned));
    let (error, finish) = (error.map(str::to_owned), finish.map(str::to_owned));
    (level.number(), key, team, customer, user, feature, model, target, provider, *status, error, finish)
}
