//! A stream for a client, written event by event.
//!
//! Thoughts and messages come one after the other; calls may take turns among each other and with what is
//! said, each in an item of its own. The last event repeats the whole answer, so all of it is kept.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    answer::from_chat,
    echo::Echo,
    error,
    event::{Lifecycle, Written, send},
    finish,
    open::{Call, Open, Place, Said, message},
    reasoning,
    response::{Failure, Incomplete, Response, item_id, now},
    wire::{self, Item},
};
use crate::{
    Tokens,
    body::sse,
    dialect::{
        Encode,
        buffer::Buffered,
        canonical::{Citation, Event, Finish},
        citation::characters,
        extent::Extent,
        ids, openai_annotations,
        text::Str,
    },
};

/// Writes the events of a response.
#[derive(Debug)]
pub(crate) struct Encoder {
    id: String,
    model: String,
    created: u64,
    /// What is repeated of the request, written.
    echo: String,
    begun: bool,
    /// The client was told of an error; nothing may follow.
    broken: bool,
    /// The number of the next event.
    sequence: u64,
    open: Open,
    /// The calls that may go on, by ascending numbers, which is the order in which they began.
    calls: Vec<Call>,
    /// The items, as far as they are whole.
    output: Vec<Option<Box<RawValue>>>,
    buffered: Buffered,
    has_refusal: bool,
    /// The length of all text so far.
    characters: usize,
    tokens: Tokens,
    finish: Finish<'static>,
}

impl Encode for Encoder {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if self.broken {
            return;
        }
        match event {
            Event::Start { id, model, created } => self.start(&id, &model, created, out),
            Event::Text { choice: 0, text } => self.say(&text, false, out),
            Event::Refusal { choice: 0, text } => self.say(&text, true, out),
            Event::Reasoning { choice: 0, text } => self.think(&text, out),
            Event::Signature { choice: 0, signature } => {
                self.prove(&reasoning::signature_of(&signature), out);
            }
            Event::RedactedReasoning { choice: 0, data } => {
                self.close(out);
                self.prove(&reasoning::redacted_of(&data), out);
            }
            Event::ToolCall { choice: 0, call, id, name, is_free_text } => {
                self.call(call, [&id, &name], is_free_text, out);
            }
            Event::Arguments { choice: 0, call, fragment } => self.arguments(call, &fragment, out),
            Event::Citation { choice: 0, citation } => self.cite(citation, out),
            Event::Logprobs { choice: 0, raw } => self.likelihoods(&raw, out),
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice: 0, finish } => self.finished(finish, out),
            Event::Ping => out.put_slice(b": ping\n\n"),
            Event::End => self.end(out),
            // A client of this dialect asks for one answer.
            _ => {}
        }
    }

    fn cites(&self, choice: u32, citation: &Citation<'_>) -> bool {
        let Open::Message { now, .. } = &self.open else { return false };
        // A part that has ended is not written again.
        let is_over = citation.span.as_ref().is_some_and(|span| span.end <= now.extent.start);
        choice == 0 && !now.is_refusal && !is_over && openai_annotations::is_said(citation)
    }
}

impl Encoder {
    /// For a client that asked for `model` with the request `asked`.
    pub(crate) fn new(model: &str, asked: &[u8]) -> Self {
        Self {
            id: String::new(),
            model: model.to_owned(),
            created: 0,
            echo: serde_json::to_string(&Echo::of(asked)).unwrap_or_default(),
            begun: false,
            broken: false,
            sequence: 0,
            open: Open::Nothing,
            calls: Vec::new(),
            output: Vec::new(),
            buffered: Buffered::default(),
            has_refusal: false,
            characters: 0,
            tokens: Tokens::default(),
            finish: Finish::Stop,
        }
    }

    /// Where it goes on with what somebody else has written, whose message it takes over and whose count of events;
    /// `None` if there are items before it that can't be named again.
    pub(super) fn after(mut self, said: &[Event<'_>], last: &sse::Event) -> Option<Self> {
        #[derive(Deserialize)]
        struct Last<'a> {
            sequence_number: u64,
            output_index: usize,
            content_index: usize,
            #[serde(borrow)]
            item_id: Cow<'a, str>,
        }

        let mut written = BytesMut::new();
        said.iter().for_each(|event| self.event(event.clone(), &mut written));
        let last: Last<'_> = serde_json::from_slice(&last.data).ok()?;
        let Open::Message { place, before, .. } = &mut self.open else { return None };
        let is_there = (place.index, before.len()) == (last.output_index, last.content_index);
        if !is_there || place.index > 0 && *place.id != *last.item_id {
            return None;
        }
        place.id = last.item_id.into_owned();
        self.sequence = last.sequence_number + 1;
        Some(self)
    }

    fn start(&mut self, id: &str, model: &str, created: Option<u64>, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.id = if id.is_empty() { ids::new("resp_") } else { id.to_owned() };
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
        self.created = created.unwrap_or_else(now);
        for kind in ["response.created", "response.in_progress"] {
            let sequence_number = self.number();
            let response = self.response();
            send(kind, &Lifecycle { r#type: kind, sequence_number, response }, out);
        }
    }

    /// The response as it has begun.
    fn response(&self) -> Response<'_, Vec<&RawValue>> {
        Response::begun(&self.id, &self.model, self.created, Echo::of(self.echo.as_bytes()))
    }

    fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    fn send(&mut self, event: Written<'_>, out: &mut BytesMut) {
        let sequence_number = self.number();
        send(event.r#type, &Written { sequence_number, ..event }, out);
    }

    /// Keeps `more` for the last event; `false` if it is too much, of which the client has been told.
    fn keep(&mut self, more: &str, out: &mut BytesMut) -> bool {
        let Err(error) = self.buffered.keep(more.len()) else { return true };
        self.broken = true;
        let sequence_number = self.number();
        let mut response = self.response();
        response.status = "failed";
        response.error = Some(Failure { code: "server_error", message: error.message() });
        out.extend_from_slice(&error::written(&Lifecycle {
            r#type: "response.failed",
            sequence_number,
            response,
        }));
        false
    }

    /// The place of the next item.
    fn place(&mut self, prefix: &str) -> Place {
        let index = self.output.len();
        self.output.push(None);
        Place { index, id: item_id(prefix, &self.id, index) }
    }

    fn added(&mut self, place: &Place, item: &Item<'_>, out: &mut BytesMut) {
        let event = Written::of("response.output_item.added", place);
        self.send(Written { item: Some(item), item_id: None, ..event }, out);
    }

    fn done(&mut self, place: &Place, item: &Item<'_>, out: &mut BytesMut) {
        let event = Written::of("response.output_item.done", place);
        self.send(Written { item: Some(item), item_id: None, ..event }, out);
        if let Some(whole) = self.output.get_mut(place.index) {
            *whole = serde_json::value::to_raw_value(item).ok();
        }
    }

    /// Ends what is open for something of another kind.
    fn close(&mut self, out: &mut BytesMut) {
        self.close_calls(out);
        self.close_as("completed", None, out);
    }

    fn close_as(&mut self, status: &'static str, proof: Option<&str>, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Thoughts { place, text } => self.end_thoughts(&place, &text, proof, out),
            Open::Message { place, mut before, now } => {
                self.end_part(&place, before.len(), &now, out);
                before.push(now);
                self.done(&place, &message(&place, status, &before), out);
            }
        }
    }

    fn think(&mut self, text: &str, out: &mut BytesMut) {
        if text.is_empty() || !self.keep(text, out) {
            return;
        }
        if !matches!(self.open, Open::Thoughts { .. }) {
            self.begin_thoughts(out);
        }
        let Open::Thoughts { place, text: whole } = &mut self.open else { return };
        whole.push_str(text);
        let event = Written::of("response.reasoning_summary_text.delta", place);
        let event = Written { summary_index: Some(0), delta: Some(text), ..event };
        let sequence_number = self.sequence;
        self.sequence += 1;
        send(event.r#type, &Written { sequence_number, ..event }, out);
    }

    fn begin_thoughts(&mut self, out: &mut BytesMut) {
        self.close(out);
        let place = self.place("rs");
        self.added(&place, &reasoning::item(Some((&*place.id).into()), "", None), out);
        let part = Some(wire::Part::text("summary_text", ""));
        let event = Written::of("response.reasoning_summary_part.added", &place);
        self.send(Written { summary_index: Some(0), part, ..event }, out);
        self.open = Open::Thoughts { place, text: String::new() };
    }

    fn end_thoughts(&mut self, place: &Place, text: &str, proof: Option<&str>, out: &mut BytesMut) {
        let event = Written::of("response.reasoning_summary_text.done", place);
        self.send(Written { summary_index: Some(0), text: Some(text), ..event }, out);
        let part = Some(wire::Part::text("summary_text", text));
        let event = Written::of("response.reasoning_summary_part.done", place);
        self.send(Written { summary_index: Some(0), part, ..event }, out);
        self.done(place, &reasoning::item(Some((&*place.id).into()), text, proof.map(Str::from)), out);
    }

    /// The proof ends the thoughts that are open; it stands alone if there are none.
    fn prove(&mut self, proof: &str, out: &mut BytesMut) {
        if !self.keep(proof, out) {
            return;
        }
        if matches!(self.open, Open::Thoughts { .. }) {
            return self.close_as("completed", Some(proof), out);
        }
        self.close(out);
        let place = self.place("rs");
        self.added(&place, &reasoning::item(Some((&*place.id).into()), "", None), out);
        self.done(&place, &reasoning::item(Some((&*place.id).into()), "", Some(proof.into())), out);
    }

    fn say(&mut self, text: &str, is_refusal: bool, out: &mut BytesMut) {
        // Empty texts come between the pieces of a call; they begin nothing and end nothing.
        if text.is_empty() || !self.keep(text, out) {
            return;
        }
        self.has_refusal |= is_refusal;
        let length = if is_refusal { 0 } else { characters(text) };
        match &self.open {
            Open::Message { now, .. } if now.is_refusal == is_refusal => {}
            Open::Message { .. } => self.next_part(is_refusal, out),
            Open::Nothing | Open::Thoughts { .. } => self.begin_message(is_refusal, out),
        }
        let Open::Message { place, before, now } = &mut self.open else { return };
        now.text.push_str(text);
        now.extent.end += length;
        self.characters += length;
        let kind = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        let event = Written {
            sequence_number: self.sequence,
            content_index: Some(before.len()),
            delta: Some(text),
            logprobs: (!is_refusal).then_some(&[][..]),
            ..Written::of(kind, place)
        };
        self.sequence += 1;
        send(kind, &event, out);
    }

    fn cite(&mut self, citation: Citation<'_>, out: &mut BytesMut) {
        if !Encode::cites(self, 0, &citation) {
            return;
        }
        let Open::Message { now, .. } = &self.open else { return };
        let length = now.extent.len();
        let citation = citation.earlier(now.extent.start).within(length);
        let Some(annotation) = openai_annotations::written(&citation, 0..length) else { return };
        if !self.keep(annotation.get(), out) {
            return;
        }
        let Open::Message { place, before, now } = &mut self.open else { return };
        let event = Written {
            sequence_number: self.sequence,
            content_index: Some(before.len()),
            annotation_index: Some(now.annotations.len()),
            annotation: Some(&annotation),
            ..Written::of("response.output_text.annotation.added", place)
        };
        self.sequence += 1;
        send(event.r#type, &event, out);
        now.annotations.push(annotation);
    }

    /// Keeps likelihoods for the end of their text: they come after the piece that they are about.
    fn likelihoods(&mut self, raw: &RawValue, out: &mut BytesMut) {
        if !self.keep(raw.get(), out) {
            return;
        }
        if let Open::Message { now, .. } = &mut self.open {
            now.logprobs.extend(from_chat(raw).into_iter().flatten().map(ToOwned::to_owned));
        }
    }

    fn begin_message(&mut self, is_refusal: bool, out: &mut BytesMut) {
        self.close(out);
        let place = self.place("msg");
        self.added(&place, &message(&place, "in_progress", &[]), out);
        let now = Said::new(is_refusal, self.characters);
        self.begin_part(&place, 0, &now, out);
        self.open = Open::Message { place, before: Vec::new(), now };
    }

    fn next_part(&mut self, is_refusal: bool, out: &mut BytesMut) {
        let Open::Message { place, mut before, now } = std::mem::replace(&mut self.open, Open::Nothing)
        else {
            return;
        };
        self.end_part(&place, before.len(), &now, out);
        before.push(now);
        let now = Said::new(is_refusal, self.characters);
        self.begin_part(&place, before.len(), &now, out);
        self.open = Open::Message { place, before, now };
    }

    fn begin_part(&mut self, place: &Place, index: usize, said: &Said, out: &mut BytesMut) {
        let event = Written::of("response.content_part.added", place);
        self.send(Written { content_index: Some(index), part: Some(said.begun()), ..event }, out);
    }

    fn end_part(&mut self, place: &Place, index: usize, said: &Said, out: &mut BytesMut) {
        let content_index = Some(index);
        let event = match said.is_refusal {
            true => Written { refusal: Some(&said.text), ..Written::of("response.refusal.done", place) },
            false => Written {
                text: Some(&said.text),
                logprobs: Some(&said.logprobs),
                ..Written::of("response.output_text.done", place)
            },
        };
        self.send(Written { content_index, ..event }, out);
        let event = Written::of("response.content_part.done", place);
        self.send(Written { content_index, part: Some(said.whole()), ..event }, out);
    }

    fn call(&mut self, number: u32, [id, name]: [&str; 2], is_free_text: bool, out: &mut BytesMut) {
        self.close(out);
        let call = Call {
            number,
            place: self.place(if is_free_text { "ctc" } else { "fc" }),
            id: if id.is_empty() { ids::new("call_") } else { id.to_owned() },
            name: name.to_owned(),
            is_free_text,
            arguments: String::new(),
            extent: Extent::default(),
        };
        self.added(&call.place, &call.item("in_progress", ""), out);
        self.calls.push(call);
    }

    fn arguments(&mut self, number: u32, fragment: &str, out: &mut BytesMut) {
        if fragment.is_empty() || !self.keep(fragment, out) {
            return;
        }
        // What belongs to no open call is white space behind a whole one.
        let Ok(at) = self.calls.binary_search_by_key(&number, |call| call.number) else { return };
        let call = &mut self.calls[at];
        call.arguments.push_str(fragment);
        call.extent.read(fragment);
        let kind = match call.is_free_text {
            true => "response.custom_tool_call_input.delta",
            false => "response.function_call_arguments.delta",
        };
        let event = Written {
            sequence_number: self.sequence,
            delta: Some(fragment),
            ..Written::of(kind, &call.place)
        };
        self.sequence += 1;
        send(kind, &event, out);
    }

    /// Ends the last calls, as far as they are whole; those before one that isn't can wait.
    fn close_calls(&mut self, out: &mut BytesMut) {
        let open = self.calls.iter().rposition(|call| !call.is_whole()).map_or(0, |last| last + 1);
        let whole = self.calls.split_off(open);
        self.end_calls(whole, "completed", out);
    }

    fn end_calls(&mut self, calls: Vec<Call>, status: &'static str, out: &mut BytesMut) {
        for call in calls {
            let is_empty = call.arguments.is_empty() && !call.is_free_text;
            let arguments = if is_empty { "{}" } else { &call.arguments };
            let event = match call.is_free_text {
                true => Written {
                    input: Some(arguments),
                    ..Written::of("response.custom_tool_call_input.done", &call.place)
                },
                false => Written {
                    arguments: Some(arguments),
                    ..Written::of("response.function_call_arguments.done", &call.place)
                },
            };
            self.send(event, out);
            self.done(&call.place, &call.item(status, arguments), out);
        }
    }

    fn finished(&mut self, finish: Finish<'_>, out: &mut BytesMut) {
        self.finish = match finish {
            Finish::Refused(explanation) => {
                if let Some(text) = explanation.as_deref().filter(|_| !self.has_refusal) {
                    self.say(text, true, out);
                }
                Finish::Refused(explanation.map(|text| text.into_owned().into()))
            }
            Finish::Length => Finish::Length,
            Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => Finish::Stop,
        };
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.start("", "", None, out);
        let (status, reason) = finish::write(&self.finish, self.has_refusal);
        self.close_calls(out);
        self.close_as(status, None, out);
        let open = std::mem::take(&mut self.calls);
        self.end_calls(open, status, out);
        let sequence_number = self.number();
        let mut response = self.response();
        response.status = status;
        response.incomplete_details = reason.map(|reason| Incomplete { reason });
        response.output = self.output.iter().flatten().map(|item| &**item).collect();
        response.usage = Some((&self.tokens).into());
        let kind = if status == "completed" { "response.completed" } else { "response.incomplete" };
        send(kind, &Lifecycle { r#type: kind, sequence_number, response }, out);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{body::sse::Splitter, dialect::buffer::MAX_BYTES};

    fn start() -> Event<'static> {
        Event::Start { id: "resp_1".into(), model: "m".into(), created: Some(7) }
    }

    fn text(text: &'static str) -> Event<'static> {
        Event::Text { choice: 0, text: text.into() }
    }

    fn thought(text: &'static str) -> Event<'static> {
        Event::Reasoning { choice: 0, text: text.into() }
    }

    fn call(call: u32, is_free_text: bool) -> Event<'static> {
        Event::ToolCall { choice: 0, call, id: format!("call_{call}").into(), name: "f".into(), is_free_text }
    }

    fn arguments(call: u32, fragment: &'static str) -> Event<'static> {
        Event::Arguments { choice: 0, call, fragment: fragment.into() }
    }

    fn finish(finish: Finish<'static>) -> Event<'static> {
        Event::Finish { choice: 0, finish }
    }

    /// The events that are written, whose numbers and names are in order.
    fn written(events: impl IntoIterator<Item = Event<'static>>) -> Vec<Value> {
        let (mut encoder, mut out) = (Encoder::new("asked", b"{}"), BytesMut::new());
        events.into_iter().for_each(|event| encoder.event(event, &mut out));
        let mut splitter = Splitter::default();
        splitter.push(out.freeze()).unwrap();
        let mut written: Vec<Value> = Vec::new();
        while let Some(event) = splitter.next_event() {
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            assert_eq!(data["type"].as_str().unwrap().as_bytes(), event.name);
            assert_eq!(data["sequence_number"], written.len());
            written.push(data);
        }
        written
    }

    /// The type of each event, without what all have in common, and the numbers it has.
    fn outline(events: &[Value]) -> Vec<String> {
        let one = |event: &Value| {
            let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
            let numbers = ["output_index", "content_index", "summary_index"];
            let numbers: Vec<_> =
                numbers.iter().filter_map(|name| event.get(name)).map(Value::to_string).collect();
            format!("{kind} {}", numbers.join("."))
        };
        events.iter().map(one).collect()
    }

    #[test]
    fn likelihoods_stand_at_the_end_of_their_text() {
        let raw = r#"{"content":[{"token":"Hi","logprob":-0.1}],"refusal":null}"#.to_owned();
        let raw = std::borrow::Cow::Owned(RawValue::from_string(raw).unwrap());

        let likely = Event::Logprobs { choice: 0, raw };
        let events = written([start(), text("Hi"), likely, finish(Finish::Stop), Event::End]);

        let done = events.iter().find(|event| event["type"] == "response.output_text.done").unwrap();
        assert_eq!(done["logprobs"], json!([{"token": "Hi", "logprob": -0.1}]));
        let whole = &events.last().unwrap()["response"]["output"][0]["content"][0];
        assert_eq!(whole["logprobs"], done["logprobs"]);
    }

    #[test]
    fn thoughts_text_and_a_call_come_in_the_documented_order() {
        let events = written([
            start(),
            thought("Think"),
            Event::Signature { choice: 0, signature: "EqoB".into() },
            text("H"),
            text("i"),
            call(0, false),
            arguments(0, "{\"a\":1}"),
            Event::Usage(Tokens { input: 3, output: 2, ..Tokens::default() }),
            finish(Finish::ToolCalls),
            Event::End,
        ]);

        assert_eq!(
            outline(&events),
            [
                "created ",
                "in_progress ",
                "output_item.added 0",
                "reasoning_summary_part.added 0.0",
                "reasoning_summary_text.delta 0.0",
                "reasoning_summary_text.done 0.0",
                "reasoning_summary_part.done 0.0",
                "output_item.done 0",
                "output_item.added 1",
                "content_part.added 1.0",
                "output_text.delta 1.0",
                "output_text.delta 1.0",
                "output_text.done 1.0",
                "content_part.done 1.0",
                "output_item.done 1",
                "output_item.added 2",
                "function_call_arguments.delta 2",
                "function_call_arguments.done 2",
                "output_item.done 2",
                "completed "
            ]
        );
        let response = &events[19]["response"];
        assert_eq!(
            response["output"],
            json!([
                {"type": "reasoning", "id": "rs_1_0", "summary": [{"type": "summary_text", "text": "Think"}], "encrypted_content": "anthropic:EqoB"},
                {"type": "message", "id": "msg_1_1", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
                {"type": "function_call", "id": "fc_1_2", "status": "completed", "call_id": "call_0", "name": "f", "arguments": "{\"a\":1}"}])
        );
        assert_eq!(
            (&response["status"], &response["usage"]["total_tokens"]),
            (&"completed".into(), &5.into())
        );
        assert_eq!(
            (&events[10]["delta"], &events[10]["item_id"], &events[10]["logprobs"]),
            (&"H".into(), &"msg_1_1".into(), &json!([]))
        );
        assert_eq!(events[14]["item"], response["output"][1]);
        assert_eq!(
            (&events[0]["response"]["status"], &events[0]["response"]["output"]),
            (&"in_progress".into(), &json!([]))
        );
    }

    #[test]
    fn calls_may_take_turns_and_end_when_they_are_whole() {
        // C88
        let events = written([
            start(),
            call(0, false),
            arguments(0, "{"),
            call(1, false),
            arguments(1, "{}"),
            arguments(0, "}"),
            call(2, true),
            arguments(2, "x"),
            finish(Finish::ToolCalls),
            Event::End,
        ]);

        assert_eq!(
            outline(&events)[2..],
            [
                "output_item.added 0",
                "function_call_arguments.delta 0",
                "output_item.added 1",
                "function_call_arguments.delta 1",
                "function_call_arguments.delta 0",
                "function_call_arguments.done 0",
                "output_item.done 0",
                "function_call_arguments.done 1",
                "output_item.done 1",
                "output_item.added 2",
                "custom_tool_call_input.delta 2",
                "custom_tool_call_input.done 2",
                "output_item.done 2",
                "completed "
            ]
        );
        assert_eq!(events[14]["item"]["input"], "x");
    }

    #[test]
    fn empty_pieces_begin_nothing() {
        // C90, C114
        let events =
            written([start(), text(""), call(0, false), text(""), finish(Finish::ToolCalls), Event::End]);

        assert_eq!(
            outline(&events)[2..],
            ["output_item.added 0", "function_call_arguments.done 0", "output_item.done 0", "completed "]
        );
        assert_eq!(events[3]["arguments"], "{}");
    }

    #[test]
    fn a_refusal_is_a_part_of_its_own() {
        // C118
        let refusal = |text: &'static str| Event::Refusal { choice: 0, text: text.into() };

        let said = written([start(), text("A"), refusal("no"), finish(Finish::Refused(None)), Event::End]);
        let explained = written([start(), finish(Finish::Refused(Some("why".into()))), Event::End]);

        assert_eq!(
            outline(&said)[7..],
            [
                "content_part.added 0.1",
                "refusal.delta 0.1",
                "refusal.done 0.1",
                "content_part.done 0.1",
                "output_item.done 0",
                "completed "
            ]
        );
        let last = &explained.last().unwrap()["response"];
        assert_eq!(last["incomplete_details"]["reason"], "content_filter");
        assert_eq!(last["output"][0]["content"][0]["refusal"], "why");
    }

    #[test]
    fn thoughts_that_cannot_be_read_are_items_of_their_own() {
        // C69
        let redacted = |data: &'static str| Event::RedactedReasoning { choice: 0, data: data.into() };

        let events = written([
            start(),
            thought("a"),
            redacted("Ekq"),
            redacted("openai:rs_9:gAAA"),
            finish(Finish::Stop),
            Event::End,
        ]);

        let output = &events.last().unwrap()["response"]["output"];
        assert_eq!(output[0].get("encrypted_content"), None);
        assert_eq!(output[1]["encrypted_content"], "anthropic-redacted:Ekq");
        assert_eq!(output[2]["encrypted_content"], "gAAA");
    }

    #[test]
    fn what_the_cap_cut_off_is_incomplete() {
        let events = written([start(), text("par"), finish(Finish::Length), Event::End]);

        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }

    #[test]
    fn an_answer_that_is_too_long_to_be_kept_fails() {
        let piece: &'static str = "a".repeat(MAX_BYTES / 2 + 1).leak();

        let events =
            written([start(), text(piece), text(piece), text("more"), finish(Finish::Stop), Event::End]);

        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.failed");
        assert_eq!(
            (&last["response"]["id"], &last["response"]["status"]),
            (&"resp_1".into(), &"failed".into())
        );
    }
}
