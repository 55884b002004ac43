//! Streams that break in the middle, and whose rest comes from somebody else.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bartizan::{
    BoxError, Dialect, Exchange, Payload, Target, Tokens,
    body::sse::{Event, Splitter},
    dialect::{
        ANTHROPIC, Codec, Dialects, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES,
        canonical::{self, Finish},
    },
    dispatch::{Candidate, Dispatch, OnBreak, Retry, Route, Table},
    exchange::{Outcome, Role},
    first_event::FirstEventLayer,
    ingest::IngestLayer,
    meter::MeterLayer,
    payload::Head,
    render_errors::RenderErrorsLayer,
    target::ModelFacts,
    translate::TranslateLayer,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt, service_fn};

const TEXT: &str = "Once upon a time there was a gateway, and it lived happily ever after. ";

const DIALECTS: [&dyn Dialect; 4] = [&OPENAI_CHAT, &ANTHROPIC, &GEMINI, &OPENAI_RESPONSES];

/// How a stream comes to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    /// The provider just stops.
    Cut,
    /// The connection is lost.
    Reset,
    /// There is an error in it.
    Error,
}

/// How whoever goes on does so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// By itself, as its model is known to.
    GoesOn,
    /// As it is told.
    Told,
    /// It begins anew, although it is told not to.
    BeginsAnew,
}

/// The stream of a provider that says `text`, event by event.
fn spoken(dialect: &'static dyn Dialect, text: &str) -> Vec<Bytes> {
    let head = Head { model: "m".into(), stream: true, include_usage: true, ..Head::default() };
    let asked = Payload::new(dialect, head, "{}".into(), Exchange::default());
    let mut encoder = dialect.codec().and_then(Codec::chat).unwrap().encoder(&asked);
    let mut out = BytesMut::new();
    let id = "resp_first".into();
    encoder.event(canonical::Event::Start { id, model: "m".into(), created: Some(7) }, &mut out);
    for word in text.split_inclusive(' ') {
        encoder.event(canonical::Event::Text { choice: 0, text: word.into() }, &mut out);
    }
    encoder.event(canonical::Event::Usage(Tokens { input: 10, output: 20, ..Tokens::default() }), &mut out);
    encoder.event(canonical::Event::Finish { choice: 0, finish: Finish::Stop }, &mut out);
    encoder.event(canonical::Event::End, &mut out);
    // The provider has its own names for items.
    let text = String::from_utf8(out.to_vec()).unwrap().replace("msg_", "item_of_its_own_");
    text.split_inclusive("\n\n").map(|event| Bytes::from(event.to_owned())).collect()
}

/// The event with which a provider says that it has failed.
fn failure(dialect: &'static dyn Dialect) -> Bytes {
    let error = bartizan::Error::new(bartizan::Kind::Overloaded, "overloaded");
    dialect.error_event(&error, Exchange::default().id(), &Default::default())
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A provider of `dialect` that answers with what `says` of the request.
fn candidate(
    name: &str,
    dialect: &'static dyn Dialect,
    facts: ModelFacts,
    asked: &Asked,
    says: impl Fn(&str) -> Vec<Result<Bytes, BoxError>> + Clone + Send + Sync + 'static,
) -> Candidate {
    let target = Arc::new(Target::new("demo", name).facts(facts));
    let asked = asked.clone();
    let answer = service_fn(move |req: Request<Payload>| {
        let body = String::from_utf8(req.body().to_bytes().to_vec()).unwrap();
        let frames: Vec<_> = says(&body).into_iter().map(|chunk| chunk.map(Frame::data)).collect();
        asked.lock().unwrap().push(body);
        let answer = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        std::future::ready(Ok::<_, bartizan::Error>(
            answer.body(StreamBody::new(stream::iter(frames))).unwrap(),
        ))
    });
    let stack = ServiceBuilder::new()
        .layer(TranslateLayer::new(target.clone(), [dialect]))
        .layer(FirstEventLayer::new(Duration::from_secs(1)))
        .layer(MeterLayer::new(target.clone()))
        .service(answer);
    Candidate::new(target, stack)
}

/// A provider whose stream breaks after so many events.
fn breaking(dialect: &'static dyn Dialect, after: usize, how: Break, asked: &Asked) -> Candidate {
    candidate("breaks", dialect, ModelFacts::default(), asked, move |_| {
        let mut frames: Vec<_> = spoken(dialect, TEXT).into_iter().take(after).map(Ok).collect();
        match how {
            Break::Cut => {}
            Break::Reset => frames.push(Err("connection reset".into())),
            Break::Error => frames.push(Ok(failure(dialect))),
        }
        frames
    })
}

/// A provider that says what is missing of the text.
fn going_on(dialect: &'static dyn Dialect, manner: Manner, asked: &Asked) -> Candidate {
    let supported = (manner == Manner::GoesOn).then_some("assistant_prefill");
    candidate("goes on", dialect, ModelFacts::new(supported, []), asked, move |body| {
        let said = said_in(body).unwrap_or_default();
        assert!(TEXT.starts_with(&said), "{said:?} is not the beginning of the text");
        let rest = if manner == Manner::BeginsAnew { TEXT } else { &TEXT[said.len()..] };
        spoken(dialect, rest).into_iter().map(Ok).collect()
    })
}

/// What the model has said already, by the last turn of it in a request.
fn said_in(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).unwrap();
    let turns = ["messages", "contents", "input"].iter().find_map(|name| body[*name].as_array()).cloned();
    let is_models = |turn: &&Value| turn["role"] == "assistant" || turn["role"] == "model";
    let turn = turns?.iter().rev().find(is_models).cloned()?;
    let parts = if turn["parts"].is_null() { &turn["content"] } else { &turn["parts"] };
    Some(match parts.as_str() {
        Some(text) => text.to_owned(),
        None => parts.as_array()?.iter().filter_map(|part| part["text"].as_str()).collect(),
    })
}

/// A client's request in `dialect`.
fn question(dialect: &'static dyn Dialect) -> Request<Full<Bytes>> {
    let (path, body) = match dialect.id() {
        "openai-chat" => (
            "/v1/chat/completions",
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Tell"}]}"#,
        ),
        "anthropic-messages" => (
            "/v1/messages",
            r#"{"model":"m","stream":true,"max_tokens":900,"messages":[{"role":"user","content":"Tell"}]}"#,
        ),
        "gemini" => (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            r#"{"contents":[{"role":"user","parts":[{"text":"Tell"}]}]}"#,
        ),
        _ => ("/v1/responses", r#"{"model":"m","stream":true,"store":false,"input":"Tell"}"#),
    };
    Request::post(path).header("content-type", "application/json").body(Full::from(body)).unwrap()
}

/// What a client has got, and what is known of how it came about.
struct Got {
    body: String,
    exchange: Exchange,
}

async fn ask(candidates: Vec<Candidate>, on_break: OnBreak, question: Request<Full<Bytes>>) -> Got {
    ask_by(Route::new("m", candidates).on_break(on_break).retry(Retry::never()), question).await
}

async fn ask_by(route: Route, mut question: Request<Full<Bytes>>) -> Got {
    let exchange = Exchange::open(&mut question);
    let gateway = ServiceBuilder::new()
        .layer(RenderErrorsLayer::new(Dialects::default()))
        .layer(IngestLayer::new(Dialects::default()))
        .service(Dispatch::new(Table::default().route(route)));
    let answer = gateway.oneshot(question).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Got { body: String::from_utf8(body.to_vec()).unwrap(), exchange }
}

fn events(body: &str) -> Vec<Event> {
    let mut splitter = Splitter::default();
    splitter.push(body.to_owned().into()).unwrap();
    std::iter::from_fn(|| splitter.next_event()).filter(|event| !event.data.is_empty()).collect()
}

fn json(event: &Event) -> Value {
    serde_json::from_slice(&event.data).unwrap_or_default()
}

/// What a stream comes to for a client that reads it with the gateway's own reader.
#[derive(Debug, Default, PartialEq)]
struct Read {
    text: String,
    starts: usize,
    finishes: Vec<Finish<'static>>,
    ends: usize,
    tokens: Tokens,
}

fn read(dialect: &'static dyn Dialect, body: &str, context: &str) -> Read {
    let mut decoder = dialect.codec().and_then(Codec::chat).unwrap().decoder();
    let mut read = Read::default();
    let mut take = |event: canonical::Event<'_>| match event {
        canonical::Event::Start { .. } => read.starts += 1,
        canonical::Event::Text { text, .. } => read.text += &text,
        canonical::Event::Finish { .. } => read.finishes.push(Finish::Stop),
        canonical::Event::Usage(tokens) => read.tokens = tokens,
        canonical::Event::End => read.ends += 1,
        other => assert!(matches!(other, canonical::Event::Ping), "{context}: {other:?}"),
    };
    for event in events(body) {
        decoder.event(&event, &mut take).unwrap_or_else(|error| panic!("{context}: {error}\n{body}"));
    }
    decoder.finish(&mut take).unwrap_or_else(|error| panic!("{context}: {error}\n{body}"));
    read
}

/// What the dialect demands of a stream, told without the gateway's own reader.
fn assert_valid(dialect: &'static dyn Dialect, body: &str, context: &str) {
    let all = events(body);
    let json: Vec<Value> = all.iter().map(json).collect();
    match dialect.id() {
        "openai-chat" => {
            assert_eq!(all.last().unwrap().data, "[DONE]", "{context}: {body}");
            let chunks = json.iter().filter(|chunk| chunk.is_object());
            let ids: Vec<_> = chunks.map(|chunk| &chunk["id"]).collect();
            assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "{context}: {ids:?}");
            let roles = json.iter().filter(|chunk| chunk["choices"][0]["delta"]["role"].is_string()).count();
            let finishes =
                json.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
            assert_eq!((roles, finishes), (1, 1), "{context}: {body}");
        }
        "anthropic-messages" => {
            let mut kinds: Vec<_> = json.iter().map(|event| event["type"].as_str().unwrap()).collect();
            assert!(json.iter().all(|event| event["index"].as_u64().unwrap_or(0) == 0), "{context}: {body}");
            kinds.dedup();
            let expected = [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ];
            assert_eq!(kinds, expected, "{context}");
        }
        "gemini" => {
            let ids: Vec<_> = json.iter().map(|chunk| &chunk["responseId"]).collect();
            assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "{context}: {ids:?}");
            let last = json.last().unwrap();
            assert_eq!(last["candidates"][0]["finishReason"], "STOP", "{context}: {body}");
        }
        _ => {
            let numbers: Vec<_> =
                json.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{context}: {numbers:?}");
            let ids: Vec<_> = json.iter().filter_map(|event| event["item_id"].as_str()).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "{context}: {ids:?}");
            let whole = &json.last().unwrap()["response"];
            assert_eq!(whole["id"], json[0]["response"]["id"], "{context}");
            assert_eq!(whole["output"][0]["content"][0]["text"], TEXT, "{context}");
            assert_eq!(whole["output"][0]["id"], ids[0], "{context}");
        }
    }
}

fn assert_one_stream(client: &'static dyn Dialect, body: &str, context: &str) -> Tokens {
    let read = read(client, body, context);
    assert_eq!(read.text, TEXT, "{context}");
    assert_eq!((read.starts, read.finishes.len(), read.ends), (1, 1, 1), "{context}: {body}");
    assert_valid(client, body, context);
    read.tokens
}

/// The figure: cuts at every position, for every client, every provider that breaks and every one that goes on.
#[tokio::test]
async fn a_stream_that_breaks_anywhere_becomes_one_valid_stream() {
    let mut streams = 0;
    for client in DIALECTS {
        for first in DIALECTS {
            for second in DIALECTS {
                for after in 0..spoken(first, TEXT).len() {
                    for how in [Break::Cut, Break::Reset, Break::Error] {
                        let manner =
                            [Manner::GoesOn, Manner::Told, Manner::BeginsAnew][(after + streams) % 3];
                        let context = format!(
                            "{} {how:?} after {after} events, {manner:?} {}, for {}",
                            first.id(),
                            second.id(),
                            client.id()
                        );
                        let asked = Asked::default();
                        let candidates =
                            vec![breaking(first, after, how, &asked), going_on(second, manner, &asked)];

                        let got = ask(candidates, OnBreak::Resume, question(client)).await;

                        assert_one_stream(client, &got.body, &context);
                        streams += 1;
                    }
                }
            }
        }
    }
    println!("{streams} streams that broke, for 4 kinds of clients: {streams} valid ones");
}

#[tokio::test]
async fn the_counts_are_those_of_both_and_the_record_says_who_went_on() {
    for client in DIALECTS {
        let asked = Asked::default();
        let candidates = vec![
            breaking(&OPENAI_CHAT, 6, Break::Reset, &asked),
            going_on(&ANTHROPIC, Manner::GoesOn, &asked),
        ];

        let got = ask(candidates, OnBreak::Resume, question(client)).await;

        let told = assert_one_stream(client, &got.body, client.id());
        let attempts = got.exchange.learn(|learnt| learnt.attempts.clone());
        let roles: Vec<_> = attempts.iter().map(|attempt| (attempt.role, attempt.outcome)).collect();
        assert_eq!(roles[1], (Role::Resume, Outcome::Answered), "{}", client.id());
        assert!(matches!(roles[0], (Role::Answer, Outcome::Failed(_))), "{roles:?}");
        assert!(attempts[0].estimated && attempts[0].tokens.input > 0 && attempts[0].tokens.output > 0);
        assert_eq!((told.input, told.output), {
            let used = got.exchange.tokens();
            (used.input, used.output)
        });
    }
}

#[tokio::test]
async fn several_may_break_and_each_goes_on_where_the_one_before_has_stopped() {
    for client in DIALECTS {
        let asked = Asked::default();
        let again =
            candidate("breaks too", &ANTHROPIC, ModelFacts::new(["assistant_prefill"], []), &asked, |body| {
                let said = said_in(body).unwrap();
                let frames = spoken(&ANTHROPIC, &TEXT[said.len()..]).into_iter().take(5).map(Ok);
                frames.chain([Err("connection reset".into())]).collect()
            });
        let candidates = vec![
            breaking(&OPENAI_CHAT, 4, Break::Reset, &asked),
            again,
            going_on(&GEMINI, Manner::Told, &asked),
        ];

        let got = ask(candidates, OnBreak::Resume, question(client)).await;

        assert_one_stream(client, &got.body, client.id());
        assert_eq!(asked.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_lonely_target_is_asked_for_the_rest_of_its_own_answer() {
    let asked = Asked::default();
    let times = asked.clone();
    let only = candidate("only", &OPENAI_CHAT, ModelFacts::default(), &asked, move |body| {
        match times.lock().unwrap().len() {
            0 => spoken(&OPENAI_CHAT, TEXT).into_iter().take(4).map(Ok).collect(),
            _ => spoken(&OPENAI_CHAT, &TEXT[said_in(body).unwrap().len()..]).into_iter().map(Ok).collect(),
        }
    });

    let got = ask(vec![only], OnBreak::Resume, question(&OPENAI_CHAT)).await;

    assert_one_stream(&OPENAI_CHAT, &got.body, "only");
}

#[tokio::test]
async fn a_cap_of_the_clients_is_for_all_of_it() {
    let asked = Asked::default();
    let candidates =
        vec![breaking(&ANTHROPIC, 12, Break::Cut, &asked), going_on(&ANTHROPIC, Manner::GoesOn, &asked)];

    let got = ask(candidates, OnBreak::Resume, question(&ANTHROPIC)).await;

    assert_one_stream(&ANTHROPIC, &got.body, "a cap");
    let caps: Vec<Value> =
        asked.lock().unwrap().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let written = got.exchange.learn(|learnt| learnt.attempts[0].tokens.output);
    assert_eq!(caps[0]["max_tokens"], 900);
    assert_eq!(caps[1]["max_tokens"], 900 - written);
}

#[tokio::test]
async fn what_comes_before_a_broken_event_is_said_and_said_once() {
    for client in DIALECTS {
        let asked = Asked::default();
        let garbles = candidate("garbles", &OPENAI_CHAT, ModelFacts::default(), &asked, |body| {
            let said = said_in(body).unwrap_or_default();
            let mut frames = spoken(&OPENAI_CHAT, &TEXT[said.len()..]);
            let first = frames.drain(..4).flatten().chain(*b"data: {\"choices\":[{\n\n").collect::<Bytes>();
            vec![Ok(first)]
        });
        let candidates = vec![
            breaking(&OPENAI_CHAT, 4, Break::Reset, &asked),
            garbles,
            going_on(&ANTHROPIC, Manner::Told, &asked),
        ];

        let got = ask(candidates, OnBreak::Resume, question(client)).await;

        assert_one_stream(client, &got.body, client.id());
        assert_eq!(asked.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_cap_of_the_gateways_own_is_for_all_of_it() {
    let asked = Asked::default();
    let candidates =
        vec![breaking(&ANTHROPIC, 12, Break::Cut, &asked), going_on(&ANTHROPIC, Manner::GoesOn, &asked)];
    let route = Route::new("m", candidates).on_break(OnBreak::Resume).retry(Retry::never());

    let got = ask_by(route.assume_output(900).cap_output(true), chat_with(r#""n":1"#)).await;

    assert_one_stream(&OPENAI_CHAT, &got.body, "a cap");
    let caps: Vec<Value> =
        asked.lock().unwrap().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let written = got.exchange.learn(|learnt| learnt.attempts[0].tokens.output);
    assert!(written > 0);
    assert_eq!(caps[0]["max_tokens"], 900);
    assert_eq!(caps[1]["max_tokens"], 900 - written);
}

/// A request of chat completions with these members besides.
fn chat_with(more: &str) -> Request<Full<Bytes>> {
    let body =
        format!(r#"{{"model":"m","stream":true,{more},"messages":[{{"role":"user","content":"Tell"}}]}}"#);
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn what_nobody_can_go_on_with_cleanly_ends_with_an_error() {
    let chunk = |delta: &str| {
        let chunk = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":"#;
        Bytes::from(format!("data: {chunk}{delta},\"finish_reason\":null}}]}}\n\n"))
    };
    let text = chunk(r#"{"content":"Once "}"#);
    let call = chunk(
        r#"{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":"{"}}]}"#,
    );
    let thought = chunk(r#"{"reasoning_content":"Well, "}"#);
    let plain = r#""user":"me""#;
    let cases = [
        ("a call", plain, vec![text.clone(), call]),
        ("thoughts", plain, vec![thought]),
        ("a schema", r#""response_format":{"type":"json_object"}"#, vec![text.clone()]),
        ("likelihoods", r#""n":2"#, vec![text.clone()]),
        ("a search", r#""web_search_options":{}"#, vec![text.clone()]),
    ];
    for (what, more, said) in cases {
        let asked = Asked::default();
        let first = candidate("first", &OPENAI_CHAT, ModelFacts::default(), &asked, move |_| {
            said.iter().cloned().map(Ok).chain([Err("connection reset".into())]).collect()
        });

        let got =
            ask(vec![first, going_on(&OPENAI_CHAT, Manner::Told, &asked)], OnBreak::Resume, chat_with(more))
                .await;

        assert!(got.body.contains(r#""error""#), "{what}: {}", got.body);
        assert_eq!(asked.lock().unwrap().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn thoughts_that_have_ended_are_not_thought_again() {
    for client in [DIALECTS[0], DIALECTS[1]] {
        let asked = Asked::default();
        let thinking = |text: &str| {
            let chunk = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":"#;
            let delta = serde_json::json!({ "reasoning_content": text });
            Bytes::from(format!("data: {chunk}{delta},\"finish_reason\":null}}]}}\n\n"))
        };
        let first = candidate("first", &OPENAI_CHAT, ModelFacts::default(), &asked, move |_| {
            let text = spoken(&OPENAI_CHAT, TEXT).into_iter().take(5);
            [thinking("Well, ")].into_iter().chain(text).map(Ok).collect()
        });
        let second = candidate("second", &OPENAI_CHAT, ModelFacts::default(), &asked, move |body| {
            let text = spoken(&OPENAI_CHAT, &TEXT[said_in(body).unwrap().len()..]);
            [thinking("again, ")].into_iter().chain(text).map(Ok).collect()
        });

        let got = ask(vec![first, second], OnBreak::Resume, question(client)).await;

        assert!(got.body.contains("Well, ") && !got.body.contains("again, "), "{}", got.body);
        assert!(got.body.contains("ever ") && !got.body.contains("error"), "{}", got.body);
    }
}

#[tokio::test]
async fn without_the_choice_a_stream_that_breaks_ends_with_an_error() {
    for client in DIALECTS {
        let asked = Asked::default();
        let candidates =
            vec![breaking(&OPENAI_CHAT, 4, Break::Cut, &asked), going_on(&OPENAI_CHAT, Manner::Told, &asked)];

        let got = ask(candidates, OnBreak::Error, question(client)).await;

        assert!(got.body.contains("error") || got.body.contains("failed"), "{}", got.body);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn who_fails_to_go_on_leaves_the_error_that_there_was() {
    let asked = Asked::default();
    let down = || {
        let target = Arc::new(Target::new("demo", "down"));
        let fails = service_fn(async |_: Request<Payload>| {
            Err::<Response<Full<Bytes>>, _>(bartizan::Error::new(bartizan::Kind::Overloaded, "down"))
        });
        Candidate::new(target, fails)
    };
    let broken = breaking(&OPENAI_CHAT, 4, Break::Cut, &asked);

    let got = ask(vec![broken, down()], OnBreak::Resume, question(&OPENAI_CHAT)).await;

    // It is asked itself in the end, breaks off again, and nobody is left.
    assert!(got.body.contains("broke off before its end"), "{}", got.body);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn who_refuses_to_go_on_by_itself_is_told_to() {
    let asked = Asked::default();
    let target = Arc::new(Target::new("demo", "refuses").facts(ModelFacts::new(["assistant_prefill"], [])));
    let answer = service_fn(|req: Request<Payload>| {
        let body = String::from_utf8(req.body().to_bytes().to_vec()).unwrap();
        let said = said_in(&body).unwrap();
        let frames: Vec<_> = spoken(&OPENAI_CHAT, &TEXT[said.len()..])
            .into_iter()
            .map(|it| Ok::<_, BoxError>(Frame::data(it)))
            .collect();
        std::future::ready(match body.contains("Go on exactly") {
            true => {
                let answer = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
                Ok(answer.body(StreamBody::new(stream::iter(frames))).unwrap())
            }
            false => {
                Err(bartizan::Error::new(bartizan::Kind::InvalidRequest, "the last turn is the model's own"))
            }
        })
    });
    let stack =
        ServiceBuilder::new().layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]));
    let refuses = Candidate::new(target, stack.service(answer));

    let broken = breaking(&OPENAI_CHAT, 4, Break::Cut, &asked);
    let got = ask(vec![broken, refuses], OnBreak::Resume, question(&OPENAI_CHAT)).await;

    assert_one_stream(&OPENAI_CHAT, &got.body, "told after all");
}
