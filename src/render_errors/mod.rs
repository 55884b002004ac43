//! Turns errors into responses: [`RenderErrorsLayer`].
//!
//! All layers inside of it speak in [`Error`](crate::Error)s; this is the one that knows what a client
//! of each dialect expects: status, body, headers, and the last event of a stream that broke. A provider's own
//! words go to a client of the same dialect unchanged, so that agents that read them find what they look
//! for – unless the provider complains about the gateway's credentials, which is none of the client's
//! business.
//!
//! It also writes the stream of a client that wants one JSON array in place of events, so that the array
//! has an end even if the stream has none.
//!
//! Its service never fails, as axum and hyper want it. Every response carries the request's name in
//! `x-request-id` and `request-id`, and `cache-control: private, no-store`.

mod array;
mod body;
mod layer;
mod render;
mod service;
mod stream;

pub use self::{
    body::Rendered,
    layer::RenderErrorsLayer,
    service::{RenderErrors, ResponseFuture},
};
