use bartizan::{Dialect, Kind, Tokens, dialect::OPENAI_CHAT};
use serde_json::{Value, json};

use super::{Wire, append, call_id, count, events, list, parsed, sse, text};
use crate::{
    rules,
    talk::{Answer, Call, Finish, PICTURE, Question, TOOL, Turn, halves, id, parameters, schema},
};

/// OpenAI's chat completions.
pub struct Chat;

fn message(at: usize, turn: &Turn) -> Vec<Value> {
    match turn {
        Turn::User { text, has_picture: false } => vec![json!({"role": "user", "content": text})],
        Turn::User { text, has_picture: true } => {
            let url = format!("data:image/png;base64,{PICTURE}");
            vec![json!({"role": "user", "content": [
                {"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]})]
        }
        Turn::Assistant { text, calls } if calls.is_empty() => {
            vec![json!({"role": "assistant", "content": text})]
        }
        Turn::Assistant { text, calls } => {
            let call = |(index, call): (usize, &Call)| {
                json!({"id": id(at, index), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments.to_string()}})
            };
            let calls: Vec<_> = calls.iter().enumerate().map(call).collect();
            vec![json!({"role": "assistant", "content": text, "tool_calls": calls})]
        }
        Turn::Results(results) => {
            let result = |(index, result): (usize, &String)| json!({"role": "tool", "tool_call_id": id(at - 1, index), "content": result});
            results.iter().enumerate().map(result).collect()
        }
    }
}

fn calls(message: &Value) -> Vec<Call> {
    let call = |call: &Value| Call {
        name: text(&call["function"]["name"]),
        arguments: parsed(&call["function"]["arguments"]),
    };
    list(&message["tool_calls"]).iter().map(call).collect()
}

fn usage(tokens: &Tokens) -> Value {
    json!({"prompt_tokens": tokens.input, "completion_tokens": tokens.output, "total_tokens": tokens.total(),
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning}})
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::Refused => "content_filter",
    }
}

fn chunk(delta: Value, finish: Option<&str>) -> String {
    sse(
        "",
        &json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-a",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}),
    )
}

impl Wire for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &OPENAI_CHAT
    }

    fn model(&self) -> &'static str {
        "gpt-a"
    }

    fn path(&self, _: bool) -> &'static str {
        "/v1/chat/completions"
    }

    fn ask(&self, question: &Question, stream: bool) -> Value {
        let mut messages = vec![json!({"role": "system", "content": question.system})];
        messages.extend(question.turns.iter().enumerate().flat_map(|(at, turn)| message(at, turn)));
        let mut body = json!({"model": "m", "messages": messages, "max_completion_tokens": 2000});
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        if question.has_tool {
            let function = json!({"name": TOOL, "description": "d", "parameters": parameters()});
            body["tools"] = json!([{"type": "function", "function": function}]);
        }
        if question.has_schema {
            body["response_format"] = json!({"type": "json_schema",
                "json_schema": {"name": "place", "schema": schema(), "strict": true}});
        }
        if question.thinks {
            body["reasoning_effort"] = "high".into();
        }
        body
    }

    fn go_on(&self, mut question: Value, answer: &Value, results: &[&str]) -> Value {
        let said = &answer["choices"][0]["message"];
        let messages = question["messages"].as_array_mut().unwrap();
        messages.push(said.clone());
        for (call, result) in list(&said["tool_calls"]).iter().zip(results) {
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
        }
        question
    }

    fn understand(&self, request: &Value) -> Question {
        rules::chat(request);
        let mut question = Question {
            has_tool: request["tools"][0]["function"]["parameters"] == parameters(),
            has_schema: request["response_format"]["json_schema"]["schema"] == schema(),
            thinks: request["reasoning_effort"] == "high",
            ..Question::default()
        };
        let mut open: Vec<String> = Vec::new();
        for message in list(&request["messages"]) {
            let content = &message["content"];
            match message["role"].as_str().unwrap() {
                "system" => question.system += content.as_str().unwrap(),
                "user" => {
                    let parts = list(content);
                    let said = parts.first().map_or(content, |part| &part["text"]);
                    let has_picture =
                        parts.iter().any(|part| text(&part["image_url"]["url"]).ends_with(PICTURE));
                    question.turns.push(Turn::User { text: text(said), has_picture });
                }
                "assistant" => {
                    open = list(&message["tool_calls"]).iter().map(|call| text(&call["id"])).collect();
                    question.turns.push(Turn::Assistant { text: text(content), calls: calls(message) });
                }
                _ => {
                    if open.first() == Some(&text(&message["tool_call_id"])) && !open.remove(0).is_empty() {
                        match question.turns.last_mut() {
                            Some(Turn::Results(results)) => results.push(text(content)),
                            _ => question.turns.push(Turn::Results(vec![text(content)])),
                        }
                    }
                }
            }
        }
        question
    }

    fn answer(&self, answer: &Answer, proof: &str) -> Value {
        let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = (*answer.reasoning).into();
        }
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().enumerate().map(|(index, call)| {
                json!({"id": call_id(proof, index), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments.to_string()}})
            });
            message["tool_calls"] = calls.collect();
        }
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-a",
            "choices": [{"index": 0, "message": message, "finish_reason": finish(answer.finish)}],
            "usage": usage(&answer.tokens)})
    }

    fn stream(&self, answer: &Answer, proof: &str) -> String {
        let mut stream = chunk(json!({"role": "assistant", "content": ""}), None);
        for (member, said) in [("reasoning_content", &answer.reasoning), ("content", &answer.text)] {
            for half in halves(said).into_iter().filter(|half| !half.is_empty()) {
                stream += &chunk(json!({ member: half }), None);
            }
        }
        for (index, call) in answer.calls.iter().enumerate() {
            let arguments = call.arguments.to_string();
            let begin = json!({"index": index, "id": call_id(proof, index), "type": "function",
                "function": {"name": call.name, "arguments": ""}});
            stream += &chunk(json!({"tool_calls": [begin]}), None);
            for half in halves(&arguments) {
                let more = json!({"index": index, "function": {"arguments": half}});
                stream += &chunk(json!({"tool_calls": [more]}), None);
            }
        }
        stream += &chunk(json!({}), Some(finish(answer.finish)));
        let counts = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-a",
            "choices": [], "usage": usage(&answer.tokens)});
        stream + &sse("", &counts) + "data: [DONE]\n\n"
    }

    fn has_proofs(&self) -> bool {
        false
    }

    fn collect(&self, stream: &str) -> Value {
        let mut events = events(stream);
        assert_eq!(events.pop().unwrap().1, "[DONE]");
        assert_eq!(events[0].1["choices"][0]["delta"]["role"], "assistant");
        let mut whole = json!({"choices": [{"message": {"role": "assistant", "content": ""}}]});
        for (_, chunk) in events {
            assert_eq!(chunk["object"], "chat.completion.chunk");
            if !chunk["usage"].is_null() {
                assert_eq!(chunk["choices"], json!([]));
                whole["usage"] = chunk["usage"].clone();
                continue;
            }
            let (choice, to) = (&chunk["choices"][0], &mut whole["choices"][0]);
            if !choice["finish_reason"].is_null() {
                assert!(to["finish_reason"].is_null());
                to["finish_reason"] = choice["finish_reason"].clone();
            }
            merge(&mut to["message"], &choice["delta"]);
        }
        whole
    }

    fn read(&self, answer: &Value) -> Answer {
        let choice = &answer["choices"][0];
        let usage = &answer["usage"];
        assert_eq!(
            usage["total_tokens"],
            count(&usage["prompt_tokens"]) + count(&usage["completion_tokens"])
        );
        Answer {
            reasoning: text(&choice["message"]["reasoning_content"]),
            text: text(&choice["message"]["content"]),
            calls: calls(&choice["message"]),
            finish: match choice["finish_reason"].as_str().unwrap() {
                "stop" => Finish::Stop,
                "length" => Finish::Length,
                "tool_calls" => Finish::Calls,
                "content_filter" => Finish::Refused,
                other => panic!("{other}"),
            },
            tokens: Tokens {
                input: count(&usage["prompt_tokens"]),
                cached: count(&usage["prompt_tokens_details"]["cached_tokens"]),
                output: count(&usage["completion_tokens"]),
                reasoning: count(&usage["completion_tokens_details"]["reasoning_tokens"]),
                ..Tokens::default()
            },
        }
    }

    fn refuse(&self, kind: Kind) -> (u16, Value) {
        refuse(kind)
    }

    fn refused(&self, status: u16, body: &Value) -> Kind {
        refused(status, body)
    }

    fn failing_stream(&self, text: &str) -> String {
        let begun = chunk(json!({"role": "assistant", "content": text}), None);
        begun + &sse("", &self.failure())
    }

    fn failed(&self, stream: &str) -> String {
        let mut events = events(stream);
        let (_, error) = events.pop().unwrap();
        assert!(error["error"]["message"].is_string(), "{error}");
        events.iter().map(|(_, chunk)| text(&chunk["choices"][0]["delta"]["content"])).collect()
    }
}

fn merge(message: &mut Value, delta: &Value) {
    for member in ["content", "reasoning_content"] {
        append(&mut message[member], &delta[member]);
    }
    for block in list(&delta["thinking_blocks"]) {
        let blocks = message.as_object_mut().unwrap().entry("thinking_blocks").or_insert(json!([]));
        blocks.as_array_mut().unwrap().push(block.clone());
    }
    for call in list(&delta["tool_calls"]) {
        let calls = message.as_object_mut().unwrap().entry("tool_calls").or_insert(json!([]));
        let (calls, at) = (calls.as_array_mut().unwrap(), call["index"].as_u64().unwrap() as usize);
        if at == calls.len() {
            calls.push(call.clone());
        } else {
            append(&mut calls[at]["function"]["arguments"], &call["function"]["arguments"]);
        }
    }
}

/// How OpenAI refuses, whatever it was asked.
pub(super) fn refuse(kind: Kind) -> (u16, Value) {
    let (status, class, code) = match kind {
        Kind::RateLimited => (429, "rate_limit_error", json!("rate_limit_exceeded")),
        Kind::InvalidRequest => (400, "invalid_request_error", json!(null)),
        Kind::ContextTooLong => (400, "invalid_request_error", json!("context_length_exceeded")),
        _ => (503, "server_error", json!("server_is_overloaded")),
    };
    (status, json!({"error": {"message": "no way", "type": class, "param": null, "code": code}}))
}

/// What OpenAI's SDKs go by: the status, and the code.
pub(super) fn refused(status: u16, body: &Value) -> Kind {
    assert!(!text(&body["error"]["message"]).is_empty(), "{body}");
    match (status, body["error"]["code"].as_str()) {
        (429, _) => Kind::RateLimited,
        (400, Some("context_length_exceeded")) => Kind::ContextTooLong,
        (400, _) => Kind::InvalidRequest,
        (503, _) => Kind::Overloaded,
        _ => Kind::Upstream,
    }
}
