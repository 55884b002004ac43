use memchr::memmem;
use serde_json::Value;

use super::Mask;

/// The members that are texts of parts.
const TEXTS: [&str; 4] = ["text", "thinking", "refusal", "content"];

/// Masks secrets that begin in one part of an answer and go on in the next one; `None` if there are none.
pub(super) fn masked(json: &[u8], mask: &Mask) -> Option<Vec<u8>> {
    let mut value: Option<Value> = None;
    let mut is_changed = false;
    for name in TEXTS.into_iter().filter(|name| has_several(json, name)) {
        let value = match &mut value {
            Some(value) => value,
            None => value.insert(serde_json::from_slice(json).ok()?),
        };
        let mut texts = Vec::new();
        collect(value, name, &mut texts);
        let parts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        if let Some(masked) = mask.apply_across(&parts) {
            texts.into_iter().zip(masked).for_each(|(text, masked)| *text = masked);
            is_changed = true;
        }
    }
    value.filter(|_| is_changed).and_then(|value| serde_json::to_vec(&value).ok())
}

fn has_several(json: &[u8], name: &str) -> bool {
    memmem::find_iter(json, format!("\"{name}\"").as_bytes()).nth(1).is_some()
}

/// The texts that are members of this name, wherever they stand.
fn collect<'v>(value: &'v mut Value, name: &str, texts: &mut Vec<&'v mut String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match (value, member == name) {
                    (Value::String(text), true) => texts.push(text),
                    (value, _) => collect(value, name, texts),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| collect(value, name, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(json: &str) -> Option<String> {
        masked(json.as_bytes(), &Mask::default()).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn a_secret_that_goes_on_in_the_next_part_is_masked_in_both() {
        let parts = r#"{"content":[{"text":"a sk-0123456789"},{"id":1},{"text":"abc"},{"text":"def0 b"}]}"#;

        assert_eq!(
            over(parts).as_deref(),
            Some(r#"{"content":[{"text":"a sk-[masked]"},{"id":1},{"text":""},{"text":" b"}]}"#)
        );
        assert_eq!(over(r#"{"content":[{"text":"a"},{"text":"b"}]}"#), None);
        let deeper =
            r#"[{"text":"x"},{"text":1},{"a":[{"thinking":"sk-01234"}]},{"a":[{"thinking":"56789abcdef"}]}]"#;
        assert_eq!(
            over(deeper).as_deref(),
            Some(r#"[{"text":"x"},{"text":1},{"a":[{"thinking":"sk-[masked]"}]},{"a":[{"thinking":""}]}]"#)
        );
    }
}
