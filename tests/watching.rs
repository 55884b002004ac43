//! What the proxy knows of its targets, and what it tells of them: `/health`, breakers that nodes share, probes,
//! comments to clients that wait.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "redis/server.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;

use std::time::{Duration, Instant};

use process::{KEY, Proxy, chat, eventually, exchange};
use serde_json::Value;
use server::Server;

/// A provider where nobody listens, before one that answers.
fn config(provider: &str, rest: &str) -> String {
    format!(
        "unknown_price: allow\nkeys: [ {{ name: app, key: {KEY} }} ]\n\
         providers: {{ gone: {{ kind: openai-compatible, base_url: 'http://127.0.0.1:1/v1', api_key: sk-hidden-0123, {provider} }}, demo: {{ kind: demo }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: gone/m }}, {{ use: demo/echo }} ], retry: {{ attempts: 1 }} }} }}\n{rest}\n"
    )
}

fn health(proxy: &Proxy) -> Value {
    let answer = exchange(proxy.connect(), "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("hidden") && !answer.body.contains("127.0.0.1"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

fn is_passed_over(proxy: &Proxy) -> Option<()> {
    (health(proxy)["targets"][0]["state"] == "passed_over").then_some(())
}

#[test]
fn health_tells_how_each_target_stands_and_why() {
    let proxy = Proxy::start(&config("breaker: { failures: 1, pause: 30s..60s }", "store: memory"));
    let before = health(&proxy);

    assert_eq!(exchange(proxy.connect(), chat("chat", false, "Hi")).status, 200);

    let after = health(&proxy);
    assert_eq!((&before["status"], &before["answering"]), (&"ok".into(), &2.into()), "{before}");
    assert_eq!((&after["status"], &after["answering"]), (&"degraded".into(), &1.into()), "{after}");
    let gone = &after["targets"][0];
    assert_eq!(
        (&gone["target"], &gone["last_failure"]),
        (&"gone/m".into(), &"unreachable".into()),
        "{after}"
    );
    assert!(gone["since"].is_string() && gone["passed_over_for_seconds"].as_u64() > Some(25), "{after}");
    let brief = Proxy::start(&config("breaker: {}", "store: memory\nserver: { health: counts }"));
    assert_eq!(health(&brief), serde_json::json!({ "status": "ok", "answering": 2, "passed_over": 0 }));
}

#[test]
fn what_one_node_finds_out_the_others_know_within_a_second() {
    if !server::is_installed() {
        return;
    }
    let redis = Server::start();
    let store = format!("store: {{ redis: {{ url: '{}', journal: null }} }}", redis.url());
    let config = config("breaker: { failures: 1, pause: 30s..60s }", &store);
    let (one, other) = (Proxy::start(&config), Proxy::start(&config));
    assert!(is_passed_over(&other).is_none());

    assert_eq!(exchange(one.connect(), chat("chat", false, "Hi")).status, 200);
    let begun = Instant::now();
    let known = eventually(Duration::from_secs(5), || is_passed_over(&other));

    println!("the other node knew it after {:?}", begun.elapsed());
    assert!(known.is_some(), "{}", other.log());
    assert!(begun.elapsed() < Duration::from_millis(1_500));
    let answer = exchange(other.connect(), chat("chat", false, "Hi"));
    assert!(answer.status == 200 && answer.head.contains("x-bartizan-attempts: 1"), "{answer:?}");
}

#[test]
fn a_provider_that_is_asked_whether_it_is_there_is_passed_over_before_a_request_has_failed() {
    let probe = "breaker: { failures: 2, pause: 30s..60s }, probe: { every: 1s, path: /models }";
    let proxy = Proxy::start(&config(probe, "store: memory"));

    let known = eventually(Duration::from_secs(10), || is_passed_over(&proxy));

    assert!(known.is_some(), "{} {}", health(&proxy), proxy.log());
    let answer = exchange(proxy.connect(), chat("chat", false, "Hi"));
    assert!(answer.status == 200 && answer.head.contains("x-bartizan-attempts: 1"), "{answer:?}");
}

#[test]
fn a_client_that_waits_is_told_that_somebody_is_there() {
    let late = "store: memory\nserver: { comment_every: 1s }\nfaults: { rules: [ { fault: delay 2500ms, targets: demo/* } ] }";
    let proxy = Proxy::start(&config("breaker: {}", late));

    let stream = exchange(proxy.connect(), chat("chat", true, "Hi"));
    let whole = exchange(proxy.connect(), chat("chat", false, "Hi"));

    assert!(stream.body.starts_with(": keep-alive\n\n: keep-alive\n\ndata: "), "{stream:?}");
    assert!(stream.body.ends_with("data: [DONE]\n\n"), "{stream:?}");
    assert!(whole.status == 200 && !whole.body.contains("keep-alive"), "{whole:?}");
}
