//! Lets a client of one dialect talk to a provider of another: [`TranslateLayer`].
//!
//! A provider speaks one or more dialects. A request in one of them passes as it is: only the question
//! for token counts is added to a stream where it is missing, and the unasked answer taken out again. A
//! request in another dialect is translated to the provider's first one, and the answer back, whole or
//! event by event.
//!
//! What the provider's dialect cannot express is noted in the exchange, from where it reaches the
//! answer's `x-bartizan-lost` header and the record. In strict mode, set for the layer or by a client's
//! `x-bartizan-strict: true`, such a request is refused.

mod body;
mod layer;
mod pair;
mod service;
mod undo;

pub use self::{
    body::Translated,
    layer::TranslateLayer,
    service::{ResponseFuture, Translate},
};
