//! [`OpenAiResponsesCodec`]: responses to and from the canonical form.

use bytes::Bytes;

use super::{answer, decode, encode, stream_in::Decoder, stream_out::Encoder};
use crate::{
    Error, Payload, Target,
    body::sse,
    dialect::{ChatCodec, Decode, Encode, Encoded, canonical, openai_annotations},
};

/// Translates responses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenAiResponsesCodec;

impl ChatCodec for OpenAiResponsesCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error> {
        decode::request(body)
    }

    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error> {
        encode::request(request, to)
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error> {
        answer::decode(body)
    }

    fn encode_answer(&self, answer: &canonical::Answer<'_>, asked: &Payload) -> Bytes {
        answer::encode(answer, asked.source())
    }

    fn cites(&self, citation: &canonical::Citation<'_>) -> bool {
        openai_annotations::is_said(citation)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn encoder(&self, asked: &Payload) -> Box<dyn Encode> {
        Box::new(Encoder::new(&asked.head().model, asked.source()))
    }

    fn encoder_after(
        &self,
        asked: &Payload,
        said: &[canonical::Event<'_>],
        last: &sse::Event,
    ) -> Option<Box<dyn Encode>> {
        Some(Box::new(Encoder::new(&asked.head().model, asked.source()).after(said, last)?))
    }
}
