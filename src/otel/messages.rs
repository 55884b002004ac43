use serde_json::{Value, json};

use super::{
    attributes::Attributes,
    names::{INPUT_MESSAGES, OUTPUT_MESSAGES, RESPONSE_ID, SYSTEM_INSTRUCTIONS},
};

/// Adds what was asked and answered, in the form of the conventions: messages of parts. Pictures and sound are only
/// named. What can't be read, because its end is missing, is one part.
pub(super) fn add(attributes: &mut Attributes, request: &str, answer: Option<&str>) {
    let asked: Option<Value> = serde_json::from_str(request).ok();
    if let Some(system) = asked.as_ref().and_then(system) {
        attributes.text(SYSTEM_INSTRUCTIONS, Value::from(system).to_string());
    }
    let input = asked.as_ref().map_or_else(|| plain("user", request), input);
    attributes.text(INPUT_MESSAGES, Value::from(input).to_string());
    if let Some(answer) = answer {
        let answered: Option<Value> = serde_json::from_str(answer).ok();
        let id = answered.as_ref().and_then(|answered| member(answered, ["id", "responseId"]));
        attributes.maybe(RESPONSE_ID, id.and_then(Value::as_str));
        let output = answered.as_ref().map_or_else(|| plain("assistant", answer), output);
        attributes.text(OUTPUT_MESSAGES, Value::from(output).to_string());
    }
}

fn plain(role: &str, text: &str) -> Vec<Value> {
    vec![json!({ "role": role, "parts": [ { "type": "text", "content": text } ] })]
}

/// What the model is told to be, where the dialect has a place for that beside the messages.
fn system(body: &Value) -> Option<Vec<Value>> {
    let system = body.get("system").or(body.get("instructions"));
    let system =
        system.or_else(|| member(body, ["systemInstruction", "system_instruction"])?.get("parts"))?;
    Some(parts(system)).filter(|parts| !parts.is_empty())
}

fn member<'v>(body: &'v Value, names: [&str; 2]) -> Option<&'v Value> {
    names.iter().find_map(|name| body.get(*name))
}

fn input(body: &Value) -> Vec<Value> {
    let list = ["messages", "input", "contents", "prompt"].iter().find_map(|name| body.get(*name));
    match list {
        Some(Value::String(text)) => plain("user", text),
        Some(Value::Array(messages)) => messages.iter().map(message).collect(),
        _ => Vec::new(),
    }
}

/// The choices of a whole answer.
fn output(body: &Value) -> Vec<Value> {
    let list = ["choices", "candidates", "output"].iter().find_map(|name| body.get(*name)?.as_array());
    match list {
        Some(choices) => choices.iter().map(choice).collect(),
        None if body.get("content").is_some() => vec![choice(body)],
        None => Vec::new(),
    }
}

fn choice(choice: &Value) -> Value {
    let said = ["message", "content"].iter().find_map(|name| choice.get(*name).filter(|it| it.is_object()));
    let mut message = message(said.unwrap_or(choice));
    if message["role"] == "user" || message["role"] == "model" {
        message["role"] = "assistant".into();
    }
    let why =
        ["finish_reason", "finishReason", "stop_reason", "status"].iter().find_map(|name| choice.get(*name));
    if let Some(why) = why.filter(|why| why.is_string()) {
        message["finish_reason"] = why.clone();
    }
    message
}

fn message(message: &Value) -> Value {
    if let Some(text) = message.as_str() {
        return json!({ "role": "user", "parts": [ { "type": "text", "content": text } ] });
    }
    let role = message.get("role").and_then(Value::as_str).unwrap_or("user");
    let said = ["content", "parts", "text"].iter().find_map(|name| message.get(*name));
    let mut parts = match (said, message.get("type").and_then(Value::as_str)) {
        // An item of OpenAI's responses, which is a part by itself.
        (None, Some(_)) => vec![part(message)],
        (said, _) => said.map(parts).unwrap_or_default(),
    };
    if let Some(id) = message.get("tool_call_id") {
        let result = said.cloned().unwrap_or_default();
        parts = vec![json!({ "type": "tool_call_response", "id": id, "result": result })];
    }
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    parts.extend(calls.map(part));
    json!({ "role": role, "parts": parts })
}

fn parts(said: &Value) -> Vec<Value> {
    match said {
        Value::String(text) => vec![json!({ "type": "text", "content": text })],
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Vec::new(),
    }
}

fn part(part: &Value) -> Value {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    if let Some(text) = part.get("text").or_else(|| part.as_str().map(|_| part)) {
        return json!({ "type": "text", "content": text });
    }
    let call = part.get("function").or(part.get("functionCall")).unwrap_or(part);
    let is_call =
        matches!(kind, "function" | "function_call" | "tool_use") || part.get("functionCall").is_some();
    if is_call {
        let arguments = ["arguments", "input", "args"].iter().find_map(|name| call.get(*name));
        let id = part.get("call_id").or(part.get("id"));
        return json!({ "type": "tool_call", "id": id, "name": call.get("name"), "arguments": arguments });
    }
    let result = match kind {
        "tool_result" => Some((part.get("tool_use_id"), part.get("content"))),
        "function_call_output" => Some((part.get("call_id"), part.get("output"))),
        _ => part.get("functionResponse").map(|response| (response.get("id"), response.get("response"))),
    };
    match result {
        Some((id, result)) => json!({ "type": "tool_call_response", "id": id, "result": result }),
        None if kind == "thinking" => json!({ "type": "reasoning", "content": part.get("thinking") }),
        None => json!({ "type": if kind.is_empty() { "other" } else { kind } }),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value;

    use super::*;

    fn said(request: &Value, answer: &Value) -> Vec<(String, Value)> {
        let mut attributes = Attributes::default();
        add(&mut attributes, &request.to_string(), Some(&answer.to_string()));
        let read = |attribute: opentelemetry_proto::tonic::common::v1::KeyValue| match attribute
            .value?
            .value?
        {
            any_value::Value::StringValue(text) => Some((attribute.key, serde_json::from_str(&text).ok()?)),
            _ => None,
        };
        attributes.into_inner().into_iter().filter_map(read).collect()
    }

    #[test]
    fn each_dialect_is_messages_of_parts() {
        let text = |text: &str| json!([{ "type": "text", "content": text }]);
        let user = json!([{ "role": "user", "parts": text("Hi") }]);
        let answer =
            |why: &str| json!([{ "role": "assistant", "parts": text("Hello"), "finish_reason": why }]);
        let chat = said(
            &json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] }),
            &json!({ "choices": [{ "message": { "role": "assistant", "content": "Hello" }, "finish_reason": "stop" }] }),
        );
        assert_eq!(chat, [(INPUT_MESSAGES.into(), user.clone()), (OUTPUT_MESSAGES.into(), answer("stop"))]);

        let claude = said(
            &json!({ "system": "Be brief", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hi" }] }] }),
            &json!({ "role": "assistant", "content": [{ "type": "text", "text": "Hello" }], "stop_reason": "end_turn" }),
        );
        let system = (SYSTEM_INSTRUCTIONS.into(), text("Be brief"));
        assert_eq!(
            claude,
            [system, (INPUT_MESSAGES.into(), user.clone()), (OUTPUT_MESSAGES.into(), answer("end_turn"))]
        );

        let gemini = said(
            &json!({ "contents": [{ "role": "user", "parts": [{ "text": "Hi" }] }] }),
            &json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": "Hello" }] }, "finishReason": "STOP" }] }),
        );
        assert_eq!(gemini, [(INPUT_MESSAGES.into(), user.clone()), (OUTPUT_MESSAGES.into(), answer("STOP"))]);

        let responses = said(
            &json!({ "input": "Hi" }),
            &json!({ "output": [{ "type": "message", "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "text": "Hello" }] }] }),
        );
        assert_eq!(responses, [(INPUT_MESSAGES.into(), user), (OUTPUT_MESSAGES.into(), answer("completed"))]);
    }

    #[test]
    fn an_answer_is_known_by_its_id_where_it_has_one() {
        for (answer, id) in [
            (json!({ "id": "chatcmpl-1", "choices": [] }), Some("chatcmpl-1")),
            (json!({ "responseId": "r-1", "candidates": [] }), Some("r-1")),
            (json!({ "output": {} }), None),
        ] {
            let mut attributes = Attributes::default();

            add(&mut attributes, "{}", Some(&answer.to_string()));

            let attributes = attributes.into_inner();
            let found = attributes.iter().find(|attribute| attribute.key == "gen_ai.response.id");
            let value = found.and_then(|found| found.value.clone()?.value);
            assert_eq!(value, id.map(|id| any_value::Value::StringValue(id.to_owned())));
        }
    }

    #[test]
    fn calls_of_tools_and_what_they_brought_are_parts() {
        let said = said(
            &json!({ "messages": [
                { "role": "assistant", "tool_calls": [{ "type": "function", "id": "c", "function": { "name": "f", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "c", "content": "4" },
                { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] },
            ] }),
            &json!({}),
        );

        let parts: Vec<_> =
            said[0].1.as_array().unwrap().iter().map(|message| message["parts"].clone()).collect();
        assert_eq!(
            parts,
            [
                json!([{ "type": "tool_call", "id": "c", "name": "f", "arguments": "{}" }]),
                json!([{ "type": "tool_call_response", "id": "c", "result": "4" }]),
                json!([{ "type": "image_url" }]),
            ]
        );
    }

    #[test]
    fn what_can_not_be_read_is_one_part() {
        let mut attributes = Attributes::default();

        add(&mut attributes, r#"{"messages":[{"ro"#, None);

        assert_eq!(attributes.into_inner().len(), 1);
    }
}
