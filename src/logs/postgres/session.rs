use std::time::Duration;

use tokio_postgres::{Client, Statement};

use super::{
    PostgresLogsOptions,
    schema::{self, Timescale},
    write::{DETAILS, RECORDS, TAKEN},
};
use crate::{
    BoxError,
    postgres::{Driver, Server},
};

/// A session, which ends when this is dropped.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) timescale: Timescale,
    pub(super) records: Statement,
    pub(super) details: Statement,
    pub(super) taken: Statement,
    _driver: Driver,
}

impl Session {
    /// Begins one, and makes the tables if they aren't there.
    pub(super) async fn begin(server: &Server, options: &PostgresLogsOptions) -> Result<Self, BoxError> {
        let (client, driver) = server.connect().await?;
        // A node that stops in the middle must not hold up the others.
        client.batch_execute(&bounds(options.timeout)).await?;
        let timescale = schema::prepare(&client, &options.schema).await?;
        // Sums are told apart by many names at once, in memory and not on the disk.
        client
            .batch_execute(&format!("SET search_path TO {}; SET work_mem = '64MB'", options.schema))
            .await?;
        let records = client.prepare(RECORDS).await?;
        let details = client.prepare(DETAILS).await?;
        let taken = client.prepare(TAKEN).await?;
        Ok(Self { client, timescale, records, details, taken, _driver: driver })
    }
}

fn bounds(timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    format!("SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis}")
}
