use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};

use super::{BATCH, FILE, error_in_answer, id, kept, no_list, open, parts_of, status};
use crate::{
    Dialect, Error, Kind, Payload, Tokens, Work,
    batch::{Batch, Requests, Stage, hold},
    body::sse,
    dialect::{Closing, IdMember, Progress, Sent, openai_endpoints::fields::Fields, openai_error},
    error::Reply,
    exchange::RequestId,
    payload::{Head, Resource},
};

/// The dialect of batches.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiBatches;

const PATH: &str = "/batches";

impl Dialect for OpenAiBatches {
    fn id(&self) -> &'static str {
        "openai-batches"
    }

    fn speaks(&self, path: &str) -> bool {
        parts_of(path, PATH).is_some()
    }

    fn methods(&self, path: &str) -> &'static [Method] {
        match parts_of(path, PATH) {
            None | Some((_, Some(_))) => const { &[Method::POST] },
            // What is asked for by the first is refused with the reason.
            Some(("", None)) => const { &[Method::GET, Method::POST] },
            Some((_, None)) => const { &[Method::GET] },
        }
    }

    fn ids(&self) -> &'static [IdMember] {
        const {
            &[
                id("id", BATCH, true),
                id("input_file_id", FILE, true),
                id("output_file_id", FILE, false),
                id("error_file_id", FILE, false),
            ]
        }
    }

    fn path(&self, payload: &Payload) -> Cow<'static, str> {
        payload.head().resource.as_ref().map_or(PATH.into(), |resource| resource.path.to_string().into())
    }

    fn peek(&self, parts: &Parts, body: &str) -> Result<Head, Error> {
        match parts_of(parts.uri.path(), PATH) {
            Some(("", _)) if parts.method == Method::GET => Err(no_list("batches")),
            Some(("", _)) => begin(parts, body),
            Some((batch, what @ (None | Some("cancel")))) => follow(parts, batch, what),
            _ => Err(Error::new(Kind::NotFound, "there is no such endpoint")),
        }
    }

    fn repeat_model(&self, payload: Payload) -> Payload {
        let stage = payload.head().batch.as_ref().map(|batch| batch.stage.clone());
        match stage {
            Some(Stage::Begun { file_at, file }) => payload.edited(file_at, format!("\"{file}\"")),
            _ => payload,
        }
    }

    fn read_usage(&self, json: &[u8], tokens: &mut Tokens) -> bool {
        status::usage(json).is_some_and(|used| {
            *tokens = used;
            true
        })
    }

    fn progress(&self, json: &[u8]) -> Option<Progress> {
        status::progress(json)
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

/// A new batch of a file that was stored before.
fn begin(parts: &Parts, body: &str) -> Result<Head, Error> {
    let wrong = |name: &str, message: String| {
        Error::new(Kind::InvalidRequest, format!("{name}: {message}")).with_param(name)
    };
    let fields = Fields::of_json(body)?;
    fields.require("input_file_id")?;
    fields.require("endpoint")?;
    let file = fields.text("input_file_id")?.unwrap_or_default();
    let mut place = open(parts, &file, FILE).map_err(|error| error.with_param("input_file_id"))?;
    let Some((requests, proof)) = place.take_requests() else {
        return Err(wrong("input_file_id", "this file was not stored as one of requests".to_owned()));
    };
    check_endpoint(&fields, &requests).map_err(|message| wrong("endpoint", message))?;
    let file_at = fields.span_of("input_file_id")?.unwrap_or_default();
    let stage = Stage::Begun { file_at, file: place.id };
    Ok(Head {
        model: place.model,
        max_output: Some(0),
        choices: 1,
        metadata_at: fields.span_of("metadata")?,
        // Whoever begins it again pays twice.
        is_once: true,
        resource: Some(Resource { method: Method::POST, path: PATH.into(), target: Some(place.target) }),
        batch: Some(Box::new(Batch { requests, stage, proof: Some(proof) })),
        ..Head::default()
    })
}

fn check_endpoint(fields: &Fields<'_>, requests: &Requests) -> Result<(), String> {
    let endpoint = fields.text("endpoint").map_err(|_| "expected a string".to_owned())?;
    if endpoint.as_deref() == Some(&*requests.url) {
        return Ok(());
    }
    Err(format!("the requests in the file are for `{}`", requests.url))
}

/// A batch that was begun before.
fn follow(parts: &Parts, batch: &str, what: Option<&str>) -> Result<Head, Error> {
    let mut place = open(parts, batch, BATCH)?;
    let Some((requests, proof)) = place.take_requests() else {
        return Err(Error::new(Kind::NotFound, "there is no batch with this id").with_param("id"));
    };
    let stage = Stage::Followed { hold: hold(&place.target, &place.id) };
    Ok(Head {
        // What it costs was held when it was begun.
        work: Some(Work::default()),
        batch: Some(Box::new(Batch { requests, stage, proof: Some(proof) })),
        ..kept(parts, place, PATH, what)
    })
}
