//! What translation costs: a request, a whole answer, an event of a stream, and an event that is only
//! passed on.

use std::{fmt::Write, hint::black_box};

use bartizan::{
    Exchange, Payload, Target, Tokens,
    body::sse::{Event, Splitter},
    dialect::{ANTHROPIC, ChatCodec, Codec, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
    payload::Head,
    target::ModelFacts,
};
use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};

/// About 10 kB: 20 messages with calls and results among them, and 5 tools.
fn chat_request() -> Vec<u8> {
    let text = "Some words that were said, with a \"quote\" and\na second line. ".repeat(10);
    let mut messages = vec![json!({"role": "system", "content": text})];
    for round in 0..5 {
        let id = format!("call_{round}");
        let arguments = r#"{"path":"src/main.rs","line":17,"replace":"a\nb"}"#;
        let call =
            json!({"id": id, "type": "function", "function": {"name": "tool_1", "arguments": arguments}});
        messages.push(json!({"role": "user", "content": text}));
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": "Done."}]}));
    }
    messages.pop();
    let tool = |index: usize| {
        json!({"type": "function", "function": {"name": format!("tool_{index}"), "description": "What it does.",
            "parameters": {"type": "object", "properties": {
                "path": {"type": "string", "description": "Where the file is."},
                "line": {"type": "integer", "minimum": 1},
                "replace": {"type": "string"}}, "required": ["path"]}}})
    };
    let tools: Vec<Value> = (0..5).map(tool).collect();
    let request = json!({"model": "m", "messages": messages, "tools": tools, "max_completion_tokens": 4096,
        "temperature": 0.5, "stream": true, "stream_options": {"include_usage": true}});
    request.to_string().into_bytes()
}

fn target() -> Target {
    let mut facts = ModelFacts::new(["function_calling"], ["thinking_always_on"]);
    facts.max_output = Some(64_000);
    Target::new("provider", "model").facts(facts)
}

fn codec(dialect: &'static dyn Dialect) -> &'static dyn ChatCodec {
    dialect.codec().and_then(Codec::chat).expect("all four are translated")
}

/// What a client has asked, with a body as long as usual.
fn asked(head: Head) -> Payload {
    Payload::new(&OPENAI_CHAT, head, chat_request().into(), Exchange::default())
}

fn request(criterion: &mut Criterion, name: &str, from: &dyn ChatCodec, to: &dyn ChatCodec, body: &[u8]) {
    let target = target();
    criterion.bench_function(&format!("request/{name}/{}B", body.len()), |bench| {
        bench.iter(|| to.encode_request(&from.decode_request(black_box(body)).unwrap(), &target).unwrap());
    });
    criterion.bench_function(&format!("request/{name}/decode"), |bench| {
        bench.iter(|| drop(from.decode_request(black_box(body)).unwrap()));
    });
}

fn requests(criterion: &mut Criterion) {
    let (chat, anthropic) = (codec(&OPENAI_CHAT), codec(&ANTHROPIC));
    let chat_body = chat_request();
    let canonical = chat.decode_request(&chat_body).unwrap();
    let anthropic_body = anthropic.encode_request(&canonical, &target()).unwrap().body;

    request(criterion, "chat-to-anthropic", chat, anthropic, &chat_body);
    request(criterion, "anthropic-to-chat", anthropic, chat, &anthropic_body);
    for (name, other) in [("responses", codec(&OPENAI_RESPONSES)), ("gemini", codec(&GEMINI))] {
        let body = other.encode_request(&canonical, &target()).unwrap().body;
        request(criterion, &format!("chat-to-{name}"), chat, other, &chat_body);
        request(criterion, &format!("{name}-to-chat"), other, chat, &body);
    }
}

fn answers(criterion: &mut Criterion) {
    let (chat, anthropic) = (codec(&OPENAI_CHAT), codec(&ANTHROPIC));
    let asked = asked(Head::default());
    let text = "An answer of some length. ".repeat(40);
    let chat_body = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}});
    let chat_body = chat_body.to_string();
    let anthropic_body = anthropic.encode_answer(&chat.decode_answer(chat_body.as_bytes()).unwrap(), &asked);

    criterion.bench_function("answer/chat-to-anthropic", |bench| {
        bench.iter(|| {
            anthropic.encode_answer(&chat.decode_answer(black_box(chat_body.as_bytes())).unwrap(), &asked)
        });
    });
    criterion.bench_function("answer/anthropic-to-chat", |bench| {
        bench.iter(|| {
            chat.encode_answer(&anthropic.decode_answer(black_box(&anthropic_body)).unwrap(), &asked)
        });
    });
}

const CHAT_EVENT: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1-2025-04-14","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}"#;
const CHAT_CALL: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}"#;
const CHAT_ARGUMENTS: &str = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]},"finish_reason":null}]}"#;
const ANTHROPIC_START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#;
const ANTHROPIC_EVENT: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}"#;

const RESPONSES_CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"gpt","output":[]}}"#;
const RESPONSES_EVENT: &str = r#"{"type":"response.output_text.delta","sequence_number":7,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" word","logprobs":[]}"#;
const GEMINI_EVENT: &str = r#"{"candidates":[{"content":{"parts":[{"text":" word"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":5,"totalTokenCount":13},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#;

fn sse(name: &str, data: &str) -> Bytes {
    let mut raw = String::new();
    if !name.is_empty() {
        writeln!(raw, "event: {name}").unwrap();
    }
    write!(raw, "data: {data}\n\n").unwrap();
    raw.into()
}

fn event(raw: Bytes) -> Event {
    let mut splitter = Splitter::default();
    splitter.push(raw).unwrap();
    splitter.next_event().unwrap()
}

/// The time of one more event in a stream that has begun.
fn one_event(
    criterion: &mut Criterion,
    name: &str,
    from: &dyn ChatCodec,
    to: &dyn ChatCodec,
    first: Event,
    next: Event,
) {
    let head = Head { model: "m".into(), stream: true, include_usage: true, ..Head::default() };
    let mut out = BytesMut::with_capacity(1 << 16);
    let (mut decoder, mut encoder) = (from.decoder(), to.encoder(&asked(head)));
    decoder.event(&first, &mut |event| encoder.event(event, &mut out)).unwrap();
    criterion.bench_function(&format!("event/{name}"), |bench| {
        bench.iter(|| {
            out.clear();
            decoder.event(black_box(&next), &mut |event| encoder.event(event, &mut out)).unwrap();
        });
    });
}

fn events(criterion: &mut Criterion) {
    let (chat, anthropic) = (codec(&OPENAI_CHAT), codec(&ANTHROPIC));
    let of_chat = |data| event(sse("", data));
    let (start, delta) = (sse("message_start", ANTHROPIC_START), sse("content_block_delta", ANTHROPIC_EVENT));

    one_event(criterion, "chat-to-anthropic", chat, anthropic, of_chat(CHAT_EVENT), of_chat(CHAT_EVENT));
    one_event(
        criterion,
        "chat-to-anthropic/call",
        chat,
        anthropic,
        of_chat(CHAT_CALL),
        of_chat(CHAT_ARGUMENTS),
    );
    one_event(criterion, "anthropic-to-chat", anthropic, chat, event(start), event(delta));
    let (responses, gemini) = (codec(&OPENAI_RESPONSES), codec(&GEMINI));
    let of_responses = |data| event(sse("response.output_text.delta", data));
    let created = event(sse("response.created", RESPONSES_CREATED));
    let delta = of_responses(RESPONSES_EVENT);
    one_event(criterion, "chat-to-responses", chat, responses, of_chat(CHAT_EVENT), of_chat(CHAT_EVENT));
    one_event(criterion, "chat-to-gemini", chat, gemini, of_chat(CHAT_EVENT), of_chat(CHAT_EVENT));
    one_event(criterion, "responses-to-chat", responses, chat, created, delta);
    one_event(criterion, "gemini-to-chat", gemini, chat, of_chat(GEMINI_EVENT), of_chat(GEMINI_EVENT));
}

/// What the layers around a provider do with an event that passes as it is.
fn pass(dialect: &dyn Dialect, events: &mut Splitter, raw: Bytes, tokens: &mut Tokens) -> usize {
    events.push(raw).unwrap();
    let mut seen = 0;
    while let Some(event) = events.next_event() {
        seen += dialect.output_bytes(&event);
        seen += usize::from(dialect.read_usage(&event.data, tokens));
        seen += usize::from(dialect.closing(&event).is_some());
    }
    seen
}

fn passthrough(criterion: &mut Criterion) {
    let of_chat = sse("", CHAT_EVENT);
    let of_anthropic = sse("content_block_delta", ANTHROPIC_EVENT);
    let of_responses = sse("response.output_text.delta", RESPONSES_EVENT);
    let of_gemini = sse("", GEMINI_EVENT);
    for (name, dialect, raw) in [
        ("chat", &OPENAI_CHAT as &dyn Dialect, of_chat),
        ("anthropic", &ANTHROPIC, of_anthropic),
        ("responses", &OPENAI_RESPONSES, of_responses),
        ("gemini", &GEMINI, of_gemini),
    ] {
        let (mut events, mut tokens) = (Splitter::default(), Tokens::default());
        criterion.bench_function(&format!("passthrough/{name}"), |bench| {
            bench.iter_batched(
                || raw.clone(),
                |raw| pass(dialect, &mut events, raw, &mut tokens),
                BatchSize::SmallInput,
            );
        });
        let parsed = event(raw.clone());
        criterion.bench_function(&format!("passthrough/{name}/is_content"), |bench| {
            bench.iter(|| dialect.is_content(black_box(&parsed)));
        });
        criterion.bench_function(&format!("passthrough/{name}/without_usage"), |bench| {
            bench.iter(|| dialect.without_usage(black_box(&parsed)));
        });
    }
}

criterion_group!(benches, requests, answers, events, passthrough);
criterion_main!(benches);
