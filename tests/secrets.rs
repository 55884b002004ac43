//! Secrets stay secret: in answers, in records and in the log.

mod support;

use std::{cell::RefCell, io, sync::Once};

use bartizan::record::{Sink, Tracing};
use support::{
    ANTHROPIC, Act, Answer, CLAUDE_KEY, Client, DIALECTS, Gateway, KEY, OPENAI, OPENAI_KEY, answers,
};

thread_local! {
    /// What this thread has logged; each test has a thread of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThisThread;

impl io::Write for ThisThread {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps all that is logged, at the lowest level. Comes first in each test: what has been logged once
/// without anybody listening may stay unheard.
fn capture() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        subscriber.with_writer(|| ThisThread).init();
    });
}

fn logged() -> String {
    LOG.with_borrow(|log| String::from_utf8_lossy(log).into_owned())
}

/// All that anybody gets to see of a request.
fn seen(gateway: &Gateway, answer: &Answer) -> String {
    for record in gateway.records.all() {
        let id = record.id;
        Tracing.record(record);
        assert!(logged().contains(id.as_str()), "the log is not kept");
    }
    let records = serde_json::to_string(&gateway.records.all()).unwrap();
    let body = String::from_utf8_lossy(&answer.body);
    format!("{:?} {body} {records} {:?} {}", answer.headers, gateway.records.all(), logged())
}

/// The ways in which a provider may quote the key that it was given.
fn quotes() -> Vec<(&'static str, Act)> {
    let openai = |key: &str| format!(r#"{{"error": {{"message": "bad key {key}", "type": "x"}}}}"#);
    let claude =
        |key: &str| format!(r#"{{"type": "error", "error": {{"type": "x", "message": "bad key {key}"}}}}"#);
    let event = |key: &str| {
        format!("event: error\ndata: {}\n\n", {
            if key.starts_with("sk-ant") {
                format!(r#"{{"type":"error","error":{{"type":"api_error","message":"bad {key}"}}}}"#)
            } else {
                format!(r#"{{"error":{{"message":"bad {key}","type":"server_error"}}}}"#)
            }
        })
    };
    let begun = |key: &str| {
        if key.starts_with("sk-ant") { answers::claude_begun() } else { answers::openai_begun() }
    };
    vec![
        ("a refusal", Act::echo(move |key| Act::refuse(400, openai(key)))),
        ("a refusal of Anthropic", Act::echo(move |key| Act::refuse(400, claude(key)))),
        ("a refusal of the key", Act::echo(move |key| Act::refuse(401, openai(key)))),
        ("a failure", Act::echo(move |key| Act::refuse(500, openai(key)))),
        ("a text", Act::echo(|key| Act::refuse(400, format!("authorization: Bearer {key}")))),
        ("an error in an answer", Act::echo(move |key| Act::whole(openai(key)))),
        ("an error of Anthropic in an answer", Act::echo(move |key| Act::whole(claude(key)))),
        ("a first event", Act::echo(move |key| Act::stream(event(key)))),
        ("a later event", Act::echo(move |key| Act::stream(begun(key) + &event(key)))),
    ]
}

#[tokio::test]
async fn no_key_is_shown_to_anybody() {
    capture();
    for (name, act) in quotes() {
        for model in ["gpt", "claude"] {
            for dialect in DIALECTS {
                for stream in [false, true] {
                    let gateway = Gateway::default();
                    if model == "gpt" { &gateway.openai } else { &gateway.claude }.will([act.clone()]);

                    let answer = gateway.client().send(Client::chat(dialect, model, stream)).await;

                    let seen = seen(&gateway, &answer);
                    for secret in [OPENAI_KEY, CLAUDE_KEY, KEY] {
                        let context = format!("{dialect} to {model}, stream {stream}: {name}");
                        assert!(!seen.contains(secret), "{context}: {answer:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_is_cut_by_a_limit_is_not_shown_in_part() {
    capture();
    for dialect in DIALECTS {
        for before in 470..520 {
            let gateway = Gateway::default();
            let text = move |key: &str| Act::refuse(400, "x".repeat(before) + key);
            gateway.openai.will([Act::echo(text)]);

            let answer = gateway.client().send(Client::chat(dialect, "gpt", false)).await;

            let seen = seen(&gateway, &answer);
            assert!(!seen.contains(&OPENAI_KEY[..8]), "{dialect}, {before}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_prompt_are_not_logged() {
    capture();
    let gateway = Gateway::default();
    let body = r#"{"model":"gpt","stream":"a-secret-prompt","messages":[{"role":"user","content":"a-secret-prompt"}]}"#;
    let mut wrong = Client::chat(OPENAI, "gpt", false);
    wrong.headers_mut().insert("authorization", "Bearer a-secret-key".parse().unwrap());

    for req in
        [wrong, Client::post(OPENAI, body), Client::post(ANTHROPIC, body), Client::post(OPENAI, &body[..60])]
    {
        let answer = gateway.client().send(req).await;

        assert!(answer.status.is_client_error());
        let seen = seen(&gateway, &answer);
        assert!(!seen.contains("a-secret"), "{seen}");
    }
}
