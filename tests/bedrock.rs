//! A provider that is Bedrock, asked by clients of other dialects.

mod aws;

use std::convert::Infallible;

use aws::{Asked, Bedrock, SECRET, Says, event, exception};
use bartizan::{
    BoxBody,
    auth::{AuthLayer, Caller, VirtualKey},
    config::{Builder, Config},
    dialect::Dialects,
    dispatch::Dispatch,
    ingest::IngestLayer,
    render_errors::RenderErrorsLayer,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const ON_THE_WIRE: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";

/// A gateway with one provider, and what that is.
struct Gateway {
    bedrock: Bedrock,
    stack: BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>,
}

/// What a client got.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of all events.
    fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Gateway {
    /// Where requests are signed.
    async fn new() -> Self {
        let keys = format!("credentials: {{ access_key_id: AKIDEXAMPLE, secret_access_key: {SECRET} }}");
        Self::with(&keys).await
    }

    async fn with(credentials: &str) -> Self {
        let bedrock = Bedrock::default();
        let url = bedrock.start().await;
        let text = format!(
            "auth: open\nunknown_price: allow\ndefaults: {{ retry: {{ attempts: 1 }}, breaker: {{ failures: 0 }} }}\n\
             providers: {{ b: {{ kind: bedrock, base_url: {url}, region: us-east-1, {credentials} }} }}"
        );
        let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let table = Builder::default().table(&config).unwrap();
        let stack = ServiceBuilder::new()
            .map_response(|res: Response<_>| {
                res.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync())
            })
            .layer(RenderErrorsLayer::new(Dialects::default()))
            .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
            .layer(IngestLayer::new(Dialects::default()))
            .service(Dispatch::new(table));
        Self { bedrock, stack: BoxCloneService::new(stack) }
    }

    /// Asks Bedrock, which says this.
    async fn ask(&self, path: &str, body: &Value, says: Says) -> Answer {
        self.bedrock.say(says);
        let req = Request::post(path).header("anthropic-version", "2023-06-01").header("accept", "*/*");
        let req = req.body(Full::from(body.to_string())).unwrap();
        let (parts, body) = self.stack.clone().oneshot(req).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// What Bedrock was asked last.
    fn asked(&self) -> Asked {
        self.bedrock.asked().pop().unwrap()
    }
}

fn chat(more: Value) -> Value {
    with(json!({"model": format!("b/{MODEL}"), "messages": [{"role": "user", "content": "q"}]}), more)
}

fn message(more: Value) -> Value {
    with(chat(json!({"max_tokens": 4096})), more)
}

fn with(mut request: Value, more: Value) -> Value {
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn converse(content: Value, stop: &str) -> Says {
    Says::Whole(json!({
        "output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop,
        "usage": usage(), "metrics": {"latencyMs": 7},
    }))
}

fn usage() -> Value {
    json!({"inputTokens": 100, "outputTokens": 30, "totalTokens": 2590, "cacheReadInputTokens": 2048,
        "cacheWriteInputTokens": 412, "cacheDetails": [{"ttl": "5m", "inputTokens": 400}, {"ttl": "1h", "inputTokens": 12}]})
}

fn delta(index: u32, delta: Value) -> Vec<u8> {
    event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "abc"}))
}

fn call(index: u32, id: &str, name: &str, pieces: &[&str]) -> Vec<u8> {
    let start = json!({"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": name}}});
    let pieces = pieces.iter().map(|piece| delta(index, json!({"toolUse": {"input": piece}})));
    [event("contentBlockStart", start)]
        .into_iter()
        .chain(pieces)
        .chain([stop(index)])
        .collect::<Vec<_>>()
        .concat()
}

fn stop(index: u32) -> Vec<u8> {
    event("contentBlockStop", json!({"contentBlockIndex": index}))
}

fn end(reason: &str) -> Vec<u8> {
    let metadata = event("metadata", json!({"usage": usage(), "metrics": {"latencyMs": 7}}));
    [event("messageStop", json!({"stopReason": reason})), metadata].concat()
}

/// Thoughts, a text and two calls.
fn streamed() -> Vec<u8> {
    [
        event("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "U0lH"}})),
        stop(0),
        delta(1, json!({"text": "I'll call bóth."})),
        stop(1),
        call(2, "tooluse_1", "f", &["{\"a\":", "1}"]),
        call(3, "tooluse_2", "g", &[""]),
        end("tool_use"),
    ]
    .concat()
}

fn tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}});
    json!([tool("f"), tool("g")])
}

#[tokio::test]
async fn a_chat_client_gets_a_whole_answer_with_calls_and_exact_counts() {
    let gateway = Gateway::new().await;
    let content = json!([
        {"text": "Two."},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "tooluse_2", "name": "g", "input": {}}},
    ]);

    let request = chat(json!({"tools": tools(), "tool_choice": "required", "max_completion_tokens": 64}));
    let answer = gateway.ask(CHAT, &request, converse(content, "tool_use")).await;

    let asked = gateway.asked();
    assert_eq!(asked.path, format!("{ON_THE_WIRE}/converse"));
    assert!(asked.is_signed, "{asked:?}");
    assert_eq!(asked.body["inferenceConfig"], json!({"maxTokens": 64}));
    assert_eq!(asked.body["toolConfig"]["toolChoice"], json!({"any": {}}));
    let said = answer.json();
    let choice = &said["choices"][0];
    assert_eq!((&said["model"], &choice["finish_reason"]), (&json!(MODEL), &json!("tool_calls")));
    assert_eq!(choice["message"]["content"], "Two.");
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    assert_eq!(choice["message"]["tool_calls"][1]["id"], "tooluse_2");
    let usage = &said["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(2560), &json!(30)));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 2048);
    assert!(!answer.headers.contains_key("x-bartizan-lost"), "{answer:?}");
}

#[tokio::test]
async fn a_chat_client_gets_a_stream_however_it_is_cut() {
    let gateway = Gateway::new().await;
    let request = chat(json!({"tools": tools(), "stream": true, "stream_options": {"include_usage": true}}));
    let mut texts = Vec::new();
    for size in [1, 7, 100, 1 << 20] {
        let answer = gateway.ask(CHAT, &request, Says::Stream(streamed(), size)).await;

        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        let events = answer.events();
        let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]);
        let join = |member: &str| deltas().filter_map(|delta| delta[member].as_str()).collect::<String>();
        let calls: Vec<_> = deltas().filter_map(|delta| delta["tool_calls"][0]["id"].as_str()).collect();
        let arguments = |index: u64| -> String {
            let calls = deltas().map(|delta| &delta["tool_calls"][0]).filter(|call| call["index"] == index);
            calls.filter_map(|call| call["function"]["arguments"].as_str()).collect()
        };
        assert_eq!((join("content"), join("reasoning_content")), ("I'll call bóth.".into(), "hm".into()));
        assert_eq!(calls, ["tooluse_1", "tooluse_2"]);
        assert_eq!((arguments(0), arguments(1)), ("{\"a\":1}".into(), "{}".into()));
        assert_eq!(events.last().unwrap()["usage"]["prompt_tokens"], 2560);
        assert_eq!(events[0]["model"], MODEL);
        assert!(answer.body.ends_with("data: [DONE]\n\n"));
        texts.push(events.len());
    }
    let asked = gateway.asked();
    assert_eq!(asked.path, format!("{ON_THE_WIRE}/converse-stream"));
    assert!(asked.is_signed && texts.iter().all(|length| *length == texts[0]), "{asked:?} {texts:?}");
}

#[tokio::test]
async fn an_anthropic_client_gets_a_stream_with_exact_counts() {
    let gateway = Gateway::new().await;

    let request = message(json!({"stream": true, "thinking": {"type": "enabled", "budget_tokens": 1024}}));
    let answer = gateway.ask(MESSAGES, &request, Says::Stream(streamed(), 50)).await;

    let asked = gateway.asked();
    assert!(asked.is_signed && !asked.headers.contains_key("anthropic-version"), "{asked:?}");
    assert_eq!(
        asked.body["additionalModelRequestFields"],
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})
    );
    let events = answer.events();
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    let blocks: Vec<_> =
        of("content_block_start").iter().map(|event| event["content_block"]["type"].clone()).collect();
    assert_eq!(blocks, ["thinking", "text", "tool_use", "tool_use"]);
    assert!(of("content_block_delta").iter().any(|event| event["delta"]["signature"] == "U0lH"));
    let last = of("message_delta")[0];
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    let usage = &last["usage"];
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(100), &json!(30)));
    assert_eq!(
        (
            &usage["cache_read_input_tokens"],
            &usage["cache_creation_input_tokens"],
            &usage["cache_creation"]["ephemeral_1h_input_tokens"]
        ),
        (&json!(2048), &json!(412), &json!(12))
    );
    assert_eq!(
        (of("message_start")[0]["message"]["model"].as_str(), of("message_stop").len()),
        (Some(MODEL), 1)
    );
}

/// C66, C69
#[tokio::test]
async fn thoughts_survive_several_turns() {
    let gateway = Gateway::new().await;
    let thoughts = |number: u32| {
        json!([
            {"reasoningContent": {"reasoningText": {"text": format!("t{number}"), "signature": format!("U0lH{number}")}}},
            {"reasoningContent": {"redactedContent": "UkVE"}},
            {"toolUse": {"toolUseId": format!("tooluse_{number}"), "name": "f", "input": {}}},
        ])
    };
    let asks = json!({"thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]});
    let mut of_messages = message(asks);
    let mut of_chat = chat(json!({"reasoning_effort": "low", "tools": tools()}));
    for number in 1..=3 {
        let id = format!("tooluse_{number}");
        let said = gateway.ask(MESSAGES, &of_messages, converse(thoughts(number), "tool_use")).await.json();
        let told = of_messages["messages"].as_array_mut().unwrap();
        told.push(json!({"role": "assistant", "content": said["content"]}));
        told.push(
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "r"}]}),
        );
        let said = gateway.ask(CHAT, &of_chat, converse(thoughts(number), "tool_use")).await.json();
        let told = of_chat["messages"].as_array_mut().unwrap();
        told.push(said["choices"][0]["message"].clone());
        told.push(json!({"role": "tool", "tool_call_id": id, "content": "r"}));
    }

    for (path, request) in [(MESSAGES, of_messages), (CHAT, of_chat)] {
        gateway.ask(path, &request, converse(json!([{"text": "done"}]), "end_turn")).await;

        let asked = gateway.asked();
        let messages = asked.body["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 7, "{path}");
        for number in 1..=3 {
            assert_eq!(messages[2 * number - 1]["content"], thoughts(number as u32), "{path}");
        }
        assert_eq!(asked.body["additionalModelRequestFields"]["thinking"]["type"], "enabled", "{path}");
    }
}

#[tokio::test]
async fn refusals_keep_their_class() {
    let gateway = Gateway::new().await;
    let throttled = "ThrottlingException:http://internal.amazon.com/coral/";
    for (refusal, chat_status, kind, messages_status) in [
        (
            Says::Refusal(429, throttled, json!({"message": "Too many requests"})),
            429,
            "rate_limit_error",
            429,
        ),
        (
            Says::Refusal(400, "ValidationException", json!({"message": "no"})),
            400,
            "invalid_request_error",
            400,
        ),
        (Says::Refusal(403, "AccessDeniedException", json!({"message": "no"})), 502, "api_error", 500),
        (
            Says::Refusal(503, "ServiceUnavailableException", json!({"message": "no"})),
            503,
            "overloaded_error",
            529,
        ),
        (Says::Refusal(408, "ModelTimeoutException", json!({"message": "no"})), 504, "timeout_error", 504),
    ] {
        let to_chat = gateway.ask(CHAT, &chat(json!({})), refusal.clone()).await;
        let to_messages = gateway.ask(MESSAGES, &message(json!({"stream": true})), refusal).await;

        assert_eq!((to_chat.status, to_messages.status), (chat_status, messages_status), "{to_chat:?}");
        assert_eq!(to_messages.json()["error"]["type"], kind);
    }
    let long = json!({"message": "Input is too long for requested model."});
    let refused = gateway.ask(CHAT, &chat(json!({})), Says::Refusal(400, "ValidationException", long)).await;
    assert_eq!(refused.json()["error"]["code"], "context_length_exceeded");
}

/// C92
#[tokio::test]
async fn what_is_thrown_inside_of_a_stream_is_told_inside_of_it() {
    let gateway = Gateway::new().await;
    let thrown = exception("throttlingException", json!({"message": "Too many requests"}));
    let begun =
        [event("messageStart", json!({"role": "assistant"})), delta(0, json!({"text": "Hi"}))].concat();
    let broken = || Says::Stream([begun.clone(), thrown.clone(), end("end_turn")].concat(), 40);

    let to_chat = gateway.ask(CHAT, &chat(json!({"stream": true})), broken()).await;
    let to_messages = gateway.ask(MESSAGES, &message(json!({"stream": true})), broken()).await;

    assert_eq!((to_chat.status, to_messages.status), (200, 200));
    assert!(to_chat.body.contains("\"Hi\"") && !to_chat.body.contains("[DONE]"), "{to_chat:?}");
    assert_eq!(to_chat.events().last().unwrap()["error"]["code"], "rate_limit_exceeded");
    let last = to_messages.events().pop().unwrap();
    assert_eq!(last["error"], json!({"type": "rate_limit_error", "message": "Too many requests"}));
    assert!(!to_messages.body.contains("message_stop"));
}

/// C94
#[tokio::test]
async fn what_is_thrown_before_any_content_is_a_refusal() {
    let gateway = Gateway::new().await;
    let thrown = exception("serviceUnavailableException", json!({"message": "later"}));
    let start = event("messageStart", json!({"role": "assistant"}));

    let answer =
        gateway.ask(CHAT, &chat(json!({"stream": true})), Says::Stream([start, thrown].concat(), 9)).await;

    assert_eq!((answer.status, answer.json()["error"]["message"].as_str()), (503, Some("later")));
}

/// C93
#[tokio::test]
async fn a_stream_that_is_damaged_or_breaks_off_is_an_error() {
    let gateway = Gateway::new().await;
    let whole = streamed();
    let mut damaged = whole.clone();
    let near_the_end = damaged.len() - 200;
    damaged[near_the_end] ^= 1;
    for broken in [damaged, whole[..whole.len() - 500].to_vec()] {
        let answer = gateway.ask(MESSAGES, &message(json!({"stream": true})), Says::Stream(broken, 64)).await;

        assert_eq!(answer.status, 200);
        assert_eq!(answer.events().pop().unwrap()["error"]["type"], "api_error", "{answer:?}");
        assert!(answer.body.contains("bóth") && !answer.body.contains("message_stop"));
    }
    let nothing = gateway
        .ask(CHAT, &chat(json!({"stream": true})), Says::Stream(b"not a frame at all".to_vec(), 5))
        .await;
    assert_eq!(nothing.status, 502);
}

#[tokio::test]
async fn what_converse_cannot_take_is_reported() {
    let gateway = Gateway::new().await;
    let request =
        chat(json!({"seed": 1, "logit_bias": {"1": 2}, "parallel_tool_calls": false, "tools": tools(),
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}));

    let answer = gateway.ask(CHAT, &request, converse(json!([]), "guardrail_intervened")).await;

    assert_eq!(answer.headers["x-bartizan-lost"], "parallel_tool_calls, logit_bias, seed");
    assert_eq!(gateway.asked().body["guardrailConfig"]["guardrailIdentifier"], "g");
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter");
}

#[tokio::test]
async fn a_key_of_bedrocks_own_is_sent_as_it_is() {
    let gateway = Gateway::with("api_key: bedrock-key").await;
    let request = with(
        chat(json!({})),
        json!({"model": "b/arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.x"}),
    );

    let answer = gateway.ask(CHAT, &request, converse(json!([{"text": "Hi"}]), "end_turn")).await;

    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hi");
    let asked = gateway.asked();
    assert_eq!(asked.headers["authorization"], "Bearer bedrock-key");
    assert_eq!(
        asked.path,
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.x/converse"
    );
}

#[tokio::test]
async fn the_token_of_a_session_is_signed_as_well() {
    let keys =
        format!("{{ access_key_id: AKIDEXAMPLE, secret_access_key: {SECRET}, session_token: session }}");
    let gateway = Gateway::with(&format!("credentials: {keys}")).await;

    gateway.ask(CHAT, &chat(json!({})), converse(json!([{"text": "Hi"}]), "end_turn")).await;

    let asked = gateway.asked();
    let proof = asked.headers["authorization"].to_str().unwrap();
    assert!(proof.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "), "{proof}");
    assert!(asked.is_signed && asked.headers["x-amz-security-token"] == "session");
}
