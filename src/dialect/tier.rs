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

/// The class of a whole answer or of an event; the standard one if none is named.
pub(super) fn of(json: &[u8]) -> Tier {
    // Answers repeat what clients have named, so only the outermost member counts. It is rarely worth looking for.
    if NAME.find_iter(json).all(|at| is_standard(&json[at + NAME.needle().len()..])) {
        return Tier::Standard;
    }
    let answer = json::parse::<Answer<'_>>(json).ok();
    let tier = answer.and_then(|answer| answer.service_tier.or_else(|| answer.response?.service_tier));
    tier.map_or(Tier::Standard, |tier| Tier::named(&tier))
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
        let tier = |json: &str| of(json.as_bytes());

        assert_eq!(tier(r#"{"service_tier":"priority","usage":{}}"#), Tier::Priority);
        assert_eq!(tier(r#"{"response":{"service_tier": "flex"}}"#), Tier::Flex);
        assert_eq!(tier(r#"{"service_tier":"default"}"#), Tier::Standard);
        assert_eq!(tier(r#"{"usage":{}}"#), Tier::Standard);
        let echoed = r#"{"metadata":{"service_tier":"flex"},"service_tier":"priority"}"#;
        assert_eq!(tier(echoed), Tier::Priority);
        assert_eq!(tier(r#"{"metadata":{"service_tier":"flex"},"service_tier":"default"}"#), Tier::Standard);
        assert_eq!(tier(r#"{"service_tier":7}"#), Tier::Standard);
    }
}
