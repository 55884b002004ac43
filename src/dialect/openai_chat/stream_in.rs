//! A provider's stream, read chunk by chunk.

use std::{borrow::Cow, collections::HashSet};

use serde_json::value::RawValue;

use super::{
    calls::Calls,
    finish::{self, Contained},
    message::{flattened, is_anthropic_format},
    usage,
    wire::{CallDelta, Chunk, ChunkChoice, ContentPart, Delta, MessageContent},
};
use crate::{
    Error, Kind,
    body::sse,
    dialect::{
        Decode, Emit,
        buffer::{Buffered, MAX_CHOICES, too_many},
        canonical::{Citation, Event, Finish, Text},
        cited::Cited,
        json, openai_annotations, openai_error,
        text::Str,
        text_or::TextOr,
    },
};

/// Reads the chunks of a provider.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    is_started: bool,
    is_ended: bool,
    choices: Vec<Choice>,
}

/// The pages that stand beside the answer: `citations` and `search_results`. Perplexity has them in every chunk.
#[derive(Debug, Default)]
struct Beside([Option<Box<RawValue>>; 2]);

impl Beside {
    fn note(&mut self, said: [Option<&RawValue>; 2]) {
        for (known, said) in self.0.iter_mut().zip(said) {
            let is_new = said.is_some_and(|said| known.as_deref().map(RawValue::get) != Some(said.get()));
            if let Some(said) = said.filter(|_| is_new) {
                *known = Some(said.to_owned());
            }
        }
    }
}

/// The state of one answer of several.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    calls: Calls,
    cited: Cited,
    beside: Beside,
    /// The addresses that were cited.
    known: HashSet<Text<'static>>,
    buffered: Buffered,
    has_refusal: bool,
    is_finished: bool,
    /// xAI ends calls with an empty reason, others have an empty one in every chunk.
    has_empty_reason: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
        let data = event.data.trim_ascii();
        if self.is_ended || data.is_empty() {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            return self.done(emit);
        }
        let chunk: Chunk<'_> = json::parse(data).map_err(|error| {
            openai_error::read_inside(data).unwrap_or_else(|| not_understood().with_source(error))
        })?;
        let error = chunk.error.or(chunk.x_groq.as_ref().and_then(|groq| groq.error));
        match error {
            Some(_) => Err(openai_error::read_inside(data).unwrap_or_else(not_understood)),
            None => self.chunk(chunk, emit),
        }
    }

    fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if self.is_ended {
            return Ok(());
        }
        // Many servers leave out `[DONE]`, but an answer without a reason to end was cut off.
        let is_over =
            |choice: &Choice| choice.is_finished || (choice.has_empty_reason && !choice.calls.is_empty());
        if self.choices.is_empty() || !self.choices.iter().all(is_over) {
            return Err(Error::new(Kind::Upstream, "the provider's stream ended before the answer did"));
        }
        self.done(emit)
    }
}

fn not_understood() -> Error {
    Error::new(Kind::Upstream, "the provider's stream can't be understood")
}

impl Decoder {
    fn chunk(&mut self, chunk: Chunk<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let choices = chunk.choices.unwrap_or_default();
        let counted = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage));
        let counted = counted.or(choices.iter().find_map(|choice| choice.usage)).and_then(usage::read);
        let first = self.choices.first().map(|choice| choice.index);
        if let Some(first) = first.or(choices.first().map(|choice| choice.index.unwrap_or(0))) {
            self.choice(first)?.beside.note([chunk.citations, chunk.search_results]);
        }
        // Azure begins with a chunk about the prompt, which has neither an id nor a model.
        if choices.is_empty() && counted.is_none() {
            return Ok(());
        }
        if !self.is_started {
            self.is_started = true;
            emit(Event::Start {
                id: chunk.id.unwrap_or_default().into(),
                model: chunk.model.unwrap_or_default().into(),
                created: chunk.created.map(|seconds| seconds as u64),
            });
        }
        for (position, choice) in choices.into_iter().enumerate() {
            let index = choice.index.unwrap_or(position as u32);
            self.choice(index)?.chunk(choice, emit)?;
        }
        if let Some(tokens) = counted {
            emit(Event::Usage(tokens));
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Error> {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let at = match known {
            Some(at) => at,
            None if self.choices.len() == MAX_CHOICES => return Err(too_many("choices")),
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        Ok(&mut self.choices[at])
    }

    fn done(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if !self.is_started {
            return Err(Error::new(Kind::Upstream, "the provider's stream ended before it began"));
        }
        self.is_ended = true;
        if self.choices.is_empty() {
            // Some proxies filter by leaving everything out.
            emit(Event::Finish { choice: 0, finish: Finish::Refused(None) });
        }
        for choice in &mut self.choices {
            choice.end(None, None, emit)?;
        }
        emit(Event::End);
        Ok(())
    }
}

impl Choice {
    fn chunk(&mut self, chunk: ChunkChoice<'_>, emit: Emit<'_>) -> Result<(), Error> {
        if self.is_finished {
            return Ok(());
        }
        if let Some(delta) = chunk.delta {
            self.delta(delta, emit)?;
        }
        if let Some(raw) = chunk.logprobs {
            emit(Event::Logprobs { choice: self.index, raw: Cow::Borrowed(raw) });
        }
        match chunk.finish_reason.as_deref() {
            None => {}
            Some("") => self.has_empty_reason = true,
            reason => self.end(reason, chunk.stop_reason, emit)?,
        }
        Ok(())
    }

    fn end(
        &mut self,
        reason: Option<&str>,
        stop_reason: Option<&RawValue>,
        emit: Emit<'_>,
    ) -> Result<(), Error> {
        self.cite_the_rest(emit);
        if self.is_finished {
            return Ok(());
        }
        self.is_finished = true;
        if self.calls.has_nameless() {
            return Err(Error::new(Kind::Upstream, "the provider calls a tool without its name"));
        }
        let contained = Contained { calls: !self.calls.is_empty(), refusal: self.has_refusal };
        let finish = finish::read(reason, stop_reason, contained)?;
        emit(Event::Finish { choice: self.index, finish });
        Ok(())
    }

    fn cite(&mut self, citation: Citation<'_>, emit: Emit<'_>) -> Result<(), Error> {
        if let Some(url) = citation.url().filter(|url| !self.known.contains(*url)) {
            self.buffered.keep(url.len() + size_of::<Text<'_>>())?;
            self.known.insert(url.to_owned().into());
        }
        if let Some(citation) = self.cited.ready(citation)? {
            emit(Event::Citation { choice: self.index, citation });
        }
        Ok(())
    }

    /// Says what had to wait for the end of the text, and what stands beside it.
    fn cite_the_rest(&mut self, emit: Emit<'_>) {
        let choice = self.index;
        self.cited.take().for_each(|citation| emit(Event::Citation { choice, citation }));
        let [citations, results] = std::mem::take(&mut self.beside.0);
        let mut known = self.known.iter().map(|url| Text::Borrowed(&**url)).collect();
        let found = openai_annotations::found(citations.as_deref(), results.as_deref(), &mut known);
        let found: Vec<_> = found.into_iter().map(Citation::into_owned).collect();
        for citation in found {
            self.known.extend(citation.url().map(|url| Text::Owned(url.to_owned())));
            emit(Event::Citation { choice, citation });
        }
    }

    fn delta(&mut self, delta: Delta<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let choice = self.index;
        let plain = [delta.reasoning_content, delta.reasoning];
        let plain = plain.into_iter().flatten().find(|text| !text.is_empty());
        let has_plain = plain.is_some();
        if let Some(text) = plain {
            emit(Event::Reasoning { choice, text: text.into() });
        }
        for block in delta.thinking_blocks.into_iter().flatten() {
            proof(choice, block.signature, block.data, emit);
        }
        for detail in delta.reasoning_details.into_iter().flatten() {
            if let Some(text) = detail.text.or(detail.summary).filter(|text| !has_plain && !text.is_empty()) {
                emit(Event::Reasoning { choice, text: text.into() });
            }
            if is_anthropic_format(detail.format.as_deref()) {
                proof(choice, detail.signature, detail.data, emit);
            }
        }
        self.content(delta.content, emit);
        self.refusal(delta.refusal, emit);
        for citation in delta.annotations.map(openai_annotations::read).unwrap_or_default() {
            self.cite(citation, emit)?;
        }
        for call in delta.tool_calls.into_iter().flatten() {
            self.calls.delta(choice, call, emit)?;
        }
        if let Some(function) = delta.function_call {
            let call = CallDelta { index: Some(0), function: Some(function), ..Default::default() };
            self.calls.delta(choice, call, emit)?;
        }
        Ok(())
    }

    fn content(&mut self, content: Option<MessageContent<'_>>, emit: Emit<'_>) {
        match content {
            None | Some(TextOr::Null) => {}
            Some(TextOr::Text(text)) => self.text(text, emit),
            Some(TextOr::Other(parts)) => parts.into_iter().for_each(|part| self.part(part, emit)),
        }
    }

    fn part(&mut self, part: ContentPart<'_>, emit: Emit<'_>) {
        let choice = self.index;
        if part.thinking.is_some() {
            let text = flattened(part.thinking);
            if !text.is_empty() {
                emit(Event::Reasoning { choice, text });
            }
            proof(choice, part.signature, None, emit);
        } else if part.refusal.is_some() {
            self.refusal(part.refusal, emit);
        } else if let Some(text) = part.text {
            self.text(text, emit);
        }
    }

    /// Empty pieces say nothing: many servers have one in every chunk.
    fn text(&mut self, text: Str<'_>, emit: Emit<'_>) {
        if !text.is_empty() {
            self.cited.said(&text);
            emit(Event::Text { choice: self.index, text: text.into() });
        }
    }

    fn refusal(&mut self, refusal: Option<Str<'_>>, emit: Emit<'_>) {
        if let Some(text) = refusal.filter(|text| !text.is_empty()) {
            self.has_refusal = true;
            emit(Event::Refusal { choice: self.index, text: text.into() });
        }
    }
}

fn proof(choice: u32, signature: Option<Str<'_>>, data: Option<Str<'_>>, emit: Emit<'_>) {
    if let Some(signature) = signature.filter(|signature| !signature.is_empty()) {
        emit(Event::Signature { choice, signature: signature.into() });
    }
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        emit(Event::RedactedReasoning { choice, data: data.into() });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    /// What one event means, in short.
    fn brief(event: &Event<'_>) -> String {
        match event {
            Event::Start { id, model, created } => format!("start {id} {model} {created:?}"),
            Event::Text { choice, text } => format!("{choice} text {text}"),
            Event::Reasoning { choice, text } => format!("{choice} thought {text}"),
            Event::Signature { choice, signature } => format!("{choice} signature {signature}"),
            Event::RedactedReasoning { choice, data } => format!("{choice} redacted {data}"),
            Event::Refusal { choice, text } => format!("{choice} refusal {text}"),
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                let id = if id.len() == 29 { "made-up" } else { id };
                format!("{choice} call {call} {id} {name}{}", if *is_free_text { " text" } else { "" })
            }
            Event::Arguments { choice, call, fragment } => format!("{choice} arguments {call} {fragment}"),
            Event::Logprobs { choice, raw } => format!("{choice} logprobs {raw}"),
            Event::Usage(tokens) => format!("usage {} {}", tokens.input, tokens.output),
            Event::Finish { choice, finish: Finish::Refused(None) } => format!("{choice} refused"),
            Event::Finish { choice, finish } => format!("{choice} finish {finish:?}"),
            Event::Citation { choice, citation } => {
                format!("{choice} cites {} at {:?}", citation.url().unwrap_or("?"), citation.span)
            }
            Event::Ping => "ping".into(),
            Event::End => "end".into(),
        }
    }

    struct Read {
        events: Vec<String>,
        error: Option<Error>,
    }

    fn read(chunks: &[&str]) -> Read {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let mut emit = |event: Event<'_>| events.push(brief(&event));
        let result = chunks
            .iter()
            .try_for_each(|data| {
                let data = Bytes::copy_from_slice(data.as_bytes());
                decoder.event(&sse::Event { raw: data.clone(), name: Bytes::new(), data }, &mut emit)
            })
            .and_then(|()| decoder.finish(&mut emit));
        Read { events, error: result.err() }
    }

    /// The events between the start and the end of an answer made of these deltas.
    fn deltas(deltas: &[&str]) -> Vec<String> {
        let chunk = |delta: &&str| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        let mut chunks: Vec<String> = deltas.iter().map(chunk).collect();
        chunks.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.into());
        let read = read(&chunks.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(read.error.is_none(), "{:?}", read.error);
        let events = read.events.len();
        read.events[1..events - 2].to_vec()
    }

    fn calls(calls: &[&str]) -> Vec<String> {
        let each: Vec<String> = calls.iter().map(|call| format!(r#"{{"tool_calls":{call}}}"#)).collect();
        deltas(&each.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn a_stream_of_openai_is_read() {
        // C113, C114
        let read = read(&[
            r#"{"id":"c","object":"chat.completion.chunk","created":1772656915,"model":"gpt-x","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"Hx"}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{"content":"H\u00e9"},"logprobs":{"content":[1]},"finish_reason":null}],"usage":null}"#,
            r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":10}}"#,
            "[DONE]",
            "[DONE]",
        ]);

        assert_eq!(
            read.events,
            [
                "start c gpt-x Some(1772656915)",
                "0 text Hé",
                r#"0 logprobs {"content":[1]}"#,
                "0 finish Stop",
                "usage 7 10",
                "end"
            ]
        );
        assert!(read.error.is_none());
    }

    #[test]
    fn calls_may_take_turns() {
        // C88, C90
        let events = calls(&[
            r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"b\":"}}]"#,
            r#"[{"index":0,"function":{"arguments":"{}"}}],"content":"""#,
            r#"[{"index":1,"function":{"arguments":"2}"}}]"#,
        ]);

        assert_eq!(
            events,
            ["0 call 0 a f", "0 call 1 b g", "0 arguments 1 {\"b\":", "0 arguments 0 {}", "0 arguments 1 2}"]
        );
    }

    #[test]
    fn calls_that_are_all_numbered_0_are_told_apart_by_their_ids() {
        // C86, C87
        let events = calls(&[
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\""}}]"#,
            r#"[{"index":0,"function":{"arguments":":1}"}}]"#,
        ]);

        assert_eq!(
            events,
            ["0 call 0 a f", "0 arguments 0 {}", "0 call 1 b f", "0 arguments 1 {\"x\"", "0 arguments 1 :1}"]
        );
    }

    #[test]
    fn a_repeated_id_or_name_is_not_a_new_call() {
        // C86
        let repeated = calls(&[
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]"#,
            r#"[{"index":0,"id":"","function":{"name":"f","arguments":" "}}]"#,
        ]);
        let by_id = calls(&[
            r#"[{"id":"a","function":{"name":"f","arguments":"{"}},{"id":"b","function":{"name":"f","arguments":"["}}]"#,
            r#"[{"id":"a","function":{"arguments":"}"}},{"id":"b","function":{"arguments":"]"}}]"#,
        ]);

        assert_eq!(repeated, ["0 call 0 a f", "0 arguments 0 {", "0 arguments 0 }", "0 arguments 0  "]);
        assert_eq!(
            by_id,
            [
                "0 call 0 a f",
                "0 arguments 0 {",
                "0 call 1 b f",
                "0 arguments 1 [",
                "0 arguments 0 }",
                "0 arguments 1 ]"
            ]
        );
    }

    #[test]
    fn calls_without_an_index_go_by_their_order() {
        // C86, C87, C39
        let events = calls(&[
            r#"[{"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"function":{"arguments":"}"}}]"#,
            r#"[{"function":{"name":"g","arguments":{"x": 1}}}]"#,
        ]);

        assert_eq!(
            events,
            [
                "0 call 0 a f",
                "0 arguments 0 {",
                "0 arguments 0 }",
                "0 call 1 made-up g",
                "0 arguments 1 {\"x\":1}"
            ]
        );
    }

    #[test]
    fn a_call_waits_for_its_name() {
        // C89
        let events = calls(&[
            r#"[{"index":0,"id":"a","function":{"arguments":"{"}}]"#,
            r#"[{"index":1,"id":"b","function":{"name":"g"}}]"#,
            r#"[{"index":0,"function":{"name":"f","arguments":"}"}}]"#,
        ]);

        assert_eq!(events, ["0 call 0 b g", "0 call 1 a f", "0 arguments 1 {", "0 arguments 1 }"]);
    }

    #[test]
    fn a_call_without_a_name_is_an_error() {
        let read = read(&[
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a"}]},"finish_reason":"tool_calls"}]}"#,
        ]);

        assert_eq!(read.error.unwrap().kind(), Kind::Upstream);
    }

    #[test]
    fn deprecated_calls_and_free_text_are_calls() {
        let deprecated = deltas(&[
            r#"{"function_call":{"name":"f","arguments":""}}"#,
            r#"{"function_call":{"arguments":"{}"}}"#,
        ]);
        let free = calls(&[r#"[{"index":0,"id":"a","type":"custom","custom":{"name":"g","input":"x"}}]"#]);

        assert_eq!(deprecated, ["0 call 0 made-up f", "0 arguments 0 {}"]);
        assert_eq!(free, ["0 call 0 a g text", "0 arguments 0 x"]);
    }

    #[test]
    fn thoughts_are_read_under_every_name() {
        // C91
        assert_eq!(deltas(&[r#"{"reasoning_content":"hm","content":null}"#]), ["0 thought hm"]);
        assert_eq!(
            deltas(&[r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#]),
            ["0 thought hm"]
        );
        assert_eq!(
            deltas(&[
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s","format":"anthropic-claude-v1"}]}"#,
                r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"d","format":"openai-responses-v1"}]}"#
            ]),
            ["0 thought hm", "0 signature s"]
        );
        assert_eq!(
            deltas(&[
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"ok"}]}"#
            ]),
            ["0 thought hm", "0 text ok"]
        );
        assert_eq!(
            deltas(&[
                r#"{"thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"}]}"#
            ]),
            ["0 signature s", "0 redacted d"]
        );
    }

    #[test]
    fn the_reason_is_put_right() {
        // C85, C118
        let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}"#;
        let refusal = r#"{"choices":[{"index":0,"delta":{"refusal":"no"},"finish_reason":"stop"}]}"#;
        let empty = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"a","function":{"name":"f"}}]},"finish_reason":""}]}"#;

        assert_eq!(read(&[call]).events[3], "0 finish ToolCalls");
        assert_eq!(read(&[refusal]).events[2], "0 refused");
        assert_eq!(read(&[empty]).events[2], "0 finish ToolCalls");
    }

    #[test]
    fn an_empty_reason_in_every_chunk_ends_nothing() {
        let chunk = |text: &str| {
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":""}}]}}"#)
        };

        let read = read(&[&chunk("a"), &chunk("b"), "[DONE]"]);

        assert_eq!(read.events[1..], ["0 text a", "0 text b", "0 finish Stop", "end"]);
    }

    #[test]
    fn a_stream_may_end_without_its_marker_but_not_without_a_reason() {
        // C93
        let text = r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
        let reason = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#;

        let whole = read(&[text, reason]);
        let cut = read(&[text]);

        assert_eq!(whole.events[2..], ["0 finish Length", "end"]);
        assert!(whole.error.is_none());
        assert_eq!(cut.error.unwrap().kind(), Kind::Upstream);
        assert_eq!(cut.events.last().unwrap(), "0 text Hi");
        assert_eq!(read(&[]).error.unwrap().kind(), Kind::Upstream);
        assert_eq!(read(&["[DONE]"]).error.unwrap().kind(), Kind::Upstream);
    }

    #[test]
    fn the_marker_may_have_spaces_and_comments_are_nothing() {
        // C97, C104
        let read = read(&[
            "",
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            " [DONE] ",
            r#"{"choices":[{"index":0,"delta":{"content":"y"}}]}"#,
        ]);

        assert_eq!(read.events[1..], ["0 text x", "0 finish Stop", "end"]);
    }

    #[test]
    fn usage_may_come_anywhere() {
        // C106
        let read = read(&[
            r#"{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"completion_tokens":2}}}"#,
            r#"{"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":3,"completion_tokens":4}}]}"#,
        ]);

        assert_eq!(
            read.events[1..],
            ["0 text x", "usage 3 1", "0 finish Stop", "usage 3 2", "usage 3 4", "end"]
        );
    }

    #[test]
    fn the_chunks_of_azure_about_filters_are_nothing() {
        // C112
        let read = read(&[
            r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
            r#"{"id":"c","model":"m","created":1,"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"id":"","model":"","choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":1}}]}"#,
            "[DONE]",
        ]);

        assert_eq!(read.events, ["start c m Some(1)", "0 text x", "0 finish Stop", "end"]);
    }

    #[test]
    fn no_answer_at_all_is_a_refusal() {
        // C84
        let read = read(&[r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3}}"#, "[DONE]"]);

        assert_eq!(read.events[1..], ["usage 3 0", "0 refused", "end"]);
    }

    #[test]
    fn several_answers_interleave() {
        let read = read(&[
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#,
        ]);

        assert_eq!(read.events[1..], ["0 text a", "1 text b", "1 finish Stop", "0 finish Length", "end"]);
    }

    #[test]
    fn an_error_in_the_stream_keeps_its_class() {
        // C92
        let kind = |chunk: &str| read(&[chunk]).error.unwrap().kind();

        assert_eq!(kind(r#"{"error":{"message":"m","type":"server_error","code":null}}"#), Kind::Upstream);
        assert_eq!(kind(r#"{"error":{"message":"m","code":429},"choices":[]}"#), Kind::RateLimited);
        assert_eq!(kind(r#"{"error":"text","code":"The caller"}"#), Kind::Upstream);
        assert_eq!(
            kind(r#"{"x_groq":{"error":{"message":"m","code":"rate_limit_exceeded"}}}"#),
            Kind::RateLimited
        );
        assert_eq!(kind(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#), Kind::Upstream);
        assert_eq!(kind("{"), Kind::Upstream);
    }

    #[test]
    fn a_citation_comes_when_its_text_is_there_and_no_page_twice() {
        let page = |url: &str, end: usize| {
            format!(
                r#"{{"type":"url_citation","url_citation":{{"url":"{url}","title":"T","start_index":0,"end_index":{end}}}}}"#
            )
        };
        let chunk = |delta: &str, finish: &str| {
            format!(
                r#"{{"id":"c","model":"m","citations":["https://a.x","https://d.x"],"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
            )
        };
        let annotations =
            format!(r#"{{"annotations":[{},{}]}}"#, page("https://a.x", 2), page("https://b.x", 4));
        let chunks = [
            chunk(r#"{"content":"äö"}"#, "null"),
            chunk(&annotations, "null"),
            chunk(r#"{"content":"ü"}"#, "null"),
            chunk(r#"{"annotations":7}"#, "\"stop\""),
        ];

        let read = read(&chunks.each_ref().map(|chunk| &**chunk));

        assert_eq!(
            read.events[1..],
            [
                "0 text äö",
                "0 cites https://a.x at Some(0..2)",
                "0 text ü",
                "0 cites https://b.x at Some(0..3)",
                "0 cites ? at None",
                "0 cites https://d.x at None",
                "0 finish Stop",
                "end"
            ]
        );
    }
}
