use bartizan::{Dialect, Kind, Tokens, dialect::GEMINI};
use serde_json::{Value, json};

use super::{Wire, count, events, joined, list, sse, text};
use crate::{
    rules,
    talk::{Answer, Call, Finish, PICTURE, Question, TOOL, Turn, halves, parameters, schema},
};

/// Google's generateContent.
pub struct Gemini;

/// The names of calls, by which results without ids know them.
fn names(turns: &[Turn], at: usize) -> Vec<&str> {
    match &turns[at - 1] {
        Turn::Assistant { calls, .. } => calls.iter().map(|call| &*call.name).collect(),
        _ => Vec::new(),
    }
}

fn content(at: usize, turns: &[Turn]) -> Value {
    match &turns[at] {
        Turn::User { text, has_picture } => {
            let mut parts = vec![json!({"text": text})];
            if *has_picture {
                parts.push(json!({"inlineData": {"mimeType": "image/png", "data": PICTURE}}));
            }
            json!({"role": "user", "parts": parts})
        }
        Turn::Assistant { text, calls } => {
            let mut parts = vec![json!({"text": text})];
            let call = |call: &Call| json!({"functionCall": {"name": call.name, "args": call.arguments}});
            parts.extend(calls.iter().map(call));
            json!({"role": "model", "parts": parts})
        }
        Turn::Results(results) => {
            let result = |(name, result): (&str, &String)| json!({"functionResponse": {"name": name, "response": {"output": result}}});
            let parts: Vec<_> = names(turns, at).into_iter().zip(results).map(result).collect();
            json!({"role": "user", "parts": parts})
        }
    }
}

fn has<'v>(parts: &'v [Value], member: &'static str) -> impl Iterator<Item = &'v Value> {
    parts.iter().filter_map(move |part| part.get(member))
}

fn said(parts: &[Value], thought: bool) -> String {
    joined(
        parts.iter().filter(|part| (part["thought"] == true) == thought).filter_map(|part| part.get("text")),
    )
}

fn calls(parts: &[Value]) -> Vec<Call> {
    has(parts, "functionCall")
        .map(|call| Call { name: text(&call["name"]), arguments: call["args"].clone() })
        .collect()
}

fn usage(tokens: &Tokens) -> Value {
    json!({"promptTokenCount": tokens.input, "cachedContentTokenCount": tokens.cached,
        "candidatesTokenCount": tokens.output - tokens.reasoning, "thoughtsTokenCount": tokens.reasoning,
        "totalTokenCount": tokens.total()})
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Refused => "SAFETY",
    }
}

/// The parts of an answer; the proof stands on the first call or on the text.
fn parts(answer: &Answer, proof: &str) -> Vec<Value> {
    let mut parts = Vec::new();
    if !answer.reasoning.is_empty() {
        parts.push(json!({"text": answer.reasoning, "thought": true}));
    }
    let thoughts = parts.len();
    if !answer.text.is_empty() {
        parts.push(json!({"text": answer.text}));
    }
    parts.extend(
        answer.calls.iter().map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments}})),
    );
    if thoughts > 0 {
        let first_call = parts.iter().position(|part| part.get("functionCall").is_some());
        parts[first_call.unwrap_or(thoughts)]["thoughtSignature"] = proof.into();
    }
    parts
}

fn chunk(parts: &[Value], reason: Option<&str>, tokens: Option<&Tokens>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if let Some(reason) = reason {
        candidate["finishReason"] = reason.into();
    }
    let mut chunk = json!({"candidates": [candidate], "modelVersion": "gemini-3-flash", "responseId": "r1"});
    if let Some(tokens) = tokens {
        chunk["usageMetadata"] = usage(tokens);
    }
    chunk
}

impl Wire for Gemini {
    fn name(&self) -> &'static str {
        "Gemini"
    }

    fn dialect(&self) -> &'static dyn Dialect {
        &GEMINI
    }

    fn model(&self) -> &'static str {
        "gemini-3-flash"
    }

    fn path(&self, stream: bool) -> &'static str {
        match stream {
            true => "/v1beta/models/m:streamGenerateContent?alt=sse",
            false => "/v1beta/models/m:generateContent",
        }
    }

    fn ask(&self, question: &Question, _: bool) -> Value {
        let contents: Vec<_> = (0..question.turns.len()).map(|at| content(at, &question.turns)).collect();
        let mut body = json!({"contents": contents, "systemInstruction": {"parts": [{"text": question.system}]},
            "generationConfig": {"maxOutputTokens": 2000}});
        if question.has_tool {
            let function = json!({"name": TOOL, "description": "d", "parametersJsonSchema": parameters()});
            body["tools"] = json!([{"functionDeclarations": [function]}]);
        }
        let config = &mut body["generationConfig"];
        if question.has_schema {
            config["responseMimeType"] = "application/json".into();
            config["responseJsonSchema"] = schema();
        }
        if question.thinks {
            config["thinkingConfig"] = json!({"thinkingLevel": "HIGH", "includeThoughts": true});
        }
        body
    }

    fn go_on(&self, mut question: Value, answer: &Value, results: &[&str]) -> Value {
        let content = &answer["candidates"][0]["content"];
        let calls = has(list(&content["parts"]), "functionCall").zip(results);
        let result = |(call, result): (&Value, &&str)| {
            let mut response = json!({"name": call["name"], "response": {"output": result}});
            if let Some(id) = call.get("id") {
                response["id"] = id.clone();
            }
            json!({ "functionResponse": response })
        };
        let parts: Vec<_> = calls.map(result).collect();
        let contents = question["contents"].as_array_mut().unwrap();
        contents.push(content.clone());
        contents.push(json!({"role": "user", "parts": parts}));
        question
    }

    fn understand(&self, request: &Value) -> Question {
        rules::gemini(request);
        let config = &request["generationConfig"];
        let system = list(&request["systemInstruction"]["parts"]);
        let mut question = Question {
            system: said(system, false),
            has_tool: request["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == parameters(),
            has_schema: config["responseJsonSchema"] == schema(),
            thinks: config["thinkingConfig"] == json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            ..Question::default()
        };
        for content in list(&request["contents"]) {
            let parts = list(&content["parts"]);
            let results: Vec<_> = has(parts, "functionResponse")
                .map(|response| text(&response["response"]["output"]))
                .collect();
            question.turns.push(match content["role"].as_str().unwrap() {
                "model" => Turn::Assistant { text: said(parts, false), calls: calls(parts) },
                _ if !results.is_empty() => Turn::Results(results),
                _ => Turn::User {
                    text: said(parts, false),
                    has_picture: has(parts, "inlineData").any(|blob| blob["data"] == PICTURE),
                },
            });
        }
        question
    }

    fn answer(&self, answer: &Answer, proof: &str) -> Value {
        chunk(&parts(answer, proof), Some(reason(answer.finish)), Some(&answer.tokens))
    }

    fn stream(&self, answer: &Answer, proof: &str) -> String {
        let mut stream = String::new();
        for part in parts(answer, proof) {
            let Some(whole) = part["text"].as_str() else {
                stream += &sse("", &chunk(&[part], None, None));
                continue;
            };
            let [mut begin, mut end] = [part.clone(), part.clone()];
            [begin["text"], end["text"]] = halves(whole).map(Value::from);
            begin.as_object_mut().unwrap().remove("thoughtSignature");
            stream += &sse("", &chunk(&[begin], None, None));
            stream += &sse("", &chunk(&[end], None, None));
        }
        let last = chunk(&[json!({"text": ""})], Some(reason(answer.finish)), Some(&answer.tokens));
        (stream + &sse("", &last)).replace('\n', "\r\n")
    }

    fn collect(&self, stream: &str) -> Value {
        let events = events(stream);
        let mut whole = events.last().unwrap().1.clone();
        assert!(whole["candidates"][0]["finishReason"].is_string(), "{stream}");
        let is_end = |(_, chunk): &(String, Value)| chunk["candidates"][0]["finishReason"].is_string();
        assert_eq!(events.iter().position(is_end), Some(events.len() - 1), "{stream}");
        let mut parts: Vec<Value> = Vec::new();
        for part in
            events.iter().flat_map(|(_, chunk)| list(&chunk["candidates"][0]["content"]["parts"])).cloned()
        {
            if part["text"] != "" || part.get("thoughtSignature").is_some() {
                parts.push(part);
            }
        }
        whole["candidates"][0]["content"] = json!({"role": "model", "parts": parts});
        whole
    }

    fn read(&self, answer: &Value) -> Answer {
        let (candidate, usage) = (&answer["candidates"][0], &answer["usageMetadata"]);
        let parts = list(&candidate["content"]["parts"]);
        let reasoning = count(&usage["thoughtsTokenCount"]);
        let tokens = Tokens {
            input: count(&usage["promptTokenCount"]),
            cached: count(&usage["cachedContentTokenCount"]),
            output: count(&usage["candidatesTokenCount"]) + reasoning,
            reasoning,
            ..Tokens::default()
        };
        assert_eq!(usage["totalTokenCount"], tokens.total());
        let calls = calls(parts);
        let finish = match candidate["finishReason"].as_str().unwrap() {
            "STOP" if calls.is_empty() => Finish::Stop,
            "STOP" => Finish::Calls,
            "MAX_TOKENS" => Finish::Length,
            "SAFETY" => Finish::Refused,
            other => panic!("{other}"),
        };
        Answer { reasoning: said(parts, true), text: said(parts, false), calls, finish, tokens }
    }

    fn refuse(&self, kind: Kind) -> (u16, Value) {
        let (status, class, message) = match kind {
            Kind::RateLimited => (429, "RESOURCE_EXHAUSTED", "no way"),
            Kind::InvalidRequest => (400, "INVALID_ARGUMENT", "no way"),
            Kind::ContextTooLong => (
                400,
                "INVALID_ARGUMENT",
                "The input token count (130) exceeds the maximum number of tokens allowed (100).",
            ),
            _ => (503, "UNAVAILABLE", "no way"),
        };
        (status, json!({"error": {"code": status, "message": message, "status": class}}))
    }

    fn refused(&self, status: u16, body: &Value) -> Kind {
        assert_eq!(body["error"]["code"], status, "{body}");
        match (status, body["error"]["status"].as_str().unwrap()) {
            (429, "RESOURCE_EXHAUSTED") => Kind::RateLimited,
            (400, "INVALID_ARGUMENT") => Kind::InvalidRequest,
            (503, "UNAVAILABLE") => Kind::Overloaded,
            _ => Kind::Upstream,
        }
    }

    fn failing_stream(&self, text: &str) -> String {
        sse("", &chunk(&[json!({"text": text})], None, None)) + &sse("", &self.failure())
    }

    fn failed(&self, stream: &str) -> String {
        let mut events = events(stream);
        let (_, error) = events.pop().unwrap();
        assert!(error["error"]["message"].is_string() && error["error"]["code"].is_u64(), "{error}");
        events
            .iter()
            .map(|(_, chunk)| said(list(&chunk["candidates"][0]["content"]["parts"]), false))
            .collect()
    }
}
