use std::{fmt, mem, sync::Arc};

use crate::{
    Exchange,
    body::{End, Observe},
    exchange::Job,
    ledger::{Amounts, Ledger, Ticket},
};

/// Settles with what the exchange has cost, when the answer has ended. What a provider goes on with is
/// kept.
pub struct Settle {
    /// `None` if nothing was reserved.
    ticket: Option<Ticket>,
    job: Option<JobHold>,
    ledger: Arc<dyn Ledger>,
    exchange: Exchange,
}

/// What is held for a job, beside the request that is about it.
#[derive(Debug)]
struct JobHold {
    ticket: Ticket,
    /// The name under which it was kept before.
    name: Option<Box<str>>,
}

impl Settle {
    pub(super) fn new(ticket: Option<Ticket>, ledger: Arc<dyn Ledger>, exchange: Exchange) -> Self {
        Self { ticket, job: None, ledger, exchange }
    }

    /// From here on, a job is held too: one that was kept under `name`, or a new one.
    pub(super) fn hold(&mut self, ticket: Ticket, name: Option<Box<str>>) {
        self.exchange.hold_job();
        self.job = Some(JobHold { ticket, name });
    }
}

impl Observe for Settle {
    // However it ended: attempts that were broken off have cost what they have used.
    fn end(self, _: End) {
        let Self { ticket, job, ledger, exchange } = self;
        let mut used = exchange.used();
        if let Some(JobHold { ticket, name }) = job {
            match (exchange.learn(|learnt| mem::take(&mut learnt.job)), name) {
                (Job::Running(name), _) => ledger.keep(ticket, &name),
                // Nobody has said how far it is: whoever asks again may learn it.
                (Job::Held, Some(name)) => ledger.keep(ticket, &name),
                _ => ledger.settle(ticket, used),
            }
            used = Amounts::default();
        }
        if let Some(ticket) = ticket {
            ledger.settle(ticket, used);
        }
    }
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settle").field("ticket", &self.ticket).field("job", &self.job).finish_non_exhaustive()
    }
}
