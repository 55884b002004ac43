use std::time::SystemTime;

use super::{
    keys::Keys,
    script::{Call, KEEP, SETTLE},
    wire::{self, shape, shape_at},
};
use crate::ledger::{
    Hold, days,
    errand::{Deed, Errand, left_behind},
};

/// The most holds that outlive their requests.
const MAX_KEPT: usize = 100_000;

impl Errand {
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

/// A moment as scripts read it: empty for the server's own clock.
pub(super) struct At(pub(super) Option<u64>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |at| at.fmt(f))
    }
}
