//! A stream as a whole answer, for clients that have not asked for one of a provider that only streams and
//! speaks another dialect; one of the same is [joined](super::joined).

use std::{borrow::Cow, collections::HashMap};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    ChatCodec, Encode,
    buffer::Buffered,
    canonical::{Answer, Choice, Citation, Content, Event, Finish, Part, Text, ToolCall},
    citation, json,
    schema::Members,
};
use crate::Payload;

/// The question in `payload` for a stream, in dialects that have the member `stream` for it.
pub(crate) fn asked(payload: Payload) -> Option<Payload> {
    let source = payload.source().clone();
    let text = std::str::from_utf8(&source).ok()?;
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let payload = payload.streamed();
    Some(match members.get("stream") {
        Some(said) => payload.edited(json::span(text, said.get()), "true"),
        None => {
            let first = memchr::memchr(b'{', &source)? + 1;
            payload.edited(first..first, r#""stream":true,"#)
        }
    })
}

/// Keeps the events of a stream, and writes the whole answer when it ends. One that is too long to be kept
/// is not written.
pub(crate) struct Assembler {
    client: &'static dyn ChatCodec,
    asked: Payload,
    answer: Answer<'static>,
    /// Where the parts of calls stand, by choice and number.
    calls: HashMap<(u32, u32), usize>,
    /// What choices say of their likelihoods.
    likelihoods: HashMap<u32, Likelihoods<Box<RawValue>>>,
    /// What choices cite.
    citations: HashMap<u32, Vec<Citation<'static>>>,
    parts: usize,
    kept: Buffered,
    is_too_long: bool,
}

/// The likelihoods of tokens, in the form of OpenAI.
#[derive(Deserialize, Serialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Likelihoods<T> {
    content: Option<Vec<T>>,
    refusal: Option<Vec<T>>,
}

impl Assembler {
    /// For a client of this dialect that has `asked`.
    pub(crate) fn new(client: &'static dyn ChatCodec, asked: Payload) -> Self {
        Self {
            client,
            asked,
            answer: Answer::default(),
            calls: HashMap::new(),
            likelihoods: HashMap::new(),
            citations: HashMap::new(),
            parts: 0,
            kept: Buffered::default(),
            is_too_long: false,
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice<'static> {
        let choices = &mut self.answer.choices;
        let place = choices.partition_point(|choice| choice.index < index);
        if choices.get(place).is_none_or(|choice| choice.index != index) {
            choices.insert(place, Choice { index, parts: Vec::new(), finish: Finish::Stop, logprobs: None });
        }
        &mut choices[place]
    }

    fn part(&mut self, choice: u32, content: Content<'static>) {
        self.parts += 1;
        self.choice(choice).parts.push(content.into());
    }

    fn text(&mut self, choice: u32, more: &str) {
        match self.choice(choice).parts.last_mut() {
            Some(Part { content: Content::Text(text), .. }) => text.to_mut().push_str(more),
            _ => self.part(choice, Content::Text(more.to_owned().into())),
        }
    }

    fn refusal(&mut self, choice: u32, more: &str) {
        match self.choice(choice).parts.last_mut() {
            Some(Part { content: Content::Refusal(text), .. }) => text.to_mut().push_str(more),
            _ => self.part(choice, Content::Refusal(more.to_owned().into())),
        }
    }

    /// What has been proven is finished.
    fn reasoning(&mut self, choice: u32, more: &str, proof: Option<Text<'static>>) {
        match self.choice(choice).parts.last_mut() {
            Some(Part { content: Content::Reasoning { text, signature: signature @ None }, .. }) => {
                text.to_mut().push_str(more);
                *signature = proof;
            }
            _ => self.part(choice, Content::Reasoning { text: more.to_owned().into(), signature: proof }),
        }
    }

    fn arguments(&mut self, choice: u32, call: u32, fragment: &str) {
        let Some(place) = self.calls.get(&(choice, call)).copied() else { return };
        if let Content::ToolCall(call) = &mut self.choice(choice).parts[place].content {
            call.arguments.to_mut().push_str(fragment);
        }
    }

    fn likelihoods(&mut self, choice: u32, raw: &RawValue) {
        let Ok(more) = serde_json::from_str::<Likelihoods<&RawValue>>(raw.get()) else { return };
        let all = self.likelihoods.entry(choice).or_insert(Likelihoods { content: None, refusal: None });
        for (all, more) in [(&mut all.content, more.content), (&mut all.refusal, more.refusal)] {
            if let Some(more) = more {
                all.get_or_insert_default().extend(more.into_iter().map(ToOwned::to_owned));
            }
        }
    }

    fn keep(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id, model, created } => {
                (self.answer.id, self.answer.model) = (owned(id), owned(model));
                self.answer.created = created;
            }
            Event::Text { choice, text } => self.text(choice, &text),
            Event::Refusal { choice, text } => self.refusal(choice, &text),
            Event::Reasoning { choice, text } => self.reasoning(choice, &text, None),
            Event::Signature { choice, signature } => self.reasoning(choice, "", Some(owned(signature))),
            Event::RedactedReasoning { choice, data } => {
                self.part(choice, Content::RedactedReasoning(owned(data)));
            }
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                let place = self.choice(choice).parts.len();
                self.calls.insert((choice, call), place);
                let (id, name) = (owned(id), owned(name));
                let call = ToolCall { id, name, arguments: "".into(), is_free_text };
                self.part(choice, Content::ToolCall(call));
            }
            Event::Arguments { choice, call, fragment } => self.arguments(choice, call, &fragment),
            Event::Citation { choice, citation } => {
                self.citations.entry(choice).or_default().push(citation.into_owned());
            }
            Event::Logprobs { choice, raw } => self.likelihoods(choice, &raw),
            Event::Usage(tokens) => self.answer.tokens = tokens,
            Event::Finish { choice, finish } => self.choice(choice).finish = finish_owned(finish),
            Event::Ping | Event::End => {}
        }
    }

    fn write(&mut self, out: &mut BytesMut) {
        for (index, likelihoods) in std::mem::take(&mut self.likelihoods) {
            self.choice(index).logprobs = serde_json::value::to_raw_value(&likelihoods).ok().map(Cow::Owned);
        }
        for (index, citations) in std::mem::take(&mut self.citations) {
            citation::attach(citations, &mut self.choice(index).parts);
        }
        out.extend_from_slice(&self.client.encode_answer(&self.answer, &self.asked));
    }
}

impl Encode for Assembler {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if matches!(event, Event::End) && !self.is_too_long {
            return self.write(out);
        }
        if self.is_too_long {
            return;
        }
        let (size, parts) = (size(&event), self.parts);
        self.keep(event);
        let parts = (self.parts - parts) * size_of::<Part<'_>>();
        self.is_too_long = self.kept.keep(size + parts).is_err();
    }

    fn cites(&self, _: u32, citation: &Citation<'_>) -> bool {
        self.client.cites(citation)
    }
}

fn size(event: &Event<'_>) -> usize {
    match event {
        Event::Text { text, .. }
        | Event::Refusal { text, .. }
        | Event::Reasoning { text, .. }
        | Event::Signature { signature: text, .. }
        | Event::RedactedReasoning { data: text, .. }
        | Event::Arguments { fragment: text, .. } => text.len(),
        Event::ToolCall { id, name, .. } => id.len() + name.len(),
        Event::Citation { citation, .. } => citation.size(),
        Event::Logprobs { raw, .. } => raw.get().len(),
        _ => 0,
    }
}

fn owned(text: Text<'_>) -> Text<'static> {
    text.into_owned().into()
}

fn finish_owned(finish: Finish<'_>) -> Finish<'static> {
    match finish {
        Finish::Stop => Finish::Stop,
        Finish::StopSequence(stop) => Finish::StopSequence(owned(stop)),
        Finish::Length => Finish::Length,
        Finish::ToolCalls => Finish::ToolCalls,
        Finish::Refused(why) => Finish::Refused(why.map(owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::{Codec, Dialect, OPENAI_CHAT, buffer::MAX_BYTES, testing::payload},
        payload::Head,
    };

    fn assembled(events: Vec<Event<'_>>) -> serde_json::Value {
        let mut assembler =
            Assembler::new(OPENAI_CHAT.codec().and_then(Codec::chat).unwrap(), payload(Head::default()));
        let mut out = BytesMut::new();
        for event in events {
            assert!(out.is_empty());
            assembler.event(event, &mut out);
        }
        serde_json::from_slice(&out).unwrap_or_default()
    }

    fn call(call: u32, name: &'static str) -> Event<'static> {
        Event::ToolCall { choice: 0, call, id: name.into(), name: name.into(), is_free_text: false }
    }

    fn arguments(call: u32, fragment: &'static str) -> Event<'static> {
        Event::Arguments { choice: 0, call, fragment: fragment.into() }
    }

    #[test]
    fn calls_that_take_turns_are_told_apart() {
        let events = [
            call(0, "f"),
            arguments(0, "{"),
            call(1, "g"),
            arguments(1, "[1"),
            arguments(0, "}"),
            arguments(1, "]"),
            arguments(2, "lost"),
            Event::Finish { choice: 0, finish: Finish::ToolCalls },
            Event::End,
        ];

        let answer = assembled(events.into());

        let calls = &answer["choices"][0]["message"]["tool_calls"];
        let of = |index: usize| (calls[index]["id"].as_str(), calls[index]["function"]["arguments"].as_str());
        assert_eq!([of(0), of(1)], [(Some("f"), Some("{}")), (Some("g"), Some("[1]"))]);
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn answers_stand_in_their_order_with_their_likelihoods() {
        let raw = |json: &str| Cow::Owned(RawValue::from_string(json.into()).unwrap());
        let events = [
            Event::Text { choice: 1, text: "b".into() },
            Event::Text { choice: 0, text: "a".into() },
            Event::Logprobs { choice: 1, raw: raw(r#"{"content":[{"token":"b"}],"refusal":null}"#) },
            Event::Logprobs { choice: 1, raw: raw(r#"{"content":[{"token":"c"}]}"#) },
            Event::Text { choice: 1, text: "c".into() },
            Event::End,
        ];

        let answer = assembled(events.into());

        let said = |index: usize| answer["choices"][index]["message"]["content"].clone();
        assert_eq!([said(0), said(1)], ["a", "bc"]);
        assert_eq!(
            answer["choices"][1]["logprobs"].to_string(),
            r#"{"content":[{"token":"b"},{"token":"c"}],"refusal":null}"#
        );
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let piece = "a".repeat(MAX_BYTES / 2 + 1);
        let text = || Event::Text { choice: 0, text: (&*piece).into() };
        let turns =
            [Event::Text { choice: 0, text: "a".into() }, Event::Refusal { choice: 0, text: "b".into() }];
        let many: Vec<_> =
            turns.iter().cycle().take(MAX_BYTES / size_of::<Part<'_>>() + 1).cloned().collect();

        assert_ne!(assembled(vec![text(), Event::End]), serde_json::Value::Null);
        assert_eq!(assembled(vec![text(), text(), Event::End]), serde_json::Value::Null);
        assert_eq!(assembled([many, vec![Event::End]].concat()), serde_json::Value::Null);
    }
}
