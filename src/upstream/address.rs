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
    form: Form,
    query: Option<Box<str>>,
    /// The address of the path that was asked for first, which is nearly always the only one.
    known: OnceLock<(Cow<'static, str>, Uri)>,
}

/// How the path of a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It is the dialect's.
    Plain,
    /// The model stands before it, as Azure's deployments do.
    Deployments,
    /// It is a method of the model, as the makers of models have it at Vertex.
    Predict,
}

impl Form {
    /// Whether the model stands in the path, where the dialect has this one.
    fn names_model(self, path: &str) -> bool {
        match self {
            Self::Plain => false,
            Self::Deployments => is_of_deployment(path),
            Self::Predict => true,
        }
    }
}

/// Whether Azure serves a path below the name of a deployment; for all others the body has the name.
fn is_of_deployment(path: &str) -> bool {
    let of_deployment = ["/chat/", "/completions", "/embeddings", "/audio/", "/images/"];
    of_deployment.iter().any(|beginning| path.starts_with(beginning))
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
        Ok(Self(Arc::new(Inner { base, form: Form::Plain, query: None, known: OnceLock::new() })))
    }

    /// Puts the model of a request before its path: `/deployments/{model}/chat/completions`, as Azure
    /// has it under `/openai` for chats, embeddings, audio and images. Other paths stay as they are.
    #[must_use]
    pub fn deployments(self) -> Self {
        self.form(Form::Deployments)
    }

    /// Asks for a method of the model: `/models/{model}:rawPredict` and `:streamRawPredict`, as Vertex has
    /// it under `/publishers/anthropic`.
    #[must_use]
    pub fn predict(self) -> Self {
        self.form(Form::Predict)
    }

    fn form(self, form: Form) -> Self {
        Self(Arc::new(Inner { form, known: OnceLock::new(), ..(*self.0).clone() }))
    }

    /// The address below this one.
    ///
    /// # Errors
    ///
    /// If `path`, which begins with a slash, can't stand in an address.
    pub fn below(&self, path: &str) -> Result<Self, BoxError> {
        let base = self.0.base.to_string();
        let Self(inner) = Self::new(&format!("{}{path}", base.trim_end_matches('/')))?;
        Ok(Self(Arc::new(Inner { base: inner.base.clone(), known: OnceLock::new(), ..(*self.0).clone() })))
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
        let is_constant = !self.0.form.names_model(&path) && matches!(path, Cow::Borrowed(_));
        if is_constant
            && let Some((known, uri)) = self.0.known.get()
            && *known == path
        {
            return Ok(uri.clone());
        }
        let uri = self.uri(&path, payload).map_err(|error| {
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

    fn uri(&self, path: &str, payload: &Payload) -> Result<Uri, BoxError> {
        let mut whole = self.0.base.path().trim_end_matches('/').to_owned();
        let model = payload.model();
        let path = match self.0.form {
            Form::Deployments if is_of_deployment(path) => {
                format!("/deployments/{}{path}", percent::encoded(model)).into()
            }
            Form::Plain | Form::Deployments => Cow::Borrowed(path),
            // Counting is a model of its own, and the body has the name of the one that is asked about.
            Form::Predict if path.ends_with("/count_tokens") => "/models/count-tokens:rawPredict".into(),
            Form::Predict => {
                let method = if payload.head().stream { "streamRawPredict" } else { "rawPredict" };
                format!("/models/{}:{method}", percent::segment(model)).into()
            }
        };
        whole.push_str(&path);
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
    use crate::{
        Dialect, Exchange,
        dialect::{ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES},
        payload::Head,
    };

    fn of(address: &Address, model: &str) -> String {
        asked(address, &OPENAI_CHAT, model, false)
    }

    fn asked(address: &Address, dialect: &'static dyn Dialect, model: &str, stream: bool) -> String {
        let head = Head { model: model.into(), stream, ..Head::default() };
        address.of(&Payload::new(dialect, head, "{}".into(), Exchange::default())).unwrap().to_string()
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
        assert_eq!(
            asked(&address, &OPENAI_RESPONSES, "c", false),
            "https://r.openai.azure.com/openai/responses?api-version=2024-10-21"
        );
        assert!(of(&address, "d").contains("/deployments/d/"));
    }

    #[test]
    fn a_model_has_methods() {
        let base = Address::new("https://h/v1/projects/p/locations/l/").unwrap();
        let address = base.below("/publishers/anthropic").unwrap().predict();

        let whole = asked(&address, &ANTHROPIC, "claude-opus-4-1@20250805", false);
        let stream = asked(&address, &ANTHROPIC, "a;b", true);

        let models = "https://h/v1/projects/p/locations/l/publishers/anthropic/models";
        assert_eq!(whole, format!("{models}/claude-opus-4-1@20250805:rawPredict"));
        assert_eq!(stream, format!("{models}/a%3Bb:streamRawPredict"));
        assert!(base.below("/a b").is_err());
    }
}
