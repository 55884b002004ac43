//! The gateway's own credentials, put on at the last moment: [`SignLayer`].
//!
//! What leaves for a provider is built from nothing: the body's type, the provider's credential and
//! settings, and the few headers of a client that mean something to its provider. The client's key, its
//! cookies, hop-by-hop headers and everything unknown stay here. On the way back an error is searched
//! for the credential, because providers quote it; errors that are found inside of a success are
//! searched by a [`ScrubLayer`] further out.
//!
//! A caller may bring a key of its own, as a [`ProviderKey`](crate::auth::ProviderKey): it takes the place of
//! the gateway's credential, and is taken out of errors as that is.
//!
//! A [`KeyPool`] has several keys of one provider: requests are shared out among them, and one that the provider
//! refuses, or that has reached its limit, is left out for a while.
//!
//! A credential is a header that is known beforehand, or whatever [`Authorize`] makes of it: a
//! [`BearerToken`] that is fetched and renewed, a signature over the request.

mod authorize;
#[cfg(feature = "client")]
mod azure;
mod credential;
#[cfg(feature = "client")]
mod endpoint;
#[cfg(feature = "vertex")]
mod google;
mod layer;
mod pool;
mod scrub;
mod service;
#[cfg(feature = "bedrock")]
mod sigv4;
mod token;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use self::azure::{Entra, ManagedIdentity};
#[cfg(feature = "vertex")]
#[cfg_attr(docsrs, doc(cfg(feature = "vertex")))]
pub use self::google::GoogleCredentials;
#[cfg(feature = "bedrock")]
#[cfg_attr(docsrs, doc(cfg(feature = "bedrock")))]
pub use self::sigv4::{AwsKeys, SigV4};
pub use self::{
    authorize::Authorize,
    credential::Credential,
    layer::{KeyForm, SignLayer},
    pool::{KeyPool, KeyStanding, PoolKey},
    scrub::{Scrub, ScrubFuture, ScrubLayer, Scrubbed},
    service::{ResponseFuture, Sign},
    token::{BearerToken, Token, TokenSource},
};
