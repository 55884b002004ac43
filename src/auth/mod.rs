//! Who asks: keys of the gateway's own, which clients present instead of a provider's.
//!
//! [`AuthLayer`] takes the key out of the request, looks its hash up in a [`KeyStore`], and puts the
//! [`Caller`] in its place. Every layer that limits, charges or permits reads the caller, and refuses
//! a request that has none.
//!
//! - reads and removes `authorization`, `x-api-key`, `api-key`, `x-goog-api-key`, `x-bf-vk`
//!   and `key` in the query
//! - removes `cookie`, `proxy-authorization`
//! - writes the extension [`Caller`], and [`Learnt::caller`](crate::exchange::Learnt::caller) of the
//!   [`Exchange`](crate::Exchange), which it opens if no outer layer has
//!
//! The body is not touched, so the layer works for any, and refuses before a byte of it is read.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use bartizan::auth::{AuthLayer, Caller, KeyDigest, MemoryKeys, VirtualKey};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let keys = MemoryKeys::default();
//! keys.insert(KeyDigest::of("vk-1234"), VirtualKey::new("search"));
//!
//! let service = ServiceBuilder::new().layer(AuthLayer::new(Arc::new(keys))).service(service_fn(
//!     async |req: Request<()>| {
//!         let caller = Caller::of(&req).map(|caller| caller.name.clone());
//!         Ok::<_, Infallible>(Response::new(caller))
//!     },
//! ));
//!
//! let req = Request::builder().header("authorization", "Bearer vk-1234").body(()).unwrap();
//! assert_eq!(&*service.oneshot(req).await?.into_body()?, "search");
//! # Ok(())
//! # }
//! ```

mod credentials;
mod digest;
mod key;
mod layer;
mod service;
mod store;

pub(crate) use self::credentials::Presented;
pub(crate) use self::credentials::digest as digest_of;
pub use self::{
    credentials::ProviderKey,
    digest::{KeyDigest, NotADigest},
    key::{Caller, Providers, VirtualKey},
    layer::AuthLayer,
    service::Auth,
    store::{KeyStore, Lookup, MemoryKeys},
};
