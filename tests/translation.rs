//! Requests, answers, streams and errors translated from one dialect to another, case by case.

mod gateway;

use bartizan::{
    Target,
    dialect::{ANTHROPIC, BEDROCK, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
    target::ModelFacts,
};
use bytes::Bytes;
use gateway::{Said, ask, events};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    from: String,
    to: String,
    #[serde(default)]
    options: Options,
    input: Value,
    expect: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    default_max_tokens: Option<u64>,
    model_supports: Vec<String>,
    model_lacks: Vec<String>,
    include_usage: bool,
}

fn cases(kind: &str) -> Vec<Case> {
    let Cases { mut cases } = serde_json::from_str(include_str!("cases/translation.json")).unwrap();
    cases.retain(|case| case.kind == kind);
    assert!(!cases.is_empty());
    cases
}

fn dialect(name: &str) -> &'static dyn Dialect {
    match name {
        "chat" => &OPENAI_CHAT,
        "responses" => &OPENAI_RESPONSES,
        "anthropic" => &ANTHROPIC,
        "bedrock" => &BEDROCK,
        "gemini" => &GEMINI,
        other => panic!("{other}"),
    }
}

fn path(name: &str, stream: bool) -> &'static str {
    match (name, stream) {
        ("chat", _) => "/v1/chat/completions",
        ("responses", _) => "/v1/responses",
        ("gemini", false) => "/v1beta/models/m:generateContent",
        ("gemini", true) => "/v1beta/models/m:streamGenerateContent?alt=sse",
        _ => "/v1/messages",
    }
}

/// Members that are additions to the documented ones.
const EXTENSIONS: [&str; 4] = ["thinking_blocks", "cache_creation", "request_id", "stop_details"];

/// Whether `actual` is what was expected: more members may say nothing, or be extensions.
fn fits(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(any), _) if any == "$any" => true,
        (Value::Object(expected), Value::Object(actual)) => {
            let has = |(name, value): (&String, &Value)| match actual.get(name) {
                // Not to stream is what every dialect takes for granted.
                None => name == "stream" && *value == false || fits(value, &Value::Null),
                Some(actual) => fits(value, actual),
            };
            let is_fine = |(name, value): (&String, &Value)| {
                expected.contains_key(name)
                    || value.is_null()
                    || *value == 0
                    || says_nothing(value)
                    || EXTENSIONS.contains(&&**name)
            };
            expected.iter().all(has) && actual.iter().all(is_fine)
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| fits(e, a))
        }
        (Value::Number(expected), Value::Number(actual)) => expected.as_f64() == actual.as_f64(),
        (expected, actual) => expected == actual,
    }
}

/// Details that are all zero.
fn says_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().all(|value| *value == 0))
}

#[track_caller]
fn assert_fits(id: &str, expected: &Value, actual: &Value) {
    assert!(fits(expected, actual), "{id}\nexpected {expected:#}\nactual {actual:#}");
}

fn target(options: &Options, model: &str) -> Target {
    let (supports, lacks) = (options.model_supports.iter(), options.model_lacks.iter());
    let mut facts = ModelFacts::new(supports.map(|name| &**name), lacks.map(|name| &**name));
    facts.max_output = options.default_max_tokens;
    Target::new("provider", model).facts(facts)
}

/// The least that a client of a dialect can ask.
fn question(name: &str, stream: bool, include_usage: bool) -> String {
    if name == "gemini" {
        return json!({"contents": [{"parts": [{"text": "hi"}]}]}).to_string();
    }
    let mut question = json!({"model": "m", "max_tokens": 9, "stream": stream,
        "messages": [{"role": "user", "content": "hi"}]});
    if include_usage {
        question["stream_options"] = json!({"include_usage": true});
    }
    question.to_string()
}

/// A good answer in a provider's dialect.
fn any_answer(name: &str) -> String {
    match name {
        "gemini" => json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}),
        "chat" => json!({"id": "x", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}),
        "responses" => json!({"id": "x", "output": []}),
        _ => json!({"id": "x", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}),
    }
    .to_string()
}

#[tokio::test]
async fn requests() {
    for case in cases("request") {
        let said = Said::json(200, any_answer(&case.to));

        let provider = dialect(&case.to);
        let target = target(&case.options, case.input["model"].as_str().unwrap_or("m"));
        let got = ask(path(&case.from, false), case.input.to_string(), provider, target, said).await;

        let asked = got.asked.unwrap_or_else(|| panic!("{}: {:?}", case.id, got.body));
        assert_fits(&case.id, &case.expect, &serde_json::from_slice(&asked).unwrap());
    }
}

#[tokio::test]
async fn whole_answers() {
    for case in cases("response") {
        let said = Said::json(200, case.input.to_string());

        let provider = dialect(&case.from);
        let question = question(&case.to, false, false);
        let target = target(&case.options, "m");
        let got = ask(path(&case.to, false), question, provider, target, said).await;

        assert_eq!(got.status, 200, "{}", case.id);
        assert_fits(&case.id, &case.expect, &serde_json::from_slice(&got.body).unwrap());
    }
}

/// What clients make of deltas: those of one block that follow each other are one.
fn joined(mut events: Vec<Value>) -> Vec<Value> {
    events.dedup_by(|next, last| {
        let (next, last) = (&next["data"], &mut last["data"]);
        let same = next["type"] == "content_block_delta"
            && last["type"] == "content_block_delta"
            && next["index"] == last["index"];
        for member in ["text", "thinking", "partial_json"] {
            if let (true, Some(more)) = (same, next["delta"][member].as_str()) {
                last["delta"][member] = format!("{}{more}", last["delta"][member].as_str().unwrap()).into();
            }
        }
        same || same_call(next, last)
    });
    events
}

/// A call of chat completions may come in one delta or in several.
fn same_call(next: &Value, last: &mut Value) -> bool {
    let call = "/choices/0/delta/tool_calls/0";
    let (Some(next), Some(last)) = (next.pointer(call), last.pointer_mut(call)) else { return false };
    let is_more = next["index"] == last["index"] && next.get("id").is_none();
    if let (true, Some(more)) = (is_more, next["function"]["arguments"].as_str()) {
        last["function"]["arguments"] =
            format!("{}{more}", last["function"]["arguments"].as_str().unwrap()).into();
    }
    is_more
}

fn outline(stream: Bytes) -> Vec<Value> {
    let read = |event: bartizan::body::sse::Event| {
        let text = std::str::from_utf8(&event.data).unwrap();
        let data = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        match event.name.is_empty() {
            true => json!({"data": data}),
            false => json!({"event": std::str::from_utf8(&event.name).unwrap(), "data": data}),
        }
    };
    joined(events(stream).into_iter().map(read).collect())
}

#[tokio::test]
async fn streams_however_they_are_cut() {
    for case in cases("stream") {
        let text = case.input.as_str().unwrap();
        let crlf = text.replace('\n', "\r\n");
        let bytewise = |text: &str| text.bytes().map(|byte| Bytes::from(vec![byte])).collect();
        let halves = (1..text.len()).step_by(7).map(|at| {
            let (begin, end) = text.as_bytes().split_at(at);
            vec![Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end)]
        });
        let cuts = [vec![text.to_owned().into()], bytewise(text), bytewise(&crlf), vec![crlf.clone().into()]];

        for chunks in cuts.into_iter().chain(halves) {
            let question = question(&case.to, true, case.options.include_usage);
            let provider = dialect(&case.from);
            let said = Said::stream(chunks);
            let target = target(&case.options, "m");
            let got = ask(path(&case.to, true), question, provider, target, said).await;

            let expected = joined(case.expect.as_array().unwrap().clone());
            assert_fits(&case.id, &expected.into(), &outline(got.body).into());
        }
    }
}

#[tokio::test]
async fn errors() {
    for case in cases("error") {
        let status = case.input["status"].as_u64().unwrap() as u16;
        let said = Said::json(status, case.input["body"].to_string());

        let provider = dialect(&case.from);
        let question = question(&case.to, false, false);
        let target = target(&case.options, "m");
        let got = ask(path(&case.to, false), question, provider, target, said).await;

        assert_eq!(got.status.as_u16(), case.expect["status"], "{}", case.id);
        assert_fits(&case.id, &case.expect["body"], &serde_json::from_slice(&got.body).unwrap());
    }
}
