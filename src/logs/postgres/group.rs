use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use sha2::{Digest, Sha256};
use tokio_postgres::{Client, types::ToSql};

use super::{
    super::{
        rollup::{Groups, Level, Names},
        row::Row,
    },
    session::Statements,
    unsigned,
    write::plain,
};
use crate::BoxError;

/// The most that are known at once.
const MOST_KNOWN: usize = 100_000;

/// Makes groups that aren't there, says of all what their numbers are and whether they are new, and notes the day.
pub(super) const MAKE: &str = "\
INSERT INTO groups AS g (hash, day, level, key, team, customer, end_user, feature, model, target, provider, status, error,
    finish, failed)
SELECT hash, $1, level, key, team, customer, end_user, feature, model, target, provider, status, error, finish, failed
FROM unnest($2::bytea[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::integer[], $13::text[], $14::text[], $15::boolean[])
AS given (hash, level, key, team, customer, end_user, feature, model, target, provider, status, error, finish, failed)
ON CONFLICT (hash) DO UPDATE SET day = greatest(g.day, excluded.day)
RETURNING g.hash, g.id, g.xmax = 0";

/// What tells a group from all others.
type Hash = [u8; 16];

fn hash(names: &Names<'_>) -> Hash {
    let mut text = String::new();
    names.write(&mut text);
    let digest: [u8; 32] = Sha256::digest(text).into();
    std::array::from_fn(|byte| digest[byte])
}

/// The groups whose numbers are known. What is known of a day is forgotten with it, so that the next one is noted.
#[derive(Default)]
pub(super) struct Known {
    day: i32,
    numbers: HashMap<Hash, i64>,
    /// How many groups of each level there are, without those that others have made on this day.
    counts: HashMap<Level, u64>,
}

impl Known {
    /// The groups of records, which are made if they aren't there.
    pub(super) async fn groups(
        &mut self,
        client: &Client,
        statements: &Statements,
        rows: &[Row<'_>],
        day: i32,
    ) -> Result<Vec<Groups>, BoxError> {
        if self.day != day {
            self.begin(client, day).await?;
        }
        if self.numbers.len() >= MOST_KNOWN {
            self.numbers.clear();
        }
        let mut unknown = BTreeMap::new();
        for row in rows {
            for names in Level::of(row).map(|level| Names::of(row, level)) {
                let hash = hash(&names);
                if !self.numbers.contains_key(&hash) {
                    unknown.insert(hash, names);
                }
            }
        }
        if !unknown.is_empty() {
            self.make(client, statements, unknown).await?;
        }
        rows.iter().map(|row| Groups::of(row, |level| self.number(&Names::of(row, level)))).collect()
    }

    fn number(&self, names: &Names<'_>) -> Result<i64, BoxError> {
        self.numbers.get(&hash(names)).copied().ok_or_else(|| "postgres did not tell a group's number".into())
    }

    async fn begin(&mut self, client: &Client, day: i32) -> Result<(), BoxError> {
        let counts = client.query("SELECT level, count(*) FROM groups GROUP BY level", &[]).await?;
        *self = Self { day, ..Self::default() };
        for row in counts {
            let (number, count): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
            let level = Level::ALL.into_iter().find(|level| level.number() == number);
            self.counts.extend(level.map(|level| (level, unsigned(count))));
        }
        Ok(())
    }

    async fn make<'a>(
        &mut self,
        client: &Client,
        statements: &Statements,
        mut unknown: BTreeMap<Hash, Names<'a>>,
    ) -> Result<(), BoxError> {
        let others = self.others(client, &mut unknown).await?;
        // Sorted by their hashes, so that no two nodes wait for each other.
        let mut columns = Columns::default();
        unknown.iter().for_each(|(hash, names)| columns.push(hash, names));
        for row in client.query(&statements.groups, &columns.params(&self.day)).await? {
            let hash: Hash = row.try_get::<_, &[u8]>(0)?.try_into()?;
            self.numbers.insert(hash, row.try_get(1)?);
            if row.try_get(2)?
                && let Some(names) = unknown.get(&hash)
            {
                *self.counts.entry(names.level).or_default() += 1;
            }
        }
        for (hash, other) in others {
            let number = self.numbers.get(&other).copied();
            self.numbers.extend(number.map(|number| (hash, number)));
        }
        Ok(())
    }

    /// Puts the group of all others in the place of those for which there is no room, and says of which.
    async fn others<'a>(
        &self,
        client: &Client,
        unknown: &mut BTreeMap<Hash, Names<'a>>,
    ) -> Result<Vec<(Hash, Hash)>, BoxError> {
        let is_full = |level| self.counts.get(&level).is_some_and(|count| *count >= Level::MOST);
        let of_full = unknown.iter().filter(|(_, names)| is_full(names.level)).map(|(hash, _)| *hash);
        let of_full: Vec<_> = of_full.collect();
        if of_full.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<&[u8]> = of_full.iter().map(|hash| &hash[..]).collect();
        let there = client.query("SELECT hash FROM groups WHERE hash = ANY($1)", &[&hashes]).await?;
        let there = there.iter().map(|row| Ok(row.try_get::<_, &[u8]>(0)?.try_into()?));
        let there = there.collect::<Result<HashSet<Hash>, BoxError>>()?;
        let mut others = Vec::new();
        for gone in of_full.into_iter().filter(|hash| !there.contains(hash)) {
            if let Some(names) = unknown.remove(&gone).map(Names::others) {
                let other = hash(&names);
                unknown.insert(other, names);
                others.push((gone, other));
            }
        }
        Ok(others)
    }
}

/// Columns of `groups`.
#[derive(Default)]
struct Columns<'a> {
    hash: Vec<&'a [u8]>,
    level: Vec<i16>,
    who_and_what: [Vec<Option<Cow<'a, str>>>; 8],
    status: Vec<Option<i32>>,
    error: Vec<Option<&'a str>>,
    finish: Vec<Option<Cow<'a, str>>>,
    failed: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, hash: &'a Hash, names: &Names<'a>) {
        self.hash.push(hash);
        self.level.push(names.level.number());
        for (column, name) in self.who_and_what.iter_mut().zip(names.who_and_what) {
            column.push(name.map(plain));
        }
        self.status.push(names.status.map(i32::from));
        self.error.push(names.error);
        self.finish.push(names.finish.map(plain));
        self.failed.push(names.failed);
    }

    fn params<'p>(&'p self, day: &'p i32) -> Vec<&'p (dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![day, &self.hash, &self.level];
        params.extend(self.who_and_what.iter().map(|names| names as &(dyn ToSql + Sync)));
        params.extend([&self.status as &(dyn ToSql + Sync), &self.error, &self.finish, &self.failed]);
        params
    }
}
