use std::borrow::Cow;

use crate::{
    dialect::prefix::{self, Vendor},
    percent::decoded,
};

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// All models.
    List,
    /// The model with this id.
    One(Cow<'a, str>),
}

/// What `path` asks for, if it is one of ours, and the vendor whose form the path implies. An id may
/// contain slashes, raw or percent-encoded.
pub(super) fn asked(path: &str) -> Option<(Asked<'_>, Option<Vendor>)> {
    let (vendor, path) = prefix::split(path);
    let (vendor, rest) = match path.strip_prefix("/v1beta") {
        Some(rest) if rest.starts_with('/') => (vendor.or(Some(Vendor::Google)), rest),
        _ => (vendor, path.strip_prefix("/v1").unwrap_or(path)),
    };
    let rest = rest.strip_prefix("/models")?;
    let asked = match rest.strip_prefix('/') {
        Some("") => Asked::List,
        Some(id) => Asked::One(decoded(id)),
        None if rest.is_empty() => Asked::List,
        None => return None,
    };
    Some((asked, vendor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_contain_slashes_in_either_form() {
        let one = |id: &'static str| Some((Asked::One(id.into()), None));
        let list = |vendor| Some((Asked::List, vendor));

        assert_eq!(asked("/v1/models"), list(None));
        assert_eq!(asked("/models/"), list(None));
        assert_eq!(asked("/v1beta/models"), list(Some(Vendor::Google)));
        assert_eq!(asked("/anthropic/v1/models"), list(Some(Vendor::Anthropic)));
        assert_eq!(asked("/openai/models"), list(Some(Vendor::OpenAi)));
        assert_eq!(asked("/genai/v1/models"), list(Some(Vendor::Google)));
        assert_eq!(asked("/v1/models/openai/gpt-4o"), one("openai/gpt-4o"));
        assert_eq!(asked("/models/openai%2Fgpt-4o"), one("openai/gpt-4o"));
        assert_eq!(asked("/v1/models/llama3:8b"), one("llama3:8b"));
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in [
            "/",
            "/v1",
            "/v1/modelss",
            "/v1/messages",
            "/v2/models",
            "/v1/v1/models",
            "v1/models",
            "/v1betamodels",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
