//! Balances in Postgres, for many gateways that share limits and budgets: [`PostgresLedger`].
//!
//! ```no_run
//! use bartizan::ledger::{PostgresLedger, PostgresOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let options = PostgresOptions::new("postgres://gateway@db/gateway").journal("bartizan.journal");
//! let (ledger, worker) = PostgresLedger::connect(options)?;
//! let worker = tokio::spawn(worker);
//! // … `BudgetLayer::new(Arc::new(ledger), prices)` … and when all of it is gone:
//! # drop(ledger);
//! # let _ =
//! worker.await
//! # ; Ok(())
//! # }
//! ```
//!
//! The example `proxy` uses it if its configuration says `store: { postgres: "postgres://…" }`.
//!
//! # What is promised
//!
//! - A node has one connection and one worker. Everything that waits – reservations, settlements, what is kept
//!   and taken up – is one transaction: it locks the accounts concerned, decides as
//!   [`MemoryLedger`](super::MemoryLedger) does, writes, and is answered when it is committed. That takes three
//!   round trips and one flush to the disk of the server, however many requests share them.
//! - Accounts are locked in one order by all nodes, so that no two of them wait for each other.
//! - The time is the server's, so that all nodes agree. A window that has passed is never opened again.
//! - Every hold has a [`HoldId`] and is settled once, however often the settlement is sent: its row is gone
//!   with it. A reservation whose answer was lost is cancelled, and asked for again if there is time.
//!
//! # When Postgres is away
//!
//! A reservation waits for half a second ([`PostgresOptions::timeout`]), which is also the longest that a
//! transaction takes; then it fails with [`Kind::Internal`], and what that means is a setting of
//! [`BudgetLayer`](crate::budget::BudgetLayer). From then on reservations fail at once, until the worker, who
//! looks every tenth of a second, gets an answer.
//!
//! Settlements wait: in memory, and in the [journal](PostgresOptions::journal) if there is one, a file that is
//! flushed to the disk. They are written when Postgres is back or, where the process has ended before, by the
//! next one with the same journal, and the file is emptied. Without a journal, what waits is lost with the
//! process, and its holds are charged as they were held.
//!
//! # Leases
//!
//! Holds belong to the node that made them: to one process, under a random number. It renews a lease of 30
//! seconds ([`PostgresOptions::lease`]) all the time. Holds of a node whose lease has run out are charged by any
//! other: money and requests as they were held, tokens not at all, and places are given back; each is logged.
//! If the node was only slow, its settlement corrects the charge to the exact amount, up to a day later.
//! After an outage of Postgres itself nodes have the time of one lease to come back. Holds that were
//! [kept](Ledger::keep) belong to no node and have no lease.
//!
//! # What is where
//!
//! All tables are in one [schema](PostgresOptions::schema), which the first node makes, if it may. A node that
//! finds a newer version than its own says so, and takes Postgres for away.
//!
//! | table | what | until |
//! |---|---|---|
//! | `accounts` | what is used and held | it counts no more, for a day |
//! | `holds` | what is held by nodes, what is kept, and what was charged for nodes that were gone | it is settled; a day |
//! | `days` | what was settled on accounts, by day | 400 days |
//! | `marks` | what was done once, such as that somebody was told of a threshold | it may be done again |
//! | `nodes` | when leases end | a day later |
//! | `documents`, `directory` | what a [`PostgresDirectory`](crate::directory::PostgresDirectory) keeps | |
//! | `audit` | what a [`PostgresAudit`](crate::audit::PostgresAudit) keeps | for ever |
//!
//! ```sql
//! SELECT account, period, used / 1e9 AS usd FROM bartizan.accounts WHERE measure = 'usd' ORDER BY used DESC;
//! ```
//!
//! # What Postgres itself may lose
//!
//! Nothing that was answered, with `synchronous_commit = on`, its default. A replica that takes over
//! may not have heard of what was last, unless it is a synchronous one.
//!
//! Needs Postgres 12 or newer, directly or through a pooler that leaves a session to its client.

mod chain;
mod connection;
mod days;
mod documents;
mod group;
mod job;
mod options;
mod schema;
mod shelf;
mod statements;
mod worker;

use std::{
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

pub use self::options::PostgresOptions;
pub(crate) use self::shelf::Shelf;
use self::{
    connection::Address,
    job::{Ask, Job, Reply, What},
    worker::Worker,
};
use super::{
    Amounts, Balance, Day, Hold, HoldId, Later, Ledger, Measure, Period, Scope, Ticket, Window,
    backlog::Backlog,
    books::Place,
    errand::{Deed, Errand, of_day, random},
    journal::Journal,
};
use crate::{BoxError, BoxFuture, Error, Kind, metrics};

/// As [measurements](crate::metrics) call it.
const STORE: &str = "postgres";

/// Balances in Postgres, shared by all gateways that use the same database and schema; see the
/// [module](self). Give it to a [`BudgetLayer`](crate::budget::BudgetLayer).
pub struct PostgresLedger {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Job>,
    numbers: Arc<AtomicU64>,
}

/// What the ledger and its worker both know.
struct Shared {
    options: PostgresOptions,
    node: u64,
    /// Whether the store has stopped to answer. Nobody waits for it then but the worker, who looks for it.
    away: AtomicBool,
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLedger")
            .field("node", &self.shared.node)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl PostgresLedger {
    /// The ledger and its worker: spawn it, and await it at shutdown, when the ledger is gone. Postgres need
    /// not be there yet.
    ///
    /// # Errors
    ///
    /// If the address or another setting is not understood, or the journal can't be opened.
    pub fn connect(options: PostgresOptions) -> Result<(Self, impl Future<Output = ()> + Send), Error> {
        let wrong = |message: &str, source: BoxError| Error::new(Kind::Internal, message).with_source(source);
        options.check().map_err(|message| Error::new(Kind::Internal, message))?;
        let address = Address::new(&options)
            .map_err(|error| wrong("the address of postgres or its authority is not understood", error))?;
        let journal = options.journal.as_deref().map(Journal::open).transpose();
        let (journal, errands) = journal
            .map_err(|error| wrong("the journal of the ledger can't be opened", error.into()))?
            .map_or((None, Vec::new()), |(journal, errands)| (Some(journal), errands));
        let node = random().map_err(|error| wrong("there is no randomness", error))?;
        let shared = Arc::new(Shared { options, node, away: AtomicBool::new(false) });
        metrics::store_away(STORE, false);
        let (queue, jobs) = mpsc::unbounded_channel();
        let numbers = Arc::<AtomicU64>::default();
        let worker =
            Worker::new(shared.clone(), address, jobs, Backlog::new(journal, errands), numbers.clone());
        Ok((Self { shared, queue, numbers }, worker.run()))
    }

    /// Where documents and the audit stand that nodes share besides.
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf::new(self.shared.clone(), self.queue.downgrade())
    }

    /// Whether Postgres has stopped to answer: reservations fail at once until it does.
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// What stands on `account`; `None` if nothing of the measure stands on it for the period. An account
    /// without a quota counts [`Measure::Usd`] for [`Period::Total`].
    ///
    /// # Errors
    ///
    /// If Postgres can't be asked.
    pub async fn balance(
        &self,
        account: &str,
        measure: Measure,
        period: Period,
    ) -> Result<Option<Balance>, Error> {
        let places = vec![Place { account: account.into(), measure, period }];
        Ok(self.read(places).await?.pop().flatten())
    }

    async fn read(&self, places: Vec<Place>) -> Result<Vec<Option<Balance>>, Error> {
        self.shared.ask(&self.queue, |reply| What::Read { places, reply }).await
    }

    async fn standings(&self, scopes: &[Scope]) -> Result<Vec<Balance>, Error> {
        let now = self.shared.options.at().map_or_else(SystemTime::now, group::moment);
        let balances = self.read(scopes.iter().map(Place::of).collect()).await?;
        let nothing = |scope: &Scope| Balance::nothing(scope.counted_as().1, now);
        Ok(scopes
            .iter()
            .zip(balances)
            .map(|(scope, balance)| balance.unwrap_or_else(|| nothing(scope)))
            .collect())
    }

    fn next(&self) -> HoldId {
        HoldId { node: self.shared.node, number: self.numbers.fetch_add(1, Ordering::Relaxed) }
    }

    async fn hold(&self, scopes: &[Scope], worst: Amounts) -> Result<Ticket, Error> {
        let (id, scopes) = (self.next(), scopes.iter().map(without_models).collect());
        let give_back = |ticket| Some((ticket, Deed::Cancel));
        self.shared.wait(&self.queue, give_back, |reply| What::Reserve { id, scopes, worst, reply }).await
    }

    async fn take_up(&self, name: &str) -> Result<Option<Ticket>, Error> {
        let id = self.next();
        let keep = |ticket: Option<Ticket>| Some((ticket?, Deed::Keep { name: name.into() }));
        self.shared.wait(&self.queue, keep, |reply| What::Resume { id, name: name.into(), reply }).await
    }

    fn tell(&self, ticket: Ticket, deed: Deed) {
        let errand = Errand { id: ticket.id, deed, holds: ticket.holds, at: self.shared.options.at() };
        if self.queue.send(Job::Errand(errand)).is_err() {
            let id = ticket.id;
            tracing::error!(?id, "the worker of the ledger has stopped: a hold will be charged as held");
        }
    }
}

/// Those were looked at before.
fn without_models(scope: &Scope) -> Scope {
    Scope { account: scope.account.clone(), quota: scope.quota, models: None, alert_at: None }
}

impl Place {
    /// Where `scope` is counted.
    fn of(scope: &Scope) -> Self {
        let (measure, period) = scope.counted_as();
        Self { account: scope.account.clone(), measure, period }
    }
}

impl Shared {
    /// Has something done that leaves nothing behind if nobody waits for it.
    async fn ask<T>(
        &self,
        queue: &mpsc::UnboundedSender<Job>,
        what: impl FnOnce(Reply<T>) -> What,
    ) -> Result<T, Error> {
        self.wait(queue, |_| None, what).await
    }

    /// Has something done in time. `undo` says what has to be done about it if it was and nobody waits for
    /// it any more.
    async fn wait<T>(
        &self,
        queue: &mpsc::UnboundedSender<Job>,
        undo: impl Fn(T) -> Option<(Ticket, Deed)>,
        what: impl FnOnce(Reply<T>) -> What,
    ) -> Result<T, Error> {
        if self.away.load(Ordering::Relaxed) {
            return Err(away("it did not answer before"));
        }
        let begun = Instant::now();
        let until = begun + self.options.timeout;
        let (reply, answer) = oneshot::channel();
        let mut waiting = Waiting { answer, undo, queue, at: self.options.at() };
        let _ = queue.send(Job::Ask(Ask { until, what: what(reply) }));
        let answer = timeout_at(until, &mut waiting.answer).await;
        metrics::store_asked(STORE, begun.elapsed());
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(away("the worker of the ledger has stopped")),
            Err(elapsed) => Err(away(elapsed)),
        }
    }
}

/// An answer that is on its way. If nobody waits for it any more, what it has brought about is undone.
struct Waiting<'a, T, F: Fn(T) -> Option<(Ticket, Deed)>> {
    answer: oneshot::Receiver<Result<T, Error>>,
    undo: F,
    queue: &'a mpsc::UnboundedSender<Job>,
    at: Option<u64>,
}

impl<T, F: Fn(T) -> Option<(Ticket, Deed)>> Drop for Waiting<'_, T, F> {
    fn drop(&mut self) {
        self.answer.close();
        let Ok(Ok(answer)) = self.answer.try_recv() else { return };
        if let Some((ticket, deed)) = (self.undo)(answer) {
            let errand = Errand { id: ticket.id, deed, holds: ticket.holds, at: self.at };
            // Without a worker the lease runs out, and the hold with it.
            let _ = self.queue.send(Job::Errand(errand));
        }
    }
}

impl Ledger for PostgresLedger {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(self.hold(scopes, worst))
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        let used = ticket.holds.iter().map(actual.on()).collect();
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
        Box::pin(self.shared.ask(&self.queue, |reply| What::Days { account: account.into(), days, reply }))
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.shared.ask(&self.queue, move |reply| What::Mark { name: name.into(), lasts, reply }))
    }
}

impl Later for PostgresLedger {
    fn charge(&self, holds: Vec<Hold>, used: Amounts) {
        let deed = Deed::Charge { used: holds.iter().map(used.on()).collect(), day: of_day(used) };
        self.tell(Ticket { holds, ..Ticket::new(self.next(), 0) }, deed);
    }
}

fn away(source: impl Into<BoxError>) -> Error {
    Error::new(Kind::Internal, "the ledger can't be asked").with_source(source)
}

fn not_understood(source: impl Into<BoxError>) -> Error {
    Error::new(Kind::Internal, "the ledger does not understand postgres").with_source(source)
}
