//! Money: a request is let in if every budget of its caller can bear the worst case.
//!
//! [`BudgetLayer`] reserves what the request may cost on all accounts of the caller, or on none,
//! calls, and settles with [`Exchange::cost`](crate::Exchange::cost) when the answer has ended,
//! however it ends. A ledger that answers at once costs no allocation.
//!
//! - reads the extension [`Caller`](crate::auth::Caller); a request without one is refused
//! - reads the [`Payload`] and, at the end, what its exchange has learnt
//!
//! A request that may use more than one request may, by a [`Ceiling`] of its key or its route, is refused, or
//! gets a lower cap on its output.
//!
//! What to do when the price of a model is not known, or when the ledger can't be asked, are settings:
//! [`UnknownPrice`] and [`StoreAway`]. By default both refuse.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     Payload,
//!     budget::{BudgetLayer, Prices},
//!     ledger::MemoryLedger,
//!     price::NanoUsd,
//! };
//!
//! #[derive(Debug)]
//! struct OneCent;
//!
//! impl Prices for OneCent {
//!     fn worst_case(&self, _: &Payload) -> Option<NanoUsd> {
//!         Some(NanoUsd(10_000_000))
//!     }
//! }
//!
//! let layer = BudgetLayer::new(Arc::new(MemoryLedger::default()), Arc::new(OneCent));
//! # let _ = layer;
//! ```

mod ceiling;
mod job;
mod layer;
mod service;
mod settle;
mod worst;

use std::{fmt, sync::Arc};

pub use self::{
    ceiling::{Ceiling, OnExcess},
    layer::BudgetLayer,
    service::Budget,
    settle::Settle,
};
pub(crate) use self::{
    job::{is_job, lasting},
    worst::is_free,
};
use crate::{
    Payload, Tokens,
    price::{ASSUMED_OUTPUT, NanoUsd, likely_tokens},
    target::ModelFacts,
};

/// Knows what a request may cost.
pub trait Prices: fmt::Debug + Send + Sync + 'static {
    /// The most that the request may cost; `None` if the price is not known.
    fn worst_case(&self, payload: &Payload) -> Option<NanoUsd>;

    /// The most that it may cost as far as prices are known: what is reserved where requests are let in
    /// although not all are.
    fn known_worst_case(&self, payload: &Payload) -> NanoUsd {
        self.worst_case(payload).unwrap_or_default()
    }

    /// The tokens that are reserved of limits on tokens: about those of the input, and the most of the
    /// output.
    fn tokens(&self, payload: &Payload) -> Tokens {
        likely_tokens(payload, ASSUMED_OUTPUT, &ModelFacts::default())
    }

    /// The most that one request to the model may use, if that is bounded.
    fn ceiling(&self, _payload: &Payload) -> Option<Arc<Ceiling>> {
        None
    }

    /// The cap on its output that a request without one is given anyway.
    fn told_output(&self, _payload: &Payload) -> Option<u64> {
        None
    }

    /// The cap on its output that a request without one may be given: what each target that may answer writes
    /// at the most.
    fn usual_output(&self, _payload: &Payload) -> u64 {
        ASSUMED_OUTPUT
    }
}

/// What becomes of a request whose price is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPrice {
    /// It is refused, if any account of its caller has a budget.
    #[default]
    Refuse,
    /// What is known of its price is reserved for it; what it turns out to cost is counted.
    Allow,
}

/// What becomes of a request when the ledger can't be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreAway {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes on, and its cost is not counted. A warning is logged. An
    /// [`Autonomous`](crate::ledger::Autonomous) ledger goes on counting instead.
    Allow,
}
