//! Which models a key may use.
//!
//! [`AccessLayer`] holds the model that a client asks for against the patterns that its key allows.
//! It stands behind ingest, and before everything that costs anything.
//!
//! - reads the extension [`Caller`](crate::auth::Caller); a request without one is refused
//! - reads [`Payload::model`](crate::Payload::model), as the client named it
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::{
//!     Kind,
//!     access::{AccessLayer, Pattern},
//!     auth::{Caller, VirtualKey},
//! };
//! # use bartizan::{Exchange, Payload, dialect::OPENAI_CHAT, payload::Head};
//! use http::Request;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let head = Head { model: "openai/gpt-4o".into(), ..Head::default() };
//! # let payload = Payload::new(&OPENAI_CHAT, head, "{}".into(), Exchange::default());
//! let service = ServiceBuilder::new()
//!     .layer(AccessLayer::new())
//!     .service(service_fn(async |_: Request<Payload>| Ok::<_, Infallible>(())));
//!
//! let key = VirtualKey::new("search").allow([Pattern::new("anthropic/*")]);
//! let req = Request::builder().extension(Caller::new(key)).body(payload).unwrap();
//! assert_eq!(service.oneshot(req).await.unwrap_err().kind(), Kind::Forbidden);
//! # }
//! ```

mod layer;
mod pattern;
mod service;

pub use self::{layer::AccessLayer, pattern::Pattern, service::Access};
