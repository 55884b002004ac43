//! What the choice among 50 targets costs by each strategy: `cargo bench --bench choice`.
//!
//! A request goes through `Dispatch` to a target that answers at once. `priority` takes the first one as it is
//! listed; what the others take longer is their choice. Conditions are measured where they are asked, also of a
//! request of a megabyte. At first it is printed what a hedge does to a slow tail, by a clock that waits for nothing.

#![allow(missing_docs)]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bartizan::{
    Error, Exchange, Payload, Target,
    choose::{ChooseLayer, Rule},
    dialect::OPENAI_CHAT,
    dispatch::{After, Candidate, Dispatch, Hedge, Route, Sticky, Strategy, Table},
    expression::Expression,
    payload::Head,
    price::{NanoUsd, Rates},
};
use bytes::Bytes;
use criterion::Criterion;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};

const TARGETS: u32 = 50;

fn main() {
    hedging();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("choice among 50");
    let strategies = [
        Strategy::Priority,
        Strategy::Weighted,
        Strategy::LeastBusy,
        Strategy::Latency,
        Strategy::Cheapest,
        Strategy::Throughput,
    ];
    for strategy in strategies {
        bench(&mut group, strategy.as_str(), route(strategy));
    }
    bench(&mut group, "weighted, sticky", route(Strategy::Weighted).sticky(Sticky::User));
    bench(&mut group, "priority, at most so dear", route(Strategy::Priority).max_cost(NanoUsd::from_usd(1)));
    bench(
        &mut group,
        "latency, with an objective",
        route(Strategy::Latency).objective(Duration::from_secs(1)),
    );
    group.finish();
    conditions(&mut criterion);
}

/// The 99th percentile of a target with a slow tail of 5 %, without and with a hedge at its 95th, and what that costs.
fn hedging() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let (alone, _) = runtime.block_on(slow_tail(None));
    let (hedged, asked) = runtime.block_on(slow_tail(Some(Hedge::new(After::Percentile(95)).percent(6))));
    println!(
        "p99 of a slow tail: {alone} ms alone, {hedged} ms hedged at p95, with {asked:.3} attempts for each request"
    );
}

/// The 99th percentile in milliseconds, and how many attempts there were for each request.
async fn slow_tail(hedge: Option<Hedge>) -> (u128, f64) {
    const REQUESTS: u32 = 20_000;
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    // 80 to 120 ms, and 1 to 3 s for one in twenty, by a sequence that only looks random.
    let service = service_fn(move |_: Request<Payload>| {
        let number = u64::from(count.fetch_add(1, Relaxed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (dice, spread) = ((number >> 32) % 1_000, number >> 48);
        let time = if dice < 50 { 1_000 + spread % 2_000 } else { 80 + spread % 40 };
        async move {
            tokio::time::sleep(Duration::from_millis(time)).await;
            Ok::<_, Error>(Response::new(Full::<Bytes>::from("{}")))
        }
    });
    let route = Route::new("chat", [Candidate::new(Arc::new(Target::new("provider", "model")), service)]);
    let route = hedge.into_iter().fold(route, Route::hedge);
    let mut dispatch = Dispatch::new(Table::default().route(route));
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let begun = tokio::time::Instant::now();
        let answer = dispatch.call(Request::new(asking("chat"))).await;
        black_box(answer.is_ok());
        times.push(begun.elapsed().as_millis());
    }
    times.sort_unstable();
    (times[times.len() * 99 / 100], f64::from(asked.load(Relaxed)) / f64::from(REQUESTS))
}

fn asking(model: &str) -> Payload {
    let head = Head { model: model.into(), ..Head::default() };
    let body = format!(r#"{{"model":"{model}"}}"#);
    Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default())
}

/// What a request costs on its way through `Choose` where there are 1,000 models, without rules and with some.
fn conditions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1,000 models");
    let simple = r#"request.stream || request.tokens > 50000"#;
    let of_all = r#"request.tokens > 50000 || tags.feature == "x" || headers["x-region"] == "us"
        || request.text.matches("(?i)summar|tl;?dr") || "run" in request.tools || team == "none"
        || request.parameters.temperature > 1.5 || time.hour == 25 || !(key.startsWith("k") || key == "")"#;
    for (name, rules) in [
        ("without rules", vec![]),
        ("one condition", vec![simple]),
        ("five conditions", vec![simple; 5]),
        ("a condition about everything", vec![of_all]),
    ] {
        let mut service = ChooseLayer::new(Dispatch::new(models(&rules))).layer(service_fn(answered));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                request,
                |req| black_box(service.call(req).now_or_never()),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    let loops = [
        "tags.all(tag, size(request.text) > 0 && !request.text.contains(tag))",
        "headers.all(name, size(request.text) > 0 && !request.text.contains(headers[name]))",
        r#"request.tools.exists(tool, tool.startsWith("b") || request.text.endsWith(tool))"#,
    ];
    let mut service = ChooseLayer::new(Dispatch::new(models(&loops))).layer(service_fn(answered));
    group.bench_function("three conditions with loops, 1 MB", |bencher| {
        let large = || request_of(&"words and \\n ".repeat(90_000));
        bencher.iter_batched(
            large,
            |req| black_box(service.call(req).now_or_never()),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

async fn answered(req: Request<Payload>) -> Result<Request<Payload>, Error> {
    Ok(req)
}

fn models(rules: &[&str]) -> Table {
    let service =
        service_fn(async |_: Request<Payload>| Ok::<_, Error>(Response::new(Full::<Bytes>::from("{}"))));
    let candidate = || Candidate::new(Arc::new(Target::new("provider", "model")), service);
    (0..1_000).fold(Table::default(), |table, index| {
        let mut route = Route::new(&format!("model-{index}"), [candidate()]);
        for rule in rules {
            let when = Expression::new(rule).expect("a condition");
            route = route.rule(Rule::new("other", when, Route::new("other", [candidate()])));
        }
        table.route(route)
    })
}

/// A request of half a kilobyte.
fn request() -> Request<Payload> {
    request_of(&"words and words ".repeat(25))
}

fn request_of(text: &str) -> Request<Payload> {
    let body = format!(
        r#"{{"model":"model-500","temperature":0.7,"tools":[{{"type":"function","function":{{"name":"search"}}}}],"messages":[{{"role":"user","content":"{text}"}}]}}"#,
    );
    let exchange = Exchange::default();
    exchange.learn(|learnt| learnt.labels.tags = vec![("feature".into(), "search".into())]);
    let head = Head { model: "model-500".into(), ..Head::default() };
    let mut req = Request::new(Payload::new(&OPENAI_CHAT, head, body.into(), exchange));
    for (name, value) in
        [("x-region", "eu"), ("user-agent", "client/1.0"), ("accept", "*/*"), ("host", "localhost")]
    {
        req.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    req
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn bench(group: &mut Group<'_>, name: &str, route: Route) {
    let mut dispatch = Dispatch::new(Table::default().route(route));
    // Each target has answered once, so that something is known of all of them.
    for _ in 0..TARGETS {
        call(&mut dispatch);
    }
    group.bench_function(name, |bencher| bencher.iter(|| black_box(call(&mut dispatch))));
}

fn call(dispatch: &mut Dispatch) -> Option<Response<bartizan::BoxBody>> {
    let head = Head { model: "chat".into(), ..Head::default() };
    let exchange = Exchange::default();
    exchange.learn(|learnt| learnt.labels.user = Some("ann".into()));
    let payload = Payload::new(&OPENAI_CHAT, head, Bytes::from_static(br#"{"model":"chat"}"#), exchange);
    dispatch.call(Request::new(payload)).now_or_never()?.ok()
}

fn route(strategy: Strategy) -> Route {
    let candidates = (0..TARGETS).map(|index| {
        let price = Rates::flat(NanoUsd(1_000 + u64::from(index)), NanoUsd(5_000));
        let target = Target::new("provider", &format!("model-{index}")).price(Some(price.into()));
        let service =
            service_fn(async |_: Request<Payload>| Ok::<_, Error>(Response::new(Full::<Bytes>::from("{}"))));
        Candidate::new(Arc::new(target), service).weight(1 + index % 7)
    });
    Route::new("chat", candidates).strategy(strategy)
}
