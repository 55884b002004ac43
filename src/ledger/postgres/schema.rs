use tokio_postgres::Client;

use super::connection::Failure;

const SCHEMA: &str = include_str!("schema.sql");
/// The version that it makes and that this program understands.
const VERSION: i32 = 1;
/// Two nodes that begin at the same time make it once.
const LOCK: i64 = 0x0062_6172_7469_7a61;

/// Makes the schema of this name, unless it is there already.
pub(super) async fn prepare(client: &Client, name: &str) -> Result<(), Failure> {
    if version(client, name).await?.is_none() {
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
    let table = format!("{name}.version");
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let version = client.query_one(&format!("SELECT max(version) FROM {table}"), &[]).await?;
    Ok(version.try_get(0)?)
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
    Ok(client.batch_execute("COMMIT").await?)
}
