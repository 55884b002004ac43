use std::{borrow::Cow, collections::BTreeMap, fmt};

use bytes::BytesMut;

use super::unsaid::Unsaid;
use crate::{
    Error, Exchange,
    body::sse,
    dialect::{
        Decode, Encode, Undo, arguments,
        buffer::Buffered,
        canonical::{Answer, Content, Event, Finish, ToolCall},
        citation::LOST_IN_ANSWER,
    },
};

impl Undo {
    /// Takes back, in a whole answer, what was changed in the request.
    pub(super) fn answer(&self, answer: &mut Answer<'_>) {
        if self.is_empty() {
            return;
        }
        for choice in &mut answer.choices {
            let mut was_answer = false;
            for part in &mut choice.parts {
                let Content::ToolCall(call) = &mut part.content else { continue };
                if self.answer_tool.as_deref() == Some(&*call.name) {
                    was_answer = true;
                    part.content = Content::Text(std::mem::take(&mut call.arguments));
                } else {
                    self.call(call);
                }
            }
            if was_answer && choice.finish == Finish::ToolCalls {
                choice.finish = Finish::Stop;
            }
        }
    }

    fn call(&self, call: &mut ToolCall<'_>) {
        call.name = self.original(&call.name).to_owned().into();
        if self.is_free_text(&call.name) {
            call.arguments = arguments::unwrapped(&call.arguments).into();
            call.is_free_text = true;
        }
    }

    fn is_free_text(&self, original: &str) -> bool {
        self.free_text.contains(original)
    }
}

/// A provider's stream, read, put right and written again.
pub(super) struct UndoStream {
    decode: Box<dyn Decode>,
    put_right: PutRight,
    /// What the client isn't told, and where that is noted.
    unsaid: Option<(Unsaid, Exchange)>,
}

struct PutRight {
    encode: Box<dyn Encode>,
    undo: Undo,
    /// What answers, where the provider doesn't say.
    model: Box<str>,
    /// Which call of which choice is the answer itself.
    answer_call: Option<(u32, u32)>,
    /// Calls of free-text tools, by choice and number: their arguments make sense as a whole only.
    wrapped: BTreeMap<(u32, u32), String>,
    buffered: Buffered,
    /// There was more to keep back than may be.
    failure: Option<Error>,
    /// Something was cited in vain.
    is_lost: bool,
}

impl UndoStream {
    pub(super) fn new(decode: Box<dyn Decode>, encode: Box<dyn Encode>, undo: Undo, model: Box<str>) -> Self {
        let put_right = PutRight {
            encode,
            undo,
            model,
            answer_call: None,
            wrapped: BTreeMap::new(),
            buffered: Buffered::default(),
            failure: None,
            is_lost: false,
        };
        Self { decode, put_right, unsaid: None }
    }

    /// Notes in the exchange what the client can't be told.
    pub(super) fn noting(self, unsaid: Unsaid, exchange: Exchange) -> Self {
        Self { unsaid: Some((unsaid, exchange)), ..self }
    }

    pub(super) fn event(&mut self, event: &sse::Event, out: &mut BytesMut) -> Result<(), Error> {
        if let Some((unsaid, exchange)) = &self.unsaid {
            unsaid.note(&event.data, exchange);
        }
        let put_right = &mut self.put_right;
        let result = self.decode.event(event, &mut |event| put_right.event(event, out));
        self.note_citations();
        result?;
        self.put_right.failure.take().map_or(Ok(()), Err)
    }

    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        let put_right = &mut self.put_right;
        let result = self.decode.finish(&mut |event| put_right.event(event, out));
        self.note_citations();
        result
    }

    fn note_citations(&mut self) {
        if let (true, Some((_, exchange))) = (std::mem::take(&mut self.put_right.is_lost), &self.unsaid) {
            exchange.lose(LOST_IN_ANSWER);
        }
    }
}

impl PutRight {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        let event = match event {
            Event::Start { id, model, created } if model.is_empty() => {
                Event::Start { id, model: self.model.to_string().into(), created }
            }
            Event::Citation { choice, citation } if !self.encode.cites(choice, &citation) => {
                self.is_lost = true;
                return;
            }
            other => other,
        };
        if self.undo.is_empty() {
            return self.encode.event(event, out);
        }
        match event {
            Event::ToolCall { choice, call, name, .. }
                if self.undo.answer_tool.as_deref() == Some(&*name) =>
            {
                self.answer_call = Some((choice, call));
            }
            Event::Arguments { choice, call, fragment } if self.answer_call == Some((choice, call)) => {
                self.encode.event(Event::Text { choice, text: fragment }, out);
            }
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                let name: Cow<'_, str> = self.undo.original(&name).to_owned().into();
                let wrapped = self.undo.is_free_text(&name);
                if wrapped {
                    self.wrapped.insert((choice, call), String::new());
                }
                let is_free_text = is_free_text || wrapped;
                self.encode.event(Event::ToolCall { choice, call, id, name, is_free_text }, out);
            }
            Event::Arguments { choice, call, fragment } => match self.wrapped.get_mut(&(choice, call)) {
                Some(text) => match self.buffered.keep(fragment.len()) {
                    Ok(()) => text.push_str(&fragment),
                    Err(error) => self.failure = Some(error),
                },
                None => self.encode.event(Event::Arguments { choice, call, fragment }, out),
            },
            Event::Finish { choice, finish } => self.finish(choice, finish, out),
            other => self.encode.event(other, out),
        }
    }

    fn finish(&mut self, choice: u32, finish: Finish<'_>, out: &mut BytesMut) {
        let mut own = self.wrapped.split_off(&(choice, 0));
        if let Some(next) = choice.checked_add(1) {
            self.wrapped.append(&mut own.split_off(&(next, 0)));
        }
        for ((_, call), text) in own {
            self.buffered.release(text.len());
            let fragment = arguments::unwrapped(&text).into();
            self.encode.event(Event::Arguments { choice, call, fragment }, out);
        }
        let was_answer = self.answer_call.is_some_and(|(of, _)| of == choice);
        let finish = if was_answer && finish == Finish::ToolCalls { Finish::Stop } else { finish };
        self.encode.event(Event::Finish { choice, finish }, out);
    }
}

impl fmt::Debug for UndoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UndoStream").field("undo", &self.put_right.undo).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::{ChatCodec, Codec, Dialect, OPENAI_CHAT, testing::payload},
        payload::Head,
    };

    fn codec() -> &'static dyn ChatCodec {
        OPENAI_CHAT.codec().and_then(Codec::chat).unwrap()
    }

    fn undo() -> Undo {
        Undo {
            renamed: [("read_file", "read.file"), ("note_1", "note")]
                .map(|(sent, name)| (sent.into(), name.into()))
                .into(),
            answer_tool: Some("answer".into()),
            free_text: ["note".into()].into(),
        }
    }

    /// What a client gets of one call of `name`, whose arguments come in these pieces.
    fn streamed(name: &str, arguments: &[&str]) -> String {
        let call = |function: serde_json::Value| {
            let delta =
                serde_json::json!({ "tool_calls": [{ "index": 0, "id": "call_1", "function": function }] });
            serde_json::json!({ "choices": [{ "index": 0, "delta": delta }] }).to_string()
        };
        let pieces = arguments.iter().map(|piece| call(serde_json::json!({ "arguments": piece })));
        let first = call(serde_json::json!({ "name": name, "arguments": "" }));
        let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#.to_owned();
        let all = [first].into_iter().chain(pieces).chain([stop, "[DONE]".into()]);
        let text: String = all.map(|data| format!("data: {data}\n\n")).collect();

        let asked = payload(Head { stream: true, ..Head::default() });
        let mut stream = UndoStream::new(codec().decoder(), codec().encoder(&asked), undo(), "m".into());
        let (mut splitter, mut out) = (sse::Splitter::default(), BytesMut::new());
        splitter.push(text.into()).unwrap();
        while let Some(event) = splitter.next_event() {
            stream.event(&event, &mut out).unwrap();
        }
        stream.finish(&mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn whole(name: &str, arguments: &str) -> serde_json::Value {
        let call = serde_json::json!({ "id": "call_1", "type": "function", "function": { "name": name, "arguments": arguments } });
        let message = serde_json::json!({ "role": "assistant", "content": null, "tool_calls": [call] });
        let choice = serde_json::json!({ "index": 0, "message": message, "finish_reason": "tool_calls" });
        let body = serde_json::json!({ "id": "x", "model": "m", "choices": [choice] }).to_string();
        let mut answer = codec().decode_answer(body.as_bytes()).unwrap();

        undo().answer(&mut answer);

        let written = codec().encode_answer(&answer, &payload(Head::default()));
        let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
        written["choices"][0].clone()
    }

    #[test]
    fn a_tool_gets_its_name_back() {
        let streamed = streamed("read_file", &["{\"a\":", "1}"]);

        assert!(streamed.contains("\"read.file\"") && !streamed.contains("read_file"), "{streamed}");
        assert!(streamed.contains("\"finish_reason\":\"tool_calls\""), "{streamed}");
        assert_eq!(whole("read_file", "{}")["message"]["tool_calls"][0]["function"]["name"], "read.file");
    }

    #[test]
    fn the_input_of_the_answering_tool_is_the_text() {
        let streamed = streamed("answer", &["{\"a\":", "1}"]);
        let whole = whole("answer", "{\"a\":1}");

        assert!(
            streamed.contains(r#""content":"{\"a\":""#) && streamed.contains(r#""content":"1}""#),
            "{streamed}"
        );
        assert!(!streamed.contains("tool_calls"), "{streamed}");
        assert!(streamed.contains("\"finish_reason\":\"stop\""), "{streamed}");
        assert_eq!(
            (&whole["message"]["content"], &whole["finish_reason"]),
            (&"{\"a\":1}".into(), &"stop".into())
        );
    }

    #[test]
    fn free_text_is_unwrapped_when_it_is_whole() {
        let streamed = streamed("note_1", &["{\"inp", "ut\":\"one\\ntwo", "\"}"]);
        let whole = whole("note_1", r#"{"input":"one\ntwo"}"#);

        assert!(streamed.contains(r"one\ntwo") && !streamed.contains(r#"\"input\""#), "{streamed}");
        assert!(
            whole.to_string().contains(r#""one\ntwo""#) && !whole.to_string().contains("note_1"),
            "{whole}"
        );
    }
}
