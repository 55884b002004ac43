use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, request::Parts};

use super::{FILE, error_in_answer, id, kept, lines, no_list, open, parts_of};
use crate::{
    Dialect, Error, Kind, Payload, Tokens, Work,
    batch::{Batch, Stage},
    body::sse,
    dialect::{
        Closing, IdMember, Sent,
        openai_endpoints::{fields::Fields, form},
        openai_error,
    },
    error::Reply,
    exchange::RequestId,
    payload::{Head, Resource},
};

/// The dialect of files for batches.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiFiles;

const PATH: &str = "/files";

impl Dialect for OpenAiFiles {
    fn id(&self) -> &'static str {
        "openai-files"
    }

    fn speaks(&self, path: &str) -> bool {
        parts_of(path, PATH).is_some()
    }

    fn methods(&self, path: &str) -> &'static [Method] {
        match parts_of(path, PATH) {
            // What is asked for by the first is refused with the reason.
            None | Some(("", _)) => const { &[Method::GET, Method::POST] },
            Some((_, None)) => const { &[Method::GET, Method::DELETE] },
            Some((_, Some(_))) => const { &[Method::GET] },
        }
    }

    fn ids(&self) -> &'static [IdMember] {
        const { &[id("id", FILE, true)] }
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        payload.head().resource.as_ref().map_or(PATH.into(), |resource| resource.path.to_string().into())
    }

    fn takes_forms(&self) -> bool {
        true
    }

    fn peek(&self, parts: &Parts, _: &str) -> Result<Head, Error> {
        match parts_of(parts.uri.path(), PATH) {
            Some(("", _)) if parts.method == Method::GET => Err(no_list("files")),
            Some(("", _)) => {
                Err(Error::new(Kind::UnsupportedMediaType, "content-type: expected multipart/form-data"))
            }
            Some((file, what @ (None | Some("content")))) => {
                let mut place = open(parts, file, FILE)?;
                let batch = place.take_requests().map(|(requests, proof)| {
                    Box::new(Batch { requests, stage: Stage::Stored, proof: Some(proof) })
                });
                Ok(Head {
                    is_opaque: what.is_some(),
                    work: Some(Work::default()),
                    batch,
                    ..kept(parts, place, PATH, what)
                })
            }
            _ => Err(Error::new(Kind::NotFound, "there is no such endpoint")),
        }
    }

    fn peek_form(&self, content_type: &HeaderValue, body: &[u8]) -> Result<Head, Error> {
        let fields = Fields::of_form(body, form::boundary(content_type)?)?;
        fields.require("purpose")?;
        if fields.text("purpose")?.as_deref() != Some("batch") {
            let message = "purpose: only `batch` can be stored: a file lies in the account that all keys \
                           share, and the requests of a batch are what it can be routed and charged by";
            return Err(Error::new(Kind::InvalidRequest, message).with_param("purpose"));
        }
        let mut files = fields.files("file")?;
        let (Some(file), None) = (files.next(), files.next()) else {
            return Err(Error::new(Kind::InvalidRequest, "file: expected one file").with_param("file"));
        };
        let offset = file.as_ptr() as usize - body.as_ptr() as usize;
        let read = lines::read(file)?;
        let mut models = read.models_at.into_iter().map(|at| at.start + offset..at.end + offset);
        Ok(Head {
            model: read.model,
            model_at: models.next(),
            model_again_at: models.collect(),
            max_output: Some(0),
            choices: 1,
            content_type: Some(content_type.clone()),
            // It may lie there although nobody has heard of it.
            is_once: true,
            work: Some(Work::default()),
            resource: Some(Resource { method: Method::POST, path: PATH.into(), target: None }),
            batch: Some(Box::new(Batch { requests: read.requests, stage: Stage::Stored, proof: None })),
            ..Head::default()
        })
    }

    fn repeat_model(&self, payload: Payload) -> Payload {
        let head = payload.shared_head();
        if *head.model == *payload.model() {
            return payload;
        }
        let model = Bytes::from(serde_json::Value::from(payload.model()).to_string());
        head.model_again_at.iter().fold(payload, |payload, at| payload.edited(at.clone(), model.clone()))
    }

    fn read_usage(&self, _: &[u8], _: &mut Tokens) -> bool {
        false
    }

    fn is_content(&self, _: &sse::Event) -> bool {
        true
    }

    fn closing(&self, _: &sse::Event) -> Option<Closing> {
        None
    }

    fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
        error_in_answer(body)
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
