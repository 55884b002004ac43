//! What the choice among 50 targets costs by each strategy: `cargo bench --bench choice`.
//!
//! A request goes through `Dispatch` to a target that answers at once. `priority` takes the first one as it is
//! listed; what the others take longer is their choice.

#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc, time::Duration};

use bartizan::{
    Error, Exchange, Payload, Target,
    dialect::OPENAI_CHAT,
    dispatch::{Candidate, Dispatch, Route, Sticky, Strategy, Table},
    payload::Head,
    price::{NanoUsd, Rates},
};
use bytes::Bytes;
use criterion::Criterion;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Service, service_fn};

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
    group.finish();
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
