//! [`BedrockCodec`]: translation of Converse to and from the canonical form.

use bytes::{Bytes, BytesMut};

use super::{answer, encode, stream_in::Decoder};
use crate::{
    Error, Kind, Payload, Target,
    dialect::{
        ChatCodec, Decode, Encode, Encoded,
        canonical::{self, Event},
    },
};

/// Translates Converse, as a provider speaks it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BedrockCodec;

/// Clients speak other dialects.
pub(super) fn no_clients() -> Error {
    Error::new(Kind::Internal, "converse is spoken to providers only")
}

impl ChatCodec for BedrockCodec {
    fn decode_request<'a>(&self, _: &'a [u8]) -> Result<canonical::Request<'a>, Error> {
        Err(no_clients())
    }

    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error> {
        encode::request(request, to)
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error> {
        answer::decode(body)
    }

    fn encode_answer(&self, _: &canonical::Answer<'_>, _: &Payload) -> Bytes {
        Bytes::new()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn encoder(&self, _: &Payload) -> Box<dyn Encode> {
        Box::new(ToNobody)
    }
}

/// Writes nothing.
struct ToNobody;

impl Encode for ToNobody {
    fn event(&mut self, _: Event<'_>, _: &mut BytesMut) {}
}
