use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use super::{Amounts, Balance, Day, Hold, Ledger, MemoryLedger, Scope, Ticket, Window};
use crate::{BoxFuture, Error, Kind};

/// A [`Ledger`] whose store may be away, and which writes later what it could not hold.
pub trait Later: Ledger {
    /// Counts what was used on the accounts of `holds` although nothing is held there, once, and as soon as the
    /// store can be asked. It counts in the window that is the current one then. Doesn't wait.
    fn charge(&self, holds: Vec<Hold>, used: Amounts);
}

/// A ledger that goes on by itself while its store is away: limits and budgets are those of this process alone
/// then, as if nothing had been used before the first time that the store was away. So each process lets through
/// at most as much again as an account may use. What is used then is [charged](Later::charge) when the store is
/// back.
///
/// ```
/// use std::sync::Arc;
///
/// use bartizan::ledger::{Autonomous, Later, Ledger};
///
/// fn patient(store: Arc<impl Later>) -> Arc<dyn Ledger> {
///     Arc::new(Autonomous::new(store))
/// }
/// ```
#[derive(Debug)]
pub struct Autonomous<L> {
    store: Arc<L>,
    alone: MemoryLedger,
}

/// The node of what no store has held.
const ALONE: u64 = u64::MAX;

fn is_alone(ticket: &Ticket) -> bool {
    ticket.id.node == ALONE
}

impl<L: Later> Autonomous<L> {
    /// Goes on while `store` is away.
    pub fn new(store: Arc<L>) -> Self {
        Self { store, alone: MemoryLedger::of_node(ALONE) }
    }

    async fn hold(&self, scopes: &[Scope], worst: Amounts) -> Result<Ticket, Error> {
        match self.store.reserve(scopes, worst).await {
            Err(error) if !is_refusal(&error) => {
                tracing::debug!(?error, "the store of the ledger is away; this process counts by itself");
                self.alone.reserve(scopes, worst).await
            }
            answer => answer,
        }
    }
}

impl<L: Later> Ledger for Autonomous<L> {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(self.hold(scopes, worst))
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        if !is_alone(&ticket) {
            return self.store.settle(ticket, actual);
        }
        let holds = ticket.holds.clone();
        self.alone.settle(ticket, actual);
        self.store.charge(holds, actual);
    }

    /// What was held here can't be taken up by other nodes, and is charged as it was held.
    fn keep(&self, ticket: Ticket, name: &str) {
        if !is_alone(&ticket) {
            return self.store.keep(ticket, name);
        }
        tracing::warn!(name, "the store of the ledger is away; what goes on is charged as it was held");
        let held = super::days::held(&ticket.holds);
        self.settle(ticket, held);
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        self.store.resume(name)
    }

    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
        self.store.balances(scopes)
    }

    fn days<'a>(
        &'a self,
        account: &'a str,
        days: RangeInclusive<Window>,
    ) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
        self.store.days(account, days)
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.mark_once(name, lasts)
    }

    fn try_reserve(&self, scopes: &[Scope], worst: Amounts) -> Option<Result<Ticket, Error>> {
        self.store.try_reserve(scopes, worst)
    }
}

/// Whether the ledger was asked, and said no.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), Kind::BudgetExhausted | Kind::RateLimited)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{
        ledger::{Period, Quota},
        lock,
        price::NanoUsd,
    };

    /// Is away when it is told so.
    #[derive(Debug, Default)]
    struct Store {
        ledger: MemoryLedger,
        is_away: AtomicBool,
        charged: Mutex<Vec<(Vec<Hold>, Amounts)>>,
    }

    impl Ledger for Store {
        fn reserve<'a>(
            &'a self,
            scopes: &'a [Scope],
            worst: Amounts,
        ) -> BoxFuture<'a, Result<Ticket, Error>> {
            if self.is_away.load(Ordering::Relaxed) {
                return Box::pin(std::future::ready(Err(Error::new(Kind::Internal, "away"))));
            }
            self.ledger.reserve(scopes, worst)
        }

        fn settle(&self, ticket: Ticket, actual: Amounts) {
            self.ledger.settle(ticket, actual);
        }

        fn keep(&self, ticket: Ticket, name: &str) {
            self.ledger.keep(ticket, name);
        }

        fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
            self.ledger.resume(name)
        }

        fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
            self.ledger.balances(scopes)
        }

        fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
            self.ledger.mark_once(name, lasts)
        }
    }

    impl Later for Store {
        fn charge(&self, holds: Vec<Hold>, used: Amounts) {
            lock(&self.charged).push((holds, used));
        }
    }

    fn usd(amount: u64) -> Amounts {
        NanoUsd(amount).into()
    }

    fn scopes() -> [Scope; 1] {
        [Scope::new("key:a", Quota::usd(NanoUsd(100), Period::Month))]
    }

    #[tokio::test]
    async fn what_the_store_answers_is_what_counts() {
        let store = Arc::new(Store::default());
        let ledger = Autonomous::new(store.clone());

        let ticket = ledger.reserve(&scopes(), usd(60)).await.unwrap();
        let refused = ledger.reserve(&scopes(), usd(60)).await.unwrap_err();
        ledger.settle(ticket, usd(10));

        assert_eq!(refused.kind(), Kind::BudgetExhausted);
        assert_eq!(store.balances(&scopes()).await.unwrap()[0].posted, 10);
        assert!(lock(&store.charged).is_empty());
    }

    #[tokio::test]
    async fn while_the_store_is_away_each_process_lets_through_as_much_again_and_no_more() {
        let store = Arc::new(Store::default());
        let ledger = Autonomous::new(store.clone());
        let before = ledger.reserve(&scopes(), usd(60)).await.unwrap();
        store.is_away.store(true, Ordering::Relaxed);

        let ticket = ledger.reserve(&scopes(), usd(60)).await.unwrap();
        let refused = ledger.reserve(&scopes(), usd(60)).await.unwrap_err();
        ledger.settle(ticket, usd(10));
        ledger.settle(before, usd(5));

        assert_eq!(refused.kind(), Kind::BudgetExhausted);
        assert_eq!(store.balances(&scopes()).await.unwrap()[0].posted, 5);
        let charged = lock(&store.charged);
        let [(holds, used)] = &charged[..] else { panic!("{charged:?}") };
        assert_eq!((&*holds[0].account, *used), ("key:a", usd(10)));
    }

    #[tokio::test]
    async fn what_goes_on_is_charged_as_it_was_held() {
        let store = Arc::new(Store::default());
        let ledger = Autonomous::new(store.clone());
        store.is_away.store(true, Ordering::Relaxed);
        let ticket = ledger.reserve(&scopes(), usd(60)).await.unwrap();

        ledger.keep(ticket, "a batch");

        assert_eq!(lock(&store.charged)[0].1, usd(60));
        assert!(ledger.reserve(&scopes(), usd(60)).await.is_err());
    }
}
