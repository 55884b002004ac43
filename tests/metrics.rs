//! What the program `examples/proxy` shows at `/metrics`, and what may see it.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;

use std::{
    collections::BTreeSet,
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use bartizan::metrics::{ALL, Form};
use process::{KEY, Proxy, Upstream, chat, eventually, exchange};
use serde_json::{Value, json};

const ADMIN_KEY: &str = "admin-key-0123456789";

/// A provider that fails, and one that is paid.
struct Providers {
    failing: Upstream,
    paid: Upstream,
}

fn config(Providers { failing, paid }: &Providers, server: &str) -> String {
    format!(
        "server: {{ {server} }}\n\
         providers:\n  demo: {{ kind: demo }}\n  \
         broken: {{ kind: openai-compatible, base_url: '{}', prices: {{ m: {{ input: 0, output: 0 }} }} }}\n  \
         paid: {{ kind: openai-compatible, base_url: '{}', prices: {{ m: {{ input: 1000, output: 1000 }} }} }}\n\
         models:\n  chat: {{ targets: [ {{ use: demo/echo }} ] }}\n  \
         careful:\n    targets: [ {{ use: broken/m }}, {{ use: demo/echo }} ]\n    \
         retry: {{ attempts: 2, backoff: 1ms..2ms, budget: {{ percent: 100, per_second: 100 }} }}\n\
         teams: {{ engineering: {{ budget: {{ usd: 20, per: month }} }} }}\n\
         keys:\n  - {{ name: app, key: {KEY}, team: engineering, allow: [ '*' ], limits: {{ requests: 40/minute }} }}\n",
        failing.url(),
        paid.url()
    )
}

fn providers() -> Providers {
    let answering = |status: &'static str, body: &'static str| {
        Upstream::start(move |mut socket| {
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
            let _ = write!(socket, "{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        })
    };
    let answer = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":400}}}"#;
    Providers {
        failing: answering("500 Internal Server Error", r#"{"error":{"message":"no"}}"#),
        paid: answering("200 OK", answer),
    }
}

fn scrape(proxy: &Proxy, headers: &str) -> (u16, String) {
    let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    let answer = exchange(proxy.connect(), request);
    (answer.status, answer.body)
}

fn ask(proxy: &Proxy, request: &str) -> u16 {
    exchange(proxy.connect(), request).status
}

/// The value of the series with this name and all of these labels.
fn value(shown: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is = |line: &&str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    };
    shown.lines().find(is)?.rsplit_once(' ')?.1.parse().ok()
}

/// The names of what is shown, without those of a histogram's parts.
fn names(shown: &str) -> BTreeSet<&str> {
    shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// The series that are shown, without their values.
fn series(shown: &str) -> BTreeSet<&str> {
    shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect()
}

/// Sends traffic of several kinds, and shows what was measured of it.
fn measured(proxy: &Proxy) -> String {
    for _ in 0..3 {
        assert_eq!(ask(proxy, &chat("chat", false, "hello")), 200);
    }
    assert_eq!(ask(proxy, &chat("chat", true, "a b c d e f g")), 200);
    assert_eq!(ask(proxy, &chat("careful", true, "hello")), 200);
    assert_eq!(ask(proxy, &chat("paid/m", false, "hello")), 200);
    assert_eq!(ask(proxy, &chat("nobody/nothing", false, "hello")), 404);
    assert_eq!(ask(proxy, &chat("chat", false, "hello").replace(KEY, "vk-that-nobody-has-0123")), 401);
    let all_are_counted = || {
        let (_, shown) = scrape(proxy, "");
        value(&shown, "bartizan_requests_total", &["model=\"none\"", "status=\"4xx\""]).map(|_| shown)
    };
    eventually(Duration::from_secs(10), all_are_counted).unwrap()
}

/// What `promtool` finds wrong, after the code that it ends with. `None`, with a loud word, where there is none. Where
/// nothing may be left out, the test fails.
fn promtool_says(arguments: &[&str], shown: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        assert!(std::env::var_os("BARTIZAN_LEAVE_NOTHING_OUT").is_none(), "promtool is missing");
        eprintln!("LEFT OUT: promtool is missing. To run this test: apt-get install prometheus");
        return None;
    };
    child.stdin.take().unwrap().write_all(shown.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some(format!("{}{}", output.status.code().unwrap_or(-1), String::from_utf8(said).unwrap()))
}

#[test]
fn prometheus_gets_what_was_measured_of_real_traffic() {
    let providers = providers();
    let proxy = Proxy::start(&config(&providers, ""));

    let shown = measured(&proxy);

    let is = |name: &str, labels: &[&str], expected: f64| {
        assert_eq!(value(&shown, name, labels), Some(expected), "{name} {labels:?}\n{shown}");
    };
    let chat = ["model=\"chat\"", "target=\"demo/echo\"", "key=\"app\"", "team=\"engineering\""];
    is("bartizan_requests_total", &[&chat[..], &["outcome=\"answered\"", "status=\"2xx\""]].concat(), 4.0);
    is("bartizan_request_duration_seconds_count", &chat[..2], 4.0);
    is("bartizan_time_to_first_event_seconds_count", &chat[..2], 4.0);
    is("bartizan_overhead_seconds_count", &chat[..2], 4.0);
    is("bartizan_time_per_output_token_seconds_count", &chat[..2], 1.0);
    is("bartizan_errors_total", &["kind=\"unauthenticated\"", "key=\"none\""], 1.0);
    is("bartizan_errors_total", &["kind=\"no_route\"", "model=\"other\""], 1.0);
    is("bartizan_attempts_total", &["target=\"broken/m\"", "outcome=\"upstream\""], 2.0);
    is("bartizan_retries_total", &["target=\"broken/m\""], 1.0);
    is("bartizan_failovers_total", &["from=\"broken/m\"", "target=\"demo/echo\""], 1.0);
    is("bartizan_breaker_state", &["target=\"demo/echo\""], 0.0);
    is("bartizan_budget_limit_usd", &["account=\"team:engineering\"", "per=\"month\""], 20.0);
    is("bartizan_requests_in_flight", &[], 0.0);
    is("bartizan_records_lost_total", &["to=\"queue\""], 0.0);
    is("bartizan_records_lost_total", &["to=\"metrics\""], 0.0);
    is("bartizan_records_without_content_total", &[], 0.0);
    is("bartizan_build_info", &[concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")], 1.0);
    let paid = ["model=\"paid/m\"", "target=\"paid/m\"", "key=\"app\"", "team=\"engineering\""];
    is("bartizan_cost_usd_sum", &paid, 1.5);
    is("bartizan_budget_left_usd", &["account=\"team:engineering\""], 18.5);
    is("bartizan_tokens_total", &[&paid[..], &["kind=\"input\""]].concat(), 600.0);
    is("bartizan_tokens_total", &[&paid[..], &["kind=\"cached_input\""]].concat(), 400.0);
    is("bartizan_prompt_cache_requests_total", &[&paid[..], &["result=\"hit\""]].concat(), 1.0);
    assert!(!shown.contains(KEY) && !shown.contains("hello"), "{shown}");
    if let Some(said) = promtool_says(&["check", "metrics"], &shown) {
        assert_eq!(said, "0", "{shown}");
    }
}

#[test]
fn what_clients_make_up_makes_no_new_series() {
    let providers = providers();
    let proxy = Proxy::start(&config(&providers, ""));
    let before = measured(&proxy);
    let count =
        |shown: &str| value(shown, "bartizan_errors_total", &["kind=\"no_route\"", "model=\"other\""]);

    for number in 0..5 {
        let made_up = chat(&format!("made-up-{number}/model"), false, "hello");
        ask(&proxy, &made_up.replacen("host:", &format!("x-made-up-{number}: made-up\r\nhost:"), 1));
        ask(&proxy, &chat("chat", false, "hello").replace(KEY, &format!("vk-made-up-made-up-{number}")));
    }

    let counted = || Some(scrape(&proxy, "").1).filter(|shown| count(shown) == Some(6.0));
    let after = eventually(Duration::from_secs(10), counted).unwrap();
    assert_eq!(series(&before), series(&after));
    assert!(!after.contains("made-up"));
}

#[test]
fn only_administrators_may_look_where_there_are_any() {
    let providers = providers();
    let with_key = format!("{}admin: {{ key: {ADMIN_KEY} }}\n", config(&providers, ""));
    let proxy = Proxy::start(&with_key);

    assert_eq!(scrape(&proxy, "").0, 401);
    assert_eq!(scrape(&proxy, &format!("authorization: Bearer {KEY}\r\n")).0, 401);
    let (status, shown) = scrape(&proxy, &format!("authorization: Bearer {ADMIN_KEY}\r\n"));
    assert_eq!(status, 200);
    assert!(shown.contains("bartizan_build_info"), "{shown}");

    let open = Proxy::start(&with_key.replace("server: {  }", "server: { metrics: open }"));
    assert_eq!(scrape(&open, "").0, 200);
    let off = Proxy::start(&config(&providers, "metrics: off"));
    assert_ne!(scrape(&off, "").0, 200);
}

#[test]
fn the_dashboard_shows_what_there_is_and_all_of_it() {
    let text = include_str!("../examples/proxy/grafana.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let words = asked.iter().flat_map(|expression| expression.split(word));
    let used: BTreeSet<_> = words.filter(|word| word.starts_with("bartizan_")).collect();

    let mut known = BTreeSet::new();
    for metric in ALL {
        let parts: &[&str] = match metric.form {
            Form::Histogram(_) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let parts: Vec<_> = parts.iter().map(|part| format!("{}{part}", metric.name)).collect();
        assert!(parts.iter().any(|part| used.contains(part.as_str())), "no panel shows {}", metric.name);
        known.extend(parts);
    }
    for name in used {
        assert!(known.contains(name), "{name} is not measured");
    }
    let asked: Vec<_> = asked.iter().map(|expression| with_values(expression)).collect();
    let rules =
        asked.iter().enumerate().map(|(at, expr)| json!({ "record": format!("r{at}:x"), "expr": expr }));
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let file = process::file(&rules.to_string());
    if let Some(said) = promtool_says(&["check", "rules", file.to_str().unwrap()], "") {
        assert!(said.starts_with('0'), "{said}");
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}

/// With something in place of what Grafana puts in.
fn with_values(expression: &str) -> String {
    let names = ["$model", "$target", "$key", "$team"];
    let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
    names.iter().fold(expression, |expression, name| expression.replace(name, ".*"))
}

#[test]
fn what_the_dashboard_shows_is_at_metrics() {
    let providers = providers();
    let proxy = Proxy::start(&config(&providers, ""));

    let shown = measured(&proxy);

    // What this traffic has nothing of.
    let rare =
        ["hedges", "resumes", "mirrors", "overflow", "deprecated", "outages", "lost", "limit_refusals"];
    let rare = |name: &str| rare.iter().any(|rare| name.contains(rare));
    let shown = names(&shown);
    for metric in ALL.iter().filter(|metric| !rare(metric.name)) {
        assert!(shown.contains(metric.name), "{} is missing: {shown:?}", metric.name);
    }
}

#[test]
fn records_that_a_database_which_is_away_has_missed_are_shown_for_each() {
    let records = "{ records: [ { postgres: 'postgres://gateway@127.0.0.1:9/db' }, { clickhouse: 'http://127.0.0.1:9' } ] }";
    let proxy = Proxy::start(&format!("log: {records}\n{}", config(&providers(), "")));
    for _ in 0..3 {
        assert_eq!(ask(&proxy, &chat("chat", false, "hello")), 200);
    }

    let missed = |to: &'static str| {
        let all = || {
            let shown = scrape(&proxy, "").1;
            let lost = value(&shown, "bartizan_records_lost_total", &[&format!("to=\"{to}\"")]);
            (lost == Some(3.0)).then_some(shown)
        };
        eventually(Duration::from_secs(20), all).expect(to)
    };
    let shown = [missed("postgres"), missed("clickhouse")];

    assert_eq!(value(&shown[1], "bartizan_records_waiting", &["to=\"postgres\""]), Some(0.0));
    assert_eq!(ask(&proxy, &chat("chat", false, "hello")), 200);
}

#[test]
fn records_that_wait_for_a_database_that_hangs_are_shown() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let records = format!("{{ postgres: 'postgres://gateway@{}/db' }}", silent.local_addr().unwrap());
    let proxy = Proxy::start(&format!("log: {{ records: {records} }}\n{}", config(&providers(), "")));

    // The first ones are being kept, the next ones wait.
    let waits = || {
        assert_eq!(ask(&proxy, &chat("chat", false, "hello")), 200);
        let waiting = value(&scrape(&proxy, "").1, "bartizan_records_waiting", &["to=\"postgres\""]);
        waiting.filter(|records| *records >= 2.0)
    };

    assert!(eventually(Duration::from_secs(20), waits).is_some());
}

#[test]
fn what_is_refused_because_too_much_is_in_flight_is_refused_by_a_limit() {
    for (server, provider) in [("max_in_flight: 1", ""), ("", ", max_in_flight: 1")] {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        let (asked, is_asked) = std::sync::mpsc::channel();
        let holding = Upstream::start(move |_| {
            asked.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        });
        let proxy = Proxy::start(&format!(
            "server: {{ {server} }}\nunknown_price: allow\n\
             providers: {{ holding: {{ kind: openai-compatible, base_url: '{}'{provider} }} }}\n\
             models: {{ chat: {{ targets: [ {{ use: holding/m }} ], retry: {{ attempts: 1 }} }} }}\n\
             keys: [ {{ name: app, key: {KEY}, allow: [ '*' ] }} ]\n",
            holding.url()
        ));
        let mut first = proxy.connect();
        first.write_all(chat("chat", false, "hello").as_bytes()).unwrap();
        is_asked.recv_timeout(Duration::from_secs(10)).unwrap();

        assert_eq!(ask(&proxy, &chat("chat", false, "hello")), 503);

        drop(release);
        let refusals = || {
            let (_, shown) = scrape(&proxy, "");
            value(&shown, "bartizan_limit_refusals_total", &["kind=\"overloaded\"", "target=\"none\""])
        };
        assert_eq!(eventually(Duration::from_secs(10), refusals), Some(1.0), "{server}{provider}");
    }
}
