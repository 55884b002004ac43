//! What the examples show, run.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing::post};
use bartizan::{
    BoxError,
    config::{Builder, Config},
    secret::Secret,
    upstream::HttpClient,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

#[allow(dead_code)]
#[path = "../examples/axum.rs"]
mod axum_example;
#[allow(dead_code)]
#[path = "../examples/hyper.rs"]
mod hyper_example;
#[allow(dead_code)]
#[path = "../examples/own_layer.rs"]
mod own_layer;
#[allow(dead_code)]
#[path = "../examples/own_provider.rs"]
mod own_provider;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const HELLO: &str = r#"{"model":"chat","max_tokens":50,"messages":[{"role":"user","content":"Hello!"}]}"#;
const STREAM: &str =
    r#"{"model":"chat","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;

fn ask(path: &str, body: &'static str) -> Request<Body> {
    let req = Request::post(path).header("content-type", "application/json");
    req.header("authorization", "Bearer vk-example").body(body.into()).unwrap()
}

fn whoami(key: &str) -> Request<Body> {
    Request::get("/whoami").header("x-api-key", key).body(Body::empty()).unwrap()
}

/// Calls and reads the answer to its end.
async fn read<S, R>(service: S, req: Request<Body>) -> (StatusCode, HeaderMap, String)
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let Ok(res) = service.oneshot(req).await;
    let (head, body) = res.into_parts();
    let body = body.collect().await.map_err(Into::into).unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn axum_knows_the_caller_in_its_own_routes() {
    let app = axum_example::app().unwrap();

    let known = read(app.clone(), whoami("vk-example")).await;
    let (status, _, refusal) = read(app, whoami("vk-wrong")).await;

    assert_eq!((known.0, &*known.2), (StatusCode::OK, "you are example\n"));
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(refusal.contains(r#""error""#) && !refusal.contains("vk-wrong"), "{refusal}");
}

#[tokio::test]
async fn axum_answers_in_the_dialect_of_each_path() {
    let app = axum_example::app().unwrap();

    let (status, headers, body) = read(app.clone(), ask(CHAT, HELLO)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers["x-bartizan-provider"], "demo");
    assert!(body.contains(r#""choices""#) && body.contains("Hello!"), "{body}");

    let (status, _, body) = read(app.clone(), ask(MESSAGES, HELLO)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains(r#""type":"message""#) && body.contains("Hello!"), "{body}");

    let (status, _, body) = read(app, ask(CHAT, r#"{"model":"demo/echo","messages":[]}"#)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
}

#[tokio::test]
async fn axum_counts_both_halves_of_the_app_together() {
    let app = axum_example::app().unwrap();

    for _ in 0..3 {
        assert_eq!(read(app.clone(), whoami("vk-example")).await.0, StatusCode::OK);
    }
    for _ in 0..2 {
        assert_eq!(read(app.clone(), ask(CHAT, HELLO)).await.0, StatusCode::OK);
    }

    let (status, headers, _) = read(app.clone(), whoami("vk-example")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
    assert_eq!(read(app, ask(MESSAGES, HELLO)).await.0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn hyper_streams_in_either_dialect() {
    let gateway = hyper_example::gateway::<Body>().unwrap();

    let (_, headers, messages) = read(gateway.clone(), ask(MESSAGES, STREAM)).await;
    let (_, _, chat) = read(gateway, ask(CHAT, STREAM)).await;

    assert_eq!(headers["content-type"], "text/event-stream");
    assert!(messages.starts_with("event: message_start\n"), "{messages}");
    assert!(messages.contains("message_stop"), "{messages}");
    assert!(chat.ends_with("data: [DONE]\n\n"), "{chat}");
}

#[tokio::test]
async fn hyper_refuses_who_has_no_key_and_what_is_not_json() {
    let gateway = hyper_example::gateway::<Body>().unwrap();
    let mut keyless = ask(MESSAGES, HELLO);
    keyless.headers_mut().remove("authorization");

    let (unknown, _, who) = read(gateway.clone(), keyless).await;
    let (malformed, _, what) = read(gateway, ask(CHAT, "{")).await;

    assert_eq!(unknown, StatusCode::UNAUTHORIZED);
    assert!(who.contains("authentication_error"), "{who}");
    assert_eq!(malformed, StatusCode::BAD_REQUEST);
    assert!(what.contains("invalid_request_error"), "{what}");
}

#[tokio::test]
async fn own_layers_mark_answers_and_refuse_requests() {
    let app = own_layer::app();
    let hidden = r#"{"model":"chat","messages":[{"role":"user","content":"\u0050roject Falcon?"}]}"#;
    let block = r#"{"model":"chat","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"project falcon"}]}]}"#;

    let (status, headers, _) = read(app.clone(), ask(CHAT, HELLO)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["x-stage"], "staging");

    let (status, headers, body) = read(app.clone(), ask(CHAT, hidden)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(headers["x-stage"], "staging");
    assert!(body.contains("may not leave the company"), "{body}");

    let (status, _, body) = read(app, ask(MESSAGES, block)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.starts_with(r#"{"type":"error""#), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_passed_over() {
    let app = own_provider::app([own_provider::local(Duration::from_secs(1)), own_provider::demo()]);

    let (first, second) =
        tokio::join!(read(app.clone(), ask(CHAT, HELLO)), read(app.clone(), ask(CHAT, HELLO)));
    let third = read(app, ask(CHAT, HELLO)).await;

    assert_eq!(first.1["x-bartizan-provider"], "local");
    assert!(first.2.contains("!olleH"), "{}", first.2);
    assert_eq!(second.1["x-bartizan-provider"], "demo");
    assert_eq!(third.1["x-bartizan-provider"], "local");
}

#[tokio::test(start_paused = true)]
async fn own_providers_answer_in_other_dialects_and_in_streams() {
    let app = own_provider::app([own_provider::local(Duration::ZERO)]);

    let (_, _, whole) = read(app.clone(), ask(MESSAGES, HELLO)).await;
    let (_, headers, stream) = read(app, ask(MESSAGES, STREAM)).await;

    assert!(whole.contains(r#""type":"message""#) && whole.contains("!olleH"), "{whole}");
    assert!(whole.contains(r#""input_tokens":6"#), "{whole}");
    assert_eq!(headers["content-type"], "text/event-stream");
    assert!(stream.contains("content_block_delta") && stream.contains("!olleH"), "{stream}");
}

/// A provider at an address of its own, for whoever has the right token.
async fn serve_provider() -> String {
    const ANSWER: &str = r#"{"id":"1","object":"chat.completion","model":"large","choices":[{"index":0,"message":{"role":"assistant","content":"from afar"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let answer = |headers: HeaderMap, body: String| async move {
        let told = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        match told {
            "Bearer sk-hosted" if body.contains(r#""model":"large""#) => (StatusCode::OK, ANSWER.to_owned()),
            "Bearer sk-hosted" => {
                (StatusCode::NOT_FOUND, r#"{"error":{"message":"what model?"}}"#.to_owned())
            }
            _ => (StatusCode::UNAUTHORIZED, format!(r#"{{"error":{{"message":"not {told}"}}}}"#)),
        }
    };
    let provider = Router::new().route(CHAT, post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, provider).await });
    base
}

#[tokio::test]
async fn an_address_and_a_credential_make_a_provider() {
    let base = serve_provider().await;
    let client = HttpClient::new(Duration::from_secs(5));
    let hosted = |token| own_provider::hosted(client.clone(), &base, Secret::new(token), "large").unwrap();

    let (_, headers, body) = read(own_provider::app([hosted("sk-hosted")]), ask(CHAT, HELLO)).await;
    assert_eq!(headers["x-bartizan-provider"], "hosted", "{body}");
    assert!(body.contains("from afar"), "{body}");

    let fallback = [hosted("sk-other"), own_provider::demo()];
    let (_, headers, body) = read(own_provider::app(fallback), ask(CHAT, HELLO)).await;
    assert_eq!(headers["x-bartizan-provider"], "demo", "{body}");

    let (status, _, body) = read(own_provider::app([hosted("sk-other")]), ask(CHAT, HELLO)).await;
    assert!(status.is_server_error(), "{status} {body}");
    assert!(!body.contains("sk-other"), "{body}");
}

#[test]
fn the_configuration_of_the_readme_can_be_used() {
    let readme = include_str!("../README.md");
    let (_, from) = readme.split_once("```yaml\n").unwrap();
    let (yaml, _) = from.split_once("```").unwrap();
    let environment = |name: &str| (name != "LOCAL_URL").then(|| format!("value-of-{name}"));

    let config = Config::read(yaml, "README.md", &environment).unwrap();

    assert_eq!(config.providers["local"].base_url.as_deref(), Some("http://127.0.0.1:9000/v1"));
    assert_eq!(config.virtual_keys().len(), 1);
    Builder::default().table(&config).unwrap();
}
