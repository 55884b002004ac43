use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use tower::Layer;

use super::{Credential, KeyPool, ScrubLayer, Sign, credential::without};
use crate::{BoxError, Error, Kind, auth::ProviderKey, headers::PROVIDER_KEY, secret::Secret};

/// Signs requests to one provider; see the [module](super).
#[derive(Clone, Debug)]
pub struct SignLayer {
    pub(super) signature: Arc<Signature>,
}

/// What every request to the provider carries.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) credential: Credential,
    /// Several keys in place of one credential.
    pub(super) pool: Option<KeyPool>,
    pub(super) headers: HeaderMap,
    /// Those that say something of the gateway's account.
    of_account: Vec<HeaderName>,
    /// How a key of the caller's own is presented; `None` if the provider takes no key that is one text.
    own_key: Option<KeyForm>,
}

/// How a provider is presented a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header of its own, such as Anthropic's `x-api-key`.
    Header(HeaderName),
}

impl KeyForm {
    /// A key as a credential.
    pub(crate) fn credential(&self, key: &Secret) -> Credential {
        match self {
            Self::Bearer => Credential::Bearer(key.clone()),
            Self::Header(name) => Credential::Header(name.clone(), key.clone()),
        }
    }

    /// The header in which it stands.
    pub(super) fn header(&self) -> HeaderName {
        match self {
            Self::Bearer => header::AUTHORIZATION,
            Self::Header(name) => name.clone(),
        }
    }
}

impl SignLayer {
    /// Signs with `credential`.
    ///
    /// # Errors
    ///
    /// If the credential has characters that a header can't have.
    pub fn new(credential: Credential) -> Result<Self, BoxError> {
        let mut headers = usual();
        credential.apply(&mut headers)?;
        let own_key = match &credential {
            Credential::Bearer(_) => Some(KeyForm::Bearer),
            Credential::Header(name, _) => Some(KeyForm::Header(name.clone())),
            _ => None,
        };
        Ok(Self {
            signature: Arc::new(Signature {
                credential,
                pool: None,
                headers,
                of_account: Vec::new(),
                own_key,
            }),
        })
    }

    /// Signs each request with one of the keys in `pool`.
    pub fn with_pool(pool: KeyPool) -> Self {
        let own_key = Some(pool.form().clone());
        let (credential, headers, of_account) = (Credential::None, usual(), Vec::new());
        Self { signature: Arc::new(Signature { credential, pool: Some(pool), headers, of_account, own_key }) }
    }

    /// What it adds to requests.
    #[cfg(feature = "config")]
    pub(crate) fn headers(&self) -> HeaderMap {
        self.signature.headers.clone()
    }

    /// Sets how a caller's [own key](ProviderKey) is presented in place of the credential: as the credential is,
    /// if this isn't called; `None` refuses requests that bring one.
    #[must_use]
    pub fn own_key(self, form: Option<KeyForm>) -> Self {
        self.with(|signature| signature.own_key = form)
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
        self.with(|signature| drop(signature.headers.insert(name, value)))
    }

    /// The same for a header that says something of the gateway's account: it is not sent with a caller's
    /// [own key](ProviderKey).
    #[must_use]
    pub fn account_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.with(|signature| {
            signature.of_account.push(name.clone());
            signature.headers.insert(name, value);
        })
    }

    fn with(self, change: impl FnOnce(&mut Signature)) -> Self {
        let mut signature = Signature::clone(&self.signature);
        change(&mut signature);
        Self { signature: Arc::new(signature) }
    }
}

/// What goes to all providers.
fn usual() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What is compressed can't be metered as it passes.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("bartizan/", env!("CARGO_PKG_VERSION"))),
    );
    headers
}

impl Signature {
    /// What the request is signed with: this, or the key that its caller brings.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidRequest`] if the provider isn't asked with such a key.
    pub(super) fn of<B>(self: &Arc<Self>, req: &Request<B>) -> Result<Arc<Self>, Error> {
        let Some(key) = req.extensions().get::<ProviderKey>() else { return Ok(self.clone()) };
        let wrong = |what: &str| Error::new(Kind::InvalidRequest, format!("{PROVIDER_KEY}: {what}"));
        let form =
            self.own_key.as_ref().ok_or_else(|| wrong("this provider isn't asked with a plain key"))?;
        let mut headers = self.headers.clone();
        match &self.credential {
            Credential::Bearer(_) => drop(headers.remove(header::AUTHORIZATION)),
            Credential::Header(name, _) => drop(headers.remove(name)),
            Credential::None | Credential::Signed(_) => {}
        }
        self.of_account.iter().for_each(|name| drop(headers.remove(name)));
        let credential = form.credential(&key.0);
        credential.apply(&mut headers).map_err(|_| wrong("has characters that a header can't have"))?;
        Ok(Arc::new(Self { credential, pool: None, headers, ..Self::clone(self) }))
    }

    /// `error` without the credential, and without the headers that are marked as sensitive.
    pub(super) fn scrub(&self, error: Error) -> Error {
        let headers = self.headers.iter().filter(|(name, value)| self.is_secret(name, value));
        let headers = headers.map(|(_, value)| value.as_bytes());
        let secrets = self.credential.secrets();
        let pooled = self.pool.iter().flat_map(KeyPool::secrets);
        secrets
            .iter()
            .chain(pooled)
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
