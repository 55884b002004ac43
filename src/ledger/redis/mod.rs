//! Balances in Redis, for many gateways that share limits and budgets: [`RedisLedger`].
//!
//! ```no_run
//! use bartizan::ledger::{RedisLedger, RedisOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let options = RedisOptions::new("redis://127.0.0.1:6379").journal("bartizan.journal");
//! let (ledger, worker) = RedisLedger::connect(options)?;
//! let worker = tokio::spawn(worker);
//! // … `BudgetLayer::new(Arc::new(ledger), prices)` … and when all of it is gone:
//! # drop(ledger);
//! # let _ =
//! worker.await
//! # ; Ok(())
//! # }
//! ```
//!
//! The example `proxy` uses it if its configuration says `store: { redis: "redis://127.0.0.1:6379" }`.
//!
//! # What is promised
//!
//! - A reservation is one script and one round trip, for all accounts and all measures together: all of it
//!   is held or none, whoever else asks at the same time. The semantics are those of
//!   [`MemoryLedger`](super::MemoryLedger); a test runs both side by side.
//! - The time is the server's, so that all nodes agree. The client only knows the calendar: it sends where
//!   the windows around its own time begin, and the script takes the one that the server's time is in. A
//!   client whose clock is off by less than a window does no harm, and a window that has passed is never
//!   opened again, not even by a server whose clock was set back.
//! - Every hold has a [`HoldId`] and is settled once, however often the settlement is sent. A reservation
//!   whose answer was lost, or whose caller left while it waited, is cancelled, also if it arrives later
//!   than that.
//! - Settlements are sent by a worker, many at once. Nobody waits for them, and their number is bounded by
//!   that of the requests under way; but while Redis is away and an [`Autonomous`](super::Autonomous) ledger lets requests
//!   pass, each of them leaves what it used, in memory and in the journal, until Redis is back.
//!
//! # When Redis is away
//!
//! A reservation waits for half a second ([`RedisOptions::timeout`]) and tries again within it; then it fails
//! with [`Kind::Internal`], and what that means is a setting of [`BudgetLayer`](crate::budget::BudgetLayer).
//! From then on reservations fail at once, until the worker, who looks every tenth of a second, gets an
//! answer.
//!
//! Settlements wait: in memory, and in the [journal](RedisOptions::journal) if there is one, a file that is
//! flushed to the disk. They are sent when Redis is back or, where the process has ended before, by the next
//! one with the same journal, and the file is emptied. It may be sent twice without harm. A last line that
//! was cut off is reported and left out. Without a journal, what waits is lost with the process, and its
//! holds are charged as they were held.
//!
//! # Leases
//!
//! Holds belong to the node that made them: to one process, under a random number. It renews a lease of 30
//! seconds ([`RedisOptions::lease`]) all the time. Holds of a node whose lease has run out are charged by any
//! other: money and requests as they were held, tokens not at all, and places are given back; each is logged.
//! If the node was only slow, its settlement corrects the charge to the exact amount, up to a day later.
//! After an outage of Redis itself nodes have the time of one lease to come back. Holds that were
//! [kept](Ledger::keep) belong to no node and have no lease; there are at most 100,000 of them, and what finds no room
//! is charged as it was held. One that was taken up, and whose node has not heard of it, is kept again, if there is
//! still room.
//!
//! # What is where
//!
//! All keys begin with the [prefix](RedisOptions::prefix) between braces, the hash tag by which a cluster
//! keeps them on one shard, where a script can change them together.
//!
//! | key | what | until |
//! |---|---|---|
//! | `{bartizan}:account:‹name›:‹measure›:‹period›` | hash: what is used and held | its window is past for a day; all is given back; for `total`, nothing is on it |
//! | `{bartizan}:holds:‹node›` | hash: the holds of a node | they are settled |
//! | `{bartizan}:kept` | hash: kept holds, by name | they are taken up |
//! | `{bartizan}:days:‹name›` | hash: what was settled on an account, by day | 400 days |
//! | `{bartizan}:nodes` | sorted set: when leases end | |
//! | `{bartizan}:documents` | hash: what a [`RedisDirectory`](crate::directory::RedisDirectory) keeps | |
//! | `{bartizan}:breakers` | hash: the targets that are passed over, until when and why | they are not; a day |
//! | `{bartizan}:once:‹name›` | what was done once, such as that somebody was told of a threshold | it may be done again |
//! | `{bartizan}:mark:‹node›:‹number›` | a hold that was charged for a dead node, or cancelled | a day, a minute |
//!
//! Sums are integers of 64 bits. Scripts compare them as floating-point numbers, which is exact up to nine
//! million dollars on one account; beyond, a comparison may be off by some billionths of a dollar while the
//! sum stays exact. A single request counts for that much at most.
//!
//! # What Redis itself may lose
//!
//! Balances are as durable as Redis is told to be. With `appendonly yes` and `appendfsync everysec`, a crash
//! may take the last second or two: what was used then is not counted, and settlements of holds that are
//! not there any more change nothing. With `appendfsync always` nothing is lost that was answered, at the price
//! of a flush for each round trip. Without an append-only file all since the last snapshot is gone at a
//! restart, budgets included. The same goes for a replica that takes over before it has heard of everything.
//! `maxmemory-policy` has to be `noeviction`, the default: a balance that is evicted is forgotten.
//!
//! Needs Redis 6.2 or newer, or Valkey.

mod board;
mod connection;
mod errand;
mod keys;
mod options;
mod script;
mod shelf;
#[cfg(test)]
mod tests;
mod wire;
mod worker;

use std::{
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use redis::{RedisError, Value, from_redis_value};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

pub(crate) use self::shelf::Shelf;
pub use self::{board::RedisBoard, options::RedisOptions};
use self::{
    connection::{Connection, Failure},
    errand::At,
    keys::Keys,
    script::{BALANCE, Call, DAYS, ONCE, RESUME},
    wire::Reserved,
    worker::Worker,
};
use super::{
    Amounts, Balance, Day, Hold, HoldId, Later, Ledger, Measure, Period, Scope, Ticket, Window,
    backlog::Backlog,
    errand::{Deed, Errand, of_day, random},
    journal::Journal,
};
use crate::{BoxError, BoxFuture, Error, Kind, metrics};

/// As [measurements](crate::metrics) call it.
const STORE: &str = "redis";

/// Balances in Redis, shared by all gateways that use the same server and prefix. Give it to a
/// [`BudgetLayer`](crate::budget::BudgetLayer).
pub struct RedisLedger {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Errand>,
    numbers: AtomicU64,
}

/// What the ledger and its worker both know.
struct Shared {
    connection: Connection,
    keys: Keys,
    options: RedisOptions,
    node: u64,
    /// Whether the store has stopped to answer. Nobody waits for it then but the worker, who looks for it.
    away: AtomicBool,
}

/// How long to wait until what failed is tried again within the same deadline.
const PAUSE: Duration = Duration::from_millis(20);

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger")
            .field("node", &self.shared.node)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl RedisLedger {
    /// The ledger and its worker: spawn it, and await it at shutdown, when the ledger is gone. Has to be
    /// called in a Tokio runtime. Redis need not be there yet.
    ///
    /// # Errors
    ///
    /// If an address is not understood, or the journal can't be opened.
    pub fn connect(options: RedisOptions) -> Result<(Self, impl Future<Output = ()> + Send), Error> {
        let wrong = |message: &str, source: BoxError| Error::new(Kind::Internal, message).with_source(source);
        options.check().map_err(|message| Error::new(Kind::Internal, message))?;
        let connection = Connection::new(&options)
            .map_err(|error| wrong("the address of redis is not understood", error.into()))?;
        let journal = options.journal.as_deref().map(Journal::open).transpose();
        let (journal, backlog) = journal
            .map_err(|error| wrong("the journal of the ledger can't be opened", error.into()))?
            .map_or((None, Vec::new()), |(journal, backlog)| (Some(journal), backlog));
        let node = random().map_err(|error| wrong("there is no randomness", error))?;
        let keys = Keys::new(&options.prefix);
        let shared = Arc::new(Shared { connection, keys, options, node, away: AtomicBool::new(false) });
        metrics::store_away(STORE, false);
        let (queue, errands) = mpsc::unbounded_channel();
        let worker = Worker::new(shared.clone(), errands, Backlog::new(journal, backlog));
        Ok((Self { shared, queue, numbers: AtomicU64::default() }, worker.run()))
    }

    /// Where documents stand that nodes share besides.
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::new(self.shared.clone())
    }

    /// Where gateways tell each other which targets they pass over.
    pub fn board(&self) -> RedisBoard {
        RedisBoard::new(self.shared.clone())
    }

    /// Whether Redis has stopped to answer: reservations fail at once until it does.
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// What stands on `account`; `None` if nothing of the measure stands on it for the period. An account
    /// without a quota counts [`Measure::Usd`] for [`Period::Total`].
    ///
    /// # Errors
    ///
    /// If Redis can't be asked.
    pub async fn balance(
        &self,
        account: &str,
        measure: Measure,
        period: Period,
    ) -> Result<Option<Balance>, Error> {
        let (now, at) = self.shared.options.now();
        let (kind, setting) = wire::shape_at(period, now);
        let key = self.shared.keys.account(account, measure, period);
        let call = Call::new(&BALANCE).key(key).arg(At(at)).arg(kind).arg(setting);
        let answer = self.shared.ask(&call).await?;
        let balance: Option<(u64, u64, i64)> = from_redis_value(answer).map_err(not_understood)?;
        Ok(balance.map(|(posted, held, window)| Balance { posted, held, window: Window(window) }))
    }

    /// What stands on an account, which may be nothing.
    async fn standing(&self, scope: &Scope) -> Result<Balance, Error> {
        let (measure, period) = scope.counted_as();
        let balance = self.balance(&scope.account, measure, period).await?;
        Ok(balance.unwrap_or_else(|| Balance::nothing(period, self.shared.options.now().0)))
    }

    /// Asks for all accounts at once, over one connection.
    async fn standings(&self, scopes: &[Scope]) -> Result<Vec<Balance>, Error> {
        self.shared.is_there()?;
        try_join_all(scopes.iter().map(|scope| self.standing(scope))).await
    }

    fn next(&self) -> HoldId {
        HoldId { node: self.shared.node, number: self.numbers.fetch_add(1, Ordering::Relaxed) }
    }

    /// Something to be told to the store if nobody says otherwise in time.
    fn unless_answered(&self, id: HoldId, deed: Deed, holds: Vec<Hold>) -> Unanswered<'_> {
        let (_, at) = self.shared.options.now();
        Unanswered { queue: &self.queue, errand: Some(Errand { at, ..Errand::new(id, deed, holds) }) }
    }

    async fn hold(&self, scopes: &[Scope], worst: Amounts) -> Result<Ticket, Error> {
        self.shared.is_there()?;
        let Shared { keys, options, .. } = &*self.shared;
        let id = self.next();
        let holds = wire::holds(scopes, worst);
        let call = wire::reserve(keys, id, scopes, &holds, options.now(), options.lease);
        // Whether it was granted is not known until there is an answer, and whoever asked may leave.
        let unanswered = self.unless_answered(id, Deed::Cancel, holds);
        let answer = self.shared.ask(&call).await?;
        let holds = unanswered.answered();
        match wire::reserved(answer, id, scopes, holds) {
            Some(Reserved::Granted(ticket)) => Ok(ticket),
            Some(Reserved::Refused(refusal)) => Err(refusal.into()),
            Some(Reserved::Gone) => Err(away("the reservation came too late")),
            None => Err(not_understood("not an answer to a reservation")),
        }
    }

    async fn take_up(&self, name: &str) -> Result<Option<Ticket>, Error> {
        self.shared.is_there()?;
        let Shared { keys, options, .. } = &*self.shared;
        let id = self.next();
        let call = Call::new(&RESUME)
            .key(keys.nodes())
            .key(keys.holds(id.node))
            .key(keys.mark(id))
            .key(keys.kept())
            .arg(id.node)
            .arg(id.number)
            .arg(options.lease.as_millis())
            .arg(name);
        let unanswered = self.unless_answered(id, Deed::Keep { name: name.into() }, Vec::new());
        let answer = self.shared.ask(&call).await?;
        unanswered.answered();
        let text: Option<String> = from_redis_value(answer).map_err(not_understood)?;
        let Some(text) = text else { return Ok(None) };
        let mut ticket = Ticket::new(id, 0);
        ticket.holds = wire::record(&text).ok_or_else(|| not_understood("not a record of a hold"))?;
        Ok(Some(ticket))
    }

    async fn once(&self, name: &str, lasts: Duration) -> Result<bool, Error> {
        self.shared.is_there()?;
        let HoldId { node, number } = self.next();
        let call = Call::new(&ONCE)
            .key(self.shared.keys.once(name))
            .arg(format_args!("{node}:{number}"))
            .arg(lasts.as_millis().max(1));
        let answer = self.shared.ask(&call).await?;
        from_redis_value(answer).map_err(not_understood)
    }

    fn tell(&self, ticket: Ticket, deed: Deed) {
        let (_, at) = self.shared.options.now();
        let errand = Errand { id: ticket.id, deed, holds: ticket.holds, at };
        if let Err(lost) = self.queue.send(errand) {
            let id = lost.0.id;
            tracing::error!(?id, "the worker of the ledger has stopped: a hold will be charged as held");
        }
    }
}

impl Shared {
    fn is_there(&self) -> Result<(), Error> {
        if self.away.load(Ordering::Relaxed) { Err(away("it did not answer before")) } else { Ok(()) }
    }

    async fn ask(&self, call: &Call) -> Result<Value, Error> {
        let begun = Instant::now();
        let answer = self.answer(call).await;
        metrics::store_asked(STORE, begun.elapsed());
        answer
    }

    /// The answer to `call`, which may be sent more than once, within the deadline.
    async fn answer(&self, call: &Call) -> Result<Value, Error> {
        let deadline = Instant::now() + self.options.timeout;
        let mut connection = self.connection.clone();
        let mut failed: Option<RedisError> = None;
        loop {
            match timeout_at(deadline, connection.call(call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if Failure::of(&error) == Failure::Refused => {
                    return Err(not_understood(error));
                }
                Ok(Err(error)) if Instant::now() + PAUSE < deadline => failed = Some(error),
                Ok(Err(error)) => return Err(self.gone(error)),
                Err(elapsed) => {
                    return Err(failed.map_or_else(|| self.gone(elapsed), |error| self.gone(error)));
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn gone(&self, error: impl Into<BoxError>) -> Error {
        let error = away(error);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(?error, "redis does not answer; settlements wait for it");
            metrics::store_away(STORE, true);
        }
        error
    }
}

/// Tells the store what to do about a hold, unless its fate becomes known.
struct Unanswered<'a> {
    queue: &'a mpsc::UnboundedSender<Errand>,
    errand: Option<Errand>,
}

impl Unanswered<'_> {
    fn answered(mut self) -> Vec<Hold> {
        self.errand.take().map(|errand| errand.holds).unwrap_or_default()
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(errand) = self.errand.take() {
            // Without a worker the lease runs out, and the hold with it.
            let _ = self.queue.send(errand);
        }
    }
}

impl Ledger for RedisLedger {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(self.hold(scopes, worst))
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        let used = wire::used(&ticket.holds, actual);
        self.tell(ticket, Deed::Settle { used, day: of_day(actual) });
    }

    fn keep(&self, ticket: Ticket, name: &str) {
        self.tell(ticket, Deed::Keep { name: name.into() });
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        Box::pin(self.take_up(name))
    }

    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
        Box::pin(self.standings(scopes))
    }

    fn days<'a>(
        &'a self,
        account: &'a str,
        days: RangeInclusive<Window>,
    ) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
        Box::pin(async move {
            self.shared.is_there()?;
            let answer = self.shared.ask(&Call::new(&DAYS).key(self.shared.keys.days(account))).await?;
            wire::days(answer, &days).map_err(not_understood)
        })
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.once(name, lasts))
    }
}

impl Later for RedisLedger {
    fn charge(&self, holds: Vec<Hold>, used: Amounts) {
        let deed = Deed::Charge { used: wire::used(&holds, used), day: of_day(used) };
        let ticket = Ticket { holds, ..Ticket::new(self.next(), 0) };
        self.tell(ticket, deed);
    }
}

fn away(source: impl Into<BoxError>) -> Error {
    Error::new(Kind::Internal, "the ledger can't be asked").with_source(source)
}

fn not_understood(source: impl Into<BoxError>) -> Error {
    Error::new(Kind::Internal, "the ledger does not understand redis").with_source(source)
}
