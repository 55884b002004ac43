//! Sends a request to a target that answers: [`Dispatch`].
//!
//! A [`Table`] says which [`Route`] serves a model's name, and a route has [`Candidate`]s: each is a stack
//! of layers around one target. A [`Strategy`] says which of them is asked first: as they are listed, if none is
//! set. One that is known not to take what the request needs is passed over while another can, and one of which that
//! isn't known comes after those that are known to. Where asking again may help it is done, with backoff and jitter, as the provider wishes (`retry-after`) and as far as the
//! [`RetryBudget`] goes, and where another target may know better the next one is asked. Dispatch looks at
//! errors only: everything that isn't success comes to it as one.
//!
//! Where something was reserved for the request, and failed attempts have already cost so much that the
//! rest doesn't bear another one, no other one is begun.
//!
//! Where a target takes long to begin, a route may [hedge](Hedge): the next target is asked as well, and who
//! answers first answers.
//!
//! A stream that breaks in the middle may be [gone on with](OnBreak) by the next target.
//!
//! A [`Mirror`] copies a share of a route's requests to another target, so that the two can be compared.
//!
//! The table can be exchanged while requests run. A request keeps the route it started with.
//!
//! ```
//! use std::sync::Arc;
//! use bartizan::{Error, Kind, Payload, Target, dispatch::{Candidate, Dispatch, Route, Table}};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::service_fn;
//!
//! let full = service_fn(async |_: Request<Payload>| {
//!     Err::<Response<Full<bytes::Bytes>>, _>(Error::new(Kind::Overloaded, "full"))
//! });
//! let idle = service_fn(async |req: Request<Payload>| {
//!     Ok::<_, Error>(Response::new(Full::from(format!("{} answers", req.body().model()))))
//! });
//! let route = Route::new("chat", [
//!     Candidate::new(Arc::new(Target::new("first", "a")), full),
//!     Candidate::new(Arc::new(Target::new("second", "b")), idle),
//! ]);
//! let dispatch = Dispatch::new(Table::default().route(route));
//! # let _ = dispatch;
//! ```

mod bounds;
mod budget;
mod candidate;
mod conversation;
mod conversations;
#[cfg(all(test, feature = "config", feature = "metrics"))]
mod counted;
mod explain;
mod hedge;
mod load;
mod lower;
mod mirror;
mod needs;
mod order;
mod pace;
mod prices;
mod recovery;
mod resume;
mod retry;
mod service;
#[cfg(test)]
mod slowed;
mod table;
mod tail;

pub use self::{
    budget::RetryBudget,
    candidate::Candidate,
    conversations::Conversations,
    explain::{Explained, Explanation},
    hedge::{After, Hedge},
    load::Load,
    mirror::{Compared, Mirror, Mirrors},
    order::{Sticky, Strategy},
    resume::OnBreak,
    retry::{Cause, Retry},
    service::Dispatch,
    table::{Resolve, Route, Table},
};
