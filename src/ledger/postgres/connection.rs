use std::time::Duration;

use tokio_postgres::{Client, error::SqlState};

use super::{PostgresOptions, schema, statements::Statements};
use crate::{
    BoxError,
    postgres::{Driver, Server},
};

/// How to get to the server.
pub(super) struct Address {
    server: Server,
    schema: String,
    timeout: Duration,
}

/// A session, which ends when this is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) statements: Statements,
    _driver: Driver,
}

/// What becomes of something that has failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server can't be reached, or can't answer at the moment; nobody knows whether it has happened.
    Away(BoxError),
    /// It has understood and said no: nothing has happened.
    Refused(BoxError),
}

impl Address {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, BoxError> {
        Ok(Self {
            server: Server::new(&options.url, options.authority.as_deref(), options.timeout)?,
            schema: options.schema.clone(),
            timeout: options.timeout,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let connecting = self.open();
        tokio::time::timeout(self.timeout.saturating_mul(2), connecting).await.map_err(Failure::away)?
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let (client, driver) = self.server.connect().await?;
        schema::prepare(&client, &self.schema).await?;
        // A node that stops in the middle must not hold up the others.
        let millis = self.timeout.as_millis();
        client
            .batch_execute(&format!(
                "SET search_path TO {}; SET statement_timeout = {millis}; \
                 SET idle_in_transaction_session_timeout = {millis}",
                self.schema
            ))
            .await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Connection { client, statements, _driver: driver })
    }
}

impl Failure {
    pub(super) fn away(error: impl Into<BoxError>) -> Self {
        Self::Away(error.into())
    }

    pub(super) fn into_inner(self) -> BoxError {
        match self {
            Self::Away(error) | Self::Refused(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        // Data that is not accepted, will not be the next time either; all else may have another reason.
        let is_about_data =
            |code: &SqlState| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class));
        if error.code().is_some_and(is_about_data) {
            Self::Refused(error.into())
        } else {
            Self::Away(error.into())
        }
    }
}
