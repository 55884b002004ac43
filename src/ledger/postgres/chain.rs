//! The entries of the audit.

use tokio_postgres::Row;

use super::{
    connection::{Connection, Failure},
    group::signed,
};
use crate::audit::{Added, Entry};

/// Of two that add at the same time the second one waits for the first, finds its number taken, and adds nothing.
const ADD: &str = "\
INSERT INTO audit (number, hash, entry)
SELECT $1, $2, $3
WHERE $1 = (SELECT coalesce(max(number), 0) + 1 FROM audit)
AND $4 = coalesce((SELECT hash FROM audit ORDER BY number DESC LIMIT 1), repeat('0', 64))
ON CONFLICT DO NOTHING RETURNING number";

const LAST: &str = "SELECT number, hash, entry FROM audit ORDER BY number DESC LIMIT 1";

const READ: &str = "SELECT number, hash, entry FROM audit WHERE number >= $1 ORDER BY number LIMIT $2";

/// Adds an entry if it continues the chain.
pub(super) async fn add(connection: &Connection, entry: &Entry) -> Result<Added, Failure> {
    let Entry { number, hash, text } = entry;
    let previous = entry.previous();
    let added =
        connection.client.query_opt(ADD, &[&signed(*number), &&**hash, &&**text, &&*previous]).await?;
    if added.is_some() {
        return Ok(Added::Yes);
    }
    Ok(Added::No(read(connection, None, 1).await?.pop()))
}

/// Entries from the number `first` on; the last one if there is no such number.
pub(super) async fn read(
    Connection { client, .. }: &Connection,
    first: Option<u64>,
    most: usize,
) -> Result<Vec<Entry>, Failure> {
    let rows = match first {
        None => client.query(LAST, &[]).await?,
        Some(first) => {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            client.query(READ, &[&signed(first), &most]).await?
        }
    };
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<Entry, Failure> {
    Ok(Entry {
        number: row.try_get::<_, i64>(0)?.unsigned_abs(),
        hash: row.try_get::<_, &str>(1)?.into(),
        text: row.try_get::<_, &str>(2)?.into(),
    })
}
