use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{
    Amounts, Balance, Hold, HoldId, Measure, Period, Quota, Scope, Standing, Ticket, Window,
    account::{Account, Short},
    marks::Marks,
    refusal::Refusal,
};

/// After the number of accounts has doubled, those are forgotten on which nothing stands.
const SWEEP_FROM: usize = 4_096;
/// The most holds that outlive their requests.
const MAX_KEPT: usize = 100_000;

/// Which account of a name: several quotas may be on the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) account: Arc<str>,
    pub(super) measure: Measure,
    pub(super) period: Period,
}

/// All accounts: what a ledger does, without locks, clocks and stores.
#[derive(Debug, Default)]
pub(super) struct Books {
    accounts: HashMap<Place, Account>,
    kept: HashMap<Box<str>, Ticket>,
    pub(super) marks: Marks,
    sweep_at: usize,
}

impl Books {
    /// Holds what each of `scopes` needs, or nothing at all.
    pub(super) fn reserve(
        &mut self,
        id: HoldId,
        scopes: &[Scope],
        amounts: Amounts,
        now: SystemTime,
    ) -> Result<Ticket, Refusal> {
        self.sweep(now);
        let mut ticket = Ticket::new(id, scopes.len());
        for scope in scopes {
            let (measure, period) =
                scope.quota.map_or((Measure::Usd, Period::Total), |q| (q.measure, q.period));
            let place = Place { account: scope.account.clone(), measure, period };
            let amount = amounts.held(measure);
            let account = self.accounts.entry(place).or_insert_with(|| Account::new(period, now));
            match account.hold(scope.quota, amount, now) {
                Ok(window) => {
                    if let Some(quota) = scope.quota {
                        note(&mut ticket, scope, quota, account, amount, now);
                    }
                    let account = scope.account.clone();
                    ticket.holds.push(Hold { account, measure, period, window, amount });
                }
                Err(short) => {
                    self.release(&ticket, now);
                    return Err(refusal(scope, short, amount, now));
                }
            }
        }
        Ok(ticket)
    }

    /// Takes holds back as if they had never been.
    fn release(&mut self, ticket: &Ticket, now: SystemTime) {
        for hold in &ticket.holds {
            if let Some(account) = self.accounts.get_mut(&hold.place()) {
                account.settle(hold.window, hold.amount, 0, now);
            }
        }
    }

    /// Replaces holds by what was used, and tells `post` what is counted in which window.
    pub(super) fn settle(
        &mut self,
        ticket: &Ticket,
        actual: impl Fn(&Hold) -> u64,
        now: SystemTime,
        mut post: impl FnMut(&Hold, Window, u64),
    ) {
        for hold in &ticket.holds {
            let used = actual(hold);
            let window = self.replace(hold, used, now);
            post(hold, window, used);
        }
    }

    /// Replaces one hold by what was used, and says in which window that counts.
    pub(super) fn replace(&mut self, hold: &Hold, used: u64, now: SystemTime) -> Window {
        match self.accounts.get_mut(&hold.place()) {
            Some(account) => account.settle(hold.window, hold.amount, used, now),
            None => hold.window,
        }
    }

    /// Those of a store that decides over some of its accounts at a time.
    #[cfg(feature = "postgres")]
    pub(super) fn of(accounts: HashMap<Place, Account>) -> Self {
        Self { accounts, sweep_at: usize::MAX, ..Self::default() }
    }

    #[cfg(feature = "postgres")]
    pub(super) fn account(&mut self, place: &Place) -> Option<&mut Account> {
        self.accounts.get_mut(place)
    }

    /// Puts a hold aside; gives it back if there is no room.
    pub(super) fn keep(&mut self, ticket: Ticket, name: &str) -> Result<(), Ticket> {
        if self.kept.len() >= MAX_KEPT || self.kept.contains_key(name) {
            return Err(ticket);
        }
        self.kept.insert(name.into(), ticket);
        Ok(())
    }

    pub(super) fn resume(&mut self, name: &str) -> Option<Ticket> {
        self.kept.remove(name)
    }

    pub(super) fn balance(&mut self, place: &Place, now: SystemTime) -> Option<Balance> {
        Some(self.accounts.get_mut(place)?.balance(now))
    }

    /// What stands on each of `scopes`.
    pub(super) fn balances(&mut self, scopes: &[Scope], now: SystemTime) -> Vec<Balance> {
        let mut balance = |scope: &Scope| {
            let (measure, period) = scope.counted_as();
            let place = Place { account: scope.account.clone(), measure, period };
            self.balance(&place, now).unwrap_or_else(|| Balance::nothing(period, now))
        };
        scopes.iter().map(&mut balance).collect()
    }

    /// Counts what a store remembers of a window. A window that a clock which was set back since would not
    /// have reached yet is the current one.
    #[cfg(feature = "sqlite")]
    pub(super) fn remember(&mut self, place: Place, window: Window, amount: u64, now: SystemTime) {
        let now = now.max(window.began());
        let period = place.period;
        let account = self.accounts.entry(place).or_insert_with(|| Account::new(period, now));
        account.post(window, amount);
    }

    /// Holds again what a store remembers.
    #[cfg(feature = "sqlite")]
    pub(super) fn restore(&mut self, ticket: &Ticket, now: SystemTime) {
        for hold in &ticket.holds {
            let now = now.max(hold.window.began());
            let account = self.accounts.entry(hold.place()).or_insert_with(|| Account::new(hold.period, now));
            account.restore(hold.window, hold.amount);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    fn sweep(&mut self, now: SystemTime) {
        if self.accounts.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.accounts.retain(|_, account| !account.is_idle(now));
            self.sweep_at = self.accounts.len().saturating_mul(2);
        }
    }
}

impl Hold {
    pub(super) fn place(&self) -> Place {
        Place { account: self.account.clone(), measure: self.measure, period: self.period }
    }
}

/// What the caller is told of a quota that was granted.
fn note(ticket: &mut Ticket, scope: &Scope, quota: Quota, account: &Account, amount: u64, now: SystemTime) {
    if quota.shadow {
        // The amount is held already.
        if account.exceeds(quota.limit) {
            let short = Short { left: 0, again: account.again(quota.limit, amount) };
            ticket.shadowed.push(refusal(scope, short, amount, now).into());
        }
    } else if !matches!(quota.measure, Measure::Usd | Measure::Concurrent) {
        let left = account.left(quota.limit);
        let resets = account.resets(quota.limit).and_then(|at| at.duration_since(now).ok());
        ticket.standings.push(Standing {
            measure: quota.measure,
            limit: quota.limit,
            left,
            resets_in: resets,
        });
    }
}

fn refusal(scope: &Scope, short: Short, needed: u64, now: SystemTime) -> Refusal {
    let quota = scope.quota.unwrap_or(Quota::new(Measure::Usd, u64::MAX, Period::Total));
    Refusal { account: scope.account.clone(), quota, left: short.left, needed, again: short.again, now }
}
