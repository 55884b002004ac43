//! [`Count`]: the dialects in which clients ask how many tokens a request has.
//!
//! Each is a chat without the settings of its answer, so most is the chat's: how a request is written
//! and what its errors look like. Counting is free; key, access and request limits hold as usual.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{
    Closing, Codec, CountCodec, Dialect, LimitHeaders, Sent, canonical::Request, json, schema::Members,
    text::Str,
};
use crate::{
    Error, Kind, Payload, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head,
    target::ModelFacts,
};

/// A dialect of counting, beside the one of the chats it counts.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    pub(super) id: &'static str,
    /// The dialect of what is counted.
    pub(super) chat: &'static dyn Dialect,
    pub(super) speaks: fn(&str) -> bool,
    pub(super) path: fn(&Payload) -> Cow<'static, str>,
    pub(super) peek: fn(&Parts, &str) -> Result<Head, Error>,
    pub(super) repeat_model: fn(Payload) -> Payload,
    pub(super) codec: &'static dyn CountCodec,
}

impl Dialect for Count {
    fn id(&self) -> &'static str {
        self.id
    }

    fn speaks(&self, path: &str) -> bool {
        (self.speaks)(path)
    }

    fn takes(&self, payload: &Payload, model: &ModelFacts) -> bool {
        self.chat.takes(payload, model)
    }

    fn is_free(&self) -> bool {
        true
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        (self.path)(payload)
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        let head = (self.peek)(parts, body)?;
        Ok(Head { stream: false, max_output: Some(0), choices: 1, usage_at: None, ..head })
    }

    fn repeat_model(&self, payload: Payload) -> Payload {
        (self.repeat_model)(payload)
    }

    fn read_usage(&self, _: &[u8], _: &mut Tokens) -> bool {
        false
    }

    fn is_content(&self, _: &sse::Event) -> bool {
        true
    }

    fn closing(&self, _: &sse::Event) -> Option<Closing> {
        None
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        let error = self.codec.decode_answer(body).err()?;
        Some(self.chat.error_in_answer(body).unwrap_or(error))
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
        Some(Codec::Count(self.codec))
    }
}

/// A chat without the settings of its answer.
pub(super) fn question(request: Request<'_>) -> Request<'_> {
    let Request { system, turns, tools, tool_choice, parallel_tools, reasoning, format, extras, .. } =
        request;
    Request {
        system,
        turns,
        tools,
        tool_choice,
        parallel_tools,
        reasoning,
        format,
        extras,
        ..Request::default()
    }
}

/// Those members of a chat's request that have these names.
pub(super) struct Only<'a>(Vec<(Str<'a>, &'a RawValue)>);

impl<'a> Only<'a> {
    pub(super) fn of(chat: &'a [u8], names: &[&str]) -> Result<Self, Error> {
        let Members(mut members) = json::parse(chat)
            .map_err(|error| Error::new(Kind::Internal, "the request can't be written").with_source(error))?;
        members.retain(|(name, _)| names.contains(&&**name));
        Ok(Self(members))
    }

    /// The same with another member in front.
    pub(super) fn with_first(mut self, name: &'static str, value: &'a RawValue) -> Self {
        self.0.insert(0, (name.into(), value));
        self
    }
}

impl Serialize for Only<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The error for an answer in which the number is missing.
pub(super) fn unreadable(error: impl Into<crate::BoxError>) -> Error {
    Error::new(Kind::Upstream, "the provider's answer has no number of tokens").with_source(error)
}
