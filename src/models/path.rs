use std::borrow::Cow;

use crate::percent::decoded;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// All models.
    List,
    /// The model with this id.
    One(Cow<'a, str>),
}

/// What `path` asks for, if it is one of ours. An id may contain slashes, raw or percent-encoded.
pub(super) fn asked(path: &str) -> Option<Asked<'_>> {
    let rest = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/models")?;
    match rest.strip_prefix('/') {
        Some("") => Some(Asked::List),
        Some(id) => Some(Asked::One(decoded(id))),
        None => rest.is_empty().then_some(Asked::List),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_contain_slashes_in_either_form() {
        let one = |id: &'static str| Some(Asked::One(id.into()));

        assert_eq!(asked("/v1/models"), Some(Asked::List));
        assert_eq!(asked("/models/"), Some(Asked::List));
        assert_eq!(asked("/v1/models/openai/gpt-4o"), one("openai/gpt-4o"));
        assert_eq!(asked("/models/openai%2Fgpt-4o"), one("openai/gpt-4o"));
        assert_eq!(asked("/v1/models/llama3:8b"), one("llama3:8b"));
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in ["/", "/v1", "/v1/modelss", "/v1/messages", "/v2/models", "/v1/v1/models", "v1/models"] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
