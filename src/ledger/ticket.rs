use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Amounts, Measure, Period, Standing, Window};
use crate::Error;

/// Names a hold, so that a store can settle it once, however often it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct HoldId {
    /// The process that made the hold.
    pub node: u64,
    /// Its number there.
    pub number: u64,
}

/// Proof of a reservation. Not `Clone`: it is spent by settling.
#[derive(Debug)]
#[must_use = "a ticket holds money until it is settled"]
pub struct Ticket {
    /// What names it.
    pub id: HoldId,
    /// What is held.
    pub holds: Vec<Hold>,
    /// How the caller stands with its limits, for the headers of the answer: of each measure with at least the
    /// one that has least left. Budgets of money and places for requests are not among them.
    pub standings: Vec<Standing>,
    /// The refusals of quotas that only watch.
    pub shadowed: Vec<Error>,
}

/// What is held on one account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hold {
    /// The account.
    pub account: Arc<str>,
    /// What is counted there.
    pub measure: Measure,
    /// In what time.
    pub period: Period,
    /// The window that it was held in.
    pub window: Window,
    /// How much.
    pub amount: u64,
}

impl Ticket {
    pub(super) fn new(id: HoldId, holds: usize) -> Self {
        Self { id, holds: Vec::with_capacity(holds), standings: Vec::new(), shadowed: Vec::new() }
    }

    /// What was held, as if all of it had been used.
    pub fn held(&self) -> impl Fn(&Hold) -> u64 + use<> {
        |hold| if hold.measure == Measure::Concurrent { 0 } else { hold.amount }
    }
}

impl Amounts {
    /// What of these counts where `hold` is.
    pub(super) fn on(self) -> impl Fn(&Hold) -> u64 {
        move |hold| self.spent(hold.measure)
    }
}
