//! Balances that survive the process, in a file: [`SqliteLedger`].
//!
//! The balances themselves are in memory, as those of [`MemoryLedger`](super::MemoryLedger) are, so that
//! one process decides and nothing is read while requests wait. The file is the journal of it, written by
//! one thread: everything that waits goes into one transaction. Each request is in it twice: its hold,
//! for which it waits before a provider is asked, and what it really was, for which nobody waits.
//!
//! # What is lost, and what isn't
//!
//! - **A process that is killed** loses nothing. Whatever was answered has its hold in the file. A hold
//!   without an outcome is charged as it was held when the file is opened again, once; it is then listed in
//!   the table `unfinished`, and counted in [`SqliteLedger::unfinished`].
//! - **A machine that loses its power** may lose what was written last and was not on the disk yet: seconds,
//!   as its operating system has it. What is left is whole, and balances, holds and settlements still agree.
//!   [`SqliteOptions::flush`] waits for the disk with every transaction, and loses nothing then either.
//! - **A disk that is full or gone**: what can't be held is refused, and held again when it can be. What was
//!   used meanwhile waits, and is written then. Nothing needs a restart.
//! - **Limits by the second, minute or hour, and places** begin anew with the process.
//!
//! A file belongs to one process at a time; a second one is told so. Others may read it while it is
//! written, with any tool that knows SQLite:
//!
//! ```sql
//! SELECT account, date(window, 'unixepoch'), posted / 1e9 AS usd
//! FROM balances WHERE period = 'month' AND measure = 'usd' ORDER BY window, account;
//! ```
//!
//! The table `days` has what was settled on each account on each of the last 400 days:
//!
//! ```sql
//! SELECT account, sum(requests), sum(input + output) AS tokens, sum(usd) / 1e9 AS usd
//! FROM days WHERE day >= unixepoch('2026-11-01') GROUP BY account ORDER BY usd DESC;
//! ```
//!
//! A window is named by the second in which it began; windows that have passed stay there. A rolling period
//! has a row for each of its steps.

mod database;
mod days;
mod errand;
mod lock;
mod queue;
mod restore;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs,
    ops::RangeInclusive,
    path::{self, Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::Transaction;
use tokio::{sync::oneshot, time::Instant};

pub(crate) use self::errand::Shelf;
pub use self::restore::Unfinished;
use self::{
    database::{Database, failed},
    lock::Lock,
    queue::{Job, Post, Queue},
    restore::Restored,
    writer::Writer,
};
use super::{
    Amounts, Balance, Clock, Day, Hold, HoldId, Ledger, Measure, Period, Scope, Shape, Ticket, Window,
    books::{Books, Place},
    days::held,
    marks::Marks,
};
use crate::{BoxFuture, Error, Kind, lock as locked, metrics};

/// As [measurements](crate::metrics) call it.
const STORE: &str = "sqlite";

/// How long a request may wait for its hold to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a file is opened.
///
/// ```no_run
/// use bartizan::ledger::SqliteOptions;
///
/// let ledger = SqliteOptions::new("bartizan.db").flush(true).open()?;
/// # Ok::<_, bartizan::Error>(())
/// ```
#[derive(Debug)]
pub struct SqliteOptions {
    path: PathBuf,
    flush: bool,
    clock: Clock,
}

impl SqliteOptions {
    /// Of the file at `path`, which is made if it isn't there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), flush: false, clock: Clock::default() }
    }

    /// Sets whether every transaction waits for the disk, so that nothing is lost with the power either.
    /// Every request then waits for the disk too.
    #[must_use]
    pub fn flush(self, flush: bool) -> Self {
        Self { flush, ..self }
    }

    /// Sets another clock than that of the system.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(now), ..self }
    }

    /// Opens the file, and charges what the process before has left without an outcome.
    ///
    /// # Errors
    ///
    /// If the file is in use by another process, is damaged, belongs to another program or to a newer
    /// version, or can't be written; the message names it and says what can be done.
    pub fn open(self) -> Result<SqliteLedger, Error> {
        let Self { path, flush, clock } = self;
        // One file, one lock, whatever it is called.
        let path = fs::canonicalize(&path).or_else(|_| path::absolute(&path)).unwrap_or(path);
        let lock = Lock::hold(&path)?;
        let mut database = Database::open(&path, flush)?;
        let restored = restore::restore(&mut database, clock.now());
        let Restored { books, run, unfinished } =
            restored.map_err(|error| failed(&path, "can't be read", error))?;
        if unfinished.requests > 0 {
            let Unfinished { requests, cost } = unfinished;
            tracing::warn!(requests, %cost, "charged as they were held: their outcomes were not written");
        }
        metrics::store_away(STORE, false);
        let queue = Arc::<Queue>::default();
        let writer = Writer::new(database, lock, queue.clone());
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| failed(&path, "has no thread to write it", error))?;
        Ok(SqliteLedger {
            path,
            books: Mutex::new(books),
            run,
            numbers: AtomicU64::default(),
            clock,
            unfinished,
            queue,
            thread: Some(thread),
        })
    }
}

/// Balances that survive the process, in a file; see the [module](self).
///
/// Dropping it writes what still waits, and waits for that; [`written`](Self::written) does so without
/// holding up a thread.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    books: Mutex<Books>,
    run: u64,
    numbers: AtomicU64,
    clock: Clock,
    unfinished: Unfinished,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteLedger {
    /// Opens or makes the file at `path`.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteOptions::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        SqliteOptions::new(path).open()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this start has charged although its outcome is not known.
    pub fn unfinished(&self) -> Unfinished {
        self.unfinished
    }

    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::new(self.queue.clone())
    }

    /// What stands on `account`; `None` if nothing of the measure was reserved on it for the period. An
    /// account without a quota counts [`Measure::Usd`] for [`Period::Total`].
    pub fn balance(&self, account: &str, measure: Measure, period: Period) -> Option<Balance> {
        let place = Place { account: account.into(), measure, period };
        locked(&self.books).balance(&place, self.clock.now())
    }

    /// Waits until all that was settled and kept before is written. While the file can't be written, that
    /// takes until it can.
    ///
    /// # Errors
    ///
    /// If nothing will be written any more, because the writer has failed.
    pub async fn written(&self) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        self.queue.push(Job::Tell(tell));
        told.await.map_err(|_| away())
    }

    /// Holds in memory, and leaves the rest to the writer.
    fn hold(&self, scopes: &[Scope], worst: Amounts) -> Result<Unwritten<'_>, Error> {
        let id = HoldId { node: self.run, number: self.numbers.fetch_add(1, Ordering::Relaxed) };
        let now = self.clock.now();
        let reserved = locked(&self.books).reserve(id, scopes, worst, now);
        // The message is written when the lock is given back.
        let ticket = reserved.map_err(Error::from)?;
        let (written, outcome) = oneshot::channel();
        let lasting: Vec<&Hold> = ticket.holds.iter().filter(|hold| lasts(hold)).collect();
        let text = serde_json::to_string(&lasting);
        let unwritten = Unwritten { ledger: self, ticket: Some(ticket), outcome };
        let scopes = text.map_err(|error| away().with_source(error))?;
        self.queue.push(Job::Hold { id, made: seconds(now), scopes, written });
        Ok(unwritten)
    }

    /// Marks in memory, and waits until that is in the file; but not for a file that can't be written.
    async fn mark(&self, name: &str, lasts: Duration) -> Result<bool, Error> {
        let now = self.clock.now();
        let until = Marks::end(now, lasts);
        let is_new = locked(&self.books).marks.make(name, until, now);
        if is_new {
            self.queue.push(Job::Mark { name: name.into(), until: seconds(until) });
            if tokio::time::timeout(PATIENCE, self.written()).await.is_err() {
                tracing::warn!(name, "a mark is not written yet: after a kill it would be made again");
            }
        }
        Ok(is_new)
    }

    /// `used` is counted on the day, unless it never came to a request.
    fn settle_as(&self, ticket: Ticket, actual: impl Fn(&Hold) -> u64, used: Option<Amounts>) {
        let now = self.clock.now();
        let posts = posts(&mut locked(&self.books), &ticket, actual, now);
        let day = used.map(|used| (ticket.holds, Day::one(used, now)));
        self.queue.push(Job::Settle { id: ticket.id, posts, day });
    }
}

impl Ledger for SqliteLedger {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(async move { self.hold(scopes, worst)?.written().await })
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        self.settle_as(ticket, actual.on(), Some(actual));
    }

    fn keep(&self, ticket: Ticket, name: &str) {
        let id = ticket.id;
        let kept = locked(&self.books).keep(ticket, name);
        match kept {
            Ok(()) => self.queue.push(Job::Keep { id, name: name.into() }),
            Err(ticket) => {
                tracing::warn!(name, "a hold can't be kept, and is charged as it was held");
                let (held, used) = (ticket.held(), held(&ticket.holds));
                self.settle_as(ticket, held, Some(used));
            }
        }
    }

    // Its name stays in the file until it is settled: if the process ends before that, whoever asks next
    // for the outcome finds it.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        Box::pin(std::future::ready(Ok(locked(&self.books).resume(name))))
    }

    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
        let balances = locked(&self.books).balances(scopes, self.clock.now());
        Box::pin(std::future::ready(Ok(balances)))
    }

    fn days<'a>(
        &'a self,
        account: &'a str,
        days: RangeInclusive<Window>,
    ) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
        let (account, now) = (account.to_owned(), self.clock.now());
        let ask = move |transaction: &Transaction<'_>| days::read(transaction, &account, days.clone(), now);
        Box::pin(async move { self.shelf().ask(ask).await })
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.mark(name, lasts))
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A hold that is not in the file yet. Whoever stops waiting gives it back.
struct Unwritten<'a> {
    ledger: &'a SqliteLedger,
    ticket: Option<Ticket>,
    outcome: oneshot::Receiver<Result<(), String>>,
}

impl Unwritten<'_> {
    async fn written(mut self) -> Result<Ticket, Error> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, &mut self.outcome).await;
        metrics::store_asked(STORE, begun.elapsed());
        let why = match outcome {
            Ok(Ok(Ok(()))) => return self.ticket.take().ok_or_else(away),
            Ok(Ok(Err(error))) => {
                self.give_back();
                error
            }
            Ok(Err(_)) => "its writer has stopped".to_owned(),
            Err(_) => format!("a hold was not written within {} seconds", PATIENCE.as_secs()),
        };
        Err(away().with_source(why))
    }

    /// The file has nothing of it.
    fn give_back(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let _ = posts(&mut locked(&self.ledger.books), &ticket, |_| 0, self.ledger.clock.now());
        }
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if matches!(self.outcome.try_recv(), Ok(Err(_))) {
            self.give_back();
        } else if let Some(ticket) = self.ticket.take() {
            self.ledger.settle_as(ticket, |_| 0, None);
        }
    }
}

fn away() -> Error {
    Error::new(Kind::Internal, "the ledger can't be written, so that nothing can be charged")
}

/// Settles in the books, and says what of it is remembered.
fn posts(
    books: &mut Books,
    ticket: &Ticket,
    actual: impl Fn(&Hold) -> u64,
    now: SystemTime,
) -> Vec<(Post, u64)> {
    let mut posts = Vec::with_capacity(ticket.holds.len());
    books.settle(ticket, actual, now, |hold, window, amount| {
        if amount > 0 && lasts(hold) {
            posts.push((Post { place: hold.place(), window }, amount));
        }
    });
    posts
}

/// Whether the file remembers it.
fn lasts(hold: &Hold) -> bool {
    hold.measure != Measure::Concurrent && !matches!(hold.period.shape(), Shape::Bucket(_))
}

/// The second of the epoch.
fn seconds(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
