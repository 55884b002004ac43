use std::{
    ops::RangeInclusive,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    Amounts, Clock, Day, Hold, HoldId, Ledger, Measure, Period, Scope, Ticket, Window,
    books::{Books, Place},
    days::{self, Days},
    marks::Marks,
};
use crate::{BoxFuture, Error, lock};

/// Balances in memory; they are gone with the process, and other nodes don't see them.
///
/// What was reserved in a window that has passed is not charged to the new one. Accounts are made when
/// they are first reserved on, and are forgotten when nothing stands on them any more.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    books: Mutex<Books>,
    days: Mutex<Days>,
    /// What its tickets are told by.
    node: u64,
    numbers: AtomicU64,
    clock: Clock,
}

/// What stands on an account in its current window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What was used, in the unit of the measure.
    pub posted: u64,
    /// What is reserved and not settled yet.
    pub held: u64,
    /// The window that both are of.
    pub window: Window,
}

impl Balance {
    /// What stands on an account that was never reserved on.
    pub fn nothing(period: Period, now: SystemTime) -> Self {
        Self { posted: 0, held: 0, window: period.window(now).0 }
    }
}

impl MemoryLedger {
    /// A ledger whose windows go by another clock than that of the system.
    pub fn with_clock(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(now), ..Self::default() }
    }

    pub(super) fn of_node(node: u64) -> Self {
        Self { node, ..Self::default() }
    }

    /// What stands on `account`; `None` if nothing of the measure was reserved on it for the period. An
    /// account without a quota counts [`Measure::Usd`] for [`Period::Total`].
    pub fn balance(&self, account: &str, measure: Measure, period: Period) -> Option<Balance> {
        let place = Place { account: account.into(), measure, period };
        lock(&self.books).balance(&place, self.clock.now())
    }

    fn hold(&self, scopes: &[Scope], worst: Amounts) -> Result<Ticket, Error> {
        let id = HoldId { node: self.node, number: self.numbers.fetch_add(1, Ordering::Relaxed) };
        let now = self.clock.now();
        let reserved = lock(&self.books).reserve(id, scopes, worst, now);
        // The message is written when the lock is given back.
        reserved.map_err(Error::from)
    }

    fn settle_as(&self, ticket: &Ticket, actual: impl Fn(&Hold) -> u64, used: Amounts) {
        let now = self.clock.now();
        lock(&self.books).settle(ticket, actual, now, |_, _, _| {});
        lock(&self.days).add(&ticket.holds, &Day::one(used, now));
    }
}

impl Ledger for MemoryLedger {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(std::future::ready(self.hold(scopes, worst)))
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        self.settle_as(&ticket, actual.on(), actual);
    }

    fn keep(&self, ticket: Ticket, name: &str) {
        let kept = lock(&self.books).keep(ticket, name);
        if let Err(ticket) = kept {
            tracing::warn!(name, "a hold can't be kept, and is charged as it was held");
            self.settle_as(&ticket, ticket.held(), days::held(&ticket.holds));
        }
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        Box::pin(std::future::ready(Ok(lock(&self.books).resume(name))))
    }

    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
        let balances = lock(&self.books).balances(scopes, self.clock.now());
        Box::pin(std::future::ready(Ok(balances)))
    }

    fn days<'a>(
        &'a self,
        account: &'a str,
        days: RangeInclusive<Window>,
    ) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
        Box::pin(std::future::ready(Ok(lock(&self.days).of(account, days))))
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        let now = self.clock.now();
        let is_new = lock(&self.books).marks.make(name, Marks::end(now, lasts), now);
        Box::pin(std::future::ready(Ok(is_new)))
    }

    fn try_reserve(&self, scopes: &[Scope], worst: Amounts) -> Option<Result<Ticket, Error>> {
        Some(self.hold(scopes, worst))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        Kind,
        ledger::{
            Quota,
            conformance::{self, HandClock},
        },
        price::NanoUsd,
    };

    fn ledger(now: &str) -> (MemoryLedger, HandClock) {
        let clock = HandClock::new(now.parse::<Timestamp>().unwrap().into());
        let hand = clock.clone();
        (MemoryLedger::with_clock(move || hand.now()), clock)
    }

    fn scope(account: &str, limit: u64, period: Period) -> Scope {
        Scope::new(account, Quota::usd(NanoUsd(limit), period))
    }

    impl MemoryLedger {
        fn accounts(&self) -> usize {
            lock(&self.books).len()
        }
    }

    /// What is posted and held on an account of money.
    fn balance_of(ledger: &MemoryLedger, account: &str, period: Period) -> (u64, u64) {
        let balance = ledger.balance(account, Measure::Usd, period).unwrap();
        (balance.posted, balance.held)
    }

    #[tokio::test]
    async fn it_keeps_what_every_ledger_promises() {
        let (ledger, clock) = ledger("2026-11-21T12:00:00Z");

        let ledger = Arc::new(ledger);
        conformance::all(ledger.clone(), &clock).await;
        conformance::days(&*ledger, &clock).await;
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
                tokio::spawn(async move { ledger.reserve(&scopes, NanoUsd(10).into()).await })
            })
            .collect();
        let mut granted = Vec::new();
        for task in tasks {
            granted.extend(task.await.unwrap());
        }

        assert_eq!(granted.len(), 100);
        assert_eq!(balance_of(&ledger, "key:a", Period::Day), (0, 1_000));
        assert_eq!(balance_of(&ledger, "team:b", Period::Month), (0, 1_000));
        granted.into_iter().for_each(|ticket| ledger.settle(ticket, NanoUsd(3).into()));
        assert_eq!(balance_of(&ledger, "team:b", Period::Month), (300, 0));
    }

    #[test]
    fn the_refusal_says_whose_budget_and_until_when() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:search", 50_000_000_000, Period::Month)];
        let ticket = ledger.hold(&scopes, NanoUsd(49_997_900_000).into()).ok();

        let error = ledger.hold(&scopes, NanoUsd(10_000_000).into()).unwrap_err();

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
            let scopes = [scope(&format!("{period}"), 2, period)];
            let _held = ledger.hold(&scopes, NanoUsd(1).into()).unwrap();
            ledger.hold(&scopes, NanoUsd(2).into()).unwrap_err()
        };

        assert_eq!(refused(Period::Day).retry_after(), Some(Duration::from_secs(1_800)));
        assert_eq!(refused(Period::Month).retry_after(), None);
        assert_eq!(
            refused(Period::Total).message(),
            "the budget of total is used up: 0.000000002 usd in total, 0.000000001 left, 0.000000002 needed"
        );
    }

    #[test]
    fn what_can_never_be_granted_is_not_worth_waiting_for() {
        let (ledger, _) = ledger("2026-11-21T23:30:00Z");
        let quota = Quota::new(Measure::Tokens, 1_000, Period::Minute);
        let scopes = [Scope::new("key:a", quota)];

        let refused = |output| {
            let error = ledger.hold(&scopes, Amounts { output, ..Amounts::default() }).unwrap_err();
            (error.message().to_owned(), error.retry_after())
        };

        assert_eq!(
            refused(1_001),
            (
                "the request is too large for the limit of key:a: it may use 1001 tokens, and the limit is 1000 \
                 tokens per minute; set a cap on its output, or a lower one, or send less"
                    .to_owned(),
                None
            )
        );
        let _held = ledger.hold(&scopes, Amounts { input: 1_000, ..Amounts::default() }).unwrap();
        assert_eq!(
            refused(500),
            (
                "the limit of key:a is used up: 1000 tokens per minute, 0 left, 500 needed, enough is \
                 given back 2026-11-21T23:30:30Z"
                    .to_owned(),
                Some(Duration::from_secs(30))
            )
        );
    }

    #[test]
    fn accounts_on_which_nothing_stands_are_forgotten() {
        let (ledger, clock) = ledger("2026-11-21T23:30:00Z");
        let quota = Quota::new(Measure::Tokens, 60, Period::Minute);
        let amounts = Amounts { output: 60, ..Amounts::default() };
        let visit = |name: u32| {
            let scopes = [Scope::new(format!("user:{name}"), quota)];
            ledger.settle(ledger.hold(&scopes, amounts).unwrap(), amounts);
        };

        (0..5_000).for_each(visit);
        assert_eq!(ledger.accounts(), 5_000);
        clock.set(clock.now() + Duration::from_secs(61));
        (5_000..10_000).for_each(visit);

        assert!(ledger.accounts() < 8_500, "{}", ledger.accounts());
    }

    #[test]
    fn the_report_knows_that_a_window_has_passed() {
        let (ledger, clock) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let ticket = ledger.hold(&scopes, NanoUsd(10).into()).ok().unwrap();
        ledger.settle(ticket, NanoUsd(7).into());
        let before = ledger.balance("key:a", Measure::Usd, Period::Day).unwrap();

        clock.set("2026-11-22T00:00:00Z".parse::<Timestamp>().unwrap().into());
        let after = ledger.balance("key:a", Measure::Usd, Period::Day).unwrap();

        assert_eq!(before.posted, 7);
        assert_eq!(after.posted, 0);
        assert_eq!(after.window.0 - before.window.0, 86_400);
        assert_eq!(ledger.balance("key:b", Measure::Usd, Period::Day), None);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_back() {
        let (ledger, clock) = ledger("2026-11-22T00:00:10Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let _held = ledger.hold(&scopes, NanoUsd(80).into()).ok().unwrap();

        clock.set("2026-11-21T23:59:50Z".parse::<Timestamp>().unwrap().into());

        assert!(ledger.hold(&scopes, NanoUsd(80).into()).is_err());
    }

    #[test]
    fn an_account_named_twice_is_held_twice() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day), scope("key:a", 100, Period::Day)];

        assert!(ledger.hold(&scopes, NanoUsd(60).into()).is_err());
        assert_eq!(balance_of(&ledger, "key:a", Period::Day), (0, 0));
    }

    #[test]
    fn what_was_overspent_lets_no_free_request_in() {
        let (ledger, _) = ledger("2026-11-21T12:00:00Z");
        let scopes = [scope("key:a", 100, Period::Day)];
        let ticket = ledger.hold(&scopes, NanoUsd(10).into()).ok().unwrap();

        ledger.settle(ticket, NanoUsd(101).into());

        assert!(ledger.hold(&scopes, NanoUsd(0).into()).is_err());
    }
}
