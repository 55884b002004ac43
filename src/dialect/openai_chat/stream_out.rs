//! A stream for a client, written chunk by chunk.

use std::{borrow::Cow, collections::BTreeSet};

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::{
    answer::{extra_content, now, redacted_block, thinking_block},
    finish,
    functions::Functions,
    usage, wire,
};
use crate::{
    Tokens,
    dialect::{
        Encode,
        buffer::MAX_BYTES,
        canonical::{Citation, Event, Finish},
        citation::characters,
        ids, json_writer, openai_annotations, proof,
    },
};

/// Writes the chunks of an answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    include_usage: bool,
    /// Set for a client that knows calls in the older form only.
    functions: Option<Functions>,
    /// What every chunk begins with; empty until the answer has begun.
    head: Vec<u8>,
    tokens: Tokens,
    choices: Vec<Choice>,
}

/// The state of one answer of several.
#[derive(Debug)]
struct Choice {
    index: u32,
    /// The thoughts that have no proof yet; `None` if they are too long to be kept.
    thoughts: Option<String>,
    /// How many blocks of thoughts have been written: OpenAI's SDK wants the pieces of every list numbered.
    blocks: u32,
    has_refusal: bool,
    /// The length of its text.
    characters: usize,
    annotations: usize,
    /// The calls that take free text.
    free_text: BTreeSet<u32>,
    /// Google's proof of the thoughts before a call, with which it is written.
    signature: Option<String>,
    /// The call that a client of functions is told of.
    function: Option<u32>,
}

/// The first part of every chunk; the array of choices stays open.
#[derive(Serialize)]
struct Head<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
}

impl Encode for Encoder {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if let Some(choice) = ends_signature(&event) {
            self.flush_signature(choice, out);
        }
        match event {
            Event::Start { id, model, created } => self.start(&id, &model, created, out),
            Event::Text { choice, text } => {
                self.choice(choice, out).characters += characters(&text);
                self.text(choice, "content", &text, out);
            }
            Event::Citation { choice, citation } => self.cite(choice, citation, out),
            Event::Reasoning { choice, text } => {
                self.choice(choice, out).think(&text);
                self.text(choice, "reasoning_content", &text, out);
            }
            Event::Signature { choice, signature } if proof::gemini(&signature).is_some() => {
                self.flush_signature(choice, out);
                self.choice(choice, out).signature = Some(signature.into_owned());
            }
            Event::Signature { choice, signature } => {
                // A proof of thoughts that are too long to be kept proves nothing.
                if let Some(thoughts) = self.choice(choice, out).thoughts.replace(String::new()) {
                    self.proof(choice, thinking_block(&thoughts, Some(&signature)), out);
                }
            }
            Event::RedactedReasoning { choice, data } => self.proof(choice, redacted_block(&data), out),
            Event::Refusal { choice, text } => {
                self.choice(choice, out).has_refusal = true;
                self.text(choice, "refusal", &text, out);
            }
            Event::ToolCall { choice, call, name, .. } if self.functions.is_some() => {
                self.function(choice, call, &name, out);
            }
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                self.call(choice, call, [&id, &name], is_free_text, out);
            }
            Event::Arguments { choice, call, fragment } if self.functions.is_some() => {
                self.function_arguments(choice, call, &fragment, out);
            }
            Event::Arguments { choice, call, fragment } => self.arguments(choice, call, &fragment, out),
            Event::Logprobs { choice, raw } => {
                self.open(choice, out);
                out.put_slice(b"},\"logprobs\":");
                out.put_slice(raw.get().as_bytes());
                self.close(None, out);
            }
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice, finish } => self.finish(choice, &finish, out),
            Event::Ping => out.put_slice(b": ping\n\n"),
            Event::End => self.end(out),
        }
    }

    fn cites(&self, _: u32, citation: &Citation<'_>) -> bool {
        openai_annotations::is_said_in_chat(citation)
    }
}

/// The answer whose proof is not for a call, as this event shows.
fn ends_signature(event: &Event<'_>) -> Option<u32> {
    match event {
        Event::Text { choice, .. }
        | Event::Reasoning { choice, .. }
        | Event::RedactedReasoning { choice, .. }
        | Event::Refusal { choice, .. }
        | Event::Finish { choice, .. } => Some(*choice),
        _ => None,
    }
}

impl Choice {
    fn think(&mut self, text: &str) {
        match &mut self.thoughts {
            Some(thoughts) if thoughts.len() + text.len() <= MAX_BYTES => thoughts.push_str(text),
            thoughts => *thoughts = None,
        }
    }
}

impl Encoder {
    /// An encoder for a client that wants the token counts, or does not, and may know `functions` only.
    pub(crate) fn new(include_usage: bool, functions: Option<Functions>) -> Self {
        Self { include_usage, functions, head: Vec::new(), tokens: Tokens::default(), choices: Vec::new() }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<u64>, out: &mut BytesMut) {
        let id = if id.is_empty() { ids::new("chatcmpl-").into() } else { Cow::Borrowed(id) };
        let head =
            Head { id: &id, object: "chat.completion.chunk", created: created.unwrap_or_else(now), model };
        self.head = b"data: ".to_vec();
        write(&mut self.head, &head);
        // The closing brace.
        self.head.pop();
        self.head.extend_from_slice(b",\"choices\":[");
        self.choice(0, out);
    }

    /// The state of an answer, whose first chunk names the role.
    fn choice(&mut self, index: u32, out: &mut BytesMut) -> &mut Choice {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let at = known.unwrap_or_else(|| {
            self.choices.push(Choice {
                index,
                thoughts: Some(String::new()),
                blocks: 0,
                has_refusal: false,
                characters: 0,
                annotations: 0,
                free_text: BTreeSet::new(),
                signature: None,
                function: None,
            });
            self.delta(index, out);
            out.put_slice(b"\"role\":\"assistant\",\"content\":\"\"}");
            self.close(None, out);
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    /// Begins a chunk up to the open brace of its delta.
    fn open(&mut self, choice: u32, out: &mut BytesMut) {
        self.choice(choice, out);
        self.delta(choice, out);
    }

    fn delta(&self, choice: u32, out: &mut BytesMut) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"index\":");
        write(out, &choice);
        out.put_slice(b",\"delta\":{");
    }

    /// Ends a chunk after its delta.
    fn close(&self, finish: Option<&str>, out: &mut BytesMut) {
        out.put_slice(b",\"finish_reason\":");
        write(out, &finish);
        out.put_slice(b"}]");
        if self.include_usage {
            out.put_slice(b",\"usage\":null");
        }
        out.put_slice(b"}\n\n");
    }

    fn text(&mut self, choice: u32, member: &str, text: &str, out: &mut BytesMut) {
        self.open(choice, out);
        out.put_u8(b'"');
        out.put_slice(member.as_bytes());
        out.put_slice(b"\":");
        write(out, text);
        out.put_u8(b'}');
        self.close(None, out);
    }

    fn cite(&mut self, choice: u32, citation: Citation<'_>, out: &mut BytesMut) {
        let state = self.choice(choice, out);
        let citation = citation.within(state.characters);
        let Some(mut annotation) = openai_annotations::in_chat(&citation, 0..state.characters) else {
            return;
        };
        annotation.index = Some(state.annotations);
        state.annotations += 1;
        self.open(choice, out);
        out.put_slice(b"\"annotations\":[");
        write(out, &annotation);
        out.put_slice(b"]}");
        self.close(None, out);
    }

    /// Writes a proof of Google's that is not for a call.
    fn flush_signature(&mut self, choice: u32, out: &mut BytesMut) {
        let Some(state) = self.choices.iter_mut().find(|state| state.index == choice) else { return };
        let Some(signature) = state.signature.take() else { return };
        if let Some(thoughts) = state.thoughts.replace(String::new()) {
            self.proof(choice, thinking_block(&thoughts, Some(&signature)), out);
        }
    }

    /// Thoughts with their proof, for clients that send them back.
    fn proof(&mut self, choice: u32, mut block: wire::ThinkingBlock<'_>, out: &mut BytesMut) {
        let state = self.choice(choice, out);
        block.index = Some(state.blocks);
        state.blocks += 1;
        self.open(choice, out);
        out.put_slice(b"\"thinking_blocks\":[");
        write(out, &block);
        out.put_slice(b"]}");
        self.close(None, out);
    }

    fn call(
        &mut self,
        choice: u32,
        call: u32,
        [id, name]: [&str; 2],
        is_free_text: bool,
        out: &mut BytesMut,
    ) {
        let state = self.choice(choice, out);
        if is_free_text {
            state.free_text.insert(call);
        }
        let signature = state.signature.take();
        if signature.is_some() {
            state.thoughts = Some(String::new());
        }
        self.open(choice, out);
        out.put_slice(b"\"tool_calls\":[{\"index\":");
        write(out, &call);
        out.put_slice(b",\"id\":");
        write(out, id);
        let (before, after): (&[u8], &[u8]) = if is_free_text {
            (b",\"type\":\"custom\",\"custom\":{\"name\":", b",\"input\":\"\"}")
        } else {
            (b",\"type\":\"function\",\"function\":{\"name\":", b",\"arguments\":\"\"}")
        };
        out.put_slice(before);
        write(out, name);
        out.put_slice(after);
        if let Some(signature) = signature.as_deref().and_then(proof::gemini) {
            out.put_slice(b",\"extra_content\":");
            write(out, &extra_content(signature));
        }
        out.put_slice(b"}]}");
        self.close(None, out);
    }

    fn arguments(&mut self, choice: u32, call: u32, fragment: &str, out: &mut BytesMut) {
        let is_free_text = self.choice(choice, out).free_text.contains(&call);
        self.open(choice, out);
        out.put_slice(b"\"tool_calls\":[{\"index\":");
        write(out, &call);
        let member: &[u8] =
            if is_free_text { b",\"custom\":{\"input\":" } else { b",\"function\":{\"arguments\":" };
        out.put_slice(member);
        write(out, fragment);
        out.put_slice(b"}}]}");
        self.close(None, out);
    }

    /// The first call in the older form, which has room for one.
    fn function(&mut self, choice: u32, call: u32, name: &str, out: &mut BytesMut) {
        self.flush_signature(choice, out);
        let state = self.choice(choice, out);
        if *state.function.get_or_insert(call) != call {
            return self.functions.iter().for_each(Functions::lose_calls);
        }
        self.open(choice, out);
        out.put_slice(b"\"function_call\":{\"name\":");
        write(out, name);
        out.put_slice(b",\"arguments\":\"\"}}");
        self.close(None, out);
    }

    fn function_arguments(&mut self, choice: u32, call: u32, fragment: &str, out: &mut BytesMut) {
        if self.choice(choice, out).function != Some(call) {
            return;
        }
        self.open(choice, out);
        out.put_slice(b"\"function_call\":{\"arguments\":");
        write(out, fragment);
        out.put_slice(b"}}");
        self.close(None, out);
    }

    fn finish(&mut self, choice: u32, finish: &Finish<'_>, out: &mut BytesMut) {
        if let Finish::Refused(Some(explanation)) = finish
            && !self.choice(choice, out).has_refusal
        {
            self.text(choice, "refusal", explanation, out);
        }
        self.open(choice, out);
        out.put_u8(b'}');
        let word = match finish {
            Finish::ToolCalls if self.functions.is_some() => finish::FUNCTION_CALL,
            finish => finish::word(finish),
        };
        self.close(Some(word), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if self.include_usage {
            out.put_slice(&self.head);
            out.put_slice(b"],\"usage\":");
            write(out, &usage::Rendered::from(&self.tokens));
            out.put_slice(b"}\n\n");
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
}

/// Writes what can't fail: neither can the memory it is written to, nor these values.
fn write<T: Serialize + ?Sized>(out: &mut impl BufMut, value: &T) {
    let _ = json_writer::write(out, value);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::functions::tests::client, *};

    fn start() -> Event<'static> {
        Event::Start { id: "msg_1".into(), model: "cla\"ude".into(), created: Some(7) }
    }

    fn written<const N: usize>(include_usage: bool, events: [Event<'_>; N]) -> String {
        let mut encoder = Encoder::new(include_usage, None);
        let mut out = BytesMut::new();
        events.into_iter().for_each(|event| encoder.event(event, &mut out));
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The chunks, and whether the stream has ended.
    fn chunks<const N: usize>(include_usage: bool, events: [Event<'_>; N]) -> (Vec<Value>, bool) {
        let text = written(include_usage, events);
        let ended = text.ends_with("data: [DONE]\n\n");
        let chunk = |event: &str| serde_json::from_str(event.strip_prefix("data: ")?).ok();
        (text.split_terminator("\n\n").filter_map(chunk).collect(), ended)
    }

    /// What the chunks after the first one add to the only answer.
    fn deltas<const N: usize>(events: [Event<'_>; N]) -> Vec<Value> {
        let (chunks, _) = chunks(false, events);
        chunks[1..].iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
    }

    #[test]
    fn a_stream_of_anthropic_becomes_one_of_openai() {
        let tokens = Tokens { input: 15, output: 12, ..Tokens::default() };
        let events = [
            start(),
            Event::Text { choice: 0, text: "Hé\n".into() },
            Event::ToolCall {
                choice: 0,
                call: 0,
                id: "toolu_1".into(),
                name: "f".into(),
                is_free_text: false,
            },
            Event::Arguments { choice: 0, call: 0, fragment: "{}".into() },
            Event::Finish { choice: 0, finish: Finish::ToolCalls },
            Event::Usage(tokens),
            Event::End,
        ];

        let (chunks, ended) = chunks(true, events);

        let chunk = |delta: Value, finish: Value| {
            json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "cla\"ude",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null})
        };
        let call = json!({"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}});
        let expected = [
            chunk(json!({"role": "assistant", "content": ""}), Value::Null),
            chunk(json!({"content": "Hé\n"}), Value::Null),
            chunk(json!({"tool_calls": [call]}), Value::Null),
            chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), Value::Null),
            chunk(json!({}), json!("tool_calls")),
            json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "cla\"ude", "choices": [],
                "usage": {"prompt_tokens": 15, "completion_tokens": 12, "total_tokens": 27,
                    "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0}}}),
        ];
        assert_eq!(chunks, expected);
        assert!(ended);
    }

    #[test]
    fn usage_is_for_those_who_asked() {
        // C109
        let events = [start(), Event::Usage(Tokens { input: 1, ..Tokens::default() }), Event::End];

        let (chunks, ended) = chunks(false, events);

        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].get("usage"), None);
        assert!(ended);
    }

    #[test]
    fn thoughts_are_followed_by_their_proof() {
        // C66, C69
        let thought = |text: &'static str| Event::Reasoning { choice: 0, text: text.into() };
        let signature = |text: &'static str| Event::Signature { choice: 0, signature: text.into() };

        let deltas = deltas([
            start(),
            thought("h"),
            thought("m"),
            signature("s1"),
            Event::RedactedReasoning { choice: 0, data: "d".into() },
            thought("so"),
            signature("s2"),
        ]);

        let block = |index: u32, text: &str, signature: &str| {
            let block = json!({"index": index, "type": "thinking", "thinking": text, "signature": signature});
            json!({"thinking_blocks": [block]})
        };
        assert_eq!(
            deltas,
            [
                json!({"reasoning_content": "h"}),
                json!({"reasoning_content": "m"}),
                block(0, "hm", "s1"),
                json!({"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "d"}]}),
                json!({"reasoning_content": "so"}),
                block(2, "so", "s2"),
            ]
        );
    }

    #[test]
    fn a_proof_of_google_stands_with_its_call() {
        // C71
        let signature = |text: &'static str| Event::Signature { choice: 0, signature: text.into() };
        let call =
            Event::ToolCall { choice: 0, call: 0, id: "a".into(), name: "f".into(), is_free_text: false };
        let finish = Event::Finish { choice: 0, finish: Finish::ToolCalls };

        let deltas = deltas([start(), signature("gemini:UzE="), call, signature("gemini:UzI="), finish]);

        assert_eq!(
            deltas[0]["tool_calls"][0]["extra_content"],
            json!({"google": {"thought_signature": "UzE="}})
        );
        assert_eq!(deltas[1]["thinking_blocks"][0]["signature"], "gemini:UzI=");
        assert_eq!(deltas.len(), 3);
    }

    #[test]
    fn a_refusal_is_explained_once() {
        // C118
        let refused = || Event::Finish { choice: 0, finish: Finish::Refused(Some("policy".into())) };
        let refusal = Event::Refusal { choice: 0, text: "no".into() };

        assert_eq!(deltas([start(), refused()]), [json!({"refusal": "policy"}), json!({})]);
        assert_eq!(deltas([start(), refusal, refused()]), [json!({"refusal": "no"}), json!({})]);
        let (chunks, _) = chunks(false, [start(), refused()]);
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "content_filter");
    }

    #[test]
    fn every_answer_has_a_role_of_its_own() {
        let text = |choice| Event::Text { choice, text: "x".into() };

        let (chunks, _) = chunks(false, [start(), text(0), text(1), text(1)]);

        let seen: Vec<_> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .map(|choice| (choice["index"].as_u64(), choice["delta"].get("role").is_some()))
            .collect();
        let (first, second) = (Some(0), Some(1));
        assert_eq!(seen, [(first, true), (first, false), (second, true), (second, false), (second, false)]);
    }

    #[test]
    fn free_text_and_likelihoods_are_written() {
        let raw = serde_json::value::to_raw_value(&json!({"content": []})).unwrap();

        let (chunks, _) = chunks(
            false,
            [
                start(),
                Event::ToolCall { choice: 0, call: 0, id: "a".into(), name: "g".into(), is_free_text: true },
                Event::Arguments { choice: 0, call: 0, fragment: "select".into() },
                Event::Logprobs { choice: 0, raw: std::borrow::Cow::Owned(raw) },
            ],
        );

        let delta = |index: usize| &chunks[index]["choices"][0]["delta"]["tool_calls"][0];
        assert_eq!(
            *delta(1),
            json!({"index": 0, "id": "a", "type": "custom", "custom": {"name": "g", "input": ""}})
        );
        assert_eq!(*delta(2), json!({"index": 0, "custom": {"input": "select"}}));
        assert_eq!(
            chunks[3]["choices"][0],
            json!({"index": 0, "delta": {}, "logprobs": {"content": []}, "finish_reason": null})
        );
    }

    #[test]
    fn a_ping_is_a_comment() {
        // C111
        assert!(written(false, [start(), Event::Ping]).ends_with("\n\n: ping\n\n"));
    }

    #[test]
    fn a_client_of_functions_is_told_of_one_call_of_each_answer() {
        let call = |choice, call, name: &'static str| Event::ToolCall {
            choice,
            call,
            id: "c".into(),
            name: name.into(),
            is_free_text: false,
        };
        let arguments = |choice, call, fragment: &'static str| Event::Arguments {
            choice,
            call,
            fragment: fragment.into(),
        };
        let (functions, lost) = client();
        let (mut encoder, mut out) = (Encoder::new(false, Some(functions)), BytesMut::new());

        for event in [
            start(),
            call(0, 0, "f"),
            arguments(0, 0, "{"),
            call(0, 1, "g"),
            arguments(0, 1, "[]"),
            arguments(0, 0, "}"),
            Event::Finish { choice: 0, finish: Finish::ToolCalls },
            call(1, 2, "h"),
            Event::Finish { choice: 1, finish: Finish::Stop },
        ] {
            encoder.event(event, &mut out);
        }

        let written = std::str::from_utf8(&out).unwrap();
        let chunk = |event: &str| -> Value { serde_json::from_str(&event["data: ".len()..]).unwrap() };
        let choices: Vec<_> =
            written.split_terminator("\n\n").map(|event| chunk(event)["choices"][0].clone()).collect();
        let delta = |at: usize| &choices[at]["delta"];
        assert_eq!(delta(1), &json!({"function_call": {"name": "f", "arguments": ""}}));
        assert_eq!(delta(2), &json!({"function_call": {"arguments": "{"}}));
        assert_eq!(delta(3), &json!({"function_call": {"arguments": "}"}}));
        assert_eq!((delta(4), &choices[4]["finish_reason"]), (&json!({}), &json!("function_call")));
        assert_eq!(delta(6), &json!({"function_call": {"name": "h", "arguments": ""}}));
        assert_eq!(choices[7]["finish_reason"], "stop");
        assert_eq!(lost(), ["answer.tool_calls".into()] as [Box<str>; 1]);
    }
}
