//! A provider's stream, read event by event.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

use super::{
    answer, error,
    finish::{self, Contained},
    items, usage,
    wire::{Event as Wire, Item, Response},
};
use crate::{
    Error, Kind,
    body::sse,
    dialect::{
        Decode, Emit,
        buffer::{MAX_CALLS, too_many},
        canonical::{Citation, Content, Event, Part, ToolCall},
        citation::characters,
        cited::Cited,
        json, openai_annotations,
        text::Str,
    },
};

/// Reads the events of a provider.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    is_started: bool,
    is_ended: bool,
    /// How many calls were announced.
    calls: u32,
    has_refusal: bool,
    cited: Cited,
    /// By the number of the item.
    items: HashMap<u64, State>,
}

/// What was read of an item.
#[derive(Debug, Default)]
struct State {
    /// The number under which it was announced, if it is a call.
    call: Option<u32>,
    /// Whether any of its text, thoughts or arguments have come.
    is_written: bool,
    /// Whether its thoughts come as they were thought, which are then not summed up as well.
    is_plain: bool,
    /// Whether the next piece of the summary begins a paragraph.
    begins_paragraph: bool,
    is_done: bool,
    /// How much text the answer had before the item, and before the part of it that goes on, which has this number.
    before: Option<usize>,
    part: (u64, usize),
    /// Whether what it cites has come.
    is_cited: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
        let data = event.data.trim_ascii();
        if self.is_ended || data.is_empty() || data.starts_with(b"[DONE]") {
            return Ok(());
        }
        let wire: Wire<'_> = json::parse(data).map_err(|error| {
            Error::new(Kind::Upstream, "the provider's stream can't be understood").with_source(error)
        })?;
        let index = wire.output_index.unwrap_or_default();
        match wire.kind.as_deref().unwrap_or(std::str::from_utf8(&event.name).unwrap_or_default()) {
            "response.created" | "response.queued" | "response.in_progress" => {
                self.start(wire.response, emit)
            }
            "response.output_item.added" => self.added(index, wire.item, emit)?,
            "response.output_item.done" => self.done(index, wire.item, emit)?,
            "response.output_text.delta" => self.text(index, wire, emit)?,
            "response.output_text.annotation.added" => self.annotation(index, wire, emit)?,
            "response.refusal.delta" => self.refusal(index, wire.delta, emit)?,
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(index, wire.delta, emit);
            }
            "response.reasoning_summary_text.delta" => self.thought(index, wire.delta, false, emit)?,
            "response.reasoning_text.delta" => self.thought(index, wire.delta, true, emit)?,
            "response.reasoning_summary_part.added" => self.state(index)?.begins_paragraph = true,
            "response.completed" => self.end("completed", wire.response, emit)?,
            "response.incomplete" => self.end("incomplete", wire.response, emit)?,
            "response.failed" | "error" => return Err(error::in_event(data)),
            "keepalive" => emit(Event::Ping),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: Emit<'_>) -> Result<(), Error> {
        match self.is_ended {
            true => Ok(()),
            false => Err(Error::new(Kind::Upstream, "the provider's stream ended before the answer did")),
        }
    }
}

impl Decoder {
    fn start(&mut self, response: Option<Response<'_>>, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.is_started, true) {
            let response = response.unwrap_or_default();
            emit(Event::Start {
                id: response.id.unwrap_or_default().into(),
                model: response.model.unwrap_or_default().into(),
                created: response.created_at.map(|seconds| seconds as u64),
            });
        }
    }

    fn state(&mut self, index: u64) -> Result<&mut State, Error> {
        if self.items.len() >= MAX_CALLS && !self.items.contains_key(&index) {
            return Err(too_many("items"));
        }
        Ok(self.items.entry(index).or_default())
    }

    fn added(&mut self, index: u64, item: Option<&RawValue>, emit: Emit<'_>) -> Result<(), Error> {
        self.state(index)?;
        let Some(raw) = item else { return Ok(()) };
        let Ok(item) = serde_json::from_str::<Item<'_>>(raw.get()) else { return Ok(()) };
        if matches!(item.kind.as_deref(), Some("function_call" | "custom_tool_call"))
            && let Ok(call) = items::call(item, &String::new)
        {
            self.announce(index, call, emit)?;
        }
        Ok(())
    }

    fn announce(&mut self, index: u64, call: ToolCall<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let number = self.calls;
        let state = self.state(index)?;
        if state.call.is_some() {
            return Ok(());
        }
        state.call = Some(number);
        self.calls += 1;
        let ToolCall { id, name, arguments, is_free_text } = call;
        emit(Event::ToolCall { choice: 0, call: number, id, name, is_free_text });
        if !arguments.is_empty() {
            self.state(index)?.is_written = true;
            emit(Event::Arguments { choice: 0, call: number, fragment: arguments });
        }
        Ok(())
    }

    fn text(&mut self, index: u64, wire: Wire<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let (part, before) = (wire.content_index.unwrap_or_default(), self.cited.characters());
        let state = self.state(index)?;
        if state.before.is_none() || state.part.0 != part {
            state.part = (part, before);
            state.before.get_or_insert(before);
        }
        if let Some(text) = text_in(wire.delta) {
            self.cited.said(&text);
        }
        self.said(index, wire.delta, |text| Event::Text { choice: 0, text: text.into() }, emit)?;
        let logprobs = wire.logprobs.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        if let Some(raw) = answer::as_in_chat(&logprobs.unwrap_or_default()) {
            emit(Event::Logprobs { choice: 0, raw: Cow::Owned(raw) });
        }
        Ok(())
    }

    fn annotation(&mut self, index: u64, wire: Wire<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let Some(annotation) = wire.annotation else { return Ok(()) };
        let (part, now) = (wire.content_index.unwrap_or_default(), self.cited.characters());
        let state = self.state(index)?;
        state.is_cited = true;
        let (known, before) = state.part;
        let mut citation = openai_annotations::one(annotation).later(before);
        if state.before.is_none() || known != part {
            // Of a part that is not being written it is not known where it stands.
            citation.span = None;
        } else if citation.span.is_none() && before < now {
            citation.span = Some(before..now);
        }
        if let Some(citation) = self.cited.ready(citation)? {
            emit(Event::Citation { choice: 0, citation });
        }
        Ok(())
    }

    /// Says what a whole text cites, if that was not said before.
    fn cite(citations: Vec<Citation<'_>>, before: usize, length: usize, emit: Emit<'_>) {
        for citation in citations {
            let mut citation = citation.within(length).later(before);
            citation.span.get_or_insert(before..before + length);
            emit(Event::Citation { choice: 0, citation });
        }
    }

    fn cite_the_rest(&mut self, emit: Emit<'_>) {
        self.cited.take().for_each(|citation| emit(Event::Citation { choice: 0, citation }));
    }

    fn refusal(&mut self, index: u64, delta: Option<&RawValue>, emit: Emit<'_>) -> Result<(), Error> {
        self.has_refusal = true;
        self.said(index, delta, |text| Event::Refusal { choice: 0, text: text.into() }, emit)
    }

    fn said<'w>(
        &mut self,
        index: u64,
        delta: Option<&'w RawValue>,
        event: impl FnOnce(Str<'w>) -> Event<'w>,
        emit: Emit<'_>,
    ) -> Result<(), Error> {
        let state = self.state(index)?;
        if let Some(text) = text_in(delta) {
            state.is_written = true;
            emit(event(text));
        }
        Ok(())
    }

    fn arguments(&mut self, index: u64, delta: Option<&RawValue>, emit: Emit<'_>) {
        // The tools of OpenAI itself have arguments too, which are nobody else's.
        let Some(State { call: Some(call), is_written, .. }) = self.items.get_mut(&index) else { return };
        if let Some(fragment) = text_in(delta) {
            *is_written = true;
            emit(Event::Arguments { choice: 0, call: *call, fragment: fragment.into() });
        }
    }

    fn thought(
        &mut self,
        index: u64,
        delta: Option<&RawValue>,
        is_plain: bool,
        emit: Emit<'_>,
    ) -> Result<(), Error> {
        let state = self.state(index)?;
        let Some(text) = text_in(delta).filter(|_| !state.is_written || state.is_plain == is_plain) else {
            return Ok(());
        };
        if std::mem::take(&mut state.begins_paragraph) && state.is_written {
            emit(Event::Reasoning { choice: 0, text: "\n\n".into() });
        }
        (state.is_written, state.is_plain) = (true, is_plain);
        emit(Event::Reasoning { choice: 0, text: text.into() });
        Ok(())
    }

    /// An item is whole: says of it what was not said before.
    fn done(&mut self, index: u64, item: Option<&RawValue>, emit: Emit<'_>) -> Result<(), Error> {
        let is_done = std::mem::replace(&mut self.state(index)?.is_done, true);
        let Some(raw) = item.filter(|_| !is_done) else { return Ok(()) };
        let State { before, is_cited, .. } = *self.state(index)?;
        let mut before = before.unwrap_or(self.cited.characters());
        for mut part in answer::said(raw, &|| format!("output[{index}]"))? {
            let citations = std::mem::take(&mut part.citations);
            let length = match &part.content {
                Content::Text(text) if !is_cited => characters(text),
                _ => 0,
            };
            self.part(index, part, emit)?;
            if !is_cited {
                Self::cite(citations, before, length, emit);
            }
            before += length;
        }
        self.cite_the_rest(emit);
        Ok(())
    }

    fn part(&mut self, index: u64, part: Part<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let is_written = self.state(index)?.is_written;
        match part.content {
            Content::Text(text) if !is_written => {
                self.cited.said(&text);
                emit(Event::Text { choice: 0, text });
            }
            Content::Refusal(text) if !is_written => {
                self.has_refusal = true;
                emit(Event::Refusal { choice: 0, text });
            }
            Content::Reasoning { text, signature } => {
                if !is_written && !text.is_empty() {
                    emit(Event::Reasoning { choice: 0, text });
                }
                if let Some(signature) = signature {
                    emit(Event::Signature { choice: 0, signature });
                }
            }
            Content::RedactedReasoning(data) if is_written => {
                emit(Event::Signature { choice: 0, signature: data });
            }
            Content::RedactedReasoning(data) => emit(Event::RedactedReasoning { choice: 0, data }),
            Content::ToolCall(call) => self.call_is_done(index, call, emit)?,
            _ => {}
        }
        Ok(())
    }

    fn call_is_done(&mut self, index: u64, call: ToolCall<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let is_free_text = call.is_free_text;
        let arguments = call.arguments.clone();
        self.announce(index, call, emit)?;
        let State { call: Some(call), is_written: false, .. } = *self.state(index)? else { return Ok(()) };
        let fragment = if arguments.is_empty() && !is_free_text { "{}".into() } else { arguments };
        emit(Event::Arguments { choice: 0, call, fragment });
        Ok(())
    }

    fn end(
        &mut self,
        status: &'static str,
        response: Option<Response<'_>>,
        emit: Emit<'_>,
    ) -> Result<(), Error> {
        let mut response = response.unwrap_or_default();
        let (output, details) = (response.output.take(), response.incomplete_details.take());
        let tokens = response.usage.and_then(usage::read);
        self.start(Some(response), emit);
        for (index, item) in output.unwrap_or_default().into_iter().enumerate() {
            self.done(index as u64, Some(item), emit)?;
        }
        self.cite_the_rest(emit);
        if let Some(tokens) = tokens {
            emit(Event::Usage(tokens));
        }
        let contained = Contained { calls: self.calls > 0, refusal: self.has_refusal };
        emit(Event::Finish { choice: 0, finish: finish::read(Some(status), details.as_ref(), contained)? });
        self.is_ended = true;
        emit(Event::End);
        Ok(())
    }
}

/// The text of a delta, if it has one.
fn text_in(delta: Option<&RawValue>) -> Option<Str<'_>> {
    serde_json::from_str::<Str<'_>>(delta?.get()).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::body::sse::Splitter;

    fn read(events: &[&str]) -> (Vec<String>, Result<(), Error>) {
        let (mut decoder, mut heard) = (Decoder::default(), Vec::new());
        let mut emit = |event: Event<'_>| heard.push(brief(event));
        let mut splitter = Splitter::default();
        for event in events {
            splitter.push(Bytes::from(format!("data: {event}\n\n"))).unwrap();
        }
        let mut result = Ok(());
        while let (true, Some(event)) = (result.is_ok(), splitter.next_event()) {
            result = decoder.event(&event, &mut emit);
        }
        let result = result.and_then(|()| decoder.finish(&mut emit));
        (heard, result)
    }

    fn brief(event: Event<'_>) -> String {
        match event {
            Event::Start { id, model, created } => format!("start {id} {model} {created:?}"),
            Event::Text { text, .. } => text.into(),
            Event::Reasoning { text, .. } => format!("({text})"),
            Event::Signature { signature, .. } => format!("signed {signature}"),
            Event::RedactedReasoning { data, .. } => format!("redacted {data}"),
            Event::Refusal { text, .. } => format!("!{text}"),
            Event::ToolCall { call, id, name, is_free_text, .. } => {
                format!("call {call} {id} {name} {is_free_text}")
            }
            Event::Arguments { call, fragment, .. } => format!("{call}<-{fragment}"),
            Event::Logprobs { raw, .. } => format!("logprobs {raw}"),
            Event::Usage(tokens) => format!("usage {} {}", tokens.input, tokens.output),
            Event::Finish { finish, .. } => format!("{finish:?}"),
            Event::Citation { citation, .. } => {
                format!("cites {} at {:?}", citation.url().unwrap_or("?"), citation.span)
            }
            other => format!("{other:?}"),
        }
    }

    const CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"m","created_at":7,"status":"in_progress","output":[],"usage":null}}"#;
    const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2}}}"#;

    #[test]
    fn thoughts_texts_and_calls_are_read() {
        let (heard, result) = read(&[
            CREATED,
            r#"{"type":"response.in_progress","response":{"id":"resp_1"}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"part"}}"#,
            r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"Think","obfuscation":"xx"}"#,
            r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":1}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"again"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"Think"},{"type":"summary_text","text":"again"}],"encrypted_content":"gAAA"}}"#,
            r#"{"type":"response.output_item.added","output_index":1,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hi","logprobs":[]}"#,
            r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"Hi"}"#,
            r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]}}"#,
            COMPLETED,
            "[DONE]",
        ]);

        result.unwrap();
        assert_eq!(
            heard,
            [
                "start resp_1 m Some(7)",
                "(Think)",
                "(\n\n)",
                "(again)",
                "signed openai:rs_1:gAAA",
                "Hi",
                "usage 3 2",
                "Stop",
                "End"
            ]
        );
    }

    #[test]
    fn calls_that_take_turns_keep_apart() {
        // C88
        let added = |index: u8, id: &str| {
            format!(
                r#"{{"type":"response.output_item.added","output_index":{index},"item":{{"type":"function_call","call_id":"{id}","name":"f","arguments":""}}}}"#
            )
        };
        let delta = |index: u8, text: &str| {
            format!(
                r#"{{"type":"response.function_call_arguments.delta","output_index":{index},"delta":"{text}"}}"#
            )
        };
        let done = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","call_id":"b","name":"f","arguments":""}}"#;

        let (heard, result) =
            read(&[CREATED, &added(0, "a"), &added(1, "b"), &delta(0, "{"), &delta(0, "}"), done, COMPLETED]);

        result.unwrap();
        assert_eq!(
            heard[1..],
            [
                "call 0 a f false",
                "call 1 b f false",
                "0<-{",
                "0<-}",
                "1<-{}",
                "usage 3 2",
                "ToolCalls",
                "End"
            ]
        );
    }

    #[test]
    fn what_comes_only_in_the_end_is_not_lost() {
        let whole = r#"{"type":"response.incomplete","response":{"id":"r","model":"m","incomplete_details":{"reason":"max_output_tokens"},"output":[
            {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"A"},{"type":"refusal","refusal":"B"}]},
            {"type":"custom_tool_call","call_id":"c","name":"t","input":"x"}]}}"#;

        let (heard, result) = read(&[&whole.replace('\n', "")]);

        result.unwrap();
        assert_eq!(
            heard,
            [
                "start r m None",
                "redacted openai:rs_1:gAAA",
                "A",
                "!B",
                "call 0 c t true",
                "0<-x",
                "Length",
                "End"
            ]
        );
    }

    #[test]
    fn likelihoods_are_read_in_the_form_of_chats() {
        let delta = r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hi","logprobs":[{"token":"Hi","logprob":-1}]}"#;

        let (heard, _) = read(&[CREATED, delta, COMPLETED]);

        assert_eq!(heard[2], r#"logprobs {"content":[{"token":"Hi","logprob":-1}],"refusal":null}"#);
    }

    #[test]
    fn a_stream_that_fails_or_breaks_off_is_an_error() {
        // C92, C93
        let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#;
        let flat = r#"{"type":"error","code":"server_error","message":"oh","param":null}"#;
        let kind = |events: &[&str]| read(events).1.unwrap_err().kind();

        assert_eq!(kind(&[CREATED, failed]), Kind::RateLimited);
        assert_eq!(kind(&[CREATED, flat]), Kind::Upstream);
        assert_eq!(kind(&[CREATED]), Kind::Upstream);
        assert_eq!(kind(&["<html>"]), Kind::Upstream);
    }

    #[test]
    fn events_of_openais_own_tools_are_passed_over() {
        let (heard, result) = read(&[
            CREATED,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"web_search_call","id":"ws","status":"in_progress"}}"#,
            r#"{"type":"response.web_search_call.searching","output_index":0,"item_id":"ws"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"web_search_call","id":"ws","status":"completed"}}"#,
            r#"{"type":"keepalive"}"#,
            COMPLETED,
        ]);

        result.unwrap();
        assert_eq!(heard[1..], ["Ping", "usage 3 2", "Stop", "End"]);
    }

    #[test]
    fn what_is_cited_is_counted_in_all_text_and_told_once() {
        let page = |url: &str, start: usize, end: usize| {
            format!(
                r#"{{"type":"url_citation","url":"{url}","title":"T","start_index":{start},"end_index":{end}}}"#
            )
        };
        let delta = |item: usize, part: usize, text: &str| {
            format!(
                r#"{{"type":"response.output_text.delta","output_index":{item},"content_index":{part},"delta":"{text}"}}"#
            )
        };
        let added = |item: usize, part: usize, page: &str| {
            format!(
                r#"{{"type":"response.output_text.annotation.added","output_index":{item},"content_index":{part},"annotation_index":0,"annotation":{page}}}"#
            )
        };
        let done = |item: usize, pages: [&str; 2]| {
            format!(
                r#"{{"type":"response.output_item.done","output_index":{item},"item":{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"äö","annotations":[{}]}},{{"type":"output_text","text":"cd","annotations":[{}]}}]}}}}"#,
                pages[0], pages[1]
            )
        };
        let (a, b, c) = (page("a", 0, 1), page("b", 1, 2), page("c", 0, 99));
        let events = [
            delta(0, 0, "äö"),
            delta(0, 1, "cd"),
            added(0, 1, &b),
            done(0, ["", &b]),
            delta(1, 0, "äö"),
            delta(1, 1, "cd"),
            done(1, [&a, &c]),
        ];
        let mut said = vec![CREATED];
        said.extend(events.iter().map(|event| &**event));
        said.push(COMPLETED);

        let (heard, result) = read(&said);

        result.unwrap();
        let cited: Vec<_> = heard.iter().filter(|event| event.starts_with("cites")).collect();
        assert_eq!(cited, ["cites b at Some(3..4)", "cites a at Some(4..5)", "cites c at Some(6..8)"]);
    }
}
