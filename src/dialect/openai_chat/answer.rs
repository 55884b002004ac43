//! Whole answers, read from a provider and written for a client.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    finish::{self, Contained},
    functions::Functions,
    message, usage,
    wire::{self, Arguments},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Answer, Choice, Citation, Content, Finish, Part, Text, ToolCall},
        citation::{self, characters},
        extras::Extras,
        ids, json, json_writer,
        openai_annotations::{self, InChat},
        openai_error, proof,
        text::Str,
    },
};

/// Reads an answer.
pub(crate) fn decode(body: &[u8]) -> Result<Answer<'_>, Error> {
    let not_understood = || Error::new(Kind::Upstream, "the provider's answer can't be understood");
    // DeepSeek keeps the connection alive with blank lines before the JSON; serde skips them.
    let wire: wire::Completion<'_> =
        json::parse(body).map_err(|error| not_understood().with_source(error))?;
    if wire.error.is_some() {
        return Err(openai_error::read_inside(body).unwrap_or_else(not_understood));
    }
    let choices = wire.choices.ok_or_else(not_understood)?;
    let counted = wire.usage.or(choices.iter().find_map(|choice| choice.usage)).and_then(usage::read);
    let mut choices = choices
        .into_iter()
        .enumerate()
        .map(|(position, choice)| decode_choice(position, choice))
        .collect::<Result<Vec<_>, _>>()?;
    if let (Some(first), true) = (choices.first_mut(), wire.citations.or(wire.search_results).is_some()) {
        find(wire.citations, wire.search_results, &mut first.parts);
    }
    if choices.is_empty() {
        // Some proxies filter by leaving everything out.
        choices.push(Choice { index: 0, parts: Vec::new(), finish: Finish::Refused(None), logprobs: None });
    }
    Ok(Answer {
        id: wire.id.unwrap_or_default().into(),
        model: wire.model.unwrap_or_default().into(),
        created: wire.created.map(|seconds| seconds as u64),
        choices,
        tokens: counted.unwrap_or_default(),
        service_tier: wire.service_tier.map(Text::from),
    })
}

/// Adds the pages that stand beside an answer to what its parts cite.
fn find<'a>(citations: Option<&'a RawValue>, results: Option<&'a RawValue>, parts: &mut [Part<'a>]) {
    let cited = parts.iter().flat_map(|part| &part.citations);
    let mut known = cited.filter_map(Citation::url).map(|url| Cow::Owned(url.to_owned())).collect();
    citation::attach(openai_annotations::found(citations, results, &mut known), parts);
}

fn decode_choice(position: usize, choice: wire::Choice<'_>) -> Result<Choice<'_>, Error> {
    let index = choice.index.unwrap_or(position as u32);
    let mut message = choice.message.unwrap_or_default();
    let deprecated = message.function_call.take();
    let mut extras = Extras::default();
    let path = || format!("choices[{position}].message");
    let mut parts = message::assistant(message, &path, &mut extras)
        .map_err(|error| Error::new(Kind::Upstream, format!("the provider's answer: {error}")))?;
    if let Some(wire::CalledFunction { name: Some(name), arguments }) = deprecated {
        let arguments = arguments.map(Text::from).unwrap_or_default();
        let call = ToolCall { id: "".into(), name: name.into(), arguments, is_free_text: false };
        parts.push(Content::ToolCall(call).into());
    }
    for part in &mut parts {
        if let Content::ToolCall(ToolCall { id, .. }) = &mut part.content
            && id.is_empty()
        {
            *id = ids::new("call_").into();
        }
    }
    let contained = Contained {
        calls: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
        refusal: parts.iter().any(|part| matches!(part.content, Content::Refusal(_))),
    };
    let finish = finish::read(choice.finish_reason.as_deref(), choice.stop_reason, contained)?;
    Ok(Choice { index, parts, finish, logprobs: choice.logprobs.map(Cow::Borrowed) })
}

/// The time, in the unit of `created`.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<RenderedChoice<'a>>,
    usage: usage::Rendered,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

#[derive(Serialize)]
struct RenderedChoice<'a> {
    index: u32,
    message: RenderedMessage<'a>,
    logprobs: Option<&'a RawValue>,
    finish_reason: &'static str,
}

#[derive(Default, Serialize)]
struct RenderedMessage<'a> {
    role: &'static str,
    content: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Text<'a>>,
    /// The thoughts with their proofs, for clients that send them back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<wire::ThinkingBlock<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<wire::ToolCall<'a>>,
    /// The older form of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<wire::CalledFunction<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<InChat<'a>>,
}

/// Writes an answer, with calls in the form that the client knows.
pub(crate) fn encode(answer: &Answer<'_>, functions: Option<&Functions>) -> Bytes {
    let id = if answer.id.is_empty() { ids::new("chatcmpl-").into() } else { Cow::Borrowed(&*answer.id) };
    let mut choices: Vec<_> = answer.choices.iter().map(rendered_choice).collect();
    if let Some(functions) = functions {
        choices.iter_mut().for_each(|choice| choice.call_functions(functions));
    }
    let completion = Completion {
        id: &id,
        object: "chat.completion",
        created: answer.created.unwrap_or_else(now),
        model: &answer.model,
        choices,
        usage: (&answer.tokens).into(),
        service_tier: answer.service_tier.as_deref(),
    };
    // Nothing in these types can fail to be written.
    json_writer::to_vec(&completion).into()
}

fn rendered_choice<'a>(choice: &'a Choice<'_>) -> RenderedChoice<'a> {
    let mut message = RenderedMessage { role: "assistant", ..Default::default() };
    let mut before = None;
    for part in &choice.parts {
        message.add(part, before.replace(part));
    }
    message.annotations = annotations(&choice.parts);
    if message.tool_calls.is_empty() && message.refusal.is_none() {
        message.content.get_or_insert_default();
    }
    if let (None, Finish::Refused(Some(explanation))) = (&message.refusal, &choice.finish) {
        message.refusal = Some(Cow::Borrowed(explanation));
    }
    // Blocks without a proof say no more than the plain text.
    if message.thinking_blocks.iter().all(|block| block.signature.is_none() && block.data.is_none()) {
        message.thinking_blocks.clear();
    }
    RenderedChoice {
        index: choice.index,
        message,
        logprobs: choice.logprobs.as_deref(),
        finish_reason: finish::word(&choice.finish),
    }
}

impl RenderedChoice<'_> {
    /// Tells of the first call in the older form, which has room for one.
    fn call_functions(&mut self, functions: &Functions) {
        let mut calls = std::mem::take(&mut self.message.tool_calls).into_iter();
        self.message.function_call = calls.next().and_then(|call| call.function);
        if calls.next().is_some() {
            functions.lose_calls();
        }
        if self.finish_reason == finish::TOOL_CALLS {
            self.finish_reason = finish::FUNCTION_CALL;
        }
    }
}

/// What the texts cite, which are one in the message.
fn annotations<'a>(parts: &'a [Part<'_>]) -> Vec<InChat<'a>> {
    let mut annotations = Vec::new();
    if parts.iter().all(|part| part.citations.is_empty()) {
        return annotations;
    }
    let mut before = 0;
    for part in parts {
        let Content::Text(text) = &part.content else { continue };
        let length = characters(text);
        let said =
            part.citations.iter().filter_map(|citation| openai_annotations::in_chat(citation, 0..length));
        annotations.extend(said.map(|annotation| annotation.later(before)));
        before += length;
    }
    annotations
}

impl<'a> RenderedMessage<'a> {
    /// Adds `part`, which follows `before`.
    fn add(&mut self, part: &'a Part<'_>, before: Option<&'a Part<'_>>) {
        match &part.content {
            Content::Text(text) => append(&mut self.content, text),
            Content::Refusal(text) => append(&mut self.refusal, text),
            Content::Reasoning { text, signature } => {
                if !text.is_empty() {
                    append(&mut self.reasoning_content, text);
                }
                self.thinking_blocks.push(thinking_block(text, signature.as_deref()));
            }
            Content::RedactedReasoning(data) => self.thinking_blocks.push(redacted_block(data)),
            Content::ToolCall(call) => {
                let mut call = tool_call(call);
                // Google's proof stands with the call that it is for, and nowhere else.
                if let Some(signature) = before.and_then(|before| googles(&before.content)) {
                    self.thinking_blocks.pop();
                    call.extra_content = Some(extra_content(signature));
                }
                self.tool_calls.push(call);
            }
            _ => {}
        }
    }
}

/// Google's proof of a thought.
fn googles<'a>(content: &'a Content<'_>) -> Option<&'a str> {
    match content {
        Content::Reasoning { signature, .. } => proof::gemini(signature.as_deref()?),
        _ => None,
    }
}

/// What Google adds to a call.
pub(crate) fn extra_content(signature: &str) -> wire::ExtraContent<'_> {
    wire::ExtraContent { google: Some(wire::Proven { thought_signature: Some(signature.into()) }) }
}

fn append<'a>(text: &mut Option<Text<'a>>, more: &'a str) {
    *text.get_or_insert_default() += more;
}

/// A block of thoughts in LiteLLM's form.
pub(crate) fn thinking_block<'a>(text: &'a str, signature: Option<&'a str>) -> wire::ThinkingBlock<'a> {
    wire::ThinkingBlock {
        kind: Some("thinking".into()),
        thinking: Some(text.into()),
        signature: signature.map(Str::from),
        ..Default::default()
    }
}

/// A block of thoughts that only the provider can read, in LiteLLM's form.
pub(crate) fn redacted_block(data: &str) -> wire::ThinkingBlock<'_> {
    wire::ThinkingBlock {
        kind: Some("redacted_thinking".into()),
        data: Some(data.into()),
        ..Default::default()
    }
}

/// A call, with arguments even if there are none.
pub(crate) fn tool_call<'a>(call: &'a ToolCall<'_>) -> wire::ToolCall<'a> {
    let (id, name) = (Some(Str::from(&*call.id)), Some(Str::from(&*call.name)));
    if call.is_free_text {
        let custom = wire::CalledCustom { name, input: Some((&*call.arguments).into()) };
        return wire::ToolCall {
            id,
            kind: Some("custom".into()),
            custom: Some(custom),
            ..Default::default()
        };
    }
    let arguments = if call.arguments.is_empty() { "{}" } else { &*call.arguments };
    let function = wire::CalledFunction { name, arguments: Some(Arguments::Written(arguments.into())) };
    wire::ToolCall { id, kind: Some("function".into()), function: Some(function), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::functions::tests::client, *};
    use crate::{Tokens, dialect::canonical::Content};

    fn read(message: &str, finish: &str) -> (Vec<String>, String) {
        let body = format!(
            r#"{{"id":"x","model":"m","created":1,"choices":[{{"index":0,"message":{message},"finish_reason":{finish}}}]}}"#
        );
        let answer = decode(body.as_bytes()).unwrap();
        let parts = answer.choices[0].parts.iter().map(|part| format!("{:?}", part.content)).collect();
        (parts, format!("{:?}", answer.choices[0].finish))
    }

    fn answer<'a, const N: usize>(parts: [Content<'a>; N], finish: Finish<'a>) -> Answer<'a> {
        let choice = Choice { index: 0, parts: parts.map(Part::from).into(), finish, logprobs: None };
        Answer {
            id: "msg_1".into(),
            model: "claude-x".into(),
            created: Some(7),
            choices: vec![choice],
            ..Answer::default()
        }
    }

    fn message(answer: &Answer<'_>) -> Value {
        let body: Value = serde_json::from_slice(&encode(answer, None)).unwrap();
        body["choices"][0]["message"].clone()
    }

    #[test]
    fn an_answer_with_a_call_is_read() {
        let body = r#"

            {"id":"chatcmpl-1","object":"chat.completion","created":1741570283,"model":"gpt-x","choices":[{"index":0,"message":
            {"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
            "logprobs":{"content":[]},"finish_reason":"tool_calls"}],
            "usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"prompt_tokens_details":{"cached_tokens":300,"cache_write_tokens":200}},
            "service_tier":"default","system_fingerprint":"fp"}"#;

        let answer = decode(body.as_bytes()).unwrap();

        assert_eq!(
            (&*answer.id, &*answer.model, answer.created),
            ("chatcmpl-1", "gpt-x", Some(1_741_570_283))
        );
        assert_eq!(answer.service_tier.as_deref(), Some("default"));
        let expected = Tokens { input: 1000, cached: 300, cache_write: 200, output: 10, ..Tokens::default() };
        assert_eq!(answer.tokens, expected);
        let choice = &answer.choices[0];
        assert_eq!(choice.finish, Finish::ToolCalls);
        assert_eq!(choice.logprobs.as_ref().unwrap().get(), r#"{"content":[]}"#);
        assert!(
            matches!(&choice.parts[0].content, Content::ToolCall(call) if call.id == "call_1" && call.arguments == r#"{"a":1}"#)
        );
        assert_eq!(choice.parts.len(), 1);
    }

    #[test]
    fn arguments_may_be_an_object_and_the_reason_may_be_wrong() {
        // C39, C85
        let (parts, finish) = read(
            r#"{"content":"","tool_calls":[{"id":"c","function":{"name":"f","arguments":{"a": 1}}}]}"#,
            "\"stop\"",
        );

        assert_eq!(
            parts,
            [r#"ToolCall(ToolCall { id: "c", name: "f", arguments: "{\"a\":1}", is_free_text: false })"#]
        );
        assert_eq!(finish, "ToolCalls");
    }

    #[test]
    fn an_answer_without_an_id_gets_one() {
        let written: Value = serde_json::from_slice(&encode(&Answer::default(), None)).unwrap();

        assert!(written["id"].as_str().unwrap().starts_with("chatcmpl-"));
    }

    #[test]
    fn an_empty_answer_is_not_made_up() {
        // C133
        assert_eq!(read(r#"{"content":null}"#, "\"stop\""), (vec![], "Stop".into()));
    }

    #[test]
    fn no_choice_at_all_is_a_refusal() {
        // C84
        let answer = decode(br#"{"id":"x","choices":[]}"#).unwrap();

        assert_eq!(answer.choices.len(), 1);
        assert_eq!(answer.choices[0].finish, Finish::Refused(None));
    }

    #[test]
    fn a_refusal_is_read_as_one() {
        // C118
        let (parts, finish) = read(r#"{"content":null,"refusal":"I can't"}"#, "\"stop\"");

        assert_eq!(parts, [r#"Refusal("I can't")"#]);
        assert_eq!(finish, "Refused(None)");
    }

    #[test]
    fn content_may_be_parts() {
        // C91
        let (parts, _) = read(
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"},{"type":"text","text":"m"}],"closed":true},{"type":"text","text":"ok"}]}"#,
            "\"stop\"",
        );

        assert_eq!(parts, [r#"Reasoning { text: "hm", signature: None }"#, r#"Text("ok")"#]);
    }

    #[test]
    fn thoughts_come_first_under_every_name() {
        let first = |member: &str| read(&format!(r#"{{"content":"x",{member}}}"#), "\"stop\"").0.remove(0);

        assert_eq!(first(r#""reasoning_content":"t""#), r#"Reasoning { text: "t", signature: None }"#);
        assert_eq!(first(r#""reasoning":"t""#), r#"Reasoning { text: "t", signature: None }"#);
        assert_eq!(
            first(
                r#""reasoning":"t","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s"}]"#
            ),
            r#"Reasoning { text: "t", signature: Some("s") }"#
        );
    }

    #[test]
    fn several_answers_are_told_apart() {
        let body = r#"{"choices":[{"message":{"content":"a"}},{"index":1,"message":{"content":"b","function_call":{"name":"f","arguments":"{}"}}}]}"#;

        let answer = decode(body.as_bytes()).unwrap();

        assert_eq!((answer.choices[0].index, answer.choices[1].index), (0, 1));
        assert_eq!(answer.choices[0].finish, Finish::Stop);
        assert_eq!(answer.choices[1].finish, Finish::ToolCalls);
        assert!(
            matches!(&answer.choices[1].parts[1].content, Content::ToolCall(call) if call.id.starts_with("call_"))
        );
    }

    #[test]
    fn an_error_in_place_of_an_answer_keeps_its_class() {
        // C95
        let error = |body: &str| decode(body.as_bytes()).unwrap_err().kind();

        assert_eq!(error(r#"{"error":{"code":429,"message":"slow"}}"#), Kind::RateLimited);
        assert_eq!(error(r#"{"id":"x"}"#), Kind::Upstream);
        assert_eq!(error("<html>"), Kind::Upstream);
        assert_eq!(
            error(r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{}}]}}]}"#),
            Kind::Upstream
        );
    }

    #[test]
    fn a_proof_of_google_stands_with_its_call() {
        // C71, T18
        let proof = |signature: &str| Content::Reasoning {
            text: "hm".into(),
            signature: Some(signature.to_owned().into()),
        };
        let call = || {
            Content::ToolCall(ToolCall {
                id: "c".into(),
                name: "f".into(),
                arguments: "{}".into(),
                is_free_text: false,
            })
        };

        let signed = message(&answer([proof("gemini:U0lH"), call(), call()], Finish::ToolCalls));
        let text = message(&answer([proof("gemini:U0lH"), Content::Text("x".into())], Finish::Stop));

        let google = json!({"google": {"thought_signature": "U0lH"}});
        assert_eq!(
            (&signed["tool_calls"][0]["extra_content"], &signed["reasoning_content"]),
            (&google, &json!("hm"))
        );
        assert!(
            signed["tool_calls"][1].get("extra_content").is_none() && signed.get("thinking_blocks").is_none()
        );
        assert_eq!(text["thinking_blocks"][0]["signature"], "gemini:U0lH");
    }

    #[test]
    fn an_answer_of_anthropic_becomes_one_of_openai() {
        // C66, C83
        let tokens = Tokens {
            input: 2560,
            cached: 2048,
            cache_write: 400,
            cache_write_1h: 12,
            output: 300,
            reasoning: 120,
            ..Tokens::default()
        };
        let call = ToolCall {
            id: "toolu_1".into(),
            name: "f".into(),
            arguments: r#"{"a":1}"#.into(),
            is_free_text: false,
        };
        let parts = [
            Content::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
            Content::RedactedReasoning("d".into()),
            Content::Text("A".into()),
            Content::Text("B".into()),
            Content::ToolCall(call),
        ];
        let answer = Answer { tokens, ..answer(parts, Finish::ToolCalls) };

        let body: Value = serde_json::from_slice(&encode(&answer, None)).unwrap();

        assert_eq!(
            body,
            json!({
                "id": "msg_1", "object": "chat.completion", "created": 7, "model": "claude-x",
                "choices": [{
                    "index": 0,
                    "message": {
                        "role": "assistant", "content": "AB", "refusal": null, "reasoning_content": "hm",
                        "thinking_blocks": [
                            {"type": "thinking", "thinking": "hm", "signature": "sig"},
                            {"type": "redacted_thinking", "data": "d"},
                        ],
                        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}],
                    },
                    "logprobs": null,
                    "finish_reason": "tool_calls",
                }],
                "usage": {
                    "prompt_tokens": 2560, "completion_tokens": 300, "total_tokens": 2860,
                    "prompt_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 412},
                    "completion_tokens_details": {"reasoning_tokens": 120},
                },
            })
        );
    }

    #[test]
    fn content_is_empty_text_if_nothing_was_said_and_null_beside_calls() {
        // C82
        let call =
            ToolCall { id: "a".into(), name: "g".into(), arguments: "select".into(), is_free_text: true };

        let nothing = message(&answer([], Finish::Stop));
        let calling = message(&answer([Content::ToolCall(call)], Finish::ToolCalls));

        assert_eq!(nothing, json!({"role": "assistant", "content": "", "refusal": null}));
        assert_eq!(calling["content"], Value::Null);
        assert_eq!(
            calling["tool_calls"][0],
            json!({"id": "a", "type": "custom", "custom": {"name": "g", "input": "select"}})
        );
    }

    #[test]
    fn the_reason_of_a_refusal_is_said() {
        // C118
        let explained =
            message(&answer([Content::Text("so".into())], Finish::Refused(Some("policy".into()))));
        let refusing =
            message(&answer([Content::Refusal("no".into())], Finish::Refused(Some("policy".into()))));

        assert_eq!(explained, json!({"role": "assistant", "content": "so", "refusal": "policy"}));
        assert_eq!(refusing["refusal"], "no");
    }

    #[test]
    fn thoughts_without_a_proof_are_plain_text() {
        let thought = Content::Reasoning { text: "hm".into(), signature: None };

        let message = message(&answer([thought, Content::Text("x".into())], Finish::Stop));

        assert_eq!(message["reasoning_content"], "hm");
        assert_eq!(message.get("thinking_blocks"), None);
    }

    #[test]
    fn a_client_of_functions_is_told_of_one_call_in_its_own_form() {
        let call = |name: &'static str| {
            let arguments = if name == "f" { r#"{"a":1}"# } else { "" };
            let (name, arguments) = (name.into(), arguments.into());
            Content::ToolCall(ToolCall { id: "c".into(), name, arguments, is_free_text: false })
        };
        let ((one, lost_of_one), (two, lost_of_two)) = (client(), client());
        let written = |answer: &Answer<'_>, functions| -> Value {
            let body: Value = serde_json::from_slice(&encode(answer, Some(functions))).unwrap();
            body["choices"][0].clone()
        };

        let single = written(&answer([call("f")], Finish::ToolCalls), &one);
        let several =
            written(&answer([Content::Text("x".into()), call("g"), call("f")], Finish::ToolCalls), &two);
        let none = written(&answer([Content::Text("x".into())], Finish::Stop), &one);

        assert_eq!(
            single,
            json!({"index": 0, "finish_reason": "function_call", "logprobs": null, "message": {
                "role": "assistant", "content": null, "refusal": null,
                "function_call": {"name": "f", "arguments": "{\"a\":1}"}}})
        );
        assert_eq!(several["message"]["function_call"], json!({"name": "g", "arguments": "{}"}));
        assert_eq!(
            (&several["message"]["content"], several["message"].get("tool_calls")),
            (&json!("x"), None)
        );
        assert_eq!((&none["finish_reason"], none["message"].get("function_call")), (&json!("stop"), None));
        assert_eq!((lost_of_one().len(), lost_of_two()), (0, vec!["answer.tool_calls".into()]));
    }
}
