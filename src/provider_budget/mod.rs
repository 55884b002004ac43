//! Budgets and limits of one provider's account, whoever asks it: [`ProviderBudgetLayer`].
//!
//! It stands around the stack of one target. Before each attempt it holds what the attempt may use on the
//! accounts of the provider, and settles with what it has used. Where they can't bear it, the attempt is not made:
//! the error lets [`Dispatch`](crate::dispatch::Dispatch) go on to the next target of the route, and is told to
//! the client if there is none.
//!
//! The accounts are in a [`Ledger`], as those of keys are, so what is held is exact however many ask at once.
//! What a [batch](crate::batch) may cost is held from when it is begun until it is known what it has cost.
//!
//! - reads the [`Payload`](crate::Payload), and the attempt that further layers note in its exchange
//! - refuses with [`Billing`](crate::Kind::Billing) for money, with [`RateLimited`](crate::Kind::RateLimited) for
//!   everything else
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     Target,
//!     ledger::{MemoryLedger, Period, Quota, Scope},
//!     price::NanoUsd,
//!     provider_budget::ProviderBudgetLayer,
//! };
//!
//! let scope = Scope::new("provider:openai", Quota::usd(NanoUsd::from_usd(1_000), Period::Month));
//! let target = Arc::new(Target::new("openai", "gpt-4o"));
//! let layer = ProviderBudgetLayer::new(Arc::new(MemoryLedger::default()), target, [scope]);
//! # let _ = layer;
//! ```
//!
//! [`Ledger`]: crate::ledger::Ledger

mod job;
mod layer;
mod service;
mod settle;

pub use self::{layer::ProviderBudgetLayer, service::ProviderBudget, settle::SettleAttempt};
