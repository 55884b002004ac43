use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::queue::Post;
use crate::{BoxError, Error, Kind};

/// What brings a database from each version to the next; `user_version` counts what was done.
///
/// The window comes before the account, so that what is written is close together although the table
/// keeps all windows that have passed.
const MIGRATIONS: [&str; 5] = [
    "
    CREATE TABLE balances (
        period  TEXT NOT NULL,
        window  INTEGER NOT NULL,
        account TEXT NOT NULL,
        measure TEXT NOT NULL,
        posted  INTEGER NOT NULL CHECK (posted >= 0),
        PRIMARY KEY (period, window, account, measure)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE runs (
        run   INTEGER PRIMARY KEY AUTOINCREMENT,
        began INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE holds (
        run     INTEGER NOT NULL,
        number  INTEGER NOT NULL,
        made    INTEGER NOT NULL,
        scopes  TEXT NOT NULL,
        kept_as TEXT,
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unfinished (
        run     INTEGER NOT NULL,
        number  INTEGER NOT NULL,
        made    INTEGER NOT NULL,
        scopes  TEXT NOT NULL,
        usd     INTEGER NOT NULL,
        charged INTEGER NOT NULL,
        PRIMARY KEY (run, number)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE documents (
        section TEXT NOT NULL,
        name    TEXT NOT NULL,
        content TEXT NOT NULL,
        version INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (section, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revision (revision INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (0);
",
    "
    CREATE TABLE days (
        day      INTEGER NOT NULL,
        account  TEXT NOT NULL,
        requests INTEGER NOT NULL,
        usd      INTEGER NOT NULL,
        input    INTEGER NOT NULL,
        output   INTEGER NOT NULL,
        PRIMARY KEY (day, account)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE marks (
        name  TEXT PRIMARY KEY,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        hash   TEXT NOT NULL,
        entry  TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_insert BEFORE INSERT ON audit
    WHEN new.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit)
    BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_update BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_delete BEFORE DELETE ON audit
    BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
",
];

/// What says that a database is one of these.
const APPLICATION_ID: i64 = 0x4261_7274;

/// How long another program may keep the database from being written.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file, and that it is still where it was opened.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Database {
    /// Opens what is at `path`, or makes it.
    pub(super) fn open(path: &Path, flushes: bool) -> Result<Self, Error> {
        match fs::metadata(path) {
            Ok(file) if file.len() == 0 => {
                let what = "is empty, which a database never is; if nothing is to be saved, delete it to \
                            begin anew";
                return Err(failed(path, what, ""));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(failed(path, "can't be opened", error)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|error| failed(path, "can't be opened", error))?;
        connection.busy_timeout(PATIENCE).map_err(|error| failed(path, "can't be opened", error))?;
        let mut this = Self { connection, path: path.to_owned(), identity: identity(path) };
        this.check()?;
        this.prepare(flushes).map_err(|error| failed(path, "can't be used", error))?;
        Ok(this)
    }

    /// Whether it is a whole database of this program.
    fn check(&self) -> Result<(), Error> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let damaged = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                failed(&self.path, "is damaged, or no database; use a backup of it", error)
            }
            _ => failed(&self.path, "can't be read", error),
        };
        if pragma("application_id").map_err(damaged)? != APPLICATION_ID {
            return Err(failed(&self.path, "is a database of another program", ""));
        }
        if pragma("user_version").map_err(damaged)? > MIGRATIONS.len() as i64 {
            return Err(failed(&self.path, "was written by a newer version of this program", ""));
        }
        let first: Result<String, _> =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match first.map_err(damaged)? {
            found if found == "ok" => Ok(()),
            found => Err(failed(&self.path, "is damaged; use a backup of it", found)),
        }
    }

    fn prepare(&mut self, flushes: bool) -> Result<(), BoxError> {
        let connection = &mut self.connection;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err("its file system can't have a write-ahead log".into());
        }
        connection.pragma_update(None, "synchronous", if flushes { "FULL" } else { "NORMAL" })?;
        migrate(connection)?;
        // What the process before has left in the log gets into the file, unless somebody reads it.
        let is_read: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !is_read && self.lacks_its_end()? {
            return Err("it is damaged, its end is missing; use a backup of it".into());
        }
        Ok(())
    }

    /// Whether a part of the last page is missing, which SQLite takes for zeros.
    fn lacks_its_end(&self) -> Result<bool, BoxError> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let whole = u64::from(pragma("page_size")?) * u64::from(pragma("page_count")?);
        Ok(fs::metadata(&self.path)?.len() < whole)
    }

    /// A transaction that writes. Whatever is written into a file that was moved or replaced would be gone.
    pub(super) fn transaction(&mut self) -> Result<Transaction<'_>, BoxError> {
        if !self.path.exists() {
            return Err(format!("{} is gone", self.path.display()).into());
        }
        if identity(&self.path) != self.identity {
            return Err(format!("{} was replaced by another file", self.path.display()).into());
        }
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

/// Adds up what was used, for good.
pub(super) fn post<'p>(
    transaction: &Transaction<'_>,
    posts: impl IntoIterator<Item = (&'p Post, &'p u64)>,
) -> rusqlite::Result<()> {
    // A sum that overflows would become a floating point number.
    let mut add = transaction.prepare_cached(
        "INSERT INTO balances (period, window, account, measure, posted) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET
         posted = min(posted, 9223372036854775807 - excluded.posted) + excluded.posted",
    )?;
    for (Post { place, window }, amount) in posts {
        let period = place.period.to_string();
        add.execute((period, window.0, &*place.account, place.measure.as_str(), signed(*amount)))?;
    }
    Ok(())
}

/// SQLite has no unsigned integers.
pub(super) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Makes a database aside, so that what stands at `path` is always whole.
fn create(path: &Path) -> Result<(), Error> {
    let log = beside(path, "-wal");
    if log.exists() {
        let what = "is there without its database, and would spoil a new one; bring the database back, or \
                    delete both to begin anew";
        return Err(failed(&log, what, ""));
    }
    let new = beside(path, ".new");
    let make = || -> Result<(), BoxError> {
        if new.exists() {
            fs::remove_file(&new)?;
        }
        let mut connection = Connection::open(&new)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrate(&mut connection)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(fs::rename(&new, path)?)
    };
    make().map_err(|error| failed(path, "can't be made", error))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let done: u16 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (migration, version) in MIGRATIONS.iter().zip(1..).skip(done.into()) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The file with the same name and something behind it.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// An error that names the file.
pub(super) fn failed(path: &Path, what: &str, why: impl fmt::Display) -> Error {
    let (path, why) = (path.display(), why.to_string());
    let colon = if why.is_empty() { "" } else { ": " };
    Error::new(Kind::Internal, format!("{path} {what}{colon}{why}"))
}

/// What tells a file from another at the same place.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// A file that is open can't be taken away.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}
