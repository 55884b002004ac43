//! Providers of a configuration, and what they are sent.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, body::to_bytes, extract::Request as AxumRequest, response::IntoResponse};
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
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

/// A request as a provider, or a server of tokens, got it.
#[derive(Clone, Debug)]
struct Seen {
    uri: String,
    headers: HeaderMap,
    body: String,
}

/// A server that hands out tokens at `/token`, numbered, and answers as a model everywhere else.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this = self.clone();
        let app = Router::new().fallback(move |req: AxumRequest| this.clone().answer(req));
        tokio::spawn(async { axum::serve(listener, app).await });
        url
    }

    async fn answer(self, req: AxumRequest) -> impl IntoResponse {
        let (parts, body) = req.into_parts();
        let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().into()).unwrap();
        let uri = parts.uri.to_string();
        let is_token = uri == "/token";
        self.seen.lock().unwrap().push(Seen { uri, headers: parts.headers, body });
        if is_token {
            let number = self.at("/token").len();
            return axum::Json(json!({"access_token": format!("token-{number}"), "expires_in": 3599}));
        }
        axum::Json(json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }))
    }

    /// The requests to addresses that contain `part`.
    fn at(&self, part: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.uri.contains(part)).cloned().collect()
    }
}

/// A gateway with these providers.
fn gateway(providers: &str) -> BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible> {
    let text = format!("auth: open\nunknown_price: allow\nproviders: {providers}");
    let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let table = Builder::default().table(&config).unwrap();
    let stack = ServiceBuilder::new()
        .map_response(|res: Response<_>| res.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync()))
        .layer(RenderErrorsLayer::new(Dialects::default()))
        .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
        .layer(IngestLayer::new(Dialects::default()))
        .service(Dispatch::new(table));
    BoxCloneService::new(stack)
}

/// Asks as a client of chat completions.
async fn ask(
    gateway: &BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>,
    body: Value,
) -> (StatusCode, String) {
    let req = Request::post("/v1/chat/completions")
        .header("authorization", "Bearer sk-client")
        .header("api-key", "sk-client")
        .body(Full::from(body.to_string()))
        .unwrap();
    let (parts, body) = gateway.clone().oneshot(req).await.unwrap().into_parts();
    (parts.status, String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap())
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "q"}]})
}

#[tokio::test]
async fn a_known_provider_is_asked_in_its_own_way() {
    let server = Server::default();
    let url = server.start().await;
    let gateway = gateway(&format!("{{ m: {{ kind: mistral, base_url: {url}/v1, api_key: sk-mistral }} }}"));

    let mut request = chat("m/mistral-small");
    request["seed"] = 7.into();
    request["user"] = "u".into();
    let (status, said) = ask(&gateway, request).await;

    assert_eq!(status, 200, "{said}");
    let seen = &server.at("/v1/chat/completions")[0];
    assert_eq!(seen.headers["authorization"], "Bearer sk-mistral");
    assert_eq!(
        serde_json::from_str::<Value>(&seen.body).unwrap(),
        json!({"model": "mistral-small", "messages": [{"role": "user", "content": "q"}], "random_seed": 7})
    );
}

#[tokio::test]
async fn azure_has_the_deployment_in_the_address_and_the_key_in_a_header_of_its_own() {
    let server = Server::default();
    let url = server.start().await;
    let gateway = gateway(&format!(
        "{{ a: {{ kind: azure, base_url: {url}, api_version: \"2024-10-21\", api_key: sk-azure }} }}"
    ));

    let (status, said) = ask(&gateway, chat("a/my-gpt")).await;

    assert_eq!(status, 200, "{said}");
    let seen = &server.at("chat")[0];
    assert_eq!(seen.uri, "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21");
    assert_eq!(seen.headers["api-key"], "sk-azure");
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn vertex_is_asked_with_one_token_for_all_requests() {
    let server = Server::default();
    let url = server.start().await;
    let file = std::env::temp_dir().join(format!("bartizan-vertex-{}.json", std::process::id()));
    let credentials = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "quota_project_id": "q", "token_uri": format!("{url}/token"),
    });
    std::fs::write(&file, credentials.to_string()).unwrap();
    let gateway = gateway(&format!(
        "{{ v: {{ kind: vertex, project: p, base_url: \"{url}\", credentials: {{ file: {} }} }} }}",
        file.display()
    ));
    std::fs::remove_file(&file).unwrap();

    let (one, other) =
        tokio::join!(ask(&gateway, chat("v/meta/llama-maas")), ask(&gateway, chat("v/meta/llama-maas")));

    assert_eq!((one.0, other.0), (StatusCode::OK, StatusCode::OK), "{} {}", one.1, other.1);
    assert_eq!(server.at("/token").len(), 1);
    let asked = server.at("/projects/p/locations/global/endpoints/openapi/chat/completions");
    assert_eq!(asked.len(), 2);
    for seen in asked {
        assert_eq!(seen.headers["authorization"], "Bearer token-1");
        assert_eq!(seen.headers["x-goog-user-project"], "q");
        assert!(seen.body.contains(r#""model":"meta/llama-maas""#), "{}", seen.body);
    }
}

#[tokio::test]
async fn a_provider_without_a_token_is_not_asked() {
    let server = Server::default();
    let url = server.start().await;
    let file = std::env::temp_dir().join(format!("bartizan-refused-{}.json", std::process::id()));
    let credentials = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s3cret", "refresh_token": "r",
        "token_uri": "http://127.0.0.1:1/token",
    });
    std::fs::write(&file, credentials.to_string()).unwrap();
    let gateway = gateway(&format!(
        "{{ v: {{ kind: vertex, project: p, base_url: \"{url}\", credentials: {{ file: {} }} }} }}",
        file.display()
    ));
    std::fs::remove_file(&file).unwrap();

    let (status, said) = ask(&gateway, chat("v/meta/llama-maas")).await;

    assert_eq!(status, 502, "{said}");
    assert!(
        said.contains("the server that hands out tokens could not be reached") && !said.contains("s3cret")
    );
    assert!(server.at("").is_empty());
}
