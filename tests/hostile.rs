//! Bad input of clients and of providers, through the whole stack.

mod support;

use std::time::Duration;

use bartizan::price::NanoUsd;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    ANTHROPIC, Act, Answer, Client, DIALECTS, GEMINI, Gateway, KEY, OPENAI, OPENAI_KEY, Settings, Step,
    answers,
};

/// The error is one that a client of the dialect understands, and it names the field if there is one.
fn assert_error(answer: &Answer, dialect: &str, status: u16, field: Option<&str>, context: &str) {
    assert_eq!(answer.status, status, "{context}: {answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json", "{context}");
    assert!(answer.headers.contains_key("x-request-id"), "{context}");
    let error = &answer.json()["error"];
    let message = error["message"].as_str().unwrap_or_default();
    let kind = if dialect == GEMINI { "status" } else { "type" };
    assert!(!message.is_empty() && error[kind].is_string(), "{context}: {answer:?}");
    if dialect == GEMINI {
        assert_eq!(error["code"], status, "{context}");
    } else if dialect == ANTHROPIC {
        assert_eq!(answer.json()["type"], "error", "{context}");
        assert!(field.is_none_or(|field| message.contains(field)), "{context}: {message}");
    } else {
        assert_eq!(error["param"].as_str(), field, "{context}: {answer:?}");
        assert!(error.get("code").is_some(), "{context}");
    }
}

/// The field that an error has to name.
type Field = Option<&'static str>;

#[tokio::test]
async fn a_bad_body_is_refused_with_the_name_of_the_field() {
    let cases: Vec<(Bytes, u16, Field)> = vec![
        ("".into(), 400, None),
        ("{".into(), 400, None),
        ("null".into(), 400, None),
        ("[]".into(), 400, None),
        ("\"text\"".into(), 400, None),
        ("{\"model\":\"gpt\",}".into(), 400, None),
        ("{\"model\":\"gpt\"} x".into(), 400, None),
        ("\u{feff}{\"model\":\"gpt\"}".into(), 400, None),
        (Bytes::from_static(b"{\"model\":\"gpt\xff\"}"), 400, None),
        (Bytes::from_static(b"\x1f\x8b\x08\x00"), 400, None),
        (Bytes::from(vec![0; 64]), 400, None),
        ("[".repeat(100_000).into(), 400, None),
        ("{\"a\":".repeat(100_000).into(), 400, None),
        (format!("{{\"model\":\"gpt\",\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200)).into(), 400, None),
        ("[\"gpt\",false,null,null,null,1]".into(), 400, None),
        ("[\"gpt\",false,7]".into(), 400, None),
        ("{}".into(), 400, Some("model")),
        ("{\"model\":null}".into(), 400, Some("model")),
        ("{\"model\":7}".into(), 400, Some("model")),
        ("{\"model\":\"\"}".into(), 400, Some("model")),
        ("{\"model\":[\"gpt\"]}".into(), 400, Some("model")),
        (format!("{{\"model\":\"{}\"}}", "x".repeat(300)).into(), 400, Some("model")),
        ("{\"model\":\"gpt\",\"model\":\"claude\"}".into(), 400, Some("model")),
        ("{\"model\":\"gpt\",\"stream\":\"yes\"}".into(), 400, Some("stream")),
        ("{\"model\":\"gpt\",\"stream\":1}".into(), 400, Some("stream")),
        ("{\"model\":\"gpt\",\"stream\":true,\"stream\":false}".into(), 400, Some("stream")),
        ("{\"model\":\"gpt\",\"max_tokens\":-1}".into(), 400, Some("max_tokens")),
        ("{\"model\":\"gpt\",\"max_tokens\":1.5}".into(), 400, Some("max_tokens")),
        ("{\"model\":\"gpt\",\"max_tokens\":\"many\"}".into(), 400, Some("max_tokens")),
        ("{\"model\":\"gpt\",\"max_tokens\":1e400}".into(), 400, None),
        ("{\"model\":\"no-such-model\"}".into(), 404, Some("model")),
        ("{\"model\":\"../../etc/passwd\"}".into(), 404, Some("model")),
        ("{\"model\":\"openai/\\r\\nx: y\"}".into(), 404, Some("model")),
        (vec![b' '; (1 << 20) + 1].into(), 413, None),
    ];
    let gateway = Gateway::default();
    for dialect in [OPENAI, ANTHROPIC] {
        for (body, status, field) in &cases {
            let context = format!("{dialect}: {:?}", &body[..body.len().min(60)]);

            let answer = gateway.client().send(Client::post(dialect, body.clone())).await;

            // Anthropic's errors have no place for a field but their message.
            let field =
                if *field == Some("model") && *status == 404 && dialect == ANTHROPIC { None } else { *field };
            assert_error(&answer, dialect, *status, field, &context);
        }
    }
    assert!(gateway.openai.sent().is_empty() && gateway.claude.sent().is_empty());
    assert!(gateway.balances().iter().all(|(held, posted)| (held, posted) == (&NanoUsd(0), &NanoUsd(0))));
}

#[tokio::test]
async fn the_options_of_a_stream_are_read_strictly() {
    let gateway = Gateway::default();
    for (options, field) in [
        ("[true]", "stream_options"),
        ("\"x\"", "stream_options"),
        ("{\"include_usage\":\"x\"}", "stream_options.include_usage"),
    ] {
        let body = format!(r#"{{"model":"gpt","stream":true,"stream_options":{options}}}"#);

        let answer = gateway.client().send(Client::post(OPENAI, body)).await;

        assert_error(&answer, OPENAI, 400, Some(field), options);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_translated_is_refused_with_the_name_of_the_field() {
    let openai = [
        (json!({}), "messages"),
        (json!({ "messages": "Hi" }), "messages"),
        (json!({ "messages": [7] }), "messages[0]"),
        (json!({ "messages": [{ "role": "wizard", "content": "Hi" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages[0].content"),
        (json!({ "messages": [{ "role": "user", "content": "x" }], "temperature": "hot" }), "temperature"),
        (json!({ "messages": [{ "role": "user", "content": "x" }], "tools": {} }), "tools"),
    ];
    let anthropic = [
        (json!({ "max_tokens": 5 }), "messages"),
        (json!({ "max_tokens": 5, "messages": "Hi" }), "messages"),
        (json!({ "max_tokens": 5, "messages": [{ "role": "user", "content": 7 }] }), "messages"),
        (json!({ "max_tokens": 5, "messages": [{ "role": "user", "content": "x" }], "tools": 7 }), "tools"),
    ];
    let gateway = Gateway::default();
    let openai = openai.map(|(body, field)| (OPENAI, "claude", body, field));
    let anthropic = anthropic.map(|(body, field)| (ANTHROPIC, "gpt", body, field));
    for (dialect, model, mut body, field) in openai.into_iter().chain(anthropic) {
        body["model"] = model.into();
        let context = format!("{dialect}: {body}");

        let answer = gateway.client().send(Client::post(dialect, body.to_string())).await;

        assert_eq!(answer.status, 400, "{context}: {answer:?}");
        let error = &answer.json()["error"];
        let named = if dialect == OPENAI { &error["param"] } else { &error["message"] };
        assert!(named.as_str().is_some_and(|named| named.contains(field)), "{context}: {answer:?}");
    }
    assert!(gateway.openai.sent().is_empty() && gateway.claude.sent().is_empty());
    assert!(gateway.balances().iter().all(|(held, posted)| (held, posted) == (&NanoUsd(0), &NanoUsd(0))));
}

#[tokio::test]
async fn a_wrong_endpoint_method_or_type_is_refused() {
    let json = "application/json";
    let cases: [(Method, &str, &str, &str, u16, &str); 13] = [
        (Method::GET, "/v1/chat/completions", json, "", 405, OPENAI),
        (Method::DELETE, "/v1/messages", json, "", 405, ANTHROPIC),
        (Method::OPTIONS, "/v1/messages", json, "", 405, ANTHROPIC),
        (Method::POST, "/v1/files/file-1", json, "", 405, OPENAI),
        (Method::POST, "/v1/chat/completions/", json, "", 404, OPENAI),
        (Method::POST, "/v1/nothing", json, "", 404, OPENAI),
        (Method::POST, "//v1/messages", json, "", 404, OPENAI),
        (Method::POST, "/v1/chat/completions", "text/plain", "", 415, OPENAI),
        (Method::POST, "/v1/messages", "multipart/form-data; boundary=x", "", 415, ANTHROPIC),
        (Method::POST, "/v1/messages", "application/jsonp", "", 415, ANTHROPIC),
        (Method::POST, "/v1/chat/completions", "", "", 415, OPENAI),
        (Method::POST, "/v1/chat/completions", json, "gzip", 415, OPENAI),
        (Method::POST, "/v1/messages", json, "identity, br", 415, ANTHROPIC),
    ];
    let gateway = Gateway::default();
    for (method, path, content_type, encoding, status, dialect) in cases {
        let context = format!("{method} {path} {content_type} {encoding}");
        let allowed = if path.starts_with("/v1/files/") { "GET, DELETE" } else { "POST" };
        let mut req = Client::request(method, path, r#"{"model":"gpt","messages":[],"max_tokens":1}"#);
        req.headers_mut().insert("content-type", content_type.parse().unwrap());
        if !encoding.is_empty() {
            req.headers_mut().insert("content-encoding", encoding.parse().unwrap());
        }

        let answer = gateway.client().send(req).await;

        assert_eq!(answer.status, status, "{context}: {answer:?}");
        let field = if status == 404 && dialect == OPENAI { Some(path) } else { None };
        assert_error(&answer, dialect, status, field, &context);
        let allow = answer.headers.get("allow").map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some(allowed), "{context}");
    }
}

#[tokio::test]
async fn a_key_is_taken_from_its_headers_only_and_only_one() {
    let bearer = format!("Bearer {KEY}");
    let cases: Vec<(Vec<(&str, &str)>, bool)> = vec![
        (vec![("authorization", &bearer)], true),
        (vec![("x-api-key", KEY)], true),
        (vec![("api-key", KEY)], true),
        (vec![("x-goog-api-key", KEY)], true),
        (vec![("x-bf-vk", KEY)], true),
        (vec![("authorization", &bearer), ("x-api-key", KEY)], true),
        (vec![], false),
        (vec![("authorization", KEY)], false),
        (vec![("authorization", "Bearer")], false),
        (vec![("authorization", "Bearer ")], false),
        (vec![("authorization", "Basic dXNlcjpwYXNz")], false),
        (vec![("authorization", "Bearer ' OR '1'='1")], false),
        (vec![("x-key", KEY)], false),
        (vec![("cookie", KEY)], false),
        (vec![("proxy-authorization", &bearer)], false),
        (vec![("authorization", &bearer), ("x-api-key", "another")], false),
        (vec![("x-api-key", "another"), ("x-api-key", KEY)], false),
        (vec![("x-api-key", &KEY[..KEY.len() - 1])], false),
        (vec![("x-api-key", &bearer)], false),
    ];
    for dialect in DIALECTS {
        for (headers, is_let_in) in &cases {
            let gateway = Gateway::default();
            let mut req = Client::chat(dialect, "gpt", false);
            req.headers_mut().remove("authorization");
            for (name, value) in headers {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                req.headers_mut().append(name, value.parse().unwrap());
            }

            let answer = gateway.client().send(req).await;

            if *is_let_in {
                assert_eq!(answer.status, 200, "{dialect} {headers:?}: {answer:?}");
            } else {
                assert_error(&answer, dialect, 401, None, &format!("{dialect} {headers:?}"));
                assert!(gateway.openai.sent().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn absurd_headers_neither_break_a_request_nor_reach_a_provider() {
    let gateway = Gateway::default();
    let mut req = Client::chat(OPENAI, "gpt", false);
    let values = [
        ("x-request-id", vec![b'\xff'; 300]),
        ("x-bartizan-strict", b"\xfe".to_vec()),
        ("accept", vec![b'a'; 60_000]),
        ("traceparent", b"\x80\x81".to_vec()),
        ("content-length", b"99999999999999999999".to_vec()),
        ("transfer-encoding", b"chunked, chunked".to_vec()),
        ("host", b"169.254.169.254".to_vec()),
        ("x-forwarded-host", b"evil.example".to_vec()),
        ("x-portkey-custom-host", b"http://evil.example".to_vec()),
        ("connection", b"authorization".to_vec()),
        ("cookie", b"session=secret".to_vec()),
    ];
    for (name, value) in values {
        req.headers_mut().insert(name, HeaderValue::from_bytes(&value).unwrap());
    }

    let answer = gateway.client().send(req).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = gateway.openai.sent().pop().unwrap().headers;
    for kept in ["host", "x-forwarded-host", "x-portkey-custom-host", "connection", "cookie", "x-request-id"]
    {
        assert!(!sent.contains_key(kept), "{kept}");
    }
    assert_eq!(sent["authorization"], format!("Bearer {OPENAI_KEY}"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_stops_is_stopped() {
    for stream in [false, true] {
        let gateway = Gateway::new(Settings::default());
        // 64 MiB without a line end, and without an end of the JSON text.
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let steps = std::iter::repeat_n(Step::Data(piece), 64).collect();
        gateway.openai.will([if stream { Act::Stream(steps) } else { Act::Whole(steps) }]);

        let answer = gateway.client().send(Client::chat(OPENAI, "gpt", stream)).await;

        assert_error(&answer, OPENAI, 502, None, &format!("stream {stream}"));
        assert_eq!(gateway.openai.open(), 0);
    }
}

/// Sends one request and says what is wrong with the outcome, if anything is.
fn outcome(
    dialect: &str,
    model: &str,
    stream: bool,
    body: Option<Vec<u8>>,
    act: Option<Act>,
) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let gateway = Gateway::default();
        if let Some(act) = act {
            if model == "gpt" { &gateway.openai } else { &gateway.claude }.will([act]);
        }
        let req = match body {
            Some(body) => Client::post(dialect, body),
            None => Client::chat(dialect, model, stream),
        };
        let client = gateway.client();
        let sent = tokio::time::timeout(Duration::from_secs(600), client.send(req));
        let answer = sent.await.map_err(|_| "hangs")?;
        if let Some(wrong) = malformed(&answer, dialect) {
            return Err(format!("{wrong}: {answer:?}"));
        }
        let record = gateway.records.last();
        let balances = gateway.balances();
        let settled = balances == [(NanoUsd(0), record.cost); 3] || record.attempts.is_empty();
        if !settled || balances[0].0 != NanoUsd(0) || gateway.openai.open() + gateway.claude.open() != 0 {
            return Err(format!("not settled: {balances:?} {record:?}"));
        }
        Ok(())
    })
}

/// What is wrong with the form of an answer.
fn malformed(answer: &Answer, dialect: &str) -> Option<&'static str> {
    if answer.broke {
        return Some("the connection broke");
    }
    if answer.status == 500 && dialect == OPENAI {
        return Some("a fault of the gateway");
    }
    if !answer.is_stream() {
        let is_json = serde_json::from_slice::<Value>(&answer.body).is_ok();
        // A good answer passes as it is.
        return (answer.status != 200 && !is_json).then_some("an error that is not JSON");
    }
    let ends = answer.finished(dialect) || answer.error_type(dialect).is_some();
    // Both SDKs take the reason for the end as the end.
    let reasons = [r#""finish_reason":""#, r#""stop_reason":""#, r#""finishReason":""#];
    let stopped = |data: &[u8]| {
        let data = String::from_utf8_lossy(data);
        reasons.iter().any(|reason| data.contains(reason))
    };
    (!ends && !answer.events().iter().any(|event| stopped(&event.data))).then_some("a stream without an end")
}

/// Bytes that are nearly right: pieces of good requests and answers, cut, repeated and soiled.
fn nearly(good: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let piece = (0..good.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        move |(which, from, to)| {
            let bytes = good[which].as_bytes();
            let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            bytes[from.min(to)..from.max(to)].to_vec()
        },
    );
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop_oneof![3 => piece, 1 => noise], 0..6).prop_map(|pieces| pieces.concat())
}

fn requests() -> Vec<String> {
    vec![
        r#"{"model":"gpt","messages":[{"role":"user","content":"Hi"}],"stream":true,"max_tokens":5}"#.into(),
        r#"{"model":"claude","max_tokens":9,"stream":false,"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"tools":[{"name":"t","input_schema":{"type":"object"}}]}"#.into(),
        r#"{"model":"claude","messages":[{"role":"system","content":"S"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"t","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}],"n":2}"#.into(),
        r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[{"functionCall":{"name":"t","args":{}},"thoughtSignature":"U0lH"}]},{"parts":[{"functionResponse":{"name":"t","response":{}}}]}],"tools":[{"functionDeclarations":[{"name":"t","parameters":{"type":"OBJECT"}}]}]}"#.into(),
    ]
}

fn said() -> Vec<String> {
    vec![
        answers::OPENAI_WHOLE.into(),
        answers::CLAUDE_WHOLE.into(),
        answers::openai_stream(),
        answers::claude_stream(),
        answers::OPENAI_ERROR.into(),
        answers::CLAUDE_ERROR.into(),
    ]
}

fn cut(bytes: Vec<u8>, cuts: &[prop::sample::Index]) -> Vec<Step> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    let piece = |ends: &[usize]| Step::Data(Bytes::copy_from_slice(&bytes[ends[0]..ends[1]]));
    at.windows(2).map(piece).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_body_has_a_well_formed_outcome(
        body in prop_oneof![nearly(requests()), prop::collection::vec(any::<u8>(), 0..200)],
        dialect in prop::sample::select(&DIALECTS[..]),
    ) {
        prop_assert_eq!(outcome(dialect, "gpt", false, Some(body), None), Ok(()));
    }

    #[test]
    fn whatever_a_provider_says_the_outcome_is_well_formed(
        said in prop_oneof![nearly(said()), prop::collection::vec(any::<u8>(), 0..200)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        breaks: bool,
        typed_as_stream: bool,
        dialect in prop::sample::select(&DIALECTS[..]),
        model in prop::sample::select(&["gpt", "claude"][..]),
        stream: bool,
    ) {
        let mut steps = cut(said, &cuts);
        if breaks {
            steps.push(Step::Break);
        }
        let act = if typed_as_stream { Act::Stream(steps) } else { Act::Whole(steps) };

        prop_assert_eq!(outcome(dialect, model, stream, None, Some(act)), Ok(()));
    }

    #[test]
    fn however_a_good_stream_is_cut_the_answer_is_the_same(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        dialect in prop::sample::select(&DIALECTS[..]),
        model in prop::sample::select(&["gpt", "claude"][..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let good = if model == "gpt" { answers::openai_stream() } else { answers::claude_stream() };
        let answer = runtime.block_on(async {
            let gateway = Gateway::default();
            let provider = if model == "gpt" { &gateway.openai } else { &gateway.claude };
            provider.will([Act::Stream(cut(good.into_bytes(), &cuts))]);
            gateway.client().send(Client::chat(dialect, model, true)).await
        });

        prop_assert_eq!(answer.text(dialect), "Hello there");
        prop_assert!(answer.finished(dialect));
    }
}
