//! What a provider's answer says that no answer of another dialect can: citations, and media.

use memchr::memmem;
use serde_json::Value;

use super::missing::says_something;
use crate::{
    Dialect, Exchange,
    dialect::{ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
};

const CITATIONS: &str = "answer.citations";
const MEDIA: &str = "answer.media";

/// Where it stands, in whole answers and in events, and what it is called in the record.
type Place = (&'static str, &'static str);

const CHAT: &[Place] = &[
    ("choices[].message.annotations", CITATIONS),
    ("choices[].delta.annotations", CITATIONS),
    ("citations", CITATIONS),
    ("choices[].message.audio", MEDIA),
    ("choices[].delta.audio", MEDIA),
    ("choices[].message.images", MEDIA),
    ("choices[].delta.images", MEDIA),
];

const RESPONSES: &[Place] = &[
    ("output[].content[].annotations", CITATIONS),
    ("annotation", CITATIONS),
    ("output[].result", MEDIA),
    ("item.result", MEDIA),
];

const CLAUDE: &[Place] = &[("content[].citations", CITATIONS), ("delta.citation", CITATIONS)];

const GEMINIS: &[Place] = &[
    ("candidates[].groundingMetadata", CITATIONS),
    ("candidates[].citationMetadata", CITATIONS),
    ("candidates[].content.parts[].inlineData", MEDIA),
];

/// Looks for what is not said to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsaid(&'static [Place]);

impl Unsaid {
    /// For the answers of this provider to a client of another dialect.
    pub(super) fn by(provider: &dyn Dialect) -> Self {
        let of = |dialect: &dyn Dialect| dialect.id() == provider.id();
        Self(match () {
            () if of(&OPENAI_CHAT) => CHAT,
            () if of(&OPENAI_RESPONSES) => RESPONSES,
            () if of(&ANTHROPIC) => CLAUDE,
            () if of(&GEMINI) => GEMINIS,
            () => &[],
        })
    }

    /// Where client and provider have the same dialect.
    pub(super) const NOTHING: Self = Self(&[]);

    /// Notes what a whole answer or an event of a stream says in vain.
    pub(super) fn note(self, json: &[u8], exchange: &Exchange) {
        if !self.0.iter().any(|(path, _)| gives(json, member(path))) {
            return;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(json) else { return };
        for (path, name) in self.0 {
            if says(&answer, path) {
                exchange.learn(|learnt| {
                    if !learnt.lost.iter().any(|known| **known == **name) {
                        learnt.lost.push((*name).into());
                    }
                });
            }
        }
    }
}

/// The last name of a path.
fn member(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a member with this name may be there and not empty; a look at the bytes.
fn gives(json: &[u8], name: &str) -> bool {
    memmem::find_iter(json, name).any(|at| {
        let before = json[..at].ends_with(b"\"");
        let value = json[at + name.len()..].strip_prefix(b"\"").map(<[u8]>::trim_ascii_start);
        let value = value.and_then(|value| value.strip_prefix(b":")).map(<[u8]>::trim_ascii_start);
        before && value.is_some_and(|value| !value.starts_with(b"[]") && !value.starts_with(b"null"))
    })
}

fn says(value: &Value, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    let Some(value) = value.get(name) else { return false };
    match rest {
        None => says_something(value),
        Some(rest) if is_list => value.as_array().is_some_and(|all| all.iter().any(|one| says(one, rest))),
        Some(rest) => says(value, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(provider: &dyn Dialect, answer: &str) -> Vec<Box<str>> {
        let exchange = Exchange::default();
        Unsaid::by(provider).note(answer.as_bytes(), &exchange);
        exchange.learn(|learnt| learnt.lost.clone())
    }

    #[test]
    fn citations_and_media_are_found_in_answers_and_events() {
        let citations = [CITATIONS.into()] as [Box<str>; 1];
        let media = [MEDIA.into()] as [Box<str>; 1];

        for (provider, answer) in [
            (
                &OPENAI_CHAT as &dyn Dialect,
                r#"{"choices":[{"message":{"annotations":[{"type":"url_citation"}]}}]}"#,
            ),
            (&OPENAI_CHAT, r#"{"choices":[],"citations":["https://x"]}"#),
            (&OPENAI_RESPONSES, r#"{"output":[{"content":[{"annotations": [{"url":"u"}]}]}]}"#),
            (
                &OPENAI_RESPONSES,
                r#"{"type":"response.output_text.annotation.added","annotation":{"url":"u"}}"#,
            ),
            (&ANTHROPIC, r#"{"content":[{"text":"a","citations":[{"url":"u"}]}]}"#),
            (&ANTHROPIC, r#"{"delta":{"type":"citations_delta","citation":{"url":"u"}}}"#),
            (&GEMINI, r#"{"candidates":[{"groundingMetadata":{"webSearchQueries":["q"]}}]}"#),
        ] {
            assert_eq!(lost(provider, answer), citations, "{answer}");
        }
        for (provider, answer) in [
            (&OPENAI_CHAT as &dyn Dialect, r#"{"choices":[{"message":{"audio":{"id":"a","data":"AAAA"}}}]}"#),
            (&OPENAI_CHAT, r#"{"choices":[{"delta":{"images":[{"image_url":{"url":"data:"}}]}}]}"#),
            (&GEMINI, r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAAA"}}]}}]}"#),
        ] {
            assert_eq!(lost(provider, answer), media, "{answer}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not_reported() {
        for (provider, answer) in [
            (&OPENAI_CHAT as &dyn Dialect, r#"{"choices":[{"message":{"annotations":[],"audio":null}}]}"#),
            (&ANTHROPIC, r#"{"content":[{"type":"tool_use","input":{"citations":["a"]}}]}"#),
            (&GEMINI, r#"{"candidates":[{"groundingMetadata":{}}]}"#),
            (&OPENAI_RESPONSES, r#"{"output":[{"content":[{"text":"\"annotation\": x"}]}]}"#),
        ] {
            assert!(lost(provider, answer).is_empty(), "{answer}");
        }
    }
}
