use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    alerts::{recent::Recent, sliding::Sliding},
    lock,
};

/// The most requests, and the most sessions, that are known.
const MOST: usize = 10_000;

/// A session of a key.
pub(super) type Session = (Arc<str>, Arc<str>);

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    /// The same request, by its name.
    Request(u64),
    /// What a session spends.
    Session(Session),
}

/// What was answered lately.
pub(super) struct Counts {
    hasher: RandomState,
    began: Instant,
    requests: Mutex<Recent<u64, Count>>,
    sessions: Mutex<Recent<Session, Count>>,
}

#[derive(Debug)]
struct Count {
    per: Duration,
    sum: Sliding,
    /// What came here and other gateways don't know of.
    untold: u64,
    /// What had come on other gateways when that was last known.
    elsewhere: u64,
    /// Until when that counts.
    elsewhere_until: Duration,
    /// Until when nothing more is told of it.
    told: Duration,
}

/// Something is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) sum: u64,
    /// In what time it isn't.
    pub(super) wait: Duration,
    /// Whether that was not said lately.
    pub(super) is_new: bool,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            began: Instant::now(),
            requests: Mutex::new(Recent::new(MOST)),
            sessions: Mutex::new(Recent::new(MOST)),
        }
    }
}

impl Counts {
    /// By what a request of a key is known.
    pub(super) fn name(&self, key: &str, dialect: &str, model: &str, source: &[u8]) -> u64 {
        self.hasher.hash_one((key, dialect, model, source))
    }

    /// Whether a request came more often than `limit`.
    pub(super) fn request_over(&self, name: u64, limit: u64, per: Duration) -> Option<Over> {
        let now = self.began.elapsed();
        lock(&self.requests).get(&name)?.over(limit, per, now)
    }

    pub(super) fn session_over(&self, session: &Session, limit: u64, per: Duration) -> Option<Over> {
        let now = self.began.elapsed();
        lock(&self.sessions).get(session)?.over(limit, per, now)
    }

    /// Whether a request was answered lately.
    pub(super) fn is_repeated(&self, name: u64) -> bool {
        let now = self.began.elapsed();
        lock(&self.requests).get(&name).is_some_and(|count| count.sum.sum(now) > 0)
    }

    /// What other gateways don't know of. It counts as told from now on.
    pub(super) fn take_untold(&self, of: &Thing) -> u64 {
        let now = self.began.elapsed();
        self.change(of, |count| {
            let untold = count.untold.min(count.sum.sum(now));
            count.untold = 0;
            untold
        })
    }

    /// Takes back what was not told after all.
    pub(super) fn give_back(&self, of: &Thing, untold: u64) {
        self.change(of, |count| count.untold = count.untold.saturating_add(untold));
    }

    /// Notes what has come on all gateways together.
    pub(super) fn learn(&self, of: &Thing, sum: u64) {
        let now = self.began.elapsed();
        self.change(of, |count| count.learn(sum, now));
    }

    /// Changes what is known of something, if it is known at all.
    fn change<T: Default>(&self, of: &Thing, change: impl FnOnce(&mut Count) -> T) -> T {
        match of {
            Thing::Request(name) => lock(&self.requests).get(name).map(change),
            Thing::Session(session) => lock(&self.sessions).get(session).map(change),
        }
        .unwrap_or_default()
    }

    pub(super) fn add_request(&self, name: u64, per: Duration) {
        let now = self.began.elapsed();
        lock(&self.requests).get_or(name, || Count::new(per)).add(1, per, now);
    }

    pub(super) fn add_spend(&self, session: Session, amount: u64, per: Duration) {
        let now = self.began.elapsed();
        lock(&self.sessions).get_or(session, || Count::new(per)).add(amount, per, now);
    }
}

impl Count {
    fn new(per: Duration) -> Self {
        Self {
            per,
            sum: Sliding::new(per),
            untold: 0,
            elsewhere: 0,
            elsewhere_until: Duration::ZERO,
            told: Duration::ZERO,
        }
    }

    fn add(&mut self, amount: u64, per: Duration, now: Duration) {
        if self.per != per {
            *self = Self::new(per);
        }
        self.sum.add(now, amount);
        self.untold = self.untold.saturating_add(amount);
    }

    fn learn(&mut self, sum: u64, now: Duration) {
        let told = self.sum.sum(now).saturating_sub(self.untold);
        self.elsewhere = sum.saturating_sub(told);
        self.elsewhere_until = now + self.per;
    }

    fn elsewhere(&self, now: Duration) -> u64 {
        if now < self.elsewhere_until { self.elsewhere } else { 0 }
    }

    /// In what time no more than `limit` is left of what came here and elsewhere.
    fn falls_to(&mut self, limit: u64, now: Duration) -> Duration {
        let alone = self.sum.falls_to(limit, now);
        let elsewhere = self.elsewhere(now);
        if elsewhere == 0 {
            return alone;
        }
        let forgotten = alone.max(self.elsewhere_until.saturating_sub(now));
        match limit.checked_sub(elsewhere) {
            Some(left) => forgotten.min(self.sum.falls_to(left, now)),
            None => forgotten,
        }
    }

    fn over(&mut self, limit: u64, per: Duration, now: Duration) -> Option<Over> {
        let sum = self.sum.sum(now).saturating_add(self.elsewhere(now));
        if self.per != per || sum <= limit {
            return None;
        }
        let is_new = now >= self.told;
        if is_new {
            self.told = now + per;
        }
        Some(Over { sum, wait: self.falls_to(limit, now), is_new })
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}
