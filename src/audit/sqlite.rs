use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row};

use super::{Added, Audit, Entry};
use crate::{
    BoxFuture, Error, Kind,
    ledger::sqlite::{Shelf, SqliteLedger},
    lock,
};

/// How long another process may keep the file from being read.
const PATIENCE: Duration = Duration::from_secs(2);

/// A chain in the file of a [`SqliteLedger`], in the table `audit`, in which the database refuses to change or to
/// delete a row.
///
/// The ledger's writer adds entries in its transactions, so that the file has one writer only. It ends with the
/// ledger.
#[derive(Clone, Debug)]
pub struct SqliteAudit(Place);

#[derive(Clone, Debug)]
enum Place {
    Shelf(Shelf),
    File(Arc<Mutex<Connection>>),
}

impl SqliteAudit {
    /// The chain in the file of `ledger`.
    pub fn new(ledger: &SqliteLedger) -> Self {
        Self(Place::Shelf(ledger.shelf()))
    }

    /// The chain in the file at `path`, to be looked at only, also while a ledger writes there.
    ///
    /// # Errors
    ///
    /// If it can't be opened.
    pub fn read_only(path: impl AsRef<Path>) -> Result<Self, Error> {
        let open = || {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.busy_timeout(PATIENCE)?;
            Ok(connection)
        };
        let connection = open().map_err(unreadable)?;
        Ok(Self(Place::File(Arc::new(Mutex::new(connection)))))
    }

    async fn ask<T: Send + 'static>(
        &self,
        mut ask: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        match &self.0 {
            Place::Shelf(shelf) => shelf.ask(move |transaction| ask(transaction)).await,
            Place::File(connection) => ask(&lock(connection)).map_err(unreadable),
        }
    }
}

impl Audit for SqliteAudit {
    fn add<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<Added, Error>> {
        let entry = entry.clone();
        Box::pin(self.ask(move |connection| add(connection, &entry)))
    }

    fn last(&self) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        Box::pin(self.ask(last))
    }

    fn read(&self, first: u64, most: usize) -> BoxFuture<'_, Result<Vec<Entry>, Error>> {
        Box::pin(self.ask(move |connection| read(connection, first, most)))
    }
}

fn add(connection: &Connection, entry: &Entry) -> rusqlite::Result<Added> {
    let last = last(connection)?;
    if !entry.follows(last.as_ref()) {
        return Ok(Added::No(last));
    }
    let mut add = connection.prepare_cached("INSERT INTO audit (number, hash, entry) VALUES (?1, ?2, ?3)")?;
    add.execute((signed(entry.number), &*entry.hash, &*entry.text))?;
    Ok(Added::Yes)
}

fn last(connection: &Connection) -> rusqlite::Result<Option<Entry>> {
    let mut ask =
        connection.prepare_cached("SELECT number, hash, entry FROM audit ORDER BY number DESC LIMIT 1")?;
    ask.query_map([], entry)?.next().transpose()
}

fn read(connection: &Connection, first: u64, most: usize) -> rusqlite::Result<Vec<Entry>> {
    let mut ask = connection.prepare_cached(
        "SELECT number, hash, entry FROM audit WHERE number >= ?1 ORDER BY number LIMIT ?2",
    )?;
    ask.query_map((signed(first), i64::try_from(most).unwrap_or(i64::MAX)), entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let text = |index| row.get::<_, String>(index).map(Into::into);
    Ok(Entry { number: row.get::<_, i64>(0)?.unsigned_abs(), hash: text(1)?, text: text(2)? })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unreadable(error: rusqlite::Error) -> Error {
    Error::new(Kind::Internal, "the file of the audit can't be read").with_source(error)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf, time::SystemTime};

    use super::*;
    use crate::audit::{Event, EventKind, Head, conformance, verify};

    /// A place for databases that is gone when the test is over.
    struct Files(PathBuf);

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn files(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("bartizan-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Files(path)
    }

    #[tokio::test]
    async fn it_conforms() {
        let files = files("audit");
        let ledgers = Mutex::new(Vec::new());

        conformance::audit(async || {
            let mut ledgers = lock(&ledgers);
            let ledger = SqliteLedger::open(files.0.join(format!("{}.db", ledgers.len()))).unwrap();
            let audit = Arc::new(SqliteAudit::new(&ledger));
            ledgers.push(ledger);
            audit
        })
        .await;
    }

    #[tokio::test]
    async fn it_is_read_while_it_is_written_and_the_database_refuses_to_change_it() {
        let files = files("audit-read");
        let path = files.0.join("a.db");
        let ledger = SqliteLedger::open(&path).unwrap();
        let audit = SqliteAudit::new(&ledger);
        let mut last = None;
        for what in ["a", "b", "c"] {
            let event = Event::new(EventKind::Change, "me", what);
            let entry = Entry::after(last.as_ref(), &event, SystemTime::now());
            audit.add(&entry).await.unwrap();
            last = Some(entry);
        }
        let head = last.as_ref().map(Head::from);

        let reading = SqliteAudit::read_only(&path).unwrap();

        assert_eq!(verify(&reading, head.clone()).await.unwrap(), Ok(head.clone()));
        let connection = Connection::open(&path).unwrap();
        for wrong in [
            "UPDATE audit SET entry = 'x' WHERE number = 2",
            "DELETE FROM audit WHERE number = 2",
            "INSERT OR REPLACE INTO audit VALUES (2, 'x', 'x')",
            "INSERT INTO audit VALUES (9, 'x', 'x')",
        ] {
            let refused = connection.execute_batch(wrong).unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{wrong}: {refused}");
        }
        connection.execute_batch("DROP TRIGGER audit_delete; DELETE FROM audit WHERE number = 2").unwrap();
        assert_eq!(verify(&reading, None).await.unwrap().unwrap_err().number, 2);
        connection.execute_batch("DELETE FROM audit WHERE number = 3").unwrap();
        assert!(verify(&reading, None).await.unwrap().is_ok());
        assert_eq!(verify(&reading, head).await.unwrap().unwrap_err().number, 2);
    }
}
