//! Budgets and limits of the program `examples/proxy` under load, on every store, and on two proxies that share
//! one.
#![cfg(unix)]

mod clients;
mod nodes;
#[path = "../postgres/server.rs"]
#[allow(dead_code, reason = "it is used in part")]
mod postgres;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "it is used in part")]
mod process;
#[path = "../redis/server.rs"]
#[allow(dead_code, reason = "it is used in part")]
mod server;

use std::{
    fs,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bartizan::price::NanoUsd;
use clients::{Seen, Way, body, load, mixed};
use process::{KEY, Proxy, eventually, exchange, file};
use serde_json::Value;
use server::Server;

/// Requests that are under way at the same time.
const AT_ONCE: usize = 1_000;

/// A proxy whose only key has these quotas, and what is sent costs a cent and a little.
fn config(store: &str, quotas: &str) -> String {
    format!(
        r#"
log: {{ level: warn, records: {{ file: records.jsonl }} }}
store: {store}
providers: {{ demo: {{ kind: demo, prices: {{ echo: {{ input: 0.1, output: 0.3, per_request: 0.01 }} }} }} }}
models: {{ chat: {{ targets: [ {{ use: demo/echo }} ], retry: {{ attempts: 1 }} }} }}
keys:
  - {{ name: app, sha256: 79975333c745fa0971b1ea001284da4555fb9023f7e851fd30905d0fdeec2dd9, {quotas} }}
"#
    )
}

/// Tests that load the machine go one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn get(proxy: &Proxy, path: &str) -> process::Response {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\r\n");
    exchange(proxy.connect(), head)
}

/// What the key has spent, and what is held for it; `None` if the store can't be asked.
fn standing(proxy: &Proxy) -> Option<(NanoUsd, NanoUsd)> {
    let about: Value = serde_json::from_str(&get(proxy, "/v1/key").body).unwrap();
    let usage = about["usage"]
        .as_array()?
        .iter()
        .find(|usage| usage["account"] == "key:app" && usage["measure"] == "usd")?;
    let amount = |field: &str| usage[field].as_str().unwrap().parse().unwrap();
    Some((amount("used"), amount("held")))
}

/// What the key has spent when nothing is held for it any more.
fn spent(proxy: &Proxy) -> NanoUsd {
    let settled = || standing(proxy).filter(|(_, held)| *held == NanoUsd(0)).map(|(used, _)| used);
    eventually(Duration::from_secs(20), settled).unwrap_or_else(|| panic!("{:?}", standing(proxy)))
}

/// What answers have cost by the records of `proxies`.
fn recorded(proxies: &[Proxy]) -> NanoUsd {
    let text = |proxy: &Proxy| fs::read_to_string(proxy.file.with_file_name("records.jsonl")).unwrap();
    let cost = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["cost"].as_str().unwrap().parse::<NanoUsd>().unwrap().0
    };
    NanoUsd(proxies.iter().map(|proxy| text(proxy).lines().map(cost).sum::<u64>()).sum())
}

/// Waits until the records say that `expected` was spent.
fn are_recorded(proxies: &[Proxy], expected: NanoUsd) {
    let is_so = || (recorded(proxies) == expected).then_some(());
    let in_time = eventually(Duration::from_secs(30), is_so).is_some();
    assert!(in_time, "{expected} was spent, {} is recorded", recorded(proxies));
}

/// What one request costs, and what is held for it while it is under way.
fn cost() -> (NanoUsd, NanoUsd) {
    let proxy = Proxy::start(&config("memory", ""));
    let ask = |stream| {
        let body = body(stream);
        let head = process::post(&format!("content-length: {}\r\n", body.len()));
        (proxy.connect(), head + &body)
    };
    let (socket, request) = ask(false);
    assert_eq!(exchange(socket, request).status, 200);
    let cost = spent(&proxy);
    let (mut socket, request) = ask(true);
    std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
    process::head(&mut socket);
    let (_, held) = standing(&proxy).unwrap();
    drop(socket);
    (cost, held)
}

/// What a budget has let through.
struct Row {
    store: &'static str,
    proxies: usize,
    seen: Seen,
    spent: NanoUsd,
    took: Duration,
}

/// Sends fifty times as many requests as a budget can bear. The last of them come when nothing is held any more
/// that isn't needed.
fn overrun(store: &'static str, setting: &str, proxies: usize, budget: NanoUsd, enough: usize) -> Row {
    let config = config(setting, &format!("budget: {{ usd: {budget}, per: total }}"));
    let proxies: Vec<_> = (0..proxies).map(|_| Proxy::at(file(&config))).collect();
    let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.address).collect();
    let begun = Instant::now();

    let seen = Seen::default();
    for share in [44, 3, 3] {
        seen.add(&block_on(load(&addresses, AT_ONCE, mixed, move |number| number < share * enough)));
        spent(&proxies[0]);
    }

    let took = begun.elapsed();
    let spent = spent(&proxies[0]);
    are_recorded(&proxies, spent);
    Row { store, proxies: proxies.len(), seen, spent, took }
}

#[test]
fn a_budget_lets_through_what_it_can_bear_and_nothing_more_on_every_store() {
    let _alone = alone();
    let enough = std::env::var("BARTIZAN_BUDGET_REQUESTS").map_or(100, |text| text.parse().unwrap());
    let (cost, worst) = cost();
    let budget = NanoUsd(cost.0 * enough as u64);

    let mut rows = Vec::new();
    let mut row = |store, setting: &str, proxies| {
        rows.push(overrun(store, setting, proxies, budget, enough));
    };
    row("memory", "memory", 1);
    row("sqlite", "{ sqlite: bartizan.db }", 1);
    if server::is_installed() {
        for proxies in [1, 2] {
            let server = Server::start();
            row("redis", &format!("{{ redis: {{ url: \"{}\", timeout: 10s }} }}", server.url()), proxies);
        }
    }
    if postgres::is_installed() {
        for proxies in [1, 2] {
            let server = postgres::Server::start();
            row(
                "postgres",
                &format!("{{ postgres: {{ url: \"{}\", timeout: 10s }} }}", server.url()),
                proxies,
            );
        }
    }

    println!("a budget of ${budget} for {enough} requests, {} sent, {AT_ONCE} at once", 50 * enough);
    println!("store    proxies  read to the end  left  refused  spent         took");
    for Row { store, proxies, seen, spent, took } in &rows {
        let (whole, left, refused) = (Seen::of(&seen.whole), Seen::of(&seen.left), Seen::of(&seen.refused));
        let spent = format!("${spent}");
        println!("{store:8} {proxies:7} {whole:16} {left:5} {refused:8}  {spent:13} {took:.1?}");
    }
    for Row { store, proxies, seen, spent, .. } in &rows {
        assert!(*spent <= budget, "{store} {proxies}: {spent}");
        assert!(seen.granted() * 100 >= enough as u64 * 99, "{store} {proxies}: {seen:?}");
        assert!(
            Seen::of(&seen.left) > 0 && spent.0 + worst.0 > budget.0,
            "{store} {proxies}: {spent} {seen:?}"
        );
        assert_eq!(Seen::of(&seen.away) + Seen::of(&seen.broken), 0, "{store} {proxies}: {seen:?}");
    }
}
