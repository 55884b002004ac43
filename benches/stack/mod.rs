//! The whole stack as `examples/proxy` has it, above a provider that answers at once.

pub mod wire;

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bartizan::{
    BoxError, Dialect, Error, Payload, Target,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, KeyDigest, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    dialect::{ANTHROPIC, Dialects, OPENAI_CHAT, OPENAI_EMBEDDINGS},
    dispatch::{Candidate, Dispatch, Route, Table},
    drain::DrainLayer,
    first_event::FirstEventLayer,
    health::{HealthLayer, Ready},
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    ledger::{MemoryLedger, Period, Quota, Scope},
    meter::MeterLayer,
    models::ModelsLayer,
    price::{NanoUsd, PriceBook},
    record::{Record, RecordLayer, Sink},
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    secret::Secret,
    server_timing::ServerTimingLayer,
    sign::{Credential, SignLayer},
    translate::TranslateLayer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// The key that clients present.
const KEY: &str = "vk-0123456789abcdef";

/// Forgets every record.
#[derive(Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn record(&self, _: Record) {}
}

/// What the key may do: everything that is measured, and it is checked for all of it.
pub fn key() -> VirtualKey {
    let budget = Quota::usd(NanoUsd::from_usd(1_000_000), Period::Month);
    let scope = |account: &str| Scope::new(account, budget);
    VirtualKey::new("engineering-main")
        .team("engineering")
        .allow([Pattern::new("openai/*"), Pattern::new("chat")])
        .requests("1000000000/second".parse().expect("a rate"))
        .quota(budget)
        .scope(scope("team:engineering"))
        .scope(scope("gateway"))
}

/// What a candidate needs besides its layers.
pub struct Provider {
    pub target: Arc<Target>,
    pub natives: Vec<&'static dyn Dialect>,
    pub sign: SignLayer,
    pub answer: &'static str,
}

impl Provider {
    /// Requests pass through.
    pub fn openai() -> Self {
        Self {
            target: target("openai", "gpt-4o-mini"),
            natives: vec![&OPENAI_CHAT, &OPENAI_EMBEDDINGS],
            sign: SignLayer::new(Credential::Bearer(secret())).expect("a header"),
            answer: wire::OPENAI_ANSWER,
        }
    }

    /// Requests of clients of OpenAI are translated.
    pub fn anthropic() -> Self {
        let name = HeaderName::from_static("x-api-key");
        let version = HeaderName::from_static("anthropic-version");
        let sign = SignLayer::new(Credential::Header(name, secret())).expect("a header");
        Self {
            target: target("anthropic", "claude-sonnet-4-5"),
            natives: vec![&ANTHROPIC],
            sign: sign.header(version, HeaderValue::from_static("2023-06-01")),
            answer: wire::ANTHROPIC_ANSWER,
        }
    }
}

fn secret() -> Secret {
    Secret::new("sk-0123456789abcdef")
}

fn target(provider: &str, model: &str) -> Arc<Target> {
    let listing = PriceBook::builtin().lookup(provider, model).expect("a listed model");
    Arc::new(Target::new(provider, model).price(listing.price).facts(listing.facts))
}

/// A route that serves `chat` as the configuration builds it.
pub fn dispatch(provider: Provider) -> Dispatch {
    let Provider { target, natives, sign, answer } = provider;
    let stack = ServiceBuilder::new()
        .layer(InFlightLayer::new(10_000))
        .layer(TranslateLayer::new(target.clone(), natives))
        .layer(FirstEventLayer::new(Duration::from_secs(60)))
        .layer(MeterLayer::new(target.clone()))
        .layer(sign)
        .service(service_fn(move |req| answering(req, answer)));
    let route = Route::new("chat", [Candidate::new(target, stack)]).total(Duration::from_secs(600));
    Dispatch::new(Table::default().route(route))
}

/// Takes the request as a connection would, frame by frame.
pub async fn answering(
    mut req: Request<Payload>,
    text: &'static str,
) -> Result<Response<Full<Bytes>>, Error> {
    while req.body_mut().frame().await.is_some() {}
    let mut res = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(res)
}

/// All layers, as in `examples/proxy/stack.rs`.
pub fn gateway(
    dispatch: Dispatch,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = BoxError>>,
    Error = Infallible,
> + Clone {
    let dialects = Dialects::default();
    let keys = MemoryKeys::from_iter([(KeyDigest::of(KEY), key())]);
    ServiceBuilder::new()
        .layer(DrainLayer::new(1000))
        .layer(ServerTimingLayer::default())
        .layer(HealthLayer::new(Ready::default()))
        .layer(RecordLayer::new(Arc::new(Nowhere)))
        .layer(RenderErrorsLayer::new(dialects.clone()))
        .layer(InFlightLayer::new(10_000))
        .layer(AuthLayer::new(Arc::new(keys)))
        .layer(RequestLimitLayer::new())
        .layer(ModelsLayer::new(Arc::new(dispatch.clone())))
        .layer(IngestLayer::new(dialects).limit(10_000_000).memory(256_000_000))
        .layer(AccessLayer::new())
        .layer(BudgetLayer::new(Arc::new(MemoryLedger::default()), Arc::new(dispatch.clone())))
        .service(dispatch)
}

/// What OpenAI's Python SDK sends with a request.
static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let lines = [
        ("host", "127.0.0.1:8080"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("authorization", "Bearer vk-0123456789abcdef"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.8.0"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("content-length", "1000"),
    ];
    let pairs = lines.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
    let headers = HeaderMap::from_iter(pairs);
    // Values that were cloned once are shared, as those are that hyper reads from a connection.
    let _shared = headers.clone();
    headers
});

/// A request as it arrives.
pub fn request(body: Bytes) -> Request<Full<Bytes>> {
    let mut req = Request::new(Full::new(body));
    *req.method_mut() = Method::POST;
    *req.uri_mut() = Uri::from_static("/v1/chat/completions");
    *req.headers_mut() = HEADERS.clone();
    req
}

/// Sends one request and reads the answer to its end; returns the answer's size.
pub async fn send<S, Q, R>(service: S, req: Q) -> usize
where
    S: Service<Q, Response = Response<R>>,
    R: http_body::Body<Data = Bytes>,
{
    let Ok(res) = service.oneshot(req).await else { panic!("the stack refused the request") };
    assert!(res.status().is_success(), "{}", res.status());
    let mut body = std::pin::pin!(res.into_body());
    let mut size = 0;
    while let Some(Ok(frame)) = body.frame().await {
        size += frame.data_ref().map_or(0, Bytes::len);
    }
    size
}
