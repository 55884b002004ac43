//! A request to go on with an answer that broke off, in the words of its client.

use serde_json::{Value, json};

use super::json::span;
use crate::preset::Object;

/// What is said to models that don't go on with a turn of their own.
const INSTRUCTION: &str = "Your answer above was cut off in the middle by a lost connection. Go on exactly where it stops, \
                           beginning with the very next character, even if that is a space or within a word. Repeat nothing \
                           of it, and say nothing about this.";

/// How the turns of a dialect look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    /// The member with the conversation.
    pub(super) member: &'static str,
    /// What the model has said.
    pub(super) said: fn(&str) -> Value,
    /// What the user says.
    pub(super) asks: fn(&str) -> Value,
}

/// Those of chat completions, and of messages of Anthropic.
pub(super) const MESSAGES: Turns = Turns {
    member: "messages",
    said: |text| json!({ "role": "assistant", "content": text }),
    asks: |text| json!({ "role": "user", "content": text }),
};

/// Those of responses.
pub(super) const ITEMS: Turns = Turns {
    member: "input",
    said: |text| json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] }),
    asks: |text| json!({ "type": "message", "role": "user", "content": text }),
};

/// Those of Gemini.
pub(super) const CONTENTS: Turns = Turns {
    member: "contents",
    said: |text| json!({ "role": "model", "parts": [{ "text": text }] }),
    asks: |text| json!({ "role": "user", "parts": [{ "text": text }] }),
};

/// The `request` with what the model has `said` as its last turn, and after it the instruction to go on, unless it
/// `goes_on` by itself. `None` if the request has no conversation.
pub(super) fn continued(request: &str, turns: Turns, said: &str, goes_on: bool) -> Option<String> {
    let conversation = Object::read(request.trim_ascii())?.get(turns.member)?;
    let mut more = (turns.said)(said).to_string();
    if !goes_on {
        more.push(',');
        more.push_str(&(turns.asks)(INSTRUCTION).to_string());
    }
    let whole = match conversation.strip_suffix(']') {
        Some(open) if open.trim_end().ends_with('[') => format!("[{more}]"),
        Some(open) => format!("{open},{more}]"),
        // A single question.
        None if conversation.starts_with('"') => {
            let question: String = serde_json::from_str(conversation).ok()?;
            format!("[{},{more}]", (turns.asks)(&question))
        }
        None => return None,
    };
    let mut continued = request.to_owned();
    continued.replace_range(span(request, conversation), &whole);
    Some(continued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_becomes_the_last_turn_and_everything_else_stays() {
        let request =
            r#" {"model":"m", "messages":[ {"role":"user","content":"Hi"} ],"seed":12345678901234567890}"#;

        let goes_on = continued(request, MESSAGES, "He\"l", true).unwrap();
        let told = continued(request, MESSAGES, "Hel", false).unwrap();

        assert_eq!(
            goes_on,
            r#" {"model":"m", "messages":[ {"role":"user","content":"Hi"} ,{"content":"He\"l","role":"assistant"}],"seed":12345678901234567890}"#
        );
        assert!(told.contains("Go on exactly where it stops"), "{told}");
        assert!(told.ends_with(r#"","role":"user"}],"seed":12345678901234567890}"#), "{told}");
    }

    #[test]
    fn a_single_question_becomes_a_conversation_and_without_one_there_is_nothing_to_go_on_with() {
        let single = continued(r#"{"input":"Hi"}"#, ITEMS, "Hel", true).unwrap();
        let empty = continued(r#"{"contents":[ ]}"#, CONTENTS, "Hel", true).unwrap();

        let single: Value = serde_json::from_str(&single).unwrap();
        assert_eq!(single["input"][0]["content"], "Hi");
        assert_eq!(single["input"][1]["content"][0]["text"], "Hel");
        assert_eq!(empty, r#"{"contents":[{"parts":[{"text":"Hel"}],"role":"model"}]}"#);
        for without in ["{}", r#"{"messages":null}"#, "[]", ""] {
            assert_eq!(continued(without, MESSAGES, "Hel", true), None, "{without}");
        }
    }
}
