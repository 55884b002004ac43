//! Canonical events become a client's stream.
//!
//! Blocks come one after another here, while calls of tools may take turns elsewhere: a call waits until
//! the one before it is whole.

use bytes::BytesMut;
use serde::Deserialize;

use super::{
    citations, finish, usage,
    wire::write::{self, Delta, Empty, Event as Wire, Failure, Opening, Stop},
};
use crate::{
    Tokens,
    body::sse,
    dialect::{
        Encode, arguments,
        buffer::Buffered,
        canonical::{Citation, Event, Finish},
        extent::Extent,
        ids, json_writer,
    },
};

/// Writes a stream of messages.
#[derive(Debug)]
pub(super) struct Encoder {
    id: String,
    model: String,
    /// `message_start` was written. It waits for the first content, so that it can tell the counts
    /// that providers send right at the beginning.
    begun: bool,
    /// The client was told of an error; nothing may follow.
    broken: bool,
    open: Open,
    /// Of the block that is open, or else of the next one.
    index: u32,
    /// By ascending numbers.
    calls: Vec<Call>,
    /// How many calls have been begun: they are in the order in which they came up.
    begun_calls: usize,
    buffered: Buffered,
    refused: bool,
    tokens: Tokens,
    finish: Option<Finish<'static>>,
}

/// The block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Text {
        /// Whether it cites: what follows is a block of its own then.
        cites: bool,
    },
    Thinking {
        signed: bool,
    },
    /// The position of the call.
    Call(usize),
}

#[derive(Debug)]
struct Call {
    number: u32,
    id: String,
    name: String,
    is_free_text: bool,
    state: State,
    /// Arguments that can't be written yet.
    held: String,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    Closed,
}

impl Encode for Encoder {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if self.broken {
            return;
        }
        match event {
            Event::Start { id, model, .. } => self.start(&id, &model),
            Event::Text { choice: 0, text } => self.text(&text, out),
            Event::Refusal { choice: 0, text } => {
                self.refused = true;
                self.text(&text, out);
            }
            Event::Citation { choice: 0, citation } => self.cite(&citation, out),
            Event::Reasoning { choice: 0, text } => self.thinking(&text, out),
            Event::Signature { choice: 0, signature } => self.signature(&signature, out),
            Event::RedactedReasoning { choice: 0, data } => {
                self.begin_block(Opening::RedactedThinking { data: &data }, Open::Nothing, out);
                self.end_block(out);
            }
            Event::ToolCall { choice: 0, call, id, name, is_free_text } => {
                self.calls.push(Call::new(call, &id, &name, is_free_text));
                self.advance(out);
            }
            Event::Arguments { choice: 0, call, fragment } => self.arguments(call, &fragment, out),
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice: 0, finish } => self.finish = Some(owned(finish)),
            Event::Ping => {
                self.begin(out);
                send(&Wire::Ping, out);
            }
            Event::End => self.end(out),
            // A client of this dialect asks for one answer and knows no likelihoods.
            _ => {}
        }
    }

    fn cites(&self, choice: u32, citation: &Citation<'_>) -> bool {
        choice == 0 && matches!(self.open, Open::Text { .. }) && citations::is_said(citation)
    }
}

impl Encoder {
    /// For a client that asked for `model`.
    pub(super) fn new(model: &str) -> Self {
        Self {
            id: String::new(),
            model: model.to_owned(),
            begun: false,
            broken: false,
            open: Open::Nothing,
            index: 0,
            calls: Vec::new(),
            begun_calls: 0,
            buffered: Buffered::default(),
            refused: false,
            tokens: Tokens::default(),
            finish: None,
        }
    }

    /// Where it goes on with what somebody else has written; `None` if the block that is open is another one there.
    pub(super) fn after(mut self, said: &[Event<'_>], last: &sse::Event) -> Option<Self> {
        #[derive(Deserialize)]
        struct Place {
            index: u32,
        }

        let mut written = BytesMut::new();
        said.iter().for_each(|event| self.event(event.clone(), &mut written));
        let place: Place = serde_json::from_slice(&last.data).ok()?;
        (place.index == self.index).then_some(self)
    }

    fn start(&mut self, id: &str, model: &str) {
        id.clone_into(&mut self.id);
        if !model.is_empty() {
            model.clone_into(&mut self.model);
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        if self.id.is_empty() {
            self.id = ids::new("msg_");
        }
        let message = write::Answer {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: &self.model,
            content: Vec::new(),
            stop: Stop::default(),
            usage: usage::write(&self.tokens, None),
        };
        send(&Wire::MessageStart { message }, out);
    }

    fn begin_block(&mut self, content_block: Opening<'_>, open: Open, out: &mut BytesMut) {
        self.close(out);
        self.begin(out);
        self.open = open;
        send(&Wire::ContentBlockStart { index: self.index, content_block }, out);
    }

    fn end_block(&mut self, out: &mut BytesMut) {
        send(&Wire::ContentBlockStop { index: self.index }, out);
        self.open = Open::Nothing;
        self.index += 1;
    }

    fn close(&mut self, out: &mut BytesMut) {
        match self.open {
            Open::Nothing => {}
            Open::Text { .. } | Open::Thinking { .. } => self.end_block(out),
            Open::Call(position) => self.close_call(position, out),
        }
    }

    fn delta(&self, delta: Delta<'_>, out: &mut BytesMut) {
        send(&Wire::ContentBlockDelta { index: self.index, delta }, out);
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        // Empty texts come between the pieces of a call; they begin nothing and end nothing.
        if text.is_empty() {
            return;
        }
        if self.open != (Open::Text { cites: false }) {
            self.begin_block(Opening::Text { text: "" }, Open::Text { cites: false }, out);
        }
        self.delta(Delta::Text { text }, out);
    }

    /// The block that is open cites as a whole: what was written can't be divided any more.
    fn cite(&mut self, citation: &Citation<'_>, out: &mut BytesMut) {
        if let (Open::Text { .. }, Some(citation)) = (self.open, citations::write(citation)) {
            self.delta(Delta::Citations { citation }, out);
            self.open = Open::Text { cites: true };
        }
    }

    fn thinking(&mut self, thinking: &str, out: &mut BytesMut) {
        if thinking.is_empty() {
            return;
        }
        if self.open != (Open::Thinking { signed: false }) {
            self.begin_thinking(out);
        }
        self.delta(Delta::Thinking { thinking }, out);
    }

    /// The proof ends the thoughts: those that follow are a block of their own.
    fn signature(&mut self, signature: &str, out: &mut BytesMut) {
        if self.open != (Open::Thinking { signed: false }) {
            self.begin_thinking(out);
        }
        self.delta(Delta::Signature { signature }, out);
        self.open = Open::Thinking { signed: true };
    }

    fn begin_thinking(&mut self, out: &mut BytesMut) {
        let opening = Opening::Thinking { thinking: "", signature: "" };
        self.begin_block(opening, Open::Thinking { signed: false }, out);
    }

    fn arguments(&mut self, number: u32, fragment: &str, out: &mut BytesMut) {
        let Ok(position) = self.calls.binary_search_by_key(&number, |call| call.number) else { return };
        let call = &mut self.calls[position];
        match call.state {
            State::Open if !call.is_free_text => {
                call.extent.read(fragment);
                if !fragment.is_empty() {
                    self.delta(Delta::InputJson { partial_json: fragment }, out);
                }
                self.advance(out);
            }
            State::Open | State::Waiting => match self.buffered.keep(fragment.len()) {
                Ok(()) => {
                    call.held.push_str(fragment);
                    self.advance(out);
                }
                Err(error) => self.fail(error.message(), out),
            },
            State::Closed if fragment.trim().is_empty() => {}
            State::Closed => self.fail("the provider went on with a tool call that had ended", out),
        }
    }

    /// Tells the client of an error, after which nothing follows.
    fn fail(&mut self, message: &str, out: &mut BytesMut) {
        self.broken = true;
        send(&Wire::Error { error: Failure { kind: "api_error", message } }, out);
    }

    /// Goes on to the calls that wait, unless the one that is being written isn't whole.
    fn advance(&mut self, out: &mut BytesMut) {
        loop {
            if let Open::Call(position) = self.open
                && !self.calls[position].extent.is_complete()
            {
                return;
            }
            if !self.open_next_call(out) {
                return;
            }
        }
    }

    /// Begins the next call that waits and writes what is held of it; `false` if there is none.
    fn open_next_call(&mut self, out: &mut BytesMut) -> bool {
        let position = self.begun_calls;
        if position == self.calls.len() {
            return false;
        }
        self.begun_calls += 1;
        self.close(out);
        self.begin(out);
        self.open = Open::Call(position);
        let call = &mut self.calls[position];
        call.state = State::Open;
        let content_block = Opening::ToolUse { id: &call.id, name: &call.name, input: Empty {} };
        send(&Wire::ContentBlockStart { index: self.index, content_block }, out);
        if !call.is_free_text && !call.held.is_empty() {
            let held = std::mem::take(&mut call.held);
            call.extent.read(&held);
            self.buffered.release(held.len());
            self.delta(Delta::InputJson { partial_json: &held }, out);
        }
        true
    }

    fn close_call(&mut self, position: usize, out: &mut BytesMut) {
        let call = &mut self.calls[position];
        call.state = State::Closed;
        let held = std::mem::take(&mut call.held);
        if call.is_free_text {
            self.buffered.release(held.len());
            self.delta(Delta::InputJson { partial_json: arguments::free_text(&held).get() }, out);
        }
        self.end_block(out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        while self.open_next_call(out) {}
        self.close(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let delta = finish::write(&finish, !self.calls.is_empty(), self.refused);
        send(&Wire::MessageDelta { delta, usage: usage::write(&self.tokens, None) }, out);
        send(&Wire::MessageStop, out);
    }
}

impl Call {
    fn new(number: u32, id: &str, name: &str, is_free_text: bool) -> Self {
        Self {
            number,
            id: if id.is_empty() { ids::new("toolu_") } else { id.to_owned() },
            name: name.to_owned(),
            is_free_text,
            state: State::Waiting,
            held: String::new(),
            extent: Extent::default(),
        }
    }
}

fn owned(finish: Finish<'_>) -> Finish<'static> {
    match finish {
        Finish::Stop => Finish::Stop,
        Finish::StopSequence(text) => Finish::StopSequence(text.into_owned().into()),
        Finish::Length => Finish::Length,
        Finish::ToolCalls => Finish::ToolCalls,
        Finish::Refused(text) => Finish::Refused(text.map(|text| text.into_owned().into())),
    }
}

/// The name stands in a line of its own: clients pass over events without it.
fn send(event: &Wire<'_>, out: &mut BytesMut) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    // Writing to memory can't fail, nor can structs without maps be unfit for JSON.
    let _ = json_writer::write(out, event);
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::streamed;
    use super::*;

    fn start() -> Event<'static> {
        Event::Start { id: "c".into(), model: "gpt-x".into(), created: Some(1) }
    }

    fn text(text: &str) -> Event<'_> {
        Event::Text { choice: 0, text: text.into() }
    }

    fn reasoning(text: &str) -> Event<'_> {
        Event::Reasoning { choice: 0, text: text.into() }
    }

    fn call(call: u32, name: &str) -> Event<'_> {
        Event::ToolCall {
            choice: 0,
            call,
            id: format!("call_{name}").into(),
            name: name.into(),
            is_free_text: false,
        }
    }

    fn arguments(call: u32, fragment: &str) -> Event<'_> {
        Event::Arguments { choice: 0, call, fragment: fragment.into() }
    }

    fn finish(finish: Finish<'_>) -> Event<'_> {
        Event::Finish { choice: 0, finish }
    }

    /// `start index type`, `delta index content`, `stop index` and the names of other events.
    fn outline(events: &[Value]) -> Vec<String> {
        let line = |event: &Value| {
            let index = &event["index"];
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    format!("start {index} {}", event["content_block"]["type"].as_str().unwrap())
                }
                "content_block_delta" => {
                    let said = |name| event["delta"][name].as_str();
                    let names = ["text", "thinking", "signature", "partial_json"];
                    format!("delta {index} {}", names.into_iter().find_map(said).unwrap())
                }
                "content_block_stop" => format!("stop {index}"),
                other => other.to_owned(),
            }
        };
        events.iter().map(line).collect()
    }

    /// T26, C88, C90
    #[test]
    fn calls_that_take_turns_come_one_after_another() {
        let events = streamed(vec![
            start(),
            text(""),
            reasoning("hm"),
            text("ok"),
            call(0, "a"),
            call(1, "b"),
            arguments(1, r#"{"b":"#),
            arguments(0, r#"{"a":1}"#),
            text(""),
            arguments(1, "2}"),
            Event::Usage(Tokens { input: 20, cached: 5, output: 8, ..Tokens::default() }),
            finish(Finish::ToolCalls),
            Event::End,
        ]);

        assert_eq!(
            outline(&events),
            [
                "message_start",
                "start 0 thinking",
                "delta 0 hm",
                "stop 0",
                "start 1 text",
                "delta 1 ok",
                "stop 1",
                "start 2 tool_use",
                r#"delta 2 {"a":1}"#,
                "stop 2",
                "start 3 tool_use",
                r#"delta 3 {"b":"#,
                "delta 3 2}",
                "stop 3",
                "message_delta",
                "message_stop",
            ]
        );
        assert_eq!(
            events[7]["content_block"],
            json!({"type": "tool_use", "id": "call_a", "name": "a", "input": {}})
        );
        let end = &events[14];
        assert_eq!(end["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
        assert_eq!(end["usage"]["input_tokens"], 15);
        assert_eq!(end["usage"]["cache_read_input_tokens"], 5);
        assert_eq!(end["usage"]["output_tokens"], 8);
    }

    #[test]
    fn the_beginning_has_all_that_clients_need_and_the_counts_that_are_known() {
        let tokens = Tokens { input: 12, output: 1, ..Tokens::default() };

        let events = streamed(vec![start(), Event::Usage(tokens), text("a")]);

        let usage = events[0]["message"]["usage"].clone();
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(12), &json!(1)));
        assert_eq!(
            events[0],
            json!({"type": "message_start", "message": {"id": "c", "type": "message", "role": "assistant",
                "model": "gpt-x", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}})
        );
    }

    /// C87
    #[test]
    fn whole_calls_follow_each_other() {
        let events = streamed(vec![
            start(),
            call(0, "a"),
            arguments(0, "{}"),
            call(1, "b"),
            arguments(1, "{}"),
            finish(Finish::Stop),
            Event::End,
        ]);

        assert_eq!(
            outline(&events)[1..7],
            ["start 0 tool_use", "delta 0 {}", "stop 0", "start 1 tool_use", "delta 1 {}", "stop 1"]
        );
        // C85: the model waits for tools, whatever is said.
        assert_eq!(events[7]["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn a_call_without_arguments_does_not_keep_the_others_forever() {
        let events = streamed(vec![start(), call(0, "a"), call(1, "b"), arguments(1, "{}"), Event::End]);

        assert_eq!(
            outline(&events)[1..6],
            ["start 0 tool_use", "stop 0", "start 1 tool_use", "delta 1 {}", "stop 1"]
        );
    }

    /// C90
    #[test]
    fn text_after_a_call_is_a_new_block_and_the_call_is_over() {
        let events = streamed(vec![
            start(),
            call(0, "a"),
            arguments(0, "{}"),
            text("b"),
            arguments(0, "x"),
            text("c"),
        ]);

        assert_eq!(outline(&events)[3..], ["stop 0", "start 1 text", "delta 1 b", "error"]);
    }

    #[test]
    fn a_proof_ends_the_thoughts() {
        let signature = Event::Signature { choice: 0, signature: "s".into() };
        let redacted = Event::RedactedReasoning { choice: 0, data: "d".into() };

        let events = streamed(vec![start(), reasoning("a"), signature, reasoning("b"), redacted, text("c")]);

        assert_eq!(
            outline(&events)[1..],
            [
                "start 0 thinking",
                "delta 0 a",
                "delta 0 s",
                "stop 0",
                "start 1 thinking",
                "delta 1 b",
                "stop 1",
                "start 2 redacted_thinking",
                "stop 2",
                "start 3 text",
                "delta 3 c",
            ]
        );
        assert_eq!(events[3]["delta"]["type"], "signature_delta");
        assert_eq!(events[8]["content_block"], json!({"type": "redacted_thinking", "data": "d"}));
    }

    /// C118
    #[test]
    fn a_refusal_is_said_and_given_as_the_reason() {
        let refusal = Event::Refusal { choice: 0, text: "no".into() };
        let explained = finish(Finish::Refused(Some("policy".into())));

        let said = streamed(vec![start(), refusal, finish(Finish::Stop), Event::End]);
        let explained = streamed(vec![start(), explained, Event::End]);

        assert_eq!(outline(&said)[1..4], ["start 0 text", "delta 0 no", "stop 0"]);
        assert_eq!(said[4]["delta"]["stop_reason"], "refusal");
        assert_eq!(explained[1]["delta"]["stop_details"]["explanation"], "policy");
    }

    #[test]
    fn ids_are_made_where_there_are_none_and_the_model_is_the_one_asked_for() {
        let nameless = Event::Start { id: "".into(), model: "".into(), created: None };
        let unnamed =
            Event::ToolCall { choice: 0, call: 0, id: "".into(), name: "f".into(), is_free_text: false };

        let events = streamed(vec![nameless, Event::Ping, unnamed]);

        assert!(events[0]["message"]["id"].as_str().unwrap().starts_with("msg_"));
        assert_eq!(events[0]["message"]["model"], "asked-for");
        assert_eq!(events[1], json!({"type": "ping"}));
        assert!(events[2]["content_block"]["id"].as_str().unwrap().starts_with("toolu_"));
    }

    #[test]
    fn only_the_first_of_several_answers_is_told() {
        let other = Event::Text { choice: 1, text: "x".into() };

        let events =
            streamed(vec![start(), other, text("a"), finish(Finish::StopSequence("X".into())), Event::End]);

        assert_eq!(
            outline(&events)[1..],
            ["start 0 text", "delta 0 a", "stop 0", "message_delta", "message_stop"]
        );
        assert_eq!(events[4]["delta"], json!({"stop_reason": "stop_sequence", "stop_sequence": "X"}));
    }
}
