use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, types::Type};

use super::{Change, Directory, Document, Revision, Section, Snapshot};
use crate::{
    BoxFuture, Error,
    ledger::sqlite::{Shelf, SqliteLedger},
};

/// Documents in the file of a [`SqliteLedger`]; they survive the process.
///
/// It has no connection of its own: the ledger's writer makes changes in its transactions. It ends with the
/// ledger.
///
/// ```no_run
/// use bartizan::{directory::SqliteDirectory, ledger::SqliteLedger};
///
/// let ledger = SqliteLedger::open("bartizan.db")?;
/// let directory = SqliteDirectory::new(&ledger);
/// # Ok::<_, bartizan::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteDirectory(Shelf);

impl SqliteDirectory {
    /// The documents in the file of `ledger`.
    pub fn new(ledger: &SqliteLedger) -> Self {
        Self(ledger.shelf())
    }
}

impl Directory for SqliteDirectory {
    fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
        Box::pin(self.0.ask(move |transaction| read(transaction, known)))
    }

    fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
        Box::pin(self.0.ask(move |transaction| write(transaction, at, &change)))
    }
}

fn revision(transaction: &Transaction<'_>) -> rusqlite::Result<Revision> {
    let mut ask = transaction.prepare_cached("SELECT revision FROM revision")?;
    ask.query_row([], |row| row.get::<_, i64>(0)).map(|revision| Revision(revision.unsigned_abs()))
}

fn read(transaction: &Transaction<'_>, known: Option<Revision>) -> rusqlite::Result<Option<Snapshot>> {
    let revision = revision(transaction)?;
    if known == Some(revision) {
        return Ok(None);
    }
    let mut ask =
        transaction.prepare_cached("SELECT section, name, content, version, changed FROM documents")?;
    let mut documents = Vec::new();
    let mut rows = ask.query([])?;
    while let Some(row) = rows.next()? {
        let section: String = row.get(0)?;
        let unknown = || format!("`{section}` is no section that this version knows");
        documents.push(Document {
            section: Section::named(&section)
                .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, unknown().into()))?,
            name: row.get::<_, String>(1)?.into(),
            content: row.get::<_, String>(2)?.into(),
            version: Revision(row.get::<_, i64>(3)?.unsigned_abs()),
            changed: UNIX_EPOCH + Duration::from_secs(row.get::<_, i64>(4)?.unsigned_abs()),
        });
    }
    documents.sort_unstable_by(|one, other| (one.section, &one.name).cmp(&(other.section, &other.name)));
    Ok(Some(Snapshot { revision, documents }))
}

fn write(transaction: &Transaction<'_>, at: Revision, change: &Change) -> rusqlite::Result<Option<Revision>> {
    let next = i64::try_from(at.0.saturating_add(1)).unwrap_or(i64::MAX);
    let mut raise = transaction
        .prepare_cached("UPDATE revision SET revision = ?1 WHERE revision = ?1 - 1 RETURNING revision")?;
    let raised = raise.query_row([next], |row| row.get::<_, i64>(0)).optional()?;
    if raised.is_none() {
        return Ok(None);
    }
    let (section, name) = (change.section.as_str(), &*change.name);
    match &change.content {
        Some(content) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let changed = i64::try_from(now).unwrap_or(i64::MAX);
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO documents (section, name, content, version, changed)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            put.execute((section, name, &**content, next, changed))?;
        }
        None => {
            let mut delete =
                transaction.prepare_cached("DELETE FROM documents WHERE section = ?1 AND name = ?2")?;
            delete.execute((section, name))?;
        }
    }
    Ok(Some(Revision(next.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;
    use crate::directory::conformance;

    /// A place for databases that is gone when the test is over.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bartizan-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn open(&self, name: &str) -> SqliteLedger {
            SqliteLedger::open(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// The ledger ends with the directory.
    #[derive(Debug)]
    struct Both(SqliteDirectory, #[allow(dead_code, reason = "it is open as long")] SqliteLedger);

    impl Directory for Both {
        fn read(&self, known: Option<Revision>) -> BoxFuture<'_, Result<Option<Snapshot>, Error>> {
            self.0.read(known)
        }

        fn write(&self, at: Revision, change: Change) -> BoxFuture<'_, Result<Option<Revision>, Error>> {
            self.0.write(at, change)
        }
    }

    #[tokio::test]
    async fn it_conforms() {
        let place = Place::new("directory");
        let count = AtomicU32::default();

        conformance::directory(async || {
            let ledger = place.open(&format!("{}.db", count.fetch_add(1, Ordering::Relaxed)));
            Arc::new(Both(SqliteDirectory::new(&ledger), ledger))
        })
        .await;
    }

    #[tokio::test]
    async fn documents_survive_the_process_and_the_directory_ends_with_the_ledger() {
        let place = Place::new("directory-again");
        let ledger = place.open("a.db");
        let directory = SqliteDirectory::new(&ledger);
        let change = Change::put(Section::Teams, "t", "{}");
        let written = directory.write(Revision(0), change).await.unwrap();

        drop(ledger);
        let ended = directory.read(None).await.unwrap_err();
        let again = place.open("a.db");
        let read = SqliteDirectory::new(&again).read(None).await.unwrap().unwrap();

        assert_eq!(ended.message(), "the database can't be asked");
        assert_eq!((Some(read.revision), &*read.documents[0].name), (written, "t"));
    }
}
