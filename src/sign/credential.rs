use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{BoxError, secret::Secret};

/// How a provider knows the gateway.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Credential {
    /// It doesn't ask.
    #[default]
    None,
    /// `Authorization: Bearer …`, as OpenAI and most others want it.
    Bearer(Secret),
    /// A header of its own, such as Anthropic's `x-api-key`.
    Header(HeaderName, Secret),
}

impl Credential {
    /// Puts the credential into `headers`.
    ///
    /// # Errors
    ///
    /// If it has characters that a header can't have.
    pub(super) fn apply(&self, headers: &mut HeaderMap) -> Result<(), BoxError> {
        let (name, text) = match self {
            Self::None => return Ok(()),
            Self::Bearer(secret) => (header::AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Self::Header(name, secret) => (name.clone(), secret.expose().to_owned()),
        };
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// `text` without the credential, if it is in there.
    pub(super) fn scrub(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (Self::Bearer(secret) | Self::Header(_, secret)) = self else { return None };
        let secret = secret.expose().as_bytes();
        if secret.is_empty() {
            return None;
        }
        let mut at = memchr::memmem::find(text, secret)?;
        let (mut clean, mut rest) = (Vec::with_capacity(text.len()), text);
        loop {
            clean.extend_from_slice(&rest[..at]);
            clean.extend_from_slice(b"***");
            rest = &rest[at + secret.len()..];
            match memchr::memmem::find(rest, secret) {
                Some(next) => at = next,
                None => break,
            }
        }
        clean.extend_from_slice(rest);
        Some(clean)
    }
}
