//! What the tests of this dialect have in common.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{encode, stream_in::Decoder, stream_out::Encoder};
pub(super) use crate::dialect::testing::*;
use crate::{
    Error, Target,
    body::sse,
    dialect::{
        Decode as _, Encode as _, Encoded,
        canonical::{Content, Event, Media, Part, Request, Turn},
    },
    target::ModelFacts,
};

pub(super) fn image<'a>(media_type: &'a str, data: &'a str) -> Part<'a> {
    Content::Image(Media::Base64 { media_type: media_type.into(), data: data.into() }).into()
}

/// A model with these facts, that writes at most 64000 tokens.
pub(super) fn model(supports: &[&str], lacks: &[&str]) -> Target {
    let mut facts = ModelFacts::new(supports.iter().copied(), lacks.iter().copied());
    facts.max_output = Some(64_000);
    Target::new("anthropic", "m").facts(facts)
}

pub(super) fn try_encode(request: &Request<'_>, supports: &[&str], lacks: &[&str]) -> Result<Encoded, Error> {
    encode::request(request, &model(supports, lacks))
}

/// The body for a model with these facts, and what was lost.
pub(super) fn encoded(request: &Request<'_>, supports: &[&str], lacks: &[&str]) -> (Value, Vec<String>) {
    let encoded = try_encode(request, supports, lacks).unwrap();
    let lost = encoded.lost.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), lost)
}

/// The messages for a model of which nothing is known.
pub(super) fn messages(turns: Vec<Turn<'_>>) -> Value {
    encoded(&asking(turns), &[], &[]).0["messages"].take()
}

/// The canonical events of a stream of these data, as they are printed, and the error at its end.
pub(super) fn decoded(data: &[&str]) -> (Vec<String>, Option<Error>) {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    let mut emit = |event: Event<'_>| events.push(format!("{event:?}"));
    let feed = |decoder: &mut Decoder, emit: &mut dyn FnMut(Event<'_>)| {
        for data in data {
            let data = Bytes::copy_from_slice(data.as_bytes());
            decoder.event(&sse::Event { raw: Bytes::new(), name: Bytes::new(), data }, emit)?;
        }
        decoder.finish(emit)
    };
    let error = feed(&mut decoder, &mut emit).err();
    (events, error)
}

/// The events that a client gets, without their `event:` lines, which are checked.
pub(super) fn streamed(events: Vec<Event<'_>>) -> Vec<Value> {
    let (mut encoder, mut out) = (Encoder::new("asked-for"), BytesMut::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    let written = std::str::from_utf8(&out).unwrap().split_terminator("\n\n");
    let read = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    written.map(read).collect()
}
