//! What holds for every request, answer and stream, however odd.

mod gateway;
mod random;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use bartizan::{
    Exchange, Kind, Payload, Target, Tokens,
    body::sse::Event as Sse,
    dialect::{
        ANTHROPIC, BEDROCK, ChatCodec, Codec, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES,
        canonical::{Content, Event, Finish, Request, Source},
    },
    payload::Head,
};
use bytes::{Bytes, BytesMut};
use gateway::{Said, ask, events};
use proptest::{collection::vec, prelude::*};
use random::Tape;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

const ALL: [&dyn Dialect; 4] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI];

fn codec(dialect: &'static dyn Dialect) -> &'static dyn ChatCodec {
    dialect.codec().and_then(Codec::chat).unwrap()
}

/// A request of which only the head is known.
fn asked(head: Head) -> Payload {
    Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default())
}

fn random_request(dialect: &dyn Dialect, tape: &mut Tape<'_>) -> Value {
    match dialect.id() {
        "openai-chat" => tape.chat_request(),
        "openai-responses" => tape.responses_request(),
        "gemini" => tape.gemini_request(),
        _ => tape.anthropic_request(),
    }
}

/// Whatever comes, it is written as the provider wants it or refused as the client's mistake.
fn check_request(from: &'static dyn Dialect, to: &'static dyn Dialect, body: &str) {
    let request = match codec(from).decode_request(body.as_bytes()) {
        Ok(request) => request,
        Err(error) => return assert_eq!(error.kind(), Kind::InvalidRequest, "{error:?}"),
    };
    let encoded = match codec(to).encode_request(&request, &Target::new("provider", "model")) {
        Ok(encoded) => encoded,
        Err(error) => return assert_eq!(error.kind(), Kind::InvalidRequest, "{error:?}"),
    };
    let Ok(written) = serde_json::from_slice(&encoded.body) else {
        // A number that nobody can hold goes on as it came, where it means nothing to the gateway.
        assert!(serde_json::from_slice::<IgnoredAny>(&encoded.body).is_ok());
        return assert!(serde_json::from_str::<Value>(body).is_err(), "{body}");
    };
    match to.id() {
        "openai-chat" => rules::chat(&written),
        "openai-responses" => rules::responses(&written),
        "gemini" => rules::gemini(&written),
        "bedrock-converse" => rules::bedrock(&written),
        _ => rules::anthropic(&written),
    }
}

/// What a stream means, whatever the pieces it comes in.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    id: String,
    choices: BTreeMap<u32, Choice>,
    tokens: Tokens,
    ended: bool,
}

#[derive(Debug, Default, PartialEq)]
struct Choice {
    text: String,
    /// Addresses and titles; how exactly they say what cites them is the dialect's.
    cited: BTreeSet<(String, Option<String>)>,
    reasoning: String,
    proofs: Vec<String>,
    /// Id, name and arguments.
    calls: BTreeMap<u32, (String, String, String)>,
    finish: Option<Finish<'static>>,
}

impl Heard {
    fn of(events: impl IntoIterator<Item = Event<'static>>) -> Self {
        let mut heard = Self::default();
        events.into_iter().for_each(|event| heard.event(event));
        heard
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        self.choices.entry(index).or_default()
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id, .. } => self.id = id.into_owned(),
            Event::Text { choice, text } => self.choice(choice).text += &text,
            Event::Citation { choice, citation } => {
                let said = self.choice(choice).text.chars().count();
                assert!(citation.span.as_ref().is_none_or(|span| span.start < span.end && span.end <= said));
                let Source::Url { url, .. } = citation.source else { panic!("{citation:?}") };
                let title = citation.title.map(|title| title.into_owned());
                self.choice(choice).cited.insert((url.into_owned(), title));
            }
            Event::Reasoning { choice, text } => self.choice(choice).reasoning += &text,
            Event::Signature { choice, signature } => self.choice(choice).proofs.push(signature.into_owned()),
            Event::RedactedReasoning { choice, data } => self.choice(choice).proofs.push(data.into_owned()),
            Event::ToolCall { choice, call, id, name, .. } => {
                let begun = (id.into_owned(), name.into_owned(), String::new());
                assert_eq!(self.choice(choice).calls.insert(call, begun), None);
            }
            Event::Arguments { choice, call, fragment } => {
                self.choice(choice).calls.get_mut(&call).unwrap().2 += &fragment;
            }
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice, finish } => {
                let finish = match finish {
                    Finish::Stop => Finish::Stop,
                    Finish::Length => Finish::Length,
                    Finish::ToolCalls => Finish::ToolCalls,
                    other => panic!("{other:?}"),
                };
                assert_eq!(self.choice(choice).finish.replace(finish), None);
            }
            Event::End => self.ended = true,
            _ => {}
        }
    }
}

fn written(dialect: &'static dyn Dialect, events: Vec<Event<'static>>) -> Bytes {
    let head = Head { model: "m".into(), stream: true, include_usage: true, ..Head::default() };
    let (mut encoder, mut out) = (codec(dialect).encoder(&asked(head)), BytesMut::new());
    events.into_iter().for_each(|event| encoder.event(event, &mut out));
    out.freeze()
}

fn read(dialect: &'static dyn Dialect, stream: Bytes) -> Heard {
    let (mut decoder, mut heard) = (codec(dialect).decoder(), Heard::default());
    for event in events(stream) {
        decoder.event(&event, &mut |event| heard.event(event)).unwrap();
    }
    decoder.finish(&mut |event| heard.event(event)).unwrap();
    heard
}

/// What is said and called in a request, and what may be called: as much as every dialect has a word for.
fn gist(request: &Request<'_>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for part in request.system.iter().chain(request.turns.iter().flat_map(|turn| &turn.parts)) {
        match &part.content {
            Content::Text(text) => said.push(format!("text {text}")),
            Content::ToolCall(call) => said.push(format!("call {} {}", call.name, call.arguments)),
            Content::ToolResult { parts, .. } => said.push(format!("result {}", parts.len())),
            other => said.push(format!("{other:?}")),
        }
    }
    said.extend(request.tools.iter().map(|tool| format!("{} {:?}", tool.name, tool.description)));
    said.push(format!("{:?} {:?} {:?}", request.tool_choice, request.temperature, request.stop));
    said
}

/// What a request says, whatever its form.
fn meaning(request: &Request<'_>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for part in request.system.iter().chain(request.turns.iter().flat_map(|turn| &turn.parts)) {
        match &part.content {
            Content::Text(text) => said.push(format!("text {text}")),
            Content::ToolCall(call) => {
                said.push(format!("call {} {} {}", call.id, call.name, call.arguments))
            }
            Content::ToolResult { id, parts, .. } => said.push(format!("result {id} {}", parts.len())),
            Content::Image(_) => said.push("image".into()),
            other => said.push(format!("{other:?}")),
        }
    }
    let tools =
        request.tools.iter().map(|tool| format!("{} {:?} {:?}", tool.name, tool.input, tool.description));
    said.extend(tools);
    said.push(format!("{:?} {:?}", request.tool_choice, request.parallel_tools));
    said.push(format!("{:?} {:?} {:?}", request.max_output, request.temperature, request.stop));
    said.push(format!("{:?} {}", request.user, request.stream));
    said
}

/// A conversation with calls and results in their order, with what all dialects can say.
fn typical(dialect: &dyn Dialect, texts: &[String], rounds: usize) -> Value {
    use serde_json::json;
    if dialect.id() == GEMINI.id() {
        return typical_of_gemini(texts, rounds);
    }
    let mut messages = vec![json!({"role": "user", "content": format!("q{}", texts.concat())})];
    for round in 0..rounds {
        let (id, said) = (format!("call_{round}"), format!("s{}", texts.get(round).map_or("", |text| text)));
        let arguments = "{\"a\":1.0}";
        messages.extend(match dialect.id() {
            "openai-chat" => vec![
                json!({"role": "assistant", "content": said, "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]}),
                json!({"role": "tool", "tool_call_id": id, "content": "r"}),
            ],
            "openai-responses" => vec![
                json!({"role": "assistant", "content": said}),
                json!({"type": "function_call", "call_id": id, "name": "f", "arguments": arguments}),
                json!({"type": "function_call_output", "call_id": id, "output": "r"}),
            ],
            _ => vec![
                json!({"role": "assistant", "content": [{"type": "text", "text": said},
                    {"type": "tool_use", "id": id, "name": "f", "input": {"a": 1.0}}]}),
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "r"}]}),
            ],
        });
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "number"}}});
    match dialect.id() {
        "openai-chat" => {
            messages.insert(0, json!({"role": "system", "content": "S"}));
            let function = json!({"name": "f", "description": "d", "parameters": schema, "strict": false});
            json!({"model": "m", "messages": messages, "max_completion_tokens": 99, "user": "u",
                "temperature": 0.5, "tool_choice": "required", "parallel_tool_calls": false, "stream": true,
                "tools": [{"type": "function", "function": function}]})
        }
        "openai-responses" => json!({"model": "m", "input": messages, "max_output_tokens": 99, "user": "u",
            "instructions": "S", "temperature": 0.5, "tool_choice": "required", "parallel_tool_calls": false,
            "stream": true, "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": false}]}),
        _ => json!({"model": "m", "messages": messages, "max_tokens": 99, "system": "S",
            "metadata": {"user_id": "u"}, "temperature": 0.5, "stream": true,
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "tools": [{"name": "f", "description": "d", "input_schema": schema}]}),
    }
}

/// Texts that end an answer, which responses don't know.
fn with_stops(dialect: &dyn Dialect, mut request: Value) -> Value {
    match dialect.id() {
        "openai-chat" => request["stop"] = serde_json::json!(["X"]),
        "openai-responses" => {}
        "gemini" => request["generationConfig"]["stopSequences"] = serde_json::json!(["X"]),
        _ => request["stop_sequences"] = serde_json::json!(["X"]),
    }
    request
}

fn typical_of_gemini(texts: &[String], rounds: usize) -> Value {
    use serde_json::json;
    let mut contents = vec![json!({"role": "user", "parts": [{"text": format!("q{}", texts.concat())}]})];
    for round in 0..rounds {
        let said = format!("s{}", texts.get(round).map_or("", |text| text));
        let call = json!({"functionCall": {"name": "f", "args": {"a": 1.0}}});
        contents.push(json!({"role": "model", "parts": [{"text": said}, call]}));
        let result = json!({"functionResponse": {"name": "f", "response": {"output": "r"}}});
        contents.push(json!({"role": "user", "parts": [result]}));
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "number"}}});
    let function = json!({"name": "f", "description": "d", "parametersJsonSchema": schema});
    json!({"systemInstruction": {"parts": [{"text": "S"}]}, "contents": contents,
        "generationConfig": {"maxOutputTokens": 99, "temperature": 0.5},
        "tools": [{"functionDeclarations": [function]}], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}})
}

thread_local! {
    /// To make one for each answer takes longer than the answer.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

fn gateway_answer(
    client: &'static dyn Dialect,
    provider: &'static dyn Dialect,
    chunks: Vec<Bytes>,
) -> String {
    let messages =
        r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (path, question) = match client.id() {
        "openai-chat" => ("/v1/chat/completions", messages),
        "openai-responses" => ("/v1/responses", r#"{"model":"m","stream":true,"input":"hi"}"#),
        "gemini" => {
            ("/v1/models/m:streamGenerateContent?alt=sse", r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#)
        }
        _ => ("/v1/messages", messages),
    };
    let target = Target::new("provider", "m");
    let answer = ask(path, question.to_owned(), provider, target, Said::stream(chunks));
    let answer = RUNTIME.with(|runtime| runtime.block_on(answer));
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    // Providers that don't say when are said to have answered now.
    let created = |part: &str| part.trim_start_matches(|char: char| char.is_ascii_digit()).to_owned();
    let without = |body: String, name: &str| body.split(name).map(created).collect::<String>();
    without(without(body, "\"created\":"), "\"created_at\":")
}

/// So many inputs, or as many as `PROPTEST_CASES` says.
fn cases(usual: u32) -> ProptestConfig {
    let wished = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: wished.unwrap_or(usual), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn requests_are_written_by_the_rules_or_refused(bytes in vec(any::<u8>(), 0..400), odd in 0usize..60) {
        for from in ALL {
            let body = random_request(from, &mut Tape::new(&bytes, odd)).to_string();
            for to in ALL.into_iter().chain([&BEDROCK as &dyn Dialect]) {
                check_request(from, to, &body);
            }
        }
    }

    #[test]
    fn requests_that_are_not_json_are_refused(bytes in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), with in any::<char>()) {
        for from in ALL {
            let mut body = random_request(from, &mut Tape::new(&bytes, 0)).to_string();
            let at = body.floor_char_boundary(at.index(body.len()));
            body.insert(at, with);
            for to in ALL {
                check_request(from, to, &body);
            }
        }
    }

    #[test]
    fn a_typical_request_keeps_its_meaning(texts in vec("[a-z\"\\\\ü\n]{0,8}", 0..4), rounds in 0usize..4) {
        for dialect in ALL {
            let body = with_stops(dialect, typical(dialect, &texts, rounds)).to_string();
            let before = codec(dialect).decode_request(body.as_bytes()).unwrap();

            let encoded = codec(dialect).encode_request(&before, &Target::new("provider", "model")).unwrap();

            let after = codec(dialect).decode_request(&encoded.body).unwrap();
            prop_assert_eq!(meaning(&before), meaning(&after));
            prop_assert!(encoded.lost.is_empty() && encoded.undo.is_empty());
        }
    }

    #[test]
    fn a_typical_request_means_the_same_everywhere(texts in vec("[a-z\"\\\\ü\n]{0,8}", 0..4), rounds in 0usize..4) {
        for from in ALL {
            let body = typical(from, &texts, rounds).to_string();
            let before = codec(from).decode_request(body.as_bytes()).unwrap();
            for to in ALL {
                let there = codec(to).encode_request(&before, &Target::new("provider", "model")).unwrap();
                let arrived = codec(to).decode_request(&there.body).unwrap();
                prop_assert_eq!(gist(&before), gist(&arrived));
                if [from.id(), to.id()].contains(&GEMINI.id()) {
                    continue;
                }
                let back = codec(from).encode_request(&arrived, &Target::new("provider", "model")).unwrap();
                let after = codec(from).decode_request(&back.body).unwrap();

                prop_assert_eq!(meaning(&before), meaning(&arrived));
                prop_assert_eq!(meaning(&before), meaning(&after));
                prop_assert!(there.lost.is_empty() && back.lost.is_empty(), "{:?} {:?}", there.lost, back.lost);
            }
        }
    }

    #[test]
    fn a_stream_that_is_written_and_read_again_means_the_same(bytes in vec(any::<u8>(), 0..120)) {
        for dialect in ALL {
            let is_chat = dialect.id() == OPENAI_CHAT.id();
            let stream = Tape::new(&bytes, 0).stream([OPENAI_CHAT.id(), GEMINI.id()].contains(&dialect.id()));

            let heard = read(dialect, written(dialect, stream.clone()));

            let mut expected = Heard::of(stream);
            for choice in expected.choices.values_mut().filter(|_| is_chat) {
                // A proof is written with the thoughts that it proves.
                choice.proofs.retain(|proof| !proof.is_empty());
            }
            if dialect.id() == GEMINI.id() {
                // There is no word for what was written to a cache.
                expected.tokens.cache_write = 0;
            }
            prop_assert_eq!(heard, expected);
        }
    }

    #[test]
    fn answers_of_any_kind_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), odd in 2usize..60) {
        for from in ALL {
            let request = random_request(from, &mut Tape::new(&bytes, odd));
            let message = match from.id() {
                "openai-chat" => serde_json::json!({"choices": [{"message": request["messages"][0]}]}),
                "openai-responses" => serde_json::json!({"output": request["input"]}),
                "gemini" => serde_json::json!({"candidates": [{"content": request["contents"][0]}]}),
                _ => request["messages"][0].clone(),
            };
            let body = Bytes::from(message.to_string());
            let _ = from.error_in_answer(&body);
            match codec(from).decode_answer(&body) {
                Ok(answer) => for to in ALL {
                    let written = codec(to).encode_answer(&answer, &asked(Head::default()));
                    prop_assert!(codec(to).decode_answer(&written).is_ok(), "{:?}", written);
                },
                Err(error) => prop_assert_eq!(error.kind(), Kind::Upstream),
            }
        }
    }

    #[test]
    fn events_of_any_kind_are_read_or_refused(bytes in vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), with in "[\\[\\]{}\",:0-9a-z]{0,3}") {
        for dialect in ALL {
            let stream = written(dialect, Tape::new(&bytes, 0).stream(true));
            let mut text = String::from_utf8(stream.to_vec()).unwrap();
            let at = text.floor_char_boundary(at.index(text.len()));
            text.insert_str(at, &with);
            for client in ALL {
                let (mut decoder, mut encoder) = (codec(dialect).decoder(), codec(client).encoder(&asked(Head::default())));
                let mut out = BytesMut::new();
                for event in events(text.clone().into()) {
                    passed_on(dialect, &event);
                    let _ = decoder.event(&event, &mut |event| encoder.event(event, &mut out));
                }
                let _ = decoder.finish(&mut |event| encoder.event(event, &mut out));
            }
        }
    }
}

/// A hundred thousand characters, each of which is cited, and a page that all of it cites.
#[test]
fn what_cites_is_written_in_the_time_that_it_takes_to_read_it() {
    use serde_json::json;

    let (count, text) = (100_000usize, "ä".repeat(100_000));
    let url = |at: usize| format!("https://e.x/{}", at % 7);
    let inner = |at: usize| json!({"url": url(at), "title": "T", "start_index": at, "end_index": count + at});
    let chat: Vec<_> =
        (0..count).map(|at| json!({"type": "url_citation", "url_citation": inner(at)})).collect();
    let chat =
        json!({"choices": [{"message": {"content": text, "annotations": chat}, "finish_reason": "stop"}]});
    let long = "t".repeat(100_000);
    let support =
        |at: usize| json!({"segment": {"startIndex": at, "endIndex": at + 9}, "groundingChunkIndices": [0]});
    let gemini = json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP",
        "groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://e.x", "title": long}}],
            "groundingSupports": (0..count).map(support).collect::<Vec<_>>()}}]});
    let begun = std::time::Instant::now();

    for (from, body) in [(&OPENAI_CHAT as &dyn Dialect, chat.to_string()), (&GEMINI, gemini.to_string())] {
        let codec_of = |dialect: &dyn Dialect| dialect.codec().and_then(Codec::chat).unwrap();
        let answer = codec_of(from).decode_answer(body.as_bytes()).unwrap();
        for to in ALL {
            let written = codec(to).encode_answer(&answer, &asked(Head::default()));

            assert!(codec(to).decode_answer(&written).is_ok());
            assert!(written.len() < 32 << 20, "{} bytes for {}", written.len(), to.id());
        }
    }

    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

/// All that is asked of an event that is not translated.
fn passed_on(dialect: &dyn Dialect, event: &Sse) {
    let _ = dialect.is_content(event);
    let _ = dialect.closing(event);
    let _ = dialect.output_bytes(event);
    let _ = dialect.read_usage(&event.data, &mut Tokens::default());
    let _ = dialect.without_usage(event);
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_stream_is_the_same_however_it_is_cut(bytes in vec(any::<u8>(), 0..80), cuts in vec(any::<prop::sample::Index>(), 0..12)) {
        for provider in ALL {
            let whole = written(provider, Tape::new(&bytes, 0).stream(false));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect();
            for client in ALL {
                let uncut = gateway_answer(client, provider, vec![whole.clone()]);
                prop_assert_eq!(gateway_answer(client, provider, Vec::clone(&pieces)), uncut);
            }
        }
    }
}
