//! [`Codec`]: what translates a dialect, one variant for each task that can be translated.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use bytes::{Bytes, BytesMut};

use super::{
    canonical::{self, Citation},
    embeddings,
};
use crate::{Error, Payload, Target, body::sse};

/// Translates one dialect: to and from all others of the same task, and no others.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// A model answers.
    Chat(&'static dyn ChatCodec),
    /// A provider counts the tokens of what a model could be asked.
    Count(&'static dyn CountCodec),
    /// A model makes vectors of texts.
    Embeddings(&'static dyn EmbeddingsCodec),
}

impl Codec {
    /// The codec of a dialect for chats.
    pub fn chat(self) -> Option<&'static dyn ChatCodec> {
        match self {
            Self::Chat(codec) => Some(codec),
            _ => None,
        }
    }

    /// Whether the two are of the same task.
    pub fn fits(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Chat(_), Self::Chat(_))
                | (Self::Count(_), Self::Count(_))
                | (Self::Embeddings(_), Self::Embeddings(_))
        )
    }
}

/// Translates chats of one dialect to and from the [`canonical`] form.
///
/// Answers are written with a view to what was asked: to the [head](Payload::head), and to the
/// [bytes](Payload::source) where that is needed, which are shared and not copied. Those are the client's, in
/// this dialect.
pub trait ChatCodec: fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads a provider's whole answer.
    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error>;

    /// Writes a whole answer for the client that has `asked`.
    fn encode_answer(&self, answer: &canonical::Answer<'_>, asked: &Payload) -> Bytes;

    /// Whether a whole answer can tell a client of this citation; otherwise it is reported as lost.
    fn cites(&self, _: &Citation<'_>) -> bool {
        false
    }

    /// Reads a provider's stream.
    fn decoder(&self) -> Box<dyn Decode>;

    /// Writes a stream for the client that has `asked`.
    fn encoder(&self, asked: &Payload) -> Box<dyn Encode>;

    /// Writes the rest of a stream for a client that has got what these events `said`, whoever has written it, and
    /// nothing after this `last` one of them, in which there was text. `None` if it can't be gone on with cleanly.
    fn encoder_after(
        &self,
        asked: &Payload,
        said: &[canonical::Event<'_>],
        _last: &sse::Event,
    ) -> Option<Box<dyn Encode>> {
        let mut encoder = self.encoder(asked);
        let mut written = BytesMut::new();
        said.iter().for_each(|event| encoder.event(event.clone(), &mut written));
        Some(encoder)
    }
}

/// A request for a provider, and what became of it on the way.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The request in the provider's dialect.
    pub body: Vec<u8>,
    /// The fields of the request that could not be expressed, by the client's names for them.
    pub lost: Vec<Box<str>>,
    /// What the answer needs to have undone.
    pub undo: Undo,
}

/// Changes to a request that show in the answer, and have to be taken back there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// Tools that had to be renamed: by the name the provider knows, the name in the request.
    pub renamed: HashMap<Box<str>, Box<str>>,
    /// The tool whose input is the answer's text, because structured output was forced through it.
    pub answer_tool: Option<Box<str>>,
    /// Tools that take free text, wrapped into an object with the one member `input`.
    pub free_text: HashSet<Box<str>>,
}

impl Undo {
    /// Whether there is nothing to take back.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The client's name for the tool that the provider calls `name`.
    pub fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.renamed.get(name).map_or(name, |original| original)
    }
}

/// Reads a provider's stream, event by event.
pub trait Decode: Send {
    /// Reads one event, handing what it means to `emit`.
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error>;

    /// The stream is over; an error if it ended without its proper end.
    fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error>;
}

/// Where a decoder puts what it has read.
pub type Emit<'e> = &'e mut dyn FnMut(canonical::Event<'_>);

/// Writes a client's stream, event by event.
pub trait Encode: Send {
    /// Writes what `event` means, if anything, to `out`.
    fn event(&mut self, event: canonical::Event<'_>, out: &mut BytesMut);

    /// Whether a client can be told now of this citation in the answer of this number; otherwise it is reported as
    /// lost, and not written.
    fn cites(&self, _choice: u32, _: &Citation<'_>) -> bool {
        false
    }
}

/// Translates questions for a number of tokens. What is to be counted is a chat without the settings
/// of its answer.
pub trait CountCodec: fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads the tokens in a provider's answer.
    fn decode_answer(&self, body: &[u8]) -> Result<u64, Error>;

    /// Writes an answer for a client.
    fn encode_answer(&self, tokens: u64) -> Bytes;
}

/// Translates requests for vectors through the form of [`embeddings`].
pub trait EmbeddingsCodec: fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<embeddings::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &embeddings::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads a provider's answer.
    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<embeddings::Answer<'a>, Error>;

    /// Writes an answer for a client, with numbers in the form that was asked for.
    fn encode_answer(&self, answer: &embeddings::Answer<'_>, form: embeddings::Form) -> Bytes;
}
