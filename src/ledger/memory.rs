use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{Budget, Ledger, Period, Scope, Ticket, Window};
use crate::{BoxFuture, Error, Kind, lock, price::NanoUsd};

/// Balances in memory; they are gone with the process, and other nodes don't see them.
///
/// An account begins anew when its period does, or when its budget gets another period. What was
/// reserved in a window that has passed is not charged to the new one. Accounts are made when they
/// are first reserved on and are kept, so there are as many as the configuration has names for.
#[derive(Debug)]
pub struct MemoryLedger {
    accounts: Mutex<HashMap<Arc<str>, Account>>,
    kept: Mutex<HashMap<Box<str>, Ticket>>,
    clock: Clock,
}

struct Clock(Box<dyn Fn() -> SystemTime + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What stands on an account in its current window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What was spent.
    pub posted: NanoUsd,
    /// What is reserved and not settled yet.
    pub held: NanoUsd,
    /// The window that both are of.
    pub window: Window,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::with_clock(SystemTime::now)
    }
}

impl MemoryLedger {
    /// A ledger whose windows go by another clock than that of the system.
    pub fn with_clock(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { accounts: Mutex::default(), kept: Mutex::default(), clock: Clock(Box::new(now)) }
    }

    /// What stands on `account`; `None` if nothing was ever reserved on it.
    pub fn balance(&self, account: &str) -> Option<Balance> {
        let now = (self.clock.0)();
        let mut accounts = lock(&self.accounts);
        let account = accounts.get_mut(account)?;
        account.turn(account.period, now);
        Some(account.balance)
    }

    fn hold(&self, scopes: &[Scope], amount: NanoUsd) -> Result<Ticket, Refusal> {
        let now = (self.clock.0)();
        let mut ticket = Ticket { holds: Vec::with_capacity(scopes.len()), amount };
        let mut accounts = lock(&self.accounts);
        for scope in scopes {
            let account = accounts.entry(scope.account.clone()).or_default();
            match account.hold(scope, amount, now) {
                Ok(window) => ticket.holds.push((scope.account.clone(), window)),
                Err(refusal) => {
                    settle(&mut accounts, ticket, NanoUsd(0));
                    return Err(refusal);
                }
            }
        }
        Ok(ticket)
    }
}

impl Ledger for MemoryLedger {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], amount: NanoUsd) -> BoxFuture<'a, Result<Ticket, Error>> {
        let answer = self.hold(scopes, amount).map_err(Error::from);
        Box::pin(std::future::ready(answer))
    }

    fn settle(&self, ticket: Ticket, actual: NanoUsd) {
        settle(&mut lock(&self.accounts), ticket, actual);
    }

    fn keep(&self, ticket: Ticket, name: &str) {
        lock(&self.kept).insert(name.into(), ticket);
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        let kept = lock(&self.kept).remove(name);
        Box::pin(std::future::ready(Ok(kept)))
    }

    fn try_reserve(&self, scopes: &[Scope], amount: NanoUsd) -> Option<Result<Ticket, Error>> {
        Some(self.hold(scopes, amount).map_err(Error::from))
    }
}

fn settle(accounts: &mut HashMap<Arc<str>, Account>, ticket: Ticket, actual: NanoUsd) {
    for (name, window) in ticket.holds {
        if let Some(account) = accounts.get_mut(&name) {
            account.settle(window, ticket.amount, actual);
        }
    }
}

#[derive(Debug)]
struct Account {
    period: Period,
    /// When the window ends; `None` is never.
    next: Option<SystemTime>,
    balance: Balance,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            period: Period::Total,
            next: None,
            balance: Balance { posted: NanoUsd(0), held: NanoUsd(0), window: Window(0) },
        }
    }
}

impl Account {
    /// Begins anew if it is time to. A clock that is set back does not bring an old window back.
    fn turn(&mut self, period: Period, now: SystemTime) {
        if self.period == period && self.next.is_none_or(|next| now < next) {
            return;
        }
        let (window, next) = period.window(now);
        *self = Self { period, next, ..Self::default() };
        self.balance.window = window;
    }

    fn hold(&mut self, scope: &Scope, amount: NanoUsd, now: SystemTime) -> Result<Window, Refusal> {
        self.turn(scope.budget.map_or(Period::Total, |budget| budget.period), now);
        let balance = &mut self.balance;
        if let Some(budget) = scope.budget {
            let left = budget.limit.saturating_sub(balance.posted).saturating_sub(balance.held);
            if left < amount || balance.posted > budget.limit {
                let again = self.next.map(|next| (next, next.duration_since(now).unwrap_or_default()));
                return Err(Refusal { account: scope.account.clone(), budget, left, needed: amount, again });
            }
        }
        balance.held = balance.held + amount;
        Ok(balance.window)
    }

    fn settle(&mut self, window: Window, amount: NanoUsd, actual: NanoUsd) {
        let balance = &mut self.balance;
        if balance.window == window {
            balance.held = balance.held.saturating_sub(amount);
            balance.posted = balance.posted + actual;
        }
    }
}

/// Becomes an [`Error`] when the lock is given back.
struct Refusal {
    account: Arc<str>,
    budget: Budget,
    left: NanoUsd,
    needed: NanoUsd,
    /// When the budget begins anew, as a time of day and counted from now.
    again: Option<(SystemTime, Duration)>,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        const SOON: Duration = Duration::from_secs(3_600);

        let Refusal { account, budget: Budget { limit, period }, left, needed, again } = refusal;
        let per = match period {
            Period::Total => "in total".into(),
            period => format!("per {period}"),
        };
        let mut message =
            format!("the budget of {account} is used up: {limit} usd {per}, {left} left, {needed} needed");
        if let Some(at) = again.and_then(|(at, _)| Timestamp::try_from(at).ok()) {
            message.push_str(&format!(", a new one begins {at}"));
        }
        let error = Self::new(Kind::BudgetExhausted, message);
        match again {
            Some((_, wait)) if wait < SOON => error.with_retry_after(wait),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::conformance::{self, HandClock};

    fn ledger(now: &str) -> (MemoryLedger, HandClock) {
        let clock = HandClock::new(now.parse::<Timestamp>().unwrap().into());
        let hand = clock.clone();
        (MemoryLedger::with_clock(move || hand.now()), clock)
    }

    fn scope(account: &str, limit: u64, period: Period) -> Scope {
        let budget = Budget { limit: NanoUsd(limit), period };
        Scope { account: account.into(), budget: Some(budget) }
    }

    fn balance(posted: u64, held: u64) -> (NanoUsd, NanoUsd) {
        (NanoUsd(posted), NanoUsd(held))
    }

    fn balance_of(ledger: &MemoryLedger, account: &str) -> (NanoUsd, NanoUsd) {
        let balance = ledger.balance(account).unwrap();
        (balance.posted, balance.held)
    }

    #[tokio::test]
    async fn it_keeps_what_every_ledger_promises() {
        let (ledger, clock) = ledger("2026-11-21T12:00:00Z");

        conformance::all(Arc::new(ledger), &clock).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn five_thousand_tasks_get_exactly_what_is_there() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let ledger = Arc::new(ledger);
        let scopes: Arc<[Scope]> =
            Arc::new([scope("key:a", 1_000, Period::Day), scope("team:b", 5_000, Period::Month)]);

        let tasks: Vec<_> = (0..5_000)
            .map(|_| {
                let (ledger, scopes) = (ledger.clone(), scopes.clone());
                tokio::spawn(async move { ledger.reserve(&scopes, NanoUsd(10)).await })
            })
            .collect();
        let mut granted = Vec::new();
        for task in tasks {
            granted.extend(task.await.unwrap());
        }

        assert_eq!(granted.len(), 100);
        assert_eq!(balance_of(&ledger, "key:a"), balance(0, 1_000));
        assert_eq!(balance_of(&ledger, "team:b"), balance(0, 1_000));
        granted.into_iter().for_each(|ticket| ledger.settle(ticket, NanoUsd(3)));
        assert_eq!(balance_of(&ledger, "team:b"), balance(300, 0));
    }

    #[test]
    fn the_refusal_says_whose_budget_and_until_when() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:search", 50_000_000_000, Period::Month)];
        let ticket = ledger.hold(&scopes, NanoUsd(49_997_900_000)).ok();

        let error = Error::from(ledger.hold(&scopes, NanoUsd(10_000_000)).err().unwrap());

        assert_eq!(error.kind(), Kind::BudgetExhausted);
        assert_eq!(
            error.message(),
            "the budget of key:search is used up: 50 usd per month, 0.0021 left, 0.01 needed, \
             a new one begins 2026-12-01T00:00:00Z"
        );
        assert_eq!(error.retry_after(), None);
        drop(ticket);
    }

    #[test]
    fn a_budget_that_begins_anew_soon_is_worth_waiting_for() {
        let (ledger, _) = ledger("2026-11-21T23:30:00Z");
        let refused = |period| {
            let scope = scope(&format!("{period}"), 1, period);
            Error::from(ledger.hold(&[scope], NanoUsd(2)).err().unwrap())
        };

        assert_eq!(refused(Period::Day).retry_after(), Some(Duration::from_secs(1_800)));
        assert_eq!(refused(Period::Month).retry_after(), None);
        assert_eq!(
            refused(Period::Total).message(),
            "the budget of total is used up: 0.000000001 usd in total, 0.000000001 left, 0.000000002 needed"
        );
    }

    #[test]
    fn the_report_knows_that_a_window_has_passed() {
        let (ledger, clock) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let ticket = ledger.hold(&scopes, NanoUsd(10)).ok().unwrap();
        ledger.settle(ticket, NanoUsd(7));
        let before = ledger.balance("key:a").unwrap();

        clock.set("2026-11-22T00:00:00Z".parse::<Timestamp>().unwrap().into());
        let after = ledger.balance("key:a").unwrap();

        assert_eq!(before.posted, NanoUsd(7));
        assert_eq!(after.posted, NanoUsd(0));
        assert_eq!(after.window.0 - before.window.0, 86_400);
        assert_eq!(ledger.balance("key:b"), None);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_back() {
        let (ledger, clock) = ledger("2026-11-22T00:00:10Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let _held = ledger.hold(&scopes, NanoUsd(80)).ok().unwrap();

        clock.set("2026-11-21T23:59:50Z".parse::<Timestamp>().unwrap().into());

        assert!(ledger.hold(&scopes, NanoUsd(80)).is_err());
    }

    #[test]
    fn an_account_named_twice_is_held_twice() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day), scope("key:a", 100, Period::Day)];

        assert!(ledger.hold(&scopes, NanoUsd(60)).is_err());
        assert_eq!(balance_of(&ledger, "key:a"), balance(0, 0));
    }

    #[test]
    fn what_was_overspent_lets_no_free_request_in() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let ticket = ledger.hold(&scopes, NanoUsd(10)).ok().unwrap();

        ledger.settle(ticket, NanoUsd(101));

        assert!(ledger.hold(&scopes, NanoUsd(0)).is_err());
    }
}
