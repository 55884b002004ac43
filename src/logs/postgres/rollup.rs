use std::collections::HashMap;

use tokio_postgres::{Row as Found, Transaction, types::ToSql};

use super::{
    super::{
        Histogram, Used,
        rollup::{Slot, pack, unpack},
    },
    session::Statements,
    signed,
};
use crate::BoxError;

/// What is a number in a sum.
pub(super) const NUMBERS: [&str; 8] =
    ["requests", "attempts", "input", "cached", "output", "reasoning", "cost", "writing_ms"];
/// What is a histogram.
pub(super) const HISTOGRAMS: [&str; 3] = ["latency", "first_event", "overhead"];

/// How many bytes a histogram may have before those that stand one behind the other are added up. One of all that
/// happens in practice has fewer.
const LONG: usize = 500;

/// Adds to sums, and says which have a long histogram now. Nobody else changes these until the transaction ends.
pub(super) fn add() -> String {
    let (numbers, histograms) = (NUMBERS.join(", "), HISTOGRAMS.join(", "));
    let most = i64::MAX;
    let add = NUMBERS
        .map(|column| format!("{column} = s.{column} + least(excluded.{column}, {most} - s.{column})"));
    let append = HISTOGRAMS.map(|column| format!("{column} = s.{column} || excluded.{column}"));
    let is_long = HISTOGRAMS.map(|column| format!("octet_length({column}) > {LONG}")).join(" OR ");
    format!(
        "WITH added AS (
             INSERT INTO sums AS s (level, step, at, group_id, {numbers}, {histograms})
             SELECT * FROM unnest($1::smallint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[],
                 $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
                 $13::bytea[], $14::bytea[], $15::bytea[])
             ON CONFLICT (level, step, at, group_id) DO UPDATE SET {}, {}
             RETURNING s.level, s.step, s.at, s.group_id, {histograms})
         SELECT level, step, at, group_id, {histograms} FROM added WHERE {is_long}",
        add.join(", "),
        append.join(", ")
    )
}

/// Puts histograms in the place of their parts.
pub(super) const PACK: &str = "\
UPDATE sums s SET latency = packed.latency, first_event = packed.first_event, overhead = packed.overhead
FROM unnest($1::smallint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bytea[])
AS packed (level, step, at, group_id, latency, first_event, overhead)
WHERE s.level = packed.level AND s.step = packed.step AND s.at = packed.at AND s.group_id = packed.group_id";

/// Adds to the sums that are there.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    statements: &Statements,
    sums: HashMap<Slot, Used>,
) -> Result<(), BoxError> {
    // In the same order everywhere, so that no two nodes wait for each other.
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(place, _)| *place);
    let mut columns = Columns::default();
    sums.iter().for_each(|(place, used)| columns.push(place, used));
    let long = transaction.query(&statements.add, &columns.params()).await?;
    if !long.is_empty() {
        let mut packed = Packed::default();
        long.iter().try_for_each(|row| packed.push(row))?;
        transaction.execute(&statements.pack, &packed.params()).await?;
    }
    Ok(())
}

/// Columns of `sums`.
#[derive(Default)]
struct Columns {
    level: Vec<i16>,
    step: Vec<i16>,
    at: Vec<i64>,
    group: Vec<i64>,
    /// In the order of [`NUMBERS`].
    numbers: [Vec<i64>; NUMBERS.len()],
    /// In the order of [`HISTOGRAMS`].
    histograms: [Vec<Vec<u8>>; HISTOGRAMS.len()],
}

impl Columns {
    fn push(&mut self, (level, step, at, group): &Slot, used: &Used) {
        self.level.push(level.number());
        self.step.push(step.number());
        self.at.push(signed(*at));
        self.group.push(*group);
        for (column, number) in self.numbers.iter_mut().zip(used.numbers()) {
            column.push(signed(number));
        }
        for (column, histogram) in
            self.histograms.iter_mut().zip([&used.latency, &used.first_event, &used.overhead])
        {
            column.push(pack(histogram));
        }
    }

    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.level, &self.step, &self.at, &self.group];
        params.extend(self.numbers.iter().map(|column| column as &(dyn ToSql + Sync)));
        params.extend(self.histograms.iter().map(|column| column as &(dyn ToSql + Sync)));
        params
    }
}

/// Sums whose histograms were long.
#[derive(Default)]
struct Packed {
    level: Vec<i16>,
    step: Vec<i16>,
    at: Vec<i64>,
    group: Vec<i64>,
    histograms: [Vec<Vec<u8>>; HISTOGRAMS.len()],
}

impl Packed {
    fn push(&mut self, row: &Found) -> Result<(), tokio_postgres::Error> {
        self.level.push(row.try_get(0)?);
        self.step.push(row.try_get(1)?);
        self.at.push(row.try_get(2)?);
        self.group.push(row.try_get(3)?);
        for (column, number) in self.histograms.iter_mut().zip(4..) {
            let mut histogram = Histogram::default();
            unpack(row.try_get(number)?, &mut histogram);
            column.push(pack(&histogram));
        }
        Ok(())
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 7] {
        let [latency, first_event, overhead] = &self.histograms;
        [&self.level, &self.step, &self.at, &self.group, latency, first_event, overhead]
    }
}
