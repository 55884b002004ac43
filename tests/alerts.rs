//! The program `examples/proxy` tells a webhook what people want to know.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;
#[path = "redis/server.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod server;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use process::{KEY, Proxy, chat, command, exchange, file};
use serde_json::Value;

/// What a webhook received.
#[derive(Debug)]
struct Message {
    path: String,
    headers: HashMap<String, String>,
    body: Value,
}

/// Listens for messages, and answers each with 204.
fn listen() -> (String, Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap().to_string(), listen_at(listener))
}

fn listen_at(listener: TcpListener) -> Receiver<Message> {
    let (send, messages) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let mut lines = socket.by_ref().lines().map(Result::unwrap);
            let first = lines.next().unwrap_or_default();
            let headers: HashMap<String, String> = lines
                .take_while(|line| !line.is_empty())
                .filter_map(|line| {
                    line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()))
                })
                .collect();
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            socket.read_exact(&mut body).unwrap();
            socket.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            if send.send(Message { path, headers, body }).is_err() {
                return;
            }
        }
    });
    messages
}

fn next(messages: &Receiver<Message>) -> Message {
    messages.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn config(address: &str, store: &str, rest: &str) -> String {
    format!(
        "store: {store}\n\
         providers: {{ demo: {{ kind: demo }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: demo/echo }} ] }} }}\n\
         alerts: {{ webhooks: [ {{ url: 'http://{address}/json-secret', secret: whsec_c2VjcmV0 }},\n  \
         {{ url: 'http://{address}/slack-secret', format: slack }} ] }}\n\
         {rest}\n"
    )
}

/// HMAC-SHA256, as a receiver would check it.
fn signature(id: &str, at: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    STANDARD.encode(ring::hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes()))
}

fn ask(proxy: &Proxy, text: &str) -> process::Response {
    exchange(proxy.connect(), chat("chat", false, text))
}

#[test]
fn a_threshold_is_told_once_also_after_a_kill() {
    let (address, messages) = listen();
    let keys = format!("keys: [ {{ name: app, key: {KEY}, limits: {{ requests: 4/day }} }} ]");
    let file = file(&config(&address, "{ sqlite: bartizan.db }", &keys));
    let proxy = Proxy::at(file.clone());

    for text in ["one", "two"] {
        assert_eq!(ask(&proxy, text).status, 200);
    }
    let (one, other) = (next(&messages), next(&messages));
    let (json, slack) = if one.path.contains("json") { (one, other) } else { (other, one) };

    assert_eq!((json.path.as_str(), slack.path.as_str()), ("/json-secret", "/slack-secret"));
    assert_eq!(slack.body["text"], "key:app has used 50 % of its limit: 2 of 4 requests per day");
    assert_eq!(
        [&json.body["type"], &json.body["account"], &json.body["measure"]],
        ["threshold", "key:app", "requests"]
    );
    assert_eq!(
        [&json.body["threshold"], &json.body["percent"], &json.body["used"], &json.body["limit"]],
        [50, 50, 2, 4]
    );
    let (id, at) = (&json.headers["webhook-id"], &json.headers["webhook-timestamp"]);
    let expected = format!("v1,{}", signature(id, at, &json.body.to_string()));
    assert_eq!(json.headers["webhook-signature"], expected);
    assert_eq!(json.body["id"], **id);
    let log = proxy.log();
    assert!(log.contains("alert: key:app has used 50 %") && !log.contains("secret"), "{log}");

    drop(proxy);
    let proxy = Proxy::at(file);
    for text in ["three", "four"] {
        assert_eq!(ask(&proxy, text).status, 200);
    }
    assert_eq!(ask(&proxy, "five").status, 429);
    let mut told: Vec<u64> = Vec::new();
    while told.last() != Some(&100) {
        let message = next(&messages);
        told.extend(message.body["threshold"].as_u64());
    }
    assert!(!told.contains(&50), "{told:?}");
}

#[test]
fn one_of_two_gateways_that_share_a_store_tells() {
    if !server::is_installed() {
        return;
    }
    let redis = server::Server::start();
    let (address, messages) = listen();
    let store = format!("{{ redis: {{ url: '{}', journal: null }} }}", redis.url());
    let keys = format!("keys: [ {{ name: app, key: {KEY}, limits: {{ requests: 4/day }} }} ]");
    let proxies = [(); 2].map(|()| Proxy::start(&config(&address, &store, &keys)));

    for proxy in &proxies {
        assert_eq!(ask(proxy, "one").status, 200);
    }
    let told = [next(&messages), next(&messages)].map(|message| message.path);
    for proxy in &proxies {
        assert_eq!(ask(proxy, "two").status, 200);
    }
    let last = [next(&messages), next(&messages)].map(|message| message.path);

    for mut paths in [told, last] {
        paths.sort();
        assert_eq!(paths, ["/json-secret", "/slack-secret"]);
    }
    messages.recv_timeout(Duration::from_secs(3)).unwrap_err();
}

#[test]
fn a_loop_is_refused_in_the_clients_words_and_told() {
    let (address, messages) = listen();
    let rest = format!(
        "loops: {{ same_request: {{ more_than: 3, per: 1m }} }}\nkeys: [ {{ name: app, key: {KEY} }} ]"
    );
    let proxy = Proxy::start(&config(&address, "memory", &rest));

    let statuses: Vec<u16> = (0..4).map(|_| ask(&proxy, "again").status).collect();
    let refused = ask(&proxy, "again");

    assert_eq!(statuses, [200, 200, 200, 429]);
    let error = &serde_json::from_str::<Value>(&refused.body).unwrap()["error"];
    assert_eq!(error["code"], "runaway_loop");
    assert!(error["message"].as_str().unwrap().contains("3 times in 1m"), "{error}");
    assert_eq!(ask(&proxy, "something else").status, 200);
    let messages = [next(&messages), next(&messages)];
    let json = messages.iter().find(|message| message.path.contains("json")).unwrap();
    assert_eq!([&json.body["type"], &json.body["loop"], &json.body["key"]], ["loop", "same_request", "app"]);
}

#[test]
fn a_loop_runs_over_all_gateways_that_share_a_store() {
    if !server::is_installed() {
        return;
    }
    let redis = server::Server::start();
    let (address, _messages) = listen();
    let store = format!("{{ redis: {{ url: '{}', journal: null }} }}", redis.url());
    let rest = format!(
        "loops: {{ same_request: {{ more_than: 10, per: 1m }} }}\nkeys: [ {{ name: app, key: {KEY} }} ]"
    );
    let proxies = [(); 2].map(|()| Proxy::start(&config(&address, &store, &rest)));

    let mut answered = 0;
    for turn in 0..30 {
        answered += usize::from(ask(&proxies[turn % 2], "again").status == 200);
        // What was answered is told afterwards.
        thread::sleep(Duration::from_millis(50));
    }

    assert!((10..=11).contains(&answered), "{answered}");
    assert_eq!(ask(&proxies[0], "something else").status, 200);
}

#[test]
fn what_was_crossed_last_is_told_when_the_gateway_stops() {
    let (address, messages) = listen();
    let keys = format!("keys: [ {{ name: app, key: {KEY}, limits: {{ requests: 1/day }} }} ]");
    let mut proxy = Proxy::start(&config(&address, "memory", &keys));

    assert_eq!(ask(&proxy, "one").status, 200);
    proxy.signal("TERM");

    assert!(proxy.ended(Duration::from_secs(10)).unwrap().success());
    assert_eq!([next(&messages), next(&messages)].len(), 2);
    assert!(proxy.log().contains("has used 100 %"));
}

#[test]
fn a_check_of_the_configuration_finds_what_is_wrong_with_alerts() {
    let file = file("auth: open\nalerts: { at: [ 0 ], webhooks: { url: 'nowhere/very-secret' } }\n");

    let output = command().args(["--check", "--config"]).arg(&file).output().unwrap();

    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        text.contains("alerts.at: expected") && text.contains("alerts.webhooks[0].url: expected"),
        "{text}"
    );
    assert!(!text.contains("very-secret"), "{text}");
}

/// A configuration with one rule, of which the `demo` fails for half of the requests.
fn ruled(address: &str, rule: &str) -> String {
    format!(
        "auth: open\nadmin: {{ key: the-key-of-the-administrators }}\nstore: {{ sqlite: bartizan.db }}\n\
         providers: {{ demo: {{ kind: demo }} }}\nfaults: {{ by_header: true }}\n\
         models: {{ chat: {{ targets: [ {{ use: demo/echo }} ], retry: {{ attempts: 1 }} }} }}\n\
         alerts: {{ webhooks: {{ url: 'http://{address}/json' }}, rules: [ {rule} ] }}\n"
    )
}

/// A request that fails on purpose.
fn failing(proxy: &Proxy) {
    let fault = "x-bartizan-fault: 503\r\nx-bartizan-admin-key: the-key-of-the-administrators\r\n";
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"Hi"}]}"#;
    let request = process::post(&format!("{fault}content-length: {}\r\n", body.len())) + body;
    assert_eq!(exchange(proxy.connect(), request).status, 503);
}

#[test]
fn a_rule_that_holds_is_told_and_again_when_it_does_not_any_more_also_if_the_gateway_was_restarted() {
    let (address, messages) = listen();
    let rule = "{ name: errors, when: error_share > 20%, over: 12s, at_least: 2, severity: page, of: { model: chat } }";
    let file = file(&ruled(&address, rule));
    let proxy = Proxy::at(file.clone());

    (0..3).for_each(|_| failing(&proxy));
    let firing = next(&messages).body;
    drop(proxy);
    // It is found again, and not told again.
    let proxy = Proxy::at(file);
    (0..3).for_each(|_| failing(&proxy));
    let resolved = next(&messages).body;

    assert_eq!(
        [&firing["type"], &firing["rule"], &firing["state"], &firing["severity"], &firing["measured"]],
        ["rule", "errors", "firing", "page", "error_share"]
    );
    assert_eq!((&firing["value"], &firing["when"]), (&1.0.into(), &"error_share > 0.2".into()));
    assert_eq!([&resolved["state"], &resolved["rule"]], ["resolved", "errors"], "{resolved}");
    assert!(proxy.log().contains("resolved: errors"));
}

#[test]
fn targets_that_are_passed_over_are_told_although_the_webhook_was_away() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let rule = "{ name: open, when: breaker_open }, { name: dear, when: spend > 1000 }";
    let proxy = Proxy::start(&ruled(&address.to_string(), rule));

    (0..5).for_each(|_| failing(&proxy));
    thread::sleep(Duration::from_secs(3));
    let messages = listen_at(TcpListener::bind(address).unwrap());
    let firing = next(&messages).body;

    assert_eq!((&firing["rule"], &firing["targets"][0]), (&"open".into(), &"demo/echo".into()), "{firing}");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ask(&proxy, "again").status, 200);
    let resolved = next(&messages).body;
    assert_eq!([&resolved["rule"], &resolved["state"]], ["open", "resolved"], "{resolved}");
}
