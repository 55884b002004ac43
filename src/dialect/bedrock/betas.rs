//! Features of Anthropic's models that have to be asked for by name: a header at home, a field at Bedrock.

use serde_json::value::RawValue;

use crate::dialect::lost::Lost;

/// The field for them.
pub(crate) const FIELD: &str = "anthropic_beta";

/// What a client's header for them is called in a report.
const HEADER: &str = "anthropic-beta";

/// What Bedrock knows; any other name is answered with an error.
const KNOWN: [&str; 11] = [
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
    "tool-search-tool-2025-10-19",
];

/// Those of an array of names that Bedrock knows, if there are any; whether others are lost is noted.
pub(super) fn known<'a>(names: &'a RawValue, lost: &mut Lost) -> Option<Vec<&'a str>> {
    let Ok(mut names) = serde_json::from_str::<Vec<&str>>(names.get()) else {
        lost.push(HEADER);
        return None;
    };
    let asked = names.len();
    names.retain(|name| KNOWN.contains(name));
    lost.push_if(names.len() < asked, HEADER);
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C132
    #[test]
    fn what_bedrock_does_not_know_is_not_asked_for() {
        let mut lost = Lost::default();
        let asked: &RawValue =
            serde_json::from_str(r#"["interleaved-thinking-2025-05-14","foo-bar"]"#).unwrap();
        let unknown: &RawValue = serde_json::from_str(r#"["foo-bar"]"#).unwrap();

        let known_ones = known(asked, &mut lost);

        assert_eq!(known_ones, Some(vec!["interleaved-thinking-2025-05-14"]));
        assert_eq!(known(unknown, &mut Lost::default()), None);
        assert_eq!(lost.into_names(), ["anthropic-beta".into()] as [Box<str>; 1]);
    }
}
