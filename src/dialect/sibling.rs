//! [`Sibling`]: what a vendor offers beside its chats.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};

use super::{Closing, Codec, Dialect, LimitHeaders, Sent, json};
use crate::{
    Error, Payload, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head, target::ModelFacts,
};

/// The dialect of another task than chatting, whose errors are those of a chat's dialect and whose answers
/// are never streams: counts of tokens, which are free, and embeddings.
#[derive(Clone, Copy, Debug)]
pub struct Sibling {
    pub(super) id: &'static str,
    pub(super) chat: &'static dyn Dialect,
    pub(super) speaks: fn(&str) -> bool,
    pub(super) path: fn(&Payload) -> Cow<'static, str>,
    pub(super) peek: fn(&Parts, &str) -> Result<Head, Error>,
    pub(super) repeat_model: fn(Payload) -> Payload,
    pub(super) read_usage: fn(&[u8], &mut Tokens) -> bool,
    pub(super) codec: Codec,
}

impl Dialect for Sibling {
    fn id(&self) -> &'static str {
        self.id
    }

    fn speaks(&self, path: &str) -> bool {
        (self.speaks)(path)
    }

    fn takes(&self, payload: &Payload, model: &ModelFacts) -> bool {
        !matches!(self.codec, Codec::Count(_)) || self.chat.takes(payload, model)
    }

    fn is_free(&self) -> bool {
        matches!(self.codec, Codec::Count(_))
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        (self.path)(payload)
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let head = (self.peek)(parts, body)?;
        // Neither numbers nor vectors are tokens: nothing is charged for the output.
        Ok(Head { stream: false, max_output: Some(0), choices: 1, usage_at: None, ..head })
    }

    fn repeat_model(&self, payload: Payload) -> Payload {
        (self.repeat_model)(payload)
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        (self.read_usage)(json, tokens)
    }

    fn is_content(&self, _: &sse::Event) -> bool {
        true
    }

    fn closing(&self, _: &sse::Event) -> Option<Closing> {
        None
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        if let Err(error) = json::object_in(body) {
            return Some(error);
        }
        // Numbers have no such member; to read all of them again would be dear.
        memchr::memmem::find(body, b"\"error\"")?;
        self.chat.error_in_answer(body)
    }

    fn read_error(&self, reply: Reply) -> Error {
        self.chat.read_error(reply)
    }

    fn render_error(&self, error: &Error, id: &RequestId) -> (StatusCode, Bytes) {
        self.chat.render_error(error, id)
    }

    fn error_event(&self, error: &Error, id: &RequestId, sent: &Sent) -> Bytes {
        self.chat.error_event(error, id, sent)
    }

    fn limit_headers(&self) -> LimitHeaders {
        self.chat.limit_headers()
    }

    fn codec(&self) -> Option<Codec> {
        Some(self.codec)
    }
}

/// For dialects that only providers speak.
pub(super) fn never_asked(parts: &Parts, _: &str) -> Result<Head, Error> {
    Err(Error::new(crate::Kind::NotFound, "there is no such endpoint").with_param(parts.uri.path()))
}
