//! Reads an answer to its end although the client has left, so that it is charged exactly.
//!
//! Without this layer, a client that leaves closes the provider's stream, and what has passed is
//! charged by estimate. Where [`Learnt::drain`](crate::exchange::Learnt::drain) is set, [`DrainLayer`]
//! hands the rest to a task that reads it to its end and throws it away. What is inside sees an answer
//! that completes; so this layer stands outside of everything that wants to know the end, records
//! included.
//!
//! There is a place for a limited number of such answers. Over that, or without a tokio runtime, the
//! rest is dropped as usual. How long a task may take is up to the deadlines of the inner stack.
//!
//! - writes the extension [`Exchange`](crate::Exchange), so that all inner layers share it
//! - works for any request body, and reads neither headers nor the caller
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::{Exchange, drain::DrainLayer};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let layer = DrainLayer::new(64);
//! let service = ServiceBuilder::new().layer(layer.clone()).service(service_fn(
//!     async |req: Request<()>| {
//!         Exchange::of(&req).learn(|learnt| learnt.drain = true);
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("text")))
//!     },
//! ));
//!
//! drop(service.oneshot(Request::new(())).await?);
//! layer.finished().await;
//! # Ok(())
//! # }
//! ```

mod body;
mod future;
mod held;
mod layer;
mod places;
mod service;

pub use self::{body::DrainBody, future::ResponseFuture, layer::DrainLayer, service::Drain};
