//! A provider's stream becomes canonical events.

use std::collections::HashMap;

use super::{
    citations, error, finish, usage,
    wire::read::{Block, Delta, Event as Wire},
};
use crate::{
    Error, Kind, Tokens,
    body::sse,
    dialect::{
        Decode, Emit,
        buffer::{Buffered, MAX_CALLS, too_many},
        canonical::{Citation, Event, Finish},
        cited::Cited,
        json,
    },
};

/// The events that mean something here; others may come and be of any shape.
const KNOWN: [&[u8]; 8] = [
    b"",
    b"message_start",
    b"content_block_start",
    b"content_block_delta",
    b"content_block_stop",
    b"message_delta",
    b"message_stop",
    b"error",
];

/// Reads a stream of messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    tokens: Tokens,
    calls: u32,
    /// By the number of the block.
    open: HashMap<u64, OpenCall>,
    cited: Cited,
    /// How much text there was before the current block, in characters.
    before: usize,
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
    /// Arguments that stood in the block's beginning, where usually `{}` is.
    input: Box<str>,
}

impl Decode for Decoder {
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
        if event.data.is_empty() || self.ended {
            return Ok(());
        }
        let wire: Wire<'_> = match json::parse(&event.data) {
            Ok(wire) => wire,
            Err(_) if !KNOWN.contains(&&*event.name) => return Ok(()),
            Err(error) => {
                let message = "an event of the provider's stream can't be understood";
                return Err(Error::new(Kind::Upstream, message).with_source(error));
            }
        };
        let index = wire.index.unwrap_or_default();
        match wire.kind.as_deref().map_or(&*event.name, str::as_bytes) {
            b"message_start" => self.start(wire, emit),
            b"content_block_start" => self.block(index, wire.content_block, emit)?,
            b"content_block_delta" => self.delta(index, wire.delta, emit)?,
            b"content_block_stop" => self.stop(index, emit),
            b"message_delta" => self.message_delta(wire, emit),
            b"message_stop" => self.end(emit),
            b"ping" => emit(Event::Ping),
            b"error" => {
                let unread = || Error::new(Kind::Upstream, "the provider failed inside its stream");
                return Err(error::read_inside(&event.data).unwrap_or_else(unread));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if !self.stopped && !self.ended {
            return Err(Error::new(Kind::Upstream, "the provider's stream ended before its answer did"));
        }
        if !self.ended {
            self.end(emit);
        }
        Ok(())
    }
}

impl Decoder {
    fn start(&mut self, wire: Wire<'_>, emit: Emit<'_>) {
        let Some(message) = wire.message else { return };
        emit(Event::Start {
            id: message.id.unwrap_or_default().into(),
            model: message.model.unwrap_or_default().into(),
            created: None,
        });
        if let Some(usage) = message.usage {
            usage::merge(usage, &mut self.tokens);
            emit(Event::Usage(self.tokens));
        }
    }

    fn block(&mut self, index: u64, block: Option<Block<'_>>, emit: Emit<'_>) -> Result<(), Error> {
        let Some(block) = block else { return Ok(()) };
        match block.kind.as_deref() {
            Some("text") => {
                self.text(block.text.as_deref(), emit);
                for citation in block.citations.map(citations::read).unwrap_or_default() {
                    self.cited.hold(citation)?;
                }
            }
            Some("thinking") => {
                thinking(block.thinking.as_deref(), emit);
                signature(block.signature.as_deref(), emit);
            }
            Some("redacted_thinking") => {
                emit(Event::RedactedReasoning { choice: 0, data: block.data.unwrap_or_default().into() });
            }
            Some("tool_use") => self.call(index, block, emit)?,
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, index: u64, block: Block<'_>, emit: Emit<'_>) -> Result<(), Error> {
        if self.calls as usize == MAX_CALLS {
            return Err(too_many("calls"));
        }
        let call = self.calls;
        self.calls += 1;
        let input: Box<str> = block.input.map_or("{}", |input| input.get()).into();
        self.buffered.keep(input.len())?;
        if let Some(before) = self.open.insert(index, OpenCall { call, written: false, input }) {
            self.buffered.release(before.input.len());
        }
        emit(Event::ToolCall {
            choice: 0,
            call,
            id: block.id.unwrap_or_default().into(),
            name: block.name.unwrap_or_default().into(),
            is_free_text: false,
        });
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: Option<Delta<'_>>, emit: Emit<'_>) -> Result<(), Error> {
        let Some(delta) = delta else { return Ok(()) };
        match delta.kind.as_deref() {
            Some("text_delta") => self.text(delta.text.as_deref(), emit),
            Some("citations_delta") => {
                if let Some(citation) = delta.citation {
                    self.cited.hold(citations::one(citation))?;
                }
            }
            Some("thinking_delta") => thinking(delta.thinking.as_deref(), emit),
            Some("signature_delta") => signature(delta.signature.as_deref(), emit),
            Some("input_json_delta") => {
                let fragment = delta.partial_json.unwrap_or_default();
                // Blocks of the provider's own tools have arguments too, which are nobody else's.
                let Some(open) = self.open.get_mut(&index) else { return Ok(()) };
                if !fragment.is_empty() {
                    open.written = true;
                    emit(Event::Arguments { choice: 0, call: open.call, fragment: fragment.into() });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: Option<&str>, emit: Emit<'_>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.cited.said(text);
            emit(Event::Text { choice: 0, text: text.into() });
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
        self.cite(emit);
        let Some(OpenCall { call, written, input }) = self.open.remove(&index) else { return };
        self.buffered.release(input.len());
        if !written {
            emit(Event::Arguments { choice: 0, call, fragment: (&*input).into() });
        }
    }

    fn message_delta(&mut self, wire: Wire<'_>, emit: Emit<'_>) {
        if let Some(usage) = wire.usage {
            usage::merge(usage, &mut self.tokens);
            emit(Event::Usage(self.tokens));
        }
        let Some(delta) = wire.delta else { return };
        if let Some(reason) = delta.stop_reason {
            let explanation = delta.stop_details.and_then(|details| details.explanation);
            let finish = finish::read(Some(&reason), delta.stop_sequence, explanation, self.calls > 0);
            self.finish_with(finish, emit);
        }
    }

    fn finish_with(&mut self, finish: Finish<'_>, emit: Emit<'_>) {
        self.cite(emit);
        if !std::mem::replace(&mut self.stopped, true) {
            emit(Event::Finish { choice: 0, finish });
        }
    }

    fn end(&mut self, emit: Emit<'_>) {
        self.finish_with(finish::read(None, None, None, self.calls > 0), emit);
        self.ended = true;
        emit(Event::End);
    }
}

fn thinking(text: Option<&str>, emit: Emit<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        emit(Event::Reasoning { choice: 0, text: text.into() });
    }
}

fn signature(signature: Option<&str>, emit: Emit<'_>) {
    if let Some(signature) = signature.filter(|signature| !signature.is_empty()) {
        emit(Event::Signature { choice: 0, signature: signature.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::decoded;
    use super::*;

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":15,"cache_read_input_tokens":5,"output_tokens":1}}}"#;
    const TEXT: &str =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}   }"#;
    const CALL: &str = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn kinds(events: &[String]) -> Vec<&str> {
        events.iter().map(|event| event.split([' ', '(']).next().unwrap_or_default()).collect()
    }

    /// T25, C105
    #[test]
    fn a_stream_is_understood_and_its_counts_are_merged() {
        let (events, error) = decoded(&[
            START,
            TEXT,
            r#"{"type": "ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            CALL,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":12}}"#,
            STOP,
        ]);

        assert!(error.is_none());
        let expected = ["Start", "Usage", "Ping", "Text", "ToolCall", "Arguments", "Usage", "Finish", "End"];
        assert_eq!(kinds(&events), expected);
        assert_eq!(events[3], r#"Text { choice: 0, text: "Hé" }"#);
        assert_eq!(events[5], r#"Arguments { choice: 0, call: 0, fragment: "{}" }"#);
        assert!(
            events[6].contains("input: 20, cached: 5") && events[6].contains("output: 12"),
            "{}",
            events[6]
        );
        assert_eq!(events[7], "Finish { choice: 0, finish: ToolCalls }");
    }

    #[test]
    fn arguments_are_handed_on_piece_by_piece() {
        let (events, _) = decoded(&[
            CALL,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
        ]);

        assert_eq!(kinds(&events), ["ToolCall", "Arguments", "Arguments"]);
        assert_eq!(events[1], r#"Arguments { choice: 0, call: 0, fragment: "{\"a\":" }"#);
    }

    /// C66, C69
    #[test]
    fn thoughts_come_with_their_proof() {
        let (events, _) = decoded(&[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"d"}}"#,
        ]);

        assert_eq!(
            events,
            [
                r#"Reasoning { choice: 0, text: "hm" }"#,
                r#"Signature { choice: 0, signature: "sig" }"#,
                r#"RedactedReasoning { choice: 0, data: "d" }"#
            ]
        );
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let (events, error) = decoded(&[
            r#"{"type":"new_event","index":7}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"future_delta","citation":{}}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            STOP,
        ]);

        assert_eq!(kinds(&events), ["Finish", "End"]);
        assert!(error.is_none());
    }

    /// C92, C96, T28
    #[test]
    fn an_error_inside_the_stream_is_of_its_kind() {
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;

        let (events, error) = decoded(&[START, overloaded]);

        let error = error.unwrap();
        assert_eq!((error.kind(), error.message()), (Kind::Overloaded, "Overloaded"));
        assert_eq!(kinds(&events), ["Start", "Usage"]);
    }

    /// C93
    #[test]
    fn a_stream_that_breaks_off_is_an_error_unless_the_reason_was_given() {
        let given = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"explanation":"no"}},"usage":{"output_tokens":1}}"#;

        let (_, broken) = decoded(&[START, TEXT]);
        let (events, fine) = decoded(&[START, given]);

        assert_eq!(broken.unwrap().kind(), Kind::Upstream);
        assert!(fine.is_none());
        assert_eq!(events[3..], [r#"Finish { choice: 0, finish: Refused(Some("no")) }"#, "End"]);
    }

    #[test]
    fn an_event_that_is_not_json_is_an_error() {
        let (_, error) = decoded(&["{"]);

        assert_eq!(error.unwrap().kind(), Kind::Upstream);
    }
}
