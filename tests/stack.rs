//! The whole stack in process, as the proxy composes it, over scripted providers.

mod support;

use std::time::Duration;

use bartizan::{Kind, body::End, price::NanoUsd, record::Record};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{
    ANTHROPIC, Act, Answer, Client, DIALECTS, GEMINI, Gateway, OPENAI, Provider, Settings, Step,
    answers::{self, data},
};

/// What the counts of the usual answers cost, to the nano-dollar.
const OPENAI_COST: NanoUsd = NanoUsd(3_500_000);
const CLAUDE_COST: NanoUsd = NanoUsd(3_450_000);

const PROVIDERS: [&str; 2] = ["gpt", "claude"];

fn provider<'a>(gateway: &'a Gateway, model: &str) -> &'a Provider {
    if model.starts_with("gpt") { &gateway.openai } else { &gateway.claude }
}

fn cost_of(model: &str) -> NanoUsd {
    if model.starts_with("gpt") { OPENAI_COST } else { CLAUDE_COST }
}

/// Nothing is held, what was spent is what was recorded, no provider is still talking, and the only
/// place for a request is free.
async fn assert_settled(gateway: &Gateway, context: &str) {
    let recorded = gateway.records.all().iter().map(|record| record.cost).sum();
    assert_eq!(gateway.balances(), [(NanoUsd(0), recorded); 3], "{context}");
    assert_eq!((gateway.openai.open(), gateway.claude.open()), (0, 0), "{context}");
    for record in gateway.records.all() {
        for attempt in &record.attempts {
            assert_ne!(attempt.outcome, "running", "{context}");
            assert!(attempt.ended.is_some(), "{context}");
        }
    }
    for model in PROVIDERS {
        let again = gateway.client().send(Client::chat(OPENAI, model, false)).await;
        assert_eq!(again.status, 200, "{context}: {again:?}");
    }
}

#[tokio::test]
async fn counts_and_cost_are_recorded_to_the_nano_dollar() {
    for model in PROVIDERS {
        for dialect in DIALECTS {
            for stream in [false, true] {
                let context = format!("{dialect} to {model}, stream {stream}");
                let gateway = Gateway::default();

                let answer = gateway.client().send(Client::chat(dialect, model, stream)).await;

                assert_eq!(answer.status, 200, "{context}");
                assert_eq!(answer.text(dialect), "Hello there", "{context}");
                assert!(!stream || answer.finished(dialect), "{context}");
                let record = gateway.records.last();
                let tokens = record.tokens;
                assert_eq!((tokens.input, tokens.cached, tokens.output), (1000, 400, 200), "{context}");
                let special = (tokens.cache_write, tokens.reasoning);
                assert_eq!(special, if model == "gpt" { (0, 50) } else { (100, 0) }, "{context}");
                assert_eq!(record.cost, cost_of(model), "{context}");
                assert_eq!((record.estimated, record.unpriced, record.stream), (false, false, stream));
                assert_eq!((record.end, record.status), (End::Complete, Some(200)), "{context}");
                assert_eq!(record.bytes, answer.body.len() as u64, "{context}");
                assert_eq!((record.dialect, record.model.as_deref()), (Some(dialect), Some(model)));
                assert_eq!((record.key.as_deref(), record.team.as_deref()), (Some("app"), Some("apps")));
                assert_eq!(record.attempts.len(), 1, "{context}");
                assert_eq!(record.attempts[0].outcome, "answered", "{context}");
                assert_settled(&gateway, &context).await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_says_how_it_came_about() {
    let gateway = Gateway::default();
    gateway.openai.will([Act::refuse(503, "")]);

    let answer = gateway.client().send(Client::chat(OPENAI, "gpt-claude", false)).await;

    assert_eq!(answer.headers["x-bartizan-provider"], "anthropic");
    assert_eq!(answer.headers["x-bartizan-model"], "claude-a");
    assert_eq!(answer.headers["x-bartizan-attempts"], "2");
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert_eq!(answer.headers["x-request-id"], gateway.records.last().id.as_str());
    assert_eq!(answer.headers["request-id"], answer.headers["x-request-id"]);
}

/// C131
#[tokio::test]
async fn bytes_pass_unchanged_where_both_sides_speak_the_same() {
    let cases = [
        (
            OPENAI,
            r#"{"x_new" : {"z":1.50,"a":1e2,"n":-0.0}, "model":"gpt" ,"messages":[{"content":"Héllo \u00e9","role":"user"}],"seed":12345678901234567890}"#,
            "gpt",
            "gpt-a",
            answers::OPENAI_WHOLE,
        ),
        (
            ANTHROPIC,
            r#"{"x_new" : {"z":1.50,"a":1e2,"n":-0.0}, "max_tokens":7,"model":"claude" ,"messages":[{"content":"Héllo \u00e9","role":"user"}]}"#,
            "claude",
            "claude-a",
            answers::CLAUDE_WHOLE,
        ),
    ];
    for (dialect, body, alias, name, said) in cases {
        let gateway = Gateway::default();

        let answer = gateway.client().send(Client::post(dialect, body)).await;

        let sent = provider(&gateway, alias).sent().pop().unwrap().body;
        let expected = body.replace(&format!("\"model\":\"{alias}\""), &format!("\"model\":\"{name}\""));
        assert_eq!(sent, expected);
        assert_eq!(answer.body, said);
    }
}

#[tokio::test]
async fn streams_pass_unchanged_where_both_sides_speak_the_same() {
    for (dialect, model, said) in
        [(OPENAI, "gpt", answers::openai_stream()), (ANTHROPIC, "claude", answers::claude_stream())]
    {
        for cut in [1, 7, 64, 1000] {
            let gateway = Gateway::default();
            let pieces: Vec<_> =
                said.as_bytes().chunks(cut).map(|piece| Step::Data(piece.to_vec().into())).collect();
            provider(&gateway, model).will([Act::Stream(pieces)]);
            let mut body: Value = serde_json::from_slice(
                &Client::chat(dialect, model, true).into_body().collect().await.unwrap().to_bytes(),
            )
            .unwrap();
            if dialect == OPENAI {
                body["stream_options"] = json!({ "include_usage": true });
            }

            let answer = gateway.client().send(Client::post(dialect, body.to_string())).await;

            assert_eq!(answer.body, said, "{dialect}, cut by {cut}");
            assert_eq!(gateway.records.last().cost, cost_of(model));
        }
    }
}

#[tokio::test]
async fn counts_that_only_the_gateway_asked_for_are_taken_out_again() {
    for options in ["", r#","stream_options":null"#, r#","stream_options":{"include_usage":false,"x":1}"#] {
        let gateway = Gateway::default();
        let body = format!(
            r#"{{"model":"gpt","stream":true,"messages":[{{"role":"user","content":"Hi"}}]{options}}}"#
        );

        let answer = gateway.client().send(Client::post(OPENAI, body)).await;

        let sent: Value = serde_json::from_slice(&gateway.openai.sent()[0].body).unwrap();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
        let without: String = answers::openai_stream().replace(answers::OPENAI_USAGE, "");
        assert_eq!(answer.body, without, "{options}");
        assert_eq!(gateway.records.last().cost, OPENAI_COST, "{options}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Status(u16),
    Reset,
    ErrorFirst,
    ErrorInAnswer,
    Empty,
    NotJson,
    Cut,
    Broken,
    Hang,
    SilentHead,
}

/// What can go wrong before there is content.
const FAULTS: [Fault; 15] = [
    Fault::Status(401),
    Fault::Status(404),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(529),
    Fault::Reset,
    Fault::ErrorFirst,
    Fault::ErrorInAnswer,
    Fault::Empty,
    Fault::NotJson,
    Fault::Cut,
    Fault::Broken,
    Fault::Hang,
    Fault::SilentHead,
];

impl Fault {
    fn act(self, model: &str, stream: bool) -> Act {
        let is_gpt = model.starts_with("gpt");
        let steps = |steps| if stream { Act::Stream(steps) } else { Act::Whole(steps) };
        let error = if is_gpt {
            r#"{"error": {"message": "it is down", "type": "server_error"}}"#
        } else {
            r#"{"type": "error", "error": {"type": "api_error", "message": "it is down"}}"#
        };
        match self {
            Self::Status(status) => Act::refuse(status, error),
            Self::Reset => Act::Reset,
            Self::ErrorFirst if !stream => Act::whole(error),
            Self::ErrorFirst if is_gpt => Act::stream([answers::OPENAI_ROLE, answers::OPENAI_ERROR].concat()),
            Self::ErrorFirst => Act::stream([answers::CLAUDE_START, answers::CLAUDE_ERROR].concat()),
            // Also for a stream: some providers answer with a plain body then.
            Self::ErrorInAnswer => Act::whole(error),
            Self::Empty => steps(Vec::new()),
            Self::NotJson => steps(data(["<html>welcome</html>"])),
            Self::Cut if !stream => steps(data([&answers::OPENAI_WHOLE[..100]])),
            Self::Cut if is_gpt => steps(data([answers::OPENAI_ROLE, &answers::OPENAI_HELLO[..40]])),
            Self::Cut => steps(data([answers::CLAUDE_START, &answers::CLAUDE_HELLO[..40]])),
            Self::Broken => steps(vec![Step::Break]),
            Self::Hang => Act::Hang,
            Self::SilentHead => steps(vec![Step::Silence]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_content_is_hidden_by_the_next_target() {
    for (model, other) in [("gpt-claude", "claude"), ("claude-gpt", "gpt")] {
        for dialect in DIALECTS {
            for stream in [false, true] {
                for fault in FAULTS {
                    let context = format!("{dialect} to {model}, stream {stream}: {fault:?}");
                    let gateway = Gateway::default();
                    provider(&gateway, model).will([fault.act(model, stream)]);

                    let answer = gateway.client().send(Client::chat(dialect, model, stream)).await;

                    assert_eq!(answer.status, 200, "{context}: {answer:?}");
                    assert_eq!(answer.text(dialect), "Hello there", "{context}");
                    assert!(!stream || answer.finished(dialect), "{context}");
                    assert!(!answer.broke, "{context}");
                    let record = gateway.records.last();
                    assert_eq!((record.end, record.error), (End::Complete, None), "{context}");
                    assert_eq!(record.attempts.len(), 2, "{context}");
                    assert!(!matches!(&*record.attempts[0].outcome, "answered" | "aborted"), "{context}");
                    assert_eq!(record.attempts[1].outcome, "answered", "{context}");
                    assert_eq!(record.attempts[1].cost, Some(cost_of(other)), "{context}");
                    assert_settled(&gateway, &context).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_content_is_an_error_in_the_dialect_of_the_client() {
    for model in PROVIDERS {
        for dialect in DIALECTS {
            for stream in [false, true] {
                for fault in FAULTS {
                    let context = format!("{dialect} to {model}, stream {stream}: {fault:?}");
                    let gateway = Gateway::default();
                    provider(&gateway, model).will([fault.act(model, stream)]);

                    let answer = gateway.client().send(Client::chat(dialect, model, stream)).await;

                    assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{context}");
                    // The client's own key is good.
                    assert_ne!(answer.status, 401, "{context}");
                    assert_eq!(answer.headers["content-type"], "application/json", "{context}");
                    assert!(answer.error_type(dialect).is_some(), "{context}: {answer:?}");
                    let record = gateway.records.last();
                    assert_eq!(record.end, End::Failed, "{context}");
                    assert_eq!(record.status, Some(answer.status.as_u16()), "{context}");
                    assert_eq!(
                        record.error.map(Kind::as_str),
                        Some(&*record.attempts[0].outcome),
                        "{context}"
                    );
                    assert_settled(&gateway, &context).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_provider_that_refuses_is_not_paid() {
    for model in PROVIDERS {
        for stream in [false, true] {
            for fault in
                [Fault::Status(503), Fault::ErrorFirst, Fault::ErrorInAnswer, Fault::Empty, Fault::NotJson]
            {
                // The counts of its first event are Anthropic's word for what it will charge.
                if (model, stream, fault) == ("claude", true, Fault::ErrorFirst) {
                    continue;
                }
                let gateway = Gateway::default();
                provider(&gateway, model).will([fault.act(model, stream)]);

                gateway.client().send(Client::chat(OPENAI, model, stream)).await;

                assert_eq!(gateway.records.last().cost, NanoUsd(0), "{model}, stream {stream}: {fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_on_the_way_is_charged_by_what_was_sent() {
    for model in PROVIDERS {
        for stream in [false, true] {
            for fault in [Fault::Reset, Fault::Hang, Fault::SilentHead] {
                let context = format!("{model}, stream {stream}: {fault:?}");
                let gateway = Gateway::default();
                provider(&gateway, model).will([fault.act(model, stream)]);

                gateway.client().send(Client::chat(OPENAI, model, stream)).await;

                let record = gateway.records.last();
                assert!(record.tokens.input > 0 && record.tokens.output == 0, "{context}");
                // Two dollars for a million.
                assert_eq!(record.cost, NanoUsd(record.tokens.input * 2_000), "{context}");
                assert!(record.estimated, "{context}");
                assert_settled(&gateway, &context).await;
            }
        }
    }
}

/// What can go wrong after content, and what kind of failure it is.
fn breaks(model: &str) -> Vec<(&'static str, Vec<Step>, Kind)> {
    let is_gpt = model.starts_with("gpt");
    let begun = if is_gpt { answers::openai_begun() } else { answers::claude_begun() };
    let (error, kind, more) = if is_gpt {
        (answers::OPENAI_ERROR, Kind::Upstream, answers::OPENAI_THERE)
    } else {
        (answers::CLAUDE_ERROR, Kind::Overloaded, answers::CLAUDE_THERE)
    };
    let with = |steps: Vec<Step>| [data([&*begun]), steps].concat();
    vec![
        ("ends", with(vec![]), Kind::Upstream),
        ("ends inside of an event", with(data([&more[..30]])), Kind::Upstream),
        ("breaks", with(vec![Step::Break]), Kind::Unreachable),
        ("says an error", with(data([error])), kind),
        ("says an error and goes on", with(data([error, more])), kind),
        ("says an error with its content", data([&*(begun.clone() + error)]), kind),
        ("falls silent", with(vec![Step::Silence]), Kind::Timeout),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_with_an_error_in_the_dialect_of_the_client() {
    for model in ["gpt", "claude", "gpt-claude", "claude-gpt", "drained-gpt", "drained-claude"] {
        for dialect in DIALECTS {
            let owner = model.strip_prefix("drained-").unwrap_or(model);
            for (name, steps, kind) in breaks(owner) {
                let context = format!("{dialect} to {model}: {name}");
                let gateway = Gateway::default();
                provider(&gateway, owner).will([Act::Stream(steps)]);

                let answer = gateway.client().send(Client::chat(dialect, model, true)).await;

                assert_eq!(answer.status, 200, "{context}");
                assert_eq!(answer.text(dialect), "Hello", "{context}: {answer:?}");
                assert!(!answer.finished(dialect), "{context}");
                assert!(answer.error_type(dialect).is_some(), "{context}: {answer:?}");
                let record = gateway.records.last();
                assert_eq!((record.end, record.error), (End::Failed, Some(kind)), "{context}");
                assert_eq!(record.attempts.len(), 1, "{context}");
                assert_eq!(record.attempts[0].outcome, kind.as_str(), "{context}");
                assert!(record.estimated && record.tokens.output > 0, "{context}: {record:?}");
                assert_settled(&gateway, &context).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_pays_an_estimate_and_gives_everything_back() {
    for model in PROVIDERS {
        for dialect in DIALECTS {
            for stream in [false, true] {
                let context = format!("{dialect} to {model}, stream {stream}");
                let gateway = Gateway::default();
                provider(&gateway, model).will([Act::Hang]);
                let client = gateway.client();

                let left = client.begin(Client::chat(dialect, model, stream));
                let late = tokio::time::timeout(Duration::from_secs(1), left).await;

                assert!(late.is_err(), "{context}");
                let record = gateway.records.last();
                assert_eq!((record.end, record.status), (End::Aborted, None), "{context}");
                assert_eq!(record.attempts[0].outcome, "aborted", "{context}");
                assert!(record.estimated && record.cost > NanoUsd(0), "{context}");
                assert_settled(&gateway, &context).await;
            }
        }
    }
}

/// C110
#[tokio::test]
async fn a_client_that_leaves_a_stream_pays_for_what_has_passed() {
    for model in PROVIDERS {
        for dialect in DIALECTS {
            let context = format!("{dialect} to {model}");
            let gateway = Gateway::default();
            let begun = if model == "gpt" { answers::openai_begun() } else { answers::claude_begun() };
            let steps = [data([&*begun]), vec![Step::Silence]].concat();
            provider(&gateway, model).will([Act::Stream(steps)]);

            let mut body = gateway.client().begin(Client::chat(dialect, model, true)).await.into_body();
            body.frame().await.unwrap().unwrap();
            assert_eq!(provider(&gateway, model).open(), 1);
            assert!(gateway.balances().iter().all(|(held, _)| *held > NanoUsd(0)), "{context}");
            drop(body);

            let record = gateway.records.last();
            assert_eq!((record.end, record.status), (End::Aborted, Some(200)), "{context}");
            assert_eq!(record.attempts[0].outcome, "aborted", "{context}");
            // "Hello" has five bytes; Anthropic says at once what the input was.
            assert_eq!((record.estimated, record.tokens.output), (true, 2), "{context}");
            let input = record.tokens.input;
            assert!(if model == "claude" { input == 1000 } else { (1..100).contains(&input) }, "{context}");
            assert_settled(&gateway, &context).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_drained_is_charged_to_the_nano_dollar() {
    for model in ["drained-gpt", "drained-claude"] {
        let owner = &model["drained-".len()..];
        let whole = if owner == "gpt" { answers::openai_stream() } else { answers::claude_stream() };
        let (begun, rest) = whole.split_at(whole.find(" there").unwrap());
        for dialect in DIALECTS {
            for before_head in [false, true] {
                let context = format!("{dialect} to {model}, before the head {before_head}");
                let gateway = Gateway::default();
                let pause = vec![Step::Pause(Duration::from_secs(5))];
                let (first, then) = if before_head { ("", &*whole) } else { (begun, rest) };
                provider(&gateway, owner).will([Act::Stream([data([first]), pause, data([then])].concat())]);
                let client = gateway.client();

                let begun = client.begin(Client::chat(dialect, model, true));
                match tokio::time::timeout(Duration::from_secs(1), begun).await {
                    Ok(res) => {
                        let mut body = res.into_body();
                        body.frame().await.unwrap().unwrap();
                        drop(body);
                    }
                    Err(_) => assert!(before_head, "{context}"),
                }
                assert!(gateway.records.all().is_empty(), "{context}");
                gateway.drain.finished().await;

                let record = gateway.records.last();
                assert_eq!((record.end, record.error), (End::Complete, None), "{context}");
                assert_eq!((record.cost, record.estimated), (cost_of(owner), false), "{context}");
                assert_settled(&gateway, &context).await;
            }
        }
    }
}

#[tokio::test]
async fn what_was_refused_before_a_provider_was_asked_costs_nothing() {
    let gateway = Gateway::default();
    let refusals: [(&str, &str, u16); 5] = [
        ("vk-unknown", "gpt", 401),
        ("vk-disabled", "gpt", 401),
        ("vk-narrow", "gpt", 403),
        ("vk-poor", "gpt", 429),
        (support::KEY, "no-such-model", 404),
    ];

    for (key, model, status) in refusals {
        let mut req = Client::chat(OPENAI, model, false);
        req.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        let answer = gateway.client().send(req).await;

        assert_eq!(answer.status, status, "{key} {answer:?}");
        let Record { error, cost, end, attempts, .. } = gateway.records.last();
        assert!(error.is_some() && attempts.is_empty(), "{key}");
        assert_eq!((cost, end), (NanoUsd(0), End::Failed), "{key}");
    }
    assert!(gateway.openai.sent().is_empty());
    assert_settled(&gateway, "refusals").await;
}

#[tokio::test]
async fn a_target_without_a_place_is_passed_over_and_noted_on_no_other() {
    let gateway = Gateway::new(Settings { in_flight: 2, ..Settings::default() });
    let client = gateway.client();
    gateway.openai.will([Act::refuse(500, "")]);
    let talking = client.begin(Client::chat(ANTHROPIC, "claude", true)).await;

    let failed = client.send(Client::chat(OPENAI, "gpt-claude", false)).await;
    let answered = client.send(Client::chat(OPENAI, "claude-gpt", false)).await;
    drop(talking);

    assert_eq!((failed.status.as_u16(), answered.status.as_u16()), (503, 200));
    let [failed, answered, _] = &gateway.records.all()[..] else { panic!() };
    assert_eq!((failed.error, failed.attempts.len()), (Some(Kind::Overloaded), 1));
    assert_eq!(failed.attempts[0].outcome, "upstream");
    assert_eq!(&*answered.attempts[0].target, "openai/gpt-a");
    assert_settled(&gateway, "passed over").await;
}

#[tokio::test]
async fn what_is_lost_in_translation_is_said_or_refused() {
    let body = r#"{"model":"claude","logit_bias":{"1":2},"messages":[{"role":"user","content":"Hi"}]}"#;
    let gateway = Gateway::default();
    let strict = Gateway::new(Settings { strict: true, ..Settings::default() });
    let mut asked = Client::post(OPENAI, body);
    asked.headers_mut().insert("x-bartizan-strict", "true".parse().unwrap());

    let answer = gateway.client().send(Client::post(OPENAI, body)).await;
    let refusals =
        [strict.client().send(Client::post(OPENAI, body)).await, gateway.client().send(asked).await];

    assert_eq!(answer.headers["x-bartizan-lost"], "logit_bias");
    assert_eq!(gateway.records.all()[0].lost, ["logit_bias"].map(Box::<str>::from));
    for refused in refusals {
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("logit_bias")));
    }
    assert!(strict.claude.sent().is_empty());
    assert_settled(&strict, "strict").await;
}

#[tokio::test]
async fn what_the_first_target_lost_is_not_said_of_the_second() {
    let gateway = Gateway::default();
    gateway.claude.will([Act::refuse(503, "")]);
    let body = r#"{"model":"claude-gpt","logit_bias":{"1":2},"messages":[{"role":"user","content":"Hi"}]}"#;

    let answer = gateway.client().send(Client::post(OPENAI, body)).await;

    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("x-bartizan-lost"));
    assert!(gateway.records.last().lost.is_empty());
}

#[tokio::test]
async fn the_words_of_a_provider_reach_clients_of_its_dialect_unchanged() {
    let said =
        r#"{"error": {"message": "bad seed", "type": "invalid_request_error", "param": "seed", "x": 1}}"#;
    for dialect in DIALECTS {
        let gateway = Gateway::default();
        let limit = vec![("x-ratelimit-limit-requests", "60".to_owned()), ("set-cookie", "a=b".to_owned())];
        gateway.openai.will([Act::Refuse(400, limit, said.into())]);

        let answer: Answer = gateway.client().send(Client::chat(dialect, "gpt-claude", false)).await;

        assert_eq!(answer.status, 400);
        assert_eq!(answer.body == said, dialect == OPENAI, "{answer:?}");
        let kind = if dialect == GEMINI { "INVALID_ARGUMENT" } else { "invalid_request_error" };
        assert_eq!(answer.error_type(dialect).as_deref(), Some(kind));
        let limit = match dialect {
            OPENAI => Some("x-ratelimit-limit-requests"),
            ANTHROPIC => Some("anthropic-ratelimit-requests-limit"),
            _ => None,
        };
        assert!(limit.is_none_or(|limit| answer.headers[limit] == "60"), "{answer:?}");
        assert!(!answer.headers.contains_key("set-cookie"));
        assert!(gateway.claude.sent().is_empty(), "what the client did wrong is wrong everywhere");
        assert_settled(&gateway, dialect).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_provider_is_waited_for_if_it_is_short() {
    for (after, calls) in [("1", 2), ("60", 1)] {
        let gateway = Gateway::new(Settings { attempts: 2, ..Settings::default() });
        let limited = Act::Refuse(429, vec![("retry-after", after.to_owned())], "".into());
        gateway.openai.will([limited]);
        let begun = tokio::time::Instant::now();

        let answer = gateway.client().send(Client::chat(OPENAI, "gpt", false)).await;

        assert_eq!(gateway.openai.sent().len(), calls, "{after}");
        if calls == 2 {
            assert_eq!(answer.status, 200);
            assert_eq!(begun.elapsed().as_secs(), 1);
        } else {
            assert_eq!(
                (answer.status.as_u16(), &answer.headers["retry-after"]),
                (429, &"60".parse().unwrap())
            );
        }
    }
}
