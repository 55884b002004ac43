use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use governor::{
    Quota, RateLimiter, clock, middleware::StateInformationMiddleware, nanos::Nanos,
    state::keyed::DashMapStateStore,
};
use tokio::time::Instant;

use super::Rate;
use crate::{
    hashing::{Keyed, Map},
    ledger::{Measure, Standing},
};

/// After so many checks, keys are forgotten that have not asked for a while.
const SWEEP: u32 = 4_096;

type Limiter = RateLimiter<Arc<str>, DashMapStateStore<Arc<str>, Keyed>, Clock, StateInformationMiddleware>;

/// What was let in lately. One limiter for each rate, since all keys of a limiter share its rate;
/// there are as many as the configuration has ever had.
#[derive(Default)]
pub(super) struct Limits {
    by_rate: ArcSwap<Map<Rate, Arc<Limiter>>>,
    checks: AtomicU32,
    clock: Clock,
}

/// The checks of one request, all at the same time.
pub(super) struct Checks<'a> {
    limits: &'a Limits,
    by_rate: Guard<Arc<Map<Rate, Arc<Limiter>>>>,
}

impl Limits {
    pub(super) fn now(&self) -> Checks<'_> {
        self.clock.look();
        let by_rate = self.by_rate.load();
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            by_rate.values().for_each(|limiter| limiter.retain_recent());
        }
        Checks { limits: self, by_rate }
    }

    #[cold]
    fn limiter(&self, rate: Rate) -> Arc<Limiter> {
        let clock = self.clock.clone();
        let new = RateLimiter::dashmap_with_clock_and_hasher(quota(rate), clock, Keyed::default());
        let new = Arc::new(new.with_middleware());
        self.by_rate.rcu(|limiters| {
            let mut limiters = Map::clone(limiters);
            limiters.entry(rate).or_insert_with(|| new.clone());
            limiters
        });
        // Another request may have been first.
        self.by_rate.load().get(&rate).cloned().unwrap_or(new)
    }
}

impl Checks<'_> {
    /// Lets `name` in, or says how long it has to wait, and how it stands then.
    pub(super) fn check(&self, name: &Arc<str>, rate: Rate) -> Result<Standing, (Duration, Standing)> {
        let checked = match self.by_rate.get(&rate) {
            Some(limiter) => limiter.check_key(name),
            None => self.limits.limiter(rate).check_key(name),
        };
        let standing = |left: u32| {
            let used = rate.requests.get().saturating_sub(left);
            Standing {
                measure: Measure::Requests,
                limit: rate.requests.get().into(),
                left: left.into(),
                resets_in: Some(each(rate).saturating_mul(used)),
            }
        };
        checked.map(|state| standing(state.remaining_burst_capacity())).map_err(|until| {
            let wait = until.wait_time_from(clock::Clock::now(&self.limits.clock));
            // The next one is given back then, and after it the others.
            let resets_in = Some(wait.saturating_add(each(rate).saturating_mul(rate.requests.get() - 1)));
            let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000).max(1) as u64);
            (wait, Standing { resets_in, ..standing(0) })
        })
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::with_period(each(rate)).expect("it is at least a nanosecond").allow_burst(rate.requests)
}

/// The time in which one request is given back.
fn each(rate: Rate) -> Duration {
    (rate.per / rate.requests.get()).max(Duration::from_nanos(1))
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_rate.load().keys()).finish()
    }
}

/// Tokio's time, so that tests can stop it, as of when somebody has looked at it: each request does so once, for
/// all of its limits.
#[derive(Clone, Debug)]
struct Clock {
    began: Instant,
    /// In nanoseconds.
    passed: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), passed: Arc::default() }
    }
}

impl Clock {
    fn look(&self) {
        let passed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.passed.fetch_max(passed, Ordering::Relaxed);
    }
}

impl clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.passed.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_that_were_silent_are_forgotten() {
        let limits = Limits::default();
        let rate: Rate = "10/second".parse().unwrap();
        for number in 0..100 {
            limits.now().check(&format!("{number}").into(), rate).unwrap();
        }
        assert_eq!(limits.limiter(rate).len(), 100);

        tokio::time::advance(Duration::from_secs(1)).await;
        let name = "busy".into();
        for _ in 0..SWEEP {
            let _ = limits.now().check(&name, rate);
        }

        assert_eq!(limits.limiter(rate).len(), 1);
    }

    #[test]
    fn a_rate_faster_than_the_clock_is_a_rate() {
        let rate = Rate { requests: NonZeroU32::MAX, per: Duration::from_secs(1) };

        assert!(Limits::default().now().check(&"a".into(), rate).is_ok());
    }
}
