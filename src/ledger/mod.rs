//! Who has spent how much: [`Ledger`], its accounts and budgets.
//!
//! Money is spent in two steps. [`Ledger::reserve`] holds the worst case on every account of a
//! caller, or on none; [`Ledger::settle`] turns the hold into what it really was. What is posted and
//! what is held together never exceed a budget when a reservation is granted.
//!
//! [`MemoryLedger`] keeps the balances in this process. Whoever writes another store runs the
//! `conformance` suite over it, which comes with the feature `test-util`.
//!
//! ```
//! use bartizan::{
//!     ledger::{Budget, Ledger, MemoryLedger, Period, Scope},
//!     price::NanoUsd,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let ledger = MemoryLedger::default();
//! let budget = Budget { limit: NanoUsd::from_usd(50), period: Period::Month };
//! let scopes = [Scope { account: "key:search".into(), budget: Some(budget) }];
//!
//! let ticket = ledger.reserve(&scopes, NanoUsd::from_usd(2)).await?;
//! ledger.settle(ticket, NanoUsd::from_usd(1));
//!
//! assert_eq!(ledger.balance("key:search").unwrap().posted, NanoUsd::from_usd(1));
//! # Ok(())
//! # }
//! ```

#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod memory;
mod period;

use std::{fmt, sync::Arc};

pub use self::{
    memory::{Balance, MemoryLedger},
    period::{Period, Window},
};
use crate::{BoxFuture, Error, price::NanoUsd};

/// One account of a caller: its key, its team, the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The account's name, such as `key:search` or `team:engineering`; unique in the ledger.
    pub account: Arc<str>,
    /// What may be spent; `None` counts without a limit.
    pub budget: Option<Budget>,
}

/// What may be spent in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The most that may be spent in one period.
    pub limit: NanoUsd,
    /// When it begins anew.
    pub period: Period,
}

/// Proof of a reservation. Not `Clone`: it is spent by settling.
#[derive(Debug)]
#[must_use = "a ticket holds money until it is settled"]
pub struct Ticket {
    /// The accounts the money is held on, and the window of each.
    pub holds: Vec<(Arc<str>, Window)>,
    /// What is held on each of them.
    pub amount: NanoUsd,
}

/// Keeps balances.
///
/// Every implementation promises the same: `reserve` is atomic over all scopes; an amount is granted
/// if `posted + held + amount <= limit` on each of them; every ticket is settled exactly once, since
/// settling consumes it.
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Holds `amount` on all `scopes`, or on none of them. May wait for a store.
    ///
    /// # Errors
    ///
    /// [`Kind::BudgetExhausted`](crate::Kind::BudgetExhausted) names the account whose budget is too
    /// small, and when it begins anew; anything else means that the store could not be asked.
    fn reserve<'a>(&'a self, scopes: &'a [Scope], amount: NanoUsd) -> BoxFuture<'a, Result<Ticket, Error>>;

    /// Replaces the hold by what was really spent. May not wait: it is called from `Drop`.
    fn settle(&self, ticket: Ticket, actual: NanoUsd);

    /// Puts a hold aside under a name of its own, for a job that ends long after its request. May not
    /// wait.
    fn keep(&self, ticket: Ticket, name: &str);

    /// Takes up a hold that was kept. One caller gets it, until it is kept again; `None` if it is taken,
    /// settled, or was never there. May wait for a store.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>>;

    /// Holds `amount` without waiting, if this ledger never needs to; `None` asks the caller to use
    /// [`reserve`](Self::reserve).
    fn try_reserve(&self, _scopes: &[Scope], _amount: NanoUsd) -> Option<Result<Ticket, Error>> {
        None
    }
}
