//! Failures of one target that callers don't notice: real connections, real faults, many at once.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request as AxumRequest,
    response::IntoResponse,
};
use bartizan::{
    BoxBody, Error, Exchange, Kind, Payload, Target,
    auth::{AuthLayer, Caller, VirtualKey},
    breaker::{Breaker, BreakerLayer, Rules},
    config::{Builder, Config},
    dialect::{Dialects, OPENAI_CHAT},
    dispatch::{Candidate, Dispatch, Mirrors, Route, Table},
    ingest::IngestLayer,
    payload::Head,
    render_errors::RenderErrorsLayer,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};

/// What strikes before the first event of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Refuse,
    Reset,
    Hang,
    Status(u16),
    NotJson,
    EmptyStream,
    ErrorFirst,
    /// After the first words, which strikes too late for the faults below.
    CutLater,
}

const FAULTS: [Fault; 10] = [
    Fault::Refuse,
    Fault::Reset,
    Fault::Hang,
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(529),
    Fault::NotJson,
    Fault::EmptyStream,
    Fault::ErrorFirst,
];

const WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
    "finish_reason":"stop","message":{"role":"assistant","content":"Hi"}}],
    "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const STREAM: &str = concat!(
    r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n",
);
const FAILS: &str = r#"{"error":{"message":"it is down","type":"server_error"}}"#;

/// A server with a fault, or without one.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = asked.clone();
        match fault {
            // Nobody listens any more.
            Some(Fault::Refuse) => drop(listener),
            Some(Fault::Reset) => {
                tokio::spawn(async move {
                    while let Ok((socket, _)) = listener.accept().await {
                        counts.fetch_add(1, Ordering::Relaxed);
                        drop(socket);
                    }
                });
            }
            _ => {
                let app = Router::new().fallback(move |req: AxumRequest| {
                    counts.fetch_add(1, Ordering::Relaxed);
                    answer(fault, req)
                });
                tokio::spawn(async { axum::serve(listener, app).await });
            }
        }
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(fault: Option<Fault>, req: AxumRequest) -> axum::response::Response {
    let body = to_bytes(req.into_body(), 1 << 20).await.unwrap();
    let is_stream = String::from_utf8_lossy(&body).contains("\"stream\":true");
    let events = |text: String| (StatusCode::OK, [(header::CONTENT_TYPE, "text/event-stream")], text);
    let json = |status, text: &str| (status, [(header::CONTENT_TYPE, "application/json")], text.to_owned());
    match (fault, is_stream) {
        (Some(Fault::Hang), _) => std::future::pending().await,
        (Some(Fault::Status(status)), _) => json(StatusCode::from_u16(status).unwrap(), FAILS),
        (Some(Fault::NotJson), true) => events("<html>welcome</html>".into()),
        (Some(Fault::NotJson), false) => json(StatusCode::OK, "<html>welcome</html>"),
        (Some(Fault::EmptyStream), true) => events(String::new()),
        (Some(Fault::EmptyStream), false) => json(StatusCode::OK, ""),
        (Some(Fault::ErrorFirst), true) => events(format!("data: {FAILS}\n\n")),
        (Some(Fault::ErrorFirst), false) => json(StatusCode::OK, FAILS),
        (Some(Fault::CutLater), true) => {
            let first = STREAM.split_inclusive("\n\n").next().unwrap();
            let said = stream::iter([Ok(Bytes::from_static(first.as_bytes()))]);
            let broken = stream::once(async {
                // What breaks at once may not have been sent before.
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err("the connection broke")
            });
            let body = Body::from_stream(said.chain(broken));
            return (StatusCode::OK, [(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
        }
        (_, true) => events(STREAM.into()),
        (_, false) => json(StatusCode::OK, WHOLE),
    }
    .into_response()
}

#[tokio::test]
async fn an_image_goes_to_the_model_that_is_known_to_see_it_and_to_the_others_where_that_one_fails() {
    const IMAGE: &str = r#"[{"type":"image_url","image_url":{"url":"https://a.example/b.png"}}]"#;
    let answered_by = async |sees: &Server, content: &str| {
        let other = Server::start(None).await;
        let text = format!(
            "auth: open\nproviders:\n  a: {{ kind: openai, api_key: k, base_url: '{}' }}\n  \
             b: {{ kind: openai, api_key: k, base_url: '{}' }}\nmodels: {{ chat: {{ retry: {{ attempts: 1 }}, \
             targets: [ {{ use: a/gpt-3.5-turbo }}, {{ use: b/gpt-4o }} ] }} }}\n",
            other.url, sees.url
        );
        let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let gateway = gateway_of(&config, Mirrors::default());
        let body = format!(r#"{{"model":"chat","messages":[{{"role":"user","content":{content}}}]}}"#);
        let req = Request::post("/v1/chat/completions").header(header::CONTENT_TYPE, "application/json");
        let res = gateway.oneshot(req.body(Full::from(body)).unwrap()).await.unwrap();
        assert_eq!(res.status(), StatusCode::OK);
        res.headers()["x-bartizan-model"].to_str().unwrap().to_owned()
    };
    let (well, down) = (Server::start(None).await, Server::start(Some(Fault::Status(503))).await);

    assert_eq!(answered_by(&well, r#""Hi""#).await, "gpt-3.5-turbo");
    assert_eq!(answered_by(&well, IMAGE).await, "gpt-4o");
    assert_eq!(answered_by(&down, IMAGE).await, "gpt-3.5-turbo");
}

type Gateway = BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>;

fn gateway(first: &Server, second: &Server) -> Gateway {
    gateway_with(first, second, "", Mirrors::default())
}

/// One whose model says `more`.
fn gateway_with(first: &Server, second: &Server, more: &str, mirrors: Mirrors) -> Gateway {
    let text = format!(
        "auth: open\nunknown_price: allow\nproviders:\n  \
         a: {{ kind: openai-compatible, base_url: '{}' }}\n  \
         b: {{ kind: openai-compatible, base_url: '{}' }}\n\
         models:\n  chat:\n    targets: [ {{ use: a/m }}, {{ use: b/m }} ]\n    \
         retry: {{ attempts: 2, backoff: 1ms..5ms }}\n    timeouts: {{ first_byte: 500ms, first_event: 500ms }}\n    {more}\n",
        first.url, second.url
    );
    let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    gateway_of(&config, mirrors)
}

fn gateway_of(config: &Config, mirrors: Mirrors) -> Gateway {
    let table = Builder::default().mirrors(mirrors).table(config).unwrap();
    let stack = ServiceBuilder::new()
        .map_response(|res: Response<_>| res.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync()))
        .layer(RenderErrorsLayer::new(Dialects::default()))
        .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
        .layer(IngestLayer::new(Dialects::default()))
        .service(Dispatch::new(table));
    BoxCloneService::new(stack)
}

fn chat(stream: bool) -> Request<Full<Bytes>> {
    let body =
        format!(r#"{{"model":"chat","messages":[{{"role":"user","content":"Hi"}}],"stream":{stream}}}"#);
    let req = Request::post("/v1/chat/completions").header(header::CONTENT_TYPE, "application/json");
    req.body(Full::from(body)).unwrap()
}

/// Sends `count` requests, 100 at once; the times they took, if each was answered.
async fn load(gateway: &Gateway, count: usize) -> Vec<Duration> {
    let calls = (0..count).map(|n| async move {
        let begun = Instant::now();
        let res = gateway.clone().oneshot(chat(n % 2 == 0)).await.unwrap();
        let status = res.status();
        let body = res.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, StatusCode::OK, "{body:?}");
        assert!(body.windows(4).any(|at| at == b"\"Hi\""), "{body:?}");
        begun.elapsed()
    });
    let mut times: Vec<_> = stream::iter(calls).buffer_unordered(100).collect().await;
    times.sort();
    times
}

#[tokio::test]
async fn with_one_healthy_target_every_request_is_answered_whatever_strikes_the_other() {
    const REQUESTS: usize = 1_000;

    for fault in FAULTS {
        let (first, second) = (Server::start(Some(fault)).await, Server::start(None).await);

        let times = load(&gateway(&first, &second), REQUESTS).await;

        let (median, last) = (times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
        println!(
            "{fault:?}: {REQUESTS} of {REQUESTS} answered, {} tries at the faulty target, median {median:?}, p99 {last:?}",
            first.asked()
        );
        assert_eq!(second.asked(), REQUESTS, "{fault:?}");
        // The hundred that were sent at once, twice, and the probes; without a breaker there would be 2,000.
        assert!(first.asked() <= 300, "{fault:?}: {}", first.asked());
    }
}

#[tokio::test]
async fn where_all_targets_are_down_the_load_on_them_is_small_and_the_client_is_told_when() {
    const REQUESTS: usize = 1_000;
    let down = Some(Fault::Status(503));
    let (first, second) = (Server::start(down).await, Server::start(down).await);
    let gateway = gateway(&first, &second);

    for _ in 0..REQUESTS {
        let res = gateway.clone().oneshot(chat(false)).await.unwrap();
        assert_eq!(res.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    println!("{REQUESTS} requests while all is down: {} and {} tries", first.asked(), second.asked());
    assert!(first.asked() + second.asked() <= 100);
    let refused = gateway.oneshot(chat(false)).await.unwrap();
    let after: u64 = refused.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    assert!(body.contains("`b/m` is passed over for") && body.contains("at last with overloaded"), "{body}");
}

#[tokio::test]
async fn going_on_from_an_open_breaker_takes_no_time_to_speak_of() {
    const TIMES: usize = 1_001;
    let target = |name| Arc::new(Target::new("demo", name));
    let answers = service_fn(async |_: Request<Payload>| {
        Ok::<_, Error>(Response::new(Full::new(Bytes::from_static(b"{}"))))
    });
    let fails = service_fn(async |_: Request<Payload>| {
        Err::<Response<Full<Bytes>>, _>(Error::new(Kind::Unreachable, "no connection"))
    });
    let breaker = Breaker::new("demo/a", Rules { in_a_row: 1, ..Rules::default() });
    let guarded = ServiceBuilder::new().layer(BreakerLayer::new(breaker.clone())).service(fails);
    let (a, b) = (Candidate::new(target("a"), guarded), Candidate::new(target("b"), answers));
    let table = Table::default().route(Route::new("both", [a, b.clone()])).route(Route::new("one", [b]));
    let dispatch = Dispatch::new(table);
    let median = async |model: &str| {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let head = Head { model: model.into(), ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::from_static(b"{}"), Exchange::default());
            let begun = Instant::now();
            assert!(dispatch.clone().oneshot(Request::new(payload)).await.is_ok());
            times.push(begun.elapsed());
        }
        times.sort();
        times[TIMES / 2]
    };

    let (both, one) = (median("both").await, median("one").await);

    println!("with an open breaker before it: {both:?}, without: {one:?}");
    assert!(breaker.standing().open_for.is_some());
    assert!(both.saturating_sub(one) < Duration::from_micros(100));
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_is_gone_on_with_if_the_model_says_so() {
    for (more, goes_on) in [("on_break: resume", true), ("on_break: error", false)] {
        let (first, second) = (Server::start(Some(Fault::CutLater)).await, Server::start(None).await);
        let gateway = gateway_with(&first, &second, more, Mirrors::default());

        let res = gateway.oneshot(chat(true)).await.unwrap();
        let body = res.into_body().collect().await.unwrap().to_bytes();

        let body = String::from_utf8_lossy(&body);
        // Whoever goes on says the same once more, which is taken out.
        assert_eq!((body.matches("Hi").count(), body.contains("[DONE]")), (1, goes_on), "{body}");
        assert_eq!((second.asked(), body.contains("\"error\"")), (usize::from(goes_on), !goes_on), "{body}");
    }
}

#[tokio::test]
async fn a_target_that_hangs_costs_no_more_than_the_delay_of_the_hedge() {
    let (first, second) = (Server::start(Some(Fault::Hang)).await, Server::start(None).await);
    let hedge = "hedge: { after: 20ms, percent: 100 }";
    let gateway = gateway_with(&first, &second, hedge, Mirrors::default());

    let begun = Instant::now();
    let res = gateway.oneshot(chat(false)).await.unwrap();

    // Without it, the first event would be waited for.
    assert_eq!(
        (res.status(), &res.headers()["x-bartizan-provider"]),
        (StatusCode::OK, &"b".parse().unwrap())
    );
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_mirror_gets_its_share_and_fails_for_nobody() {
    let (first, second) = (Server::start(None).await, Server::start(Some(Fault::Status(500))).await);
    let mirrors = Mirrors::default();
    let mirror = "mirror: { use: b/other, percent: 100, budget: { tokens: 1M, per: day } }";
    let gateway = gateway_with(&first, &second, mirror, mirrors.clone());

    load(&gateway, 20).await;
    mirrors.finished().await;

    let report = mirrors.report();
    let row = |mirror| report.iter().find(|row| row.is_mirror == mirror).unwrap();
    assert_eq!((first.asked(), row(false).requests, row(false).failed), (20, 20, 0));
    assert_eq!((&*row(true).target, row(true).failed), ("b/other", row(true).requests));
}
