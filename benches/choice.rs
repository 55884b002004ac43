//! What the choice among 50 targets costs by each strategy: `cargo bench --bench choice`.
//!
//! A request goes through `Dispatch` to a target that answers at once. `priority` takes the first one as it is
//! listed; what the others take longer is their choice. Conditions are measured where they are asked.

#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc, time::Duration};

use bartizan::{
    Error, Exchange, Payload, Target,
    choose::{ChooseLayer, Rule},
    dialect::OPENAI_CHAT,
    dispatch::{Candidate, Dispatch, Route, Sticky, Strategy, Table},
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
    let body = format!(
        r#"{{"model":"model-500","temperature":0.7,"tools":[{{"type":"function","function":{{"name":"search"}}}}],"messages":[{{"role":"user","content":"{}"}}]}}"#,
        "words and words ".repeat(25)
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
