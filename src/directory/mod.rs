//! What was set while the gateway runs: [`Directory`], the documents that its administrators have written.
//!
//! A [`Document`] is one customer, team, key or price, in the form in which a configuration has it. A directory
//! knows nothing of what is in it; whoever writes checks it first, against everything that is there. That
//! is why there is one [`Revision`] for the whole directory: a change is made if nothing else has changed
//! since the reader looked, so that no two administrators, on whatever nodes, make something between them
//! that neither would have been allowed. And a node that looks every second whether the revision is still
//! the same has every change soon.
//!
//! [`MemoryDirectory`] forgets all of it with the process; a `SqliteDirectory`, of the feature `sqlite`, is in
//! the file of a ledger, and survives it; a `RedisDirectory`, of the feature `redis`, and a `PostgresDirectory`,
//! of the feature `postgres`, are shared by many. Whoever writes another store runs the `conformance` suite over
//! it, which comes with the feature `test-util`.
//!
//! ```
//! use bartizan::directory::{Change, Directory, MemoryDirectory, Section};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let directory = MemoryDirectory::default();
//! let before = directory.read(None).await?.map(|snapshot| snapshot.revision).unwrap_or_default();
//!
//! let change = Change::put(Section::Teams, "search", r#"{"budget":{"usd":"200","per":"month"}}"#);
//! assert!(directory.write(before, change.clone()).await?.is_some());
//! assert!(directory.write(before, change).await?.is_none(), "somebody was quicker");
//! # Ok(())
//! # }
//! ```

#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{fmt, sync::Arc, time::SystemTime};

pub use self::memory::MemoryDirectory;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::PostgresDirectory;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::RedisDirectory;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::sqlite::SqliteDirectory;
use crate::{BoxFuture, Error};

/// Keeps documents.
pub trait Directory: fmt::Debug + Send + Sync + 'static {
    /// All documents, sorted by section and name; `None` if nothing has changed since the revision `known`.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>>;

    /// Makes a change, if nothing else has changed since the revision `at`, and says which revision it
    /// has made; `None` if something has.
    ///
    /// # Errors
    ///
    /// If the store could not be asked; the change may have been made or not.
    fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>>;
}

/// How often a directory has been changed. Nothing was ever written at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Everything that is in a directory at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The moment.
    pub revision: Revision,
    /// What is there, sorted by section and name.
    pub documents: Vec<Document>,
}

/// One entry of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it belongs.
    pub section: Section,
    /// What it is called there.
    pub name: Arc<str>,
    /// What it says, in JSON.
    pub content: Arc<str>,
    /// The revision that has made it what it is.
    pub version: Revision,
    /// When that was.
    pub changed: SystemTime,
}

/// The part of a configuration that documents are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Section {
    /// Organisations.
    Customers,
    /// Keys that share budgets and limits.
    Teams,
    /// The keys that clients may present.
    Keys,
    /// What models cost, by `provider/model` or patterns of it.
    Prices,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Customers, Self::Teams, Self::Keys, Self::Prices];

    /// As it is called in paths and in stores, and in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Teams => "teams",
            Self::Keys => "keys",
            Self::Prices => "prices",
        }
    }

    /// One of its entries, as it is called in messages.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Customers => "customer",
            Self::Teams => "team",
            Self::Keys => "key",
            Self::Prices => "price",
        }
    }

    /// The section that is [called](Self::as_str) so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.as_str() == name)
    }
}

/// What is to become of one document.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where it belongs.
    pub section: Section,
    /// What it is called there.
    pub name: Arc<str>,
    /// What it says from now on, in JSON; `None` takes it away.
    pub content: Option<Arc<str>>,
}

impl Change {
    /// Makes a document, or replaces what it says.
    pub fn put(section: Section, name: &str, content: impl Into<Arc<str>>) -> Self {
        Self { section, name: name.into(), content: Some(content.into()) }
    }

    /// Takes a document away. One that is not there stays away.
    pub fn delete(section: Section, name: &str) -> Self {
        Self { section, name: name.into(), content: None }
    }
}
