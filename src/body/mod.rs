//! What answers are made of, and how one learns that an answer is over.
//!
//! A response is over when its body is, not when its head has been sent. [`OnEnd`] holds an
//! [`Observe`]r from the moment a layer starts waiting, moves into the body with
//! [`OnEnd::follow`], and tells it exactly once how the exchange ended: completed, failed, or
//! abandoned by the client.

pub mod event_stream;
mod follow;
mod framing;
pub mod sse;

pub use self::{
    follow::{End, Followed, Observe, OnEnd},
    framing::{Framing, Splitter},
};

use crate::BoxError;

/// A response body with its type forgotten.
pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;
