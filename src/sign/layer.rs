use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tower::Layer;

use super::{Credential, ScrubLayer, Sign};
use crate::{BoxError, Error};

/// Signs requests to one provider; see the [module](super).
#[derive(Clone, Debug)]
pub struct SignLayer {
    pub(super) signature: Arc<Signature>,
}

/// What every request to the provider carries.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) credential: Credential,
    pub(super) headers: HeaderMap,
}

impl SignLayer {
    /// Signs with `credential`.
    ///
    /// # Errors
    ///
    /// If the credential has characters that a header can't have.
    pub fn new(credential: Credential) -> Result<Self, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // What is compressed can't be metered as it passes.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("bartizan/", env!("CARGO_PKG_VERSION"))),
        );
        credential.apply(&mut headers)?;
        Ok(Self { signature: Arc::new(Signature { credential, headers }) })
    }

    /// A layer that takes this layer's credential out of all errors; it stands outside of the layers that
    /// read answers.
    pub fn scrub(&self) -> ScrubLayer {
        ScrubLayer { signature: self.signature.clone() }
    }

    /// Adds a header that every request to the provider carries, unless the client sends one that is
    /// passed on.
    #[must_use]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        let mut headers = self.signature.headers.clone();
        headers.insert(name, value);
        Self { signature: Arc::new(Signature { credential: self.signature.credential.clone(), headers }) }
    }
}

impl Signature {
    /// `error` without the credential.
    pub(super) fn scrub(&self, error: Error) -> Error {
        error.scrubbed(|text| self.credential.scrub(text))
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Sign<S> {
        Sign::new(inner, self.signature.clone())
    }
}
