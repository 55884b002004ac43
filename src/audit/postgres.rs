use std::fmt;

use super::{Added, Audit, Entry};
use crate::{
    BoxFuture, Error,
    ledger::postgres::{PostgresLedger, Shelf},
};

/// A chain beside the balances of a [`PostgresLedger`], for all nodes that have the same database and schema: the
/// table `audit`, in which the database refuses to change or to delete a row.
///
/// An entry is added by one statement, so that no two have the same one before them. When the ledger is gone, nothing
/// can be added or read any more.
#[derive(Clone)]
pub struct PostgresAudit(Shelf);

impl PostgresAudit {
    /// The chain beside `ledger`, with its connection and its timeout.
    pub fn new(ledger: &PostgresLedger) -> Self {
        Self(ledger.shelf())
    }
}

impl fmt::Debug for PostgresAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresAudit")
    }
}

impl Audit for PostgresAudit {
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
        Box::pin(self.0.chain(entry.clone()))
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        Box::pin(async { Ok(self.0.chained(None, 1).await?.pop()) })
    }

    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        Box::pin(self.0.chained(Some(first), most))
    }
}
