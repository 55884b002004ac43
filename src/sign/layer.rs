use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tower::Layer;

use super::{Credential, ScrubLayer, Sign, credential::without};
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
    /// passed on. A value of eight bytes or more that is marked as sensitive is taken out of errors like the
    /// credential.
    #[must_use]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        let mut headers = self.signature.headers.clone();
        headers.insert(name, value);
        Self { signature: Arc::new(Signature { credential: self.signature.credential.clone(), headers }) }
    }
}

impl Signature {
    /// `error` without the credential, and without the headers that are marked as sensitive.
    pub(super) fn scrub(&self, error: Error) -> Error {
        let headers = self.headers.iter().filter(|(name, value)| self.is_secret(name, value));
        let headers = headers.map(|(_, value)| value.as_bytes());
        let secrets = self.credential.secrets();
        secrets
            .iter()
            .map(|secret| secret.expose().as_bytes())
            .chain(headers)
            .fold(error, |error, secret| error.scrubbed(|text| without(secret, text)))
    }

    /// Whether a header is a secret besides the credential. One so short can't be told from other words.
    fn is_secret(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        const SHORTEST: usize = 8;
        let is_credential = match &self.credential {
            Credential::None | Credential::Signed(_) => false,
            Credential::Bearer(_) => *name == header::AUTHORIZATION,
            Credential::Header(own, _) => name == own,
        };
        value.is_sensitive() && value.len() >= SHORTEST && !is_credential
    }
}

impl<S> Layer<S> for SignLayer {
    type Service = Sign<S>;

    fn layer(&self, inner: S) -> Sign<S> {
        Sign::new(inner, self.signature.clone())
    }
}
