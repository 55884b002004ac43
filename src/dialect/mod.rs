//! The wire formats: [`Dialect`], and the [`Codec`] that translates between them.
//!
//! A dialect is looked at on every request (where is the model, is this a stream, what does an error
//! look like); its codec is needed only when client and provider speak different ones. Requests and
//! answers are translated through the [`canonical`] form, so that `n` dialects need `n` codecs and
//! not `n²` converters. What a dialect cannot express is not dropped in silence: an encoder returns
//! the names of the fields that were lost.

pub mod canonical;

mod anthropic;
pub(crate) mod arguments;
pub(crate) mod buffer;
mod extent;
mod extras;
mod gemini;
mod ids;
pub(crate) mod json;
pub(crate) mod lost;
mod media;
mod names;
mod object;
mod openai_chat;
mod openai_embeddings;
mod openai_endpoints;
mod openai_error;
mod openai_responses;
mod proof;
mod retry_after;
mod schema;
mod status;
pub(crate) mod text;
mod text_or;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, request::Parts};

pub use self::{
    anthropic::{ANTHROPIC, Anthropic},
    gemini::{GEMINI, Gemini},
    openai_chat::{OPENAI_CHAT, OpenAiChat},
    openai_embeddings::{OPENAI_EMBEDDINGS, OpenAiEmbeddings},
    openai_endpoints::{
        OPENAI_IMAGE_EDITS, OPENAI_IMAGES, OPENAI_MODERATIONS, OPENAI_RERANK, OPENAI_SPEECH,
        OPENAI_TRANSCRIPTIONS, OPENAI_TRANSLATIONS, OPENAI_VIDEOS, OpenAiEndpoint,
    },
    openai_responses::{OPENAI_RESPONSES, OpenAiResponses},
};
use crate::{
    Error, Kind, Payload, Target, Tokens, Work, body::sse, error::Reply, exchange::RequestId, payload::Head,
    target::ModelFacts,
};

/// One wire format: what has to be known of it to pass it on.
///
/// Dialects are unit structs in statics, compared by their [`id`](Self::id).
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// Names the dialect in logs and records, such as `openai-chat`.
    fn id(&self) -> &'static str;

    /// Whether a request to this path is meant for this dialect; the method does not matter.
    fn speaks(&self, path: &str) -> bool;

    /// Whether a model that a provider of this dialect has can be asked for what `payload` wants in it.
    /// Nothing is held against a model of which nothing is known.
    fn takes(&self, _payload: &Payload, _model: &ModelFacts) -> bool {
        true
    }

    /// Whether a request with this method can be meant for the dialect, once its path is.
    fn allows(&self, parts: &Parts) -> bool {
        parts.method == Method::POST
    }

    /// What the ids of things begin with that a provider of this dialect keeps for a client, if it does.
    fn prefix_of_ids(&self) -> Option<&'static str> {
        None
    }

    /// Where a provider serves `payload`, relative to its base URL and with a leading slash.
    fn path(&self, payload: &Payload) -> Cow<'static, str>;

    /// Reads what the gateway needs from a request, shallowly and strictly: text that is not JSON, a
    /// member that stands twice, a wrong type in a field that is read are errors naming the field.
    /// `body` is known to be UTF-8 and not too deeply nested.
    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error>;

    /// Whether a request may be JSON.
    fn takes_json(&self) -> bool {
        true
    }

    /// Whether a request may be a form (`multipart/form-data`).
    fn takes_forms(&self) -> bool {
        false
    }

    /// Reads from a form what [`peek`](Self::peek) reads from JSON. Called only where
    /// [`takes_forms`](Self::takes_forms) is true.
    fn peek_form(&self, _content_type: &HeaderValue, _body: &[u8]) -> Result<Head, Error> {
        Err(Error::new(Kind::UnsupportedMediaType, "content-type: expected application/json"))
    }

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

    /// The same for all that was used, in dialects where that is more than tokens.
    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        self.read_usage(json, &mut work.tokens)
    }

    /// About how many bytes of what the model wrote an event carries: what an estimate is made of when
    /// the stream breaks off before its counts.
    fn output_bytes(&self, _event: &sse::Event) -> usize {
        0
    }

    /// Whether an event carries content: from then on the answer is committed to the client. Comments,
    /// pings and events that only open the message do not.
    fn is_content(&self, event: &sse::Event) -> bool;

    /// Whether an event ends the stream, well or badly. Asked of every event, so it has to be cheap.
    fn closing(&self, event: &sse::Event) -> Option<Closing>;

    /// The error in a whole answer that came with a status of success; `None` if it is a good one.
    fn error_in_answer(&self, body: &Bytes) -> Option<Error>;

    /// Puts what a provider said instead of success into its class.
    fn read_error(&self, reply: Reply) -> Error;

    /// The status and the body in which a client of this dialect expects `error`.
    fn render_error(&self, error: &Error, id: &RequestId) -> (StatusCode, Bytes);

    /// The event by which a client of this dialect learns that its stream broke off after what was `sent`,
    /// which is kept only where [`numbers_events`](Self::numbers_events) is true.
    fn error_event(&self, error: &Error, id: &RequestId, sent: &Sent) -> Bytes;

    /// Whether an error has to continue the count of the events before it.
    fn numbers_events(&self) -> bool {
        false
    }

    /// Whether this client expects its stream as one JSON array, written piece by piece, in place of
    /// events.
    fn stream_is_array(&self, _parts: &Parts) -> bool {
        false
    }

    /// Translates this dialect; `None` if it can only be passed through.
    fn codec(&self) -> Option<&dyn Codec> {
        None
    }
}

/// What a client has got of a stream that broke off.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The first piece; empty if there was none.
    pub first: Bytes,
    /// The last piece, which may be the first one.
    pub last: Bytes,
}

/// How a stream comes to its end.
#[derive(Debug)]
pub enum Closing {
    /// The answer is finished; the connection may close from here on, though counts may follow.
    Proper,
    /// Nothing follows.
    Last,
    /// The provider gave up inside a stream that began well.
    Failed(Error),
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
}

/// Why a path leads nowhere.
fn why_not(path: &str) -> &'static str {
    let rest = path.strip_prefix("/openai").unwrap_or(path);
    let first = rest.strip_prefix("/v1").unwrap_or(rest).split('/').nth(1);
    match first {
        Some("batches" | "files") => {
            "files and batches are not passed on: what the requests of a batch cost could not be held to a budget"
        }
        _ => "there is no such endpoint",
    }
}

/// The endpoints of OpenAI's API that are passed through and not translated.
pub fn endpoints() -> impl Iterator<Item = &'static dyn Dialect> {
    openai_endpoints::ALL.iter().map(|endpoint| *endpoint as &'static dyn Dialect)
}

/// The dialects that a gateway's clients may speak.
#[derive(Clone, Debug)]
pub struct Dialects(Arc<[&'static dyn Dialect]>);

impl Default for Dialects {
    /// All that the crate knows.
    fn default() -> Self {
        let conversing: [&'static dyn Dialect; 5] =
            [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI, &OPENAI_EMBEDDINGS];
        Self::new(conversing.into_iter().chain(endpoints()))
    }
}

impl Dialects {
    /// These dialects; the first one is used for errors where none can be told.
    pub fn new(dialects: impl IntoIterator<Item = &'static dyn Dialect>) -> Self {
        Self(dialects.into_iter().collect())
    }

    /// The dialect that a request speaks, by its path and method.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] for a path that none of them has, [`Kind::MethodNotAllowed`] for a method that the
    /// dialect doesn't [allow](Dialect::allows).
    pub fn detect(&self, parts: &Parts) -> Result<&'static dyn Dialect, Error> {
        let Some(dialect) = self.speaks(parts.uri.path()) else {
            return Err(Error::new(Kind::NotFound, why_not(parts.uri.path())).with_param(parts.uri.path()));
        };
        if !dialect.allows(parts) {
            return Err(Error::new(Kind::MethodNotAllowed, "this endpoint takes POST"));
        }
        Ok(dialect)
    }

    /// The dialect in which the sender of a request expects an error, whatever is wrong with it.
    pub fn of_errors(&self, parts: &Parts) -> &'static dyn Dialect {
        let by_header =
            || parts.headers.contains_key("anthropic-version").then_some(&ANTHROPIC as &dyn Dialect);
        let by_prefix = || gemini::path::is_ours(parts.uri.path()).then_some(&GEMINI as &dyn Dialect);
        self.speaks(parts.uri.path())
            .or_else(by_header)
            .or_else(by_prefix)
            .unwrap_or(self.0.first().copied().unwrap_or(&OPENAI_CHAT))
    }

    fn speaks(&self, path: &str) -> Option<&'static dyn Dialect> {
        self.0.iter().copied().find(|dialect| dialect.speaks(path))
    }
}
