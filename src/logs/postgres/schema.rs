use tokio_postgres::Client;

use crate::BoxError;

const SCHEMA: &str = include_str!("schema.sql");
/// The version that it makes and that this program understands.
const VERSION: i32 = 1;
/// Two nodes that begin at the same time make it once.
const LOCK: i64 = 0x0062_6172_7469_6c6f;

/// Where TimescaleDB has its functions, if the tables are its hypertables.
pub(super) type Timescale = Option<String>;

/// Makes the tables in the schema of this name, unless they are there already.
pub(super) async fn prepare(client: &Client, name: &str) -> Result<Timescale, BoxError> {
    let found = match version(client, name).await? {
        Some(found) => Some(found),
        None => {
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
    if version(client, name).await?.is_none() {
        let begin = format!("CREATE SCHEMA IF NOT EXISTS {name}; SET LOCAL search_path TO {name}");
        client.batch_execute(&begin).await?;
        client.batch_execute(SCHEMA).await?;
        let timescale = timescale(client).await?;
        if let Some(functions) = &timescale {
            client.batch_execute(&hypertables(functions, name)).await?;
        }
        let is_hypertable = timescale.is_some();
        client
            .execute(&format!("INSERT INTO {name}.version VALUES ({VERSION}, $1)"), &[&is_hypertable])
            .await?;
    }
    Ok(client.batch_execute("COMMIT").await?)
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
