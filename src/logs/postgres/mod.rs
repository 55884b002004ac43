//! Records in Postgres, of one gateway or of many: [`PostgresLogs`].
//!
//! It [keeps](crate::record::Keep) records and finds them. All gateways with the same database and schema write to the same
//! tables, and each of them shows the records of all.
//!
//! - A batch is a few statements in one transaction, however many records it has. One that is tried again, because its
//!   answer was lost, leaves no record twice, and none is summed up twice.
//! - Where the database has the extension [TimescaleDB](https://docs.timescale.com) when the tables are made, they are
//!   hypertables by time with a chunk a day, and what is too old is forgotten a day at a time; this is tested with stand-ins
//!   for its functions only. Otherwise they are plain tables, and it is deleted.
//! - Beside the records there are sums of them, by minute, hour and day, which are written with them in one transaction.
//!   They stay when the records are forgotten: minutes for 8 days, hours for 93, days for 400. What they don't tell apart is
//!   summed up from the records when it is asked for: a user, a session, a trace, a tag other than `feature`.
//! - Tables of a version without sums get them; for spans until the second day after that, the records are summed up. Old
//!   versions should not run any more then.
//! - A question that takes longer than the [timeout](PostgresLogsOptions::timeout) fails; a text is looked for in what was
//!   said for two seconds, from the newest on.
//!
//! Any tool that knows Postgres may read the tables:
//!
//! ```sql
//! SELECT ended, key, model, status, duration / 1000 AS ms, cost / 1e9 AS usd
//! FROM bartizan_logs.records ORDER BY ended DESC LIMIT 100;
//! ```
//!
//! Needs Postgres 12 or newer.

mod condition;
mod find;
mod group;
mod records;
mod rollup;
mod schema;
mod session;
mod sums;
mod tidy;
mod write;

use std::{
    error::Error as _,
    fmt, io,
    sync::{Arc, Mutex as Lock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};
use tokio_postgres::error::SqlState;

use self::session::Session;
use super::{Entry, Filter, Logs, Page, Place, Question, Sum};
use crate::{
    BoxError, BoxFuture, Error, Kind, lock,
    postgres::{Server, is_schema},
    record::{Keep, Kept},
};

/// How many questions are answered at the same time.
const READERS: usize = 4;
/// The most records of one transaction.
const PART: usize = 1_000;

/// Where records are kept, and for how long.
///
/// ```no_run
/// use std::time::Duration;
///
/// use bartizan::logs::{PostgresLogs, PostgresLogsOptions};
///
/// let options = PostgresLogsOptions::new("postgres://gateway@db/gateway").age(Duration::from_secs(30 * 86_400));
/// let logs = PostgresLogs::new(options)?;
/// # Ok::<_, bartizan::Error>(())
/// ```
#[derive(Clone)]
pub struct PostgresLogsOptions {
    url: String,
    authority: Option<Vec<u8>>,
    schema: String,
    timeout: Duration,
    age: Option<Duration>,
}

/// Without the address: there may be a password in it.
impl fmt::Debug for PostgresLogsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema, timeout, age, .. } = self;
        f.debug_struct("PostgresLogsOptions")
            .field("schema", schema)
            .field("timeout", timeout)
            .field("age", age)
            .finish_non_exhaustive()
    }
}

impl PostgresLogsOptions {
    /// A server: `postgres://user:password@host:5432/database?sslmode=require`. TLS is used if the server has it, and its
    /// certificate is then verified; with `sslmode=require` it has to, with `sslmode=disable` it is not asked for.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authority: None,
            schema: "bartizan_logs".to_owned(),
            timeout: Duration::from_secs(10),
            age: None,
        }
    }

    /// Sets whose certificates are trusted, as PEM, instead of the authorities of Mozilla.
    #[must_use]
    pub fn authority(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { authority: Some(pem.into()), ..self }
    }

    /// Sets the schema that the tables are in, which is made if it isn't there. `bartizan_logs` without this.
    #[must_use]
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Sets how long a batch, or a question, may take; ten seconds without this.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how old records may be; any age without this.
    #[must_use]
    pub fn age(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }
}

/// Keeps records in Postgres, and finds them. Clones have the same sessions.
#[derive(Clone)]
pub struct PostgresLogs(Arc<Inner>);

struct Inner {
    options: PostgresLogsOptions,
    server: Server,
    writer: Mutex<Writer>,
    /// Sessions that nobody uses at the moment.
    readers: Lock<Vec<Session>>,
    places: Semaphore,
}

/// The session that writes, if there is one.
struct Writer {
    session: Option<Session>,
    /// When it is next looked for what is old.
    tidy_at: Instant,
    /// Whether that was tried in vain, which is said once.
    has_failed: bool,
}

impl fmt::Debug for PostgresLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresLogs").field(&self.0.options).finish()
    }
}

impl PostgresLogs {
    /// In the database that the options name, which need not be there yet.
    ///
    /// # Errors
    ///
    /// If the address or another setting is not understood.
    pub fn new(options: PostgresLogsOptions) -> Result<Self, Error> {
        if !is_schema(&options.schema) {
            let message = "the schema in postgres has up to 63 letters of a-z, digits and underscores";
            return Err(Error::new(Kind::Internal, message));
        }
        let server = Server::new(&options.url, options.authority.as_deref(), options.timeout);
        let server = server.map_err(|error| {
            Error::new(Kind::Internal, "the address of postgres or its authority is not understood")
                .with_source(error)
        })?;
        let writer = Writer { session: None, tidy_at: Instant::now(), has_failed: false };
        Ok(Self(Arc::new(Inner {
            options,
            server,
            writer: Mutex::new(writer),
            readers: Lock::default(),
            places: Semaphore::new(READERS),
        })))
    }

    /// Writes in time. A session that has failed is not used again.
    async fn write(&self, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
        let mut writer = self.0.writer.lock().await;
        for part in batch.chunks(PART) {
            let write = async {
                let mut session = self.0.session(writer.session.take()).await?;
                write::write(&mut session, part).await?;
                Ok::<_, BoxError>(session)
            };
            writer.session = Some(self.0.in_time(write).await?);
        }
        Ok(())
    }

    async fn tidy(&self) {
        let mut writer = self.0.writer.lock().await;
        if Instant::now() < writer.tidy_at {
            return;
        }
        let tidy = async {
            let session = self.0.session(writer.session.take()).await?;
            let next = tidy::tidy(&session, &self.0.options, SystemTime::now()).await?;
            Ok::<_, BoxError>((session, next))
        };
        match self.0.in_time(tidy).await {
            Ok((session, next)) => {
                writer.session = Some(session);
                writer.tidy_at = Instant::now() + next;
                writer.has_failed = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut writer.has_failed, true) {
                    tracing::warn!(%error, "old records could not be forgotten in postgres");
                }
            }
        }
    }

    /// Asks in time, in one of a few sessions.
    async fn ask<T>(&self, ask: impl AsyncFnOnce(&Session) -> Result<T, BoxError>) -> Result<T, Error> {
        let asking = async {
            let _place = self.0.places.acquire().await.map_err(away)?;
            let idle = lock(&self.0.readers).pop();
            let session = self.0.session(idle).await.map_err(away)?;
            let answer = ask(&session).await.map_err(failed)?;
            lock(&self.0.readers).push(session);
            Ok(answer)
        };
        let limit = self.0.options.timeout;
        let asked = timeout(limit, asking).await.unwrap_or_else(|error| Err(late(error)));
        asked.inspect_err(|_| {
            // Others may have lost their server too.
            lock(&self.0.readers).clear();
        })
    }
}

impl Inner {
    /// A session that can be used: this one, or a new one.
    async fn session(&self, session: Option<Session>) -> Result<Session, BoxError> {
        match session.filter(|session| !session.client.is_closed()) {
            Some(session) => Ok(session),
            None => Session::begin(&self.server, &self.options).await,
        }
    }

    async fn in_time<T>(&self, what: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
        timeout(self.options.timeout, what).await?
    }
}

impl Keep for PostgresLogs {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.write(batch))
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(Self::tidy(self))
    }
}

impl Logs for PostgresLogs {
    fn find<'a>(
        &'a self,
        filter: &'a Filter,
        place: Option<Place>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Error>> {
        Box::pin(self.ask(async move |session| find::find(&session.client, filter, place, limit).await))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        Box::pin(self.ask(async move |session| find::get(&session.client, id).await))
    }

    fn sums<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Vec<Sum>, Error>> {
        Box::pin(async move {
            question.check()?;
            self.ask(async move |session| sums::sums(session, question, SystemTime::now()).await).await
        })
    }
}

/// When it is worth trying again, where Postgres is away.
const SOON: Duration = Duration::from_secs(5);

fn away(error: impl Into<BoxError>) -> Error {
    let message = "postgres, where the records are, can't be reached; see whether it runs and lets this gateway in, and \
                   try again";
    Error::new(Kind::Unreachable, message).with_retry_after(SOON).with_source(error)
}

fn late(error: impl Into<BoxError>) -> Error {
    let message = "postgres, where the records are, did not answer in time; see whether it is overloaded, ask for a \
                   shorter span, or try again";
    Error::new(Kind::Timeout, message).with_retry_after(SOON).with_source(error)
}

/// What is told of a question that had no answer.
fn failed(error: BoxError) -> Error {
    let Some(of_server) = error.downcast_ref::<tokio_postgres::Error>() else {
        return Error::new(Kind::Internal, "the logs can't be asked").with_source(error);
    };
    match of_server.code() {
        Some(&SqlState::QUERY_CANCELED) => late(error),
        // It is shut down or begins.
        Some(code) if code.code().starts_with("57P") => away(error),
        None if of_server.is_closed()
            || of_server.source().is_some_and(|source| source.is::<io::Error>()) =>
        {
            away(error)
        }
        _ => Error::new(Kind::Internal, "the logs can't be asked").with_source(error),
    }
}

/// Postgres has no unsigned integers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What was written by [`signed`].
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The moment of a place.
fn at(place: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(place)
}
