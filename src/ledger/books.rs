use std::{sync::Arc, time::SystemTime};

use super::{
    Amounts, Balance, Hold, HoldId, Measure, Period, Quota, Scope, Standing, Ticket, Window,
    account::{Account, Short},
    marks::Marks,
    refusal::Refusal,
};
use crate::hashing::Map;

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
///
/// Those of one name are together, since a request is seldom charged to one of them alone.
#[derive(Debug, Default)]
pub(super) struct Books {
    accounts: Map<Arc<str>, Named>,
    kept: Map<Box<str>, Ticket>,
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
        for scopes in scopes.chunk_by(|one, next| one.account == next.account) {
            let Some(Scope { account, .. }) = scopes.first() else { continue };
            let named = self.accounts.entry(account.clone()).or_default();
            for scope in scopes {
                if let Err(refusal) = named.hold(scope, amounts, now, &mut ticket) {
                    self.release(&ticket, now);
                    return Err(refusal);
                }
            }
        }
        Ok(ticket)
    }

    /// Takes holds back as if they had never been.
    fn release(&mut self, ticket: &Ticket, now: SystemTime) {
        self.settle(ticket, |_| 0, now, |_, _, _| {});
    }

    /// Replaces holds by what was used, and tells `post` what is counted in which window.
    pub(super) fn settle(
        &mut self,
        ticket: &Ticket,
        actual: impl Fn(&Hold) -> u64,
        now: SystemTime,
        mut post: impl FnMut(&Hold, Window, u64),
    ) {
        for holds in ticket.holds.chunk_by(|one, next| one.account == next.account) {
            let mut named = holds.first().and_then(|hold| self.accounts.get_mut(&hold.account));
            for hold in holds {
                let used = actual(hold);
                let account = named.as_mut().and_then(|named| named.get(hold.measure, hold.period));
                post(hold, replace(account, hold, used, now), used);
            }
        }
    }

    /// Replaces one hold by what was used, and says in which window that counts.
    #[cfg(feature = "postgres")]
    pub(super) fn replace(&mut self, hold: &Hold, used: u64, now: SystemTime) -> Window {
        replace(self.account(&hold.place()), hold, used, now)
    }

    /// Those of a store that decides over some of its accounts at a time.
    #[cfg(feature = "postgres")]
    pub(super) fn of(accounts: impl IntoIterator<Item = (Place, Account)>) -> Self {
        let mut books = Self { sweep_at: usize::MAX, ..Self::default() };
        for (Place { account: name, measure, period }, account) in accounts {
            books.accounts.entry(name).or_default().0.push((measure, period, account));
        }
        books
    }

    pub(super) fn account(&mut self, place: &Place) -> Option<&mut Account> {
        self.accounts.get_mut(&place.account)?.get(place.measure, place.period)
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
        Some(self.account(place)?.balance(now))
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
        let Place { account, measure, period } = place;
        self.accounts.entry(account).or_default().get_or_new(measure, period, now).post(window, amount);
    }

    /// Holds again what a store remembers.
    #[cfg(feature = "sqlite")]
    pub(super) fn restore(&mut self, ticket: &Ticket, now: SystemTime) {
        for hold in &ticket.holds {
            let now = now.max(hold.window.began());
            let named = self.accounts.entry(hold.account.clone()).or_default();
            named.get_or_new(hold.measure, hold.period, now).restore(hold.window, hold.amount);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.values().map(|named| named.0.len()).sum()
    }

    fn sweep(&mut self, now: SystemTime) {
        if self.accounts.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.accounts.retain(|_, named| !named.is_idle(now));
            self.sweep_at = self.accounts.len().saturating_mul(2);
        }
    }
}

/// The accounts of one name.
#[derive(Debug, Default)]
struct Named(Vec<(Measure, Period, Account)>);

impl Named {
    fn get(&mut self, measure: Measure, period: Period) -> Option<&mut Account> {
        let is_it = |(of, per, _): &&mut (Measure, Period, Account)| *of == measure && *per == period;
        self.0.iter_mut().find(is_it).map(|(_, _, account)| account)
    }

    fn get_or_new(&mut self, measure: Measure, period: Period, now: SystemTime) -> &mut Account {
        let is_it = |(of, per, _): &(Measure, Period, Account)| *of == measure && *per == period;
        let index = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push((measure, period, Account::new(period, now)));
            self.0.len() - 1
        });
        &mut self.0[index].2
    }

    /// Holds what `scope` needs, and writes it down.
    fn hold(
        &mut self,
        scope: &Scope,
        amounts: Amounts,
        now: SystemTime,
        ticket: &mut Ticket,
    ) -> Result<(), Refusal> {
        let (measure, period) = scope.counted_as();
        let amount = amounts.held(measure);
        let account = self.get_or_new(measure, period, now);
        let window =
            account.hold(scope.quota, amount, now).map_err(|short| refusal(scope, short, amount, now))?;
        if let Some(quota) = scope.quota {
            note(ticket, scope, quota, account, amount, now);
        }
        ticket.holds.push(Hold { account: scope.account.clone(), measure, period, window, amount });
        Ok(())
    }

    fn is_idle(&mut self, now: SystemTime) -> bool {
        self.0.retain_mut(|(_, _, account)| !account.is_idle(now));
        self.0.is_empty()
    }
}

/// Replaces a hold on `account` by what was used, and says in which window that counts.
fn replace(account: Option<&mut Account>, hold: &Hold, used: u64, now: SystemTime) -> Window {
    account.map_or(hold.window, |account| account.settle(hold.window, hold.amount, used, now))
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
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
        let Quota { measure, limit, .. } = quota;
        let left = account.left(limit);
        let known = ticket.standings.iter_mut().find(|standing| standing.measure == measure);
        if known.as_ref().is_some_and(|tightest| tightest.left <= left) {
            return;
        }
        let resets_in = account.resets(limit).and_then(|at| at.duration_since(now).ok());
        let standing = Standing { measure, limit, left, resets_in };
        match known {
            Some(tightest) => *tightest = standing,
            None => ticket.standings.push(standing),
        }
    }
}

fn refusal(scope: &Scope, short: Short, needed: u64, now: SystemTime) -> Refusal {
    let quota = scope.quota.unwrap_or(Quota::new(Measure::Usd, u64::MAX, Period::Total));
    Refusal { account: scope.account.clone(), quota, left: short.left, needed, again: short.again, now }
}
