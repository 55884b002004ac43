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
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::{Budget, Ledger, Period, Scope, Ticket};
use crate::{Kind, lock, price::NanoUsd};

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
    ledger.settle(ticket, NanoUsd(20));
    has_left(ledger, &scopes[0], 80).await;
    has_left(ledger, &scopes[1], 980).await;

    let ticket = granted(ledger, &scopes, 60).await;
    ledger.settle(ticket, NanoUsd(70));
    has_left(ledger, &scopes[0], 10).await;

    let ticket = granted(ledger, &scopes, 10).await;
    ledger.settle(ticket, NanoUsd(500));
    has_left(ledger, &scopes[1], 410).await;
    refused(ledger, &scopes, 1).await;
}

async fn a_ticket_takes_back_its_own_hold_only(ledger: &dyn Ledger) {
    let scopes = [scope("own", 100)];
    let first = granted(ledger, &scopes, 30).await;
    let second = granted(ledger, &scopes, 30).await;

    ledger.settle(first, NanoUsd(0));

    has_left(ledger, &scopes[0], 70).await;
    ledger.settle(second, NanoUsd(30));
    has_left(ledger, &scopes[0], 70).await;
}

async fn an_account_without_a_budget_has_no_limit(ledger: &dyn Ledger) {
    let unlimited = [Scope { account: "conformance:unlimited".into(), budget: None }];

    let ticket = granted(ledger, &unlimited, 1 << 60).await;

    let other = granted(ledger, &unlimited, 1 << 60).await;
    ledger.settle(ticket, NanoUsd(1));
    ledger.settle(other, NanoUsd(1));
}

async fn trying_keeps_the_same_promises(ledger: &dyn Ledger) {
    let scopes = [scope("try", 100)];
    let Some(first) = ledger.try_reserve(&scopes, NanoUsd(60)) else {
        return has_left(ledger, &scopes[0], 100).await;
    };

    let first = first.expect("60 of 100 are granted");

    has_left(ledger, &scopes[0], 40).await;
    if let Some(second) = ledger.try_reserve(&scopes, NanoUsd(60)) {
        assert_eq!(second.expect_err("120 of 100 are refused").kind(), Kind::BudgetExhausted);
    }
    ledger.settle(first, NanoUsd(0));
    has_left(ledger, &scopes[0], 100).await;
}

async fn concurrent_reservations_never_exceed(ledger: &Arc<dyn Ledger>) {
    let scopes: Arc<[Scope]> = Arc::new([scope("crowd", 1_000), scope("crowd:team", 700)]);
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let (ledger, scopes) = (ledger.clone(), scopes.clone());
            tokio::spawn(async move { ledger.reserve(&scopes, NanoUsd(10)).await })
        })
        .collect();

    let mut tickets = Vec::new();
    for task in tasks {
        tickets.extend(task.await.expect("a reservation does not panic"));
    }

    assert_eq!(tickets.len(), 70, "of 500 reservations of 10, 70 fit into 700");
    tickets.into_iter().for_each(|ticket| ledger.settle(ticket, NanoUsd(1)));
    has_left(&**ledger, &scopes[0], 930).await;
    has_left(&**ledger, &scopes[1], 630).await;
}

async fn a_new_window_begins_anew(ledger: &dyn Ledger, clock: &HandClock) {
    let daily = scope("daily", 100);
    let total = Scope { budget: budget(100, Period::Total), ..scope("ever", 100) };
    let scopes = [daily.clone(), total.clone()];
    let ticket = granted(ledger, &scopes, 60).await;
    ledger.settle(ticket, NanoUsd(60));
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
    ledger.settle(late, NanoUsd(80));

    has_left(ledger, &scopes[0], 50).await;
    ledger.settle(current, NanoUsd(10));
    has_left(ledger, &scopes[0], 90).await;
}

const DAY: Duration = Duration::from_secs(86_400);
const PAUSE: Duration = Duration::from_millis(5);
const TRIES: u32 = 400;

fn scope(name: &str, limit: u64) -> Scope {
    Scope { account: format!("conformance:{name}").into(), budget: budget(limit, Period::Day) }
}

fn budget(limit: u64, period: Period) -> Option<Budget> {
    Some(Budget { limit: NanoUsd(limit), period })
}

/// `amount` is granted on `scopes`, now or within two seconds.
async fn granted(ledger: &dyn Ledger, scopes: &[Scope], amount: u64) -> Ticket {
    for _ in 0..TRIES {
        if let Ok(ticket) = ledger.reserve(scopes, NanoUsd(amount)).await {
            return ticket;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{amount} is not granted on {scopes:?}");
}

async fn refused(ledger: &dyn Ledger, scopes: &[Scope], amount: u64) {
    match ledger.reserve(scopes, NanoUsd(amount)).await {
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
    match ledger.reserve(scopes, NanoUsd(amount)).await {
        Ok(ticket) => {
            ledger.settle(ticket, NanoUsd(0));
            true
        }
        Err(_) => false,
    }
}
