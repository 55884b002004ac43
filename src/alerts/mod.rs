//! Tells people when much of a budget is used, or more than usual.
//!
//! [`AlertsLayer`] stands outside of the [budget](crate::budget) and notes whose accounts were used, into a
//! set of bounded size; it never waits. A task looks at these accounts, at most once a second and all in one
//! question to the [`Ledger`], and tells of every part of a quota that is crossed: half of it,
//! 80 % and all of it, unless [something else](Settings::at) is wanted. It also tells where an account suddenly
//! spends [much more than it used to](Unusual).
//!
//! - reads the extension [`Caller`](crate::auth::Caller) and what the [`Exchange`](crate::Exchange) has cost
//! - tells of the accounts of [providers](crate::provider_budget) too, which attempts were charged to
//! - tells of periods of the calendar and of those that look back; a limit by the second, minute or hour comes
//!   and goes too quickly
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     alerts::{Alerts, AlertsLayer, Settings},
//!     ledger::MemoryLedger,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let ledger = Arc::new(MemoryLedger::default());
//! let (alerts, task) = Alerts::new(ledger, Settings::default());
//! let task = tokio::spawn(task);
//! let layer = AlertsLayer::new(alerts);
//! // … and when all of it is gone:
//! drop(layer);
//! task.await.unwrap();
//! # }
//! ```
//!
//! # Each once
//!
//! What is told of a quota is [marked](crate::ledger::Ledger::mark_once) in the ledger before, so that one node
//! tells it, once in each period: all of them share the marks where they share the ledger. A threshold that
//! is crossed together with higher ones is not told. A limit that is changed has thresholds of its own, so
//! that one which is still crossed is told again. Of a period that looks back it is told again when all of it
//! has passed.
//!
//! A line in the log comes first, right behind the mark. What a process had not sent to its webhooks when it
//! was killed is only there.
//!
//! The last threshold is also told, with the true percentage, when a request is refused because what is left
//! does not suffice for it, if the one before is crossed: a budget is seldom used to the last cent.
//!
//! # Rules
//!
//! [`Rules`] watch what else is worth telling: the share of errors, times, spend and its growth, targets that are
//! passed over, and records that are lost. They are told when they hold, and again when they don't any more, each time
//! that this changes. Each process goes by the requests that it has served itself; of those that share a ledger one tells
//! each change, if they find it within the time that the rule looks at.
//!
//! # Unusual spend
//!
//! Is reckoned in each process, from what it has seen itself, and told once in the time that is looked at, by one of
//! the nodes that share a ledger; so are [loops](crate::loops). While the ledger can't be asked each node tells.
//! An account is judged when as much time has passed before as is looked at. Those that were not used for
//! longest are forgotten when there are more than 10,000.

mod alert;
mod figures;
mod future;
mod handle;
mod layer;
pub(crate) mod recent;
mod rule;
mod rules;
mod service;
pub(crate) mod sliding;
#[cfg(test)]
mod tests;
mod touched;
mod velocity;
mod watch;
#[cfg(feature = "tls")]
mod webhook;
mod window;

use std::{fmt, sync::Arc};

pub(crate) use self::alert::time;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use self::webhook::{Format, Webhook, WebhookOptions};
pub use self::{
    alert::{Alert, Crossed, KeyOut, Repeated, Runaway, Velocity, What},
    future::{ResponseFuture, Touch},
    handle::Alerts,
    layer::AlertsLayer,
    rule::{Condition, Held, Measured, Of, Rule},
    rules::{Others, Rules},
    service::Alerting,
    velocity::Unusual,
};

#[cfg(doc)]
use crate::ledger::Ledger;

/// Takes alerts, besides the log.
pub trait Tell: fmt::Debug + Send + Sync + 'static {
    /// Takes one. May not wait: it may be called in `Drop`.
    fn tell(&self, alert: &Arc<Alert>);
}

/// What is told, and whom.
#[derive(Clone, Debug)]
pub struct Settings {
    at: Arc<[u16]>,
    velocity: Option<Unusual>,
    tell: Vec<Arc<dyn Tell>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { at: [50, 80, 100].into(), velocity: None, tell: Vec::new() }
    }
}

impl Settings {
    /// Sets of which parts of a quota is told, in percent, where the quota doesn't say.
    #[must_use]
    pub fn at(self, percent: impl IntoIterator<Item = u16>) -> Self {
        Self { at: rising(percent), ..self }
    }

    /// Sets what spend is unusual.
    #[must_use]
    pub fn velocity(self, unusual: Unusual) -> Self {
        Self { velocity: Some(unusual), ..self }
    }

    /// Adds somebody to tell, besides the log.
    #[must_use]
    pub fn tell(mut self, tell: Arc<dyn Tell>) -> Self {
        self.tell.push(tell);
        self
    }
}

/// Thresholds in their order, each once.
pub(crate) fn rising(percent: impl IntoIterator<Item = u16>) -> Arc<[u16]> {
    let mut at: Vec<u16> = percent.into_iter().filter(|percent| *percent > 0).collect();
    at.sort_unstable();
    at.dedup();
    at.into()
}
