//! The class of service that OpenAI's answers name beside their counts.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{json, text::Str};
use crate::price::Tier;

static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"service_tier\""));

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    #[serde(borrow)]
    response: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
}

/// Puts the class that a whole answer or an event names in the place of what was known.
pub(super) fn merge(json: &[u8], known: &mut Tier) {
    // Answers repeat what clients have named, so only the outermost member counts. It is rarely worth looking for.
    let mut names = NAME.find_iter(json);
    let changes = |at| !known.is_standard() || !is_standard(&json[at + NAME.needle().len()..]);
    if !names.any(changes) {
        return;
    }
    let answer = json::parse::<Answer<'_>>(json).ok();
    let tier = answer.and_then(|answer| answer.service_tier.or_else(|| answer.response?.service_tier));
    // Events at the beginning repeat the question.
    if let Some(tier) = tier.filter(|tier| **tier != *"auto") {
        *known = Tier::named(&tier);
    }
}

/// Whether what comes behind the name is nothing that is charged in another way.
fn is_standard(rest: &[u8]) -> bool {
    let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
    value.is_some_and(|value| [&b"\"default\""[..], b"null"].iter().any(|usual| value.starts_with(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_what_the_answer_says_and_not_what_a_client_has_put_into_it() {
        let merged = |json: &str, mut tier| {
            merge(json.as_bytes(), &mut tier);
            tier
        };
        let tier = |json: &str| merged(json, Tier::Standard);

        assert_eq!(tier(r#"{"service_tier":"priority","usage":{}}"#), Tier::Priority);
        assert_eq!(tier(r#"{"response":{"service_tier": "flex"}}"#), Tier::Flex);
        assert_eq!(tier(r#"{"service_tier":"default"}"#), Tier::Standard);
        assert_eq!(tier(r#"{"usage":{}}"#), Tier::Standard);
        let echoed = r#"{"metadata":{"service_tier":"flex"},"service_tier":"priority"}"#;
        assert_eq!(tier(echoed), Tier::Priority);
        assert_eq!(tier(r#"{"metadata":{"service_tier":"flex"},"service_tier":"default"}"#), Tier::Standard);
        assert_eq!(tier(r#"{"service_tier":7}"#), Tier::Standard);
        for silent in
            [r#"{"usage":{}}"#, r#"{"service_tier":null}"#, r#"{"response":{"service_tier":"auto"}}"#]
        {
            assert_eq!(merged(silent, Tier::Priority), Tier::Priority, "{silent}");
        }
        assert_eq!(merged(r#"{"metadata":{"service_tier":"default"}}"#, Tier::Priority), Tier::Priority);
        assert_eq!(merged(r#"{"service_tier":"default"}"#, Tier::Priority), Tier::Standard);
    }
}
