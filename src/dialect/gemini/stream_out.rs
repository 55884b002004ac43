//! Canonical events become a client's stream.
//!
//! A call stands in a chunk as a whole here, so that it waits for its last piece.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use super::{
    answer::explanation,
    error, finish,
    grounding::{self, Grounding, segment},
    logprobs, proof, usage,
    wire::write::{Answer, Candidate, Content, Data, FunctionCall, Part, Usage},
};
use crate::{
    Error, Tokens,
    dialect::{
        Encode, arguments,
        buffer::Buffered,
        canonical::{Citation, Event, Finish},
        ids, json_writer,
        measure::Measure,
        proof as canonical_proof,
    },
};

/// Writes a stream of chunks.
#[derive(Debug)]
pub(super) struct Encoder {
    id: String,
    model: String,
    tokens: Tokens,
    choices: Vec<Choice>,
    buffered: Buffered,
    /// The client was told of an error; nothing may follow.
    broken: bool,
}

/// The state of one answer of several.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    /// Calls that have not been written.
    calls: Vec<Call>,
    /// A signature of Gemini's own, which belongs to the call after it.
    signature: Option<String>,
    refused: bool,
    /// Arguments came to an end in the middle.
    is_cut_off: bool,
    finish: Option<Finish<'static>>,
    /// The length of its text, and where the characters in it are.
    length: usize,
    measure: Measure,
    grounding: Grounding,
}

#[derive(Debug)]
struct Call {
    number: u32,
    id: String,
    name: String,
    arguments: String,
    is_free_text: bool,
    signature: Option<String>,
}

impl Encode for Encoder {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if self.broken {
            return;
        }
        match event {
            Event::Start { id, model, .. } => self.start(&id, &model),
            Event::Text { choice, text } => {
                self.choice(choice).measured(&text);
                self.said(choice, Part::text(text), out);
            }
            Event::Citation { choice, citation } => self.cite(choice, &citation, out),
            Event::Refusal { choice, text } => {
                self.choice(choice).refused = true;
                self.said(choice, Part::text(text), out);
            }
            Event::Reasoning { choice, text } => self.said(choice, Part::thought(text, None), out),
            Event::Signature { choice, signature } => self.signature(choice, &signature, out),
            Event::RedactedReasoning { choice, data } => {
                self.said(choice, Part::thought("", Some(proof::write_redacted(&data).into())), out);
            }
            Event::ToolCall { choice, call, id, name, is_free_text } => {
                let state = self.choice(choice);
                let signature = state.signature.take();
                let (id, name, arguments) = (id.into_owned(), name.into_owned(), String::new());
                state.calls.push(Call { number: call, id, name, arguments, is_free_text, signature });
            }
            Event::Arguments { choice, call, fragment } => self.arguments(choice, call, &fragment, out),
            Event::Logprobs { choice, raw } => self.likelihoods(choice, &raw, out),
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice, finish } => self.finish(choice, finish, out),
            Event::End => self.end(out),
            // Clients of this dialect take what is not data for an error.
            Event::Ping => {}
        }
    }

    fn cites(&self, _: u32, citation: &Citation<'_>) -> bool {
        grounding::is_said(citation)
    }
}

impl Choice {
    fn measured(&mut self, text: &str) {
        self.length += text.len();
        self.measure.push(text);
    }
}

impl Encoder {
    /// For a client that asked for `model`.
    pub(super) fn new(model: &str) -> Self {
        Self {
            id: ids::new(""),
            model: model.to_owned(),
            tokens: Tokens::default(),
            choices: Vec::new(),
            buffered: Buffered::default(),
            broken: false,
        }
    }

    fn start(&mut self, id: &str, model: &str) {
        for (own, said) in [(&mut self.id, id), (&mut self.model, model)] {
            if !said.is_empty() {
                said.clone_into(own);
            }
        }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let at = known.unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    /// Writes one chunk.
    fn send(&self, candidates: Vec<Candidate<'_>>, usage_metadata: Option<Usage>, out: &mut BytesMut) {
        let chunk = Answer { candidates, usage_metadata, model_version: &self.model, response_id: &self.id };
        out.put_slice(b"data: ");
        // Nothing fails that is written to memory.
        let _ = json_writer::write(out, &chunk);
        out.put_slice(b"\n\n");
    }

    fn parts(&self, index: u32, parts: Vec<Part<'_>>, out: &mut BytesMut) {
        self.send(vec![candidate(index, parts)], None, out);
    }

    fn likelihoods(&self, index: u32, raw: &RawValue, out: &mut BytesMut) {
        if let Some(result) = logprobs::write(raw) {
            let piece = Candidate { logprobs_result: Some(result), ..candidate(index, Vec::new()) };
            self.send(vec![piece], None, out);
        }
    }

    /// Writes what is said, after a signature that belongs to nothing else.
    fn said(&mut self, choice: u32, part: Part<'_>, out: &mut BytesMut) {
        self.flush_signature(choice, out);
        self.parts(choice, vec![part], out);
    }

    /// Keeps a citation for the last chunk.
    fn cite(&mut self, choice: u32, citation: &Citation<'_>, out: &mut BytesMut) {
        if let Err(error) = self.buffered.keep(2 * citation.size()) {
            return self.fail(&error, out);
        }
        let Choice { measure, length, grounding, .. } = self.choice(choice);
        grounding.add(citation, segment(0, citation.span.clone(), measure, *length));
    }

    fn signature(&mut self, choice: u32, signature: &str, out: &mut BytesMut) {
        match canonical_proof::gemini(signature) {
            Some(own) => {
                self.flush_signature(choice, out);
                self.choice(choice).signature = Some(own.to_owned());
            }
            None => self.said(choice, Part::thought("", Some(proof::write(signature))), out),
        }
    }

    fn flush_signature(&mut self, choice: u32, out: &mut BytesMut) {
        if let Some(signature) = self.choice(choice).signature.take() {
            self.parts(choice, vec![Part::text("").signed(Some(signature.into()))], out);
        }
    }

    fn arguments(&mut self, choice: u32, number: u32, fragment: &str, out: &mut BytesMut) {
        if let Err(error) = self.buffered.keep(fragment.len()) {
            return self.fail(&error, out);
        }
        let calls = &mut self.choice(choice).calls;
        if let Ok(at) = calls.binary_search_by_key(&number, |call| call.number) {
            calls[at].arguments.push_str(fragment);
        }
    }

    /// Tells the client of an error, after which nothing follows.
    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        self.broken = true;
        out.put_slice(&error::event(error));
    }

    /// All calls of an answer, in one chunk.
    fn finish(&mut self, choice: u32, finish: Finish<'_>, out: &mut BytesMut) {
        self.flush_signature(choice, out);
        let state = self.choice(choice);
        let calls = std::mem::take(&mut state.calls);
        state.is_cut_off =
            calls.iter().any(|call| !call.is_free_text && !arguments::object(&call.arguments).1);
        state.finish = Some(owned(finish));
        if !calls.is_empty() {
            self.parts(choice, calls.iter().map(part).collect(), out);
        }
        self.buffered.release(calls.iter().map(|call| call.arguments.len()).sum());
    }

    /// The reasons for the end, and the counts.
    fn end(&mut self, out: &mut BytesMut) {
        if self.choices.is_empty() {
            self.choice(0);
        }
        let mut choices = std::mem::take(&mut self.choices);
        let candidates = choices.iter_mut().map(|choice| {
            let grounding_metadata = std::mem::take(&mut choice.grounding).finish();
            let finish = match (&choice.finish, choice.is_cut_off) {
                (_, true) => &Finish::Length,
                (Some(finish), _) => finish,
                (None, _) => &Finish::Stop,
            };
            Candidate {
                finish_reason: Some(if choice.refused { "SAFETY" } else { finish::word(finish) }),
                finish_message: explanation(finish),
                grounding_metadata,
                ..candidate(choice.index, Vec::new())
            }
        });
        self.send(candidates.collect(), Some(usage::write(&self.tokens, None)), out);
    }
}

fn candidate(index: u32, parts: Vec<Part<'_>>) -> Candidate<'_> {
    let content = Content { role: "model", parts };
    Candidate {
        content,
        finish_reason: None,
        finish_message: None,
        index,
        logprobs_result: None,
        grounding_metadata: None,
    }
}

fn part(call: &Call) -> Part<'_> {
    let args = match call.is_free_text {
        true => Cow::Owned(arguments::free_text(&call.arguments)),
        false => arguments::object(&call.arguments).0,
    };
    let id = (!call.id.is_empty()).then_some(&*call.id);
    let part = Part::from(Data::FunctionCall(FunctionCall { id, name: &call.name, args }));
    part.signed(call.signature.as_deref().map(Cow::Borrowed))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::streamed;
    use super::*;

    fn start() -> Event<'static> {
        Event::Start { id: "r".into(), model: "m".into(), created: None }
    }

    fn call<'a>(call: u32, id: &'a str) -> Event<'a> {
        Event::ToolCall { choice: 0, call, id: id.into(), name: "f".into(), is_free_text: false }
    }

    fn arguments<'a>(call: u32, fragment: &'a str) -> Event<'a> {
        Event::Arguments { choice: 0, call, fragment: fragment.into() }
    }

    fn finish(finish: Finish<'static>) -> Event<'static> {
        Event::Finish { choice: 0, finish }
    }

    fn parts(chunk: &Value) -> &Value {
        &chunk["candidates"][0]["content"]["parts"]
    }

    /// §9.5, C88
    #[test]
    fn calls_come_as_a_whole_and_counts_with_the_last_chunk() {
        let tokens = Tokens { input: 8, output: 5, reasoning: 2, ..Tokens::default() };
        let chunks = streamed(vec![
            start(),
            Event::Text { choice: 0, text: "Hé".into() },
            call(0, "a"),
            arguments(0, r#"{"n":"#),
            call(1, "b"),
            arguments(1, ""),
            arguments(0, "1}"),
            finish(Finish::ToolCalls),
            Event::Usage(tokens),
            Event::End,
        ]);

        assert_eq!(
            chunks[0],
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "Hé"}]}, "index": 0}],
                "modelVersion": "m", "responseId": "r"})
        );
        assert_eq!(
            *parts(&chunks[1]),
            json!([{"functionCall": {"id": "a", "name": "f", "args": {"n": 1}}},
                {"functionCall": {"id": "b", "name": "f", "args": {}}}])
        );
        assert_eq!(chunks[2]["candidates"][0]["finishReason"], "STOP");
        assert_eq!(
            chunks[2]["usageMetadata"],
            json!({"promptTokenCount": 8, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 13})
        );
        assert_eq!(chunks.len(), 3);
    }

    /// C66, C69, C71, C74
    #[test]
    fn proofs_stand_where_they_can_be_sent_back() {
        let signature = |text: &'static str| Event::Signature { choice: 0, signature: text.into() };
        let chunks = streamed(vec![
            start(),
            Event::Reasoning { choice: 0, text: "hm".into() },
            signature("EqoB"),
            Event::RedactedReasoning { choice: 0, data: "d".into() },
            signature("gemini:UzE="),
            call(0, "a"),
            finish(Finish::ToolCalls),
            signature("gemini:UzI="),
            Event::Text { choice: 0, text: "x".into() },
            Event::End,
        ]);

        assert_eq!(*parts(&chunks[0]), json!([{"text": "hm", "thought": true}]));
        assert_eq!(parts(&chunks[1])[0]["thoughtSignature"], *proof::write("EqoB"));
        assert_eq!(parts(&chunks[2])[0]["thoughtSignature"], proof::write_redacted("d"));
        assert_eq!(parts(&chunks[3])[0]["thoughtSignature"], "UzE=");
        assert_eq!(*parts(&chunks[4]), json!([{"text": "", "thoughtSignature": "UzI="}]));
    }

    /// C37, C118
    #[test]
    fn the_end_says_what_was_cut_off_or_refused() {
        let last = |events| streamed(events).pop().unwrap()["candidates"][0].take();

        let cut =
            last(vec![start(), call(0, "a"), arguments(0, "{\"a\":"), finish(Finish::ToolCalls), Event::End]);
        let refused = last(vec![start(), finish(Finish::Refused(Some("policy".into()))), Event::End]);
        let said = last(vec![
            start(),
            Event::Refusal { choice: 0, text: "no".into() },
            finish(Finish::Stop),
            Event::End,
        ]);

        assert_eq!(cut["finishReason"], "MAX_TOKENS");
        assert_eq!(
            (&refused["finishReason"], &refused["finishMessage"]),
            (&json!("SAFETY"), &json!("policy"))
        );
        assert_eq!(said["finishReason"], "SAFETY");
    }

    /// C111
    #[test]
    fn nothing_is_written_that_is_not_data() {
        assert!(streamed(vec![start(), Event::Ping]).is_empty());
    }

    /// C65
    #[test]
    fn several_answers_keep_their_numbers() {
        let text = |choice| Event::Text { choice, text: "x".into() };
        let chunks = streamed(vec![
            start(),
            text(1),
            text(0),
            Event::Finish { choice: 1, finish: Finish::Length },
            finish(Finish::Stop),
            Event::End,
        ]);

        assert_eq!(
            (&chunks[0]["candidates"][0]["index"], &chunks[1]["candidates"][0]["index"]),
            (&json!(1), &json!(0))
        );
        let ends: Vec<_> = chunks[2]["candidates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (&one["index"], &one["finishReason"]))
            .collect();
        assert_eq!(ends, [(&json!(1), &json!("MAX_TOKENS")), (&json!(0), &json!("STOP"))]);
    }

    #[test]
    fn likelihoods_are_a_chunk_of_their_own() {
        let raw = r#"{"content":[{"token":"a","logprob":-0.5}]}"#.to_owned();
        let raw = Cow::Owned(RawValue::from_string(raw).unwrap());

        let chunks = streamed(vec![start(), Event::Logprobs { choice: 0, raw }]);

        let result = &chunks[0]["candidates"][0]["logprobsResult"];
        assert_eq!(result["chosenCandidates"], json!([{"token": "a", "logProbability": -0.5}]));
    }
}
