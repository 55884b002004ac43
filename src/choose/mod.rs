//! Decides by which route a request goes, before anything is reserved for it: [`ChooseLayer`].
//!
//! The [table](crate::dispatch::Table) says which route serves the model's name. A route may have
//! [`Rule`]s: the first one whose [`Condition`] holds for the request leads to a route of its own, with other
//! targets or another strategy. A condition may ask for all of the [`Facts`] of a request: what is asked for and
//! said, who asks, tags, headers, the time, and how much of the caller's budgets and limits is used, for which the
//! ledger is asked only where a rule of that route wants to know.
//!
//! What a client says of who shall answer, in its body or in the header `x-bartizan-choose`, holds for all that gets to
//! see the request on the way too: an embedder that it rules out, or that costs more than the answer may, is not asked.
//!
//! What is decided holds for the whole of the request, also when other routes are put in force meanwhile: for
//! the price that is reserved, for the limits that a route has for one request, and for the targets.
//!
//! - stands outside of the [budget](crate::budget) and inside of the [labels](crate::labels)
//! - reads the extension [`Caller`](crate::auth::Caller), if there is one
//!
//! ```
//! use std::sync::Arc;
//! use bartizan::{
//!     Error, Payload, Target,
//!     choose::{ChooseLayer, Condition, Facts, Rule},
//!     dispatch::{Candidate, Dispatch, Route, Table},
//! };
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # let service = tower::service_fn(async |_: Request<Payload>| {
//! #     Ok::<_, Error>(Response::new(Full::from(bytes::Bytes::new())))
//! # });
//!
//! #[derive(Debug)]
//! struct Long;
//!
//! impl Condition for Long {
//!     fn holds(&self, facts: &Facts<'_>) -> bool {
//!         facts.tokens() > 100_000
//!     }
//! }
//!
//! let usual = Candidate::new(Arc::new(Target::new("first", "short")), service);
//! let other = Candidate::new(Arc::new(Target::new("second", "long")), service);
//! let rule = Rule::new("long", Long, Route::new("chat", [other]));
//! let dispatch = Dispatch::new(Table::default().route(Route::new("chat", [usual]).rule(rule)));
//!
//! let layer = ChooseLayer::new(dispatch);
//! # let _ = layer;
//! ```

mod at_provider;
mod chosen;
#[cfg(feature = "cel")]
mod declared;
mod embed;
mod facts;
mod layer;
mod life;
mod nearest;
mod rehearsal;
mod rule;
mod said;
mod service;
mod spent;
mod strip;
mod task;
mod unpaid;
mod wishes;

#[cfg(feature = "cel")]
#[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
pub use self::declared::{Declared, Signs};
pub use self::{
    at_provider::ProviderEmbeddings,
    embed::{Embed, HashedNgrams},
    facts::{Facts, Used},
    layer::ChooseLayer,
    life::Life,
    nearest::{Either, Nearest},
    rule::{Condition, Rule},
    service::Choose,
    task::{Classify, Tasks},
};
pub(crate) use self::{
    chosen::Chosen,
    rehearsal::Rehearsal,
    service::{at_once, chosen},
    wishes::first_model,
};

#[cfg(all(test, feature = "cel"))]
pub(crate) use self::said::READ;
#[cfg(test)]
mod tests;
