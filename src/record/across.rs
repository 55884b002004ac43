use memchr::memmem;
use serde_json::Value;

use super::Mask;

/// The members that are texts of parts.
const TEXTS: [&str; 4] = ["text", "thinking", "refusal", "content"];

/// The member that is the text of a part of a message.
const PART: &str = "text";

/// The members that models write piece by piece.
const WRITTEN: [&str; 10] = [
    "text",
    "thinking",
    "refusal",
    "content",
    "reasoning",
    "reasoning_content",
    "arguments",
    "input",
    "code",
    "transcript",
];

/// Masks what could be the beginning of a secret at the end of each text of an answer that has no end itself; `None` if
/// it has one, or there are no such texts.
pub(super) fn unended(json: &[u8], mask: &Mask, is_cut: bool) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    if !is_cut && is_ended(&value) {
        return None;
    }
    let mut is_changed = false;
    for name in WRITTEN {
        let mut texts = Vec::new();
        collect(&mut value, name, &mut texts);
        let parts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        if let Some(masked) = mask.apply_to_unended(&parts) {
            texts.iter_mut().zip(masked).for_each(|(text, masked)| **text = masked);
            is_changed = true;
        }
        // One of several choices may break off as well.
        for text in texts {
            if let Some(masked) = mask.apply_to_unended(&[&**text]) {
                *text = masked.concat();
                is_changed = true;
            }
        }
    }
    let mut arguments = Vec::new();
    collect_inside(&mut value, "input", &mut arguments);
    for text in arguments {
        if let Some(masked) = mask.apply_to_unended(&[&**text]) {
            *text = masked.concat();
            is_changed = true;
        }
    }
    is_changed.then(|| serde_json::to_vec(&value).ok()).flatten()
}

/// Whether an answer says why it ends, and all of its choices do.
fn is_ended(answer: &Value) -> bool {
    let says = |of: &Value| {
        let mut reasons = ["finish_reason", "finishReason", "stop_reason"].iter();
        reasons.any(|name| of.get(name).is_some_and(|reason| !reason.is_null()))
    };
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
    let is_failed = answer.get("error").is_some_and(|error| !error.is_null());
    let choices = answer.get("choices").or_else(|| answer.get("candidates")).and_then(Value::as_array);
    !is_failed
        && match choices {
            Some(choices) => !choices.is_empty() && choices.iter().all(says),
            None => {
                says(answer)
                    || matches!(text("status"), "completed" | "incomplete")
                    || text("type").ends_with(".done")
                    || text("type").ends_with(".completed")
            }
        }
}

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

/// Masks secrets that stand over several parts of one message; `None` if there are none.
pub(super) fn masked_in_messages(json: &[u8], mask: &Mask) -> Option<Vec<u8>> {
    if !has_several(json, PART) {
        return None;
    }
    let mut value = serde_json::from_slice(json).ok()?;
    mask_parts(&mut value, mask).then(|| serde_json::to_vec(&value).ok()).flatten()
}

/// Says whether something was masked.
fn mask_parts(value: &mut Value, mask: &Mask) -> bool {
    let mut is_changed = false;
    match value {
        Value::Array(values) => {
            is_changed = mask_texts(values, mask);
            values.iter_mut().for_each(|value| is_changed |= mask_parts(value, mask));
        }
        Value::Object(members) => {
            members.values_mut().for_each(|value| is_changed |= mask_parts(value, mask));
        }
        _ => {}
    }
    is_changed
}

/// Likewise, in the texts of these parts taken together.
fn mask_texts(parts: &mut [Value], mask: &Mask) -> bool {
    let mut texts: Vec<&mut String> = parts.iter_mut().filter_map(text_of_part).collect();
    let parts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    let masked = if parts.len() > 1 { mask.apply_across(&parts) } else { None };
    let is_changed = masked.is_some();
    texts.iter_mut().zip(masked.into_iter().flatten()).for_each(|(text, masked)| **text = masked);
    is_changed
}

fn text_of_part(part: &mut Value) -> Option<&mut String> {
    match part.get_mut(PART)? {
        Value::String(text) => Some(text),
        _ => None,
    }
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

/// All texts inside of the objects that are members of this name.
fn collect_inside<'v>(value: &'v mut Value, name: &str, texts: &mut Vec<&'v mut String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                if member == name { collect_all(value, texts) } else { collect_inside(value, name, texts) }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| collect_inside(value, name, texts)),
        _ => {}
    }
}

fn collect_all<'v>(value: &'v mut Value, texts: &mut Vec<&'v mut String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Object(members) => members.values_mut().for_each(|value| collect_all(value, texts)),
        Value::Array(values) => values.iter_mut().for_each(|value| collect_all(value, texts)),
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
    fn a_secret_whose_end_was_not_said_is_masked_and_the_last_word_stays() {
        let unended = |json: &str, is_cut| {
            let masked = unended(json.as_bytes(), &Mask::default(), is_cut);
            masked.map(|json| String::from_utf8(json).unwrap())
        };

        let parts = r#"{"content":[{"text":"a password: h"},{"text":"un"}]}"#;
        assert_eq!(
            unended(parts, false).as_deref(),
            Some(r#"{"content":[{"text":"a password: [masked]"},{"text":""}]}"#)
        );
        let choices = |reason: &str| {
            format!(r#"{{"choices":[{{"finish_reason":{reason},"text":"sk-01"}},{{"text":"the end"}}]}}"#)
        };
        assert_eq!(unended(&choices("null"), false).unwrap(), choices("null").replace("01", "[masked]"));
        let ended = r#"{"choices":[{"finish_reason":"stop","text":"sk-01"}]}"#;
        assert_eq!(unended(ended, false), None);
        assert!(unended(ended, true).is_some());
        let call = r#"{"content":[{"input":{"key":["sk-01"]}}],"stop_reason":null}"#;
        assert_eq!(unended(call, false).unwrap(), call.replace("01", "[masked]"));
        assert_eq!(unended(r#"{"content":[{"text":"It ends in 42"}],"stop_reason":null}"#, false), None);
    }

    #[test]
    fn a_secret_over_two_parts_of_a_message_is_masked_and_the_next_message_is_another_text() {
        let message = |first: &str, second: &str| {
            let parts = format!(r#"[{{"text":"{first}"}},{{"image":1}},{{"text":"{second}"}}]"#);
            format!(r#"{{"messages":[{{"content":{parts}}},{{"content":[{{"text":"56789abcdef"}}]}}]}}"#)
        };
        let over = |json: &str| masked_in_messages(json.as_bytes(), &Mask::default());

        assert_eq!(
            over(&message("a sk-01234", "56789abcdef b")),
            Some(message("a sk-[masked]", " b").into_bytes())
        );
        assert_eq!(over(&message("a", "sk-01234")), None);
        assert_eq!(over(r#"{"text":"sk-01234","#), None);
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
