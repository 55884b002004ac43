use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{
    super::{
        rollup::{Level, Step, seconds},
        row::micros_at,
    },
    database::signed,
    write::Writer,
};

/// For how long records are kept, and in how much room. Whatever is reached first counts; sums of them stay for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// How old they may be.
    pub age: Option<Duration>,
    /// How large the file may be, in bytes. It may be a little larger for a moment.
    pub size: Option<u64>,
    /// How many there may be.
    pub records: Option<u64>,
}

impl Retention {
    /// Thirty days, in at most 10 GiB.
    pub const USUAL: Self =
        Self { age: Some(Duration::from_secs(30 * 86_400)), size: Some(10 << 30), records: None };

    /// What fits into these bounds, of which any may be missing.
    pub fn new(age: Option<Duration>, size: Option<u64>, records: Option<u64>) -> Self {
        Self { age, size, records }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::USUAL
    }
}

/// How many records are forgotten at once, so that new ones don't wait long.
const PART: i64 = 500;
/// How long forgetting may take before new records are written again.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often groups are looked for that nothing belongs to.
const SWEEP: Duration = Duration::from_secs(86_400);
/// How many pages are given back at once.
const PAGES: i64 = 200;

/// Forgets some of what need not be kept any longer.
pub(super) fn tidy(writer: &mut Writer, retention: Retention, now: SystemTime) -> rusqlite::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let forgotten = forget(&transaction, retention, now)? + forget_sums(&transaction, now)?;
        transaction.commit()?;
        if forgotten == 0 {
            break;
        }
    }
    if retention.size.is_some() {
        writer.connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    }
    if writer.swept.elapsed() > SWEEP {
        writer.swept = Instant::now();
        sweep(&writer.connection)?;
        writer.forget();
    }
    Ok(())
}

/// The oldest records, if they are too old or there is too much; says how many they were.
fn forget(transaction: &Transaction<'_>, retention: Retention, now: SystemTime) -> rusqlite::Result<usize> {
    let oldest = |bound: i64| -> rusqlite::Result<Option<i64>> {
        let sql =
            "SELECT max(place) FROM (SELECT place FROM records WHERE place < ?1 ORDER BY place LIMIT ?2)";
        transaction.prepare_cached(sql)?.query_row((bound, PART), |row| row.get(0))
    };
    let too_old =
        retention.age.and_then(|age| now.checked_sub(age)).map_or(0, |bound| signed(micros_at(bound)));
    let mut last = oldest(too_old)?;
    if last.is_none() && is_too_much(transaction, retention)? {
        last = oldest(i64::MAX)?;
    }
    let Some(last) = last else { return Ok(0) };
    transaction
        .execute("DELETE FROM tags WHERE place IN (SELECT place FROM records WHERE place <= ?1)", [last])?;
    transaction.execute("DELETE FROM contents WHERE place <= ?1", [last])?;
    transaction.execute("DELETE FROM details WHERE place <= ?1", [last])?;
    transaction.execute("DELETE FROM records WHERE place <= ?1", [last])
}

fn is_too_much(transaction: &Transaction<'_>, retention: Retention) -> rusqlite::Result<bool> {
    if let Some(most) = retention.size {
        let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
        if used > signed(most) {
            return Ok(true);
        }
    }
    let Some(most) = retention.records else { return Ok(false) };
    let sql = "SELECT count(*) FROM (SELECT 1 FROM records LIMIT ?1)";
    let count: i64 = transaction.query_row(sql, [signed(most) + 1], |row| row.get(0))?;
    Ok(count > signed(most))
}

/// The oldest sums that are too old, a day of them at a time; says how many they were.
fn forget_sums(transaction: &Transaction<'_>, now: SystemTime) -> rusqlite::Result<usize> {
    let now = seconds(now);
    let mut forgotten = 0;
    for level in Level::ALL {
        for step in Step::of(level) {
            let (bound, day) = (signed(step.forgotten(now)), signed(Step::Day.seconds()));
            let mut forget = transaction.prepare_cached(
                "DELETE FROM rollups WHERE level = ?1 AND step = ?2 AND at < min(?3,
                 (SELECT min(at) + ?4 FROM rollups WHERE level = ?1 AND step = ?2))",
            )?;
            forgotten += forget.execute((level.number(), step.number(), bound, day))?;
        }
    }
    Ok(forgotten)
}

/// Forgets groups to which nothing belongs any more.
fn sweep(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM groups WHERE id NOT IN (SELECT of FROM records) AND id NOT IN (SELECT of FROM rollups)",
    )
}
