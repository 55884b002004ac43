//! Prefixes of paths: clients whose SDK is given an address with a vendor's name behind it.

/// Whose endpoints stand behind a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    OpenAi,
    Anthropic,
    Google,
}

const PREFIXES: [(&str, Vendor); 3] =
    [("/openai", Vendor::OpenAi), ("/anthropic", Vendor::Anthropic), ("/genai", Vendor::Google)];

/// The vendor that `path` names in front, and the rest of it.
pub(crate) fn split(path: &str) -> (Option<Vendor>, &str) {
    let split = PREFIXES.iter().find_map(|(prefix, vendor)| {
        let rest = path.strip_prefix(prefix)?;
        rest.starts_with('/').then_some((Some(*vendor), rest))
    });
    split.unwrap_or((None, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_whole_segment() {
        assert_eq!(split("/openai/v1/models"), (Some(Vendor::OpenAi), "/v1/models"));
        assert_eq!(split("/anthropic/v1/messages"), (Some(Vendor::Anthropic), "/v1/messages"));
        assert_eq!(split("/genai/v1beta/models"), (Some(Vendor::Google), "/v1beta/models"));
        assert_eq!(split("/openaix/v1"), (None, "/openaix/v1"));
        assert_eq!(split("/openai"), (None, "/openai"));
    }
}
