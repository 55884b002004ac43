use tokio_postgres::Client;

use super::connection::Failure;

const SCHEMA: &str = include_str!("schema.sql");
/// What came later, and disturbs no older node that uses the same schema.
const AUDIT: &str = include_str!("audit.sql");
/// The version that it makes and that this program understands.
const VERSION: i32 = 1;
/// Two nodes that begin at the same time make it once.
const LOCK: i64 = 0x0062_6172_7469_7a61;

/// Makes the schema of this name, unless it is there already.
pub(super) async fn prepare(client: &Client, name: &str) -> Result<(), Failure> {
    if version(client, name).await?.is_none() || !has(client, name, "audit").await? {
        make(client, name).await?;
    }
    match version(client, name).await? {
        Some(version) if version > VERSION => Err(Failure::Away(
            format!("the schema {name} is of version {version}; this program knows {VERSION} at most").into(),
        )),
        _ => Ok(()),
    }
}

async fn version(client: &Client, name: &str) -> Result<Option<i32>, Failure> {
    if !has(client, name, "version").await? {
        return Ok(None);
    }
    let version = client.query_one(&format!("SELECT max(version) FROM {name}.version"), &[]).await?;
    Ok(version.try_get(0)?)
}

async fn has(client: &Client, name: &str, table: &str) -> Result<bool, Failure> {
    let table = format!("{name}.{table}");
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
    Ok(there.try_get(0)?)
}

async fn make(client: &Client, name: &str) -> Result<(), Failure> {
    client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await?;
    // Somebody else may have been quicker.
    if version(client, name).await?.is_none() {
        client
            .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {name}; SET search_path TO {name}"))
            .await?;
        client.batch_execute(SCHEMA).await?;
    }
    if !has(client, name, "audit").await? {
        client.batch_execute(&format!("SET search_path TO {name}")).await?;
        client.batch_execute(AUDIT).await?;
    }
    Ok(client.batch_execute("COMMIT").await?)
}
