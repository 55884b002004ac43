//! What [`turns`] has to know of blocks.

use std::borrow::Cow;

use super::{parts::Writer, wire::write::Block};
use crate::{
    Error,
    dialect::{canonical::Part, lost::Lost, turns},
};

impl<'a> turns::Block<'a> for Block<'a> {
    fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::text(text)
    }

    fn as_text(&mut self) -> Option<&mut Cow<'a, str>> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    fn is_thinking(&self) -> bool {
        self.is_thinking()
    }

    fn is_server_call(&self) -> bool {
        matches!(self, Self::Opaque(raw) if raw.get().contains("\"server_tool_use\""))
    }

    fn call(&self) -> Option<&Cow<'a, str>> {
        match self {
            Self::ToolUse { id, .. } => Some(id),
            _ => None,
        }
    }

    fn answers(&self) -> Option<&Cow<'a, str>> {
        match self {
            Self::ToolResult { tool_use_id, .. } => Some(tool_use_id),
            _ => None,
        }
    }

    fn id(&mut self) -> Option<&mut Cow<'a, str>> {
        match self {
            Self::ToolUse { id, .. } | Self::ToolResult { tool_use_id: id, .. } => Some(id),
            _ => None,
        }
    }

    fn result(call: Cow<'a, str>, content: Vec<Self>) -> Self {
        Self::ToolResult { tool_use_id: call, content, is_error: false, cache_control: None }
    }

    fn into_content(self) -> Vec<Self> {
        match self {
            Self::ToolResult { content, .. } => content,
            other => vec![other],
        }
    }
}

impl<'a> turns::Write<'a> for Writer<'a, '_> {
    type Block = Block<'a>;

    fn blocks(&mut self, parts: &'a [Part<'_>]) -> Result<Vec<Block<'a>>, Error> {
        self.blocks(parts)
    }

    fn lost(&mut self) -> &mut Lost {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{
        asking, assistant, call, encoded, hi, image, messages, result, system, text, thought, try_encode,
        user,
    };
    use crate::{Kind, dialect::canonical::Content};

    fn said(text: &str) -> serde_json::Value {
        json!({"type": "text", "text": text})
    }

    /// C1
    #[test]
    fn leading_instructions_become_the_system_prompt() {
        let mut request = asking(vec![system("S2"), user(vec![text("hi")])]);
        request.system = vec![text("S1")];

        let (body, lost) = encoded(&request, &[], &[]);

        assert_eq!(body["system"], json!([said("S1"), said("S2")]));
        assert_eq!(body["messages"], json!([{"role": "user", "content": [said("hi")]}]));
        assert!(lost.is_empty());
    }

    /// C2
    #[test]
    fn later_instructions_stay_in_place_where_the_model_takes_them() {
        let turns =
            || vec![user(vec![text("a")]), system("S"), assistant(vec![text("b")]), user(vec![text("c")])];
        let reminder = "<system-reminder>\nS\n</system-reminder>";

        let (in_place, _) = encoded(&asking(turns()), &["mid_conversation_system"], &[]);
        let (reminded, _) = encoded(&asking(turns()), &[], &[]);

        assert_eq!(in_place["messages"][1], json!({"role": "system", "content": [said("S")]}));
        assert_eq!(in_place["messages"].as_array().unwrap().len(), 4);
        assert_eq!(reminded["messages"][0], json!({"role": "user", "content": [said("a"), said(reminder)]}));
        assert_eq!(reminded["messages"].as_array().unwrap().len(), 3);
    }

    /// C2
    #[test]
    fn later_instructions_become_a_reminder_where_the_rules_forbid_their_place() {
        let before_user = asking(vec![user(vec![text("a")]), system("S"), user(vec![text("b")])]);
        let before_result = asking(vec![
            user(vec![text("a")]),
            assistant(vec![call("c", "f", "{}")]),
            system("S"),
            user(vec![result("c", "r")]),
        ]);

        let (before_user, _) = encoded(&before_user, &["mid_conversation_system"], &[]);
        let (before_result, _) = encoded(&before_result, &["mid_conversation_system"], &[]);

        assert_eq!(before_user["messages"].as_array().unwrap().len(), 1);
        assert_eq!(before_user["messages"][0]["content"].as_array().unwrap().len(), 3);
        let last = &before_result["messages"][2];
        assert_eq!((&last["role"], &last["content"][0]["type"]), (&json!("user"), &json!("tool_result")));
        assert_eq!(last["content"][1], said("<system-reminder>\nS\n</system-reminder>"));
    }

    /// C4
    #[test]
    fn the_last_instruction_is_asked_when_there_is_nothing_else() {
        let (body, _) = encoded(&asking(vec![system("S1"), system("S2")]), &[], &[]);

        assert_eq!(body["system"], json!([said("S1")]));
        assert_eq!(body["messages"], json!([{"role": "user", "content": [said("S2")]}]));
        assert!(
            try_encode(&asking(vec![]), &[], &[]).unwrap_err().message().contains("at least one message")
        );
    }

    /// C5, C6, C13
    #[test]
    fn turns_alternate_and_begin_with_the_user() {
        let messages = messages(vec![
            assistant(vec![text("hello")]),
            user(vec![text("a")]),
            assistant(vec![]),
            user(vec![text("b")]),
        ]);

        assert_eq!(messages[0], json!({"role": "user", "content": [said("(empty)")]}));
        assert_eq!(messages[1]["role"], "assistant");
        assert_eq!(messages[2], json!({"role": "user", "content": [said("a"), said("b")]}));
    }

    /// C7
    #[test]
    fn a_begun_answer_is_trimmed_or_refused() {
        let request = asking(vec![user(vec![text("hi")]), assistant(vec![text("Well, \n")])]);

        let (body, _) = encoded(&request, &[], &[]);
        let refused = try_encode(&request, &[], &["assistant_prefill"]).unwrap_err();

        assert_eq!(body["messages"][1]["content"], json!([said("Well,")]));
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("messages")));
    }

    /// C10, C11
    #[test]
    fn texts_without_a_character_are_not_sent() {
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![text("  \n"), call("c", "f", "")]),
            user(vec![result("c", "")]),
            assistant(vec![text("done")]),
            user(vec![text("")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([{"type": "tool_use", "id": "c", "name": "f", "input": {}}])
        );
        assert_eq!(messages[2]["content"], json!([{"type": "tool_result", "tool_use_id": "c"}]));
        assert_eq!(messages[4]["content"], json!([said("(empty)")]));
    }

    /// C12, C22, C23, C25
    #[test]
    fn results_come_first_and_in_the_order_of_the_calls() {
        let messages = messages(vec![
            user(vec![text("w?")]),
            assistant(vec![text("let me see"), call("a", "f", r#"{"city":"Paris"}"#), call("b", "f", "")]),
            user(vec![result("b", "y")]),
            user(vec![result("a", "x"), text("and?")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([
                said("let me see"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ])
        );
        assert_eq!(
            messages[2]["content"],
            json!([
                {"type": "tool_result", "tool_use_id": "a", "content": [said("x")]},
                {"type": "tool_result", "tool_use_id": "b", "content": [said("y")]},
                said("and?"),
            ])
        );
        assert_eq!(messages.as_array().unwrap().len(), 3);
    }

    /// C30
    #[test]
    fn a_result_that_answers_nothing_becomes_text() {
        let messages = messages(vec![user(vec![result("x", "42"), text("so?")])]);

        assert_eq!(
            messages[0]["content"],
            json!([said("[result of the tool call x]"), said("42"), said("so?")])
        );
    }

    /// C31
    #[test]
    fn a_call_without_a_result_gets_one() {
        let missing = |id| json!({"type": "tool_result", "tool_use_id": id, "content": [said("[no result: interrupted]")]});

        let partly = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![call("a", "f", "{}"), call("b", "f", "{}")]),
            user(vec![result("b", "r"), text("go on")]),
        ]);
        let at_the_end = messages(vec![user(vec![text("hi")]), assistant(vec![call("a", "f", "{}")])]);

        assert_eq!(partly[2]["content"][0], missing("a"));
        assert_eq!(partly[2]["content"][1]["tool_use_id"], "b");
        assert_eq!(at_the_end[2], json!({"role": "user", "content": [missing("a")]}));
    }

    /// C66, C68, C69
    #[test]
    fn proven_thoughts_come_first_and_others_are_left_out() {
        let redacted = Content::RedactedReasoning("d".into()).into();
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![text("ok"), thought("hm", Some("sig")), thought("foreign", None), redacted]),
            user(vec![text("go")]),
        ]);

        assert_eq!(
            messages[1]["content"],
            json!([
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "d"},
                said("ok"),
            ])
        );
    }

    #[test]
    fn thoughts_between_calls_stay_where_they_are() {
        let messages = messages(vec![
            user(vec![text("hi")]),
            assistant(vec![thought("1", Some("s1")), text("a"), thought("2", Some("s2")), text("b")]),
            user(vec![text("go")]),
        ]);

        let kinds: Vec<_> =
            messages[1]["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["thinking", "text", "thinking", "text"]);
    }

    /// C28
    #[test]
    fn a_failed_result_with_a_picture_keeps_both() {
        let content = Content::ToolResult {
            id: "a".into(),
            parts: vec![text("see"), image("image/png", "iVBORw0KGgoA")],
            is_error: true,
        };
        let turns =
            vec![user(vec![text("hi")]), assistant(vec![call("a", "f", "{}")]), user(vec![content.into()])];

        let messages = messages(turns);

        let result = &messages[2]["content"][0];
        assert_eq!(result["is_error"], true);
        assert_eq!(result["content"][1]["source"]["media_type"], "image/png");
    }

    #[test]
    fn the_model_and_the_stream_are_what_was_asked_for() {
        let mut request = hi();
        request.stream = true;

        let (body, _) = encoded(&request, &[], &[]);

        assert_eq!(body["model"], "m");
        assert_eq!(body["stream"], true);
        assert_eq!(body["max_tokens"], 64_000);
    }

    #[test]
    fn an_id_that_is_used_twice_becomes_another() {
        let turns = vec![
            user(vec![text("q")]),
            assistant(vec![call("c", "f", "{}"), call("c", "g", "{}")]),
            user(vec![result("c", "one"), result("c", "two")]),
            assistant(vec![call("c", "f", "{}")]),
            user(vec![result("c", "three")]),
        ];

        let messages = messages(turns);

        let ids = |index: usize, member: &str| -> Vec<String> {
            let blocks = messages[index]["content"].as_array().unwrap();
            blocks.iter().map(|block| block[member].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!((ids(1, "id"), ids(3, "id")), (vec!["c".into(), "c_2".into()], vec!["c_3".into()]));
        assert_eq!((ids(2, "tool_use_id"), ids(4, "tool_use_id")), (ids(1, "id"), ids(3, "id")));
        assert_eq!(messages[2]["content"][1]["content"][0]["text"], "two");
    }
}
