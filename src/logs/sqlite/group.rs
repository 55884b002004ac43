use std::collections::HashMap;

use rusqlite::Transaction;

use super::{
    super::{
        rollup::{Groups, Level, Names},
        row::Row,
    },
    database::unsigned,
};

/// The most that are known at once.
const MOST_KNOWN: usize = 100_000;

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
        Names::write_all(row, &mut text);
        let groups = match self.records.get(&*text) {
            Some(groups) => *groups,
            None => {
                let groups = Groups::of(row, |level| self.id(transaction, Names::of(row, level)))?;
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

    fn id(&mut self, transaction: &Transaction<'_>, names: Names<'_>) -> rusqlite::Result<i64> {
        let (level, mut text) = (names.level, String::new());
        names.write(&mut text);
        if let Some(id) = self.ids.get(&*text) {
            return Ok(*id);
        }
        let id = match find(transaction, &names)? {
            Some(id) => id,
            None if self.count(transaction, level)? >= Level::MOST => {
                let others = names.others();
                find(transaction, &others)?.map_or_else(|| make(transaction, &others), Ok)?
            }
            None => {
                *self.counts.entry(level).or_default() += 1;
                make(transaction, &names)?
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

fn find(transaction: &Transaction<'_>, names: &Names<'_>) -> rusqlite::Result<Option<i64>> {
    let mut find = transaction.prepare_cached(
        "SELECT id FROM groups WHERE level = ?1 AND key IS ?2 AND user IS ?5 AND team IS ?3 AND customer IS ?4
         AND feature IS ?6 AND model IS ?7 AND target IS ?8 AND provider IS ?9 AND status IS ?10 AND error IS ?11
         AND finish IS ?12 AND failed = ?13",
    )?;
    let mut rows = find.query(params(names))?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

fn make(transaction: &Transaction<'_>, names: &Names<'_>) -> rusqlite::Result<i64> {
    let mut make = transaction.prepare_cached(
        "INSERT INTO groups (level, key, team, customer, user, feature, model, target, provider, status, error, finish,
         failed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    make.insert(params(names))
}

fn params(names: &Names<'_>) -> impl rusqlite::Params {
    let [key, team, customer, user, feature, model, target, provider] =
        names.who_and_what.map(|name| name.map(str::to_owned));
    let (error, finish) = (names.error.map(str::to_owned), names.finish.map(str::to_owned));
    let who = (names.level.number(), key, team, customer, user);
    let what = (feature, model, target, provider);
    let how = (names.status, error, finish, names.failed);
    (who.0, who.1, who.2, who.3, who.4, what.0, what.1, what.2, what.3, how.0, how.1, how.2, how.3)
}
