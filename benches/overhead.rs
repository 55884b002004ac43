//! What the layers cost in process: `cargo bench --bench overhead`.
//!
//! `stack` is the whole stack of `examples/proxy` with everything switched on, on a current-thread
//! runtime, from the request to the last frame of the answer; the provider answers 1.1 kB at once.
//! `reference` is the least that one has to do with the same bytes to route them. `layer` is each layer
//! alone around a service that does nothing, for a body of 1 kB; `nothing` is that service by itself.

#![allow(missing_docs)]

mod stack;

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bartizan::{
    Error, Exchange, Payload,
    access::AccessLayer,
    auth::{AuthLayer, Caller, KeyDigest, MemoryKeys},
    budget::BudgetLayer,
    dialect::Dialects,
    drain::DrainLayer,
    first_event::FirstEventLayer,
    health::{HealthLayer, Ready},
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    ledger::MemoryLedger,
    meter::MeterLayer,
    models::ModelsLayer,
    record::RecordLayer,
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    translate::TranslateLayer,
};
use bytes::Bytes;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::value::RawValue;
use stack::{Nowhere, Provider, answering, dispatch, gateway, key, request, send, wire};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, service_fn};

const SIZES: [(&str, usize); 3] = [("1 kB", 1_000), ("10 kB", 10_000), ("100 kB", 100_000)];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    references(&mut criterion.benchmark_group("reference"));
    stacks(&mut criterion.benchmark_group("stack"), &runtime);
    let mut group = criterion.benchmark_group("layer");
    outer_layers(&mut group, &runtime);
    inner_layers(&mut group, &runtime);
    group.finish();
    criterion.final_summary();
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Shallow<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    stream: Option<bool>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    messages: &'a RawValue,
}

fn references(group: &mut Group<'_>) {
    for (name, size) in SIZES {
        let body = wire::conversation("chat", size, false);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("utf-8 check and shallow read", name), |bench| {
            bench.iter(|| {
                let text = std::str::from_utf8(&body).expect("text");
                serde_json::from_str::<Shallow<'_>>(text).map(|shallow| shallow.messages.get().len())
            });
        });
    }
}

fn stacks(group: &mut Group<'_>, runtime: &Runtime) {
    for (name, size) in SIZES {
        let body = wire::conversation("chat", size, false);
        group.throughput(Throughput::Bytes(size as u64));
        for (kind, provider) in [("passthrough", Provider::openai()), ("translated", Provider::anthropic())] {
            let service = gateway(dispatch(provider));
            group.bench_function(BenchmarkId::new(kind, name), |bench| {
                bench.to_async(runtime).iter_custom(|times| {
                    let (service, body) = (service.clone(), body.clone());
                    timed(times, service, move || request(body.clone()))
                });
            });
        }
    }
}

/// How long `service` takes for so many requests. Making them is not counted, reading the clock is: about
/// 0.03 µs. Each is made when its turn comes, as a connection would; a batch of them would be out of the
/// cache by then.
async fn timed<S, Q, R>(times: u64, service: S, make: impl Fn() -> Q) -> Duration
where
    S: Service<Q, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    let mut total = Duration::ZERO;
    for _ in 0..times {
        let (service, req) = (service.clone(), make());
        let begin = Instant::now();
        send(service, req).await;
        total += begin.elapsed();
    }
    total
}

fn alone<S, Q, R>(
    group: &mut Group<'_>,
    runtime: &Runtime,
    name: &str,
    service: S,
    make: impl Fn() -> Q + Copy,
) where
    S: Service<Q, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    group.bench_function(name, |bench| {
        bench.to_async(runtime).iter_custom(|times| timed(times, service.clone(), make));
    });
}

fn answer<Q>(_: Q) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send {
    let text = Bytes::from_static(wire::OPENAI_ANSWER.as_bytes());
    std::future::ready(Ok(Response::new(Full::new(text))))
}

fn arrived() -> Request<Full<Bytes>> {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| wire::conversation("chat", 1_000, false));
    let mut req = request(BODY.clone());
    Exchange::open(&mut req).learn(|learnt| learnt.attempts.reserve(1));
    req.extensions_mut().insert(Caller::new(key()));
    req
}

fn outer_layers(group: &mut Group<'_>, runtime: &Runtime) {
    macro_rules! layer {
        ($name:literal, $layer:expr) => {
            alone(group, runtime, $name, $layer.layer(service_fn(answer)), arrived)
        };
    }
    let dialects = Dialects::default();
    let catalog = Arc::new(dispatch(Provider::openai()));
    let keys = MemoryKeys::from_iter([(KeyDigest::of("vk-0123456789abcdef"), key())]);
    alone(group, runtime, "nothing", service_fn(answer), arrived);
    layer!("drain", DrainLayer::new(1000));
    layer!("health", HealthLayer::new(Ready::default()));
    layer!("record", RecordLayer::new(Arc::new(Nowhere)));
    layer!("render_errors", RenderErrorsLayer::new(dialects.clone()));
    layer!("in_flight", InFlightLayer::new(10_000));
    layer!("auth", AuthLayer::new(Arc::new(keys)));
    layer!("request_limit", RequestLimitLayer::new());
    layer!("models", ModelsLayer::new(catalog));
    let ingest = IngestLayer::new(dialects).memory(256_000_000).layer(service_fn(answer::<Request<Payload>>));
    alone(group, runtime, "ingest", ingest, arrived);
}

fn ingested() -> Request<Payload> {
    let echo = service_fn(|req: Request<Payload>| std::future::ready(Ok::<_, Error>(Response::new(req))));
    let ingest = IngestLayer::new(Dialects::default()).layer(echo);
    let req = ingest.oneshot(arrived()).now_or_never().expect("the body is there").expect("a good request");
    req.into_body()
}

fn inner_layers(group: &mut Group<'_>, runtime: &Runtime) {
    macro_rules! layer {
        ($name:literal, $layer:expr) => {
            alone(group, runtime, $name, $layer.layer(service_fn(answer::<Request<Payload>>)), ingested)
        };
    }
    let Provider { target, natives, sign, .. } = Provider::openai();
    let prices = Arc::new(dispatch(Provider::openai()));
    layer!("access", AccessLayer::new());
    layer!("budget", BudgetLayer::new(Arc::new(MemoryLedger::default()), prices));
    alone(group, runtime, "dispatch and its candidate", dispatch(Provider::openai()), ingested);
    layer!("translate, same dialect", TranslateLayer::new(target.clone(), natives));
    let anthropic = Provider::anthropic();
    let foreign = TranslateLayer::new(anthropic.target.clone(), anthropic.natives);
    let foreign = foreign.layer(service_fn(|req| answering(req, wire::ANTHROPIC_ANSWER)));
    alone(group, runtime, "translate, other dialect", foreign, ingested);
    layer!("first_event", FirstEventLayer::new(Duration::from_secs(60)));
    layer!("meter", MeterLayer::new(target));
    layer!("sign", sign);
}
