//! What is as large as a request or an answer may be, and shaped to be slow, is translated in linear time.
//!
//! Every case has 50,000 of something. What is quadratic in it takes minutes.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use bartizan::{
    Error, Exchange, Kind, Payload, Target,
    body::sse::{self, Splitter},
    dialect::{ANTHROPIC, ChatCodec, Codec, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
    payload::Head,
};
use bytes::{Bytes, BytesMut};

const MANY: usize = 50_000;

/// Several times what it takes unoptimized on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn chat() -> &'static dyn ChatCodec {
    OPENAI_CHAT.codec().and_then(Codec::chat).unwrap()
}

fn anthropic() -> &'static dyn ChatCodec {
    ANTHROPIC.codec().and_then(Codec::chat).unwrap()
}

fn responses() -> &'static dyn ChatCodec {
    OPENAI_RESPONSES.codec().and_then(Codec::chat).unwrap()
}

fn gemini() -> &'static dyn ChatCodec {
    GEMINI.codec().and_then(Codec::chat).unwrap()
}

/// A request of which only the head is known.
fn asked(head: Head) -> Payload {
    Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default())
}

fn all() -> [(&'static str, &'static dyn ChatCodec); 4] {
    [("chat", chat()), ("responses", responses()), ("anthropic", anthropic()), ("gemini", gemini())]
}

/// `one(0),one(1),…`
fn many(one: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for index in 0..MANY {
        let comma = if index > 0 { "," } else { "" };
        write!(all, "{comma}{}", one(index)).unwrap();
    }
    all
}

#[track_caller]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    assert!(took < LIMIT, "{what} took {took:?}");
    result
}

/// Reads a request and writes it for providers of all dialects.
#[track_caller]
fn request(from: &dyn ChatCodec, body: &str) {
    let request = timed("decoding", || from.decode_request(body.as_bytes())).unwrap();
    for (name, to) in all() {
        let target = Target::new("provider", "model");
        let encoded = timed(name, || to.encode_request(&request, &target)).unwrap();
        assert!(encoded.lost.len() < 100, "{}", encoded.lost.len());
    }
}

fn chat_request(messages: &str, rest: &str) -> String {
    format!(r#"{{"model":"m","messages":[{messages}]{rest}}}"#)
}

fn anthropic_request(messages: &str, rest: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":9,"messages":[{messages}]{rest}}}"#)
}

const HI: &str = r#"{"role":"user","content":"hi"}"#;

fn chat_call(index: usize, name: &str) -> String {
    format!(r#"{{"id":"c{index}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#)
}

fn chat_result(index: usize) -> String {
    format!(r#"{{"role":"tool","tool_call_id":"c{index}","content":"r"}}"#)
}

/// A name that is against the rules, and like all others of its kind once it is put right.
fn illegal(index: usize) -> char {
    char::from_u32(0x1_0000 + index as u32).unwrap()
}

#[test]
fn messages_of_chat() {
    let of = |role: &str| format!(r#"{{"role":"{role}","content":"x"}}"#);

    request(chat(), &chat_request(&many(|index| of(["user", "assistant"][index % 2])), ""));
    request(chat(), &chat_request(&many(|index| of(["user", "system"][index % 2])), ""));
    request(chat(), &chat_request(&many(|_| of("assistant")), ""));
}

#[test]
fn calls_and_results_of_chat_in_the_worst_order() {
    let calls = many(|index| chat_call(index, "f"));
    let results = many(|index| chat_result(MANY - 1 - index));
    let calling = format!(r#"{HI},{{"role":"assistant","tool_calls":[{calls}]}}"#);

    request(chat(), &chat_request(&format!("{calling},{results}"), ""));
    request(chat(), &chat_request(&calling, ""));
    request(chat(), &chat_request(&format!("{HI},{results}"), ""));
}

#[test]
fn calls_of_chat_that_nobody_answers() {
    let unanswered = |index| match index % 2 {
        0 => format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, chat_call(index, "f")),
        _ => r#"{"role":"system","content":"s"}"#.to_owned(),
    };

    request(chat(), &chat_request(&format!("{HI},{}", many(unanswered)), ""));
}

#[test]
fn names_of_tools_that_are_against_the_rules() {
    let tools = many(|index| {
        let name = illegal(index);
        format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#)
    });
    let allowed =
        many(|index| format!(r#"{{"type":"function","function":{{"name":"{}"}}}}"#, illegal(index)));
    let calls = many(|index| chat_call(index, &illegal(index).to_string()));
    let choice = format!(
        r#","tools":[{tools}],"tool_choice":{{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":[{allowed}]}}}}"#
    );

    request(chat(), &chat_request(HI, &choice));
    request(chat(), &chat_request(&format!(r#"{HI},{{"role":"assistant","tool_calls":[{calls}]}}"#), ""));
}

#[test]
fn long_names_that_are_alike_up_to_their_ends() {
    let stem = "x".repeat(58);
    let tools = many(|index| {
        let bad = if index % 2 == 0 { "" } else { "/" };
        format!(r#"{{"type":"function","function":{{"name":"{stem}{:06x}{bad}"}}}}"#, index / 2)
    });

    request(chat(), &chat_request(HI, &format!(r#","tools":[{tools}]"#)));
}

#[test]
fn parts_and_cache_marks_of_chat() {
    let text = |_| r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#.to_owned();
    let image = |_| r#"{"type":"image_url","image_url":{"url":"https://e.x/a.png"}}"#.to_owned();
    let other = |index| format!(r#"{{"type":"t{index}","member{index}":1}}"#);
    let user =
        |parts: String| format!(r#"{{"role":"user","content":[{{"type":"text","text":"x"}},{parts}]}}"#);

    request(chat(), &chat_request(&user(many(text)), ""));
    request(chat(), &chat_request(&user(many(image)), ""));
    request(chat(), &chat_request(&user(many(other)), ""));
}

#[test]
fn members_that_nobody_knows() {
    let members = many(|index| format!(r#""member{index}":1"#));
    let parts = many(|index| format!(r#"{{"type":"text","text":"x","member{index}":1}}"#));
    let user = format!(r#"{{"role":"user","content":[{parts}]}}"#);

    request(chat(), &chat_request(HI, &format!(",{members}")));
    request(chat(), &chat_request(&user, ""));
    request(anthropic(), &anthropic_request(HI, &format!(",{members}")));
    request(anthropic(), &anthropic_request(&user, ""));
}

#[test]
fn stop_texts() {
    let stops = many(|index| format!("\"{index}\""));

    request(chat(), &chat_request(HI, &format!(r#","stop":[{stops}]"#)));
    request(anthropic(), &anthropic_request(HI, &format!(r#","stop_sequences":[{stops}]"#)));
}

#[test]
fn schemas() {
    let properties = many(|index| format!(r#""p{index}":{{"type":"string","minLength":1}}"#));
    let branches = many(|index| {
        format!(r#"{{"properties":{{"p{index}":{{}}}},"required":["p{index}","q{}"]}}"#, index % 7)
    });
    let names = many(|index| format!("\"p{index}\""));
    let tool = |schema: &str| {
        format!(
            r#","tools":[{{"type":"function","function":{{"name":"f","strict":true,"parameters":{schema}}}}}]"#
        )
    };
    let object = format!(r#"{{"type":"object","properties":{{{properties}}},"required":[{names}]}}"#);

    request(chat(), &chat_request(HI, &tool(&object)));
    request(chat(), &chat_request(HI, &tool(&format!(r#"{{"anyOf":[{branches}]}}"#))));
    request(chat(), &chat_request(HI, &tool(&format!(r#"{{"allOf":[{object},{branches}]}}"#))));
}

#[test]
fn messages_and_blocks_of_anthropic() {
    let of = |role: &str| format!(r#"{{"role":"{role}","content":"x"}}"#);
    let unknown = many(|index| format!(r#"{{"type":"t{index}","a":1}}"#));
    let unproven = many(|_| {
        r#"{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"x"}"#.to_owned()
    });
    let system = many(|_| r#"{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}"#.to_owned());

    request(anthropic(), &anthropic_request(&many(|index| of(["user", "assistant"][index % 2])), ""));
    request(anthropic(), &anthropic_request(&many(|index| of(["user", "system"][index % 2])), ""));
    request(
        anthropic(),
        &anthropic_request(&format!(r#"{HI},{{"role":"assistant","content":[{unknown}]}},{HI}"#), ""),
    );
    request(
        anthropic(),
        &anthropic_request(&format!(r#"{HI},{{"role":"assistant","content":[{unproven}]}},{HI}"#), ""),
    );
    request(anthropic(), &anthropic_request(HI, &format!(r#","system":[{system}]"#)));
}

#[test]
fn calls_and_results_of_anthropic_in_the_worst_order() {
    let calls = many(|index| format!(r#"{{"type":"tool_use","id":"c{index}","name":"f","input":{{}}}}"#));
    let results = many(|index| {
        format!(r#"{{"type":"tool_result","tool_use_id":"c{}","content":"r"}}"#, MANY - 1 - index)
    });
    let calling = format!(r#"{HI},{{"role":"assistant","content":[{calls}]}}"#);

    let answered = format!(r#"{calling},{{"role":"user","content":[{results}]}}"#);
    request(anthropic(), &anthropic_request(&answered, ""));
    request(anthropic(), &anthropic_request(&calling, ""));
    request(anthropic(), &anthropic_request(&format!(r#"{{"role":"user","content":[{results}]}}"#), ""));
}

fn responses_request(items: &str, rest: &str) -> String {
    format!(r#"{{"model":"m","input":[{items}]{rest}}}"#)
}

fn gemini_request(contents: &str, rest: &str) -> String {
    format!(r#"{{"contents":[{contents}]{rest}}}"#)
}

#[test]
fn items_of_responses() {
    let of = |role: &str| format!(r#"{{"type":"message","role":"{role}","content":"x"}}"#);
    let thought = r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":"gAAA"}"#;
    let unknown = many(|index| format!(r#"{{"type":"t{index}","a":1}}"#));
    let parts = many(|index| format!(r#"{{"type":"input_text","text":"x","member{index}":1}}"#));
    let members = many(|index| format!(r#""member{index}":1"#));

    request(responses(), &responses_request(&many(|index| of(["user", "assistant"][index % 2])), ""));
    request(responses(), &responses_request(&many(|index| of(["user", "system"][index % 2])), ""));
    request(responses(), &responses_request(&format!("{HI},{}", many(|_| thought.to_owned())), ""));
    request(responses(), &responses_request(&format!("{HI},{unknown},{HI}"), ""));
    request(responses(), &responses_request(&format!(r#"{{"role":"user","content":[{parts}]}}"#), ""));
    request(responses(), &responses_request(HI, &format!(",{members}")));
}

#[test]
fn calls_and_results_of_responses_in_the_worst_order() {
    let calls = many(|index| {
        format!(
            r#"{{"type":"function_call","call_id":"c{index}","name":"{}","arguments":"{{}}"}}"#,
            illegal(index)
        )
    });
    let results = many(|index| {
        format!(r#"{{"type":"function_call_output","call_id":"c{}","output":"r"}}"#, MANY - 1 - index)
    });
    let turns = many(|index| {
        format!(
            r#"{{"type":"function_call","call_id":"c{index}","name":"f","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"c{index}","output":"r"}}"#
        )
    });

    request(responses(), &responses_request(&format!("{HI},{calls},{results}"), ""));
    request(responses(), &responses_request(&format!("{HI},{calls}"), ""));
    request(responses(), &responses_request(&format!("{HI},{results}"), ""));
    request(responses(), &responses_request(&format!("{HI},{turns}"), ""));
}

const SAY_HI: &str = r#"{"role":"user","parts":[{"text":"hi"}]}"#;

#[test]
fn contents_and_parts_of_gemini() {
    let of = |role: &str| format!(r#"{{"role":"{role}","parts":[{{"text":"x"}}]}}"#);
    let signed = many(|_| r#"{"text":"x","thoughtSignature":"U0lH"}"#.to_owned());
    let unknown = many(|index| format!(r#"{{"t{index}":{{"a":1}}}}"#));
    let settings = many(|index| format!(r#""member{index}":1"#));
    let content = |parts: &str| format!(r#"{SAY_HI},{{"role":"model","parts":[{parts}]}},{SAY_HI}"#);

    request(gemini(), &gemini_request(&many(|index| of(["user", "model"][index % 2])), ""));
    request(gemini(), &gemini_request(&many(|_| of("model")), ""));
    request(gemini(), &gemini_request(&content(&signed), ""));
    request(gemini(), &gemini_request(&content(&unknown), ""));
    request(gemini(), &gemini_request(SAY_HI, &format!(r#","generationConfig":{{{settings}}}"#)));
}

#[test]
fn calls_and_results_of_gemini_with_and_without_ids() {
    let call = |id: &str, name: char| format!(r#"{{"functionCall":{{{id}"name":"{name}","args":{{}}}}}}"#);
    let result =
        |id: &str, name: char| format!(r#"{{"functionResponse":{{{id}"name":"{name}","response":{{}}}}}}"#);
    let asked = |calls: &str| format!(r#"{SAY_HI},{{"role":"model","parts":[{calls}]}}"#);
    let answered =
        |calls: &str, results: &str| format!(r#"{},{{"role":"user","parts":[{results}]}}"#, asked(calls));
    let id = |index: usize| format!(r#""id":"c{index}","#);

    let alike = many(|_| call("", 'f'));
    let differing = many(|index| call("", illegal(index)));
    let identified = many(|index| call(&id(index), 'f'));
    let backwards = many(|index| result(&id(MANY - 1 - index), 'f'));
    let out_of_order = many(|index| result("", illegal(MANY - 1 - index)));

    request(gemini(), &gemini_request(&answered(&alike, &many(|_| result("", 'f'))), ""));
    request(gemini(), &gemini_request(&answered(&differing, &out_of_order), ""));
    request(gemini(), &gemini_request(&answered(&identified, &backwards), ""));
    request(gemini(), &gemini_request(&asked(&alike), ""));
    request(gemini(), &gemini_request(&format!(r#"{{"role":"user","parts":[{backwards}]}}"#), ""));
}

#[track_caller]
fn answer(from: &dyn ChatCodec, body: &str) {
    let answer = timed("decoding", || from.decode_answer(body.as_bytes())).unwrap();
    for (name, to) in all() {
        timed(name, || to.encode_answer(&answer, &asked(Head::default())));
    }
}

#[test]
fn whole_answers() {
    let calls = many(|index| chat_call(index, "f"));
    let parts = many(|_| r#"{"type":"text","text":"x"}"#.to_owned());
    let details = many(|_| r#"{"type":"reasoning.text","text":"x"}"#.to_owned());
    let choices =
        many(|index| format!(r#"{{"index":{index},"message":{{"content":"x"}},"finish_reason":"stop"}}"#));
    let of_chat = |message: &str| {
        format!(r#"{{"id":"x","choices":[{{"index":0,"message":{{{message}}},"finish_reason":"stop"}}]}}"#)
    };
    let blocks = many(|index| format!(r#"{{"type":"tool_use","id":"c{index}","name":"f","input":{{}}}}"#));
    let unknown = many(|index| format!(r#"{{"type":"t{index}","a":1}}"#));
    let of_anthropic = |blocks: &str| {
        format!(
            r#"{{"id":"x","type":"message","role":"assistant","content":[{blocks}],"stop_reason":"end_turn"}}"#
        )
    };

    answer(chat(), &of_chat(&format!(r#""tool_calls":[{calls}]"#)));
    answer(chat(), &of_chat(&format!(r#""content":[{parts}],"reasoning_details":[{details}]"#)));
    answer(chat(), &format!(r#"{{"id":"x","choices":[{choices}]}}"#));
    answer(anthropic(), &of_anthropic(&blocks));
    answer(anthropic(), &of_anthropic(&format!("{parts},{unknown}")));
}

#[test]
fn whole_answers_of_responses_and_gemini() {
    let calls = many(|index| {
        format!(r#"{{"type":"function_call","call_id":"c{index}","name":"f","arguments":"{{}}"}}"#)
    });
    let items = many(|index| match index % 2 {
        0 => r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}"#.to_owned(),
        _ => r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]}"#
            .to_owned(),
    });
    let parts = many(|index| {
        [r#"{"text":"x"}"#, r#"{"text":"x","thought":true}"#, r#"{"functionCall":{"name":"f","args":{}}}"#]
            [index % 3]
            .to_owned()
    });
    let candidates = many(|index| format!(r#"{{"index":{index},"content":{{"parts":[{{"text":"x"}}]}}}}"#));

    answer(responses(), &format!(r#"{{"id":"x","output":[{calls}]}}"#));
    answer(responses(), &format!(r#"{{"id":"x","output":[{items}]}}"#));
    answer(gemini(), &format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#));
    answer(gemini(), &format!(r#"{{"candidates":[{candidates}]}}"#));
}

/// Reads a stream of these data and writes it for clients of all dialects.
#[track_caller]
fn stream(from: &dyn ChatCodec, data: impl Iterator<Item = String> + Clone) -> Vec<Result<(), Error>> {
    let asked = asked(Head { stream: true, choices: 1, ..Head::default() });
    let through = |to: &dyn ChatCodec| {
        let (mut decoder, mut encoder, mut out) = (from.decoder(), to.encoder(&asked), BytesMut::new());
        for data in data.clone() {
            let event = sse::Event { raw: Bytes::new(), name: Bytes::new(), data: data.into() };
            decoder.event(&event, &mut |event| encoder.event(event, &mut out))?;
            out.clear();
        }
        decoder.finish(&mut |event| encoder.event(event, &mut out))
    };
    all().map(|(name, to)| timed(name, || through(to))).into()
}

#[track_caller]
fn assert_refused(results: Vec<Result<(), Error>>) {
    for result in results {
        assert_eq!(result.unwrap_err().kind(), Kind::Upstream);
    }
}

fn chunk(delta: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{{delta}}}}}]}}"#)
}

fn call_delta(index: usize, arguments: &str) -> String {
    format!(r#"{{"index":{index},"id":"c{index}","function":{{"name":"f","arguments":"{arguments}"}}}}"#)
}

const FINISH: &str = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;

#[test]
fn more_calls_in_a_stream_than_any_answer_has_are_refused() {
    let one_by_one = (0..MANY).map(|index| chunk(&format!(r#""tool_calls":[{}]"#, call_delta(index, "{"))));
    let at_once = chunk(&format!(r#""tool_calls":[{}]"#, many(|index| call_delta(index, "{"))));
    let blocks = (0..MANY).map(|index| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"c{index}","name":"f","input":{{}}}}}}"#
        )
    });

    assert_refused(stream(chat(), one_by_one));
    assert_refused(stream(chat(), std::iter::once(at_once)));
    assert_refused(stream(anthropic(), blocks));
}

#[test]
fn calls_that_take_turns() {
    const CALLS: usize = 9000;
    let chunks = (0..MANY).map(|index| {
        let arguments = if index < CALLS { "[" } else { "1," };
        chunk(&format!(r#""tool_calls":[{}]"#, call_delta(index % CALLS, arguments)))
    });
    let nameless = (0..MANY).map(|index| {
        chunk(&format!(r#""tool_calls":[{{"index":{},"function":{{"arguments":"x"}}}}]"#, index % CALLS))
    });
    let deltas = (0..MANY).map(|index| {
        let at = index % CALLS;
        match index < CALLS {
            true => format!(
                r#"{{"type":"content_block_start","index":{at},"content_block":{{"type":"tool_use","id":"c{at}","name":"f","input":{{}}}}}}"#
            ),
            false => format!(
                r#"{{"type":"content_block_delta","index":{at},"delta":{{"type":"input_json_delta","partial_json":"[1,"}}}}"#
            ),
        }
    });

    for result in stream(chat(), chunks.chain([FINISH.to_owned()])) {
        result.unwrap();
    }
    assert_refused(stream(chat(), nameless));
    assert_refused(stream(anthropic(), deltas));
}

#[test]
fn streams_of_responses_and_gemini() {
    let items = (0..MANY).map(|index| {
        format!(
            r#"{{"type":"response.output_item.added","output_index":{index},"item":{{"type":"function_call","call_id":"c{index}","name":"f","arguments":""}}}}"#
        )
    });
    let calls = (0..MANY).map(|_| {
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":[1]}}}]}}]}"#
            .to_owned()
    });
    let at_once = many(|_| r#"{"functionCall":{"name":"f","args":{"a":[1]}}}"#.to_owned());
    let candidates = (0..MANY).map(|index| {
        format!(r#"{{"candidates":[{{"index":{index},"content":{{"parts":[{{"text":"x"}}]}}}}]}}"#)
    });
    let texts = (0..MANY).map(|_| {
        r#"{"candidates":[{"content":{"parts":[{"text":"x","thought":true},{"text":"y","thoughtSignature":"U0lH"}]}}]}"#
            .to_owned()
    });
    let deltas =
        (0..MANY).map(|_| r#"{"type":"response.output_text.delta","output_index":0,"delta":"x"}"#.to_owned());

    // Whether it is understood does not matter.
    stream(responses(), items);
    stream(responses(), deltas);
    stream(gemini(), calls);
    stream(gemini(), std::iter::once(format!(r#"{{"candidates":[{{"content":{{"parts":[{at_once}]}}}}]}}"#)));
    stream(gemini(), candidates);
    stream(gemini(), texts);
}

#[test]
fn more_answers_in_a_stream_than_can_be_asked_for_are_refused() {
    let chunks = (0..MANY)
        .map(|index| format!(r#"{{"id":"c","choices":[{{"index":{index},"delta":{{"content":"x"}}}}]}}"#));

    assert_refused(stream(chat(), chunks));
}

#[test]
fn what_a_provider_makes_the_gateway_keep_has_an_end() {
    let megabyte = "x".repeat(1 << 20);
    let unnamed = (0..64).map(|_| {
        chunk(&format!(r#""tool_calls":[{{"index":0,"id":"c","function":{{"arguments":"{megabyte}"}}}}]"#))
    });
    let blocks = (0..64).map(|index| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"c","name":"f","input":{{"a":"{megabyte}"}}}}}}"#
        )
    });

    assert_refused(stream(chat(), unnamed));
    assert_refused(stream(anthropic(), blocks));
}

#[test]
fn a_client_is_told_when_calls_that_take_turns_are_too_long_to_keep() {
    let megabyte = "x".repeat(1 << 20);
    let begin = chunk(&format!(r#""tool_calls":[{},{}]"#, call_delta(0, "["), call_delta(1, "[")));
    let more = chunk(&format!(r#""tool_calls":[{{"index":1,"function":{{"arguments":"{megabyte}"}}}}]"#));
    let (mut decoder, mut encoder) = (chat().decoder(), anthropic().encoder(&asked(Head::default())));
    let mut out = BytesMut::new();

    for data in [begin].into_iter().chain(vec![more; 64]) {
        let event = sse::Event { raw: Bytes::new(), name: Bytes::new(), data: data.into() };
        decoder.event(&event, &mut |event| encoder.event(event, &mut out)).unwrap();
    }

    let written = String::from_utf8(out.to_vec()).unwrap();
    let last = written.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\n"), "{last}");
    assert_eq!(written.matches("event: error").count(), 1);
}

#[test]
fn an_event_of_many_lines() {
    let mut events = Splitter::default();
    let raw = format!("{}\n", "data: x\n".repeat(MANY * 5));

    let event = timed("splitting", || {
        events.push(raw.into()).unwrap();
        events.next_event().unwrap()
    });

    assert_eq!(event.data.len(), MANY * 10 - 1);
}

#[test]
fn answers_as_deep_as_can_be_are_read_on_a_small_stack() {
    const DEPTH: usize = 100_000;
    let array = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let parts = format!("{}\"x\"{}", r#"[{"type":"thinking","thinking":"#.repeat(DEPTH), "}]".repeat(DEPTH));
    let shallow_parts =
        format!("{}\"x\"{}", r#"[{"type":"thinking","thinking":"#.repeat(60), "}]".repeat(60));
    let block = format!(r#"{{"type":"tool_use","id":"c","name":"f","input":{array}}}"#);
    let error = format!(r#"{{"error":{array},"usage":{array},"choices":[{array}]}}"#);
    let bodies = [
        format!(r#"{{"choices":[{{"message":{{"content":{parts}}}}}]}}"#),
        format!(r#"{{"choices":[{{"message":{{"content":{shallow_parts}}}}}]}}"#),
        format!(r#"{{"choices":[{{"message":{{"content":{array}}},"logprobs":{array}}}],"x":{array}}}"#),
        format!(r#"{{"choices":[{{"delta":{{"content":{parts}}}}}]}}"#),
        format!(
            r#"{{"choices":[{{"delta":{{"tool_calls":[{{"function":{{"name":"f","arguments":{array}}}}}]}}}}]}}"#
        ),
        format!(r#"{{"content":[{block}],"usage":{array},"stop_details":{array}}}"#),
        format!(
            r#"{{"output":[{{"type":"message","content":{array}}},{array}],"input":{array},"usage":{array}}}"#
        ),
        format!(r#"{{"type":"response.output_item.added","item":{{"type":"reasoning","summary":{array}}}}}"#),
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{array}}}}},{array}]}}}}],"usageMetadata":{array}}}"#
        ),
        format!(r#"{{"contents":[{{"parts":[{{"functionResponse":{{"name":"f","response":{array}}}}}]}}]}}"#),
        format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#),
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_details":{array}}},"usage":{{"cache_creation":{array}}}}}"#
        ),
        error,
        array.clone(),
        array[..DEPTH].to_owned(),
    ];

    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for body in bodies {
            read_everywhere(&body);
        }
    });

    small.unwrap().join().unwrap();
}

/// Whether it is understood does not matter.
fn read_everywhere(body: &str) {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let event = sse::Event { raw: body.clone(), name: Bytes::new(), data: body.clone() };
    for dialect in [&OPENAI_CHAT as &dyn Dialect, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI] {
        let codec = dialect.codec().and_then(Codec::chat).unwrap();
        let _ = codec.decode_request(&body);
        if let Ok(answer) = codec.decode_answer(&body) {
            for (_, to) in all() {
                to.encode_answer(&answer, &asked(Head::default()));
            }
        }
        let _ = codec.decoder().event(&event, &mut |_| {});
        let _ = dialect.is_content(&event);
        let _ = dialect.closing(&event);
        let _ = dialect.output_bytes(&event);
        let _ = dialect.read_usage(&body, &mut Default::default());
        let _ = dialect.error_in_answer(&body);
        let _ = dialect.without_usage(&event);
    }
}
