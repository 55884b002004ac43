//! Reads the request's body once, within limits, and looks into it: [`IngestLayer`].
//!
//! Outside of it a request is `Request<B>`, inside it is `Request<Payload>`: layers that need the model
//! ask for a body that is [`Ingested`](crate::Ingested), and leaving ingest out doesn't compile.
//!
//! What is refused here never reaches a provider: a path no dialect has, a method that the dialect
//! doesn't know, a body that isn't JSON (or a form, where the dialect takes forms) by its content type
//! or is compressed, one that is too large, too slow, not UTF-8, nested deeper than 128, or in which a
//! field the gateway reads is missing, doubled or of the wrong type.
//!
//! ```
//! use bartizan::{dialect::Dialects, ingest::IngestLayer, Error, Payload};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
//! let model = ServiceBuilder::new()
//!     .layer(IngestLayer::new(Dialects::default()).limit(1 << 20))
//!     .service(service_fn(async |req: Request<Payload>| {
//!         Ok::<_, Error>(Response::new(req.body().model().to_owned()))
//!     }));
//!
//! let req = Request::post("/v1/chat/completions").body(Full::from(r#"{"model":"gpt-4o"}"#)).unwrap();
//! assert_eq!(model.oneshot(req).await?.into_body(), "gpt-4o");
//! # Ok(()) }
//! ```

mod collect;
mod deployment;
mod layer;
mod service;

pub use self::{layer::IngestLayer, service::Ingest};
