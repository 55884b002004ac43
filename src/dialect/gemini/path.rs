//! The model and the method are part of the path here.

use std::borrow::Cow;

use http::request::Parts;

use crate::{Error, Kind, dialect::prefix, percent};

/// What a client asks for: a method of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) model: Cow<'a, str>,
    pub(super) method: Method,
}

/// What may be asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Generate,
    Stream,
    Count,
    Embed,
    BatchEmbed,
}

const VERSIONS: [&str; 4] = ["/v1beta", "/v1", "/v1beta1", "/v1alpha"];

/// What `path` asks for, if it is one of this dialect. A model's name may have slashes and colons, raw or
/// percent-encoded.
pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    // The same method in all places, and most paths are others'.
    let (path, method) = path.rsplit_once(':')?;
    let method = match method {
        "generateContent" => Method::Generate,
        "streamGenerateContent" => Method::Stream,
        "countTokens" => Method::Count,
        "embedContent" => Method::Embed,
        "batchEmbedContents" => Method::BatchEmbed,
        _ => return None,
    };
    let (_, path) = prefix::split(path);
    let models = VERSIONS.iter().find_map(|version| path.strip_prefix(version)?.strip_prefix("/models/"))?;
    let model = percent::decoded(models);
    (!model.is_empty()).then_some(Asked { model, method })
}

/// Whether a client that asks for `path` speaks this dialect, whatever it asks for.
pub(in crate::dialect) fn is_ours(path: &str) -> bool {
    path.strip_prefix("/v1beta").is_some_and(|rest| rest.starts_with('/'))
}

/// The model that a request is for.
pub(super) fn model(parts: &Parts) -> Result<Box<str>, Error> {
    let path = parts.uri.path();
    let missing = || Error::new(Kind::NotFound, "there is no such endpoint").with_param(path);
    let asked = asked(path).ok_or_else(missing)?;
    if asked.model.len() > 256 {
        return Err(Error::new(Kind::InvalidRequest, "model: expected a name").with_param("model"));
    }
    Ok(asked.model.into())
}

/// Where a provider has a method of `model`, below its version.
pub(super) fn of(model: &str, method: Method) -> String {
    // A tuned model's name says so itself.
    let (kind, model) = match model.split_once('/') {
        Some((kind @ ("models" | "tunedModels"), name)) => (kind, name),
        _ => ("models", model),
    };
    let method = match method {
        Method::Generate => "generateContent",
        Method::Stream => "streamGenerateContent?alt=sse",
        Method::Count => "countTokens",
        Method::Embed => "embedContent",
        Method::BatchEmbed => "batchEmbedContents",
    };
    format!("/{kind}/{}:{method}", percent::segment(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(path: &str) -> Option<String> {
        asked(path).map(|asked| asked.model.into_owned())
    }

    #[test]
    fn model_and_method_are_found_below_every_prefix() {
        for prefix in ["/v1beta", "/v1", "/genai/v1beta", "/genai/v1", "/v1alpha"] {
            let path = format!("{prefix}/models/gemini-2.5-pro:streamGenerateContent");

            assert_eq!(
                asked(&path),
                Some(Asked { model: "gemini-2.5-pro".into(), method: Method::Stream }),
                "{path}"
            );
        }
    }

    #[test]
    fn a_name_may_have_slashes_and_colons() {
        assert_eq!(model("/v1beta/models/openai/gpt-4o:generateContent").as_deref(), Some("openai/gpt-4o"));
        assert_eq!(model("/v1/models/openai%2Fgpt-4o:generateContent").as_deref(), Some("openai/gpt-4o"));
        assert_eq!(model("/v1/models/llama3:8b:generateContent").as_deref(), Some("llama3:8b"));
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in [
            "/v1/models/m",
            "/v1/models/m:delete",
            "/v1/models/:generateContent",
            "/models/m:generateContent",
            "/v2/models/m:generateContent",
            "/genai/models/m:generateContent",
            "/v1betamodels/m:generateContent",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
        assert!(is_ours("/v1beta/models") && !is_ours("/v1/models") && !is_ours("/v1betas/models"));
    }

    #[test]
    fn a_provider_is_asked_for_one_segment() {
        assert_eq!(of("gemini-2.5-pro", Method::Generate), "/models/gemini-2.5-pro:generateContent");
        assert_eq!(
            of("gemini-2.5-pro", Method::Stream),
            "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            of("../files?key=x#y", Method::Generate),
            "/models/..%2Ffiles%3Fkey%3Dx%23y:generateContent"
        );
        assert_eq!(of("tunedModels/mine", Method::Generate), "/tunedModels/mine:generateContent");
        assert_eq!(of("models/m", Method::Generate), "/models/m:generateContent");
    }
}
