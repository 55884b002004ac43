//! What keys, teams and providers are held to, in the program `examples/proxy` as its users start it.
#![cfg(unix)]
// The suites of the proxy need more of it.
#![allow(dead_code)]

#[path = "support/process.rs"]
mod process;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::Duration,
};

use process::{KEY, PROVIDER_KEY, Proxy, chat, eventually, head, rest};

const DIGEST: &str = "79975333c745fa0971b1ea001284da4555fb9023f7e851fd30905d0fdeec2dd9";
const OWN_KEY: &str = "sk-of-the-caller-0123456789";

/// The key of the tests may do what `rest` says.
fn with_key(top: &str, rest: &str) -> Proxy {
    let key = format!("keys: [ {{ name: app, sha256: {DIGEST}, {rest} }} ]\n");
    Proxy::start(&format!(
        "log: {{ level: trace, records: {{ file: records.jsonl }} }}\nstore: memory\nunknown_price: allow\n{top}{key}"
    ))
}

const DEMO: &str =
    "providers: { demo: { kind: demo } }\nmodels: { chat: { targets: [ { use: demo/echo } ] } }\n";

/// The head and the body of an answer.
fn ask(proxy: &Proxy, request: &str) -> (String, String) {
    let mut socket = proxy.connect();
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    socket.write_all(request.as_bytes()).unwrap();
    (head(&mut socket), rest(socket))
}

fn message(body: &str) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A provider that tells what it is sent, and answers.
fn provider() -> (SocketAddr, mpsc::Receiver<String>) {
    const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let head = head(&mut socket);
            let length = head.to_lowercase();
            let length = length.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
            let mut body = vec![0; length.parse().unwrap()];
            socket.read_exact(&mut body).unwrap();
            tell.send(head + &String::from_utf8(body).unwrap()).unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{ANSWER}",
                ANSWER.len()
            );
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, told)
}

#[test]
fn one_request_is_refused_in_the_clients_words_before_anything_is_sent() {
    let (address, told) = provider();
    let top = format!(
        "providers: {{ far: {{ kind: openai-compatible, base_url: \"http://{address}/v1\" }} }}\n\
         teams: {{ search: {{ per_request: {{ output: 100 }} }} }}\n"
    );
    let proxy = with_key(&top, "team: search");

    let (openai, said) = ask(&proxy, &chat("far/m", false, "hi"));
    let body = r#"{"model":"far/m","max_tokens":101,"messages":[{"role":"user","content":"hi"}]}"#;
    let (anthropic, words) = ask(&proxy, &message(body));

    let why = "a request of team:search may use 100 output tokens at the most, and this one may use";
    assert!(openai.starts_with("HTTP/1.1 400") && said.contains("request_too_expensive"), "{openai}{said}");
    assert!(said.contains(&format!("{why} 16384 output tokens")), "{said}");
    assert!(anthropic.starts_with("HTTP/1.1 400") && words.contains("invalid_request_error"), "{words}");
    assert!(words.contains(&format!("{why} 101 output tokens")), "{words}");
    assert!(told.try_recv().is_err());
}

#[test]
fn a_cap_that_is_lowered_reaches_the_provider_in_any_dialect_and_is_told() {
    let (address, told) = provider();
    let top = format!(
        "providers: {{ far: {{ kind: openai-compatible, base_url: \"http://{address}/v1\" }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: far/m }} ], per_request: {{ output: 100, on_excess: lower }} }} }}\n"
    );
    let proxy = with_key(&top, "budget: { tokens: 1M, per: day }");

    let (openai, _) = ask(&proxy, &chat("chat", false, "hi"));
    let native = told.recv().unwrap();
    let body = r#"{"model":"chat","max_tokens":5000,"messages":[{"role":"user","content":"hi"}]}"#;
    let (anthropic, _) = ask(&proxy, &message(body));
    let translated = told.recv().unwrap();
    let small = body.replace("5000", "99");
    let (untouched, _) = ask(&proxy, &message(&small));

    assert!(openai.contains("x-bartizan-max-output: 100\r\n"), "{openai}");
    assert!(native.contains(r#""max_tokens":100"#), "{native}");
    assert!(anthropic.contains("x-bartizan-lost: max_tokens\r\n"), "{anthropic}");
    assert!(anthropic.contains("x-bartizan-max-output: 100\r\n"), "{anthropic}");
    assert!(translated.contains(r#"tokens":100"#) && !translated.contains("5000"), "{translated}");
    assert!(untouched.starts_with("HTTP/1.1 200") && !untouched.contains("x-bartizan-lost"), "{untouched}");
}

#[test]
fn a_request_that_never_fits_a_limit_is_told_so_in_every_api() {
    let proxy = with_key(DEMO, "limits: { tokens: 1k/minute, requests: 9/minute }");
    let hi = r#"[{"role":"user","content":"hi"}]"#;
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer {KEY}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };

    for (path, body, kind) in [
        ("/v1/chat/completions", &*format!(r#"{{"model":"chat","messages":{hi}}}"#), "rate_limit_exceeded"),
        ("/v1/responses", r#"{"model":"chat","input":"hi","max_output_tokens":2000}"#, "rate_limit_exceeded"),
        (
            "/v1/messages",
            &*format!(r#"{{"model":"chat","max_tokens":2000,"messages":{hi}}}"#),
            "rate_limit_error",
        ),
        (
            "/v1beta/models/chat:generateContent",
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
            "RESOURCE_EXHAUSTED",
        ),
    ] {
        let (head, said) = ask(&proxy, &post(path, body));

        assert!(head.starts_with("HTTP/1.1 429") && said.contains(kind), "{head}{said}");
        // Official clients would ask twice more.
        assert!(head.contains("x-should-retry: false\r\n") && !head.contains("retry-after"), "{head}");
        for part in [
            "the request is too large for the limit of key:app: it may use ",
            " tokens, and the limit is 1000 tokens per minute; set a cap on its output, or a lower one, or send less",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let remaining = match kind {
            "rate_limit_exceeded" => "x-ratelimit-remaining-tokens: 1000\r\n",
            "rate_limit_error" => "anthropic-ratelimit-tokens-remaining: 1000\r\n",
            _ => "\r\n",
        };
        assert!(head.contains(remaining), "{head}");
    }
}

#[test]
fn a_provider_whose_limit_is_reached_is_passed_over() {
    let top = "providers: { first: { kind: demo, limits: { requests: 1/day } }, second: { kind: demo } }\n\
               models: { chat: { targets: [ { use: first/echo }, { use: second/echo } ] } }\n";
    let proxy = with_key(top, "");

    let (one, _) = ask(&proxy, &chat("chat", false, "hi"));
    let (two, _) = ask(&proxy, &chat("chat", false, "hi"));
    let (alone, body) = ask(&proxy, &chat("first/echo", false, "hi"));

    assert!(one.contains("x-bartizan-provider: first\r\n"), "{one}");
    assert!(two.contains("x-bartizan-provider: second\r\n"), "{two}");
    assert!(alone.starts_with("HTTP/1.1 429") && alone.contains("retry-after: "), "{alone}");
    assert!(body.contains("the limit of provider:first is used up: 1 requests per day"), "{body}");
}

#[test]
fn a_key_of_the_callers_own_reaches_its_provider_and_nothing_else() {
    let (address, told) = provider();
    let top = format!(
        "providers:\n  \
           far: {{ kind: openai-compatible, base_url: \"http://{address}/v1\", api_key: \"${{PROVIDER_KEY}}\" }}\n  \
           other: {{ kind: demo }}\n\
         prices: {{ \"far/*\": {{ input: 1, output: 1 }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: far/m }}, {{ use: other/echo }} ] }} }}\n"
    );
    let own = |model: &str| {
        chat(model, false, "hi").replacen("\r\n", &format!("\r\nx-bartizan-provider-key: {OWN_KEY}\r\n"), 1)
    };
    let proxy = with_key(&top, "own_provider_key: true, budget: { usd: 0, per: day }");

    let (answered, _) = ask(&proxy, &own("far/m"));
    let sent = told.recv().unwrap();
    let (mixed, _) = ask(&proxy, &own("chat"));
    let (without, why) = ask(&proxy, &chat("far/m", false, "hi"));
    let records = eventually(Duration::from_secs(5), || {
        let records = fs::read_to_string(proxy.file.with_file_name("records.jsonl")).unwrap();
        (records.lines().count() == 3).then_some(records)
    });
    let (records, log) = (records.unwrap(), proxy.log());
    let (forbidden, _) = ask(&with_key(DEMO, ""), &own("chat"));

    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    assert!(sent.to_lowercase().contains(&format!("authorization: bearer {OWN_KEY}")), "{sent}");
    assert!(!sent.contains(PROVIDER_KEY) && !sent.contains("x-bartizan"), "{sent}");
    assert!(mixed.starts_with("HTTP/1.1 400") && told.try_recv().is_err(), "{mixed}");
    assert!(forbidden.starts_with("HTTP/1.1 403"), "{forbidden}");
    // Only what the gateway pays is charged to a budget.
    assert!(without.starts_with("HTTP/1.1 429") && why.contains("the budget of key:app"), "{without}");
    let of_own: Vec<_> = records.lines().map(|record| record.contains(r#""own_key":true"#)).collect();
    assert_eq!(of_own, [true, true, false]);
    assert!(!log.is_empty() && !(log + &records).contains(OWN_KEY), "{records}");
}
