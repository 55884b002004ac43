use std::{fmt, sync::Arc};

use crate::{
    Exchange,
    body::{End, Observe},
    ledger::{Ledger, Ticket},
};

/// Settles with what the exchange has cost, when the answer has ended.
pub struct Settle {
    /// `None` if nothing was reserved.
    hold: Option<(Ticket, Arc<dyn Ledger>)>,
    exchange: Exchange,
}

impl Settle {
    pub(super) fn new(hold: Option<(Ticket, Arc<dyn Ledger>)>, exchange: Exchange) -> Self {
        Self { hold, exchange }
    }
}

impl Observe for Settle {
    // However it ended: attempts that were broken off have cost what they have used.
    fn end(self, _: End) {
        if let Some((ticket, ledger)) = self.hold {
            ledger.settle(ticket, self.exchange.used());
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticket = self.hold.as_ref().map(|(ticket, _)| ticket);
        f.debug_struct("Settle").field("ticket", &ticket).finish_non_exhaustive()
    }
}
