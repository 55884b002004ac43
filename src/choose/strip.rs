//! Takes out of a request what is meant for the gateway.

use bytes::Bytes;
use http::{Request, request::Parts};

use super::{chosen::Chosen, wishes::MEMBERS};
use crate::{
    Error, Kind, Payload,
    payload::{Head, ModelForm},
    preset::Object,
};

/// The request without the members in which a client says who shall answer. Providers that understand `provider` get
/// it, if it `is_for_provider`.
pub(super) fn stripped(
    req: Request<Payload>,
    mut chosen: Chosen,
    is_for_provider: bool,
) -> Result<Request<Payload>, Error> {
    let (parts, payload) = req.into_parts();
    if !payload.head().has_wishes {
        return Ok(Request::from_parts(parts, payload.going(chosen)));
    }
    if is_for_provider {
        // Never the models: what these cost would not be known.
        let read = without(&parts, &payload, &MEMBERS[..1])?;
        chosen.preferring = Some(read.into());
    }
    let (head, bytes) = without(&parts, &payload, &MEMBERS)?;
    Ok(Request::from_parts(parts, payload.rewritten(head, bytes).going(chosen)))
}

fn without(parts: &Parts, payload: &Payload, names: &[&str]) -> Result<(Head, Bytes), Error> {
    let text = std::str::from_utf8(payload.source()).unwrap_or_default();
    let Some(body) = Object::read(text.trim_ascii()) else {
        return Err(Error::new(Kind::InvalidRequest, "the body is not a JSON object"));
    };
    let mut text = body.without(names);
    if payload.head().model_form == ModelForm::Member {
        // Nobody is named any more, once the others are taken out.
        text = named(payload.model(), &body.without(&[names, &["model"]].concat()));
    }
    let head = payload.dialect().peek(parts, &text)?;
    Ok((head, text.into()))
}

/// The object with a model as its first member.
fn named(model: &str, object: &str) -> String {
    let rest = object.trim_start_matches('{');
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!(r#"{{"model":{}{comma}{rest}"#, serde_json::Value::from(model))
}
