//! Counts of tokens, embeddings and legacy completions, over the whole stack and from every client to every provider.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, body::to_bytes, extract::Request as AxumRequest};
use bartizan::{
    BoxBody,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, Caller, VirtualKey},
    budget::BudgetLayer,
    config::{Builder, Config},
    dialect::Dialects,
    dispatch::Dispatch,
    ingest::IngestLayer,
    ledger::{MemoryLedger, Period, Quota},
    models::ModelsLayer,
    price::NanoUsd,
    record::{Record, RecordLayer, Sink},
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

const PROVIDERS: [&str; 3] = ["anthropic", "openai", "gemini"];

/// Providers of all kinds at one address; they count seven tokens and make two numbers of each text.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
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

    async fn answer(self, req: AxumRequest) -> Json<Value> {
        let (parts, body) = req.into_parts();
        let body: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap();
        let path = parts.uri.path().to_owned();
        let texts = body["input"].as_array().or(body["requests"].as_array()).map_or(1, Vec::len);
        self.seen.lock().unwrap().push((path.clone(), body));
        let openai = json!({"object": "embedding", "index": 0, "embedding": [0.5, -2.0]});
        let gemini = json!({"values": [0.5, -2.0]});
        Json(match path.rsplit(['/', ':']).next().unwrap() {
            "count_tokens" => json!({"input_tokens": 7}),
            "input_tokens" => json!({"object": "response.input_tokens", "input_tokens": 7}),
            "countTokens" => json!({"totalTokens": 7}),
            "embeddings" => json!({"object": "list", "model": "m", "data": vec![openai; texts],
                "usage": {"prompt_tokens": 3, "total_tokens": 3}}),
            "embedContent" => json!({"embedding": gemini}),
            "batchEmbedContents" => json!({"embeddings": vec![gemini; texts]}),
            "completions" if path.contains("/chat/") => json!({"id": "c", "created": 1, "model": "m",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a time"}}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}),
            "completions" => json!({"id": "c", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "finish_reason": "stop", "text": "a time", "logprobs": null}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}}),
            "messages" => json!({"type": "message", "id": "c", "role": "assistant", "model": "m",
                "content": [{"type": "text", "text": "a time"}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 4, "output_tokens": 2}}),
            other => panic!("{other}"),
        })
    }

    fn last(&self) -> (String, Value) {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<Record>>>);

impl Sink for Records {
    fn record(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Records {
    fn last(&self) -> Record {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

type Service = BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>;

struct Gateway {
    server: Server,
    records: Records,
    service: Service,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Gateway {
    async fn new(key: VirtualKey) -> Self {
        let (server, records) = (Server::default(), Records::default());
        let url = server.start().await;
        let text = format!(
            "{{ auth: open, unknown_price: refuse,
                providers: {{
                    anthropic: {{ kind: anthropic, base_url: {url}, api_key: k }},
                    openai: {{ kind: openai, base_url: {url}/v1, api_key: k }},
                    gemini: {{ kind: gemini, base_url: {url}/v1beta, api_key: k }},
                    other: {{ kind: openai-compatible, base_url: {url}/v1, api_key: k }},
                }},
                prices: {{ \"*/*\": {{ input: 1, output: 1 }} }},
                models: {{ alias: {{ targets: [{{ use: gemini/gemini-embedding-001 }}] }} }} }}"
        );
        let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let dispatch = Dispatch::new(Builder::default().table(&config).unwrap());
        let prices = Arc::new(dispatch.clone());
        let stack = ServiceBuilder::new()
            .map_response(|res: Response<_>| {
                res.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync())
            })
            .layer(RecordLayer::new(Arc::new(records.clone())))
            .layer(RenderErrorsLayer::new(Dialects::default()))
            .layer(AuthLayer::open(Caller::new(key)))
            .layer(RequestLimitLayer::new())
            .layer(ModelsLayer::new(prices.clone()))
            .layer(IngestLayer::new(Dialects::default()))
            .layer(AccessLayer::new())
            .layer(BudgetLayer::new(Arc::new(MemoryLedger::default()), prices))
            .service(dispatch);
        Self { server, records, service: BoxCloneService::new(stack) }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let req = Request::builder().method(method).uri(path).body(Full::from(body.to_string())).unwrap();
        let (parts, body) = self.service.clone().oneshot(req).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// Asks how many tokens a request for `model` has, as a client of a dialect.
    async fn count(&self, dialect: &str, model: &str) -> (Answer, u64) {
        let contents = json!([{"role": "user", "parts": [{"text": "Hello, world"}]}]);
        let messages = json!([{"role": "user", "content": "Hello, world"}]);
        let (path, body, member) = match dialect {
            "anthropic" => (
                "/anthropic/v1/messages/count_tokens".to_owned(),
                json!({"model": model, "messages": messages, "system": "S"}),
                "input_tokens",
            ),
            "openai" => (
                "/v1/responses/input_tokens".to_owned(),
                json!({"model": model, "input": "Hello, world", "instructions": "S"}),
                "input_tokens",
            ),
            _ => (
                format!("/genai/v1beta/models/{model}:countTokens"),
                json!({"contents": contents, "systemInstruction": {"parts": [{"text": "S"}]}}),
                "totalTokens",
            ),
        };
        let answer = self.ask(Method::POST, &path, body).await;
        let tokens = answer.body[member].as_u64().unwrap_or_else(|| panic!("{:?}", answer.body));
        (answer, tokens)
    }
}

fn everybody() -> VirtualKey {
    VirtualKey::new("everybody")
}

#[tokio::test]
async fn every_client_has_its_tokens_counted_by_every_provider_that_counts() {
    let gateway = Gateway::new(everybody()).await;

    for client in PROVIDERS {
        for provider in PROVIDERS {
            let (answer, tokens) = gateway.count(client, &format!("{provider}/m")).await;

            assert_eq!((answer.status, tokens), (StatusCode::OK, 7), "{client} to {provider}");
            assert!(!answer.headers.contains_key("x-bartizan-estimated"));
            let (path, body) = gateway.server.last();
            let (expected, text) = match provider {
                "anthropic" => ("/v1/messages/count_tokens", body.to_string()),
                "openai" => ("/v1/responses/input_tokens", body.to_string()),
                _ => ("/v1beta/models/m:countTokens", body.to_string()),
            };
            assert_eq!(path, expected, "{client} to {provider}");
            assert!(
                text.contains("Hello, world") && text.contains("\"S\""),
                "{client} to {provider}: {text}"
            );
            for setting in ["max_tokens", "max_output_tokens", "stream", "store"] {
                assert!(body.get(setting).is_none(), "{client} to {provider}: {text}");
            }
            let record = gateway.records.last();
            assert_eq!((record.cost, record.tokens.input), (NanoUsd(0), 0), "{client} to {provider}");
        }
    }
}

/// C128
#[tokio::test]
async fn a_provider_that_does_not_count_is_not_asked() {
    let gateway = Gateway::new(everybody()).await;

    for client in PROVIDERS {
        let (answer, tokens) = gateway.count(client, "other/m").await;

        assert!((4..20).contains(&tokens), "{tokens}");
        assert_eq!(answer.headers["x-bartizan-estimated"], "true");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["x-bartizan-attempts"], "0");
    }
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn counting_is_free_and_governed() {
    let poor = everybody().quota(Quota::usd(NanoUsd(1), Period::Total));
    let poor = Gateway::new(poor).await;
    let narrow = Gateway::new(everybody().allow([Pattern::new("openai/*")])).await;
    let slow = Gateway::new(everybody().requests("1/hour".parse().unwrap())).await;
    let message =
        json!({"model": "anthropic/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});

    assert_eq!(poor.count("anthropic", "anthropic/m").await.1, 7);
    assert_ne!(poor.ask(Method::POST, "/v1/messages", message.clone()).await.status, 200);
    let refused = narrow.ask(Method::POST, "/v1/messages/count_tokens", message.clone()).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]["type"]), (403, &"permission_error".into()));
    assert_eq!(slow.count("anthropic", "anthropic/m").await.1, 7);
    assert_eq!(slow.ask(Method::POST, "/v1/messages/count_tokens", message).await.status, 429);
}

#[tokio::test]
async fn a_client_of_openai_gets_vectors_of_gemini_in_the_form_it_wants() {
    let gateway = Gateway::new(everybody()).await;
    let ask = |form: &str| {
        let body = json!({"model": "alias", "input": ["a", "b"], "encoding_format": form, "dimensions": 2});
        gateway.ask(Method::POST, "/openai/v1/embeddings", body)
    };

    let float = ask("float").await;
    let (path, body) = gateway.server.last();
    let base64 = ask("base64").await;

    assert_eq!(path, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(body["requests"][1]["content"], json!({"parts": [{"text": "b"}]}));
    assert_eq!(body["requests"][1]["outputDimensionality"], 2);
    assert_eq!(float.body["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, -2.0]}));
    assert_eq!(base64.body["data"][0]["embedding"], "AAAAPwAAAMA=");
    assert_eq!(base64.body["model"], "gemini-embedding-001");
    // Gemini has not said what it read.
    assert_eq!(float.headers["x-bartizan-estimated"], "true");
    let record = gateway.records.last();
    assert!(record.estimated && record.tokens.output == 0 && record.cost > NanoUsd(0), "{record:?}");
    assert_eq!(base64.body["usage"]["prompt_tokens"], record.tokens.input);
}

#[tokio::test]
async fn a_client_of_gemini_gets_vectors_of_openai() {
    let gateway = Gateway::new(everybody()).await;
    let content = json!({"parts": [{"text": "a"}]});

    let one = json!({"content": content, "taskType": "CLUSTERING"});
    let one = gateway.ask(Method::POST, "/v1beta/models/openai/m:embedContent", one).await;
    let sent = gateway.server.last();
    let two = json!({"requests": [{"model": "models/openai/m", "content": content}, {"content": content}]});
    let two = gateway.ask(Method::POST, "/v1beta/models/openai/m:batchEmbedContents", two).await;

    assert_eq!(
        sent,
        ("/v1/embeddings".into(), json!({"model": "m", "input": ["a"], "encoding_format": "float"}))
    );
    assert_eq!(one.headers["x-bartizan-lost"], "taskType");
    assert_eq!(
        one.body,
        json!({"embedding": {"values": [0.5, -2.0]}, "usageMetadata": {"promptTokenCount": 3}})
    );
    assert_eq!(two.body["embeddings"].as_array().unwrap().len(), 2);
    let record = gateway.records.last();
    assert_eq!((record.estimated, record.tokens.input, record.cost), (false, 3, NanoUsd(3_000)));
}

#[tokio::test]
async fn a_request_in_the_dialect_of_its_provider_passes_under_the_name_of_the_target() {
    let gateway = Gateway::new(everybody()).await;
    let request = json!({"model": "models/alias", "content": {"parts": [{"text": "a"}]}, "x": 1});

    let answer = gateway
        .ask(Method::POST, "/v1beta/models/alias:batchEmbedContents", json!({"requests": [request]}))
        .await;

    assert_eq!(answer.body, json!({"embeddings": [{"values": [0.5, -2.0]}]}));
    let (_, body) = gateway.server.last();
    assert_eq!(body["requests"][0]["model"], "models/gemini-embedding-001");
    assert_eq!(body["requests"][0]["x"], 1);
}

#[tokio::test]
async fn what_has_no_translation_is_refused_in_the_words_of_the_client() {
    let gateway = Gateway::new(everybody()).await;

    let tokens = json!({"model": "gemini/m", "input": [1, 2]});
    let tokens = gateway.ask(Method::POST, "/v1/embeddings", tokens).await;
    let nobody = json!({"model": "anthropic/m", "input": "a"});
    let nobody = gateway.ask(Method::POST, "/v1/embeddings", nobody).await;
    let models = gateway.ask(Method::POST, "/v1/models", json!({})).await;

    assert_eq!((tokens.status.as_u16(), &tokens.body["error"]["param"]), (400, &"input".into()));
    assert_eq!((nobody.status.as_u16(), &nobody.body["error"]["param"]), (400, &"model".into()));
    assert_eq!(models.status, 405);
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn a_text_goes_on_at_providers_with_the_old_endpoint_and_without_it() {
    let gateway = Gateway::new(everybody()).await;

    for (model, path) in [
        ("other/m", "/v1/completions"),
        ("openai/gpt-3.5-turbo-instruct", "/v1/completions"),
        ("openai/gpt-4o", "/v1/chat/completions"),
        ("anthropic/m", "/v1/messages"),
    ] {
        let body = json!({"model": model, "prompt": "Once upon", "max_tokens": 9});
        let answer = gateway.ask(Method::POST, "/openai/v1/completions", body).await;

        assert_eq!(answer.status, 200, "{model}: {:?}", answer.body);
        assert_eq!(gateway.server.last().0, path, "{model}");
        assert_eq!(answer.body["object"], "text_completion", "{model}");
        assert_eq!(answer.body["choices"][0]["text"], "a time", "{model}");
        assert_eq!(answer.body["choices"][0]["finish_reason"], "stop", "{model}");
        assert_eq!(answer.body["usage"]["prompt_tokens"], 4, "{model}");
        let tokens = gateway.records.last().tokens;
        assert_eq!((tokens.input, tokens.output), (4, 2), "{model}");
    }
}
