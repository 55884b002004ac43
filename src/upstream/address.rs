use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use http::{Uri, uri::PathAndQuery};

use crate::{BoxError, Error, Kind, Payload, percent};

/// Where a provider serves requests. Clones share what has been computed.
#[derive(Clone, Debug)]
pub struct Address(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    base: Uri,
    /// Whether the model stands in the path, as Azure's deployments do.
    deployments: bool,
    query: Option<Box<str>>,
    /// The address of the path that was asked for first, which is nearly always the only one.
    known: OnceLock<(Cow<'static, str>, Uri)>,
}

impl Address {
    /// The address that `base` begins, such as `https://api.openai.com/v1`; the dialect of a request adds
    /// its path.
    ///
    /// # Errors
    ///
    /// If `base` has no scheme or no host.
    pub fn new(base: &str) -> Result<Self, BoxError> {
        let base: Uri = base.trim_end_matches('/').parse()?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.authority().is_none() {
            return Err("expected an address that begins with http:// or https://".into());
        }
        Ok(Self(Arc::new(Inner { base, deployments: false, query: None, known: OnceLock::new() })))
    }

    /// Puts the model of a request before its path: `/deployments/{model}/chat/completions`, as Azure
    /// has it under `/openai`.
    #[must_use]
    pub fn deployments(self) -> Self {
        Self(Arc::new(Inner { deployments: true, known: OnceLock::new(), ..(*self.0).clone() }))
    }

    /// Adds a query to every address, such as `api-version=2024-10-21`.
    #[must_use]
    pub fn query(self, query: impl Into<Box<str>>) -> Self {
        let query = Some(query.into());
        Self(Arc::new(Inner { query, known: OnceLock::new(), ..(*self.0).clone() }))
    }

    /// Where `payload` is to be sent.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidRequest`] if the model's name can't stand in an address.
    pub fn of(&self, payload: &Payload) -> Result<Uri, Error> {
        let path = payload.dialect().path(payload);
        let is_constant = !self.0.deployments && matches!(path, Cow::Borrowed(_));
        if let Some((known, uri)) = self.0.known.get()
            && *known == path
        {
            return Ok(uri.clone());
        }
        let uri = self.uri(&path, payload.model()).map_err(|error| {
            Error::new(Kind::InvalidRequest, "model: not usable in an address")
                .with_param("model")
                .with_source(error)
        })?;
        // Only what is the same for every request is worth keeping.
        if is_constant {
            let _ = self.0.known.set((path, uri.clone()));
        }
        Ok(uri)
    }

    fn uri(&self, path: &str, model: &str) -> Result<Uri, BoxError> {
        let mut whole = self.0.base.path().trim_end_matches('/').to_owned();
        if self.0.deployments {
            whole.push_str("/deployments/");
            whole.push_str(&percent::encoded(model));
        }
        whole.push_str(path);
        if let Some(query) = &self.0.query {
            whole.push(if path.contains('?') { '&' } else { '?' });
            whole.push_str(query);
        }
        let mut parts = self.0.base.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(whole)?);
        Ok(Uri::from_parts(parts)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, dialect::OPENAI_CHAT, payload::Head};

    fn of(address: &Address, model: &str) -> String {
        let head = Head { model: model.into(), ..Head::default() };
        address.of(&Payload::new(&OPENAI_CHAT, head, "{}".into(), Exchange::default())).unwrap().to_string()
    }

    #[test]
    fn the_path_of_the_dialect_follows_the_base() {
        let address = Address::new("https://example.org/v1/").unwrap();

        assert_eq!(of(&address, "m"), "https://example.org/v1/chat/completions");
        assert_eq!(of(&address, "other"), "https://example.org/v1/chat/completions");
        assert!(Address::new("ftp://example.org").is_err() && Address::new("/v1").is_err());
    }

    #[test]
    fn deployments_stand_in_the_path_and_versions_in_the_query() {
        let base = Address::new("https://r.openai.azure.com/openai").unwrap();
        let address = base.deployments().query("api-version=2024-10-21");

        let expected =
            "https://r.openai.azure.com/openai/deployments/a%2Fb/chat/completions?api-version=2024-10-21";
        assert_eq!(of(&address, "a/b"), expected);
        assert!(of(&address, "c").contains("/deployments/c/"));
    }
}
