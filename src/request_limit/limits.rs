use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use governor::{
    Quota, RateLimiter, clock, middleware::StateInformationMiddleware, nanos::Nanos,
    state::keyed::DashMapStateStore,
};
use tokio::time::Instant;

use super::Rate;
use crate::ledger::{Measure, Standing};

/// After so many checks, keys are forgotten that have not asked for a while.
const SWEEP: u32 = 4_096;

type Limiter = RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, Clock, StateInformationMiddleware>;

/// What was let in lately. One limiter for each rate, since all keys of a limiter share its rate;
/// there are as many as the configuration has ever had.
#[derive(Default)]
pub(super) struct Limits {
    by_rate: ArcSwap<HashMap<Rate, Arc<Limiter>>>,
    checks: AtomicU32,
    clock: Clock,
}

impl Limits {
    /// Lets `name` in, or says how long it has to wait, and how it stands then.
    pub(super) fn check(&self, name: &Arc<str>, rate: Rate) -> Result<Standing, (Duration, Standing)> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.by_rate.load().values().for_each(|limiter| limiter.retain_recent());
        }
        let checked = match self.by_rate.load().get(&rate) {
            Some(limiter) => limiter.check_key(name),
            None => self.limiter(rate).check_key(name),
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
            let wait = until.wait_time_from(clock::Clock::now(&self.clock));
            // The next one is given back then, and after it the others.
            let resets_in = Some(wait.saturating_add(each(rate).saturating_mul(rate.requests.get() - 1)));
            let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000).max(1) as u64);
            (wait, Standing { resets_in, ..standing(0) })
        })
    }

    #[cold]
    fn limiter(&self, rate: Rate) -> Arc<Limiter> {
        let new =
            Arc::new(RateLimiter::dashmap_with_clock(quota(rate), self.clock.clone()).with_middleware());
        self.by_rate.rcu(|limiters| {
            let mut limiters = HashMap::clone(limiters);
            limiters.entry(rate).or_insert_with(|| new.clone());
            limiters
        });
        // Another request may have been first.
        self.by_rate.load().get(&rate).cloned().unwrap_or(new)
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

/// Tokio's time, so that tests can stop it.
#[derive(Clone, Debug)]
struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
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
            limits.check(&format!("{number}").into(), rate).unwrap();
        }
        assert_eq!(limits.limiter(rate).len(), 100);

        tokio::time::advance(Duration::from_secs(1)).await;
        let name = "busy".into();
        for _ in 0..SWEEP {
            let _ = limits.check(&name, rate);
        }

        assert_eq!(limits.limiter(rate).len(), 1);
    }

    #[test]
    fn a_rate_faster_than_the_clock_is_a_rate() {
        let rate = Rate { requests: NonZeroU32::MAX, per: Duration::from_secs(1) };

        assert!(Limits::default().check(&"a".into(), rate).is_ok());
    }
}
