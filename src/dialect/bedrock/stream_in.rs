//! Bedrock's stream becomes canonical events.

use std::collections::HashMap;

use super::{
    citations, error, finish, usage,
    wire::read::{Delta, Event as Wire, ReasoningDelta, ToolUse},
};
use crate::{
    Error, Kind, Tokens,
    body::sse,
    dialect::{
        Decode, Emit,
        buffer::{Buffered, MAX_CALLS, too_many},
        canonical::{Citation, Event},
        cited::Cited,
        ids, json,
    },
};

/// Reads the events of ConverseStream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    tokens: Tokens,
    begun: bool,
    /// Whether there was any content.
    said: bool,
    calls: u32,
    /// By the number of the block.
    open: HashMap<u64, OpenCall>,
    cited: Cited,
    /// How much text there was before the current block, in characters.
    before: usize,
    /// The proof of the current thoughts, as far as it is here.
    signature: String,
    buffered: Buffered,
    /// The reason for the end was given.
    stopped: bool,
    /// The last event was handed on.
    ended: bool,
}

/// A call whose block has not ended.
#[derive(Debug)]
struct OpenCall {
    call: u32,
    /// Whether any of its arguments have come.
    written: bool,
}

impl Decode for Decoder {
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
        if let Some(error) = error::thrown(event) {
            return Err(error);
        }
        if self.ended {
            return Ok(());
        }
        match &*event.name {
            b"messageStart" => self.begin(emit),
            b"contentBlockStart" => {
                if let Some(call) = read(event)?.start_of_call() {
                    self.call(call, emit)?;
                }
            }
            b"contentBlockDelta" => self.delta(read(event)?, emit)?,
            b"contentBlockStop" => self.stop(read(event)?.index.unwrap_or_default(), emit),
            b"messageStop" => self.message_stop(read(event)?, emit)?,
            b"metadata" => self.metadata(&read(event)?, emit),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if !self.stopped {
            return Err(Error::new(Kind::Upstream, "the provider's stream ended before its answer did"));
        }
        self.end(emit);
        Ok(())
    }
}

fn read(event: &sse::Event) -> Result<Wire<'_>, Error> {
    json::parse(&event.data).map_err(|error| {
        let message = "an event of the provider's stream can't be understood";
        Error::new(Kind::Upstream, message).with_source(error)
    })
}

impl<'a> Wire<'a> {
    fn start_of_call(self) -> Option<(u64, ToolUse<'a>)> {
        Some((self.index.unwrap_or_default(), self.start?.tool_use?))
    }
}

impl Decoder {
    fn begin(&mut self, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.begun, true) {
            // Bedrock says neither the id of the answer nor the model.
            emit(Event::Start { id: ids::new("msg_").into(), model: "".into(), created: None });
        }
    }

    fn call(&mut self, (index, call): (u64, ToolUse<'_>), emit: Emit<'_>) -> Result<(), Error> {
        if self.calls as usize == MAX_CALLS {
            return Err(too_many("calls"));
        }
        self.begin(emit);
        self.said = true;
        self.open.insert(index, OpenCall { call: self.calls, written: false });
        emit(Event::ToolCall {
            choice: 0,
            call: self.calls,
            id: call.id.unwrap_or_default().into(),
            name: call.name.unwrap_or_default().into(),
            is_free_text: false,
        });
        self.calls += 1;
        Ok(())
    }

    fn delta(&mut self, wire: Wire<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let Some(Delta { text, tool_use, reasoning, citation }) = wire.delta else { return Ok(()) };
        self.begin(emit);
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.said = true;
            self.cited.said(&text);
            emit(Event::Text { choice: 0, text: text.into() });
        }
        if let Some(citation) = citation {
            self.cited.hold(citations::read(citation))?;
        }
        let fragment = tool_use.and_then(|call| call.input).filter(|fragment| !fragment.is_empty());
        if let Some(fragment) = fragment
            && let Some(open) = self.open.get_mut(&wire.index.unwrap_or_default())
        {
            open.written = true;
            emit(Event::Arguments { choice: 0, call: open.call, fragment: fragment.into() });
        }
        reasoning.map_or(Ok(()), |reasoning| self.reasoning(reasoning, emit))
    }

    fn reasoning(&mut self, delta: ReasoningDelta<'_>, emit: Emit<'_>) -> Result<(), Error> {
        self.said = true;
        if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
            emit(Event::Reasoning { choice: 0, text: text.into() });
        }
        if let Some(piece) = delta.signature {
            self.buffered.keep(piece.len())?;
            self.signature.push_str(&piece);
        }
        if let Some(data) = delta.redacted.filter(|data| !data.is_empty()) {
            emit(Event::RedactedReasoning { choice: 0, data: data.into() });
        }
        Ok(())
    }

    /// A proof is handed on when it is whole.
    fn prove(&mut self, emit: Emit<'_>) {
        let signature = std::mem::take(&mut self.signature);
        if !signature.is_empty() {
            self.buffered.release(signature.len());
            emit(Event::Signature { choice: 0, signature: signature.into() });
        }
    }

    /// What a block cites is about all of its text.
    fn cite(&mut self, emit: Emit<'_>) {
        let all = self.before..self.cited.characters();
        self.before = all.end;
        for citation in self.cited.take() {
            emit(Event::Citation { choice: 0, citation: Citation { span: Some(all.clone()), ..citation } });
        }
    }

    fn stop(&mut self, index: u64, emit: Emit<'_>) {
        self.prove(emit);
        self.cite(emit);
        if let Some(OpenCall { call, written: false }) = self.open.remove(&index) {
            emit(Event::Arguments { choice: 0, call, fragment: "{}".into() });
        }
    }

    fn message_stop(&mut self, wire: Wire<'_>, emit: Emit<'_>) -> Result<(), Error> {
        if !self.said && wire.stop_reason.as_deref().is_some_and(finish::is_malformed) {
            return Err(finish::malformed());
        }
        self.begin(emit);
        self.prove(emit);
        self.cite(emit);
        let sequence = wire.fields.and_then(|fields| fields.stop_sequence);
        let finish = finish::read(wire.stop_reason.as_deref(), sequence, self.calls > 0);
        if !std::mem::replace(&mut self.stopped, true) {
            emit(Event::Finish { choice: 0, finish });
        }
        Ok(())
    }

    /// Comes behind the end of the message, and last.
    fn metadata(&mut self, wire: &Wire<'_>, emit: Emit<'_>) {
        if let Some(usage) = wire.usage {
            usage::merge(usage, &mut self.tokens);
            emit(Event::Usage(self.tokens));
        }
        if self.stopped {
            self.end(emit);
        }
    }

    fn end(&mut self, emit: Emit<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            emit(Event::End);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::event_stream::{
        Splitter,
        testing::{event, exception},
    };

    /// The canonical events of these frames, as they are printed, and the error at their end.
    fn decoded(frames: &[Vec<u8>]) -> (Vec<String>, Option<Error>) {
        let (mut decoder, mut splitter, mut events) = (Decoder::default(), Splitter::default(), Vec::new());
        let mut emit = |event: Event<'_>| match event {
            Event::Start { id, .. } => assert!(id.starts_with("msg_")),
            event => events.push(format!("{event:?}")),
        };
        splitter.push(frames.concat().into()).unwrap();
        let mut result = Ok(());
        while let Some(event) = splitter.next_event() {
            result = result.and_then(|()| decoder.event(&event, &mut emit));
        }
        let error = result.and_then(|()| decoder.finish(&mut emit)).err();
        (events, error)
    }

    fn stop(reason: &str) -> Vec<u8> {
        event("messageStop", &format!(r#"{{"stopReason":"{reason}"}}"#))
    }

    fn metadata() -> Vec<u8> {
        event(
            "metadata",
            r#"{"usage":{"inputTokens":150,"outputTokens":45,"totalTokens":195},"metrics":{"latencyMs":500}}"#,
        )
    }

    const USAGE: &str = "Usage(Tokens { input: 150, cached: 0, cache_write: 0, cache_write_1h: 0, output: 45, reasoning: 0, audio_input: 0, audio_output: 0 })";

    /// C113 and §4, recorded
    #[test]
    fn a_stream_with_parallel_calls_is_understood() {
        let (events, error) = decoded(&[
            event("messageStart", r#"{"role":"assistant","p":"abcdef"}"#),
            event(
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"text":"I'll call both."},"p":"ab"}"#,
            ),
            event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            event(
                "contentBlockStart",
                r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"tooluse_kZJ","name":"top_song"}}}"#,
            ),
            event(
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"sign\":"}}}"#,
            ),
            event(
                "contentBlockDelta",
                r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"\"WZPZ\"}"}}}"#,
            ),
            event("contentBlockStop", r#"{"contentBlockIndex":1}"#),
            event(
                "contentBlockStart",
                r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"tooluse_2","name":"now"}}}"#,
            ),
            event("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":""}}}"#),
            event("contentBlockStop", r#"{"contentBlockIndex":2}"#),
            stop("tool_use"),
            metadata(),
        ]);

        assert!(error.is_none());
        assert_eq!(
            events,
            [
                r#"Text { choice: 0, text: "I'll call both." }"#,
                r#"ToolCall { choice: 0, call: 0, id: "tooluse_kZJ", name: "top_song", is_free_text: false }"#,
                r#"Arguments { choice: 0, call: 0, fragment: "{\"sign\":" }"#,
                r#"Arguments { choice: 0, call: 0, fragment: "\"WZPZ\"}" }"#,
                r#"ToolCall { choice: 0, call: 1, id: "tooluse_2", name: "now", is_free_text: false }"#,
                r#"Arguments { choice: 0, call: 1, fragment: "{}" }"#,
                "Finish { choice: 0, finish: ToolCalls }",
                USAGE,
                "End",
            ]
        );
    }

    #[test]
    fn thoughts_keep_their_proofs() {
        let delta = |delta: &str| {
            event(
                "contentBlockDelta",
                &format!(r#"{{"contentBlockIndex":0,"delta":{{"reasoningContent":{delta}}}}}"#),
            )
        };

        let (events, _) = decoded(&[
            delta(r#"{"text":"hm"}"#),
            delta(r#"{"signature":"SI"}"#),
            delta(r#"{"signature":"G"}"#),
            event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            delta(r#"{"redactedContent":"UkVE"}"#),
            stop("end_turn"),
        ]);

        assert_eq!(
            events,
            [
                r#"Reasoning { choice: 0, text: "hm" }"#,
                r#"Signature { choice: 0, signature: "SIG" }"#,
                r#"RedactedReasoning { choice: 0, data: "UkVE" }"#,
                "Finish { choice: 0, finish: Stop }",
                "End",
            ]
        );
    }

    #[test]
    fn what_is_thrown_ends_the_stream() {
        let text = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#);
        let thrown = exception(
            "modelStreamErrorException",
            r#"{"message":"m","originalStatusCode":500,"originalMessage":"o"}"#,
        );

        let (events, error) = decoded(&[text, thrown, stop("end_turn")]);

        assert_eq!(events, [r#"Text { choice: 0, text: "a" }"#]);
        let error = error.unwrap();
        assert_eq!((error.kind(), error.message()), (Kind::Upstream, "m"));
    }

    /// C93
    #[test]
    fn a_stream_without_its_end_is_broken() {
        let text = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#);

        let broken = decoded(std::slice::from_ref(&text)).1.unwrap();
        let uncounted = decoded(&[text, stop("end_turn")]);

        assert_eq!(broken.kind(), Kind::Upstream);
        assert!(uncounted.1.is_none());
        assert_eq!(uncounted.0.last().unwrap(), "End");
    }

    /// C77, as Bedrock has it
    #[test]
    fn a_malformed_answer_with_nothing_in_it_is_the_providers_fault() {
        let start = event("messageStart", r#"{"role":"assistant"}"#);
        let text = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#);

        let empty = decoded(&[start, stop("malformed_tool_use"), metadata()]).1;
        let partial = decoded(&[text, stop("malformed_model_output")]);

        assert_eq!(empty.unwrap().kind(), Kind::Upstream);
        assert_eq!(partial.0[1], "Finish { choice: 0, finish: Stop }");
    }

    #[test]
    fn what_is_not_understood_is_an_error_only_where_it_matters() {
        let unknown = decoded(&[event("news", "nonsense"), stop("end_turn")]);
        let known = decoded(&[event("contentBlockDelta", "nonsense")]);
        let of_nothing = decoded(&[
            event("contentBlockDelta", r#"{"contentBlockIndex":7,"delta":{"toolUse":{"input":"{}"}}}"#),
            event("contentBlockStop", r#"{"contentBlockIndex":7}"#),
            stop("end_turn"),
        ]);

        assert!(unknown.1.is_none() && of_nothing.1.is_none());
        assert_eq!(known.1.unwrap().kind(), Kind::Upstream);
        assert_eq!(of_nothing.0.len(), 2);
    }
}
