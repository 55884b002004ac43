//! Which models there are, for clients that ask: `GET /v1/models` and `GET /v1/models/{id}`.
//!
//! [`ModelsLayer`] answers with the models of its [`Catalog`] that the caller's key may use, in the form
//! of the SDK that asks: by the prefix of the path (`/openai`, `/anthropic`, `/genai`), or in Google's for
//! `/v1beta/models` and requests whose key came in `x-goog-api-key`, in Anthropic's for those with
//! `anthropic-version` or a key in `x-api-key`, in OpenAI's for all others. All are served without `/v1` as well; `HEAD` is
//! answered as `GET`, other methods are refused, and other paths go inwards. It stands behind auth.
//!
//! - reads the extension [`Caller`](crate::auth::Caller); a request for models without one is refused
//! - reads `anthropic-version`, `x-api-key`, `x-goog-api-key`, also where auth has taken them out; writes `content-type`
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use bartizan::{
//!     access::Pattern,
//!     auth::{Caller, VirtualKey},
//!     models::{Catalog, ModelsLayer},
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! #[derive(Debug)]
//! struct Two;
//!
//! impl Catalog for Two {
//!     fn models(&self) -> Vec<Arc<str>> {
//!         vec!["chat".into(), "openai/gpt-4o".into()]
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let service = ServiceBuilder::new().layer(ModelsLayer::new(Arc::new(Two))).service(service_fn(
//!     async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
//! ));
//!
//! let caller = Caller::new(VirtualKey::new("search").allow([Pattern::new("openai/*")]));
//! let req = Request::get("/v1/models").extension(caller).body(())?;
//! let body = service.oneshot(req).await?.into_body().collect().await?.to_bytes();
//! assert_eq!(
//!     body,
//!     r#"{"object":"list","data":[{"id":"openai/gpt-4o","object":"model","created":0,"owned_by":"openai"}]}"#
//! );
//! # Ok(())
//! # }
//! ```

mod anthropic;
mod gemini;
mod layer;
mod openai;
mod path;
mod service;

use std::{fmt, sync::Arc};

use serde::Serialize;

pub use self::{layer::ModelsLayer, service::Models};
use crate::{Error, Kind};

/// Knows which models there are.
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// Their names as clients write them, in the order in which they are to be listed.
    fn models(&self) -> Vec<Arc<str>>;
}

fn invalid(param: &str, message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param(param)
}

/// A model that is not there and one that may not be used look the same.
fn unknown(id: &str) -> Error {
    let message = format!("the model `{id}` does not exist, or this key may not use it");
    Error::new(Kind::NoRoute, message).with_param("model")
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Internal, "the models can't be written").with_source(error))
}
