//! Who has used how much: [`Ledger`], its accounts and their quotas of money, tokens and requests.
//!
//! What a request uses is counted in two steps. [`Ledger::reserve`] holds the worst case on every
//! account of a caller, or on none; [`Ledger::settle`] turns the hold into what it really was. What was
//! used and what is held together never exceed a quota when a reservation is granted. A quota of
//! requests at a time is the same with nothing left over at the end.
//!
//! A job that ends long after its request keeps its hold: [`Ledger::keep`] puts it aside under a name,
//! and whoever learns the outcome takes it up again with [`Ledger::resume`].
//!
//! [`MemoryLedger`] keeps the balances in this process; a `SqliteLedger`, of the feature `sqlite`, also in a
//! file, so that they survive it; a `RedisLedger`, of the feature `redis`, and a `PostgresLedger`, of the feature `postgres`,
//! keep those of many processes.
//! Whoever writes another store runs the `conformance` suite over it, which comes with the feature
//! `test-util`.
//!
//! ```
//! use bartizan::{
//!     ledger::{Ledger, Measure, MemoryLedger, Period, Quota, Scope},
//!     price::NanoUsd,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let ledger = MemoryLedger::default();
//! let budget = Quota::usd(NanoUsd::from_usd(50), Period::Month);
//! let scopes = [Scope::new("key:search", budget)];
//!
//! let ticket = ledger.reserve(&scopes, NanoUsd::from_usd(2).into()).await?;
//! ledger.settle(ticket, NanoUsd::from_usd(1).into());
//!
//! let spent = ledger.balance("key:search", Measure::Usd, Period::Month).unwrap().posted;
//! assert_eq!(NanoUsd(spent), NanoUsd::from_usd(1));
//! # Ok(())
//! # }
//! ```

mod account;
mod autonomous;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod backlog;
mod books;
mod clock;
#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod days;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod errand;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod journal;
mod marks;
mod memory;
mod period;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod postgres;
mod quota;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod refusal;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub mod sqlite;
mod standing;
mod ticket;
mod usage;
mod zone;

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::{PostgresLedger, PostgresOptions};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{RedisLedger, RedisOptions};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::sqlite::{SqliteLedger, SqliteOptions, Unfinished};
pub(crate) use self::{autonomous::is_refusal, days::UNREMEMBERED, refusal::Refused, usage::Amount};
pub use self::{
    autonomous::{Autonomous, Later},
    days::{Day, REMEMBERED},
    memory::{Balance, MemoryLedger},
    period::{Calendar, Period, Window},
    quota::{Amounts, Measure, Quota},
    standing::{Standing, Standings},
    ticket::{Hold, HoldId, Ticket},
    usage::{Usage, usage},
    zone::Zone,
};
use self::{clock::Clock, period::Shape};
use crate::{BoxFuture, Error, Kind, access::Pattern};

/// One account of a caller: its key, its team, the whole gateway. An account with several quotas is
/// several scopes of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The account's name, such as `key:search` or `team:engineering`.
    pub account: Arc<str>,
    /// What may be used; `None` counts the money that is spent, for ever and without a limit.
    pub quota: Option<Quota>,
    /// The models that it is for; `None` is all of them. Whoever reserves leaves out what doesn't apply:
    /// a ledger doesn't know of models.
    pub models: Option<Pattern>,
    /// Of which parts of the quota, in percent and rising, [alerts](crate::alerts) tell; `None` leaves that to
    /// them.
    pub alert_at: Option<Arc<[u16]>>,
}

impl Scope {
    /// An account with a quota.
    pub fn new(account: impl Into<Arc<str>>, quota: Quota) -> Self {
        Self { quota: Some(quota), ..Self::counted(account) }
    }

    /// An account whose spend is counted without a limit.
    pub fn counted(account: impl Into<Arc<str>>) -> Self {
        Self { account: account.into(), quota: None, models: None, alert_at: None }
    }

    /// What is counted, and for how long: money for ever, if there is no quota.
    pub fn counted_as(&self) -> (Measure, Period) {
        self.quota.map_or((Measure::Usd, Period::Total), |quota| (quota.measure, quota.period))
    }

    /// Whether requests to `model` count.
    pub fn is_for(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.matches(model))
    }
}

/// Keeps balances.
///
/// Every implementation promises the same: `reserve` is atomic over all scopes; an amount is granted
/// if `used + held + amount <= limit` on each of them; every ticket is settled exactly once, since
/// settling consumes it.
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Holds `worst`, what a request may use, on all `scopes`, or on none of them. May wait for a store.
    ///
    /// # Errors
    ///
    /// [`Kind::BudgetExhausted`] for money and
    /// [`Kind::RateLimited`] for everything else name the account whose quota
    /// is too small, and when it begins anew; anything else means that the store could not be asked.
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>>;

    /// Replaces the hold by what was really used. May not wait: it is called from `Drop`.
    fn settle(&self, ticket: Ticket, actual: Amounts);

    /// Puts a hold aside under a name of its own, for a job that ends long after its request. May not
    /// wait. A ledger that can't keep any more charges it as held.
    fn keep(&self, ticket: Ticket, name: &str);

    /// Takes up a hold that was kept. One caller gets it, until it is kept again; `None` if it is taken,
    /// settled, or was never there. May wait for a store.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>>;

    /// What stands on each of `scopes`, in their order; nothing on one that was never reserved on. May wait
    /// for a store.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>>;

    /// What was settled on an account, day by day, in order; days on which there was nothing are left out. The
    /// last [`REMEMBERED`] days are there. May wait for a store.
    ///
    /// # Errors
    ///
    /// If the store could not be asked, or remembers no days.
    fn days<'a>(
        &'a self,
        account: &'a str,
        days: RangeInclusive<Window>,
    ) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
        let _ = (account, days);
        let error = Error::new(Kind::InvalidRequest, "this ledger doesn't remember what was used day by day");
        Box::pin(std::future::ready(Err(error)))
    }

    /// Notes that something was done, such as that somebody was told of a threshold, and says whether it was
    /// not noted before, by any node. It is forgotten after the time that it `lasts`. May wait for a store.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>>;

    /// Holds without waiting, if this ledger never needs to; `None` asks the caller to use
    /// [`reserve`](Self::reserve).
    fn try_reserve(&self, _scopes: &[Scope], _worst: Amounts) -> Option<Result<Ticket, Error>> {
        None
    }
}
