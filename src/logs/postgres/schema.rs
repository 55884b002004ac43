use tokio_postgres::Client;

use super::unsigned;
use crate::BoxError;

/// What makes each version of the one before.
const VERSIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("sums.sql")];
/// The version that they make and that this program understands.
const VERSION: i32 = VERSIONS.len() as i32;
/// From when on sums of all records are written, if there were records before: until the day after the next one begins,
/// there may be nodes that write records without sums.
const SOON: &str = "(floor(extract(epoch FROM now()) / 86400)::bigint + 2) * 86400";
/// Two nodes that begin at the same time make it once.
const LOCK: i64 = 0x0062_6172_7469_6c6f;

/// Where TimescaleDB has its functions, if the tables are its hypertables.
pub(super) type Timescale = Option<String>;

/// Makes the tables in the schema of this name that aren't there already.
pub(super) async fn prepare(client: &Client, name: &str) -> Result<Timescale, BoxError> {
    let found = match version(client, name).await? {
        Some(found) if found.0 >= VERSION => Some(found),
        _ => {
            make(client, name).await?;
            version(client, name).await?
        }
    };
    match found {
        Some((version, _)) if version > VERSION => {
            Err(format!("the schema {name} is of version {version}; this program knows {VERSION} at most")
                .into())
        }
        Some((_, true)) => timescale(client).await,
        _ => Ok(None),
    }
}

/// The version, and whether the tables are hypertables.
async fn version(client: &Client, name: &str) -> Result<Option<(i32, bool)>, BoxError> {
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&format!("{name}.version")]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let sql = format!("SELECT version, is_hypertable FROM {name}.version ORDER BY version DESC LIMIT 1");
    let row = client.query_opt(&sql, &[]).await?;
    Ok(row.map(|row| Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?)
}

async fn timescale(client: &Client) -> Result<Timescale, BoxError> {
    let sql =
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
               WHERE extname = 'timescaledb'";
    Ok(client.query_opt(sql, &[]).await?.map(|row| row.try_get(0)).transpose()?)
}

async fn make(client: &Client, name: &str) -> Result<(), BoxError> {
    client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    // Somebody else may have been quicker.
    let found = version(client, name).await?;
    let done = found.map_or(0, |(version, _)| version);
    if done < VERSION {
        let begin = format!("CREATE SCHEMA IF NOT EXISTS {name}; SET LOCAL search_path TO {name}");
        client.batch_execute(&begin).await?;
        for version in VERSIONS.iter().skip(done.unsigned_abs() as usize) {
            client.batch_execute(version).await?;
        }
        let is_hypertable = match found {
            Some((_, is_hypertable)) => is_hypertable,
            None => {
                let timescale = timescale(client).await?;
                if let Some(functions) = &timescale {
                    client.batch_execute(&hypertables(functions, name)).await?;
                }
                timescale.is_some()
            }
        };
        let since = if found.is_some() { SOON } else { "0" };
        let sql = format!(
            "INSERT INTO {name}.version (version, is_hypertable, sums_since) VALUES ({VERSION}, $1, {since})"
        );
        client.execute(&sql, &[&is_hypertable]).await?;
    }
    Ok(client.batch_execute("COMMIT").await?)
}

/// From when on there are sums of all records: see [`SOON`].
pub(super) async fn sums_since(client: &Client, name: &str) -> Result<u64, BoxError> {
    let sql = format!("SELECT sums_since FROM {name}.version ORDER BY version DESC LIMIT 1");
    Ok(unsigned(client.query_one(&sql, &[]).await?.try_get(0)?))
}

/// What makes the tables hypertables by time, a chunk a day: a whole one is forgotten at once.
fn hypertables(functions: &str, name: &str) -> String {
    let make = |table: &str| {
        format!(
            "SELECT {functions}.create_hypertable('{name}.{table}', 'ended', chunk_time_interval => INTERVAL '1 day', \
             create_default_indexes => false, if_not_exists => true);"
        )
    };
    ["records", "details"].map(make).concat()
}
