//! Whole answers, in both directions.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    citations,
    codec::ID,
    content::Reader,
    finish, usage,
    wire::{
        read,
        write::{self, Block, Stop},
    },
};
use crate::{
    Error, Kind, Tokens,
    dialect::{
        arguments,
        canonical::{Answer, Choice, Content, Finish, Part, ToolCall},
        ids, json, json_writer,
    },
};

/// Reads a provider's answer.
pub(super) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let wire: read::Answer<'_> = json::parse(body).map_err(incomprehensible)?;
    let content =
        wire.content.ok_or_else(|| Error::new(Kind::Upstream, "the provider's answer has no content"))?;
    let parts = Reader::default().content(content, &|| "content".into()).map_err(incomprehensible)?;
    let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let explanation = wire.stop_details.and_then(|details| details.explanation);
    let finish = finish::read(wire.stop_reason.as_deref(), wire.stop_sequence, explanation, called);
    let mut tokens = Tokens::default();
    if let Some(usage) = wire.usage {
        usage::merge(usage, &mut tokens);
    }
    Ok(Answer {
        id: wire.id.unwrap_or_default().into(),
        model: wire.model.unwrap_or_default().into(),
        created: None,
        choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
        tokens,
        service_tier: wire.usage.and_then(usage::service_tier),
    })
}

/// The provider sent what isn't an answer; never the client's fault.
fn incomprehensible(error: impl Into<crate::BoxError>) -> Error {
    Error::new(Kind::Upstream, "the provider's answer can't be understood").with_source(error)
}

/// Writes an answer for a client.
pub(super) fn encode(answer: &Answer<'_>) -> Bytes {
    // A client of this dialect can't ask for more than one.
    let choice = answer.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let id = if answer.id.is_empty() { ids::new("msg_").into() } else { Cow::Borrowed(&*answer.id) };
    let wire = write::Answer {
        id: &id,
        kind: "message",
        role: "assistant",
        model: &answer.model,
        content: parts.iter().flat_map(blocks).collect(),
        stop: stop(choice.map_or(&Finish::Stop, |choice| &choice.finish), parts),
        usage: usage::write(&answer.tokens, answer.service_tier.as_deref()),
    };
    json_writer::to_vec(&wire).into()
}

fn stop<'a>(finish: &'a Finish<'_>, parts: &[Part<'_>]) -> Stop<'a> {
    let calls = || {
        parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    };
    if calls().any(|call| !call.is_free_text && !arguments::object(&call.arguments).1) {
        // Arguments that end in the middle were cut off by the cap, whatever the provider says.
        return finish::write(&Finish::Length, true, false);
    }
    let refused = parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
    finish::write(finish, calls().next().is_some(), refused)
}

fn blocks<'a>(part: &'a Part<'_>) -> Vec<Block<'a>> {
    match &part.content {
        Content::Text(text) if !part.citations.is_empty() => citations::blocks(text, &part.citations),
        content => block(content).into_iter().collect(),
    }
}

fn block<'a>(content: &'a Content<'_>) -> Option<Block<'a>> {
    Some(match content {
        Content::Text(text) | Content::Refusal(text) if text.is_empty() => return None,
        Content::Text(text) | Content::Refusal(text) => Block::text(&**text),
        Content::ToolCall(call) => tool_use(call),
        Content::Reasoning { text, signature } => {
            Block::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() }
        }
        Content::RedactedReasoning(data) => Block::RedactedThinking { data },
        Content::Opaque { dialect: ID, raw, .. } => Block::Opaque(raw),
        Content::Opaque { .. }
        | Content::Image(_)
        | Content::Document { .. }
        | Content::Audio { .. }
        | Content::ToolResult { .. } => return None,
    })
}

fn tool_use<'a>(call: &'a ToolCall<'_>) -> Block<'a> {
    let id = if call.id.is_empty() { ids::new("toolu_").into() } else { Cow::Borrowed(&*call.id) };
    let input = match call.is_free_text {
        true => Cow::Owned(arguments::free_text(&call.arguments)),
        false => arguments::object(&call.arguments).0,
    };
    Block::ToolUse { id, name: &call.name, input, cache_control: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{call, raw, text, thought};
    use super::*;

    const T16: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
        {"type":"thinking","thinking":"hm","signature":"sig"},
        {"type":"text","text":"A","citations":null},
        {"type":"server_tool_use","id":"s","name":"web_search","input":{}},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}}],
        "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":100,"cache_read_input_tokens":2048,
        "cache_creation_input_tokens":412,"output_tokens":300,"output_tokens_details":{"thinking_tokens":120},
        "service_tier":"standard"}}"#;

    fn encoded(parts: Vec<Part<'_>>, finish: Finish<'_>) -> Value {
        let answer = Answer {
            model: "m".into(),
            choices: vec![Choice { index: 0, parts, finish, logprobs: None }],
            ..Answer::default()
        };
        serde_json::from_slice(&encode(&answer)).unwrap()
    }

    fn finish_of(json: &str) -> Finish<'_> {
        decode(json.as_bytes()).unwrap().choices.remove(0).finish
    }

    /// T16
    #[test]
    fn an_answer_is_understood() {
        let answer = decode(T16.as_bytes()).unwrap();

        assert_eq!(
            (&*answer.id, &*answer.model, answer.service_tier.as_deref()),
            ("msg_1", "claude-x", Some("default"))
        );
        assert_eq!((answer.tokens.input, answer.tokens.fresh(), answer.tokens.output), (2560, 100, 300));
        assert_eq!(answer.tokens.reasoning, 120);
        let [choice] = &answer.choices[..] else { panic!() };
        assert_eq!(choice.finish, Finish::ToolCalls);
        assert!(
            matches!(&choice.parts[0].content, Content::Reasoning { signature: Some(s), .. } if s == "sig")
        );
        assert!(
            matches!(&choice.parts[2].content, Content::Opaque { kind, .. } if kind == "server_tool_use")
        );
        assert!(
            matches!(&choice.parts[3].content, Content::ToolCall(call) if call.arguments == r#"{"a":1}"#)
        );
    }

    /// C82, C118 and §7
    #[test]
    fn the_reasons_for_an_end_are_understood() {
        let of = |members: &str| format!(r#"{{"content":[],{members}}}"#);

        assert_eq!(finish_of(&of(r#""stop_reason":"end_turn""#)), Finish::Stop);
        assert_eq!(
            finish_of(&of(r#""stop_reason":"stop_sequence","stop_sequence":"X""#)),
            Finish::StopSequence("X".into())
        );
        for reason in ["max_tokens", "model_context_window_exceeded", "pause_turn", "compaction"] {
            assert_eq!(finish_of(&of(&format!(r#""stop_reason":"{reason}""#))), Finish::Length);
        }
        let refusal = r#""stop_reason":"refusal","stop_details":{"type":"refusal","category":"bio","explanation":"no"}"#;
        assert_eq!(finish_of(&of(refusal)), Finish::Refused(Some("no".into())));
        assert_eq!(finish_of(&of(r#""stop_reason":null"#)), Finish::Stop);
    }

    #[test]
    fn what_is_no_answer_is_the_providers_fault() {
        for body in ["", "[]", r#"{"id":"x"}"#, r#"{"content":[{"type":"text"}]}"#] {
            assert_eq!(decode(body.as_bytes()).unwrap_err().kind(), Kind::Upstream);
        }
    }

    /// T17, T23, C85
    #[test]
    fn an_answer_is_written_with_all_that_clients_need() {
        let mut answer = Answer { id: "chatcmpl-1".into(), model: "gpt-x".into(), ..Answer::default() };
        answer.tokens =
            Tokens { input: 1000, cached: 300, cache_write: 200, output: 10, ..Tokens::default() };
        let parts = vec![call("call_1", "f", r#"{"a":1}"#)];
        answer.choices.push(Choice { index: 0, parts, finish: Finish::Stop, logprobs: None });

        let written: Value = serde_json::from_slice(&encode(&answer)).unwrap();

        assert_eq!(
            written,
            json!({"id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt-x",
                "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}],
                "stop_reason": "tool_use", "stop_sequence": null,
                "usage": {"input_tokens": 500, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 200,
                    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": 10}})
        );
    }

    #[test]
    fn thoughts_and_opaque_blocks_come_out_as_they_went_in() {
        let answer = decode(T16.as_bytes()).unwrap();

        let written: Value = serde_json::from_slice(&encode(&answer)).unwrap();

        let original: Value = serde_json::from_str(T16).unwrap();
        assert_eq!(written["content"][0], original["content"][0]);
        assert_eq!(written["content"][2], original["content"][2]);
        assert_eq!(written["usage"]["cache_read_input_tokens"], 2048);
        assert_eq!(written["usage"]["service_tier"], "standard");
    }

    /// C133, T20
    #[test]
    fn an_empty_answer_stays_empty() {
        assert_eq!(encoded(vec![text("")], Finish::Stop)["content"], json!([]));
        assert_eq!(encoded(vec![], Finish::Refused(None))["stop_reason"], "refusal");
        let id = encoded(vec![], Finish::Stop)["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("msg_"));
    }

    /// C37
    #[test]
    fn a_call_that_was_cut_off_says_so() {
        let written = encoded(vec![call("", "f", r#"{"a":"#)], Finish::ToolCalls);

        assert_eq!(written["content"][0]["input"], json!({"a": null}));
        assert_eq!(written["stop_reason"], "max_tokens");
        assert!(written["content"][0]["id"].as_str().unwrap().starts_with("toolu_"));
    }

    /// C118
    #[test]
    fn a_refusal_is_said_and_given_as_the_reason() {
        let written = encoded(vec![Content::Refusal("I can't".into()).into()], Finish::Stop);
        let explained = encoded(vec![], Finish::Refused(Some("policy".into())));

        assert_eq!(written["content"], json!([{"type": "text", "text": "I can't"}]));
        assert_eq!(written["stop_reason"], "refusal");
        assert_eq!(
            explained["stop_details"],
            json!({"type": "refusal", "category": null, "explanation": "policy"})
        );
    }

    #[test]
    fn what_only_others_know_is_left_out() {
        let foreign = Content::Opaque { dialect: "other", kind: "x".into(), raw: raw("{}") };

        let written = encoded(vec![foreign.into(), thought("t", None)], Finish::Stop);

        assert_eq!(written["content"], json!([{"type": "thinking", "thinking": "t", "signature": ""}]));
    }
}
