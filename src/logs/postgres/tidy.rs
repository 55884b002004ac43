use std::time::{Duration, Instant, SystemTime};

use super::{
    super::rollup::{Level, Step, seconds},
    PostgresLogsOptions,
    session::Session,
    signed,
};
use crate::BoxError;

/// How many records are deleted at once, and how long that may go on before new ones are written.
const PART: u64 = 5_000;
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is looked for what is old.
const EVERY: Duration = Duration::from_secs(60);

/// Those that another node deletes at the moment are left to it.
const DELETE: &str = "\
WITH old AS (SELECT ended FROM records WHERE ended < $1 ORDER BY ended LIMIT 5000 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM details WHERE ended IN (SELECT ended FROM old))
DELETE FROM records WHERE ended IN (SELECT ended FROM old)";

/// Sums go on for longer than their records. Those that another node deletes are left to it.
const DELETE_SUMS: &str = "\
DELETE FROM sums WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM sums WHERE level = $1 AND step = $2 AND at < $3 ORDER BY at LIMIT 5000 FOR UPDATE SKIP LOCKED))";

/// What no sum is of any more.
const DELETE_GROUPS: &str = "DELETE FROM groups WHERE day < $1";

/// Forgets some of what is too old; says after what time there is more to do.
pub(super) async fn tidy(
    session: &Session,
    options: &PostgresLogsOptions,
    now: SystemTime,
) -> Result<Duration, BoxError> {
    let sums = sums(session, seconds(now)).await?;
    Ok(records(session, options, now).await?.min(sums))
}

async fn records(
    session: &Session,
    options: &PostgresLogsOptions,
    now: SystemTime,
) -> Result<Duration, BoxError> {
    let Some(bound) = options.age.and_then(|age| now.checked_sub(age)) else { return Ok(EVERY) };
    if let Some(functions) = &session.timescale {
        for table in ["records", "details"] {
            let sql = format!(
                "SELECT {functions}.drop_chunks('{}.{table}', older_than => $1::timestamptz)",
                options.schema
            );
            session.client.query(&sql, &[&bound]).await?;
        }
        return Ok(EVERY);
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if session.client.execute(DELETE, &[&bound]).await? < PART {
            return Ok(EVERY);
        }
    }
    Ok(Duration::ZERO)
}

async fn sums(session: &Session, now: u64) -> Result<Duration, BoxError> {
    let mut next = EVERY;
    for level in Level::ALL {
        for step in Step::of(level) {
            let (level, number, bound) = (level.number(), step.number(), signed(step.forgotten(now)));
            if session.client.execute(DELETE_SUMS, &[&level, &number, &bound]).await? >= PART {
                next = Duration::ZERO;
            }
        }
    }
    // A day later, because clocks differ.
    let bound = i32::try_from(Step::Day.forgotten(now) / Step::Day.seconds())?.saturating_sub(1);
    session.client.execute(DELETE_GROUPS, &[&bound]).await?;
    Ok(next)
}
