//! Holds an answer back until it has proven itself: [`FirstEventLayer`].
//!
//! What has been sent to the client can't be taken back, and no other target can be tried any more. So
//! a stream is held back until its first event with content – comments, pings and roles don't count –
//! and a whole answer until its last byte. Until then an error inside of a 200, an empty stream, an
//! answer that isn't JSON, and a hang are errors, which a route can answer with another target.
//!
//! After that the stream is watched to its end: it is passed on in whole events only, an error event of
//! the provider becomes an error of the body, and so does an end without a proper end. Nothing is cut
//! off in silence.

mod body;
mod future;
mod guard;
mod layer;
mod service;

pub use self::{body::Proven, future::ResponseFuture, layer::FirstEventLayer, service::FirstEvent};
