//! What a provider's answer says that the client's can't: media, how the web was searched, and what is cited where
//! there is no place for it.

use memchr::memmem;
use serde_json::Value;

use super::missing::says_something;
use crate::{
    Dialect, Exchange,
    dialect::{ChatCodec, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, canonical::Answer, citation},
};

/// By its name in the record.
const MEDIA: &str = "answer.media";

/// Where it stands, in whole answers and in events, and what it is called in the record.
type Place = (&'static str, &'static str);

const CHAT: &[Place] = &[
    ("choices[].message.audio", MEDIA),
    ("choices[].delta.audio", MEDIA),
    ("choices[].message.images", MEDIA),
    ("choices[].delta.images", MEDIA),
];

const RESPONSES: &[Place] = &[("output[].result", MEDIA), ("item.result", MEDIA)];

const GEMINIS: &[Place] = &[
    ("candidates[].content.parts[].inlineData", MEDIA),
    ("candidates[].groundingMetadata.webSearchQueries", "answer.webSearchQueries"),
    ("candidates[].groundingMetadata.searchEntryPoint", "answer.searchEntryPoint"),
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
                exchange.lose(name);
            }
        }
    }
}

/// Notes whether a whole answer cites what the client can't be told.
pub(super) fn note_citations(answer: &Answer<'_>, client: &dyn ChatCodec, exchange: &Exchange) {
    let is_lost = |choice| citation::any_lost(choice, |citation| client.cites(citation));
    if answer.choices.iter().any(|choice| is_lost(&choice.parts)) {
        exchange.lose(citation::LOST_IN_ANSWER);
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
    use crate::dialect::ANTHROPIC;

    fn lost(provider: &dyn Dialect, answer: &str) -> Vec<Box<str>> {
        let exchange = Exchange::default();
        Unsaid::by(provider).note(answer.as_bytes(), &exchange);
        exchange.learn(|learnt| learnt.lost.clone())
    }

    #[test]
    fn media_are_found_in_answers_and_events() {
        for (provider, answer) in [
            (&OPENAI_CHAT as &dyn Dialect, r#"{"choices":[{"message":{"audio":{"id":"a","data":"AAAA"}}}]}"#),
            (&OPENAI_CHAT, r#"{"choices":[{"delta":{"images":[{"image_url":{"url":"data:"}}]}}]}"#),
            (&OPENAI_RESPONSES, r#"{"output":[{"type":"image_generation_call","result": "AAAA"}]}"#),
            (&GEMINI, r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AAAA"}}]}}]}"#),
        ] {
            assert_eq!(lost(provider, answer), [MEDIA.into()] as [Box<str>; 1], "{answer}");
        }
    }

    #[test]
    fn how_gemini_has_searched_is_reported() {
        let answer = |grounding: &str| {
            format!(r#"{{"candidates":[{{"content":{{"parts":[]}},"groundingMetadata":{grounding}}}]}}"#)
        };

        let queries = lost(&GEMINI, &answer(r#"{"webSearchQueries":["q"],"groundingChunks":[]}"#));
        let widget = lost(&GEMINI, &answer(r#"{"searchEntryPoint":{"renderedContent":"<div>"}}"#));
        let neither = lost(&GEMINI, &answer(r#"{"webSearchQueries":[],"groundingChunks":[{}]}"#));

        assert_eq!(queries, ["answer.webSearchQueries".into()] as [Box<str>; 1]);
        assert_eq!(widget, ["answer.searchEntryPoint".into()] as [Box<str>; 1]);
        assert!(neither.is_empty());
    }

    #[test]
    fn what_only_looks_like_it_is_not_reported() {
        for (provider, answer) in [
            (&OPENAI_CHAT as &dyn Dialect, r#"{"choices":[{"message":{"audio":null,"images":[]}}]}"#),
            (&ANTHROPIC, r#"{"content":[{"type":"tool_use","input":{"result":"a"}}]}"#),
            (&GEMINI, r#"{"candidates":[{"content":{"parts":[{"inlineData":{}}]}}]}"#),
            (&OPENAI_RESPONSES, r#"{"output":[{"content":[{"text":"\"result\": x"}]}]}"#),
        ] {
            assert!(lost(provider, answer).is_empty(), "{answer}");
        }
    }
}
