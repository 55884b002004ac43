//! OpenAI embeddings.
//!
//! Source: OpenAI's API description, `CreateEmbeddingRequest`.

mod codec;

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Closing, Codec, Dialect, OPENAI_CHAT, Sent, asked_model, exact, json::span, openai_chat, openai_error,
};
use crate::{Error, Payload, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head};

/// `POST /v1/embeddings`.
pub static OPENAI_EMBEDDINGS: OpenAiEmbeddings = OpenAiEmbeddings;

/// The dialect of OpenAI's embeddings.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiEmbeddings;

#[derive(Deserialize)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    images: Option<IgnoredAny>,
    inputs: Option<IgnoredAny>,
    messages: Option<IgnoredAny>,
}

impl Shallow<'_> {
    /// Whether there is anything but texts and tokens, which OpenAI itself doesn't take.
    fn has_media(&self) -> bool {
        let begins_with_object = |raw: &RawValue| {
            raw.get()
                .trim_start_matches(|char: char| char == '[' || char.is_ascii_whitespace())
                .starts_with('{')
        };
        [self.images, self.inputs, self.messages].iter().any(Option::is_some)
            || self.input.is_some_and(begins_with_object)
    }
}

impl Dialect for OpenAiEmbeddings {
    fn id(&self) -> &'static str {
        "openai-embeddings"
    }

    fn speaks(&self, path: &str) -> bool {
        matches!(path, "/v1/embeddings" | "/embeddings")
    }

    fn path(&self, _: &Payload) -> Cow<'static, str> {
        "/embeddings".into()
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let shallow: Shallow<'_> = exact::read(body)?;
        Ok(Head {
            reads_media: shallow.has_media(),
            // Vectors are not tokens: nothing is charged for the output.
            max_output: Some(0),
            user_at: shallow.user.map(|raw| span(body, raw.get())),
            ..asked_model::head(parts, body, shallow.model, None)?
        })
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        OPENAI_CHAT.read_usage(json, tokens)
    }

    fn is_content(&self, _: &sse::Event) -> bool {
        true
    }

    fn closing(&self, _: &sse::Event) -> Option<Closing> {
        None
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        openai_chat::error_in_answer(body)
    }

    fn read_error(&self, reply: Reply) -> Error {
        openai_error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        openai_error::render(error)
    }

    fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
        openai_error::event(error)
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Embeddings(&codec::OpenAiEmbeddingsCodec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_servers_embed_beside_texts_is_seen() {
        let reads_media = |rest: &str| {
            let (parts, ()) = http::Request::new(()).into_parts();
            let body = format!(r#"{{"model":"m",{rest}}}"#);
            OPENAI_EMBEDDINGS.peek(&parts, &body).unwrap().reads_media
        };

        for text in [r#""input":"{a}""#, r#""input":["a","{"]"#, r#""input":[[1,2]]"#, r#""input":[]"#] {
            assert!(!reads_media(text), "{text}");
        }
        for other in [r#""input":[ {"image":"data:"}]"#, r#""images":["data:"]"#, r#""messages":[]"#] {
            assert!(reads_media(other), "{other}");
        }
    }
}
