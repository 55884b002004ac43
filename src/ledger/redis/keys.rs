use std::fmt::{self, Display};

use crate::ledger::{Hold, HoldId, Measure, Period};

/// The names of all that is kept. They share a hash tag, so that a cluster keeps them on one shard, where a
/// script can change them together.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    fn key(&self, rest: impl Display) -> impl Display {
        Joined(&self.prefix, rest)
    }

    /// When the leases of nodes end, by node.
    pub(super) fn nodes(&self) -> impl Display {
        self.key("nodes")
    }

    /// The holds of a node, by number.
    pub(super) fn holds(&self, node: u64) -> impl Display {
        self.key(format_args!("holds:{node}")).to_string()
    }

    /// What has become of a hold that was charged or cancelled before its time.
    pub(super) fn mark(&self, id: HoldId) -> impl Display {
        self.key(format_args!("mark:{}:{}", id.node, id.number)).to_string()
    }

    /// Something that was done once.
    pub(super) fn once(&self, name: &str) -> impl Display {
        self.key(format_args!("once:{name}")).to_string()
    }

    /// The holds that belong to no node, by name.
    pub(super) fn kept(&self) -> impl Display {
        self.key("kept")
    }

    /// What administrators have set, by section and name, and its revision.
    pub(super) fn documents(&self) -> impl Display {
        self.key("documents")
    }

    /// The entries of the audit.
    pub(super) fn audit(&self) -> impl Display {
        self.key("audit")
    }

    /// The targets that are passed over.
    pub(super) fn breakers(&self) -> impl Display {
        self.key("breakers")
    }

    /// What was settled on an account, by day.
    pub(super) fn days(&self, account: &str) -> impl Display {
        self.key(format_args!("days:{account}")).to_string()
    }

    pub(super) fn account(&self, account: &str, measure: Measure, period: Period) -> impl Display {
        self.key(format_args!("account:{account}:{}:{period}", measure.as_str())).to_string()
    }

    pub(super) fn of_hold(&self, hold: &Hold) -> impl Display {
        self.account(&hold.account, hold.measure, hold.period)
    }
}

struct Joined<'a, T>(&'a str, T);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}:{}", self.0, self.1)
    }
}
