//! A whole answer as a stream, for clients that have asked for one of a provider that doesn't stream.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{
    ChatCodec, Encode,
    canonical::{Answer, Choice, Citation, Content, Event, Part},
    citation::{self, characters},
};
use crate::{Error, Payload, payload::Head};

/// The events of a provider's whole `answer` to whoever `asked`, in the provider's own dialect.
pub(crate) fn streamed(codec: &dyn ChatCodec, answer: &[u8], asked: Payload) -> Result<Bytes, Error> {
    let Answer { id, model, created, choices, tokens, .. } = codec.decode_answer(answer)?;
    let is_lost = |choice: &Choice<'_>| citation::any_lost(&choice.parts, |citation| codec.cites(citation));
    if choices.iter().any(is_lost) {
        asked.exchange().lose(citation::LOST_IN_ANSWER);
    }
    // Whoever counts wants the counts; those that the client doesn't want are taken out further out.
    let head = Head { stream: true, include_usage: true, ..asked.head().clone() };
    let source = asked.source().clone();
    let asked = asked.rewritten(head, source);
    let mut writer =
        Writer { encoder: codec.encoder(&asked), out: BytesMut::with_capacity(answer.len()), said: 0 };
    writer.event(Event::Start { id, model, created });
    for Choice { index, parts, logprobs, .. } in &choices {
        let mut calls = 0;
        writer.said = 0;
        for part in parts {
            writer.part(*index, part, &mut calls);
        }
        if let Some(raw) = logprobs {
            writer.event(Event::Logprobs { choice: *index, raw: Cow::Borrowed(raw) });
        }
    }
    writer.event(Event::Usage(tokens));
    for Choice { index, finish, .. } in choices {
        writer.event(Event::Finish { choice: index, finish });
    }
    writer.event(Event::End);
    Ok(writer.out.freeze())
}

struct Writer {
    encoder: Box<dyn Encode>,
    out: BytesMut,
    /// How much text a choice has so far, in characters.
    said: usize,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        self.encoder.event(event, &mut self.out);
    }

    fn cite(&mut self, choice: u32, text: &str, citations: &[Citation<'_>]) {
        let (before, length) = (self.said, characters(text));
        self.said += length;
        for citation in citations {
            let mut citation = citation.clone();
            citation.span.get_or_insert(0..length);
            self.event(Event::Citation { choice, citation: citation.later(before) });
        }
    }

    fn part(&mut self, choice: u32, part: &Part<'_>, calls: &mut u32) {
        match &part.content {
            Content::Text(text) => {
                self.event(Event::Text { choice, text: (**text).into() });
                self.cite(choice, text, &part.citations);
            }
            Content::Refusal(text) => self.event(Event::Refusal { choice, text: (**text).into() }),
            Content::Reasoning { text, signature } => {
                if !text.is_empty() {
                    self.event(Event::Reasoning { choice, text: (**text).into() });
                }
                if let Some(signature) = signature {
                    self.event(Event::Signature { choice, signature: (**signature).into() });
                }
            }
            Content::RedactedReasoning(data) => {
                self.event(Event::RedactedReasoning { choice, data: (**data).into() });
            }
            Content::ToolCall(call) => {
                let (id, name) = ((*call.id).into(), (*call.name).into());
                let is_free_text = call.is_free_text;
                self.event(Event::ToolCall { choice, call: *calls, id, name, is_free_text });
                self.event(Event::Arguments { choice, call: *calls, fragment: (*call.arguments).into() });
                *calls += 1;
            }
            // Streams have no word for the rest.
            _ => {}
        }
    }
}
