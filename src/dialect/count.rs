//! What the dialects of counting have in common: what is counted is a chat without the settings of its
//! answer.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{canonical::Request, json, schema::Members, text::Str};
use crate::{Error, Kind};

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
