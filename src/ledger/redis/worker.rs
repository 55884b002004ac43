use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{RedisError, RedisResult, Value, from_redis_value};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};

use super::{
    STORE, Shared,
    connection::Failure,
    script::{BEAT, Call, ORPHANS},
    wire,
};
use crate::{
    BoxError,
    ledger::{
        HoldId,
        backlog::Backlog,
        days,
        errand::{Deed, Errand, as_held, of_day},
    },
    metrics,
};

/// How many errands are sent at once.
const BATCH: usize = 256;
/// How many holds of a dead node are charged at once.
const STEP: usize = 100;
/// How often a store that is away is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether it is.
const GLANCE: Duration = Duration::from_secs(1);
/// How often it is tried at the end, where there is no journal.
const LAST_TRIES: u32 = 50;

/// Runs errands, keeps the node's lease, and clears up behind nodes that are dead.
pub(super) struct Worker {
    shared: Arc<Shared>,
    queue: UnboundedReceiver<Errand>,
    backlog: Backlog,
    /// Nodes that have left holds behind.
    dead: Vec<u64>,
    next_beat: Instant,
    /// When other nodes have had the time to come back as well, after the store had been away.
    reap_from: Instant,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, queue: UnboundedReceiver<Errand>, backlog: Backlog) -> Self {
        let now = Instant::now();
        Self { shared, queue, backlog, dead: Vec::new(), next_beat: now, reap_from: now }
    }

    pub(super) async fn run(mut self) {
        while self.next_errands().await {
            if Instant::now() >= self.next_beat || self.is_away() {
                self.beat().await;
            }
            self.work_off().await;
            self.reap().await;
        }
        self.finish().await;
    }

    /// Waits for something to do; `false` when nothing more will come.
    async fn next_errands(&mut self) -> bool {
        let mut fresh = Vec::new();
        let now = Instant::now();
        let due = match self.dead.as_slice() {
            [] if self.is_away() => now + LOOK,
            // Somebody else may find out that the store is away.
            [] => self.next_beat.min(now + GLANCE),
            _ => now,
        };
        let open = match timeout_at(due, self.queue.recv_many(&mut fresh, BATCH)).await {
            Ok(received) => received > 0,
            Err(_) => true,
        };
        self.backlog.extend(fresh);
        open
    }

    fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// Renews the lease, which also shows whether the store is there.
    async fn beat(&mut self) {
        let Shared { keys, options, node, away, .. } = &*self.shared;
        let call = Call::new(&BEAT).key(keys.nodes()).arg(node).arg(options.lease.as_millis());
        let answer = match self.ask(&call).await {
            Ok(answer) => answer,
            Err(error) => return self.lose(error),
        };
        if away.swap(false, Ordering::Relaxed) {
            tracing::info!(settlements = self.backlog.len(), "redis answers again");
            metrics::store_away(STORE, false);
        }
        let now = Instant::now();
        self.next_beat = now + options.lease / 3;
        match wire::beaten(answer) {
            Ok((true, dead)) if now >= self.reap_from => self.dead = dead,
            // Where this node's lease has run out, those of the others may have for the same reason.
            Ok((true, _)) => {}
            Ok((false, _)) => self.reap_from = now + options.lease,
            Err(error) => tracing::error!(%error, "the answer to a sign of life is not understood"),
        }
    }

    async fn ask(&self, call: &Call) -> Result<Value, BoxError> {
        let mut connection = self.shared.connection.clone();
        Ok(timeout(self.shared.options.timeout, connection.call(call)).await??)
    }

    fn lose(&mut self, error: impl Into<BoxError>) {
        // The message is for the first who finds out.
        let _ = self.shared.gone(error);
    }

    /// Runs errands until there are none or the store does not answer; then they are written down.
    async fn work_off(&mut self) {
        while !self.backlog.is_empty() && !self.is_away() {
            if let Err(error) = self.send().await {
                self.lose(error);
            }
        }
        metrics::store_waiting(STORE, self.backlog.len());
        self.backlog.write_down(self.is_away()).await;
    }

    /// Runs the first errands.
    async fn send(&mut self) -> Result<(), BoxError> {
        let calls: Vec<_> = self.backlog.first(BATCH).map(|errand| errand.call(&self.shared.keys)).collect();
        let mut connection = self.shared.connection.clone();
        let answers = timeout(self.shared.options.timeout, connection.batch(&calls)).await??;
        for answer in answers {
            // All of the answers to a batch that can't be used are alike: it is sent again.
            if let Err(error) = &answer
                && Failure::of(error) == Failure::Away
            {
                return Err(error.to_string().into());
            }
            let Some(errand) = self.backlog.pop() else { break };
            self.finished(errand, answer);
        }
        Ok(())
    }

    fn finished(&mut self, errand: Errand, answer: RedisResult<Value>) {
        let id = errand.id;
        let outcome: Result<String, RedisError> =
            answer.and_then(|answer| from_redis_value(answer).map_err(RedisError::from));
        match (errand.deed, outcome.as_deref()) {
            (deed, Err(error)) => {
                tracing::error!(?id, ?deed, holds = ?errand.holds, %error, "redis refuses a settlement");
                // Holds that can't be charged would be found again at once.
                self.dead.clear();
            }
            (Deed::Settle { .. }, Ok("corrected")) => {
                tracing::info!(?id, "a hold that was charged as it was held is corrected to what was used");
            }
            (Deed::Settle { .. } | Deed::Charge { .. }, Ok("unknown")) => {
                tracing::debug!(?id, "a hold was settled before, or redis has lost it");
            }
            (Deed::Keep { name }, Ok(full)) if full.starts_with("full ") => {
                tracing::warn!(name, "a hold can't be kept, and is charged as it was held");
                let holds = full.split_once(' ').and_then(|(_, record)| wire::record(record));
                let holds = holds.unwrap_or(errand.holds);
                let used = holds.iter().map(as_held).collect();
                let day = of_day(days::held(&holds));
                self.backlog.push(Errand::new(id, Deed::Settle { used, day }, holds));
            }
            (Deed::Keep { name }, Ok("unknown")) => {
                tracing::warn!(?id, name, "a hold can't be kept: it is not there any more");
            }
            (Deed::Abandon, Ok("settled")) => {
                let holds = errand.holds;
                tracing::warn!(?id, ?holds, "the node of a hold is gone; it is charged as it was held");
            }
            _ => {}
        }
    }

    /// Charges some of what a dead node has left behind.
    async fn reap(&mut self) {
        let Some(node) = self.dead.last().copied() else { return };
        if self.is_away() {
            return self.dead.clear();
        }
        let keys = &self.shared.keys;
        let call = Call::new(&ORPHANS).key(keys.nodes()).key(keys.holds(node)).arg(node).arg(STEP);
        let orphans: Vec<(u64, String)> = match self.ask(&call).await.map(from_redis_value) {
            Ok(Ok(orphans)) => orphans,
            Ok(Err(error)) => {
                tracing::error!(node, %error, "the holds of a dead node are not understood");
                Vec::new()
            }
            Err(error) => return self.lose(error),
        };
        if orphans.is_empty() {
            self.dead.pop();
            return;
        }
        let known = self.backlog.len();
        for (number, record) in orphans {
            match wire::record(&record) {
                Some(holds) => {
                    let id = HoldId { node, number };
                    self.backlog.push(Errand::new(id, Deed::Abandon, holds));
                }
                None => tracing::error!(node, number, "the record of a hold can't be read"),
            }
        }
        if self.backlog.len() == known {
            // Nothing can be done about them, now or in the next step.
            self.dead.pop();
        }
        self.work_off().await;
    }

    /// Gets rid of what is left.
    async fn finish(mut self) {
        for _ in 0..LAST_TRIES {
            if self.is_away() {
                self.beat().await;
            }
            self.work_off().await;
            if self.backlog.is_safe() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.backlog.report();
    }
}
