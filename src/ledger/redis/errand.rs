use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{
    keys::Keys,
    script::{Call, KEEP, SETTLE},
    wire::{self, shape, shape_at},
};
use crate::ledger::{Amounts, Hold, HoldId, Measure, days};

/// Something that has to be told to the store, sooner or later, once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Errand {
    /// The hold.
    pub(super) id: HoldId,
    /// What becomes of it.
    #[serde(flatten)]
    pub(super) deed: Deed,
    /// What is held.
    pub(super) holds: Vec<Hold>,
    /// When, by a clock that is not the server's; in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "deed")]
pub(super) enum Deed {
    /// It ended, and this was used on each account; its day has the cost, the input and the output.
    Settle { used: Vec<u64>, day: [u64; 3] },
    /// It was let in while the store was away, and used this.
    Charge { used: Vec<u64>, day: [u64; 3] },
    /// Nobody knows whether it was granted, and nobody has it.
    Cancel,
    /// It outlives its request and belongs to nobody.
    Keep { name: String },
    /// Its node is gone.
    Abandon,
}

/// The most holds that outlive their requests.
const MAX_KEPT: usize = 100_000;

impl Errand {
    pub(super) fn new(id: HoldId, deed: Deed, holds: Vec<Hold>) -> Self {
        Self { id, deed, holds, at: None }
    }

    pub(super) fn call(&self, keys: &Keys) -> Call {
        match &self.deed {
            Deed::Settle { used, day } => {
                self.settle(keys, "settle", *day, |i, _| used.get(i).copied().unwrap_or(0))
            }
            Deed::Charge { used, day } => {
                self.settle(keys, "charge", *day, |i, _| used.get(i).copied().unwrap_or(0))
            }
            Deed::Cancel => self.settle(keys, "cancel", [0; 3], |_, _| 0),
            Deed::Abandon => {
                // Of tokens nothing is charged.
                let day = [days::held(&self.holds).cost.0, 0, 0];
                self.settle(keys, "abandon", day, |_, hold| left_behind(hold))
            }
            Deed::Keep { name } => Call::new(&KEEP)
                .key(keys.holds(self.id.node))
                .key(keys.mark(self.id))
                .key(keys.kept())
                .arg(self.id.number)
                .arg(name)
                .arg(MAX_KEPT),
        }
    }

    fn settle(&self, keys: &Keys, what: &str, day: [u64; 3], used: impl Fn(usize, &Hold) -> u64) -> Call {
        let mut call =
            Call::new(&SETTLE).key(keys.nodes()).key(keys.holds(self.id.node)).key(keys.mark(self.id));
        for hold in &self.holds {
            call = call.key(keys.of_hold(hold));
        }
        for account in days::accounts(&self.holds) {
            call = call.key(keys.days(account));
        }
        call = call.arg(At(self.at)).arg(self.id.node).arg(self.id.number).arg(what).arg(self.holds.len());
        for amount in day {
            call = call.arg(amount.min(wire::MOST));
        }
        for (i, hold) in self.holds.iter().enumerate() {
            // Only what was never held may be the first on its account.
            let (kind, setting) = match self.deed {
                Deed::Charge { .. } => shape_at(hold.period, SystemTime::now()),
                _ => shape(hold.period),
            };
            call = call.arg(kind).arg(setting).arg(hold.amount).arg(used(i, hold));
        }
        call
    }
}

/// What a day has of a request.
pub(super) fn of_day(Amounts { cost, input, output }: Amounts) -> [u64; 3] {
    [cost.0, input, output]
}

/// What is charged for a hold as if all of it had been used.
pub(super) fn as_held(hold: &Hold) -> u64 {
    if hold.measure == Measure::Concurrent { 0 } else { hold.amount }
}

/// What is charged for a hold whose node is gone: money and requests as they were held, but no tokens,
/// which come back by themselves, and no places.
fn left_behind(hold: &Hold) -> u64 {
    match hold.measure {
        Measure::Usd | Measure::Requests => hold.amount,
        Measure::Concurrent | Measure::Input | Measure::Output | Measure::Tokens => 0,
    }
}

/// A moment as scripts read it: empty for the server's own clock.
pub(super) struct At(pub(super) Option<u64>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |at| at.fmt(f))
    }
}
