use std::{fmt, sync::Arc};

use super::job::{JobHold, kept_as};
use crate::{
    Exchange,
    body::{End, Observe},
    exchange::Job,
    ledger::{Amounts, Ledger, Scope, Ticket},
};

/// Settles with what an attempt has used, when its answer has ended.
pub struct SettleAttempt {
    /// `None` if nothing was held.
    pub(super) ticket: Option<Ticket>,
    pub(super) job: Option<JobHold>,
    pub(super) scopes: Arc<[Scope]>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) exchange: Exchange,
    /// Which attempt of the exchange it is, if it was begun.
    pub(super) index: usize,
}

impl Observe for SettleAttempt {
    // However it ended: an attempt that was broken off has cost what it has used.
    fn end(self, _: End) {
        let Self { ticket, job, scopes, ledger, exchange, index } = self;
        if ticket.is_none() && job.is_none() {
            return;
        }
        let (mut used, next) = exchange.learn(|learnt| {
            let attempt = learnt.attempts.get(index);
            let used = attempt
                .map(|attempt| Amounts::new(attempt.cost().unwrap_or_default(), &attempt.tokens))
                .unwrap_or_default();
            (used, job.as_ref().map(|_| learnt.job.clone()).unwrap_or_default())
        });
        if let Some(JobHold { ticket, name }) = job {
            match (next, name) {
                (Job::Running(name), _) => ledger.keep(ticket, &kept_as(&scopes, &name)),
                // Nobody has said how far it is: whoever asks again may learn it.
                (Job::Held, Some(name)) => ledger.keep(ticket, &kept_as(&scopes, &name)),
                _ => ledger.settle(ticket, used),
            }
            used = Amounts::default();
        }
        if let Some(ticket) = ticket {
            ledger.settle(ticket, used);
        }
    }
}

impl fmt::Debug for SettleAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettleAttempt")
            .field("ticket", &self.ticket)
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}
