//! The wire formats: [`Dialect`], and the [`Codec`] that translates between them.
//!
//! A dialect is looked at on every request (where is the model, is this a stream, what does an error
//! look like); its codec is needed only when client and provider speak different ones. Requests and
//! answers are translated through the [`canonical`] form, so that `n` dialects need `n` codecs and
//! not `n²` converters. What a dialect cannot express is not dropped in silence: an encoder returns
//! the names of the fields that were lost.
//!
//! How one is added is described in [`extending`](crate::extending#a-dialect), with one that runs.

pub mod canonical;
pub mod embeddings;

mod anthropic;
pub(crate) mod arguments;
mod asked_model;
pub(crate) mod assembled;
mod bedrock;
mod bedrock_embeddings;
pub(crate) mod buffer;
mod cap;
mod chosen;
pub(crate) mod citation;
mod cited;
mod codec;
mod continued;
mod count;
mod dialects;
pub(crate) mod exact;
mod extent;
mod extras;
mod gemini;
mod ids;
pub(crate) mod joined;
pub(crate) mod json;
pub(crate) mod json_writer;
pub(crate) mod lost;
mod measure;
mod media;
mod names;
mod object;
mod openai_annotations;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_endpoints;
mod openai_error;
mod openai_responses;
mod other_models;
pub(crate) mod prefix;
mod proof;
mod rate_limits;
mod retry_after;
mod schema;
mod sibling;
pub(crate) mod status;
mod streamed;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod text;
mod text_or;
mod tier;
mod turns;
mod vertex_embeddings;
pub(crate) mod words;

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, request::Parts};

pub use self::{
    anthropic::{ANTHROPIC, ANTHROPIC_COUNT, Anthropic},
    bedrock::{BEDROCK, Bedrock},
    bedrock_embeddings::BEDROCK_EMBEDDINGS,
    codec::{ChatCodec, Codec, CountCodec, Decode, EmbeddingsCodec, Emit, Encode, Encoded, Undo},
    dialects::{Dialects, endpoints},
    gemini::{GEMINI, GEMINI_BATCH_EMBED, GEMINI_COUNT, GEMINI_EMBED, Gemini},
    openai_chat::{OPENAI_CHAT, OpenAiChat},
    openai_completions::{OPENAI_COMPLETIONS, OpenAiCompletions},
    openai_embeddings::{OPENAI_EMBEDDINGS, OpenAiEmbeddings},
    openai_endpoints::{
        OPENAI_BATCHES, OPENAI_FILES, OPENAI_IMAGE_EDITS, OPENAI_IMAGES, OPENAI_MODERATIONS, OPENAI_RERANK,
        OPENAI_SPEECH, OPENAI_TRANSCRIPTIONS, OPENAI_TRANSLATIONS, OPENAI_VIDEOS, OpenAiBatches,
        OpenAiEndpoint, OpenAiFiles,
    },
    openai_responses::{OPENAI_COUNT, OPENAI_RESPONSES, OpenAiResponses},
    rate_limits::LimitHeaders,
    sibling::Sibling,
    vertex_embeddings::VERTEX_EMBEDDINGS,
};
pub(crate) use self::{bedrock::BETAS, gemini::gemini_schema, streamed::streamed};
use crate::{
    Error, Kind, Payload, Target, Tokens, Work,
    body::{Framing, sse},
    error::Reply,
    exchange::RequestId,
    payload::Head,
    target::ModelFacts,
};

/// The searches of the web to reckon with where a request sets no bound.
const MOST_SEARCHES: u64 = 10;

/// One wire format: what has to be known of it to pass it on.
///
/// Dialects are unit structs in statics, compared by their [`id`](Self::id).
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// Names the dialect in logs and records, such as `openai-chat`.
    fn id(&self) -> &'static str;

    /// Whether a request to this path is meant for this dialect; the method does not matter. A vendor's
    /// prefix has been taken off.
    fn speaks(&self, path: &str) -> bool;

    /// Whether a model that a provider of this dialect has can be asked for what `payload` wants in it.
    /// Nothing is held against a model of which nothing is known.
    fn takes(&self, _payload: &Payload, _model: &ModelFacts) -> bool {
        true
    }

    /// Whether `payload` holds what another provider has thought, or lacks what `model` would have proven: a
    /// provider of this dialect would refuse it as it is, so it is written anew.
    fn is_of_others(&self, _payload: &Payload, _model: &Target) -> bool {
        false
    }

    /// Whether what is asked for in this dialect is answered without a charge.
    fn is_free(&self) -> bool {
        false
    }

    /// The methods by which what is at this path can be asked for, once the path is the dialect's.
    fn methods(&self, _path: &str) -> &'static [Method] {
        const { &[Method::POST] }
    }

    /// The members of answers in which ids stand of what a provider keeps for a client.
    fn ids(&self) -> &'static [IdMember] {
        &[]
    }

    /// Where a provider serves `payload`, relative to its base URL and with a leading slash.
    fn path(&self, payload: &Payload) -> Cow<'static, str>;

    /// How the events of a stream are told apart.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// Reads what the gateway needs from a request, shallowly and strictly: text that is not JSON, a
    /// member that stands twice, a wrong type in a field that is read are errors naming the field.
    /// `body` is known to be UTF-8 and not too deeply nested.
    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error>;

    /// Names the payload's model wherever the request repeats it; the first mention, and the one in the
    /// path, are right already.
    fn repeat_model(&self, payload: Payload) -> Payload {
        payload
    }

    /// Whether a request may be JSON.
    fn takes_json(&self) -> bool {
        true
    }

    /// Whether a request may be a form (`multipart/form-data`).
    fn takes_forms(&self) -> bool {
        false
    }

    /// The members in which a request may cap its output, with a `.` where one is in an object; none, if what is
    /// asked for has no such cap.
    fn output_caps(&self) -> &'static [&'static str] {
        &[]
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

    /// Sets a cap on the output of a request that has none; `is_old` says that the provider knows only the
    /// older name for it, where there are two. Requests that always have one stay as they are.
    fn cap_output(&self, payload: Payload, _cap: u64, _is_old: bool) -> Payload {
        payload
    }

    /// The same question for a stream, where it is one for a whole answer; `None` where none can be put
    /// together from a stream of this dialect.
    fn ask_for_stream(&self, _payload: Payload) -> Option<Payload> {
        None
    }

    /// The JSON of a `request` with what the model has `said` as its last turn, so that it goes on with it: by itself, or
    /// because it is told to in one more turn. `None` where an answer can't be gone on with.
    fn continued(&self, _request: &str, _said: &str, _goes_on_by_itself: bool) -> Option<String> {
        None
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

    /// How far work has come that goes on after the answer, where the answer is about such work.
    fn progress(&self, _json: &[u8]) -> Option<Progress> {
        None
    }

    /// About how many bytes of what the model wrote an event carries: what an estimate is made of when
    /// the stream breaks off before its counts.
    fn output_bytes(&self, _event: &sse::Event) -> usize {
        0
    }

    /// Why the model stopped, by a whole answer or by the data of the event with which it is
    /// [proper](Closing::Proper), in the dialect's own words.
    fn finish<'a>(&self, _json: &'a [u8]) -> Option<&'a str> {
        None
    }

    /// How many tools the model calls in a whole answer, or begins to call in one event's data. Asked of every event,
    /// so it has to be cheap.
    fn tool_calls(&self, _json: &[u8]) -> u32 {
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

    /// How the headers are called in which a client reads what is left of its provider's limits.
    fn limit_headers(&self) -> LimitHeaders {
        LimitHeaders::OpenAi
    }

    /// Whether this client expects its stream as one JSON array, written piece by piece, in place of
    /// events.
    fn stream_is_array(&self, _parts: &Parts) -> bool {
        false
    }

    /// Translates this dialect to others of the same task; `None` if it can only be passed through.
    fn codec(&self) -> Option<Codec> {
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

/// A member of answers in which an id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMember {
    /// The name of the member.
    pub name: &'static str,
    /// What the id begins with as the client gets it.
    pub prefix: &'static str,
    /// Whether the id is to tell which [requests](crate::batch::Requests) a batch has.
    pub tells_requests: bool,
}

/// How far work is that goes on after the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The provider's id of it.
    pub id: Box<str>,
    /// Whether it is over.
    pub is_over: bool,
    /// How many requests of it were answered, if that is said.
    pub answered: Option<u64>,
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
