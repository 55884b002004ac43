//! Who changed what and when, so that nobody can change it afterwards without being noticed.
//!
//! Administrative changes, reloads of the configuration, keys that expire or that a provider refuses, models that are
//! served by their successors, breakers that open and close, and logins are [`Event`]s. Each becomes an [`Entry`] of
//! one chain, in which every entry carries the SHA-256 of the one before.
//!
//! [`Trail`] is where events are told: [`enter`](Trail::enter) waits until an event is in the chain, for changes that
//! must not be made without it; [`note`](Trail::note) never waits, for what happens while requests are served. Where
//! the chain is kept is an [`Audit`]: [`MemoryAudit`], [`JsonLinesAudit`], and beside the balances of a ledger
//! `SqliteAudit`, `RedisAudit` and `PostgresAudit`. All nodes that share a store have one chain.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     audit::{self, Event, EventKind, MemoryAudit, Trail},
//!     ledger::MemoryLedger,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let store = Arc::new(MemoryAudit::default());
//! let (trail, worker) = Trail::new(store.clone(), Arc::new(MemoryLedger::default()));
//! let worker = tokio::spawn(worker);
//!
//! trail.enter(&Event::new(EventKind::Login, "an administrator", "has logged in")).await?;
//! trail.note(Event::new(EventKind::Breaker, "the gateway", "passes over `openai/gpt-4o`"));
//! drop(trail);
//! worker.await.unwrap();
//!
//! let head = audit::verify(&*store, None).await?.unwrap().unwrap();
//! assert_eq!(head.number, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # The form of an entry
//!
//! An entry is a JSON object with exactly these members:
//!
//! | | |
//! |---|---|
//! | `number` | whole number; the first entry has 1, each other one more than the one before |
//! | `id` | a random name, so that no two entries are the same |
//! | `at` | when it was entered, by the clock of the node: `2026-11-22T08:30:00.000Z` |
//! | `kind` | what it is about, see [`EventKind`] |
//! | `who` | who did it |
//! | `from` | the address of who did it, or `null` |
//! | `what` | what was done |
//! | `details` | an object with more about it; its numbers are whole, others are texts |
//! | `previous` | the `hash` of the entry before; 64 zeros in the first one |
//! | `hash` | the SHA-256 of all of the above, as 64 lower-case hexadecimal digits |
//!
//! The hash is that of the object without `hash`, in the canonical form of RFC 8785: in UTF-8, without white space,
//! members sorted by their names, and only those characters escaped that JSON wants escaped. An export has one entry a
//! line in the same form, with `hash`. Whoever wants to verify one without this program can do so in a few lines:
//!
//! ```python
//! import hashlib, json, sys
//!
//! number, last = 0, "0" * 64
//! for line in sys.stdin:
//!     entry = json.loads(line)
//!     hash = entry.pop("hash")
//!     text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
//!     number += 1
//!     fits = (entry["number"], entry["previous"]) == (number, last)
//!     if not fits or hashlib.sha256(text.encode()).hexdigest() != hash:
//!         sys.exit(f"entry {number} does not fit")
//!     last = hash
//! print(number, last)
//! ```
//!
//! # What that proves
//!
//! A byte that is changed, an entry that is taken away or put elsewhere, or one put in between, is found by
//! [`verify`]. Whoever can write to the store can cut off the end, or make the whole chain anew: that is found by who
//! keeps the number and the hash of the last entry elsewhere, and gives them to [`verify`].
//!
//! Neither keys, nor hashes of keys, nor what was asked and answered is in an entry.

#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod entry;
mod event;
mod find;
mod jsonl;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
mod trail;
mod verify;

use std::fmt;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::PostgresAudit;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::RedisAudit;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::sqlite::SqliteAudit;
pub use self::{
    entry::{Entry, NotAnEntry},
    event::{Event, EventKind},
    find::{Filter, Page, find},
    jsonl::JsonLinesAudit,
    memory::MemoryAudit,
    trail::Trail,
    verify::{Broken, Head, Verifier, verify},
};
use crate::{BoxFuture, Error};

/// Keeps a chain of entries. Nothing that was added is ever changed or taken away.
///
/// Whoever writes another store runs the `conformance` suite over it, which comes with the feature `test-util`.
pub trait Audit: fmt::Debug + Send + Sync + 'static {
    /// Adds `entry`, if it continues the chain: if it has the next number, and carries the hash of the last entry.
    /// Otherwise nothing is added.
    ///
    /// # Errors
    ///
    /// If the store could not be asked; the entry may have been added or not.
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>>;

    /// The last entry; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>>;

    /// The entries with the numbers from `first` on, in their order, at most `most` of them.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>>;
}

/// What became of an entry that was to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is the last one of the chain.
    Yes,
    /// The chain ends with this one, which isn't the one before it.
    No(Option<Entry>),
}
