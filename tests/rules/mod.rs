//! What providers document of requests, checked as strictly as they check it.

// Each suite needs another part of it.
#![allow(dead_code)]

use std::collections::HashSet;

use serde_json::Value;

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {value}"))
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// `POST /v1/messages`, for a model of which nothing is known.
pub fn anthropic(request: &Value) {
    assert!(request["model"].is_string() && request["max_tokens"].is_u64(), "{request}");
    let names: HashSet<_> = list(request, "tools").iter().map(|tool| text(tool, "name")).collect();
    for tool in list(request, "tools") {
        assert!(is_name(text(tool, "name"), 128), "{tool}");
        assert_eq!(tool["input_schema"]["type"], "object", "{tool}");
    }
    if let Some(choice) = request.get("tool_choice") {
        assert!(!names.is_empty(), "a choice of nothing: {request}");
        assert!(choice["type"] != "tool" || names.contains(text(choice, "name")), "{choice}");
    }
    for stop in list(request, "stop_sequences") {
        assert!(!stop.as_str().unwrap().trim().is_empty());
    }
    let thinking = &request["thinking"];
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap();
        assert!(budget >= 1024 && budget < request["max_tokens"].as_u64().unwrap(), "{request}");
        let forced = matches!(request["tool_choice"]["type"].as_str(), Some("any" | "tool"));
        assert!(!forced && request.get("top_k").is_none(), "{request}");
    }
    if let Some(temperature) = request["temperature"].as_f64() {
        assert!((0.0..=1.0).contains(&temperature));
    }
    list(request, "system").iter().for_each(anthropic_block);
    anthropic_messages(list(request, "messages"));
    assert!(request.to_string().matches("\"cache_control\":{").count() <= 4, "{request}");
}

fn anthropic_messages(messages: &[Value]) {
    assert!(!messages.is_empty());
    let mut open: Vec<&str> = Vec::new();
    let mut ids = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message["role"], ["user", "assistant"][index % 2], "{messages:?}");
        let blocks = list(message, "content");
        assert!(!blocks.is_empty(), "{messages:?}");
        blocks.iter().for_each(anthropic_block);
        let results = blocks.iter().take_while(|block| block["type"] == "tool_result");
        let answered: Vec<_> = results.map(|result| text(result, "tool_use_id")).collect();
        assert_eq!(answered, open, "each call is answered right after it: {messages:?}");
        assert!(blocks[answered.len()..].iter().all(|block| block["type"] != "tool_result"), "{messages:?}");
        let calls =
            blocks.iter().filter(|block| block["type"] == "tool_use" && message["role"] == "assistant");
        open = calls.map(|call| text(call, "id")).collect();
        assert!(open.iter().all(|id| ids.insert(*id)), "ids are unique: {messages:?}");
    }
    assert!(open.is_empty(), "{messages:?}");
    let last = messages.last().unwrap();
    let end = list(last, "content").last().and_then(|block| block["text"].as_str()).unwrap_or_default();
    assert!(last["role"] == "user" || !end.ends_with(char::is_whitespace), "{last}");
}

fn anthropic_block(block: &Value) {
    match text(block, "type") {
        "text" => assert!(!text(block, "text").trim().is_empty(), "{block}"),
        "tool_use" => {
            assert!(is_name(text(block, "id"), usize::MAX) && is_name(text(block, "name"), 128), "{block}");
            assert!(block["input"].is_object(), "{block}");
        }
        "tool_result" => {
            assert!(is_name(text(block, "tool_use_id"), usize::MAX), "{block}");
            list(block, "content").iter().for_each(anthropic_block);
        }
        "image" => {
            let known = ["image/jpeg", "image/png", "image/gif", "image/webp"];
            let source = &block["source"];
            assert!(source["type"] != "base64" || known.contains(&text(source, "media_type")), "{block}");
        }
        "thinking" => assert!(!text(block, "signature").is_empty(), "{block}"),
        _ => {}
    }
}

/// `POST /v1/chat/completions`, for a model of which nothing is known.
pub fn chat(request: &Value) {
    assert!(request["model"].is_string() && request["messages"].is_array(), "{request}");
    let names: HashSet<_> = list(request, "tools").iter().map(chat_tool).collect();
    assert!(names.iter().all(|name| is_name(name, 64)), "{request}");
    assert!(request.get("tools").is_none_or(|_| !names.is_empty()), "{request}");
    for member in ["tool_choice", "parallel_tool_calls"] {
        assert!(request.get(member).is_none() || !names.is_empty(), "{request}");
    }
    assert!(list(request, "stop").len() <= 4);
    assert!(request.get("stream_options").is_none() || request["stream"] == true, "{request}");
    let mut open: Vec<&str> = Vec::new();
    for message in list(request, "messages") {
        let role = text(message, "role");
        if role == "tool" {
            let id = text(message, "tool_call_id");
            let at = open.iter().position(|open| *open == id);
            open.remove(at.unwrap_or_else(|| panic!("answers nothing: {request}")));
            assert!(message["content"].is_string(), "{message}");
            continue;
        }
        assert!(open.is_empty(), "calls {open:?} are not answered: {request}");
        match role {
            "system" => assert!(message["content"].is_string(), "{message}"),
            "user" => chat_content(&message["content"]),
            "assistant" => open = chat_assistant(message),
            other => panic!("{other}"),
        }
    }
    assert!(open.is_empty(), "calls {open:?} are not answered: {request}");
}

fn chat_tool(tool: &Value) -> &str {
    text(&tool[text(tool, "type")], "name")
}

fn chat_assistant(message: &Value) -> Vec<&str> {
    let says = message["content"].is_string() || message["refusal"].is_string();
    assert!(says || !list(message, "tool_calls").is_empty(), "{message}");
    assert!(message.get("tool_calls").is_none_or(|calls| !calls.as_array().unwrap().is_empty()), "{message}");
    let calls = list(message, "tool_calls").iter().map(|call| {
        let called = &call[text(call, "type")];
        assert!(is_name(text(called, "name"), 64), "{call}");
        assert!(called["arguments"].is_string() || called["input"].is_string(), "{call}");
        text(call, "id")
    });
    calls.collect()
}

fn chat_content(content: &Value) {
    let Some(parts) = content.as_array() else { return assert!(content.is_string(), "{content}") };
    assert!(!parts.is_empty());
    for part in parts {
        match text(part, "type") {
            "text" => drop(text(part, "text")),
            "image_url" => drop(text(&part["image_url"], "url")),
            "file" => drop(text(&part["file"], "file_data")),
            "input_audio" => drop(text(&part["input_audio"], "data")),
            other => panic!("{other}"),
        }
    }
}

/// `POST /v1/responses`, for a model of which nothing is known.
pub fn responses(request: &Value) {
    assert!(request["model"].is_string() && request["input"].is_array(), "{request}");
    assert_eq!(request["store"], false, "{request}");
    let names: HashSet<_> = list(request, "tools").iter().map(responses_tool).collect();
    assert!(names.iter().all(|name| is_name(name, 64)), "{request}");
    assert!(request.get("tools").is_none_or(|_| !names.is_empty()), "{request}");
    for member in ["tool_choice", "parallel_tool_calls"] {
        assert!(request.get(member).is_none() || !names.is_empty(), "{request}");
    }
    assert!(request.get("max_output_tokens").is_none_or(|cap| cap.as_u64().unwrap() >= 16), "{request}");
    for member in ["stop", "seed", "n", "top_k", "presence_penalty", "messages", "response_format"] {
        assert!(request.get(member).is_none(), "{member}: {request}");
    }
    if let Some(format) = request["text"].get("format").filter(|format| format["type"] == "json_schema") {
        assert!(is_name(text(format, "name"), 64) && format["strict"].is_boolean(), "{format}");
    }
    let mut open: Vec<(&str, &str)> = Vec::new();
    let mut thought = false;
    for item in list(request, "input") {
        let kind = text(item, "type");
        let is_models = kind != "message" && !kind.ends_with("_output") || item["role"] == "assistant";
        assert!(is_models || !thought, "thoughts without what follows them: {request}");
        thought = kind == "reasoning";
        match kind {
            "message" => responses_message(item),
            "reasoning" => {
                assert!(item["summary"].is_array() && !text(item, "encrypted_content").is_empty(), "{item}")
            }
            "function_call" | "custom_tool_call" => {
                assert!(is_name(text(item, "name"), 64), "{item}");
                assert!(item["arguments"].is_string() || item["input"].is_string(), "{item}");
                open.push((text(item, "call_id"), kind));
            }
            "function_call_output" | "custom_tool_call_output" => {
                let called = (text(item, "call_id"), kind.strip_suffix("_output").unwrap());
                let at = open.iter().position(|open| *open == called);
                open.remove(at.unwrap_or_else(|| panic!("answers nothing: {request}")));
                list(item, "output").iter().for_each(responses_input);
            }
            // Everything else is of this dialect only, and comes as a client of it has sent it.
            _ => {}
        }
    }
    assert!(open.is_empty() && !thought, "calls {open:?} are not answered: {request}");
}

fn responses_tool(tool: &Value) -> &str {
    match text(tool, "type") {
        "function" => assert!(!tool["parameters"].is_null() && tool["strict"].is_boolean(), "{tool}"),
        other => assert_eq!(other, "custom"),
    }
    text(tool, "name")
}

fn responses_message(message: &Value) {
    let content = list(message, "content");
    assert!(!content.is_empty(), "{message}");
    if message["role"] != "assistant" {
        assert!(matches!(text(message, "role"), "user" | "system" | "developer"), "{message}");
        return content.iter().for_each(responses_input);
    }
    for part in content {
        match text(part, "type") {
            "output_text" => {
                assert!(part["annotations"].is_array() && !text(part, "text").is_empty(), "{part}")
            }
            "refusal" => drop(text(part, "refusal")),
            other => panic!("{other}"),
        }
    }
}

fn responses_input(part: &Value) {
    match text(part, "type") {
        "input_text" => drop(text(part, "text")),
        "input_image" => {
            assert!(part["image_url"].is_string() || part["file_id"].is_string(), "{part}");
            let _ = text(part, "detail");
        }
        "input_file" => {
            let is_named = part["file_data"].is_null() || part["filename"].is_string();
            assert!(
                is_named && ["file_data", "file_url", "file_id"].iter().any(|name| part[name].is_string()),
                "{part}"
            );
        }
        other => panic!("{other}"),
    }
}

/// `:generateContent`, for a model of which nothing is known.
pub fn gemini(request: &Value) {
    let functions: Vec<_> =
        list(request, "tools").iter().flat_map(|tool| list(tool, "functionDeclarations")).collect();
    let names: HashSet<_> = functions.iter().map(|function| text(function, "name")).collect();
    assert!(names.iter().all(|name| is_function_name(name)), "{request}");
    for function in functions {
        if let Some(schema) = function.get("parametersJsonSchema") {
            assert_eq!(schema["type"], "object", "{function}");
            gemini_schema(schema);
        }
    }
    if let Some(config) = request.get("toolConfig") {
        assert!(!names.is_empty(), "a choice of nothing: {request}");
        let calling = &config["functionCallingConfig"];
        let allowed = list(calling, "allowedFunctionNames");
        assert!(allowed.iter().all(|name| names.contains(name.as_str().unwrap())), "{request}");
        assert!(allowed.is_empty() || ["ANY", "VALIDATED"].contains(&text(calling, "mode")), "{request}");
    }
    let config = &request["generationConfig"];
    assert!(list(config, "stopSequences").len() <= 5, "{config}");
    assert!(list(config, "stopSequences").iter().all(|stop| stop != ""), "{config}");
    let thinking = &config["thinkingConfig"];
    assert!(thinking["thinkingBudget"].is_null() || thinking["thinkingLevel"].is_null(), "{config}");
    let has_schema = config.get("responseJsonSchema").is_some();
    assert!(!has_schema || config["responseMimeType"] == "application/json", "{config}");
    config.get("responseJsonSchema").into_iter().for_each(gemini_schema);
    list(&request["systemInstruction"], "parts")
        .iter()
        .for_each(|part| assert!(!text(part, "text").is_empty(), "{part}"));
    gemini_contents(list(request, "contents"));
}

fn is_function_name(name: &str) -> bool {
    let is_fine = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic()
            || byte == b'_'
            || at > 0 && (byte.is_ascii_digit() || b".:-".contains(&byte))
    };
    (1..=64).contains(&name.len()) && name.bytes().enumerate().all(is_fine)
}

fn gemini_contents(contents: &[Value]) {
    assert!(!contents.is_empty() && contents[0]["role"] == "user", "{contents:?}");
    let mut open: Vec<&str> = Vec::new();
    let mut before = "";
    for content in contents {
        let (role, parts) = (text(content, "role"), list(content, "parts"));
        assert!(!parts.is_empty(), "{contents:?}");
        parts.iter().for_each(gemini_part);
        let of = |member: &'static str| {
            parts.iter().filter_map(move |part| part.get(member)).map(|part| text(part, "name"))
        };
        let (calls, responses): (Vec<_>, Vec<_>) =
            (of("functionCall").collect(), of("functionResponse").collect());
        assert_eq!(responses, open, "each call is answered right after it: {contents:?}");
        assert!(calls.is_empty() || role == "model" && before == "user", "{contents:?}");
        assert!(role != "model" || before == "user", "{contents:?}");
        assert!(responses.is_empty() || responses.len() == parts.len(), "{contents:?}");
        (open, before) = (calls, role);
    }
    assert!(open.is_empty(), "{contents:?}");
}

fn gemini_part(part: &Value) {
    let data = part.as_object().unwrap().keys().filter(|member| !member.starts_with("thought"));
    assert_eq!(data.count(), 1, "{part}");
    assert!(part["text"] != "" || part.get("thoughtSignature").is_some(), "{part}");
    if let Some(call) = part.get("functionCall") {
        assert!(call["args"].is_object() && is_function_name(text(call, "name")), "{part}");
    }
    if let Some(response) = part.get("functionResponse") {
        assert!(response["response"].is_object(), "{part}");
    }
    if let Some(blob) = part.get("inlineData") {
        assert!(!text(blob, "mimeType").is_empty(), "{part}");
    }
    // Damaged ones are not known as what they were.
    assert_ne!(part["thoughtSignature"], "YmFydGl6YW46cHJvb2Y6cw==", "another provider's proof: {part}");
}

fn gemini_schema(schema: &Value) {
    const KNOWN: &str = " $id $defs $ref $anchor type format title description enum items prefixItems minItems \
        maxItems minimum maximum anyOf oneOf properties additionalProperties required propertyOrdering ";
    // What is no schema is not made into one: the provider says what is wrong with it.
    let Some(members) = schema.as_object() else { return };
    assert!(members.keys().all(|member| KNOWN.contains(&format!(" {member} "))), "{schema}");
    assert!(schema["type"] != "array" || !schema["items"].is_null(), "{schema}");
    for name in ["items", "additionalProperties"] {
        members.get(name).into_iter().for_each(gemini_schema);
    }
    for name in ["properties", "$defs"] {
        members
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|all| all.values())
            .for_each(gemini_schema);
    }
    for name in ["anyOf", "prefixItems"] {
        list(schema, name).iter().for_each(gemini_schema);
    }
}

/// `POST /model/{model}/converse`, for a model of which nothing is known.
pub fn bedrock(request: &Value) {
    let config = &request["toolConfig"];
    let specs: Vec<_> = list(config, "tools").iter().filter_map(|tool| tool.get("toolSpec")).collect();
    let names: HashSet<_> = specs.iter().map(|spec| text(spec, "name")).collect();
    assert!(request.get("toolConfig").is_none() || !names.is_empty(), "{config}");
    for spec in specs {
        assert!(is_name(text(spec, "name"), 64) && spec["description"] != "", "{spec}");
        assert_eq!(spec["inputSchema"]["json"]["type"], "object", "{spec}");
    }
    if let Some(tool) = config["toolChoice"].get("tool") {
        assert!(names.contains(text(tool, "name")), "{tool}");
    }
    for stop in list(&request["inferenceConfig"], "stopSequences") {
        assert!(!stop.as_str().unwrap().trim().is_empty());
    }
    if let Some(temperature) = request["inferenceConfig"]["temperature"].as_f64() {
        assert!((0.0..=1.0).contains(&temperature));
    }
    list(request, "system").iter().for_each(bedrock_block);
    bedrock_messages(list(request, "messages"), &names);
    assert!(request.to_string().matches("{\"cachePoint\":{").count() <= 4, "{request}");
}

fn bedrock_messages(messages: &[Value], tools: &HashSet<&str>) {
    assert!(!messages.is_empty());
    let (mut open, mut ids, mut documents) = (Vec::new(), HashSet::new(), HashSet::new());
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message["role"], ["user", "assistant"][index % 2], "{messages:?}");
        let blocks = list(message, "content");
        assert!(blocks.iter().any(|block| block.get("cachePoint").is_none()), "{messages:?}");
        blocks.iter().for_each(bedrock_block);
        let results = blocks.iter().filter_map(|block| block.get("toolResult"));
        let answered: Vec<_> = results.map(|result| text(result, "toolUseId")).collect();
        assert_eq!(answered, open, "each call is answered right after it: {messages:?}");
        let calls = blocks.iter().filter_map(|block| block.get("toolUse"));
        open = calls.map(|call| text(call, "toolUseId")).collect();
        assert!(open.is_empty() || message["role"] == "assistant" && !tools.is_empty(), "{messages:?}");
        assert!(open.iter().all(|id| ids.insert(*id)), "ids are unique: {messages:?}");
        for document in blocks.iter().filter_map(|block| block.get("document")) {
            assert!(documents.insert(text(document, "name")), "{messages:?}");
            assert!(blocks.iter().any(|block| block.get("text").is_some()), "{messages:?}");
        }
    }
    assert!(open.is_empty(), "{messages:?}");
}

fn bedrock_block(block: &Value) {
    let is_id = |id: &str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
    };
    let members = block.as_object().unwrap();
    assert_eq!(members.len(), 1, "{block}");
    let (kind, content) = members.iter().next().unwrap();
    match kind.as_str() {
        "text" => assert!(!content.as_str().unwrap().trim().is_empty(), "{block}"),
        "toolUse" => {
            assert!(is_id(text(content, "toolUseId")) && is_name(text(content, "name"), 64), "{block}");
            assert!(content["input"].is_object(), "{block}");
        }
        "toolResult" => {
            assert!(is_id(text(content, "toolUseId")), "{block}");
            for inner in list(content, "content") {
                assert!(
                    ["text", "image", "document"].iter().any(|kind| inner.get(kind).is_some()),
                    "{block}"
                );
                bedrock_block(inner);
            }
        }
        "image" => assert!(["jpeg", "png", "gif", "webp"].contains(&text(content, "format")), "{block}"),
        "document" => assert!(!text(content, "name").is_empty(), "{block}"),
        "reasoningContent" => {
            let thought = &content["reasoningText"];
            assert!(thought.is_null() || !text(thought, "signature").is_empty(), "{block}");
        }
        other => assert_eq!(other, "cachePoint", "{block}"),
    }
}
