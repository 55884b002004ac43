//! A stream for a client, written chunk by chunk.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::{
    answer::{now, redacted_block, thinking_block},
    finish, usage, wire,
};
use crate::{
    Tokens,
    dialect::{
        Encode,
        canonical::{Event, Finish},
    },
};

/// Writes the chunks of an answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    include_usage: bool,
    /// What every chunk begins with; empty until the answer has begun.
    head: Vec<u8>,
    tokens: Tokens,
    choices: Vec<Choice>,
}

/// The state of one answer of several.
#[derive(Debug)]
struct Choice {
    index: u32,
    /// The thoughts that have no proof yet.
    thoughts: String,
    has_refusal: bool,
    /// The calls that take free text.
    free_text: Vec<u32>,
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
        match event {
            Event::Start { id, model, created } => self.start(&id, &model, created, out),
            Event::Text { choice, text } => self.text(choice, "content", &text, out),
            Event::Reasoning { choice, text } => {
                self.choice(choice, out).thoughts.push_str(&text);
                self.text(choice, "reasoning_content", &text, out);
            }
            Event::Signature { choice, signature } => {
                let thoughts = std::mem::take(&mut self.choice(choice, out).thoughts);
                self.proof(choice, &thinking_block(&thoughts, Some(&signature)), out);
            }
            Event::RedactedReasoning { choice, data } => self.proof(choice, &redacted_block(&data), out),
            Event::Refusal { choice, text } => {
                self.choice(choice, out).has_refusal = true;
                self.text(choice, "refusal", &text, out);
            }
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                self.call(choice, call, [&id, &name], is_free_text, out);
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
}

impl Encoder {
    /// An encoder for a client that wants the token counts, or does not.
    pub(crate) fn new(include_usage: bool) -> Self {
        Self { include_usage, head: Vec::new(), tokens: Tokens::default(), choices: Vec::new() }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<u64>, out: &mut BytesMut) {
        let head = Head { id, object: "chat.completion.chunk", created: created.unwrap_or_else(now), model };
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
                thoughts: String::new(),
                has_refusal: false,
                free_text: Vec::new(),
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
        write(out.writer(), &choice);
        out.put_slice(b",\"delta\":{");
    }

    /// Ends a chunk after its delta.
    fn close(&self, finish: Option<&str>, out: &mut BytesMut) {
        out.put_slice(b",\"finish_reason\":");
        write(out.writer(), &finish);
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
        write(out.writer(), text);
        out.put_u8(b'}');
        self.close(None, out);
    }

    /// Thoughts with their proof, for clients that send them back.
    fn proof(&mut self, choice: u32, block: &wire::ThinkingBlock<'_>, out: &mut BytesMut) {
        self.open(choice, out);
        out.put_slice(b"\"thinking_blocks\":[");
        write(out.writer(), block);
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
        if is_free_text {
            self.choice(choice, out).free_text.push(call);
        }
        self.open(choice, out);
        out.put_slice(b"\"tool_calls\":[{\"index\":");
        write(out.writer(), &call);
        out.put_slice(b",\"id\":");
        write(out.writer(), id);
        let (before, after): (&[u8], &[u8]) = if is_free_text {
            (b",\"type\":\"custom\",\"custom\":{\"name\":", b",\"input\":\"\"}}]}")
        } else {
            (b",\"type\":\"function\",\"function\":{\"name\":", b",\"arguments\":\"\"}}]}")
        };
        out.put_slice(before);
        write(out.writer(), name);
        out.put_slice(after);
        self.close(None, out);
    }

    fn arguments(&mut self, choice: u32, call: u32, fragment: &str, out: &mut BytesMut) {
        let is_free_text = self.choice(choice, out).free_text.contains(&call);
        self.open(choice, out);
        out.put_slice(b"\"tool_calls\":[{\"index\":");
        write(out.writer(), &call);
        let member: &[u8] =
            if is_free_text { b",\"custom\":{\"input\":" } else { b",\"function\":{\"arguments\":" };
        out.put_slice(member);
        write(out.writer(), fragment);
        out.put_slice(b"}}]}");
        self.close(None, out);
    }

    fn finish(&mut self, choice: u32, finish: &Finish<'_>, out: &mut BytesMut) {
        if let Finish::Refused(Some(explanation)) = finish {
            if !self.choice(choice, out).has_refusal {
                self.text(choice, "refusal", explanation, out);
            }
        }
        self.open(choice, out);
        out.put_u8(b'}');
        self.close(Some(finish::word(finish)), out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        if self.include_usage {
            out.put_slice(&self.head);
            out.put_slice(b"],\"usage\":");
            write(out.writer(), &usage::Rendered::from(&self.tokens));
            out.put_slice(b"}\n\n");
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
}

/// Writes what can't fail: neither can the memory it is written to, nor these values.
fn write<T: Serialize + ?Sized>(out: impl std::io::Write, value: &T) {
    let _ = serde_json::to_writer(out, value);
}
