//! What an answer loses when it is written anew in its own dialect.

use serde_json::Value;

/// No more names than these are told.
const MOST: usize = 16;

/// The members that say something in an answer and are not in what was `written` of it, as
/// `answer.choices[].message.annotations`.
pub(super) fn missing(answer: &[u8], written: &[u8]) -> Vec<Box<str>> {
    let mut names = Vec::new();
    if let (Ok(answer), Ok(written)) = (serde_json::from_slice(answer), serde_json::from_slice(written)) {
        compare(&answer, Some(&written), "answer", &mut names);
    }
    names
}

fn compare(answer: &Value, written: Option<&Value>, path: &str, names: &mut Vec<Box<str>>) {
    match (answer, written) {
        (Value::Object(members), Some(Value::Object(written))) => {
            for (name, value) in members {
                compare(value, written.get(name), &format!("{path}.{name}"), names);
            }
        }
        (Value::Array(items), Some(Value::Array(written))) => {
            for (index, value) in items.iter().enumerate() {
                compare(value, written.get(index), &format!("{path}[]"), names);
            }
        }
        (_, Some(_)) => {}
        (value, None) => {
            if says_something(value) && names.len() < MOST && !names.iter().any(|name| **name == *path) {
                names.push(path.into());
            }
        }
    }
}

pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => members.values().any(says_something),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_said_something_are_named_once() {
        let answer =
            r#"{"id":"a","list":[{"x":1,"n":null},{"x":2,"y":{"z":[]}}],"fingerprint":"f","empty":""}"#;

        let names = missing(answer.as_bytes(), br#"{"id":"b","list":[{},{"y":{}}]}"#);

        assert_eq!(names, ["answer.fingerprint".into(), "answer.list[].x".into()] as [Box<str>; 2]);
        assert!(missing(answer.as_bytes(), answer.as_bytes()).is_empty());
        assert!(missing(b"{", b"{}").is_empty());
    }
}
