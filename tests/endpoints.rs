//! The endpoints that are passed through, over the layers as the proxy stacks them.

mod passing;

use std::time::Duration;

use bartizan::{Kind, price::NanoUsd};
use bytes::Bytes;
use http::{Method, StatusCode};
use passing::{Answered, Asked, Gateway, KEY, form, json, price};
use serde_json::Value;

/// An endpoint, a request to it, an answer, and what that costs.
struct Case {
    path: &'static str,
    request: Asked,
    answer: Answered,
    price: &'static str,
    /// In dollars.
    cost: &'static str,
    estimated: bool,
}

fn case(
    path: &'static str,
    request: Asked,
    answer: Answered,
    price: &'static str,
    cost: &'static str,
    estimated: bool,
) -> Case {
    Case { path, request, answer, price, cost, estimated }
}

const IMAGE_USAGE: &str = r#""usage":{"total_tokens":1066,"input_tokens":10,"output_tokens":1056,"input_tokens_details":{"text_tokens":10,"image_tokens":0}}"#;

/// A form with a recording of 16 kB, which is a second for each of its kB, and other fields.
fn recording(fields: &[(&str, &str)]) -> Asked {
    form(fields, &[("file", &[0; 16_000])])
}

fn cases() -> Vec<Case> {
    let image = format!(r#"{{"created":1,"data":[{{"b64_json":"aGk="}}],{IMAGE_USAGE}}}"#);
    let drawn = format!(
        "event: image_generation.partial_image\ndata: {{\"type\":\"image_generation.partial_image\",\"b64_json\":\"aGk=\"}}\n\nevent: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"aGk=\",{IMAGE_USAGE}}}\n\n"
    );
    let by_token = "in=5,out=10,media_in=10,media_out=40";
    let written = "event: x\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Hi\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":20,\"input_token_details\":{\"text_tokens\":5,\"audio_tokens\":15},\"output_tokens\":4,\"total_tokens\":24}}\n\n";
    let spoken = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"aGk=\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":8,\"total_tokens\":11}}\n\n";
    vec![
        case(
            "/v1/moderations",
            json(r#"{"model":"m","input":"Hi"}"#),
            Answered::json(r#"{"id":"x","model":"m","results":[{"flagged":false,"categories":{}}]}"#),
            "",
            "0",
            true,
        ),
        case(
            "/v1/rerank",
            json(r#"{"model":"m","query":"q","documents":["a","b"]}"#),
            Answered::json(
                r#"{"results":[{"index":0,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#,
            ),
            "search=2000",
            "0.002",
            false,
        ),
        case(
            "/rerank",
            json(r#"{"model":"m","query":"q","documents":["a","b"]}"#),
            Answered::json(r#"{"results":[],"usage":{"total_tokens":4}}"#),
            "in=1",
            "0.000004",
            false,
        ),
        case(
            "/v1/images/generations",
            json(r#"{"model":"m","prompt":"a cat","n":1,"size":"1024x1024","quality":"medium"}"#),
            Answered::json(&image),
            by_token,
            "0.04229",
            false,
        ),
        case(
            "/v1/images/generations",
            json(r#"{"model":"m","prompt":"a cat","n":3}"#),
            Answered::json(r#"{"created":1,"data":[{},{},{}]}"#),
            "image=40000",
            "0.12",
            true,
        ),
        case(
            "/v1/images/generations",
            json(r#"{"model":"m","prompt":"a cat","stream":true,"partial_images":1}"#),
            Answered::events(&drawn),
            by_token,
            "0.04229",
            false,
        ),
        case(
            "/openai/v1/images/edits",
            form(
                &[("model", "m"), ("prompt", "a dog"), ("quality", "low")],
                &[("image[]", b"png"), ("image[]", b"png")],
            ),
            Answered::json(&image),
            by_token,
            "0.04229",
            false,
        ),
        case(
            "/v1/audio/speech",
            json(r#"{"model":"m","input":"Grüß Gott","voice":"alloy"}"#),
            Answered::bytes("audio/mpeg", &[0xff, 0xfb, 0, 1, 2, 0xfe]),
            "character=15",
            "0.000135",
            true,
        ),
        case(
            "/v1/audio/speech",
            json(r#"{"model":"m","input":"Hello","voice":"alloy","stream_format":"sse"}"#),
            Answered::events(spoken),
            "in=1,out=10,media_out=12",
            "0.000099",
            false,
        ),
        case(
            "/v1/audio/transcriptions",
            recording(&[("model", "m")]),
            Answered::json(r#"{"text":"Hi","usage":{"type":"duration","seconds":9}}"#),
            "audio=100",
            "0.0009",
            false,
        ),
        case(
            "/v1/audio/transcriptions",
            recording(&[("response_format", "srt"), ("model", "m")]),
            Answered::bytes("text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:01,000\nHi\n"),
            "audio=100",
            "0.0016001",
            true,
        ),
        case(
            "/v1/audio/transcriptions",
            recording(&[("model", "m"), ("stream", "true")]),
            Answered::events(written),
            "in=2,out=10,media_in=6",
            "0.00014",
            false,
        ),
        case(
            "/v1/audio/translations",
            recording(&[("model", "m"), ("response_format", "text")]),
            Answered::bytes("text/plain", b""),
            "audio=100",
            "0.0016001",
            true,
        ),
    ]
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_answer_passes_unchanged_and_is_charged_and_recorded_exactly() {
    for case in cases() {
        let gateway = Gateway::new(price(case.price));
        gateway.first.will(case.answer.clone());

        let answer = gateway.ask(KEY, Method::POST, case.path, case.request.clone()).await;

        let (path, context) = (case.path, String::from_utf8_lossy(&answer.body).into_owned());
        assert_eq!(answer.status, StatusCode::OK, "{path}: {context}");
        assert_eq!((&answer.body, answer.content_type()), (&case.answer.body, case.answer.content_type));
        let record = gateway.records.last();
        assert_eq!((record.cost, record.estimated), (usd(case.cost), case.estimated), "{path}");
        assert!(!record.unpriced && record.attempts.len() == 1, "{path}");
        assert_eq!(record.attempts[0].outcome, "answered", "{path}");
        assert_eq!((record.key.as_deref(), record.model.as_deref()), (Some("app"), Some("m")), "{path}");
        assert_eq!(gateway.balance("key:app"), (NanoUsd(0), record.cost), "{path}");
    }
}

#[tokio::test]
async fn no_request_costs_more_than_was_held_for_it() {
    for case in cases() {
        let gateway = Gateway::new(price(case.price));
        gateway.first.will(case.answer.clone());

        let held = gateway.held_for(Method::POST, case.path, case.request.clone()).await;

        assert!(held >= usd(case.cost), "{}: {held} is less than {}", case.path, case.cost);
    }
}

#[tokio::test]
async fn a_request_goes_to_its_target_as_the_client_wrote_it_but_for_the_model() {
    for case in cases() {
        let gateway = Gateway::new(price(case.price));
        gateway.first.will(case.answer.clone());

        gateway.ask(KEY, Method::POST, case.path, case.request.clone()).await;

        let sent = gateway.first.sent().pop().unwrap();
        let path = case.path.trim_start_matches("/openai").trim_start_matches("/v1");
        assert_eq!((sent.method, &*sent.path), (Method::POST, path));
        assert_eq!(sent.content_type, case.request.content_type);
        let renamed = replaced(&case.request.body);
        assert_eq!(sent.body, renamed, "{}", case.path);
        assert!(!String::from_utf8_lossy(&sent.authorization).contains(KEY));
    }
}

/// The body with `model-a` as its model.
fn replaced(body: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let as_json = text.replace(r#""model":"m""#, r#""model":"model-a""#);
    as_json.replace("name=\"model\"\r\n\r\nm\r\n", "name=\"model\"\r\n\r\nmodel-a\r\n").into()
}

#[tokio::test]
async fn what_a_key_may_not_do_does_not_reach_a_provider() {
    let refusals = [
        ("vk-nobody", StatusCode::UNAUTHORIZED, Kind::Unauthenticated),
        ("vk-narrow", StatusCode::FORBIDDEN, Kind::Forbidden),
        ("vk-poor", StatusCode::TOO_MANY_REQUESTS, Kind::BudgetExhausted),
    ];
    for case in cases() {
        for (key, status, kind) in refusals {
            let is_free = case.cost == "0";
            if is_free && kind == Kind::BudgetExhausted {
                continue;
            }
            let gateway = Gateway::new(price(case.price));

            let answer = gateway.ask(key, Method::POST, case.path, case.request.clone()).await;

            let record = gateway.records.last();
            assert_eq!((answer.status, record.error), (status, Some(kind)), "{key} {}", case.path);
            assert!(answer.json()["error"]["message"].is_string());
            assert!(gateway.first.sent().is_empty());
        }
        let gateway = Gateway::new(price(case.price));
        gateway.first.will(case.answer.clone());
        gateway.ask("vk-slow", Method::POST, case.path, case.request.clone()).await;

        let again = gateway.ask("vk-slow", Method::POST, case.path, case.request.clone()).await;

        assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS, "{}", case.path);
        assert_eq!(gateway.first.sent().len(), 1);
    }
}

#[tokio::test]
async fn what_has_no_price_is_refused_where_there_is_a_budget() {
    for case in cases() {
        if case.cost == "0" {
            continue;
        }
        // A model that is paid for, though not for this.
        let gateway = Gateway::new(price("video=1"));

        let answer = gateway.ask(KEY, Method::POST, case.path, case.request.clone()).await;

        assert_eq!(gateway.records.last().error, Some(Kind::Forbidden), "{}", case.path);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("price") && gateway.first.sent().is_empty(), "{message}");
    }
}

#[tokio::test]
async fn another_target_answers_where_the_first_one_fails() {
    for case in cases() {
        for failure in [
            Answered::refusal(503, r#"{"error":{"message":"down"}}"#),
            Answered::refusal(429, r#"{"error":{"message":"slow"}}"#),
            Answered::json(r#"{"error":{"message":"it is down","type":"server_error"}}"#),
        ] {
            let gateway = Gateway::new(price(case.price));
            gateway.first.will(failure);
            gateway.second.will(case.answer.clone());

            let answer = gateway.ask(KEY, Method::POST, case.path, case.request.clone()).await;

            assert_eq!((answer.status, &answer.body), (StatusCode::OK, &case.answer.body), "{}", case.path);
            assert_eq!(answer.headers["x-bartizan-provider"], "second");
            assert_eq!(gateway.records.last().cost, usd(case.cost), "{}", case.path);
        }
    }
}

#[tokio::test]
async fn what_breaks_off_is_told_and_charged() {
    let gateway = Gateway::new(price("character=15"));
    gateway.first.will(Answered::bytes("audio/mpeg", &[1, 2, 3]).that_breaks());
    let request = json(r#"{"model":"m","input":"Hello","voice":"alloy"}"#);

    let answer = gateway.ask(KEY, Method::POST, "/v1/audio/speech", request).await;

    assert!(answer.broke && *answer.body == [1, 2, 3]);
    let record = gateway.records.last();
    assert_eq!((record.cost, record.error), (usd("0.000075"), Some(Kind::Unreachable)));
}

#[tokio::test]
async fn sound_is_passed_on_as_it_comes() {
    let gateway = Gateway::new(price("character=15"));
    gateway.first.will(Answered::bytes("audio/mpeg", &[1, 2, 3]).that_hangs());
    let request = json(r#"{"model":"m","input":"Hello","voice":"alloy"}"#);

    let first = tokio::time::timeout(
        Duration::from_secs(5),
        gateway.first_chunk(KEY, Method::POST, "/v1/audio/speech", request),
    );

    assert_eq!(first.await.unwrap(), Bytes::from_static(&[1, 2, 3]));
    let record = gateway.records.last();
    assert_eq!((record.cost, record.estimated), (usd("0.000075"), true));
}

#[tokio::test]
async fn a_model_that_is_not_named_is_the_usual_one() {
    for body in [r#"{"input":"Hi"}"#, r#" { "input":"Hi"}"#] {
        let gateway = Gateway::new(price(""));
        gateway.first.will(Answered::json(r#"{"results":[]}"#));

        gateway.ask(KEY, Method::POST, "/v1/moderations", json(body)).await;

        let sent: Value = serde_json::from_slice(&gateway.first.sent()[0].body).unwrap();
        assert_eq!(sent, serde_json::json!({ "model": "model-a", "input": "Hi" }));
        assert_eq!(gateway.records.last().model.as_deref(), Some("omni-moderation-latest"));
    }
}

#[tokio::test]
async fn a_request_that_is_not_understood_is_refused() {
    let refused = [
        ("/v1/moderations", json(r#"{"model":"m"}"#), 400, "input: missing field"),
        ("/v1/rerank", json(r#"{"query":"q","documents":[]}"#), 400, "model: missing field"),
        (
            "/v1/images/generations",
            json(r#"{"prompt":"x","model":"m","n":"two"}"#),
            400,
            "n: expected a number",
        ),
        ("/v1/images/generations", json(r#"{"prompt":"x","model":"m","model":"dear"}"#), 400, "stands twice"),
        ("/v1/images/generations", form(&[("model", "m"), ("prompt", "x")], &[]), 415, "application/json"),
        ("/v1/audio/transcriptions", json(r#"{"model":"m"}"#), 415, "multipart/form-data"),
        ("/v1/audio/transcriptions", form(&[("model", "m")], &[]), 400, "file: missing field"),
        ("/v1/audio/transcriptions", form(&[], &[("file", b"x")]), 400, "model: missing field"),
        (
            "/v1/audio/transcriptions",
            form(&[("model", "m"), ("model", "dear")], &[("file", b"x")]),
            400,
            "one value",
        ),
        ("/v1/audio/transcriptions", form(&[], &[("file", b"x"), ("model", b"m")]), 400, "not a file"),
    ];
    for (path, request, status, message) in refused {
        let gateway = Gateway::new(price(""));

        let answer = gateway.ask(KEY, Method::POST, path, request).await;

        let said = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status.as_u16(), status, "{path}: {said}");
        assert!(said.contains(message) && gateway.first.sent().is_empty(), "{path}: {said}");
    }
}

const FILM: &str = r#"{"id":"video_of_provider","object":"video","model":"model-a","status":"queued","seconds":"8","size":"720x1280","error":null}"#;
const ASK_FOR_FILM: &str = r#"{"model":"m","prompt":"a cat","seconds":"8","size":"720x1280"}"#;

fn nothing() -> Asked {
    Asked { content_type: "application/json".to_owned(), body: Bytes::new() }
}

/// A gateway at which the app has had a film made, and the film's id.
async fn with_film() -> (Gateway, String) {
    let gateway = Gateway::new(price("video=100000"));
    gateway.first.will(Answered::json(FILM));
    let answer = gateway.ask(KEY, Method::POST, "/v1/videos", json(ASK_FOR_FILM)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    (gateway, id)
}

#[tokio::test]
async fn a_film_is_paid_for_when_it_is_submitted_and_then_never_again() {
    for request in [
        json(ASK_FOR_FILM),
        form(&[("model", "m"), ("prompt", "a cat"), ("seconds", "8")], &[("input_reference", b"png")]),
    ] {
        let gateway = Gateway::new(price("video=100000"));
        gateway.first.will(Answered::json(FILM));

        let answer = gateway.ask(KEY, Method::POST, "/v1/videos", request).await;

        let record = gateway.records.last();
        assert_eq!((record.cost, record.estimated), (usd("0.8"), false));
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let failed = FILM.replace("null", r#"{"code":"moderation","message":"no"}"#);
        for (method, path, content) in [
            (Method::GET, format!("/v1/videos/{id}"), Answered::json(FILM)),
            (Method::GET, format!("/openai/v1/videos/{id}"), Answered::json(&failed)),
            (Method::GET, format!("/openai/videos/{id}"), Answered::json(FILM)),
            (Method::GET, format!("/v1/videos/{id}/content"), Answered::bytes("video/mp4", &[0, 0xff, 1])),
            (
                Method::DELETE,
                format!("/v1/videos/{id}"),
                Answered::json(r#"{"id":"video_of_provider","object":"video.deleted","deleted":true}"#),
            ),
        ] {
            gateway.first.will(content.clone());

            let answer = gateway.ask(KEY, method.clone(), &path, nothing()).await;

            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            match content.content_type {
                "video/mp4" => assert_eq!(answer.body, content.body),
                _ => assert_eq!(answer.json()["id"], id),
            }
            let record = gateway.records.last();
            assert_eq!(
                (record.cost, record.estimated, record.unpriced),
                (NanoUsd(0), false, false),
                "{path}"
            );
            let sent = gateway.first.sent().pop().unwrap();
            assert_eq!(sent.method, method);
            assert!(sent.path.starts_with("/videos/video_of_provider"), "{}", sent.path);
        }
        assert_eq!(gateway.balance("key:app"), (NanoUsd(0), usd("0.8")));
    }
}

#[tokio::test]
async fn a_film_is_asked_for_where_it_was_made() {
    let gateway = Gateway::new(price("video=100000"));
    gateway.first.will(Answered::refusal(429, r#"{"error":{"message":"slow"}}"#));
    gateway.second.will(Answered::json(FILM));
    let made = gateway.ask(KEY, Method::POST, "/v1/videos", json(ASK_FOR_FILM)).await;
    let path = format!("/v1/videos/{}", made.json()["id"].as_str().unwrap());
    gateway.second.will(Answered::json(FILM));

    let answer = gateway.ask(KEY, Method::GET, &path, nothing()).await;

    assert_eq!(
        (answer.status, gateway.first.sent().len(), gateway.second.sent().len()),
        (StatusCode::OK, 1, 2)
    );
}

#[tokio::test]
async fn a_film_of_another_key_does_not_exist() {
    let (gateway, id) = with_film().await;
    let of_provider = "video_of_provider".to_owned();
    for (key, id) in [("vk-other", &id), (KEY, &of_provider), (KEY, &format!("{id}A"))] {
        for (method, what) in
            [(Method::GET, ""), (Method::GET, "/content"), (Method::DELETE, ""), (Method::POST, "/remix")]
        {
            let path = format!("/v1/videos/{id}{what}");

            let answer = gateway.ask(key, method, &path, json(r#"{"prompt":"x"}"#)).await;

            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{key} {path}");
        }
    }
    assert_eq!(gateway.first.sent().len(), 1);
    for (method, path) in
        [(Method::GET, "/v1/videos"), (Method::PUT, "/v1/videos/x"), (Method::GET, "/v1/videos/x/remix")]
    {
        let answer = gateway.ask(KEY, method, path, nothing()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn what_a_provider_has_stored_of_a_conversation_is_nobodys_to_ask_for() {
    let gateway = Gateway::new(price("video=100000"));
    let paths = ["/v1/responses/resp_1", "/v1/chat/completions/chatcmpl-1", "/v1/conversations/conv_1"];
    for path in paths {
        for what in ["", "/input_items", "/messages", "/cancel"] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let asked = json(r#"{"model":"m"}"#);

                let answer = gateway.ask(KEY, method.clone(), &format!("{path}{what}"), asked).await;

                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}{what}");
            }
        }
    }
    for path in ["/v1/responses", "/v1/files", "/v1/batches", "/v1/videos"] {
        let answer = gateway.ask(KEY, Method::GET, path, nothing()).await;

        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
    }
    assert!(gateway.first.sent().is_empty() && gateway.second.sent().is_empty());
}

#[tokio::test]
async fn a_remix_is_paid_for_like_a_film() {
    let (gateway, id) = with_film().await;
    let remix = FILM.replace(r#""error""#, r#""remixed_from_video_id":"video_of_provider","error""#);
    gateway.first.will(Answered::json(&remix.replace("\"video_of", "\"video_two_of").replacen(
        "video_two_of",
        "video_new_of",
        1,
    )));

    let answer =
        gateway.ask(KEY, Method::POST, &format!("/v1/videos/{id}/remix"), json(r#"{"prompt":"x"}"#)).await;

    assert_eq!(gateway.records.last().cost, usd("0.8"));
    assert!(!answer.body.windows(9).any(|part| part == b"_of_provi"), "{answer:?}");
    assert_eq!(gateway.first.sent()[1].path, "/videos/video_of_provider/remix");
    let dearer = json(r#"{"prompt":"x","model":"dear"}"#);
    let dearer = gateway.ask(KEY, Method::POST, &format!("/v1/videos/{id}/remix"), dearer).await;
    assert_eq!((dearer.status, gateway.first.sent().len()), (StatusCode::BAD_REQUEST, 2));
    let poor = gateway.ask("vk-poor", Method::POST, "/v1/videos", json(ASK_FOR_FILM)).await;
    assert_eq!((poor.status, gateway.first.sent().len()), (StatusCode::TOO_MANY_REQUESTS, 2));
}

#[tokio::test(start_paused = true)]
async fn a_film_that_may_have_been_begun_is_not_begun_again() {
    for (failure, again) in [
        (Answered::nothing(), 0),
        (Answered::refusal(500, r#"{"error":{"message":"down"}}"#), 0),
        (Answered::refusal(504, r#"{"error":{"message":"late"}}"#), 0),
        (Answered::refusal(429, r#"{"error":{"message":"slow"}}"#), 1),
    ] {
        let gateway = Gateway::new(price("video=100000"));
        gateway.first.will(failure);
        gateway.second.will(Answered::json(FILM));

        let answer = gateway.ask(KEY, Method::POST, "/v1/videos", json(ASK_FOR_FILM)).await;

        assert_eq!((answer.status.is_success(), gateway.second.sent().len()), (again == 1, again));
    }
}
