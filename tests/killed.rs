//! The program `examples/proxy` is killed while it works, and what it has written is counted.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "it is used in part")]
mod process;

#[path = "postgres/server.rs"]
#[allow(dead_code, reason = "it is used in part")]
mod postgres;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bartizan::{
    ledger::{Measure, Period, SqliteLedger, Unfinished},
    logs::{Filter, Logs, PostgresLogs, PostgresLogsOptions, Question, Span, SqliteLogsOptions},
};
use process::{Proxy, Response, chat, command, exchange, file, rest};

const CONFIG: &str = r#"
providers: { demo: { kind: demo, prices: { echo: { input: 1, output: 1 } } } }
models: { chat: { targets: [ { use: demo/echo } ] } }
gateway: { budget: { usd: 1000000, per: month } }
keys:
  - { name: app, sha256: 79975333c745fa0971b1ea001284da4555fb9023f7e851fd30905d0fdeec2dd9 }
"#;

const CLIENTS: usize = 32;

/// What clients have seen.
#[derive(Debug, Default)]
struct Seen {
    asked: AtomicU64,
    /// Answers that were read to their end.
    whole: AtomicU64,
}

/// Asks until nobody answers any more.
fn ask(address: SocketAddr, stream: bool, seen: &Seen) {
    let request = chat("chat", stream, "Hello there!").replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let end = if stream { "data: [DONE]" } else { "\"finish_reason\":\"stop\"" };
    while let Ok(mut socket) = TcpStream::connect(address) {
        seen.asked.fetch_add(1, Ordering::SeqCst);
        let _ = socket.write_all(request.as_bytes());
        let answer = rest(socket);
        if answer.starts_with("HTTP/1.1 200") && answer.contains(end) {
            seen.whole.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Starts the proxy beside `config`, kills it under load, and says what was seen of it.
fn kill(config: &Path, stream: bool, after: Duration) -> Arc<Seen> {
    let begun = Instant::now();
    let mut proxy = Proxy::at(config.to_owned());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let seen = Arc::<Seen>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, seen) = (proxy.address, seen.clone());
            thread::spawn(move || ask(address, stream, &seen))
        })
        .collect();

    thread::sleep(after);
    proxy.signal("KILL");
    proxy.ended(Duration::from_secs(5)).expect("the proxy is killed");
    clients.into_iter().for_each(|client| client.join().unwrap());
    seen
}

/// What was spent beside `config`, and what of it without an outcome.
fn spent(config: &Path) -> (u64, Unfinished) {
    let ledger = SqliteLedger::open(config.with_file_name("bartizan.db")).unwrap();
    let balance = ledger.balance("gateway", Measure::Usd, Period::Month);
    let balance = balance.map_or((0, 0), |balance| (balance.posted, balance.held));
    assert_eq!(balance.1, 0);
    (balance.0, ledger.unfinished())
}

/// What one answer costs.
fn cost(config: &Path, stream: bool) -> u64 {
    let (before, _) = spent(config);
    let mut proxy = Proxy::at(config.to_owned());
    let answer = exchange(proxy.connect(), chat("chat", stream, "Hello there!"));
    assert_eq!(answer.status, 200, "{answer:?}");
    proxy.signal("TERM");
    assert!(proxy.ended(Duration::from_secs(5)).unwrap().success());
    let (after, unfinished) = spent(config);
    assert_eq!(unfinished.requests, 0, "{}", proxy.log());
    after - before
}

#[test]
fn whatever_was_answered_before_a_kill_is_in_the_spend_once() {
    let config = file(CONFIG);
    let mut unfinished = 0;
    for stream in [false, true] {
        let cost = cost(&config, stream);
        assert!(cost > 0);
        let mut answered = 0;
        for after in [300, 600, 900] {
            let (before, _) = spent(&config);

            let seen = kill(&config, stream, Duration::from_millis(after));

            let (posted, lost) = spent(&config);
            let (asked, whole) = (seen.asked.load(Ordering::SeqCst), seen.whole.load(Ordering::SeqCst));
            let settled = posted - before - lost.cost.0;
            assert_eq!(settled % cost, 0, "{seen:?} {lost:?}");
            let charged = settled / cost + lost.requests;
            assert!(whole <= charged && charged <= asked, "{charged} charged, {seen:?} {lost:?}");
            assert_eq!(spent(&config), (posted, Unfinished::default()));
            answered += whole;
            unfinished += lost.requests;
        }
        assert!(answered > 0);
    }
    assert!(unfinished > 0, "the proxy was never killed at work");
}

const ADMIN: &str = "the-key-of-the-administrators";

/// What an administrator is answered.
fn administer(address: SocketAddr, line: &str, body: &str) -> Option<Response> {
    let socket = TcpStream::connect(address).ok()?;
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(exchange(socket, request))
}

/// Makes one key after the other until nobody answers any more; those that were shown.
fn make_keys(address: SocketAddr, maker: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for number in 0.. {
        let body = format!(r#"{{"name":"{maker}-{number}","team":"t"}}"#);
        let Some(answer) = administer(address, "POST /admin/v1/keys", &body) else { break };
        let made: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let Some(key) = made["key"].as_str().filter(|_| answer.status == 201) else { break };
        keys.push(key.to_owned());
    }
    keys
}

#[test]
fn a_key_that_was_shown_before_a_kill_opens_the_door_after_it() {
    let config = file(&format!("{CONFIG}admin: {{ key: {ADMIN} }}\nteams: {{ t: {{}} }}\n"));
    let mut made = Vec::new();
    for round in 0..3 {
        let mut proxy = Proxy::at(config.clone());
        let seen = Arc::<Seen>::default();
        let makers: Vec<_> = (0..4)
            .map(|maker| {
                let address = proxy.address;
                thread::spawn(move || make_keys(address, round * 4 + maker))
            })
            .collect();
        let client = {
            let (address, seen) = (proxy.address, seen.clone());
            thread::spawn(move || ask(address, false, &seen))
        };

        thread::sleep(Duration::from_millis(400));
        proxy.signal("KILL");
        proxy.ended(Duration::from_secs(5)).expect("the proxy is killed");
        client.join().unwrap();
        let before = made.len();
        makers.into_iter().for_each(|maker| made.extend(maker.join().unwrap()));
        assert!(made.len() > before, "no key was made");
    }

    let proxy = Proxy::at(config);
    for key in made.iter().step_by(1 + made.len() / 100) {
        let request = chat("chat", false, "Hello there!").replace(process::KEY, key);
        assert_eq!(exchange(proxy.connect(), request).status, 200);
    }
    let teams = administer(proxy.address, "GET /admin/v1/teams/t", "").unwrap();
    assert!(teams.body.contains(r#""source":"file""#), "{teams:?}");
    println!("{} keys were made before three kills", made.len());
}

#[test]
fn a_second_proxy_is_told_that_the_file_is_in_use() {
    let first = Proxy::start(CONFIG);
    let mut second = command();
    second.arg("--config").arg(&first.file).args(["--listen", "127.0.0.1:0"]);

    let output = second.current_dir(first.file.parent().unwrap()).output().unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("store.sqlite: ") && said.contains("in use by another process"), "{said}");
    assert!(first.greeting.contains("budgets        bartizan.db"), "{}", first.greeting);
}

/// The configuration, with content of all requests in `records`.
fn with_records(records: &str) -> PathBuf {
    let text = CONFIG.replace("name: app,", "name: app, log_content: true,");
    assert_ne!(text, CONFIG);
    file(&format!("log: {{ records: {records} }}\n{text}"))
}

/// Whether all that was kept is whole, and what is missing is only what ended in the last moments.
async fn are_whole(logs: &impl Logs, seen: &Seen) {
    let span = Span { from: UNIX_EPOCH, until: SystemTime::now() + Duration::from_secs(3_600) };
    let sums = logs.sums(&Question::new(span)).await.unwrap();
    let lines = logs.find(&Filter::default(), None, 1_000_000).await.unwrap().lines;
    for line in lines.iter().step_by(100) {
        let entry = logs.get(&line.id).await.unwrap().unwrap();
        assert!(entry.request.unwrap().contains("Hello there!"));
        assert!(line.end.as_ref() != "complete" || entry.answer.unwrap().contains("Hello there!"));
    }
    let (lines, sums) = (lines.len() as u64, sums.iter().map(|sum| sum.used.requests).sum::<u64>());
    let (asked, whole) = (seen.asked.load(Ordering::SeqCst), seen.whole.load(Ordering::SeqCst));
    assert_eq!(lines, sums);
    assert!(0 < lines && lines <= asked, "{lines} records, {seen:?}");
    assert!(lines * 2 > whole, "{lines} records, {seen:?}");
}

#[tokio::test]
async fn records_are_whole_after_a_kill_and_none_is_missing_but_the_last_ones() {
    let config = with_records("logs");

    let seen = kill(&config, true, Duration::from_millis(1_500));

    let logs = SqliteLogsOptions::new(config.with_file_name("bartizan-logs.db")).open().unwrap();
    are_whole(&logs, &seen).await;
}

#[tokio::test]
async fn records_in_postgres_are_whole_after_a_kill_too() {
    if !postgres::is_installed() {
        return;
    }
    let server = postgres::Server::start();
    let config = with_records(&format!("{{ postgres: \"{}\" }}", server.url()));

    let seen = kill(&config, true, Duration::from_millis(1_500));

    let logs = PostgresLogs::new(PostgresLogsOptions::new(server.url())).unwrap();
    are_whole(&logs, &seen).await;
    // Both tables have all of it.
    let unpaired = "SELECT count(*) FROM bartizan_logs.records FULL JOIN bartizan_logs.details USING (ended)
                    WHERE duration IS NULL OR id IS NULL";
    assert_eq!(server.sql(unpaired), "0");
}
