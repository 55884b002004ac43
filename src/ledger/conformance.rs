//! What every [`Ledger`] has to pass: [`all`].
//!
//! The suite looks at a ledger only through its trait: how much is left of a budget shows in what is
//! granted. A ledger may settle later than it is told to; the suite asks again for two seconds.
//!
//! ```
//! # #[cfg(feature = "test-util")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use std::{sync::Arc, time::SystemTime};
//!
//! use bartizan::ledger::{MemoryLedger, conformance};
//!
//! let clock = conformance::HandClock::new(SystemTime::now());
//! let hand = clock.clone();
//! let ledger = MemoryLedger::with_clock(move || hand.now());
//!
//! conformance::all(Arc::new(ledger), &clock).await;
//! # }
//! # #[cfg(not(feature = "test-util"))]
//! # fn main() {}
//! ```

// A suite of tests fails by panicking.
#![allow(clippy::panic)]

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::{Amounts, Day, Ledger, Measure, Period, Quota, Scope, Ticket, Window};
use crate::{Error, Kind, lock, price::NanoUsd};

/// A clock that stands still until it is set.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<Mutex<SystemTime>>);

impl HandClock {
    /// A clock that shows `now`.
    pub fn new(now: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// What it shows.
    pub fn now(&self) -> SystemTime {
        *lock(&self.0)
    }

    /// Sets it.
    pub fn set(&self, now: SystemTime) {
        *lock(&self.0) = now;
    }
}

/// Runs the whole suite on a ledger that goes by `clock` and has not seen any of the suite's
/// accounts, whose names begin with `conformance:`. The clock is two days further afterwards.
///
/// # Panics
///
/// If the ledger breaks a promise.
pub async fn all(ledger: Arc<dyn Ledger>, clock: &HandClock) {
    a_budget_is_granted_to_the_last_unit(&*ledger).await;
    all_scopes_are_held_or_none(&*ledger).await;
    a_hold_becomes_what_was_really_spent(&*ledger).await;
    a_ticket_takes_back_its_own_hold_only(&*ledger).await;
    an_account_without_a_budget_has_no_limit(&*ledger).await;
    trying_keeps_the_same_promises(&*ledger).await;
    concurrent_reservations_never_exceed(&ledger).await;
    a_new_window_begins_anew(&*ledger, clock).await;
    a_late_settlement_stays_in_its_window(&*ledger, clock).await;
    every_measure_counts_for_itself(&*ledger).await;
    places_are_given_back_when_answers_end(&*ledger).await;
    what_was_used_in_a_minute_comes_back_evenly(&*ledger, clock).await;
    a_rolling_period_looks_back(&*ledger, clock).await;
    a_quota_that_only_watches_refuses_nothing(&*ledger).await;
    a_kept_hold_is_taken_up_once(&*ledger).await;
    what_stands_is_told_for_each_scope(&*ledger).await;
    what_is_marked_is_new_once(&*ledger).await;
}

/// Runs the part of the suite about [`Ledger::days`], on a ledger as that of [`all`]. The clock is two days
/// further afterwards.
///
/// # Panics
///
/// If the ledger breaks a promise.
pub async fn days(ledger: &dyn Ledger, clock: &HandClock) {
    let first = Day::of(clock.now());
    let scopes = [scope("days", 100), Scope::counted("conformance:days"), scope("days:team", 100)];
    let used = Amounts { cost: NanoUsd(5), input: 7, output: 9 };
    let spend = async || {
        let ticket = ledger.reserve(&scopes, NanoUsd(10).into()).await.expect("10 of 100 are granted");
        ledger.settle(ticket, used);
    };
    spend().await;
    spend().await;
    clock.set(clock.now() + DAY * 2);
    spend().await;

    let of = |window, requests: u64| Day {
        window,
        requests,
        used: Amounts { cost: NanoUsd(5 * requests), input: 7 * requests, output: 9 * requests },
    };
    let last = Day::of(clock.now()).window;
    let all = first.window..=last;
    let expected = [of(first.window, 2), of(last, 1)];
    has_days(ledger, "conformance:days", &all, &expected).await;
    has_days(ledger, "conformance:days:team", &all, &expected).await;
    has_days(ledger, "conformance:days", &(last..=last), &expected[1..]).await;
    has_days(ledger, "conformance:nobody", &all, &[]).await;
}

/// `account` has these days, now or within two seconds.
async fn has_days(ledger: &dyn Ledger, account: &str, days: &RangeInclusive<Window>, expected: &[Day]) {
    let mut told = Vec::new();
    for _ in 0..TRIES {
        told = ledger.days(account, days.clone()).await.expect("the store answers");
        if told == expected {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{account} has {told:?} and not {expected:?}");
}

async fn a_budget_is_granted_to_the_last_unit(ledger: &dyn Ledger) {
    let scopes = [scope("whole", 100)];

    let _whole = granted(ledger, &scopes, 100).await;

    refused(ledger, &scopes, 1).await;
    drop(granted(ledger, &scopes, 0).await);
}

async fn all_scopes_are_held_or_none(ledger: &dyn Ledger) {
    let (wide, narrow, last) = (scope("wide", 100), scope("narrow", 10), scope("last", 100));

    refused(ledger, &[wide.clone(), narrow.clone(), last.clone()], 50).await;

    has_left(ledger, &wide, 100).await;
    has_left(ledger, &narrow, 10).await;
    has_left(ledger, &last, 100).await;
}

async fn a_hold_becomes_what_was_really_spent(ledger: &dyn Ledger) {
    let scopes = [scope("less", 100), scope("less:team", 1_000)];
    let ticket = granted(ledger, &scopes, 60).await;
    ledger.settle(ticket, NanoUsd(20).into());
    has_left(ledger, &scopes[0], 80).await;
    has_left(ledger, &scopes[1], 980).await;

    let ticket = granted(ledger, &scopes, 60).await;
    ledger.settle(ticket, NanoUsd(70).into());
    has_left(ledger, &scopes[0], 10).await;

    let ticket = granted(ledger, &scopes, 10).await;
    ledger.settle(ticket, NanoUsd(500).into());
    has_left(ledger, &scopes[1], 410).await;
    refused(ledger, &scopes, 1).await;
}

async fn a_ticket_takes_back_its_own_hold_only(ledger: &dyn Ledger) {
    let scopes = [scope("own", 100)];
    let first = granted(ledger, &scopes, 30).await;
    let second = granted(ledger, &scopes, 30).await;

    ledger.settle(first, NanoUsd(0).into());

    has_left(ledger, &scopes[0], 70).await;
    ledger.settle(second, NanoUsd(30).into());
    has_left(ledger, &scopes[0], 70).await;
}

async fn an_account_without_a_budget_has_no_limit(ledger: &dyn Ledger) {
    let unlimited = [Scope::counted("conformance:unlimited")];

    let ticket = granted(ledger, &unlimited, 1 << 60).await;

    let other = granted(ledger, &unlimited, 1 << 60).await;
    ledger.settle(ticket, NanoUsd(1).into());
    ledger.settle(other, NanoUsd(1).into());
}

async fn trying_keeps_the_same_promises(ledger: &dyn Ledger) {
    let scopes = [scope("try", 100)];
    let Some(first) = ledger.try_reserve(&scopes, NanoUsd(60).into()) else {
        return has_left(ledger, &scopes[0], 100).await;
    };

    let first = first.expect("60 of 100 are granted");

    has_left(ledger, &scopes[0], 40).await;
    if let Some(second) = ledger.try_reserve(&scopes, NanoUsd(60).into()) {
        assert_eq!(second.expect_err("120 of 100 are refused").kind(), Kind::BudgetExhausted);
    }
    ledger.settle(first, NanoUsd(0).into());
    has_left(ledger, &scopes[0], 100).await;
}

async fn concurrent_reservations_never_exceed(ledger: &Arc<dyn Ledger>) {
    let scopes: Arc<[Scope]> = Arc::new([scope("crowd", 1_000), scope("crowd:team", 700)]);
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let (ledger, scopes) = (ledger.clone(), scopes.clone());
            tokio::spawn(async move { ledger.reserve(&scopes, NanoUsd(10).into()).await })
        })
        .collect();

    let mut tickets = Vec::new();
    for task in tasks {
        tickets.extend(task.await.expect("a reservation does not panic"));
    }

    assert_eq!(tickets.len(), 70, "of 500 reservations of 10, 70 fit into 700");
    tickets.into_iter().for_each(|ticket| ledger.settle(ticket, NanoUsd(1).into()));
    has_left(&**ledger, &scopes[0], 930).await;
    has_left(&**ledger, &scopes[1], 630).await;
}

async fn a_new_window_begins_anew(ledger: &dyn Ledger, clock: &HandClock) {
    let daily = scope("daily", 100);
    let total = Scope { quota: budget(100, Period::Total), ..scope("ever", 100) };
    let scopes = [daily.clone(), total.clone()];
    let ticket = granted(ledger, &scopes, 60).await;
    ledger.settle(ticket, NanoUsd(60).into());
    has_left(ledger, &daily, 40).await;

    clock.set(clock.now() + DAY);

    has_left(ledger, &daily, 100).await;
    has_left(ledger, &total, 40).await;
}

async fn a_late_settlement_stays_in_its_window(ledger: &dyn Ledger, clock: &HandClock) {
    let scopes = [scope("late", 100)];
    let late = granted(ledger, &scopes, 60).await;

    clock.set(clock.now() + DAY);
    let current = granted(ledger, &scopes, 50).await;
    ledger.settle(late, NanoUsd(80).into());

    has_left(ledger, &scopes[0], 50).await;
    ledger.settle(current, NanoUsd(10).into());
    has_left(ledger, &scopes[0], 90).await;
}

async fn every_measure_counts_for_itself(ledger: &dyn Ledger) {
    let quota = |measure, limit| Scope::new("conformance:measures", Quota::new(measure, limit, Period::Day));
    let scopes = [
        quota(Measure::Usd, 1_000),
        quota(Measure::Requests, 3),
        quota(Measure::Input, 100),
        quota(Measure::Output, 100),
        quota(Measure::Tokens, 150),
    ];
    let amounts = |cost, input, output| Amounts { cost: NanoUsd(cost), input, output };

    let ticket = ledger.reserve(&scopes, amounts(10, 90, 60)).await.expect("all of it is there");
    let of = |measure| ticket.standings.iter().find(|standing| standing.measure == measure);
    assert_eq!(of(Measure::Requests).map(|standing| (standing.limit, standing.left)), Some((3, 2)));
    assert_eq!(of(Measure::Tokens).map(|standing| standing.left), Some(0));
    assert_eq!(of(Measure::Usd), None);
    limited(ledger, &scopes, amounts(0, 0, 1)).await;
    ledger.settle(ticket, amounts(10, 90, 10));

    let ticket = until_granted(ledger, &scopes, amounts(0, 10, 40)).await;
    ledger.settle(ticket, amounts(0, 10, 40));
    let last = until_granted(ledger, &scopes, amounts(0, 0, 0)).await;
    limited(ledger, &scopes, amounts(0, 0, 0)).await;
    ledger.settle(last, amounts(0, 0, 0));
    limited(ledger, &scopes, amounts(0, 0, 0)).await;
}

async fn places_are_given_back_when_answers_end(ledger: &dyn Ledger) {
    let places = [Scope::new("conformance:places", Quota::concurrent(2))];
    let nothing = Amounts::default();

    let first = until_granted(ledger, &places, nothing).await;
    let second = until_granted(ledger, &places, nothing).await;
    limited(ledger, &places, nothing).await;
    ledger.settle(first, nothing);

    let third = until_granted(ledger, &places, nothing).await;
    limited(ledger, &places, nothing).await;
    ledger.settle(second, nothing);
    ledger.settle(third, nothing);
}

async fn what_was_used_in_a_minute_comes_back_evenly(ledger: &dyn Ledger, clock: &HandClock) {
    let quota = Quota::new(Measure::Tokens, 60, Period::Minute);
    let scopes = [Scope::new("conformance:minute", quota)];
    let tokens = |output| Amounts { output, ..Amounts::default() };

    let ticket = until_granted(ledger, &scopes, tokens(60)).await;
    let refusal = limited(ledger, &scopes, tokens(6)).await;
    assert_eq!(refusal.retry_after(), Some(Duration::from_secs(6)), "{refusal}");
    // It used half as much again as was thought: the limit is in debt.
    ledger.settle(ticket, tokens(90));
    limited(ledger, &scopes, tokens(1)).await;
    assert_eq!(limited(ledger, &scopes, tokens(61)).await.retry_after(), None);

    clock.set(clock.now() + Duration::from_secs(30));
    limited(ledger, &scopes, tokens(1)).await;

    clock.set(clock.now() + Duration::from_secs(10));
    limited(ledger, &scopes, tokens(11)).await;
    let ticket = until_granted(ledger, &scopes, tokens(10)).await;
    ledger.settle(ticket, tokens(0));
    let ticket = until_granted(ledger, &scopes, tokens(10)).await;
    ledger.settle(ticket, tokens(0));
}

async fn a_rolling_period_looks_back(ledger: &dyn Ledger, clock: &HandClock) {
    let rolling = Scope { quota: budget(100, Period::Rolling(3_600)), ..scope("rolling", 0) };
    let scopes = std::slice::from_ref(&rolling);
    let minutes = |n: u64| Duration::from_secs(n * 60);

    let ticket = granted(ledger, scopes, 60).await;
    ledger.settle(ticket, NanoUsd(60).into());
    clock.set(clock.now() + minutes(30));
    let ticket = granted(ledger, scopes, 40).await;
    ledger.settle(ticket, NanoUsd(40).into());
    clock.set(clock.now() + minutes(30));
    refused(ledger, scopes, 1).await;

    clock.set(clock.now() + minutes(1));
    has_left(ledger, &rolling, 60).await;
    clock.set(clock.now() + minutes(31));
    has_left(ledger, &rolling, 100).await;
}

async fn what_is_marked_is_new_once(ledger: &dyn Ledger) {
    let day = Duration::from_secs(86_400);
    let mark = async |name: &str| ledger.mark_once(name, day).await.expect("the store answers");

    assert!(mark("conformance:once").await);
    assert!(!mark("conformance:once").await);
    assert!(mark("conformance:other").await);
}

async fn a_quota_that_only_watches_refuses_nothing(ledger: &dyn Ledger) {
    let watches =
        Scope { quota: budget(100, Period::Day).map(|quota| quota.shadow(true)), ..scope("shadow", 0) };
    let scopes = std::slice::from_ref(&watches);

    let within = granted(ledger, scopes, 100).await;
    let over = granted(ledger, scopes, 1).await;

    assert!(within.shadowed.is_empty(), "{within:?}");
    assert_eq!(over.shadowed.iter().map(Error::kind).collect::<Vec<_>>(), [Kind::BudgetExhausted]);
    ledger.settle(within, NanoUsd(100).into());
    ledger.settle(over, NanoUsd(1).into());
}

async fn a_kept_hold_is_taken_up_once(ledger: &dyn Ledger) {
    let scopes = [scope("kept", 100)];
    let ticket = granted(ledger, &scopes, 60).await;
    ledger.keep(ticket, "conformance:job");
    refused(ledger, &scopes, 41).await;

    let ticket = resumed(ledger, "conformance:job").await;
    assert!(ledger.resume("conformance:job").await.expect("the store answers").is_none());
    ledger.keep(ticket, "conformance:job");
    let ticket = resumed(ledger, "conformance:job").await;
    ledger.settle(ticket, NanoUsd(25).into());

    has_left(ledger, &scopes[0], 75).await;
    assert!(ledger.resume("conformance:job").await.expect("the store answers").is_none());
    assert!(ledger.resume("conformance:other").await.expect("the store answers").is_none());
}

async fn what_stands_is_told_for_each_scope(ledger: &dyn Ledger) {
    let (untouched, told) = (scope("never", 100), scope("told", 100));
    let counted = Scope::counted("conformance:told");
    let scopes = [told.clone(), counted.clone()];
    let spent = granted(ledger, &scopes, 60).await;
    let _held = granted(ledger, &scopes, 7).await;
    ledger.settle(spent, NanoUsd(25).into());
    let asked = [untouched, counted, told];

    let mut balances = Vec::new();
    for _ in 0..TRIES {
        balances = ledger.balances(&asked).await.expect("the store answers");
        if balances.iter().all(|balance| balance.held < 60) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }

    let amounts: Vec<_> = balances.iter().map(|balance| (balance.posted, balance.held)).collect();
    assert_eq!(amounts, [(0, 0), (25, 7), (25, 7)]);
    assert_eq!(balances[0].window, balances[2].window, "both are of today");
    assert!(ledger.balances(&[]).await.expect("the store answers").is_empty());
}

const DAY: Duration = Duration::from_secs(86_400);
const PAUSE: Duration = Duration::from_millis(5);
const TRIES: u32 = 400;

fn scope(name: &str, limit: u64) -> Scope {
    Scope { quota: budget(limit, Period::Day), ..Scope::counted(format!("conformance:{name}")) }
}

fn budget(limit: u64, period: Period) -> Option<Quota> {
    Some(Quota::usd(NanoUsd(limit), period))
}

/// `amount` is granted on `scopes`, now or within two seconds.
async fn granted(ledger: &dyn Ledger, scopes: &[Scope], amount: u64) -> Ticket {
    for _ in 0..TRIES {
        if let Ok(ticket) = ledger.reserve(scopes, NanoUsd(amount).into()).await {
            return ticket;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{amount} is not granted on {scopes:?}");
}

async fn until_granted(ledger: &dyn Ledger, scopes: &[Scope], worst: Amounts) -> Ticket {
    for _ in 0..TRIES {
        if let Ok(ticket) = ledger.reserve(scopes, worst).await {
            return ticket;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{worst:?} is not granted on {scopes:?}");
}

async fn limited(ledger: &dyn Ledger, scopes: &[Scope], worst: Amounts) -> Error {
    match ledger.reserve(scopes, worst).await {
        Ok(ticket) => panic!("{worst:?} on {scopes:?} was granted: {ticket:?}"),
        Err(error) => {
            assert_eq!(error.kind(), Kind::RateLimited, "{error}");
            error
        }
    }
}

/// The hold that was kept as `name`, now or within two seconds.
async fn resumed(ledger: &dyn Ledger, name: &str) -> Ticket {
    for _ in 0..TRIES {
        if let Some(ticket) = ledger.resume(name).await.expect("the store answers") {
            return ticket;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{name} was not kept");
}

async fn refused(ledger: &dyn Ledger, scopes: &[Scope], amount: u64) {
    match ledger.reserve(scopes, NanoUsd(amount).into()).await {
        Ok(ticket) => panic!("{amount} on {scopes:?} was granted: {ticket:?}"),
        Err(error) => assert_eq!(error.kind(), Kind::BudgetExhausted, "{error}"),
    }
}

/// Exactly `left` is granted on `scope`, now or within two seconds.
async fn has_left(ledger: &dyn Ledger, scope: &Scope, left: u64) {
    let scopes = std::slice::from_ref(scope);
    for _ in 0..TRIES {
        if !probe(ledger, scopes, left + 1).await && probe(ledger, scopes, left).await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("not exactly {left} is left on {scope:?}");
}

async fn probe(ledger: &dyn Ledger, scopes: &[Scope], amount: u64) -> bool {
    match ledger.reserve(scopes, NanoUsd(amount).into()).await {
        Ok(ticket) => {
            ledger.settle(ticket, NanoUsd(0).into());
            true
        }
        Err(_) => false,
    }
}
