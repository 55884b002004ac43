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
        Self { per, sum: Sliding::new(per), told: Duration::ZERO }
    }

    fn add(&mut self, amount: u64, per: Duration, now: Duration) {
        if self.per != per {
            *self = Self::new(per);
        }
        self.sum.add(now, amount);
    }

    fn over(&mut self, limit: u64, per: Duration, now: Duration) -> Option<Over> {
        let sum = self.sum.sum(now);
        if self.per != per || sum <= limit {
            return None;
        }
        let is_new = now >= self.told;
        if is_new {
            self.told = now + per;
        }
        Some(Over { sum, wait: self.sum.falls_to(limit, now), is_new })
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}
