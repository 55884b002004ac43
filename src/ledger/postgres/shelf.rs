use std::sync::Arc;

use tokio::sync::mpsc::WeakUnboundedSender;

use super::{
    Shared, away,
    job::{Job, Reply, What},
};
use crate::{
    Error,
    audit::{Added, Entry},
    directory::{Change, Snapshot},
};

/// What stands beside the balances, documents and the audit. It is there as long as the ledger is.
#[derive(Clone)]
pub(crate) struct Shelf {
    shared: Arc<Shared>,
    // The worker ends with the ledger.
    queue: WeakUnboundedSender<Job>,
}

impl Shelf {
    pub(super) fn new(shared: Arc<Shared>, queue: WeakUnboundedSender<Job>) -> Self {
        Self { shared, queue }
    }

    /// Everything, unless it is still at the revision that is known.
    pub(crate) async fn look(&self, known: Option<u64>) -> Result<Option<Snapshot>, Error> {
        self.ask(|reply| What::Look { known, reply }).await
    }

    /// Makes a change if the revision is `at`; says which one it is then.
    pub(crate) async fn change(&self, at: u64, change: Change) -> Result<Option<u64>, Error> {
        self.ask(|reply| What::Change { at, change, reply }).await
    }

    /// Adds an entry to the audit if it continues it.
    pub(crate) async fn chain(&self, entry: Entry) -> Result<Added, Error> {
        self.ask(|reply| What::Chain { entry, reply }).await
    }

    /// Entries of the audit from the number `first` on; the last one if there is no such number.
    pub(crate) async fn chained(&self, first: Option<u64>, most: usize) -> Result<Vec<Entry>, Error> {
        self.ask(|reply| What::Chained { first, most, reply }).await
    }

    async fn ask<T>(&self, what: impl FnOnce(Reply<T>) -> What) -> Result<T, Error> {
        let queue = self.queue.upgrade().ok_or_else(|| away("the ledger is gone"))?;
        self.shared.ask(&queue, what).await
    }
}
