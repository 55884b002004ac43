//! The endpoints of OpenAI's API that are passed through: images, sound, film, moderation, ranking; and
//! [`batches`], which are more than a row.
//!
//! They are counted, charged and recorded like conversations, and never translated. Each is a row: where
//! it is, what its requests look like, how the most that one may use is told from it, and how its answer
//! says what it used.
//!
//! Source: OpenAI's API description; for ranking, the documentation of Cohere, Jina and vLLM.

mod audio;
mod batches;
mod fields;
mod form;
mod images;
mod simple;
mod sound;
mod usage;
mod videos;

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, request::Parts};
use serde::Deserialize;

pub use self::batches::{OPENAI_BATCHES, OPENAI_FILES, OpenAiBatches, OpenAiFiles};
use self::fields::Fields;
use super::{
    Closing, Dialect, IdMember, OPENAI_CHAT, Sent, json, openai_chat, openai_error, prefix, text::Str,
};
use crate::{
    Error, Payload, Tokens, Work, body::sse, choose, error::Reply, exchange::RequestId, payload::Head,
    preset::Object,
};

/// `POST /v1/moderations`.
pub static OPENAI_MODERATIONS: OpenAiEndpoint = simple::MODERATIONS;
/// `POST /v1/rerank`, as Cohere, Jina, vLLM and others have it.
pub static OPENAI_RERANK: OpenAiEndpoint = simple::RERANK;
/// `POST /v1/images/generations`.
pub static OPENAI_IMAGES: OpenAiEndpoint = images::GENERATIONS;
/// `POST /v1/images/edits`.
pub static OPENAI_IMAGE_EDITS: OpenAiEndpoint = images::EDITS;
/// `POST /v1/audio/speech`.
pub static OPENAI_SPEECH: OpenAiEndpoint = audio::SPEECH;
/// `POST /v1/audio/transcriptions`.
pub static OPENAI_TRANSCRIPTIONS: OpenAiEndpoint = audio::TRANSCRIPTIONS;
/// `POST /v1/audio/translations`.
pub static OPENAI_TRANSLATIONS: OpenAiEndpoint = audio::TRANSLATIONS;

/// `POST /v1/videos`, and what is made by it: `/v1/videos/{id}`, `…/content`, `…/remix`.
pub static OPENAI_VIDEOS: OpenAiEndpoint = videos::VIDEOS;

/// All of them.
pub(super) static ALL: [&OpenAiEndpoint; 8] = [
    &OPENAI_MODERATIONS,
    &OPENAI_RERANK,
    &OPENAI_IMAGES,
    &OPENAI_IMAGE_EDITS,
    &OPENAI_SPEECH,
    &OPENAI_TRANSCRIPTIONS,
    &OPENAI_TRANSLATIONS,
    &OPENAI_VIDEOS,
];

/// An endpoint that is passed through: the dialect of its requests and answers.
#[derive(Debug)]
pub struct OpenAiEndpoint {
    id: &'static str,
    /// Relative to the base URL, with a leading slash.
    path: &'static str,
    /// The model that is asked for where a request names none.
    model: Option<&'static str>,
    takes: Takes,
    /// What the tokens of the output are.
    makes: Makes,
    /// The ids of what is made and kept.
    keeps: &'static [IdMember],
    /// Reads what is asked for; the model has been read.
    ask: fn(&Fields<'_>, &mut Head) -> Result<Work, Error>,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Json,
    Form,
    Both,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Makes {
    Text,
    Media,
}

impl OpenAiEndpoint {
    /// What is read of a request; one that names no model is for the `asked` one, if a header names it.
    fn head(&self, fields: &Fields<'_>, asked: Option<&str>) -> Result<Head, Error> {
        let mut head = Head { max_output: Some(0), choices: 1, include_usage: true, ..Head::default() };
        fields.model(asked.or(self.model), &mut head)?;
        head.user_at = fields.span_of("user")?;
        head.work = Some((self.ask)(fields, &mut head)?);
        Ok(head)
    }

    /// What comes behind the path of the endpoint, without the slash; empty for the endpoint itself.
    fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        prefix::below(path, self.path).filter(|rest| rest.is_empty() || !self.keeps.is_empty())
    }
}

impl Dialect for OpenAiEndpoint {
    fn id(&self) -> &'static str {
        self.id
    }

    fn speaks(&self, path: &str) -> bool {
        self.rest(path).is_some()
    }

    fn methods(&self, path: &str) -> &'static [Method] {
        match self.rest(path) {
            None | Some("") => const { &[Method::POST] },
            Some(rest) => videos::methods(rest),
        }
    }

    fn ids(&self) -> &'static [IdMember] {
        self.keeps
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        match &payload.head().resource {
            Some(resource) => resource.path.to_string().into(),
            None => self.path.into(),
        }
    }

    fn takes_json(&self) -> bool {
        self.takes != Takes::Form
    }

    fn takes_forms(&self) -> bool {
        self.takes != Takes::Json
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        match (self.rest(parts.uri.path()), self.keeps) {
            (Some(rest), [id, ..]) if !rest.is_empty() => videos::kept(parts, rest, id.prefix, body),
            _ => self.head(&Fields::of_json(body)?, choose::first_model(&parts.headers).as_deref()),
        }
    }

    fn peek_form(&self, content_type: &HeaderValue, body: &[u8]) -> Result<Head, Error> {
        let head = self.head(&Fields::of_form(body, form::boundary(content_type)?)?, None)?;
        Ok(Head { content_type: Some(content_type.clone()), ..head })
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        let mut work = Work::from(*tokens);
        let is_said = self.read_work(json, &mut work);
        *tokens = work.tokens;
        is_said
    }

    fn read_work(&self, json: &[u8], work: &mut Work) -> bool {
        usage::read(json, self.makes, work)
    }

    fn is_content(&self, event: &sse::Event) -> bool {
        !event.data.is_empty()
    }

    fn closing(&self, event: &sse::Event) -> Option<Closing> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, rename = "type")]
            kind: Option<Str<'a>>,
        }
        if let Some(Closing::Failed(error)) = OPENAI_CHAT.closing(event) {
            return Some(Closing::Failed(error));
        }
        if event.data.trim_ascii_start().starts_with(b"[DONE]") {
            return Some(Closing::Last);
        }
        let kind = json::parse::<Named<'_>>(&event.data).ok()?.kind?;
        (kind.ends_with(".done") || kind.ends_with(".completed")).then_some(Closing::Proper)
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        // A film that could not be made says so; that is a good answer.
        let is_thing = || Object::read(std::str::from_utf8(body).ok()?.trim_ascii())?.get("id");
        openai_chat::error_in_answer(body).filter(|_| self.keeps.is_empty() || is_thing().is_none())
    }

    fn read_error(&self, reply: Reply) -> Error {
        openai_error::read(reply)
    }

    fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
        openai_error::render(error)
    }

    fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
        openai_error::event(error)
    }
}
