//! Requests per window and key.
//!
//! [`RequestLimitLayer`] counts the requests of each caller and refuses what is over the rate of its
//! key, with the time after which the next one is let in. Requests are given back evenly, not all at
//! the end of a window; all of them may be made at once, when none was made for a while.
//!
//! - reads the extension [`Caller`](crate::auth::Caller); a request without one is refused
//!
//! The body is not touched, so the layer works for any, and refuses before a byte of it is read.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::{
//!     Kind,
//!     auth::{Caller, VirtualKey},
//!     request_limit::RequestLimitLayer,
//! };
//! use http::Request;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let service = ServiceBuilder::new()
//!     .layer(RequestLimitLayer::new())
//!     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(())));
//!
//! let caller = Caller::new(VirtualKey::new("search").requests("1/minute".parse()?));
//! let req = Request::builder().extension(caller).body(())?;
//! service.clone().oneshot(req.clone()).await?;
//! assert_eq!(service.oneshot(req).await.unwrap_err().kind(), Kind::RateLimited);
//! # Ok(())
//! # }
//! ```

mod layer;
mod limits;
mod rate;
mod service;

pub use self::{layer::RequestLimitLayer, rate::Rate, service::RequestLimit};
