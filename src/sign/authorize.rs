use std::fmt;

use http::Request;

use crate::{BoxFuture, Error, Payload, secret::Secret};

/// Proves to a provider who asks, where a header that is known beforehand is not enough: a token that
/// has to be fetched, a signature over the request.
pub trait Authorize: fmt::Debug + Send + Sync + 'static {
    /// Puts the proof into the headers of `req`, which leaves as it is then.
    ///
    /// # Errors
    ///
    /// [`Kind::UpstreamAuth`](crate::Kind::UpstreamAuth) if there is no proof to be had, and whatever
    /// keeps it from being fetched.
    fn authorize<'a>(&'a self, req: &'a mut Request<Payload>) -> BoxFuture<'a, Result<(), Error>>;

    /// What has to be taken out of errors.
    fn secrets(&self) -> Vec<Secret>;

    /// The provider has refused the proof. Whether there will be another one, so that it is worth asking
    /// once more.
    fn refused(&self) -> bool {
        false
    }
}
