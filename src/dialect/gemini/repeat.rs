//! The model that a request names although the path does already: both have to be the same.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Payload,
    dialect::{
        json::{self, span},
        schema::Members,
    },
};

/// The members in which a request may name its model again, one level down.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow, rename = "generateContentRequest", alias = "generate_content_request")]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    requests: Option<Vec<&'a RawValue>>,
}

/// The payload with its model wherever the request names it.
pub(super) fn repeated(payload: Payload) -> Payload {
    let source = payload.source().clone();
    let Some(text) = str::from_utf8(&source).ok() else { return payload };
    let Ok(named) = json::parse::<Named<'_>>(text.as_bytes()) else { return payload };
    let nested = named.request.into_iter().chain(named.requests.into_iter().flatten());
    let nested = nested.filter_map(|request| Members::of(request)?.get("model"));
    let places: Vec<_> = named.model.into_iter().chain(nested).map(|raw| span(text, raw.get())).collect();
    let model = serde_json::Value::from(name(payload.model())).to_string();
    places.into_iter().fold(payload, |payload, at| payload.edited(at, model.clone()))
}

/// The name of a model as requests have it.
pub(super) fn name(model: &str) -> String {
    match model.split_once('/') {
        Some(("models" | "tunedModels", _)) => model.to_owned(),
        _ => format!("models/{model}"),
    }
}
