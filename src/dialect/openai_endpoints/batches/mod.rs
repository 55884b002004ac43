//! Files of requests, and the batches that are made of them.
//!
//! A file belongs to one account of one provider, which all keys share, so it is stored for its requests
//! only: they name the model by which it is routed, and the id that the client gets is sealed. A list of
//! what is stored would show what belongs to other keys, so there is none.
//!
//! Source: OpenAI's API description, `CreateFileRequest`, `OpenAIFile`, `CreateBatchRequest`, `Batch`.

mod begun;
mod files;
mod lines;
mod status;

use bytes::Bytes;
use http::{Method, request::Parts};

pub use self::{begun::OpenAiBatches, files::OpenAiFiles};
use crate::{
    Error, Kind,
    dialect::{IdMember, openai_chat, prefix},
    own_ids::{Place, Seal},
    payload::{Head, Resource},
    percent,
    preset::Object,
};

/// `POST /v1/files` of requests, and what is stored by it: `/v1/files/{id}`, `…/content`.
pub static OPENAI_FILES: OpenAiFiles = OpenAiFiles;
/// `POST /v1/batches`, and what is begun by it: `/v1/batches/{id}`, `…/cancel`.
pub static OPENAI_BATCHES: OpenAiBatches = OpenAiBatches;

/// What the ids of clients begin with.
const FILE: &str = "file-";
const BATCH: &str = "batch_";

const fn id(name: &'static str, prefix: &'static str, tells_requests: bool) -> IdMember {
    IdMember { name, prefix, tells_requests }
}

/// An id below `own` and what is wanted of it; the id is empty for `own` itself.
fn parts_of<'p>(path: &'p str, own: &str) -> Option<(&'p str, Option<&'p str>)> {
    let rest = prefix::below(path, own)?;
    Some(rest.split_once('/').map_or((rest, None), |(id, what)| (id, Some(what))))
}

fn no_list(what: &str) -> Error {
    let message =
        format!("{what} can't be listed: the provider's list has those of all keys; ask for one by its id");
    Error::new(Kind::MethodNotAllowed, message).with_allow(&[Method::POST])
}

/// A request for what is at `place`, where the provider has it below `path`.
fn kept(parts: &Parts, place: Place, path: &str, what: Option<&str>) -> Head {
    let mut path = format!("{path}/{}", percent::segment(&place.id));
    if let Some(what) = what {
        path.extend(["/", what]);
    }
    Head {
        model: place.model,
        max_output: Some(0),
        choices: 1,
        resource: Some(Resource {
            method: parts.method.clone(),
            path: path.into(),
            target: Some(place.target),
        }),
        ..Head::default()
    }
}

fn open(parts: &Parts, id: &str, prefix: &str) -> Result<Place, Error> {
    Place::open(id, prefix, &Seal::of(&parts.extensions)?)
}

/// An error that came as a success; what has an id is a good answer, whatever it says of errors.
fn error_in_answer(body: &Bytes) -> Option<Error> {
    let is_thing = || Object::read(std::str::from_utf8(body).ok()?.trim_ascii())?.get("id");
    openai_chat::error_in_answer(body).filter(|_| is_thing().is_none())
}
