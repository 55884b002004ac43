use std::time::Duration;

use tokio_postgres::{Client, Statement};

use super::{
    PostgresLogsOptions,
    group::{self, Known},
    rollup,
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
    /// The second from which on there are sums of all records.
    pub(super) sums_since: u64,
    pub(super) statements: Statements,
    pub(super) known: Known,
    _driver: Driver,
}

/// What records are written with.
pub(super) struct Statements {
    pub(super) records: Statement,
    pub(super) details: Statement,
    pub(super) taken: Statement,
    pub(super) groups: Statement,
    pub(super) add: Statement,
    pub(super) pack: Statement,
}

impl Session {
    /// Begins one, and makes the tables if they aren't there.
    pub(super) async fn begin(server: &Server, options: &PostgresLogsOptions) -> Result<Self, BoxError> {
        let (client, driver) = server.connect().await?;
        // A node that stops in the middle must not hold up the others.
        client.batch_execute(&bounds(options.timeout)).await?;
        let timescale = schema::prepare(&client, &options.schema).await?;
        let sums_since = schema::sums_since(&client, &options.schema).await?;
        // Sums are told apart by many names at once, in memory and not on the disk. Compiling a question takes longer than
        // its answer.
        let settings = format!("SET search_path TO {}; SET work_mem = '64MB'; SET jit = off", options.schema);
        client.batch_execute(&settings).await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Self { client, timescale, sums_since, statements, known: Known::default(), _driver: driver })
    }
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, BoxError> {
        Ok(Self {
            records: client.prepare(RECORDS).await?,
            details: client.prepare(DETAILS).await?,
            taken: client.prepare(TAKEN).await?,
            groups: client.prepare(group::MAKE).await?,
            add: client.prepare(&rollup::add()).await?,
            pack: client.prepare(rollup::PACK).await?,
        })
    }
}

fn bounds(timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    format!("SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis}")
}
