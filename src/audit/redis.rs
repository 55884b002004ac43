use std::fmt;

use super::{Added, Audit, Entry};
use crate::{
    BoxFuture, Error, Kind,
    ledger::redis::{RedisLedger, Shelf},
};

/// A chain beside the balances of a [`RedisLedger`], for all nodes that have the same server and prefix.
///
/// It is one list, and an entry is added by one script, so that no two have the same one before them. A server that
/// loses data loses entries: what it answers for is up to its `appendonly` and `appendfsync`.
#[derive(Clone)]
pub struct RedisAudit(Shelf);

impl RedisAudit {
    /// The chain beside `ledger`, with its connection and its timeout.
    pub fn new(ledger: &RedisLedger) -> Self {
        Self(ledger.shelf())
    }
}

impl fmt::Debug for RedisAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisAudit")
    }
}

impl Audit for RedisAudit {
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
        Box::pin(async move {
            let Entry { number, hash, text } = entry;
            let added = self.0.chain(*number, &entry.previous(), &format!("{hash} {text}")).await?;
            Ok(match added {
                None => Added::Yes,
                Some((0, _)) => Added::No(None),
                Some((number, line)) => Added::No(Some(read(number, &line)?)),
            })
        })
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        Box::pin(async {
            let (length, _) = self.0.chained(0, 0).await?;
            Ok(match length {
                0 => None,
                length => self.read(length, 1).await?.pop(),
            })
        })
    }

    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        Box::pin(async move {
            let first = first.max(1);
            let (_, lines) = self.0.chained(first, most).await?;
            lines.iter().zip(first..).map(|(line, number)| read(number, line)).collect()
        })
    }
}

fn read(number: u64, line: &str) -> Result<Entry, Error> {
    let damaged = || Error::new(Kind::Internal, format!("the entry {number} of the audit can't be read"));
    let (hash, text) = line.split_once(' ').ok_or_else(damaged)?;
    Ok(Entry { number, hash: hash.into(), text: text.into() })
}
