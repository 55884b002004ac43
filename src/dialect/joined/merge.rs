//! Pieces of JSON, put together member by member.

use serde_json::{Map, Value, map::Entry};

/// The members of an object.
pub(super) type Object = Map<String, Value>;

/// What comes in pieces; other texts are said again or anew.
const PIECES: [&str; 12] = [
    "arguments",
    "compaction",
    "content",
    "data",
    "input",
    "reasoning",
    "reasoning_content",
    "refusal",
    "summary",
    "text",
    "thinking",
    "transcript",
];

/// Adds what `more` says to `all`, and returns about how many bytes that are.
pub(super) fn merge(all: &mut Object, more: Object) -> usize {
    more.into_iter().map(|(name, value)| member(all, name, value)).sum()
}

/// The same for one member.
pub(super) fn member(all: &mut Object, name: String, more: Value) -> usize {
    let is_piece = PIECES.contains(&&*name);
    match all.entry(name) {
        Entry::Vacant(place) => {
            let size = place.key().len() + size(&more);
            place.insert(more);
            size
        }
        Entry::Occupied(mut place) => value(place.get_mut(), more, is_piece),
    }
}

fn value(all: &mut Value, more: Value, is_piece: bool) -> usize {
    match (all, more) {
        (_, Value::Null) => 0,
        (Value::String(all), Value::String(more)) if is_piece => {
            all.push_str(&more);
            more.len()
        }
        (Value::String(all), Value::String(more)) if more.is_empty() && !all.is_empty() => 0,
        (Value::Object(all), Value::Object(more)) => merge(all, more),
        (Value::Array(all), Value::Array(more)) => more.into_iter().map(|more| element(all, more)).sum(),
        // Contents of texts and parts by turns.
        (Value::Array(all), Value::String(more)) if is_piece => match more.is_empty() {
            true => 0,
            false => element(all, serde_json::json!({"type": "text", "text": more})),
        },
        (all @ Value::String(_), Value::Array(more)) if is_piece => {
            let text = all.take();
            let begins = (text != "").then(|| serde_json::json!({"type": "text", "text": text}));
            let grown = more.iter().map(size).sum();
            *all = begins.into_iter().chain(more).collect();
            grown
        }
        (all, more) => {
            let size = size(&more);
            *all = more;
            size
        }
    }
}

/// Elements that have a number go on where the number stands; others are further ones.
fn element(all: &mut Vec<Value>, more: Value) -> usize {
    let index = |value: &Value| value.get("index").and_then(Value::as_u64);
    // The last one is most often the one that goes on.
    let place = index(&more).and_then(|number| all.iter().rposition(|known| index(known) == Some(number)));
    match (place.and_then(|place| all.get_mut(place)), more) {
        (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
        (_, more) => {
            let size = size(&more);
            all.push(more);
            size
        }
    }
}

/// About how many bytes `value` takes.
pub(super) fn size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(size).sum(),
            Value::Object(members) => members.iter().map(|(name, value)| name.len() + size(value)).sum(),
            _ => 0,
        }
}

/// Replaces members by what is said last of them.
pub(super) fn replace(all: &mut Object, more: impl IntoIterator<Item = (String, Value)>) {
    all.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
}
