use std::{ops::RangeInclusive, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    Error,
    audit::{Added, Entry},
    directory::{Change, Snapshot},
    ledger::{Amounts, Balance, Day, HoldId, Scope, Ticket, Window, books::Place, errand::Errand},
};

/// Something for the worker to do.
pub(super) enum Job {
    /// What has to happen, sooner or later.
    Errand(Errand),
    Ask(Ask),
}

/// Something that somebody waits for, until a moment.
pub(super) struct Ask {
    pub(super) until: Instant,
    pub(super) what: What,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum What {
    Reserve { id: HoldId, scopes: Vec<Scope>, worst: Amounts, reply: Reply<Ticket> },
    Resume { id: HoldId, name: Box<str>, reply: Reply<Option<Ticket>> },
    Read { places: Vec<Place>, reply: Reply<Vec<Option<Balance>>> },
    Days { account: Box<str>, days: RangeInclusive<Window>, reply: Reply<Vec<Day>> },
    Mark { name: Box<str>, lasts: Duration, reply: Reply<bool> },
    Look { known: Option<u64>, reply: Reply<Option<Snapshot>> },
    Change { at: u64, change: Change, reply: Reply<Option<u64>> },
    Chain { entry: Entry, reply: Reply<Added> },
    Chained { first: Option<u64>, most: usize, reply: Reply<Vec<Entry>> },
}

impl Ask {
    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        let is_closed = match &self.what {
            What::Reserve { reply, .. } => reply.is_closed(),
            What::Resume { reply, .. } => reply.is_closed(),
            What::Read { reply, .. } => reply.is_closed(),
            What::Days { reply, .. } => reply.is_closed(),
            What::Mark { reply, .. } => reply.is_closed(),
            What::Look { reply, .. } => reply.is_closed(),
            What::Change { reply, .. } => reply.is_closed(),
            What::Chain { reply, .. } => reply.is_closed(),
            What::Chained { reply, .. } => reply.is_closed(),
        };
        is_closed || Instant::now() >= self.until
    }

    /// Whether it is part of a transaction with others.
    pub(super) fn is_grouped(&self) -> bool {
        matches!(self.what, What::Reserve { .. } | What::Resume { .. })
    }

    /// Tells that it can't be done.
    pub(super) fn refuse(self, error: Error) {
        // Whoever has left needs no answer.
        let _ = match self.what {
            What::Reserve { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Resume { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Read { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Days { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Mark { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Look { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Change { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Chain { reply, .. } => reply.send(Err(error)).is_ok(),
            What::Chained { reply, .. } => reply.send(Err(error)).is_ok(),
        };
    }
}
