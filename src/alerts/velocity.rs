use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{alert::Velocity, recent::Recent, sliding::Sliding};
use crate::price::NanoUsd;

/// The most accounts that are known.
const MOST: usize = 10_000;

/// What spend is unusual: more than so many times what is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusual {
    factor: u32,
    over: Duration,
    against: Duration,
    at_least: NanoUsd,
}

impl Unusual {
    /// Spend in the time `over` that is more than `factor` times the mean in the longer time `against`
    /// before.
    pub fn new(factor: u32, over: Duration, against: Duration) -> Self {
        Self { factor, over, against, at_least: NanoUsd::default() }
    }

    /// Sets what is worth telling at all.
    #[must_use]
    pub fn at_least(self, at_least: NanoUsd) -> Self {
        Self { at_least, ..self }
    }
}

/// What accounts have spent.
#[derive(Debug)]
pub(super) struct Velocities {
    unusual: Unusual,
    began: Instant,
    accounts: Recent<Arc<str>, Spend>,
}

#[derive(Debug)]
struct Spend {
    lately: Sliding,
    long: Sliding,
    /// When the account was first seen.
    since: Duration,
    /// Until when nothing more is told of it.
    told: Duration,
}

impl Velocities {
    pub(super) fn new(unusual: Unusual) -> Self {
        Self { unusual, began: Instant::now(), accounts: Recent::new(MOST) }
    }

    /// Counts what was spent on each of `accounts`, and says where that is unusual.
    pub(super) fn spend<'s>(
        &mut self,
        accounts: impl Iterator<Item = &'s Arc<str>>,
        cost: NanoUsd,
    ) -> Vec<Velocity> {
        let now = self.began.elapsed();
        let unusual = self.unusual;
        let new = || Spend {
            lately: Sliding::new(unusual.over),
            long: Sliding::new(unusual.against),
            since: now,
            told: Duration::ZERO,
        };
        let mut judge = |account: &Arc<str>| {
            let known = self.accounts.get_or(account.clone(), new);
            let (spent, usual) = known.spend(cost, now, &unusual)?;
            Some(Velocity { account: account.clone(), spent, over: unusual.over, usual })
        };
        accounts.filter_map(&mut judge).collect()
    }
}

impl Spend {
    /// What was spent lately and what is usual, if that is too much.
    fn spend(&mut self, cost: NanoUsd, now: Duration, unusual: &Unusual) -> Option<(NanoUsd, NanoUsd)> {
        let Unusual { factor, over, against, at_least } = *unusual;
        self.lately.add(now, cost.0);
        self.long.add(now, cost.0);
        let spent = self.lately.sum(now);
        let before = self.long.sum(now).saturating_sub(spent);
        let time_before = (now - self.since).min(against).checked_sub(over).filter(|time| *time >= over)?;
        let usual = u128::from(before) * over.as_nanos() / time_before.as_nanos().max(1);
        let usual = u64::try_from(usual).unwrap_or(u64::MAX);
        let is_unusual = spent >= at_least.0.max(1) && spent > usual.saturating_mul(factor.into());
        if !is_unusual || now < self.told {
            return None;
        }
        self.told = now + over;
        Some((NanoUsd(spent), NanoUsd(usual)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn velocities() -> Velocities {
        let unusual = Unusual::new(5, MINUTE * 5, MINUTE * 60 * 24);
        Velocities::new(unusual.at_least(NanoUsd::from_usd(1)))
    }

    fn spend(velocities: &mut Velocities, cents: u64) -> Option<(NanoUsd, NanoUsd)> {
        let unusual = velocities.spend([&"key:a".into()].into_iter(), NanoUsd(cents * 10_000_000));
        unusual.first().map(|velocity| (velocity.spent, velocity.usual))
    }

    #[tokio::test(start_paused = true)]
    async fn much_more_than_usual_is_told_once_in_the_time_that_is_looked_at() {
        let mut velocities = velocities();
        // Two dollars an hour: 10 cents in three minutes.
        for _ in 0..20 {
            assert_eq!(spend(&mut velocities, 10), None);
            advance(MINUTE * 3).await;
        }

        assert_eq!(spend(&mut velocities, 50), None);
        let (spent, usual) = spend(&mut velocities, 50).unwrap();
        assert!(spent >= NanoUsd::from_usd(1) && usual < NanoUsd(200_000_000), "{spent} {usual}");
        assert_eq!(spend(&mut velocities, 100), None);

        advance(MINUTE * 5).await;
        assert!(spend(&mut velocities, 500).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_new_is_not_judged() {
        let mut velocities = velocities();

        assert_eq!(spend(&mut velocities, 100_000), None);
        advance(MINUTE * 9).await;
        assert_eq!(spend(&mut velocities, 100_000), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_was_idle_is_judged_from_the_least_amount_on() {
        let mut velocities = velocities();
        assert_eq!(spend(&mut velocities, 1), None);
        advance(MINUTE * 600).await;

        assert_eq!(spend(&mut velocities, 99), None);
        assert!(spend(&mut velocities, 1).is_some());
    }
}
