use std::fmt;

use super::{Change, Directory, Revision, Snapshot};
use crate::{
    BoxFuture, Error,
    ledger::postgres::{PostgresLedger, Shelf},
};

/// Documents beside the balances of a [`PostgresLedger`], for all nodes that have the same database and schema.
///
/// A change is one transaction. While Postgres is away, nothing can be changed, and what was read before
/// stays in force. When the ledger is gone, nothing can be read any more.
#[derive(Clone)]
pub struct PostgresDirectory(Shelf);

impl PostgresDirectory {
    /// The directory beside `ledger`, with its connection and its timeout.
    pub fn new(ledger: &PostgresLedger) -> Self {
        Self(ledger.shelf())
    }
}

impl fmt::Debug for PostgresDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresDirectory")
    }
}

impl Directory for PostgresDirectory {
    fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
        Box::pin(self.0.look(known.map(|known| known.0)))
    }

    fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
        Box::pin(async move { Ok(self.0.change(at.0, change).await?.map(Revision)) })
    }
}
