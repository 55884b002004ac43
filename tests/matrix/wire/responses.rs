use bartizan::{Dialect, Kind, Tokens, dialect::OPENAI_RESPONSES};
use serde_json::{Value, json};

use super::{Wire, call_id, chat, count, events, joined, list, parsed, sse, text};
use crate::{
    rules,
    talk::{Answer, Call, Finish, PICTURE, Question, TOOL, Turn, halves, id, parameters, schema},
};

/// OpenAI's responses.
pub struct Responses;

fn items(at: usize, turn: &Turn) -> Vec<Value> {
    match turn {
        Turn::User { text, has_picture } => {
            let mut content = vec![json!({"type": "input_text", "text": text})];
            if *has_picture {
                let url = format!("data:image/png;base64,{PICTURE}");
                content.push(json!({"type": "input_image", "image_url": url, "detail": "auto"}));
            }
            vec![json!({"type": "message", "role": "user", "content": content})]
        }
        Turn::Assistant { text, calls } => {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let mut items = vec![json!({"type": "message", "role": "assistant", "content": content})];
            items.extend(calls.iter().enumerate().map(|(index, call)| {
                json!({"type": "function_call", "call_id": id(at, index), "name": call.name,
                    "arguments": call.arguments.to_string()})
            }));
            items
        }
        Turn::Results(results) => {
            let result = |(index, result): (usize, &String)| json!({"type": "function_call_output", "call_id": id(at - 1, index), "output": result});
            results.iter().enumerate().map(result).collect()
        }
    }
}

fn of_type<'v>(items: &'v [Value], kind: &'static str) -> impl Iterator<Item = &'v Value> {
    items.iter().filter(move |item| item["type"] == kind)
}

fn call(item: &Value) -> Call {
    Call { name: text(&item["name"]), arguments: parsed(&item["arguments"]) }
}

fn output(answer: &Answer, proof: &str) -> Vec<Value> {
    let mut output = Vec::new();
    if !answer.reasoning.is_empty() {
        let summary = json!([{"type": "summary_text", "text": answer.reasoning}]);
        output.push(json!({"type": "reasoning", "id": format!("rs_{proof}"), "summary": summary,
            "encrypted_content": proof}));
    }
    if !answer.text.is_empty() {
        let content =
            json!([{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}]);
        output.push(json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": content}));
    }
    output.extend(answer.calls.iter().enumerate().map(|(index, call)| {
        json!({"type": "function_call", "id": format!("fc_{index}"), "status": "completed",
            "call_id": call_id(proof, index), "name": call.name, "arguments": call.arguments.to_string()})
    }));
    output
}

fn response(answer: Option<&Answer>, proof: &str) -> Value {
    let (status, incomplete) = match answer.map(|answer| answer.finish) {
        None => ("in_progress", Value::Null),
        Some(Finish::Stop | Finish::Calls) => ("completed", Value::Null),
        Some(Finish::Length) => ("incomplete", json!({"reason": "max_output_tokens"})),
        Some(Finish::Refused) => ("incomplete", json!({"reason": "content_filter"})),
    };
    let usage = answer.map(|Answer { tokens, .. }| {
        json!({"input_tokens": tokens.input, "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output, "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.total()})
    });
    let output = answer.map(|answer| output(answer, proof)).unwrap_or_default();
    json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": null,
        "incomplete_details": incomplete, "model": "gpt-r", "output": output, "usage": usage, "metadata": {},
        "instructions": null, "parallel_tool_calls": true, "temperature": 1.0, "top_p": 1.0,
        "tool_choice": "auto", "tools": []})
}

/// The deltas of an item, the item as it begins.
fn pieces(item: &Value) -> (Value, &'static str, [String; 2]) {
    let (kind, whole, member) = match item["type"].as_str().unwrap() {
        "reasoning" => ("reasoning_summary_text", &item["summary"][0]["text"], "summary"),
        "message" => ("output_text", &item["content"][0]["text"], "content"),
        _ => ("function_call_arguments", &item["arguments"], "arguments"),
    };
    let mut begin = item.clone();
    begin[member] = if member == "arguments" { json!("") } else { json!([]) };
    begin.as_object_mut().unwrap().remove("encrypted_content");
    (begin, kind, halves(whole.as_str().unwrap()).map(str::to_owned))
}

fn numbered(events: Vec<Value>) -> String {
    let event = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = number.into();
        sse(&text(&event["type"]), &event)
    };
    events.into_iter().enumerate().map(event).collect()
}

fn begun() -> Vec<Value> {
    ["response.created", "response.in_progress"]
        .map(|kind| json!({"type": kind, "response": response(None, "")}))
        .into()
}

impl Wire for Responses {
    fn name(&self) -> &'static str {
        "responses"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &OPENAI_RESPONSES
    }

    fn model(&self) -> &'static str {
        "gpt-r"
    }

    fn path(&self, _: bool) -> &'static str {
        "/v1/responses"
    }

    fn ask(&self, question: &Question, stream: bool) -> Value {
        let input: Vec<_> =
            question.turns.iter().enumerate().flat_map(|(at, turn)| items(at, turn)).collect();
        let mut body = json!({"model": "m", "instructions": question.system, "input": input, "stream": stream,
            "max_output_tokens": 2000, "store": false});
        if question.has_tool {
            body["tools"] = json!([{"type": "function", "name": TOOL, "description": "d",
                "parameters": parameters(), "strict": false}]);
        }
        if question.has_schema {
            body["text"] = json!({"format": {"type": "json_schema", "name": "place", "schema": schema(), "strict": true}});
        }
        if question.thinks {
            body["reasoning"] = json!({"effort": "high", "summary": "auto"});
            body["include"] = json!(["reasoning.encrypted_content"]);
        }
        body
    }

    fn go_on(&self, mut question: Value, answer: &Value, results: &[&str]) -> Value {
        let output = list(&answer["output"]);
        let calls = of_type(output, "function_call").zip(results);
        let results: Vec<_> = calls
            .map(|(call, result)| json!({"type": "function_call_output", "call_id": call["call_id"], "output": result}))
            .collect();
        let input = question["input"].as_array_mut().unwrap();
        input.extend(output.iter().cloned().chain(results));
        question
    }

    fn understand(&self, request: &Value) -> Question {
        rules::responses(request);
        let mut question = Question {
            system: text(&request["instructions"]),
            has_tool: request["tools"][0]["parameters"] == parameters(),
            has_schema: request["text"]["format"]["schema"] == schema(),
            thinks: request["reasoning"] == json!({"effort": "high", "summary": "auto"})
                && request["include"] == json!(["reasoning.encrypted_content"]),
            ..Question::default()
        };
        for item in list(&request["input"]) {
            let content = list(&item["content"]);
            let said = joined(content.iter().filter_map(|part| part.get("text")));
            match (item["type"].as_str().unwrap(), item["role"].as_str(), question.turns.last_mut()) {
                ("message", Some("system" | "developer"), _) => question.system += &said,
                ("message", Some("user"), _) => {
                    let has_picture = content.iter().any(|part| text(&part["image_url"]).ends_with(PICTURE));
                    question.turns.push(Turn::User { text: said, has_picture });
                }
                ("message", ..) => question.turns.push(Turn::Assistant { text: said, calls: Vec::new() }),
                ("function_call", _, Some(Turn::Assistant { calls, .. })) => calls.push(call(item)),
                ("function_call", ..) => {
                    question.turns.push(Turn::Assistant { text: String::new(), calls: vec![call(item)] });
                }
                ("function_call_output", _, Some(Turn::Results(results))) => {
                    results.push(text(&item["output"]))
                }
                ("function_call_output", ..) => {
                    question.turns.push(Turn::Results(vec![text(&item["output"])]));
                }
                _ => {}
            }
        }
        question
    }

    fn answer(&self, answer: &Answer, proof: &str) -> Value {
        response(Some(answer), proof)
    }

    fn stream(&self, answer: &Answer, proof: &str) -> String {
        let mut events = begun();
        for (index, item) in output(answer, proof).iter().enumerate() {
            let (begin, kind, halves) = pieces(item);
            let id = &item["id"];
            events.push(json!({"type": "response.output_item.added", "output_index": index, "item": begin}));
            for half in halves {
                events.push(
                    json!({"type": format!("response.{kind}.delta"), "item_id": id, "output_index": index,
                    "content_index": 0, "summary_index": 0, "delta": half}),
                );
            }
            events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        }
        let whole = response(Some(answer), proof);
        events.push(json!({"type": format!("response.{}", text(&whole["status"])), "response": whole}));
        numbered(events)
    }

    fn collect(&self, stream: &str) -> Value {
        let events = events(stream);
        let kinds: Vec<_> = events.iter().map(|(_, event)| text(&event["type"])).collect();
        assert_eq!(kinds[..2], ["response.created", "response.in_progress"], "{stream}");
        for (number, (name, event)) in events.iter().enumerate() {
            assert!(*name == kinds[number] && event["sequence_number"] == number, "{stream}");
        }
        let last = events.last().unwrap();
        assert!(["response.completed", "response.incomplete"].contains(&&*last.0), "{stream}");
        let whole = last.1["response"].clone();
        let done: Vec<_> = events
            .iter()
            .filter(|(name, _)| name == "response.output_item.done")
            .map(|(_, event)| event["item"].clone())
            .collect();
        assert_eq!(list(&whole["output"]), done, "{stream}");
        let deltas = |kind: &str| {
            let name = format!("response.{kind}.delta");
            joined(events.iter().filter(|(of, _)| *of == name).map(|(_, event)| &event["delta"]))
        };
        let said = self.read(&whole);
        assert_eq!((deltas("output_text"), deltas("reasoning_summary_text")), (said.text, said.reasoning));
        whole
    }

    fn read(&self, answer: &Value) -> Answer {
        let (output, usage) = (list(&answer["output"]), &answer["usage"]);
        assert_eq!(usage["total_tokens"], count(&usage["input_tokens"]) + count(&usage["output_tokens"]));
        let calls: Vec<_> = of_type(output, "function_call").map(call).collect();
        let parts =
            |kind, member: &'static str| of_type(output, kind).flat_map(move |item| list(&item[member]));
        Answer {
            reasoning: joined(parts("reasoning", "summary").map(|part| &part["text"])),
            text: joined(parts("message", "content").filter_map(|part| part.get("text"))),
            finish: match (
                answer["status"].as_str().unwrap(),
                answer["incomplete_details"]["reason"].as_str(),
            ) {
                ("completed", None) if calls.is_empty() => Finish::Stop,
                ("completed", None) => Finish::Calls,
                ("incomplete", Some("max_output_tokens")) => Finish::Length,
                ("incomplete", Some("content_filter")) => Finish::Refused,
                other => panic!("{other:?}"),
            },
            calls,
            tokens: Tokens {
                input: count(&usage["input_tokens"]),
                cached: count(&usage["input_tokens_details"]["cached_tokens"]),
                output: count(&usage["output_tokens"]),
                reasoning: count(&usage["output_tokens_details"]["reasoning_tokens"]),
                ..Tokens::default()
            },
        }
    }

    fn refuse(&self, kind: Kind) -> (u16, Value) {
        chat::refuse(kind)
    }

    fn refused(&self, status: u16, body: &Value) -> Kind {
        chat::refused(status, body)
    }

    fn failure(&self) -> Value {
        let mut response = response(None, "");
        response["status"] = "failed".into();
        response["error"] = json!({"code": "server_error", "message": "no way"});
        response
    }

    fn failing_stream(&self, text: &str) -> String {
        let (begin, kind, _) = pieces(&output(&Answer::new("any"), "")[0]);
        let mut events = begun();
        if !text.is_empty() {
            events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": begin}));
            events.push(
                json!({"type": format!("response.{kind}.delta"), "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": text}),
            );
        }
        events.push(json!({"type": "response.failed", "response": self.failure()}));
        numbered(events)
    }

    fn failed(&self, stream: &str) -> String {
        let events = events(stream);
        let (name, last) = events.last().unwrap();
        assert!(name == "response.failed" && last["response"]["error"]["message"].is_string(), "{stream}");
        assert_eq!(last["sequence_number"], events.len() - 1, "{stream}");
        let deltas = events.iter().filter(|(name, _)| name == "response.output_text.delta");
        joined(deltas.map(|(_, event)| &event["delta"]))
    }
}
