//! Failures on purpose, to see that nobody notices them: [`FaultLayer`].
//!
//! It stands where the answer of a provider comes from, around `Upstream`, so that all that is there to hide a
//! failure sees this one as if the provider had failed: the first event, the breaker, the meter, the retries.
//! A [`Fault`] strikes a share of the requests, or those that ask for it. Without a rule the layer does nothing, and
//! nothing of what it does goes unsaid: each fault stands in the [`Exchange`](crate::Exchange), from where it gets
//! into the record and, as `x-bartizan-fault`, into the answer.
//!
//! Clients don't ask for faults. [`TellFaultsLayer`] lets those do so who know the administrators' key, with the
//! headers `x-bartizan-fault: 503` or `x-bartizan-fault: cut 3 at openai/*`, and `x-bartizan-admin-key`.
//!
//! | | what the gateway sees |
//! |---|---|
//! | `503` | this status, with an error in the provider's dialect; any from 400 to 599 |
//! | `delay 2s` | the answer comes so much later |
//! | `refuse` | no connection |
//! | `reset` | a connection that breaks before there is an answer |
//! | `hang` | no answer until the time for it is over |
//! | `malformed` | a success that can't be read |
//! | `empty` | a success with nothing in it |
//! | `error` | a success whose first event, or whose whole answer, is an error |
//! | `cut 3` | a stream that breaks after three events; a whole answer breaks at once |
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{Error, Exchange, Kind, Payload, Target, dialect::OPENAI_CHAT, fault::FaultLayer, payload::Head};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::BoxError> {
//! let provider = service_fn(async |_: Request<Payload>| Ok::<_, Error>(Response::new(Full::<Bytes>::default())));
//! let target = Arc::new(Target::new("openai", "gpt-4o"));
//! let service = ServiceBuilder::new()
//!     .layer(FaultLayer::new(target).rule("503".parse()?, 1.0))
//!     .service(provider);
//!
//! let payload = Payload::new(&OPENAI_CHAT, Head::default(), Bytes::new(), Exchange::default());
//! let error = service.oneshot(Request::new(payload)).await.err().ok_or("it was answered")?;
//!
//! assert_eq!(error.kind(), Kind::Overloaded);
//! assert_eq!(error.reply().map(|reply| reply.status.as_u16()), Some(503));
//! # Ok(())
//! # }
//! ```

mod body;
mod kind;
mod layer;
mod service;
mod tell;

pub(crate) use self::tell::tell;
pub use self::{
    body::Faulted,
    kind::{Fault, NotAFault},
    layer::FaultLayer,
    service::{Faulty, ResponseFuture},
    tell::{TellFaults, TellFaultsLayer},
};
