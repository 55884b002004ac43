use std::{collections::VecDeque, sync::Mutex};

use super::{Added, Audit, Entry};
use crate::{BoxFuture, Error, lock};

/// The most entries that are kept; the oldest are forgotten.
const MOST: usize = 10_000;

/// A chain in memory, which is gone with the process: its last 10,000 entries.
#[derive(Debug, Default)]
pub struct MemoryAudit(Mutex<VecDeque<Entry>>);

impl MemoryAudit {
    fn put(&self, entry: &Entry) -> Added {
        let mut entries = lock(&self.0);
        if !entry.follows(entries.back()) {
            return Added::No(entries.back().cloned());
        }
        if entries.len() == MOST {
            entries.pop_front();
        }
        entries.push_back(entry.clone());
        Added::Yes
    }

    fn get(&self, first: u64, most: usize) -> Vec<Entry> {
        let entries = lock(&self.0);
        entries.iter().skip_while(|entry| entry.number < first).take(most).cloned().collect()
    }
}

impl Audit for MemoryAudit {
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
        Box::pin(async { Ok(self.put(entry)) })
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        Box::pin(async { Ok(lock(&self.0).back().cloned()) })
    }

    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        Box::pin(async move { Ok(self.get(first, most)) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::audit::conformance;

    #[tokio::test]
    async fn it_conforms() {
        conformance::audit(async || Arc::new(MemoryAudit::default())).await;
    }
}
