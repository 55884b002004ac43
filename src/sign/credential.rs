use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Authorize;
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
    /// What takes time, or depends on the request.
    Signed(Arc<dyn Authorize>),
}

impl Credential {
    /// Puts the credential into `headers`.
    ///
    /// # Errors
    ///
    /// If it has characters that a header can't have.
    pub(super) fn apply(&self, headers: &mut HeaderMap) -> Result<(), BoxError> {
        let name = match self {
            Self::Header(name, _) => name.clone(),
            _ => header::AUTHORIZATION,
        };
        if let Some(value) = self.value()? {
            headers.insert(name, value);
        }
        Ok(())
    }

    /// The credential as a header's value, if it is one that is known beforehand.
    ///
    /// # Errors
    ///
    /// Those of [`apply`](Self::apply).
    pub(super) fn value(&self) -> Result<Option<HeaderValue>, BoxError> {
        let text = match self {
            Self::None | Self::Signed(_) => return Ok(None),
            Self::Bearer(secret) => format!("Bearer {}", secret.expose()),
            Self::Header(_, secret) => secret.expose().to_owned(),
        };
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The secrets themselves.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer(secret) | Self::Header(_, secret) => vec![secret.clone()],
            Self::Signed(signer) => signer.secrets(),
        }
    }
}

/// `text` without `secret`, if it is in there, whole or cut off at the end.
pub(super) fn without(secret: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    const HIDDEN: &[u8] = b"***";
    if secret.is_empty() {
        return None;
    }
    let (mut clean, mut rest) = (Vec::new(), text);
    while let Some(at) = memchr::memmem::find(rest, secret) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(HIDDEN);
        rest = &rest[at + secret.len()..];
    }
    let begun = begun(rest, secret);
    if clean.is_empty() && begun == 0 {
        return None;
    }
    clean.extend_from_slice(&rest[..rest.len() - begun]);
    if begun > 0 {
        clean.extend_from_slice(HIDDEN);
    }
    Some(clean)
}

/// How many bytes of `secret` stand at the end of `text`: a limit may have cut it there. So few that
/// they tell nothing are not counted.
fn begun(text: &[u8], secret: &[u8]) -> usize {
    const TELLING: usize = 4;
    (TELLING..secret.len()).rev().find(|length| text.ends_with(&secret[..*length])).unwrap_or(0)
}
