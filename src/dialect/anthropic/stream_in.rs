//! A provider's stream becomes canonical events.

use super::{
    error, finish, usage,
    wire::read::{Block, Delta, Event as Wire},
};
use crate::{
    Error, Kind, Tokens,
    body::sse,
    dialect::{
        Decode, Emit,
        canonical::{Event, Finish},
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
    open: Vec<OpenCall>,
    /// The reason for the end was given.
    stopped: bool,
    /// The last event was handed on.
    ended: bool,
}

/// A call whose block has not ended.
#[derive(Debug)]
struct OpenCall {
    block: u64,
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
        let wire: Wire<'_> = match serde_json::from_slice(&event.data) {
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
            b"content_block_start" => self.block(index, wire.content_block, emit),
            b"content_block_delta" => self.delta(index, wire.delta, emit),
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

    fn block(&mut self, index: u64, block: Option<Block<'_>>, emit: Emit<'_>) {
        let Some(block) = block else { return };
        match block.kind.as_deref() {
            Some("text") => text(block.text.as_deref(), emit),
            Some("thinking") => {
                thinking(block.thinking.as_deref(), emit);
                signature(block.signature.as_deref(), emit);
            }
            Some("redacted_thinking") => {
                emit(Event::RedactedReasoning { choice: 0, data: block.data.unwrap_or_default().into() });
            }
            Some("tool_use") => self.call(index, block, emit),
            _ => {}
        }
    }

    fn call(&mut self, index: u64, block: Block<'_>, emit: Emit<'_>) {
        let call = self.calls;
        self.calls += 1;
        let input = block.input.map_or("{}", |input| input.get()).into();
        self.open.push(OpenCall { block: index, call, written: false, input });
        emit(Event::ToolCall {
            choice: 0,
            call,
            id: block.id.unwrap_or_default().into(),
            name: block.name.unwrap_or_default().into(),
            is_free_text: false,
        });
    }

    fn delta(&mut self, index: u64, delta: Option<Delta<'_>>, emit: Emit<'_>) {
        let Some(delta) = delta else { return };
        match delta.kind.as_deref() {
            Some("text_delta") => text(delta.text.as_deref(), emit),
            Some("thinking_delta") => thinking(delta.thinking.as_deref(), emit),
            Some("signature_delta") => signature(delta.signature.as_deref(), emit),
            Some("input_json_delta") => {
                let fragment = delta.partial_json.unwrap_or_default();
                // Blocks of the provider's own tools have arguments too, which are nobody else's.
                let Some(open) = self.open.iter_mut().find(|open| open.block == index) else { return };
                if !fragment.is_empty() {
                    open.written = true;
                    emit(Event::Arguments { choice: 0, call: open.call, fragment: fragment.into() });
                }
            }
            _ => {}
        }
    }

    fn stop(&mut self, index: u64, emit: Emit<'_>) {
        let Some(position) = self.open.iter().position(|open| open.block == index) else { return };
        let OpenCall { call, written, input, .. } = self.open.remove(position);
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

fn text(text: Option<&str>, emit: Emit<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        emit(Event::Text { choice: 0, text: text.into() });
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
