//! Deployments at Azure.

mod cloud;

use bartizan::{
    Exchange, Kind, Payload,
    budget::Prices as _,
    config::{Builder, Config},
    dialect::OPENAI_CHAT,
    dispatch::Dispatch,
    payload::Head,
};
use cloud::{Cloud, Gateway, Said};
use serde_json::json;

/// A chat as Azure streams it: what the filters say comes before, beside and after the text.
const CHUNKS: &str = r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false}}}]}

data: {"choices":[{"content_filter_results":{},"delta":{"content":"","role":"assistant"},"finish_reason":null,"index":0}],"created":1,"id":"c","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk"}

data: {"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"delta":{"content":"Hi"},"finish_reason":null,"index":0}],"created":1,"id":"c","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk"}

data: {"choices":[{"content_filter_offsets":{"check_offset":0,"start_offset":0,"end_offset":2},"content_filter_results":{"error":{"code":"content_filter_error","message":"The contents are not filtered"}},"finish_reason":null,"index":0}],"created":0,"id":"","model":"","object":""}

data: {"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"FINISH","index":0}],"created":1,"id":"c","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk"}

data: {"choices":[],"created":1,"id":"c","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk","usage":{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}

data: [DONE]

"#;

async fn azure(says: Said, settings: &str) -> (Gateway, Cloud) {
    let (cloud, url) = Cloud::start(says).await;
    let gateway = Gateway::new(&format!(
        "unknown_price: allow\ndefaults: {{ retry: {{ attempts: 1 }} }}\nproviders:\n  a: {{ kind: azure, base_url: {url}, \
         api_key: sk-azure, {settings} }}\nmodels:\n  opus: {{ targets: [ {{ use: a/my-opus, model: claude-opus-5 }} ] }}"
    ));
    (gateway, cloud)
}

fn chat(stream: bool) -> String {
    json!({"model": "a/mine", "stream": stream, "messages": [{"role": "user", "content": "q"}]}).to_string()
}

fn message(model: &str, stream: bool) -> String {
    json!({"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}]})
        .to_string()
}

/// C112
#[tokio::test]
async fn what_the_filters_say_passes_to_clients_of_azure_and_not_to_others() {
    for (reason, expected) in [("stop", "end_turn"), ("content_filter", "refusal")] {
        let chunks = CHUNKS.replace("FINISH", reason);
        let (gateway, cloud) = azure(Said::stream(&chunks), "api_version: \"2024-10-21\"").await;

        let own = gateway.ask("/v1/chat/completions", chat(true)).await;
        let other = gateway.ask("/v1/messages", message("a/mine", true)).await;

        let uri = "/openai/deployments/mine/chat/completions?api-version=2024-10-21";
        assert!(cloud.asked().iter().all(|asked| asked.uri == uri), "{:?}", cloud.asked());
        assert!(own.body.starts_with(chunks.split("\n\n").next().unwrap()), "{own:?}");
        assert!(
            own.body.contains("content_filter_offsets") && !own.body.contains("prompt_tokens"),
            "{own:?}"
        );
        let events = other.events();
        let text: String = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
        let reason = events.iter().find_map(|event| event.pointer("/delta/stop_reason"));
        assert_eq!((&*text, reason), ("Hi", Some(&json!(expected))), "{other:?}");
        assert!(!other.body.contains("filter"), "{other:?}");
    }
}

#[tokio::test]
async fn annotations_of_a_whole_answer_pass_to_its_clients() {
    let said = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false}}}],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"},
            "content_filter_results": {"error": {"code": "content_filter_error", "message": "not filtered"}}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let (gateway, cloud) = azure(Said::json(200, &said), "").await;

    let own = gateway.ask("/v1/chat/completions", chat(false)).await;
    let other = gateway.ask("/v1/messages", message("a/mine", false)).await;

    assert_eq!(cloud.asked()[0].uri, "/openai/v1/chat/completions");
    assert_eq!(own.json(), said);
    assert_eq!((other.status.as_u16(), &other.json()["content"][0]["text"]), (200, &json!("Hi")));
}

#[tokio::test]
async fn a_blocked_prompt_is_refused_by_a_policy_whatever_its_code() {
    for code in ["content_filter", "BadRequest"] {
        let said = json!({"error": {"message": "The response was filtered due to the prompt triggering a policy.",
            "type": null, "param": "prompt", "code": code, "status": 400, "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"jailbreak": {"filtered": true, "detected": true}}}}});
        let (gateway, _cloud) = azure(Said::json(400, &said), "").await;

        let own = gateway.ask("/v1/chat/completions", chat(true)).await;
        let contents = json!({"contents": [{"parts": [{"text": "q"}]}]}).to_string();
        let other = gateway.ask("/v1beta/models/a/mine:generateContent", contents).await;
        let responses =
            gateway.ask("/v1/responses", json!({"model": "a/mine", "input": "q"}).to_string()).await;

        for got in [&own, &other, &responses] {
            assert_eq!(got.kind, Some(Kind::ContentFiltered), "{code} {got:?}");
        }
        assert_eq!((own.status.as_u16(), own.json()), (400, said), "{code}");
        assert_eq!(
            (other.status.as_u16(), &other.json()["error"]["status"]),
            (400, &json!("INVALID_ARGUMENT"))
        );
        assert_eq!(
            (responses.status.as_u16(), responses.json()["error"]["code"].as_str()),
            (400, Some(code))
        );
    }
}

#[tokio::test]
async fn a_full_deployment_says_when_it_is_worth_asking_again() {
    const SAID: Said = Said {
        status: 429,
        headers: &[("retry-after-ms", "1500"), ("retry-after", "9"), ("x-ratelimit-remaining-tokens", "0")],
        body: String::new(),
    };
    let error = json!({"error": {"code": "RateLimitReached", "message": "Please retry after 20 seconds."}});
    let (gateway, _cloud) = azure(Said { body: error.to_string(), ..SAID }, "").await;

    let got = gateway.ask("/v1/messages", message("a/mine", false)).await;

    assert_eq!((got.status.as_u16(), &got.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(
        (&got.headers["retry-after-ms"], &got.headers["retry-after"]),
        (&"1500".parse().unwrap(), &"2".parse().unwrap())
    );
    assert_eq!(got.headers["anthropic-ratelimit-tokens-remaining"], "0");
}

#[tokio::test]
async fn a_refusal_of_the_gateway_in_front_is_no_fault_of_the_client() {
    let said = json!({"statusCode": 401, "message": "Unauthorized. Access token is missing."});
    let (gateway, _cloud) = azure(Said::json(401, &said), "").await;

    let got = gateway.ask("/v1/chat/completions", chat(false)).await;

    assert_eq!(
        (got.status.as_u16(), &got.json()["error"]["code"]),
        (502, &json!("upstream_authentication_failed"))
    );
    assert_eq!(got.json()["error"]["message"], "Unauthorized. Access token is missing.");
}

#[tokio::test]
async fn responses_are_asked_for_where_the_version_has_them() {
    let said = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4o", "output": [],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
    let request = || json!({"model": "a/mine", "input": "q"}).to_string();
    let at = async |settings: &str| {
        let (gateway, cloud) = azure(Said::json(200, &said), settings).await;
        gateway.ask("/v1/responses", request()).await;
        cloud.asked().remove(0)
    };

    let newest = at("").await;
    assert_eq!((&*newest.uri, &newest.json()["model"]), ("/openai/v1/responses", &json!("mine")));
    let dated = at("api_version: 2025-04-01-preview").await;
    assert_eq!(dated.uri, "/openai/responses?api-version=2025-04-01-preview");
    assert_eq!(dated.json()["model"], "mine");
    let old = at("api_version: \"2024-10-21\"").await;
    assert_eq!(old.uri, "/openai/deployments/mine/chat/completions?api-version=2024-10-21");
}

#[tokio::test]
async fn a_deployment_of_claude_is_asked_as_anthropic_is() {
    let said = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}});
    let (gateway, cloud) = azure(Said::json(200, &said), "").await;

    let request = chat(false).replace("a/mine", "opus");
    let got = gateway.ask("/v1/chat/completions", request).await;

    let asked = &cloud.asked()[0];
    assert_eq!((&*asked.uri, &asked.json()["model"]), ("/anthropic/v1/messages", &json!("my-opus")));
    assert_eq!(
        (&asked.headers["api-key"], &asked.headers["anthropic-version"]),
        (&"sk-azure".parse().unwrap(), &"2023-06-01".parse().unwrap())
    );
    assert_eq!(got.json()["choices"][0]["message"]["content"], "Hi");
}

#[test]
fn a_deployment_costs_what_its_model_costs() {
    let config = "auth: open\nproviders:\n  a: { kind: azure, resource: r, api_key: k }\n  \
        v: { kind: vertex, project: p, api_key: k }\nmodels:\n  fast: { targets: [ { use: a/mine, model: gpt-4o-mini } ] }";
    let config = Config::read(config, "test", &|_| None).unwrap();
    let dispatch = Dispatch::new(Builder::default().table(&config).unwrap());
    let cost = |model: &str| {
        let head = Head { model: model.into(), max_output: Some(1_000_000), ..Head::default() };
        dispatch.worst_case(&Payload::new(&OPENAI_CHAT, head, "{}".into(), Exchange::default()))
    };

    assert!(cost("fast").is_some() && cost("fast") == cost("a/gpt-4o-mini"), "{:?}", cost("fast"));
    assert_eq!(cost("a/mine"), cost("fast"));
    assert_eq!(cost("a/other"), None);
    assert!(cost("v/claude-sonnet-4-5").is_some());
    assert_eq!(cost("v/google/gemini-2.5-flash"), cost("v/gemini-2.5-flash"));
    assert!(cost("v/gemini-2.5-flash").is_some() && cost("v/gemini-2.5-flash") < cost("v/claude-sonnet-4-5"));
}
