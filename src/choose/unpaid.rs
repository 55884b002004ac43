//! What was used to find out where a request goes, and nobody else charges.

use std::sync::Arc;

use futures_util::FutureExt;
use http::Request;
use tokio::runtime::Handle;

use crate::{
    Error, Exchange, Payload,
    auth::Caller,
    ledger::{Amounts, Ledger, Measure, Scope},
};

/// Charges what a request has used before anything was held for it, if nothing ever is: because it is refused, or
/// its client leaves. Otherwise the [budget](crate::budget) charges it with all the rest.
#[derive(Debug)]
pub(super) struct Unpaid(Option<Account>);

#[derive(Debug)]
struct Account {
    ledger: Arc<dyn Ledger>,
    caller: Caller,
    model: Box<str>,
    exchange: Exchange,
}

impl Unpaid {
    /// From here on, what is used for `req` is charged to its caller, if somebody keeps accounts.
    pub(super) fn watch(ledger: Option<&Arc<dyn Ledger>>, req: &Request<Payload>) -> Self {
        let caller = req.extensions().get::<Caller>().cloned();
        Self(ledger.cloned().zip(caller).map(|(ledger, caller)| Account {
            ledger,
            caller,
            model: req.body().model().into(),
            exchange: req.body().exchange().clone(),
        }))
    }

    /// The request was refused with `error`: nobody else has charged it.
    pub(super) async fn refused(mut self, error: Error) -> Error {
        if let Some(account) = self.0.take() {
            account.charge().await;
        }
        error
    }

    /// It was answered.
    pub(super) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unpaid {
    /// The client has left, and the ledger may have to be waited for.
    fn drop(&mut self) {
        let Some(account) = self.0.take() else { return };
        let mut charging = Box::pin(account.charge());
        if charging.as_mut().now_or_never().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(charging);
        }
    }
}

impl Account {
    async fn charge(self) {
        let used = self.exchange.used();
        let is_held = self.exchange.learn(|learnt| learnt.reserved.is_some());
        // A request that is refused doesn't count as one.
        let is_counted =
            |scope: &&Scope| !matches!(scope.counted_as().0, Measure::Requests | Measure::Concurrent);
        let scopes = self.caller.scopes_for(&self.model);
        let scopes: Vec<Scope> = scopes.iter().filter(is_counted).cloned().collect();
        if is_held || used == Amounts::default() || scopes.is_empty() {
            return;
        }
        // Nothing is asked for, because it has been used.
        match self.ledger.reserve(&scopes, Amounts::default()).await {
            Ok(ticket) => self.ledger.settle(ticket, used),
            Err(error) => {
                tracing::warn!(id = %self.exchange.id(), ?error, "what a refused request has used can't be charged");
            }
        }
    }
}
