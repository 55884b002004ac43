use std::{fmt, sync::Arc};

use crate::{
    Exchange,
    body::{End, Observe},
    exchange::Job,
    ledger::{Ledger, Ticket},
};

/// Settles with what the exchange has cost, when the answer has ended. What a provider goes on with is
/// kept.
pub struct Settle {
    /// `None` if nothing was reserved.
    hold: Option<Hold>,
    exchange: Exchange,
}

/// What is held in a ledger.
pub(super) struct Hold {
    pub(super) ticket: Ticket,
    pub(super) ledger: Arc<dyn Ledger>,
    /// The name under which it was kept before.
    pub(super) name: Option<Box<str>>,
}

impl Settle {
    pub(super) fn new(hold: Option<Hold>, exchange: Exchange) -> Self {
        Self { hold, exchange }
    }
}

impl Observe for Settle {
    // However it ended: attempts that were broken off have cost what they have used.
    fn end(self, _: End) {
        let Some(Hold { ticket, ledger, name }) = self.hold else { return };
        let job = self.exchange.learn(|learnt| learnt.job.clone());
        match (job, name) {
            (Job::Running(name), _) => ledger.keep(ticket, &name),
            // Nobody has said how far it is: whoever asks again may learn it.
            (Job::Held, Some(name)) => ledger.keep(ticket, &name),
            _ => ledger.settle(ticket, self.exchange.used()),
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticket = self.hold.as_ref().map(|hold| &hold.ticket);
        f.debug_struct("Settle").field("ticket", &ticket).finish_non_exhaustive()
    }
}
