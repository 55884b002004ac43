use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::{BoxError, Error, Kind};

/// What brings a database from each version to the next; `user_version` counts what was done.
///
/// What is listed and filtered by is apart from what is shown of one record, so that many fit on a page. Records are
/// told apart by their group: by what is filtered and summed up by. Of each group there are sums by minute, hour and
/// day, and sums of the groups that remain when some of it isn't told apart (`level`).
///
/// All texts that are searched are in `contents`, also the messages of errors, so that a search of all records reads nothing else.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE groups (
        id       INTEGER PRIMARY KEY,
        level    INTEGER NOT NULL,
        key      TEXT,
        team     TEXT,
        customer TEXT,
        user     TEXT,
        feature  TEXT,
        model    TEXT,
        target   TEXT,
        provider TEXT,
        status   INTEGER,
        error    TEXT,
        finish   TEXT
    ) STRICT;
    CREATE INDEX groups_by_level ON groups (level, key, user);
    CREATE TABLE records (
        place       INTEGER PRIMARY KEY,
        of          INTEGER NOT NULL,
        duration    INTEGER NOT NULL,
        first_event INTEGER,
        overhead    INTEGER,
        ending      TEXT NOT NULL,
        flags       INTEGER NOT NULL,
        attempts    INTEGER NOT NULL,
        input       INTEGER NOT NULL,
        cached      INTEGER NOT NULL,
        output      INTEGER NOT NULL,
        reasoning   INTEGER NOT NULL,
        cost        INTEGER NOT NULL,
        user        TEXT,
        session     TEXT,
        trace       TEXT,
        feature     TEXT
    ) STRICT;
    CREATE INDEX records_by_group ON records (of);
    CREATE INDEX records_by_user ON records (user) WHERE user IS NOT NULL;
    CREATE INDEX records_by_session ON records (session) WHERE session IS NOT NULL;
    CREATE INDEX records_by_trace ON records (trace) WHERE trace IS NOT NULL;
    CREATE TABLE details (
        place  INTEGER PRIMARY KEY,
        id     TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX details_by_id ON details (id);
    CREATE TABLE contents (
        place   INTEGER PRIMARY KEY,
        request TEXT,
        answer  TEXT,
        pieces  TEXT,
        is_cut  INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tags (
        name  TEXT NOT NULL,
        value TEXT NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (name, value, place)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tags_by_place ON tags (place);
    CREATE TABLE rollups (
        level       INTEGER NOT NULL,
        step        INTEGER NOT NULL,
        at          INTEGER NOT NULL,
        of          INTEGER NOT NULL,
        requests    INTEGER NOT NULL,
        attempts    INTEGER NOT NULL,
        input       INTEGER NOT NULL,
        cached      INTEGER NOT NULL,
        output      INTEGER NOT NULL,
        reasoning   INTEGER NOT NULL,
        cost        INTEGER NOT NULL,
        writing_ms  INTEGER NOT NULL,
        latency     BLOB NOT NULL,
        first_event BLOB NOT NULL,
        overhead    BLOB NOT NULL,
        PRIMARY KEY (level, step, at, of)
    ) STRICT, WITHOUT ROWID;
",
    // Where targets aren't told apart it can't be known of two kinds whether a provider was asked; such groups count as
    // refused.
    "
    ALTER TABLE groups ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
    UPDATE groups SET failed = 1
    WHERE error IS NULL AND status >= 400
        OR error IN ('billing', 'upstream_auth', 'timeout', 'overloaded', 'unreachable', 'upstream', 'internal')
        OR target IS NOT NULL AND error IN ('rate_limited', 'no_route');
",
    "
    ALTER TABLE contents ADD COLUMN message TEXT;
    INSERT INTO contents (place, is_cut, message)
        SELECT d.place, 0, d.record ->> '$.message' FROM records r JOIN details d ON d.place = r.place
        WHERE r.flags & 4 AND d.record ->> '$.message' IS NOT NULL
        ON CONFLICT (place) DO UPDATE SET message = excluded.message;
",
];

/// What says that a database is one of these.
pub(super) const APPLICATION_ID: i64 = 0x4261_4c6f;

/// How long another program may keep the database from being written.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens or makes what is at `path`, to write it; in memory without one.
pub(super) fn open(path: Option<&Path>) -> Result<Connection, Error> {
    let Some(path) = path else {
        let open = || -> Result<Connection, BoxError> {
            let mut connection = Connection::open_in_memory()?;
            migrate(&mut connection)?;
            Ok(connection)
        };
        return open()
            .map_err(|error| Error::new(Kind::Internal, "there is no room for logs").with_source(error));
    };
    prepare(path).map_err(|error| Error::new(Kind::Internal, format!("{}: {error}", path.display())))
}

fn prepare(path: &Path) -> Result<Connection, BoxError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // One that was killed before it had made anything has left an empty file.
    let is_empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if is_empty {
        connection.pragma_update(None, "page_size", 8192)?;
        // So that what retention frees can be given back.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION_ID {
        return Err("is a database of another program".into());
    }
    if pragma("user_version")? > MIGRATIONS.len() as i64 {
        return Err("was written by a newer version of this program".into());
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err("its file system can't have a write-ahead log".into());
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    migrate(&mut connection)?;
    room(&connection)?;
    Ok(connection)
}

/// Opens what is at `path`, to read it while it is written.
pub(super) fn reader(path: &PathBuf) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    room(&connection)?;
    Ok(connection)
}

/// How much of the file is in memory: 16 MB of pages, and what the operating system has of it.
fn room(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
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

/// SQLite has no unsigned integers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What was written by [`signed`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
