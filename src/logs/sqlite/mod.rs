//! Records in a file: [`SqliteLogs`].
//!
//! It [keeps](crate::record::Keep) records and finds them. The file is not that of a ledger: what is spent must be
//! written before a request goes on, while records are written many at once, some moments later, by whom no request
//! waits for.
//!
//! Beside the records there are sums of them, by minute, hour and day, which are written with them in one transaction
//! and are never wrong. They stay when the records are forgotten: minutes for 8 days, hours for 93, days for 400.
//!
//! Others may read the file while it is written, with any tool that knows SQLite:
//!
//! ```sql
//! SELECT datetime(place / 1000000, 'unixepoch') AS came, key, model, status, duration / 1000 AS ms, cost / 1e9 AS usd
//! FROM records JOIN groups ON groups.id = records.of ORDER BY place DESC LIMIT 100;
//! ```

mod condition;
mod database;
mod find;
mod group;
mod rollup;
mod sums;
#[cfg(test)]
mod tests;
mod tidy;
mod write;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use rusqlite::{Connection, InterruptHandle};
use tokio::{sync::Semaphore, task::spawn_blocking};

pub use self::tidy::Retention;
use self::write::Writer;
use super::{Entry, Filter, Logs, Page, Place, Question, Sum};
use crate::{
    BoxError, BoxFuture, Error, Kind, lock,
    record::{Keep, Kept},
};

/// How many questions are answered at the same time.
const READERS: usize = 4;

/// Where records are kept, and for how long.
///
/// ```no_run
/// use bartizan::logs::{Retention, SqliteLogsOptions};
///
/// let logs = SqliteLogsOptions::new("logs.db").retention(Retention::USUAL).open()?;
/// # Ok::<_, bartizan::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteLogsOptions {
    path: Option<PathBuf>,
    retention: Retention,
}

impl SqliteLogsOptions {
    /// In the file at `path`, which is made if it isn't there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), retention: Retention::USUAL }
    }

    /// In memory, only the last `records`.
    pub fn in_memory(records: u64) -> Self {
        let retention = Retention { records: Some(records), size: None, ..Retention::USUAL };
        Self { path: None, retention }
    }

    /// Sets for how long they are kept, and in how much room.
    #[must_use]
    pub fn retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Opens or makes the file.
    ///
    /// # Errors
    ///
    /// If it belongs to another program or to a newer version, or can't be written; the message names it.
    pub fn open(self) -> Result<SqliteLogs, Error> {
        let connection = database::open(self.path.as_deref())?;
        Ok(SqliteLogs(Arc::new(Inner {
            path: self.path,
            retention: self.retention,
            writer: Mutex::new(Writer::new(connection)),
            readers: Mutex::default(),
            places: Semaphore::new(READERS),
        })))
    }
}

/// Keeps records in a file, and finds them. Clones have the same file.
#[derive(Clone, Debug)]
pub struct SqliteLogs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` in memory.
    path: Option<PathBuf>,
    retention: Retention,
    writer: Mutex<Writer>,
    /// Connections that nobody uses at the moment.
    readers: Mutex<Vec<Connection>>,
    places: Semaphore,
}

impl SqliteLogs {
    /// Does something with what writes, on a thread that may block.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writer, &Inner) -> T + Send + 'static,
    ) -> Result<T, BoxError> {
        let inner = self.0.clone();
        Ok(spawn_blocking(move || write(&mut lock(&inner.writer), &inner)).await?)
    }

    /// Asks the file, on a thread that may block, until somebody no longer wants to know.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, Error> {
        let away = |error: BoxError| Error::new(Kind::Internal, "the logs can't be asked").with_source(error);
        let _place = self.0.places.acquire().await.map_err(|error| away(error.into()))?;
        let Some(path) = &self.0.path else {
            return self.write(|writer, _| ask(&writer.connection)).await.flatten().map_err(away);
        };
        let idle = lock(&self.0.readers).pop();
        let connection =
            idle.map_or_else(|| database::reader(path), Ok).map_err(|error| away(error.into()))?;
        let mut interrupt = Interrupt(Some(connection.get_interrupt_handle()));
        let asked = spawn_blocking(move || (ask(&connection), connection)).await;
        interrupt.0 = None;
        let (answer, connection) = asked.map_err(|error| away(error.into()))?;
        lock(&self.0.readers).push(connection);
        answer.map_err(away)
    }
}

/// Stops what a connection does, when nobody waits for it any more.
struct Interrupt(Option<InterruptHandle>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

impl Keep for SqliteLogs {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        let batch = batch.to_vec();
        Box::pin(async move { Ok(self.write(move |writer, _| writer.write(&batch)).await??) })
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let tidied = self.write(|writer, inner| tidy::tidy(writer, inner.retention, SystemTime::now()));
            if let Err(error) = tidied.await.and_then(|tidied| Ok(tidied?)) {
                tracing::warn!(%error, "old records could not be forgotten");
            }
        })
    }
}

impl Logs for SqliteLogs {
    fn find<'a>(
        &'a self,
        filter: &'a Filter,
        place: Option<Place>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        let filter = filter.clone();
        Box::pin(self.ask(move |connection| find::find(connection, &filter, place, limit)))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        let id = id.to_owned();
        Box::pin(self.ask(move |connection| find::get(connection, &id)))
    }

    fn sums<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Vec<Sum>, Error>> {
        let question = question.clone();
        Box::pin(async move {
            question.check()?;
            self.ask(move |connection| sums::sums(connection, &question, SystemTime::now())).await
        })
    }
}
