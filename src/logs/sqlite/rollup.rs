use rusqlite::{Row as Found, Transaction};

use super::{
    super::{
        Used,
        rollup::{Rollups, pack, unpack},
    },
    database::{signed, unsigned},
};

/// The columns that [`read`] reads, in this order.
pub(super) const COLUMNS: &str = "requests, attempts, input, cached, output, reasoning, cost, writing_ms, latency, \
                                  first_event, overhead";

/// Writes all of it, and forgets it.
pub(super) fn write(rollups: &mut Rollups, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut find = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM rollups WHERE level = ?1 AND step = ?2 AND at = ?3 AND of = ?4"
    ))?;
    let mut put = transaction.prepare_cached(&format!(
        "INSERT OR REPLACE INTO rollups (level, step, at, of, {COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    ))?;
    for ((level, step, at, group), mut used) in rollups.take() {
        let place = (level.number(), step.number(), signed(at), group);
        if let Some(found) = find.query(place)?.next()? {
            read(found, 0, &mut used)?;
        }
        put.execute((
            place.0,
            place.1,
            place.2,
            place.3,
            signed(used.requests),
            signed(used.attempts),
            signed(used.input),
            signed(used.cached),
            signed(used.output),
            signed(used.reasoning),
            signed(used.cost),
            signed(used.writing_ms),
            pack(&used.latency),
            pack(&used.first_event),
            pack(&used.overhead),
        ))?;
    }
    Ok(())
}

/// Adds what is in a row, from the column `first` on.
pub(super) fn read(row: &Found<'_>, first: usize, used: &mut Used) -> rusqlite::Result<()> {
    let number = |column: usize| row.get(first + column).map(unsigned);
    used.add([
        number(0)?,
        number(1)?,
        number(2)?,
        number(3)?,
        number(4)?,
        number(5)?,
        number(6)?,
        number(7)?,
    ]);
    let histograms = [&mut used.latency, &mut used.first_event, &mut used.overhead];
    for (histogram, column) in histograms.into_iter().zip(8..) {
        unpack(row.get_ref(first + column)?.as_blob()?, histogram);
    }
    Ok(())
}
