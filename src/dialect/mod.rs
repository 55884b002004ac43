//! The wire formats: [`Dialect`], and the [`Codec`] that translates between them.
//!
//! A dialect is looked at on every request (where is the model, is this a stream, what does an error
//! look like); its codec is needed only when client and provider speak different ones. Requests and
//! answers are translated through the [`canonical`] form, so that `n` dialects need `n` codecs and
//! not `n²` converters. What a dialect cannot express is not dropped in silence: an encoder returns
//! the names of the fields that were lost.

pub mod canonical;

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, request::Parts};

use crate::{
    Error, Kind, Payload, Target, Tokens, body::sse, error::Reply, exchange::RequestId, payload::Head,
};

/// One wire format: what has to be known of it to pass it on.
///
/// Dialects are unit structs in statics, compared by their [`id`](Self::id).
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// Names the dialect in logs and records, such as `openai-chat`.
    fn id(&self) -> &'static str;

    /// Whether a request to this path is meant for this dialect; the method does not matter.
    fn speaks(&self, path: &str) -> bool;

    /// Where a provider serves `payload`, relative to its base URL and with a leading slash.
    fn path(&self, payload: &Payload) -> Cow<'static, str>;

    /// Reads what the gateway needs from a request, shallowly and strictly: text that is not JSON, a
    /// member that stands twice, a wrong type in a field that is read are errors naming the field.
    /// `body` is known to be UTF-8 and not too deeply nested.
    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error>;

    /// Makes sure that the provider will say what a stream used, if that has to be asked for. Returns
    /// the request unchanged where the client asks already or the provider always says.
    fn ask_for_usage(&self, payload: Payload) -> Payload {
        payload
    }

    /// Whether [`ask_for_usage`](Self::ask_for_usage) would make the provider say what this client
    /// has not asked for, and which therefore has to be taken out again by
    /// [`without_usage`](Self::without_usage).
    fn usage_is_extra(&self, _head: &Head) -> bool {
        false
    }

    /// An event without the token counts that the client has not asked for; `None` drops the event.
    fn without_usage(&self, event: &sse::Event) -> Option<Bytes> {
        Some(event.raw.clone())
    }

    /// Merges the counts of one whole answer or of one event's data into `tokens`; says whether there
    /// were any.
    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool;

    /// What one event of a provider's stream means for the course of the answer.
    fn signal(&self, event: &sse::Event) -> Signal;

    /// The error in a whole answer that came with a status of success; `None` if it is a good one.
    fn error_in_answer(&self, body: &Bytes) -> Option<Error>;

    /// Puts what a provider said instead of success into its class.
    fn read_error(&self, reply: Reply) -> Error;

    /// The status and the body in which a client of this dialect expects `error`.
    fn render_error(&self, error: &Error, id: &RequestId) -> (StatusCode, Bytes);

    /// The event by which a client of this dialect learns that its stream broke off.
    fn error_event(&self, error: &Error, id: &RequestId) -> Bytes;

    /// Translates this dialect; `None` if it can only be passed through.
    fn codec(&self) -> Option<&dyn Codec> {
        None
    }
}

/// What an event means for the course of a stream.
#[derive(Debug)]
pub enum Signal {
    /// A comment, a ping, a role: nothing is promised yet.
    Preamble,
    /// Content: from here on the answer is committed.
    Content,
    /// The proper end, or the point from which the connection may close properly.
    End,
    /// The provider gave up inside a stream that began well.
    Error(Error),
}

/// Translates one dialect to and from the [`canonical`] form.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Reads a client's request.
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<canonical::Request<'a>, Error>;

    /// Writes a request for a provider's model.
    fn encode_request(&self, request: &canonical::Request<'_>, to: &Target) -> Result<Encoded, Error>;

    /// Reads a provider's whole answer.
    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<canonical::Answer<'a>, Error>;

    /// Writes a whole answer for a client.
    fn encode_answer(&self, answer: &canonical::Answer<'_>) -> Bytes;

    /// Reads a provider's stream.
    fn decoder(&self) -> Box<dyn Decode>;

    /// Writes a stream for a client.
    fn encoder(&self, head: &Head) -> Box<dyn Encode>;
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
    /// Tools that had to be renamed: the name in the request, the name the provider knows.
    pub renamed: Vec<(Box<str>, Box<str>)>,
    /// The tool whose input is the answer's text, because structured output was forced through it.
    pub answer_tool: Option<Box<str>>,
    /// Tools that take free text, wrapped into an object with the one member `input`.
    pub free_text: Vec<Box<str>>,
}

impl Undo {
    /// Whether there is nothing to take back.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The client's name for the tool that the provider calls `name`.
    pub fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.renamed.iter().find(|(_, sent)| **sent == *name).map_or(name, |(original, _)| original)
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
}

/// The dialects that a gateway's clients may speak.
#[derive(Clone, Debug)]
pub struct Dialects(Arc<[&'static dyn Dialect]>);

impl Dialects {
    /// These dialects; the first one is used for errors where none can be told.
    pub fn new(dialects: impl IntoIterator<Item = &'static dyn Dialect>) -> Self {
        Self(dialects.into_iter().collect())
    }

    /// The dialect that a request speaks, by its path.
    pub fn detect(&self, parts: &Parts) -> Result<&'static dyn Dialect, Error> {
        let path = parts.uri.path();
        let dialect = self
            .0
            .iter()
            .copied()
            .find(|dialect| dialect.speaks(path))
            .ok_or_else(|| Error::new(Kind::NotFound, "there is no such endpoint"))?;
        if parts.method != Method::POST {
            return Err(Error::new(Kind::MethodNotAllowed, "this endpoint takes POST"));
        }
        Ok(dialect)
    }
}

/// Where `raw`, borrowed from `whole`, stands in it.
pub(crate) fn span(whole: &str, raw: &str) -> std::ops::Range<usize> {
    let start = raw.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + raw.len()
}
