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

/// What Azure's clients ask of a deployment; everything else they ask without one.
const OF_DEPLOYMENTS: [&str; 8] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/images/generations",
    "/images/edits",
];

/// The vendor that `path` names in front, and the rest of it, without a deployment of Azure's.
pub(crate) fn split(path: &str) -> (Option<Vendor>, &str) {
    let split = PREFIXES.iter().find_map(|(prefix, vendor)| {
        let rest = path.strip_prefix(prefix)?;
        rest.starts_with('/').then_some((Some(*vendor), rest))
    });
    match split {
        Some((Some(Vendor::OpenAi), rest)) => {
            (Some(Vendor::OpenAi), of_deployment(rest).map_or(rest, |of| of.1))
        }
        Some(split) => split,
        None => (None, path),
    }
}

/// What comes behind `own`, a path of OpenAI's API, without the slash; empty for `own` itself.
pub(crate) fn below<'p>(path: &'p str, own: &str) -> Option<&'p str> {
    let (_, path) = split(path);
    let rest = ["/v1", ""].into_iter().find_map(|version| path.strip_prefix(version)?.strip_prefix(own))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// The deployment that a path of Azure's names, as it stands there: `/openai/deployments/{name}/embeddings`.
/// Clients write slashes in a name as they are.
pub(crate) fn deployment(path: &str) -> Option<&str> {
    of_deployment(path.strip_prefix("/openai")?).map(|(name, _)| name)
}

fn of_deployment(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix("/deployments/")?;
    let end = OF_DEPLOYMENTS.iter().find_map(|asked| rest.strip_suffix(asked))?.len();
    (end > 0).then(|| rest.split_at(end))
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

    #[test]
    fn what_is_kept_is_below_its_endpoint_whatever_the_prefix() {
        for before in ["", "/v1", "/openai", "/openai/v1"] {
            for (path, rest) in [
                ("/files", Some("")),
                ("/files/file-1", Some("file-1")),
                ("/files/file-1/content", Some("file-1/content")),
                ("/filesystem", None),
                ("/batches", None),
            ] {
                assert_eq!(below(&format!("{before}{path}"), "/files"), rest, "{before}{path}");
            }
        }
    }

    #[test]
    fn a_deployment_stands_between_the_prefix_and_what_is_asked_of_it() {
        let chat = "/openai/deployments/openai/gpt-4o/chat/completions";

        assert_eq!(split(chat), (Some(Vendor::OpenAi), "/chat/completions"));
        assert_eq!(deployment(chat), Some("openai/gpt-4o"));
        assert_eq!(deployment("/openai/deployments/my%20own/completions"), Some("my%20own"));
        for other in [
            "/openai/deployments//embeddings",
            "/openai/deployments/embeddings",
            "/openai/deployments/m/responses",
            "/openai/v1/embeddings",
            "/deployments/m/embeddings",
            "/genai/deployments/m/embeddings",
        ] {
            assert_eq!(deployment(other), None, "{other}");
        }
        assert_eq!(split("/openai/deployments/m/files").1, "/deployments/m/files");
    }
}
