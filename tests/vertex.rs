//! Models of Google's Vertex AI, asked as their makers have them.

mod cloud;

use cloud::{Cloud, Gateway, Login, Said};
use http::Request;
use serde_json::{Value, json};

const CLAUDE: &str = "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-sonnet-4-5@20250929";
const GEMINI: &str = "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-flash";

/// A message of Claude, with an event that only Vertex has.
const MESSAGE: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_vrtx_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}}}

event: vertex_event
data: {"type":"vertex_event","usage":{}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}

event: message_stop
data: {"type":"message_stop"}

"#;

/// An answer of Gemini, with counts as Vertex has them.
const CHUNKS: &str = r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"H"}]}}],"usageMetadata":{"promptTokenCount":7,"trafficType":"ON_DEMAND"},"modelVersion":"gemini-2.5-flash","createTime":"2026-11-21T10:00:00Z","responseId":"r"}

data: {"candidates":[{"content":{"role":"model","parts":[{"text":"i"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"totalTokenCount":9,"trafficType":"ON_DEMAND"},"modelVersion":"gemini-2.5-flash","createTime":"2026-11-21T10:00:00Z","responseId":"r"}

"#;

/// A gateway to a Vertex that says this, and Vertex.
async fn vertex(says: Said) -> (Gateway, Cloud) {
    let (cloud, url) = Cloud::start(says).await;
    let login = Login::new(&url);
    let gateway = Gateway::new(&format!(
        "defaults: {{ retry: {{ attempts: 1 }} }}\nproviders:\n  v: {{ kind: vertex, project: p, location: eu, \
         base_url: \"{url}/v1\", credentials: {{ file: {login} }} }}"
    ));
    (gateway, cloud)
}

fn message(stream: bool) -> String {
    let model = "v/claude-sonnet-4-5@20250929";
    json!({"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}]})
        .to_string()
}

fn chat(model: &str, stream: bool) -> String {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "q"}]}).to_string()
}

#[tokio::test]
async fn claude_streams_to_a_client_of_chat_completions() {
    let (gateway, cloud) = vertex(Said::stream(MESSAGE)).await;

    let mut request: Value = serde_json::from_str(&chat("v/claude-sonnet-4-5@20250929", true)).unwrap();
    request["stream_options"] = json!({"include_usage": true});
    let got = gateway.ask("/v1/chat/completions", request.to_string()).await;

    let asked = &cloud.asked()[0];
    assert_eq!(asked.uri, format!("{CLAUDE}:streamRawPredict"));
    assert_eq!(asked.headers["authorization"], "Bearer token-1");
    assert_eq!(asked.headers["x-goog-user-project"], "q");
    let body = asked.json();
    assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
    assert_eq!((&body["stream"], body.get("model")), (&json!(true), None));
    assert!(body["max_tokens"].as_u64() > Some(0), "{body}");
    assert_eq!(got.status, 200, "{got:?}");
    let events = got.events();
    let text: String =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect();
    assert_eq!(text, "Hi");
    let usage = &events.last().unwrap()["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(14), &json!(5)), "{got:?}");
    assert!(got.body.ends_with("data: [DONE]\n\n"), "{got:?}");
}

#[tokio::test]
async fn gemini_streams_to_a_client_of_messages() {
    let (gateway, cloud) = vertex(Said::stream(CHUNKS)).await;

    let request = message(true).replace("claude-sonnet-4-5@20250929", "google/gemini-2.5-flash");
    let got = gateway.ask("/v1/messages", request).await;

    let asked = &cloud.asked()[0];
    assert_eq!(asked.uri, format!("{GEMINI}:streamGenerateContent?alt=sse"));
    assert_eq!(asked.json()["contents"], json!([{"role": "user", "parts": [{"text": "q"}]}]));
    assert_eq!(got.status, 200, "{got:?}");
    let events = got.events();
    let text: String = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(text, "Hi");
    let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(2))
    );
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

#[tokio::test]
async fn a_client_of_messages_speaks_to_claude_itself() {
    let (gateway, cloud) = vertex(Said::stream(MESSAGE)).await;
    let source = r#"{ "max_tokens":9,"model": "v/claude-sonnet-4-5@20250929" ,"stream":true,"own":[1.0],"messages":[]}"#;
    let sent = r#"{ "max_tokens":9,"anthropic_version": "vertex-2023-10-16" ,"stream":true,"own":[1.0],"messages":[]}"#;

    let req = Request::post("/v1/messages").header("anthropic-version", "2023-06-01");
    let old = gateway.send(req.header("anthropic-beta", "a,b"), source.to_owned()).await;
    let req = Request::post("/v1/messages").header("anthropic-version", "2026-10-21");
    gateway.send(req, source.to_owned()).await;

    let asked = cloud.asked();
    assert_eq!((&*asked[0].uri, &*asked[0].body), (&*format!("{CLAUDE}:streamRawPredict"), sent));
    assert_eq!(asked[0].headers["anthropic-beta"], "a,b");
    assert!(!asked[0].headers.contains_key("x-api-key"));
    assert_eq!(asked[1].json()["anthropic_version"], "2026-10-21");
    assert_eq!((old.status.as_u16(), &*old.body), (200, MESSAGE));
}

#[tokio::test]
async fn a_client_of_gemini_speaks_to_gemini_itself() {
    let (gateway, cloud) = vertex(Said::stream(CHUNKS)).await;
    let source = r#"{ "contents":[{"role":"user","parts":[{"text":"q"}]}], "labels":{"a":"b"},"own":[1.0]}"#;

    let got =
        gateway.ask("/v1beta/models/v/gemini-2.5-flash:streamGenerateContent?alt=sse&key=x", source).await;

    let asked = &cloud.asked()[0];
    assert_eq!(asked.uri, format!("{GEMINI}:streamGenerateContent?alt=sse"));
    assert_eq!((&*asked.body, &*got.body), (source, CHUNKS));
}

#[tokio::test]
async fn a_whole_answer_comes_from_another_method() {
    let said = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 2}});
    let (gateway, cloud) = vertex(Said::json(200, &said)).await;

    let contents = json!({"contents": [{"parts": [{"text": "q"}]}]}).to_string();
    let got = gateway.ask("/v1beta/models/v/claude-sonnet-4-5@20250929:generateContent", contents).await;

    assert_eq!(cloud.asked()[0].uri, format!("{CLAUDE}:rawPredict"));
    assert_eq!(got.json()["candidates"][0]["content"]["parts"][0]["text"], "Hi");
    assert_eq!(got.json()["usageMetadata"]["promptTokenCount"], 3);
}

#[tokio::test]
async fn models_of_others_are_asked_by_chat_completions() {
    let said = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}]});
    let (gateway, cloud) = vertex(Said::json(200, &said)).await;
    let location = "/v1/projects/p/locations/eu";

    let mut seeded: Value = serde_json::from_str(&chat("v/mistralai/codestral-2", false)).unwrap();
    seeded["seed"] = 7.into();
    gateway.ask("/v1/chat/completions", seeded.to_string()).await;
    let request = chat("v/meta/llama-3.3-70b-instruct-maas", false);
    let got = gateway.ask("/v1/chat/completions", request).await;

    let asked = cloud.asked();
    assert_eq!(asked[0].uri, format!("{location}/publishers/mistralai/models/codestral-2:rawPredict"));
    assert_eq!(
        (&asked[0].json()["model"], &asked[0].json()["random_seed"]),
        (&json!("codestral-2"), &json!(7))
    );
    assert_eq!(asked[1].uri, format!("{location}/endpoints/openapi/chat/completions"));
    assert_eq!(asked[1].json()["model"], "meta/llama-3.3-70b-instruct-maas");
    assert_eq!(got.headers["x-bartizan-model"], "meta/llama-3.3-70b-instruct-maas");
    assert_eq!(cloud.tokens().len(), 1);
}

#[tokio::test]
async fn errors_of_the_platform_reach_clients_in_their_own_dialect() {
    let exhausted = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": "Resource exhausted. Please try again later."}});
    let (gateway, _cloud) = vertex(Said::json(429, &exhausted)).await;

    let to_messages = gateway.ask("/v1/messages", message(false)).await;
    let to_chat = gateway.ask("/v1/chat/completions", chat("v/claude-sonnet-4-5@20250929", true)).await;
    let contents = json!({"contents": [{"parts": [{"text": "q"}]}]}).to_string();
    let to_gemini =
        gateway.ask("/v1beta/models/v/claude-sonnet-4-5@20250929:generateContent", contents).await;

    assert_eq!((to_messages.status.as_u16(), &to_messages.json()["type"]), (429, &json!("error")));
    assert_eq!(to_messages.json()["error"]["type"], "rate_limit_error");
    assert_eq!(
        (to_chat.status.as_u16(), &to_chat.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded"))
    );
    assert_eq!((to_gemini.status.as_u16(), to_gemini.json()), (429, exhausted));
}

#[tokio::test]
async fn an_error_of_a_stream_may_come_in_a_list() {
    let missing = json!([{"error": {"code": 404, "status": "NOT_FOUND", "message": "no such model here"}}]);
    let (gateway, _cloud) = vertex(Said::json(404, &missing)).await;

    let claude = gateway.ask("/v1/messages", message(true)).await;
    let gemini = gateway.ask("/v1/chat/completions", chat("v/gemini-2.5-flash", true)).await;

    assert_eq!((claude.status.as_u16(), &claude.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(claude.json()["error"]["message"], "no such model here");
    assert_eq!((gemini.status.as_u16(), &gemini.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn errors_of_claude_pass_as_they_are() {
    let said =
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: no"}});
    let (gateway, _cloud) = vertex(Said::json(400, &said)).await;

    let got = gateway.ask("/v1/messages", message(true)).await;

    assert_eq!((got.status.as_u16(), got.json()), (400, said));
}
