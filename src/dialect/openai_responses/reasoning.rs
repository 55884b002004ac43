//! The model's thoughts: a summary that people read, and `encrypted_content` that OpenAI reads.
//!
//! To clients the proofs of other providers come as `encrypted_content` too, with the maker's name in front,
//! so that they can be given back to the maker. OpenAI is sent its own only, and thoughts without them not
//! at all: it keeps none for this gateway.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::wire;
use crate::dialect::{
    canonical::{Content, Text},
    proof,
    text::Str,
    text_or::TextOr,
};

const ANTHROPIC: &str = "anthropic:";
const ANTHROPIC_REDACTED: &str = "anthropic-redacted:";

/// The thoughts in an item; `None` if there are none.
pub(crate) fn read(item: wire::Item<'_>) -> Option<Content<'_>> {
    let summary = item.summary.unwrap_or_default();
    let parts = match item.content {
        Some(TextOr::Other(content)) if summary.is_empty() => content,
        _ => summary,
    };
    let text = joined(parts);
    let id = item.id.unwrap_or_default();
    match item.encrypted_content.filter(|proof| !proof.is_empty()) {
        Some(encrypted) => Some(proven(text, &id, encrypted)),
        None => (!text.is_empty()).then_some(Content::Reasoning { text, signature: None }),
    }
}

/// Thoughts with their `encrypted_content`, by whoever made it.
pub(crate) fn proven<'a>(text: Text<'a>, id: &str, encrypted: Str<'a>) -> Content<'a> {
    if let Some(signature) = encrypted.strip_prefix(ANTHROPIC) {
        return Content::Reasoning { text, signature: Some(signature.to_owned().into()) };
    }
    if let Some(data) = encrypted.strip_prefix(ANTHROPIC_REDACTED) {
        return Content::RedactedReasoning(data.to_owned().into());
    }
    let proof = match proof::is_anthropic(&encrypted) {
        true => proof::of_openai(id, &encrypted).into(),
        // Somebody else's stands in front already.
        false => Text::from(encrypted),
    };
    // Gemini proves what comes next, with or without thoughts that can be read.
    match text.is_empty() && proof::gemini(&proof).is_none() {
        true => Content::RedactedReasoning(proof),
        false => Content::Reasoning { text, signature: Some(proof) },
    }
}

fn joined(parts: Vec<wire::Part<'_>>) -> Text<'_> {
    let texts = parts.into_iter().filter_map(|part| part.text).map(Text::from);
    texts.reduce(|before, after| before + "\n\n" + after).unwrap_or_default()
}

/// `encrypted_content` for a client.
pub(crate) fn encrypted<'a>(content: &'a Content<'_>) -> Option<Cow<'a, str>> {
    match content {
        Content::Reasoning { signature, .. } => signature.as_deref().map(signature_of),
        Content::RedactedReasoning(data) => Some(redacted_of(data)),
        _ => None,
    }
}

/// `encrypted_content` for the proof of thoughts that can be read.
pub(crate) fn signature_of(signature: &str) -> Cow<'_, str> {
    written(ANTHROPIC, signature)
}

/// `encrypted_content` for thoughts that can't be read.
pub(crate) fn redacted_of(data: &str) -> Cow<'_, str> {
    written(ANTHROPIC_REDACTED, data)
}

fn written<'a>(prefix: &str, proof: &'a str) -> Cow<'a, str> {
    match proof::openai(proof) {
        Some((_, encrypted)) => Cow::Borrowed(encrypted),
        None if proof::is_anthropic(proof) => Cow::Owned([prefix, proof].concat()),
        None => Cow::Borrowed(proof),
    }
}

/// Whether a conversation has items with thoughts that OpenAI doesn't know: with proofs of others, or without
/// any and by an id that was made here.
pub(crate) fn is_of_others(json: &[u8]) -> bool {
    let prefixes = ["\"anthropic:", "\"anthropic-redacted:", "\"gemini:"];
    prefixes.iter().any(|prefix| proof::is_given(json, &["encrypted_content"], prefix))
        || memmem::find_iter(json, "\"rs_").any(|at| {
            // OpenAI's have no other underscore.
            let id = &json[at + 4..];
            let end = memchr(b'"', id).unwrap_or(0);
            memchr(b'_', &id[..end]).is_some()
        })
}

/// The item for a provider; `None` if it is not OpenAI's.
pub(crate) fn sent<'a>(content: &'a Content<'_>) -> Option<wire::Item<'a>> {
    let (text, proof) = match content {
        Content::Reasoning { text, signature: Some(signature) } => (&**text, &**signature),
        Content::RedactedReasoning(data) => ("", &**data),
        _ => return None,
    };
    let (id, encrypted) = proof::openai(proof)?;
    let is_named = !id.is_empty();
    Some(item(is_named.then(|| id.into()), text, Some(encrypted.into())))
}

/// An item with these thoughts.
pub(crate) fn item<'a>(id: Option<Str<'a>>, text: &'a str, encrypted: Option<Str<'a>>) -> wire::Item<'a> {
    let summary = (!text.is_empty()).then(|| wire::Part::text("summary_text", text));
    wire::Item {
        kind: Some("reasoning".into()),
        id,
        summary: Some(summary.into_iter().collect()),
        encrypted_content: encrypted,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(content: &Content<'_>) -> String {
        let encrypted = encrypted(content).unwrap().into_owned();
        let text = match content {
            Content::Reasoning { text, .. } => &**text,
            _ => "",
        };
        let json = serde_json::to_string(&item(Some("rs_1".into()), text, Some(encrypted.into()))).unwrap();
        format!("{:?}", read(serde_json::from_str(&json).unwrap()).unwrap())
    }

    #[test]
    fn thoughts_come_back_as_they_were_whoever_made_them() {
        // C68, C69
        let signed = |text: &'static str, signature: &'static str| Content::Reasoning {
            text: text.into(),
            signature: Some(signature.into()),
        };

        for content in [
            signed("t", "EqoB+/=="),
            signed("", "EqoB+/=="),
            signed("t", "gemini:U0lH"),
            signed("", "gemini:U0lH"),
            signed("t", "openai:rs_1:gAAA"),
            Content::RedactedReasoning("Ekq=".into()),
            Content::RedactedReasoning("openai:rs_1:gAAA".into()),
        ] {
            assert_eq!(round(&content), format!("{content:?}"));
        }
    }

    #[test]
    fn openai_is_sent_its_own_only() {
        // C68, C75
        let own = Content::Reasoning { text: "t".into(), signature: Some("openai:rs_1:gAAA".into()) };

        assert_eq!(
            serde_json::to_string(&sent(&own).unwrap()).unwrap(),
            r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"gAAA"}"#
        );
        for proof in ["EqoB+/==", "gemini:U0lH"] {
            assert!(sent(&Content::RedactedReasoning(proof.into())).is_none());
        }
        assert!(sent(&Content::Reasoning { text: "t".into(), signature: None }).is_none());
    }

    #[test]
    fn what_others_have_thought_is_recognised() {
        // C68
        let is_of_others = |json: &str| super::is_of_others(json.as_bytes());

        assert!(is_of_others(r#"{"type":"reasoning","id":"rs_0c1d","encrypted_content": "gemini:U0lH"}"#));
        assert!(is_of_others(r#"{"encrypted_content":"anthropic:EqoB"}"#));
        assert!(is_of_others(r#"{"type":"reasoning","id":"rs_chatcmpl-x_0","summary":[]}"#));
        assert!(!is_of_others(r#"{"type":"reasoning","id":"rs_0c1d","encrypted_content":"gAAA"}"#));
        assert!(!is_of_others(r#"{"role":"user","content":"gemini: or anthropic:?"}"#));
        assert!(!is_of_others("\"rs_"));
    }

    #[test]
    fn a_summary_in_parts_and_plain_thoughts_are_read() {
        let read = |json| format!("{:?}", read(serde_json::from_str(json).unwrap()));

        assert!(
            read(r#"{"summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]}"#)
                .contains("a\\n\\nb")
        );
        assert!(read(r#"{"summary":[],"content":[{"type":"reasoning_text","text":"c"}]}"#).contains("\"c\""));
        assert_eq!(read(r#"{"summary":[],"encrypted_content":null}"#), "None");
    }
}
