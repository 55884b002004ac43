//! Arguments of tool calls: text elsewhere, an object here.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The arguments of a call as the object that Anthropic requires, and whether they were sound.
///
/// Nothing becomes `{}`, what was cut off is completed, other values are wrapped; the text of an
/// object is kept as it is, so that numbers and the order of members survive.
pub(crate) fn object(arguments: &str) -> (Cow<'_, RawValue>, bool) {
    let text = arguments.trim();
    if text.is_empty() || text == "null" {
        return (Cow::Borrowed(empty()), true);
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if text.starts_with('{') => (Cow::Borrowed(raw), true),
        Ok(raw) => (Cow::Owned(raw_or_empty(format!("{{\"value\":{raw}}}"))), true),
        Err(_) => (Cow::Owned(repaired(text)), false),
    }
}

/// Free text as the input of the tool that stands for a free-text tool.
pub(crate) fn free_text(text: &str) -> Box<RawValue> {
    wrapped("input", text)
}

/// What such a tool takes.
pub(crate) fn free_text_schema() -> &'static RawValue {
    serde_json::from_str(r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#)
        .unwrap_or(empty())
}

/// The text in `{"input": text}`, as [`free_text`] makes it; what the model wrote, if it wrote something
/// else.
pub(crate) fn unwrapped(arguments: &str) -> String {
    #[derive(Deserialize)]
    struct Wrapped {
        input: String,
    }
    serde_json::from_str::<Wrapped>(arguments).map_or_else(|_| arguments.to_owned(), |wrapped| wrapped.input)
}

/// `{}`
pub(crate) fn empty() -> &'static RawValue {
    serde_json::from_str("{}").unwrap_or(RawValue::NULL)
}

fn wrapped(member: &str, text: &str) -> Box<RawValue> {
    let text = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into());
    raw_or_empty(format!("{{\"{member}\":{text}}}"))
}

fn raw_or_empty(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| empty().to_owned())
}

/// What was cut off, completed; or wrapped if that isn't enough.
fn repaired(text: &str) -> Box<RawValue> {
    let completed = text.starts_with('{').then(|| completed(text));
    completed.and_then(|json| RawValue::from_string(json).ok()).unwrap_or_else(|| wrapped("_raw", text))
}

/// Closes what is open at the end of `text`.
fn completed(text: &str) -> String {
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => open.push('}'),
            b'[' if !in_string => open.push(']'),
            b'}' | b']' if !in_string => drop(open.pop()),
            _ => {}
        }
    }
    let mut json = text.strip_suffix('\\').filter(|_| escaped).unwrap_or(text).to_owned();
    if in_string {
        json.push('"');
    }
    json.truncate(json.trim_end().trim_end_matches(',').len());
    if json.ends_with(':') {
        json.push_str("null");
    }
    json.extend(open.into_iter().rev());
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object_of(arguments: &str) -> (String, bool) {
        let (raw, sound) = object(arguments);
        (raw.get().to_owned(), sound)
    }

    /// C36, C38, C40
    #[test]
    fn arguments_become_an_object_and_keep_their_text() {
        assert_eq!(object_of(""), ("{}".into(), true));
        assert_eq!(object_of("null"), ("{}".into(), true));
        assert_eq!(object_of("5"), (r#"{"value":5}"#.into(), true));
        assert_eq!(object_of("[1]"), (r#"{"value":[1]}"#.into(), true));
        let exact = r#"{"b":12345678901234567890, "a":1.0}"#;
        assert_eq!(object_of(exact), (exact.into(), true));
    }

    /// C37
    #[test]
    fn arguments_that_were_cut_off_are_completed_or_wrapped() {
        assert_eq!(object_of(r#"{"a":[1,{"b":"x"#), (r#"{"a":[1,{"b":"x"}]}"#.into(), false));
        assert_eq!(object_of(r#"{"a":1,"#), (r#"{"a":1}"#.into(), false));
        assert_eq!(object_of(r#"{"a":"#), (r#"{"a":null}"#.into(), false));
        assert_eq!(object_of(r#"{"a":"x\"#), (r#"{"a":"x"}"#.into(), false));
        assert_eq!(object_of("rm \"x\""), (r#"{"_raw":"rm \"x\""}"#.into(), false));
    }
}
