use bartizan::{Dialect, Kind, Tokens, dialect::ANTHROPIC};
use serde_json::{Value, json};

use super::{Wire, append, call_id, count, events, joined, list, parsed, sse, text};
use crate::{
    rules,
    talk::{Answer, Call, Finish, PICTURE, Question, TOOL, Turn, halves, id, parameters, schema},
};

/// Anthropic's messages.
pub struct Messages;

fn message(at: usize, turn: &Turn) -> Value {
    match turn {
        Turn::User { text, has_picture: false } => json!({"role": "user", "content": text}),
        Turn::User { text, has_picture: true } => {
            json!({"role": "user", "content": [{"type": "text", "text": text},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}]})
        }
        Turn::Assistant { text, calls } => {
            let mut content = vec![json!({"type": "text", "text": text})];
            content.extend(calls.iter().enumerate().map(|(index, call)| {
                json!({"type": "tool_use", "id": id(at, index), "name": call.name, "input": call.arguments})
            }));
            json!({"role": "assistant", "content": content})
        }
        Turn::Results(results) => {
            let result = |(index, result): (usize, &String)| json!({"type": "tool_result", "tool_use_id": id(at - 1, index), "content": result});
            json!({"role": "user", "content": results.iter().enumerate().map(result).collect::<Vec<_>>()})
        }
    }
}

fn of_type<'v>(blocks: &'v [Value], kind: &'static str) -> impl Iterator<Item = &'v Value> {
    blocks.iter().filter(move |block| block["type"] == kind)
}

fn calls(blocks: &[Value]) -> Vec<Call> {
    let call = |block: &Value| Call { name: text(&block["name"]), arguments: block["input"].clone() };
    of_type(blocks, "tool_use").map(call).collect()
}

/// A text, in whichever form it comes.
fn said(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        _ => joined(list(content).iter().map(|block| &block["text"])),
    }
}

fn usage(tokens: &Tokens) -> Value {
    json!({"input_tokens": tokens.fresh(), "cache_read_input_tokens": tokens.cached, "cache_creation_input_tokens": 0,
        "output_tokens": tokens.output, "output_tokens_details": {"thinking_tokens": tokens.reasoning}})
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Calls => "tool_use",
        Finish::Refused => "refusal",
    }
}

fn content(answer: &Answer, proof: &str) -> Vec<Value> {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": answer.reasoning, "signature": proof}));
    }
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    content.extend(answer.calls.iter().enumerate().map(|(index, call)| {
        json!({"type": "tool_use", "id": call_id(proof, index), "name": call.name, "input": call.arguments})
    }));
    content
}

fn event(data: &Value) -> String {
    sse(data["type"].as_str().unwrap(), data)
}

fn start(tokens: &Tokens) -> String {
    let mut counts = usage(tokens);
    counts["output_tokens"] = 1.into();
    event(&json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-a", "content": [], "stop_reason": null, "stop_sequence": null, "usage": counts}}))
}

/// The deltas of a block, and how it begins.
fn block(block: &Value) -> (Value, Vec<Value>) {
    let pieces = |text: String, kind: &str, member: &str| {
        halves(&text).map(|half| json!({"type": kind, member: half})).to_vec()
    };
    let mut begin = block.clone();
    let mut deltas = match block["type"].as_str().unwrap() {
        "thinking" => pieces(text(&block["thinking"]), "thinking_delta", "thinking"),
        "text" => pieces(text(&block["text"]), "text_delta", "text"),
        _ => pieces(block["input"].to_string(), "input_json_delta", "partial_json"),
    };
    for (member, empty) in
        [("thinking", json!("")), ("text", json!("")), ("input", json!({})), ("signature", json!(""))]
    {
        if let Some(value) = begin.get_mut(member) {
            *value = empty;
        }
    }
    if let Some(signature) = block.get("signature") {
        deltas.push(json!({"type": "signature_delta", "signature": signature}));
    }
    (begin, deltas)
}

impl Wire for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &ANTHROPIC
    }

    fn model(&self) -> &'static str {
        "claude-a"
    }

    fn path(&self, _: bool) -> &'static str {
        "/v1/messages"
    }

    fn ask(&self, question: &Question, stream: bool) -> Value {
        let messages: Vec<_> =
            question.turns.iter().enumerate().map(|(at, turn)| message(at, turn)).collect();
        let mut body = json!({"model": "m", "max_tokens": 2000, "system": question.system, "messages": messages, "stream": stream});
        if question.has_tool {
            body["tools"] = json!([{"name": TOOL, "description": "d", "input_schema": parameters()}]);
        }
        if question.has_schema {
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
        }
        if question.thinks {
            body["thinking"] = json!({"type": "adaptive", "display": "summarized"});
            body["output_config"]["effort"] = "high".into();
        }
        body
    }

    fn go_on(&self, mut question: Value, answer: &Value, results: &[&str]) -> Value {
        let calls = of_type(list(&answer["content"]), "tool_use");
        let results: Vec<_> = calls
            .zip(results)
            .map(
                |(call, result)| json!({"type": "tool_result", "tool_use_id": call["id"], "content": result}),
            )
            .collect();
        let messages = question["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": answer["content"]}));
        messages.push(json!({"role": "user", "content": results}));
        question
    }

    fn understand(&self, request: &Value) -> Question {
        let mut strict = request.clone();
        for message in strict["messages"].as_array_mut().unwrap() {
            // A client of this dialect may write texts without blocks.
            if let Some(text) = message["content"].as_str() {
                message["content"] = json!([{"type": "text", "text": text}]);
            }
        }
        rules::anthropic(&strict);
        let config = &request["output_config"];
        let mut question = Question {
            system: said(&request["system"]),
            has_tool: request["tools"][0]["input_schema"] == parameters(),
            has_schema: config["format"]["schema"] == schema(),
            thinks: request["thinking"]["type"] == "adaptive"
                && request["thinking"]["display"] == "summarized"
                && config["effort"] == "high",
            ..Question::default()
        };
        for message in list(&request["messages"]) {
            let (content, blocks) = (&message["content"], list(&message["content"]));
            let results: Vec<_> =
                of_type(blocks, "tool_result").map(|block| said(&block["content"])).collect();
            question.turns.push(match message["role"].as_str().unwrap() {
                "assistant" => Turn::Assistant { text: said(content), calls: calls(blocks) },
                _ if !results.is_empty() => Turn::Results(results),
                _ => Turn::User {
                    text: said(content),
                    has_picture: of_type(blocks, "image").any(|block| block["source"]["data"] == PICTURE),
                },
            });
        }
        question
    }

    fn answer(&self, answer: &Answer, proof: &str) -> Value {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-a",
            "content": content(answer, proof), "stop_reason": stop_reason(answer.finish), "stop_sequence": null,
            "usage": usage(&answer.tokens)})
    }

    fn stream(&self, answer: &Answer, proof: &str) -> String {
        let mut stream = start(&answer.tokens) + &event(&json!({"type": "ping"}));
        for (index, whole) in content(answer, proof).iter().enumerate() {
            let (begin, deltas) = block(whole);
            stream += &event(&json!({"type": "content_block_start", "index": index, "content_block": begin}));
            for delta in deltas {
                stream += &event(&json!({"type": "content_block_delta", "index": index, "delta": delta}));
            }
            stream += &event(&json!({"type": "content_block_stop", "index": index}));
        }
        let delta = json!({"stop_reason": stop_reason(answer.finish), "stop_sequence": null});
        let counts = json!({"output_tokens": answer.tokens.output,
            "output_tokens_details": {"thinking_tokens": answer.tokens.reasoning}});
        stream += &event(&json!({"type": "message_delta", "delta": delta, "usage": counts}));
        stream + &event(&json!({"type": "message_stop"}))
    }

    fn collect(&self, stream: &str) -> Value {
        let events = events(stream);
        assert_eq!(events.last().unwrap().1["type"], "message_stop", "{stream}");
        let mut whole = events[0].1["message"].clone();
        assert_eq!(whole["content"], json!([]), "{stream}");
        let mut open = None;
        for (name, event) in &events {
            assert_eq!(*name, event["type"], "{stream}");
            let at = event["index"].as_u64().map(|at| at as usize);
            match &**name {
                "content_block_start" => {
                    assert!(open.is_none() && at == Some(list(&whole["content"]).len()), "{stream}");
                    whole["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                    open = at;
                }
                "content_block_delta" => {
                    assert_eq!(at, open, "{stream}");
                    let to = &mut whole["content"][at.unwrap()];
                    for member in ["text", "thinking", "partial_json", "signature"] {
                        append(&mut to[member], &event["delta"][member]);
                    }
                }
                "content_block_stop" => {
                    let to = &mut whole["content"][at.unwrap()];
                    if to["type"] == "tool_use" {
                        to["input"] = parsed(&to["partial_json"]);
                    }
                    // What the other kinds of blocks have.
                    to.as_object_mut()
                        .unwrap()
                        .retain(|name, value| !value.is_null() && name != "partial_json");
                    assert_eq!(open.take(), at, "{stream}");
                }
                "message_delta" => {
                    whole["stop_reason"] = event["delta"]["stop_reason"].clone();
                    for (name, count) in event["usage"].as_object().unwrap() {
                        whole["usage"][name] = count.clone();
                    }
                }
                _ => {}
            }
        }
        assert!(open.is_none(), "{stream}");
        whole
    }

    fn read(&self, answer: &Value) -> Answer {
        let (blocks, usage) = (list(&answer["content"]), &answer["usage"]);
        let cached = count(&usage["cache_read_input_tokens"]);
        Answer {
            reasoning: joined(of_type(blocks, "thinking").map(|block| &block["thinking"])),
            text: joined(of_type(blocks, "text").map(|block| &block["text"])),
            calls: calls(blocks),
            finish: match answer["stop_reason"].as_str().unwrap() {
                "end_turn" => Finish::Stop,
                "max_tokens" => Finish::Length,
                "tool_use" => Finish::Calls,
                "refusal" => Finish::Refused,
                other => panic!("{other}"),
            },
            tokens: Tokens {
                input: count(&usage["input_tokens"]) + cached,
                cached,
                output: count(&usage["output_tokens"]),
                reasoning: count(&usage["output_tokens_details"]["thinking_tokens"]),
                ..Tokens::default()
            },
        }
    }

    fn refuse(&self, kind: Kind) -> (u16, Value) {
        let (status, class, message) = match kind {
            Kind::RateLimited => (429, "rate_limit_error", "no way"),
            Kind::InvalidRequest => (400, "invalid_request_error", "no way"),
            Kind::ContextTooLong => {
                (400, "invalid_request_error", "prompt is too long: 130 tokens > 100 maximum")
            }
            _ => (529, "overloaded_error", "no way"),
        };
        (status, json!({"type": "error", "error": {"type": class, "message": message}}))
    }

    fn refused(&self, status: u16, body: &Value) -> Kind {
        assert_eq!(body["type"], "error");
        let is_too_long = text(&body["error"]["message"]).starts_with("prompt is too long");
        match (status, body["error"]["type"].as_str().unwrap()) {
            (429, "rate_limit_error") => Kind::RateLimited,
            (400, "invalid_request_error") if is_too_long => Kind::ContextTooLong,
            (400, "invalid_request_error") => Kind::InvalidRequest,
            (529, "overloaded_error") => Kind::Overloaded,
            _ => Kind::Upstream,
        }
    }

    fn failing_stream(&self, text: &str) -> String {
        let begin =
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
        let delta =
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        let said = if text.is_empty() { String::new() } else { event(&begin) + &event(&delta) };
        start(&Tokens::default()) + &said + &event(&self.failure())
    }

    fn failed(&self, stream: &str) -> String {
        let mut events = events(stream);
        let (name, error) = events.pop().unwrap();
        assert!(name == "error" && error["error"]["message"].is_string(), "{error}");
        joined(events.iter().map(|(_, event)| &event["delta"]["text"]))
    }
}
