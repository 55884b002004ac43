use std::{fmt, sync::Arc};

use crate::{
    Exchange,
    body::{End, Observe},
    ledger::{Amounts, Ledger, Ticket},
};

/// Settles with what an attempt has used, when its answer has ended.
pub struct SettleAttempt {
    /// `None` if nothing was held.
    pub(super) ticket: Option<Ticket>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) exchange: Exchange,
    /// Which attempt of the exchange it is, if it was begun.
    pub(super) index: usize,
}

impl Observe for SettleAttempt {
    // However it ended: an attempt that was broken off has cost what it has used.
    fn end(self, _: End) {
        let Some(ticket) = self.ticket else { return };
        let used = self.exchange.learn(|learnt| {
            let attempt = learnt.attempts.get(self.index)?;
            Some(Amounts::new(attempt.cost().unwrap_or_default(), &attempt.tokens))
        });
        self.ledger.settle(ticket, used.unwrap_or_default());
    }
}

impl fmt::Debug for SettleAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettleAttempt").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
