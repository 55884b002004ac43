//! Files of requests and batches of them, over the layers as the proxy stacks them.

mod passing;

use std::time::Duration;

use bartizan::{Kind, auth::KeyDigest, own_ids::Seal, price::NanoUsd, record::Record};
use bytes::Bytes;
use http::{Method, StatusCode};
use passing::{Answered, Asked, Gateway, Got, KEY, form, json, price};
use serde_json::{Value, json as value};

const CHAT: &str = "/v1/chat/completions";
/// A dollar for a million tokens in, ten for a million out; half of it in a batch.
const PRICE: &str = "in=1,out=10";
/// What `two_lines` may cost: 1,045 tokens in at the most and 1,000 out, each.
const WORST: &str = "0.011045";
/// What the provider says that it has used.
const COST: &str = "0.000075";

const FILE_OF_PROVIDER: &str = r#"{"id":"file-provider1","object":"file","bytes":9,"created_at":1,"filename":"x","purpose":"batch","status":"processed"}"#;

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

fn nothing() -> Asked {
    Asked { content_type: "application/json".to_owned(), body: Bytes::new() }
}

fn line(id: &str, model: &str) -> String {
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user"}}],"max_tokens":1000}}"#);
    format!(r#"{{"custom_id":"{id}","method":"POST","url":"{CHAT}","body":{body}}}"#)
}

fn two_lines(model: &str) -> String {
    format!("{}\n{}\n", line("a", model), line("b", model))
}

fn upload(file: &str) -> Asked {
    form(&[("purpose", "batch")], &[("file", file.as_bytes())])
}

/// What a provider says of a batch.
fn batch(status: &str, more: &[(&str, Value)]) -> Answered {
    let mut batch = value!({
        "id": "batch_provider1", "object": "batch", "endpoint": CHAT, "errors": null,
        "input_file_id": "file-provider1", "completion_window": "24h", "status": status,
        "output_file_id": null, "error_file_id": null, "created_at": 1,
        "request_counts": {"total": 2, "completed": 0, "failed": 0}, "metadata": {"id": "mine"},
    });
    for (name, value) in more {
        batch[name] = value.clone();
    }
    Answered::json(&batch.to_string())
}

fn completed() -> Answered {
    let usage = value!({
        "input_tokens": 50, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 60,
    });
    let counts = value!({"total": 2, "completed": 2, "failed": 0});
    batch(
        "completed",
        &[("usage", usage), ("request_counts", counts), ("output_file_id", "file-provider2".into())],
    )
}

/// An answer that is cut off.
fn half() -> Answered {
    Answered::json(r#"{"id":"batch_provider1","status":"completed","#)
}

fn id_of(answer: &Got, name: &str) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer:?}")).to_owned()
}

async fn stored(gateway: &Gateway) -> String {
    gateway.first.will(Answered::json(FILE_OF_PROVIDER));
    id_of(&gateway.ask(KEY, Method::POST, "/v1/files", upload(&two_lines("m"))).await, "id")
}

fn beginning(file: &str) -> Asked {
    json(&value!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}).to_string())
}

/// A gateway at which the app has begun a batch, the id of its file and its own.
async fn begun() -> (Gateway, String, String) {
    let gateway = Gateway::new(price(PRICE));
    let file = stored(&gateway).await;
    gateway.first.will(batch("validating", &[]));
    let answer = gateway.ask(KEY, Method::POST, "/v1/batches", beginning(&file)).await;
    let id = id_of(&answer, "id");
    (gateway, file, id)
}

async fn follow(gateway: &Gateway, id: &str, said: Answered) -> Got {
    gateway.first.will(said);
    gateway.ask(KEY, Method::GET, &format!("/v1/batches/{id}"), nothing()).await
}

/// What is held and what was spent.
fn balance(gateway: &Gateway) -> (NanoUsd, NanoUsd) {
    gateway.balance("key:app")
}

fn charged(record: &Record) -> (NanoUsd, u64, u64, bool, bool) {
    (record.cost, record.tokens.input, record.tokens.output, record.estimated, record.unpriced)
}

const FREE: (NanoUsd, u64, u64, bool, bool) = (NanoUsd(0), 0, 0, false, false);

#[tokio::test]
async fn a_batch_is_held_when_it_begins_and_charged_once_when_it_is_over() {
    let (gateway, file, id) = begun().await;
    assert_eq!(charged(&gateway.records.last()), FREE);
    assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)));

    for status in ["validating", "in_progress", "finalizing"] {
        let answer = follow(&gateway, &id, batch(status, &[])).await;

        assert_eq!((id_of(&answer, "id"), id_of(&answer, "input_file_id")), (id.clone(), file.clone()));
        assert!(answer.json()["output_file_id"].is_null() && answer.json()["metadata"]["id"] == "mine");
        assert_eq!(charged(&gateway.records.last()), FREE);
        assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)), "{status}");
    }
    let answer = follow(&gateway, &id, completed()).await;
    assert_eq!(charged(&gateway.records.last()), (usd(COST), 50, 10, false, false));
    assert_eq!(gateway.records.last().attempts[0].outcome, "answered");
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));

    let again = follow(&gateway, &id, completed()).await;

    assert_eq!(again.json(), answer.json());
    assert_eq!(charged(&gateway.records.last()), FREE);
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));
}

#[tokio::test]
async fn the_lines_are_sent_as_they_are_but_for_the_model() {
    let gateway = Gateway::new(price(PRICE));
    let file = stored(&gateway).await;
    gateway.first.will(batch("validating", &[]));

    gateway.ask(KEY, Method::POST, "/openai/v1/batches", beginning(&file)).await;

    let [stored, begun] = &gateway.first.sent()[..] else { panic!("two requests") };
    assert_eq!((&stored.method, &*stored.path), (&Method::POST, "/files"));
    assert!(stored.content_type.starts_with("multipart/form-data; boundary="));
    assert_eq!(stored.body, upload(&two_lines("model-a")).body);
    assert_eq!((&begun.method, &*begun.path), (&Method::POST, "/batches"));
    assert_eq!(begun.body, beginning("file-provider1").body);
}

#[tokio::test]
async fn what_was_stored_and_answered_is_fetched_and_deleted() {
    let (gateway, file, id) = begun().await;
    let answer = follow(&gateway, &id, completed()).await;
    let output = id_of(&answer, "output_file_id");
    let answers = "{\"id\":\"batch_req_1\",\"custom_id\":\"a\",\"response\":{},\"error\":null}";
    let deleted = r#"{"id":"file-provider1","object":"file","deleted":true}"#;

    for (method, path, said, sent) in [
        (Method::GET, format!("/v1/files/{file}"), Answered::json(FILE_OF_PROVIDER), "/files/file-provider1"),
        (
            Method::GET,
            format!("/v1/files/{output}/content"),
            Answered::bytes("application/octet-stream", answers.as_bytes()),
            "/files/file-provider2/content",
        ),
        // A single line is an object with an id of its own.
        (
            Method::GET,
            format!("/v1/files/{output}/content"),
            Answered::json(answers),
            "/files/file-provider2/content",
        ),
        (Method::DELETE, format!("/v1/files/{file}"), Answered::json(deleted), "/files/file-provider1"),
    ] {
        gateway.first.will(said.clone());

        let answer = gateway.ask(KEY, method.clone(), &path, nothing()).await;

        match path.ends_with("content") {
            true => assert_eq!(answer.body, said.body),
            false => assert_eq!(id_of(&answer, "id"), file),
        }
        let last = gateway.first.sent().pop().unwrap();
        assert_eq!((last.method, &*last.path), (method, sent));
        assert_eq!(charged(&gateway.records.last()), FREE, "{path}");
    }
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));
}

#[tokio::test]
async fn a_batch_that_ends_without_counts_costs_its_share_of_the_worst_case() {
    for (status, completed, cost, estimated) in [
        ("failed", None, "0", false),
        ("cancelled", Some(0), "0", false),
        ("cancelled", Some(1), "0.0055225", true),
        ("expired", Some(2), WORST, true),
        ("completed", None, WORST, true),
    ] {
        let (gateway, _, id) = begun().await;
        let counts = completed.map_or(Value::Null, |completed| value!({"total": 2, "completed": completed}));

        follow(&gateway, &id, batch(status, &[("request_counts", counts)])).await;

        let record = gateway.records.last();
        assert_eq!((record.cost, record.estimated), (usd(cost), estimated), "{status} {completed:?}");
        assert_eq!(balance(&gateway), (NanoUsd(0), usd(cost)));
    }
}

#[tokio::test]
async fn what_azures_clients_have_made_they_reach_again() {
    let gateway = Gateway::new(price(PRICE));
    gateway.first.will(Answered::json(FILE_OF_PROVIDER));
    let stored = gateway.ask(KEY, Method::POST, "/openai/files", upload(&two_lines("m"))).await;
    let file = id_of(&stored, "id");
    gateway.first.will(batch("validating", &[]));
    let begun = gateway.ask(KEY, Method::POST, "/openai/batches", beginning(&file)).await;
    let id = id_of(&begun, "id");
    let said = batch("in_progress", &[]);
    let deleted = Answered::json(r#"{"id":"file-provider1","object":"file","deleted":true}"#);

    for (method, path, said, sent) in [
        (Method::GET, format!("batches/{id}"), said.clone(), "/batches/batch_provider1"),
        (Method::POST, format!("batches/{id}/cancel"), said, "/batches/batch_provider1/cancel"),
        (Method::GET, format!("files/{file}"), Answered::json(FILE_OF_PROVIDER), "/files/file-provider1"),
        (
            Method::GET,
            format!("files/{file}/content"),
            Answered::bytes("application/octet-stream", b"x"),
            "/files/file-provider1/content",
        ),
        (Method::DELETE, format!("files/{file}"), deleted, "/files/file-provider1"),
    ] {
        gateway.first.will(said);

        let answer = gateway.ask(KEY, method.clone(), &format!("/openai/{path}"), nothing()).await;

        assert_eq!(answer.status, StatusCode::OK, "{method} {path} {answer:?}");
        let last = gateway.first.sent().pop().unwrap();
        assert_eq!((last.method, &*last.path), (method, sent));
    }
}

#[tokio::test]
async fn a_batch_can_be_cancelled() {
    let (gateway, _, id) = begun().await;
    gateway.first.will(batch("cancelling", &[]));

    let answer = gateway.ask(KEY, Method::POST, &format!("/v1/batches/{id}/cancel"), nothing()).await;

    assert_eq!((id_of(&answer, "id"), &answer.json()["status"]), (id.clone(), &"cancelling".into()));
    let sent = gateway.first.sent().pop().unwrap();
    assert_eq!((sent.method, &*sent.path), (Method::POST, "/batches/batch_provider1/cancel"));
    assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)));
    follow(&gateway, &id, batch("cancelled", &[])).await;
    assert_eq!(balance(&gateway), (NanoUsd(0), NanoUsd(0)));
}

#[tokio::test]
async fn a_batch_that_is_not_begun_costs_nothing() {
    let gateway = Gateway::new(price(PRICE));
    let file = stored(&gateway).await;
    for (said, status) in [
        (Answered::refusal(400, r#"{"error":{"message":"no"}}"#), StatusCode::BAD_REQUEST),
        (Answered::refusal(429, r#"{"error":{"message":"slow"}}"#), StatusCode::TOO_MANY_REQUESTS),
        (Answered::refusal(500, r#"{"error":{"message":"down"}}"#), StatusCode::BAD_GATEWAY),
        (Answered::json(r#"{"error":{"message":"down"}}"#), StatusCode::BAD_GATEWAY),
    ] {
        gateway.first.will(said.clone());

        let answer = gateway.ask(KEY, Method::POST, "/v1/batches", beginning(&file)).await;

        assert!(!answer.status.is_success(), "{status} {answer:?}");
        assert_eq!(charged(&gateway.records.last()), FREE, "{said:?}");
        assert_eq!(balance(&gateway), (NanoUsd(0), NanoUsd(0)));
    }
    assert_eq!((gateway.first.sent().len(), gateway.second.sent().len()), (5, 0));
}

#[tokio::test]
async fn a_batch_that_fails_to_be_asked_for_stays_held() {
    let (gateway, _, id) = begun().await;

    for said in [
        Answered::refusal(404, r#"{"error":{"message":"gone"}}"#),
        Answered::refusal(503, r#"{"error":{"message":"down"}}"#),
        Answered::json(r#"{"error":{"message":"down"}}"#),
        half().that_breaks(),
    ] {
        let answer = follow(&gateway, &id, said.clone()).await;

        assert!(!answer.status.is_success() || answer.broke, "{said:?}");
        assert_eq!(charged(&gateway.records.last()), FREE, "{said:?}");
        assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)), "{said:?}");
    }
    follow(&gateway, &id, completed()).await;
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_pays_for_what_may_have_begun_and_not_for_asking() {
    let leave = async |gateway: &Gateway, method, path: &str, asked| {
        let asking = gateway.ask(KEY, method, path, asked);
        assert!(tokio::time::timeout(Duration::from_secs(1), asking).await.is_err());
    };
    let gateway = Gateway::new(price(PRICE));
    let file = stored(&gateway).await;
    gateway.first.will(Answered::nothing());
    leave(&gateway, Method::POST, "/v1/batches", beginning(&file)).await;
    let record = gateway.records.last();
    assert_eq!((record.cost, record.estimated), (usd(WORST), true));
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(WORST)));

    let (gateway, _, id) = begun().await;
    for said in [Answered::nothing(), half().that_hangs()] {
        gateway.first.will(said);
        leave(&gateway, Method::GET, &format!("/v1/batches/{id}"), nothing()).await;
        assert_eq!(charged(&gateway.records.last()), FREE);
        assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)));
    }
    follow(&gateway, &id, completed()).await;
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));
}

#[tokio::test(start_paused = true)]
async fn of_two_who_ask_at_once_one_pays() {
    let (gateway, _, id) = begun().await;
    let path = format!("/v1/batches/{id}");
    gateway.first.will(Answered::nothing());
    let first = tokio::time::timeout(Duration::from_secs(1), gateway.ask(KEY, Method::GET, &path, nothing()));

    let (left, second) = tokio::join!(first, follow(&gateway, &id, completed()));

    assert!(left.is_err());
    assert_eq!(id_of(&second, "id"), id);
    assert_eq!(balance(&gateway), (usd(WORST), NanoUsd(0)));
    follow(&gateway, &id, completed()).await;
    assert_eq!(balance(&gateway), (NanoUsd(0), usd(COST)));
    let costs = gateway.records.all().iter().map(|record| record.cost.0).sum();
    assert_eq!(NanoUsd(costs), usd(COST));
}

#[tokio::test]
async fn a_batch_that_the_budget_cannot_bear_is_not_begun() {
    let gateway = Gateway::new(price("in=1,out=100000"));
    let file = stored(&gateway).await;

    let answer = gateway.ask(KEY, Method::POST, "/v1/batches", beginning(&file)).await;

    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(gateway.records.last().error, Some(Kind::BudgetExhausted));
    assert_eq!(gateway.first.sent().len(), 1);
    assert_eq!(balance(&gateway), (NanoUsd(0), NanoUsd(0)));
}

#[tokio::test]
async fn a_key_needs_the_model_of_the_lines() {
    let gateway = Gateway::new(price(PRICE));

    let narrow = gateway.ask("vk-narrow", Method::POST, "/v1/files", upload(&two_lines("m"))).await;
    let unknown = gateway.ask(KEY, Method::POST, "/v1/files", upload(&two_lines("nowhere"))).await;

    assert_eq!((narrow.status, unknown.status), (StatusCode::FORBIDDEN, StatusCode::NOT_FOUND));
    assert!(gateway.first.sent().is_empty());
}

#[tokio::test]
async fn nothing_of_another_key_exists() {
    let (gateway, file, id) = begun().await;
    let sent = gateway.first.sent().len();
    let of_provider = ("file-provider1".to_owned(), "batch_provider1".to_owned());

    for (key, file, id) in
        [("vk-other", &file, &id), (KEY, &of_provider.0, &of_provider.1), (KEY, &id, &file)]
    {
        for (method, path, asked) in [
            (Method::GET, format!("/v1/files/{file}"), nothing()),
            (Method::GET, format!("/v1/files/{file}/content"), nothing()),
            (Method::DELETE, format!("/v1/files/{file}"), nothing()),
            (Method::GET, format!("/v1/batches/{id}"), nothing()),
            (Method::POST, format!("/v1/batches/{id}/cancel"), nothing()),
            (Method::POST, "/v1/batches".to_owned(), beginning(file)),
        ] {
            let answer = gateway.ask(key, method, &path, asked).await;

            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{key} {path}");
        }
    }
    assert_eq!(gateway.first.sent().len(), sent);
}

#[tokio::test]
async fn what_an_id_tells_is_believed_of_the_gateway_only() {
    let gateway = Gateway::new(price(PRICE));
    let file = stored(&gateway).await;
    // All that a client can know.
    let seal = Seal::new(&KeyDigest::of(KEY));
    let told = seal.open(file.strip_prefix("file-").unwrap()).unwrap();
    assert!(told.contains("file-provider1"), "{told}");

    for (what, instead) in [
        (r#""output":2000"#, r#""output":0"#),
        (r#""model":"m""#, r#""model":"other""#),
        ("file-provider1", "file-provider2"),
        (r#""proof":""#, r#""proof":"A"#),
        (r#""proof":""#, r#""other":""#),
    ] {
        let forged = told.replace(what, instead);
        assert_ne!(forged, told, "{what}");
        let forged = format!("file-{}", seal.close(&forged));

        let answer = gateway.ask(KEY, Method::POST, "/v1/batches", beginning(&forged)).await;

        assert!(matches!(answer.status.as_u16(), 400 | 404), "{what}: {answer:?}");
        assert_eq!(balance(&gateway), (NanoUsd(0), NanoUsd(0)));
    }
    assert_eq!(gateway.first.sent().len(), 1);
}

#[tokio::test]
async fn lists_would_show_what_belongs_to_others() {
    let gateway = Gateway::new(price(PRICE));

    for path in ["/v1/files", "/v1/batches", "/v1/files?purpose=batch"] {
        let answer = gateway.ask(KEY, Method::GET, path, nothing()).await;

        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(message.contains("can't be listed") && message.contains("all keys"), "{message}");
    }
    assert!(gateway.first.sent().is_empty());
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_the_reason() {
    let (gateway, file, id) = begun().await;
    let answer = follow(&gateway, &id, completed()).await;
    let output = id_of(&answer, "output_file_id");
    let sent = gateway.first.sent().len();
    let two = two_lines("m");
    let begin = |more: Value| {
        let mut body = value!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json(&body.to_string())
    };

    for (path, asked, status, said) in [
        (
            "/v1/files",
            form(&[("purpose", "user_data")], &[("file", two.as_bytes())]),
            400,
            "purpose: only `batch`",
        ),
        ("/v1/files", form(&[], &[("file", two.as_bytes())]), 400, "purpose: missing"),
        ("/v1/files", form(&[("purpose", "batch")], &[]), 400, "file: expected one file"),
        ("/v1/files", form(&[("purpose", "batch")], &[("file", b"{}"), ("file", b"{}")]), 400, "one file"),
        ("/v1/files", json("{}"), 415, "multipart/form-data"),
        ("/v1/files", upload("{"), 400, "line 1: it is not valid JSON"),
        ("/v1/files", upload(&format!("{two}{}", line("a", "m"))), 400, "line 3: custom_id"),
        ("/v1/files", upload(&format!("{two}{}", line("c", "dear"))), 400, "line 3: model"),
        (
            "/v1/batches",
            begin(value!({"endpoint": "/v1/embeddings"})),
            400,
            "endpoint: the requests in the file",
        ),
        ("/v1/batches", begin(value!({"endpoint": 7})), 400, "endpoint: expected a string"),
        ("/v1/batches", begin(value!({"input_file_id": output})), 400, "input_file_id: this file"),
        ("/v1/batches", json(&value!({"endpoint": CHAT}).to_string()), 400, "input_file_id: missing"),
    ] {
        let answer = gateway.ask(KEY, Method::POST, path, asked).await;

        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status.as_u16(), status, "{path}: {message}");
        assert!(message.contains(said), "{path}: {message}");
    }
    assert_eq!(gateway.first.sent().len(), sent);
}

#[tokio::test]
async fn a_file_goes_to_the_first_target_and_to_no_other() {
    for said in [
        Answered::refusal(429, r#"{"error":{"message":"slow"}}"#),
        Answered::refusal(503, r#"{"error":{"message":"down"}}"#),
    ] {
        let gateway = Gateway::new(price(PRICE));
        gateway.first.will(said);
        gateway.second.will(Answered::json(FILE_OF_PROVIDER));

        let answer = gateway.ask(KEY, Method::POST, "/v1/files", upload(&two_lines("m"))).await;

        assert!(!answer.status.is_success());
        assert_eq!((gateway.first.sent().len(), gateway.second.sent().len()), (1, 0));
    }
}
