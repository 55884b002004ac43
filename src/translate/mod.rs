//! Lets a client of one dialect talk to a provider of another: [`TranslateLayer`].
//!
//! A provider speaks one or more dialects. A request in one of them passes as it is: only the question
//! for token counts is added to a stream where it is missing, and the unasked answer taken out again. A
//! request in another dialect is translated to the provider's first one, and the answer back, whole or
//! event by event.
//!
//! Where the layer [always streams](TranslateLayer::always_streams) the provider is asked for a stream even if
//! the client wants a whole answer, which is put together from it.
//!
//! Only dialects of one task are translated to each other: chats, counts of tokens, embeddings. A
//! question for the number of tokens to a provider that doesn't count is answered with an estimate, and
//! an answer with estimated tokens says so in `x-bartizan-estimated`.
//!
//! What the provider's dialect cannot express is noted in the exchange, from where it reaches the
//! answer's `x-bartizan-lost` header and the record. In strict mode, set for the layer or by a client's
//! `x-bartizan-strict: true`, such a request is refused.

mod body;
mod estimate;
mod future;
mod layer;
mod missing;
mod pair;
mod service;
mod undo;
mod unsaid;

pub use self::{body::Translated, future::ResponseFuture, layer::TranslateLayer, service::Translate};
