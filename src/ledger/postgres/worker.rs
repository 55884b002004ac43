use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};

use super::{
    STORE, Shared, away, chain,
    connection::{Address, Connection, Failure},
    days, documents,
    group::{self, Done, Fate, Group, hold_id, moment, record, signed},
    job::{Ask, Job, What},
    not_understood,
    statements::{BEAT, ORPHANS, SWEEP},
};
use crate::{
    BoxError,
    ledger::{
        Balance, HoldId, Ticket,
        backlog::Backlog,
        books::Place,
        days::held,
        errand::{Deed, Errand, as_held, of_day},
    },
    metrics,
};

/// How many errands, and how many reservations, are one transaction.
const BATCH: usize = 256;
/// How often a store that is away is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether it is.
const GLANCE: Duration = Duration::from_secs(1);
/// How often what is done with is forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often it is tried at the end, where there is no journal.
const LAST_TRIES: u32 = 50;

/// The one that talks to the server.
pub(super) struct Worker {
    shared: Arc<Shared>,
    address: Address,
    connection: Option<Connection>,
    queue: UnboundedReceiver<Job>,
    backlog: Backlog,
    /// Who waits for an answer.
    asks: VecDeque<Ask>,
    /// Where the numbers of holds come from.
    numbers: Arc<AtomicU64>,
    next_beat: Instant,
    next_sweep: Instant,
    /// When other nodes have had the time to come back as well, after the store had been away.
    reap_from: Instant,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        address: Address,
        queue: UnboundedReceiver<Job>,
        backlog: Backlog,
        numbers: Arc<AtomicU64>,
    ) -> Self {
        let now = Instant::now();
        let (connection, asks) = (None, VecDeque::new());
        let (next_beat, reap_from, next_sweep) = (now, now, now + SWEEP_EVERY);
        Self { shared, address, connection, queue, backlog, asks, numbers, next_beat, next_sweep, reap_from }
    }

    pub(super) async fn run(mut self) {
        while self.next_jobs().await {
            self.work().await;
        }
        self.finish().await;
    }

    /// Waits for something to do; `false` when nothing more will come.
    async fn next_jobs(&mut self) -> bool {
        let mut fresh = Vec::new();
        let now = Instant::now();
        let due = if self.is_away() { now + LOOK } else { self.next_beat.min(now + GLANCE) };
        let open = match timeout_at(due, self.queue.recv_many(&mut fresh, BATCH * 2)).await {
            Ok(received) => received > 0,
            Err(_) => true,
        };
        for job in fresh {
            match job {
                Job::Errand(errand) => self.backlog.push(errand),
                Job::Ask(ask) => self.asks.push_back(ask),
            }
        }
        open
    }

    fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// Does all that waits, as far as the store can be asked.
    async fn work(&mut self) {
        if self.is_away() {
            // Asked before that was known.
            self.asks.drain(..).for_each(|ask| ask.refuse(away("it did not answer before")));
        }
        let mut failures = 0;
        while let Err(failure) = self.try_work().await {
            // The session may be half way through something.
            self.connection = None;
            failures += 1;
            let error = failure.into_inner();
            // One that was ended from outside is begun anew at once.
            if failures > 1 || error.is::<tokio::time::error::Elapsed>() || self.is_away() {
                self.lose(error);
                break;
            }
        }
        metrics::store_waiting(STORE, self.backlog.len());
        self.backlog.write_down(self.is_away()).await;
    }

    async fn try_work(&mut self) -> Result<(), Failure> {
        if self.connection.as_ref().is_none_or(|connection| connection.client.is_closed()) {
            self.connection = Some(self.address.connect().await?);
            self.next_beat = Instant::now();
        }
        let Some(connection) = self.connection.take() else { return Ok(()) };
        if Instant::now() >= self.next_beat {
            self.beat(&connection).await?;
        }
        while !(self.backlog.is_empty() && self.asks.is_empty()) {
            self.step(&connection).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn lose(&mut self, error: BoxError) {
        let text = said(&*error);
        if !self.shared.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = text, "postgres does not answer; settlements wait for it");
            metrics::store_away(STORE, true);
        }
        for ask in self.asks.drain(..) {
            ask.refuse(away(text.clone()));
        }
    }

    /// Renews the lease, and clears up behind nodes that are dead.
    async fn beat(&mut self, connection: &Connection) -> Result<(), Failure> {
        let Shared { options, node, away } = &*self.shared;
        let client = &connection.client;
        let (id, lease) = (signed(*node), i64::try_from(options.lease.as_millis()).unwrap_or(i64::MAX));
        let had = timeout(options.timeout, client.query_one(BEAT, &[&id, &lease])).await;
        let had: bool = had.map_err(Failure::away)??.try_get(0)?;
        if away.swap(false, Ordering::Relaxed) {
            tracing::info!(settlements = self.backlog.len(), "postgres answers again");
            metrics::store_away(STORE, false);
        }
        let now = Instant::now();
        self.next_beat = now + options.lease / 3;
        if !had {
            // Where this node's lease has run out, those of the others may have for the same reason.
            self.reap_from = now + options.lease;
        } else if now >= self.reap_from {
            let orphans =
                timeout(options.timeout, client.query(ORPHANS, &[])).await.map_err(Failure::away)??;
            for row in &orphans {
                match record(row.try_get(2)?) {
                    Ok(holds) => self.backlog.push(Errand::new(hold_id(row)?, Deed::Abandon, holds)),
                    Err(error) => tracing::error!(?error, "the record of a hold can't be read"),
                }
            }
            if !orphans.is_empty() {
                // There may be more of them.
                self.next_beat = now + LOOK;
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_EVERY;
            for sql in SWEEP {
                timeout(options.timeout, client.execute(sql, &[])).await.map_err(Failure::away)??;
            }
        }
        Ok(())
    }

    /// Does a part of what waits.
    async fn step(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.asks.retain(|ask| !ask.is_over());
        let errands = self.backlog.len().min(BATCH);
        let grouped = self.asks.iter().take(BATCH).take_while(|ask| ask.is_grouped()).count();
        let group = self.asks.drain(..grouped).collect();
        if let Some(group) = self.transact(connection, errands, group).await? {
            // One of them is to blame.
            for _ in 0..errands {
                self.alone(connection, 1, Vec::new()).await?;
            }
            for ask in group {
                self.alone(connection, 0, vec![ask]).await?;
            }
        }
        self.answer(connection).await
    }

    /// Does one thing in a transaction of its own, or never.
    async fn alone(&mut self, connection: &Connection, errands: usize, ask: Vec<Ask>) -> Result<(), Failure> {
        if let Some(ask) = self.transact(connection, errands, ask).await? {
            self.refuse(ask);
        }
        Ok(())
    }

    /// Does the first errands and a group of questions in one transaction; gives the group back if the store
    /// does not accept it.
    async fn transact(
        &mut self,
        connection: &Connection,
        errands: usize,
        group: Vec<Ask>,
    ) -> Result<Option<Vec<Ask>>, Failure> {
        if errands == 0 && group.is_empty() {
            return Ok(None);
        }
        match self.run_group(connection, errands, &group).await {
            Ok(done) => {
                self.done(done, group);
                Ok(None)
            }
            Err(Failure::Refused(error)) => {
                tracing::error!(error, errands, asks = group.len(), "postgres refuses a transaction");
                connection.client.batch_execute("ROLLBACK").await?;
                Ok(Some(group))
            }
            Err(failure) => {
                self.undo(group);
                Err(failure)
            }
        }
    }

    /// Gives up what the store never accepts: what is asked for, or else the first errand.
    fn refuse(&mut self, asks: Vec<Ask>) {
        if asks.is_empty()
            && let Some(Errand { id, deed, holds, .. }) = self.backlog.pop()
        {
            tracing::error!(?id, ?deed, ?holds, "postgres refuses a settlement");
        }
        for ask in asks {
            ask.refuse(not_understood("it is not accepted"));
        }
    }

    /// What was sent and not answered is taken back, should it have happened, and asked for again under
    /// other numbers.
    fn undo(&mut self, group: Vec<Ask>) {
        let node = self.shared.node;
        for mut ask in group.into_iter().rev() {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let next = HoldId { node, number };
            let at = self.shared.options.at();
            let errand = match &mut ask.what {
                What::Reserve { id, scopes, worst, .. } => {
                    let holds = group::holds(scopes, *worst);
                    Errand { at, ..Errand::new(mem::replace(id, next), Deed::Cancel, holds) }
                }
                What::Resume { id, name, .. } => {
                    let deed = Deed::Keep { name: name.to_string() };
                    Errand { at, ..Errand::new(mem::replace(id, next), deed, Vec::new()) }
                }
                _ => continue,
            };
            self.backlog.push(errand);
            self.asks.push_front(ask);
        }
    }

    async fn run_group(
        &self,
        connection: &Connection,
        errands: usize,
        asks: &[Ask],
    ) -> Result<Done, Failure> {
        let mut group = Group { at: self.shared.options.at(), ..Group::default() };
        group.errands.extend(self.backlog.first(errands));
        for ask in asks {
            match &ask.what {
                What::Reserve { id, scopes, worst, .. } => group.reserves.push((*id, scopes, *worst)),
                What::Resume { id, name, .. } => group.resumes.push((*id, name)),
                _ => {}
            }
        }
        let run = timeout(self.shared.options.timeout, group.run(connection));
        run.await.unwrap_or_else(|elapsed| Err(Failure::away(elapsed)))
    }

    fn done(&mut self, done: Done, asks: Vec<Ask>) {
        for fate in done.errands {
            if let Some(errand) = self.backlog.pop() {
                self.told(errand, fate);
            }
        }
        let (mut reserves, mut resumes) = (done.reserves.into_iter(), done.resumes.into_iter());
        for ask in asks {
            match ask.what {
                What::Reserve { reply, .. } => {
                    let Some(answer) = reserves.next() else { continue };
                    // Whoever has left has not got it.
                    if let Err(Ok(ticket)) = reply.send(answer.map_err(Into::into)) {
                        self.give_back(ticket, Deed::Cancel);
                    }
                }
                What::Resume { id, name, reply } => {
                    let Some(holds) = resumes.next() else { continue };
                    let ticket = holds.map(|holds| Ticket { holds, ..Ticket::new(id, 0) });
                    if let Err(Ok(Some(ticket))) = reply.send(Ok(ticket)) {
                        self.give_back(ticket, Deed::Keep { name: name.into() });
                    }
                }
                _ => {}
            }
        }
    }

    fn give_back(&mut self, ticket: Ticket, deed: Deed) {
        let at = self.shared.options.at();
        self.backlog.push(Errand { at, ..Errand::new(ticket.id, deed, ticket.holds) });
    }

    fn told(&mut self, Errand { id, deed, holds, at }: Errand, fate: Fate) {
        match (deed, fate) {
            (Deed::Settle { .. }, Fate::Corrected) => {
                tracing::info!(?id, "a hold that was charged as it was held is corrected to what was used");
            }
            (Deed::Settle { .. } | Deed::Charge { .. }, Fate::Unknown) => {
                tracing::debug!(?id, "a hold was settled before");
            }
            (Deed::Keep { name }, Fate::Full) => {
                tracing::warn!(name, "a hold can't be kept, and is charged as it was held");
                // One of which nothing is known is charged when this node is gone.
                if !holds.is_empty() {
                    let used = holds.iter().map(as_held).collect();
                    let day = of_day(held(&holds));
                    self.backlog.push(Errand { id, deed: Deed::Settle { used, day }, holds, at });
                }
            }
            (Deed::Abandon, Fate::Done) => {
                tracing::warn!(?id, ?holds, "the node of a hold is gone; it is charged as it was held");
            }
            _ => {}
        }
    }

    /// Answers what is no part of a group and comes before what is.
    async fn answer(&mut self, connection: &Connection) -> Result<(), Failure> {
        let limit = self.shared.options.timeout;
        while self.asks.front().is_some_and(|ask| !ask.is_grouped()) {
            match self.asks.pop_front().map(|ask| ask.what) {
                Some(What::Read { places, reply }) => {
                    reply_to(reply, timeout(limit, self.read(connection, &places)).await)?;
                }
                Some(What::Days { account, days, reply }) => {
                    let read = days::read(connection, &account, &days, self.now());
                    reply_to(reply, timeout(limit, read).await)?;
                }
                Some(What::Mark { name, lasts, reply }) => {
                    let mark = days::mark(connection, &name, lasts, self.shared.options.at());
                    reply_to(reply, timeout(limit, mark).await)?;
                }
                Some(What::Look { known, reply }) => {
                    reply_to(reply, timeout(limit, documents::look(connection, known)).await)?;
                }
                Some(What::Change { at, change, reply }) => {
                    reply_to(reply, timeout(limit, documents::change(connection, at, &change)).await)?;
                }
                Some(What::Chain { entry, reply }) => {
                    reply_to(reply, timeout(limit, chain::add(connection, &entry)).await)?;
                }
                Some(What::Chained { first, most, reply }) => {
                    reply_to(reply, timeout(limit, chain::read(connection, first, most)).await)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        Connection { client, statements, .. }: &Connection,
        places: &[Place],
    ) -> Result<Vec<Option<Balance>>, Failure> {
        let ids: Vec<_> = places.iter().map(group::id).collect();
        let asked: Vec<&[u8]> = ids.iter().map(group::Id::as_slice).collect();
        let rows = client.query(&statements.read, &[&asked]).await?;
        let states = rows.iter().map(group::state).collect::<Result<Vec<_>, _>>()?;
        let now = self.now();
        let balance = |(place, id): (&Place, &group::Id)| {
            let known = states.iter().find(|(other, state)| other == id && !state.is_empty());
            let Some((_, state)) = known else { return Ok(None) };
            Ok(Some(group::account(place, state, now)?.balance(now)))
        };
        places.iter().zip(&ids).map(balance).collect()
    }

    fn now(&self) -> SystemTime {
        self.shared.options.at().map_or_else(SystemTime::now, moment)
    }

    /// Gets rid of what is left.
    async fn finish(mut self) {
        for _ in 0..LAST_TRIES {
            self.work().await;
            if self.backlog.is_safe() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.backlog.report();
    }
}

/// An error with what it comes from.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Tells an answer, and what it means for all others if there is none.
fn reply_to<T>(
    reply: super::Reply<T>,
    answer: Result<Result<T, Failure>, tokio::time::error::Elapsed>,
) -> Result<(), Failure> {
    let (answer, failure) = match answer.unwrap_or_else(|elapsed| Err(Failure::away(elapsed))) {
        Ok(answer) => (Ok(answer), Ok(())),
        Err(Failure::Refused(error)) => (Err(not_understood(error)), Ok(())),
        Err(Failure::Away(error)) => {
            let text = error.to_string();
            (Err(away(text)), Err(Failure::Away(error)))
        }
    };
    // Whoever has left needs no answer.
    let _ = reply.send(answer);
    failure
}
