//! Writes a cap on the output into a request that has none, where the bytes pass as they are.

use serde_json::value::RawValue;

use super::{
    json::{self, span},
    schema::Members,
};
use crate::Payload;

/// The request with `cap` in the member `name` of its body, or in the first of the `names` that is there
/// already, which is null then.
pub(crate) fn capped(payload: Payload, name: &str, names: &[&str], cap: u64) -> Payload {
    let source = payload.source().clone();
    match str::from_utf8(&source) {
        Ok(text) => written(payload, text, text, (name, names), &cap.to_string()),
        Err(_) => payload,
    }
}

/// The same for a member of an object that is the first of `objects`, and made if there is none.
pub(crate) fn capped_in(payload: Payload, objects: &[&str], names: &[&str], cap: u64) -> Payload {
    let source = payload.source().clone();
    let Ok(text) = str::from_utf8(&source) else { return payload };
    let Ok(members) = json::parse::<Members<'_>>(text.as_bytes()) else { return payload };
    let object = objects.iter().find_map(|name| members.get(name)).map(RawValue::get);
    match object.filter(|object| object.starts_with('{')) {
        Some(object) => written(payload, text, object, (names[0], names), &cap.to_string()),
        None => {
            let object = format!("{{\"{}\":{cap}}}", names[0]);
            written(payload, text, text, (objects[0], objects), &object)
        }
    }
}

fn written(
    payload: Payload,
    text: &str,
    object: &str,
    (name, names): (&str, &[&str]),
    value: &str,
) -> Payload {
    let (Ok(members), Some(brace)) = (json::parse::<Members<'_>>(object.as_bytes()), object.find('{')) else {
        return payload;
    };
    if let Some(said) = names.iter().find_map(|name| members.get(name)) {
        return payload.edited(span(text, said.get()), value.to_owned());
    }
    let first = span(text, object).start + brace + 1;
    let comma = if members.0.is_empty() { "" } else { "," };
    payload.edited(first..first, format!("\"{name}\":{value}{comma}"))
}
