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
        canonical::{Content, Event, Part, Request, Turn},
    },
};

/// A thought with its proof.
pub(super) fn signed<'a>(said: &'a str, proof: &'a str) -> Part<'a> {
    Content::Reasoning { text: said.into(), signature: Some(proof.into()) }.into()
}

pub(super) fn model(name: &str) -> Target {
    Target::new("gemini", name)
}

pub(super) fn try_encode(request: &Request<'_>) -> Result<Encoded, Error> {
    encode::request(request, &model("gemini-2.5-pro"))
}

/// The body for a model of the second generation, and what was lost.
pub(super) fn encoded(request: &Request<'_>) -> (Value, Vec<String>) {
    encoded_for("gemini-2.5-pro", request)
}

pub(super) fn encoded_for(name: &str, request: &Request<'_>) -> (Value, Vec<String>) {
    let encoded = encode::request(request, &model(name)).unwrap();
    let lost = encoded.lost.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), lost)
}

pub(super) fn contents(turns: Vec<Turn<'_>>) -> Value {
    encoded(&asking(turns)).0["contents"].take()
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

/// The chunks that a client gets.
pub(super) fn streamed(events: Vec<Event<'_>>) -> Vec<Value> {
    let (mut encoder, mut out) = (Encoder::new("asked-for"), BytesMut::new());
    for event in events {
        encoder.event(event, &mut out);
    }
    let written = std::str::from_utf8(&out).unwrap().split_terminator("\n\n");
    written.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}
