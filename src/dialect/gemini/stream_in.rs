//! A provider's stream becomes canonical events.

use serde_json::value::RawValue;

use super::{
    answer, error,
    finish::{self, Contained},
    grounding, logprobs,
    proof::{self, Proof},
    usage,
    wire::read::{Answer, Candidate, FunctionCall, Part},
};
use crate::{
    Error, Kind, Tokens,
    body::sse,
    dialect::{
        Decode, Emit,
        buffer::{MAX_CALLS, MAX_CHOICES, too_many},
        canonical::{Event, Finish},
        ids, json,
        measure::Measure,
        text::Str,
    },
};

/// What names the sources in the metadata of a candidate; without them they say nothing of the text.
const CHUNKS: [&str; 3] = ["\"groundingChunks\"", "\"citationSources\"", "\"citations\""];

/// Reads a stream of chunks, each of which is a whole answer in its form.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    is_started: bool,
    is_ended: bool,
    tokens: Tokens,
    choices: Vec<Choice>,
    blocked: Option<Finish<'static>>,
}

/// The state of one answer of several.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    contained: Contained,
    calls: u32,
    /// The last reason that was given, and what was said of it. More may follow it.
    reason: Option<(Box<str>, Option<String>)>,
    /// The text, of which the metadata tell bytes.
    measure: Measure,
    /// What was last said of grounding and of recitation; each time it is the whole.
    cited: [Option<Box<RawValue>>; 2],
}

impl Decode for Decoder {
    fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
        // Errors are not always events.
        let data = if event.data.is_empty() { &event.raw } else { &event.data }.trim_ascii();
        if self.is_ended || !data.starts_with(b"{") && !data.starts_with(b"[") {
            return Ok(());
        }
        let wire: Answer<'_> = json::parse(data).map_err(|error| {
            error::read_inside(data).unwrap_or_else(|| {
                let message = "an event of the provider's stream can't be understood";
                Error::new(Kind::Upstream, message).with_source(error)
            })
        })?;
        if wire.error.is_some() {
            let unread = || Error::new(Kind::Upstream, "the provider failed inside its stream");
            return Err(error::read_inside(data).unwrap_or_else(unread));
        }
        self.chunk(wire, emit)
    }

    fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_ended, true) {
            return Ok(());
        }
        if self.choices.is_empty() {
            let finish = self.blocked.take().ok_or_else(answer::empty)?;
            emit(Event::Finish { choice: 0, finish });
        }
        for choice in &mut self.choices {
            let cut_off = || Error::new(Kind::Upstream, "the provider's stream ended before its answer did");
            choice.cite(emit);
            let (reason, message) = choice.reason.take().ok_or_else(cut_off)?;
            let finish = finish::read(&reason, message.map(Into::into), choice.contained)?;
            emit(Event::Finish { choice: choice.index, finish });
        }
        emit(Event::End);
        Ok(())
    }
}

impl Decoder {
    fn chunk(&mut self, chunk: Answer<'_>, emit: Emit<'_>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.is_started, true) {
            emit(Event::Start {
                id: chunk.response_id.unwrap_or_default().into(),
                model: chunk.model_version.unwrap_or_default().into(),
                created: None,
            });
        }
        for (position, candidate) in chunk.candidates.into_iter().flatten().enumerate() {
            let index = candidate.index.unwrap_or(position as u32);
            self.choice(index)?.candidate(candidate, emit)?;
        }
        if let Some(reason) = chunk.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            self.blocked = Some(finish::blocked(&reason, None));
        }
        if let Some(raw) = chunk.usage_metadata {
            let (tokens, _) = usage::read(raw);
            if tokens != self.tokens && !tokens.is_zero() {
                self.tokens = tokens;
                emit(Event::Usage(tokens));
            }
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Error> {
        let known = self.choices.iter().position(|choice| choice.index == index);
        let at = match known {
            Some(at) => at,
            None if self.choices.len() == MAX_CHOICES => return Err(too_many("candidates")),
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        Ok(&mut self.choices[at])
    }
}

impl Choice {
    fn candidate(&mut self, candidate: Candidate<'_>, emit: Emit<'_>) -> Result<(), Error> {
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default().0 {
            self.part(part, emit)?;
        }
        if let Some(raw) = candidate.logprobs_result.and_then(logprobs::read) {
            emit(Event::Logprobs { choice: self.index, raw });
        }
        for (known, said) in self.cited.iter_mut().zip([candidate.grounding, candidate.citations]) {
            if let Some(said) = said.filter(|said| CHUNKS.iter().any(|name| said.get().contains(name))) {
                *known = Some(said.to_owned());
            }
        }
        if let Some(reason) = candidate.finish_reason {
            let message = candidate.finish_message.map(|message| message.0.into_owned());
            self.reason = Some(((&*reason).into(), message));
        }
        Ok(())
    }

    fn cite(&mut self, emit: Emit<'_>) {
        let [grounding, recited] = std::mem::take(&mut self.cited);
        let citations = grounding::read(grounding.as_deref(), recited.as_deref());
        for citation in grounding::in_characters(citations, &self.measure) {
            emit(Event::Citation { choice: self.index, citation });
        }
    }

    fn part(&mut self, part: Part<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let choice = self.index;
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        let text = part.text.filter(|text| !text.is_empty());
        self.contained.anything |= signature.is_some() || text.is_some() || part.function_call.is_some();
        if let Some(text) = text {
            if part.thought != Some(true) {
                self.measure.push(&text);
            }
            emit(match part.thought {
                Some(true) => Event::Reasoning { choice, text: text.into() },
                _ => Event::Text { choice, text: text.into() },
            });
        }
        // Behind a text, before a call.
        if let Some(signature) = signature {
            emit(match proof::read(&signature) {
                Proof::Signature(signature) => Event::Signature { choice, signature },
                Proof::Redacted(data) => Event::RedactedReasoning { choice, data },
            });
        }
        match part.function_call {
            Some(call) => self.call(call, emit),
            None => Ok(()),
        }
    }

    fn call(&mut self, call: FunctionCall<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let (choice, number) = (self.index, self.calls);
        if number as usize == MAX_CALLS {
            return Err(too_many("calls"));
        }
        let nameless = || Error::new(Kind::Upstream, "the provider calls a function without its name");
        let name = call.name.ok_or_else(nameless)?;
        self.calls += 1;
        self.contained.calls = true;
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| Str::from(ids::new("call_")));
        emit(Event::ToolCall { choice, call: number, id: id.into(), name: name.into(), is_free_text: false });
        let fragment = call.args.map_or("{}", |args| args.get()).into();
        emit(Event::Arguments { choice, call: number, fragment });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::decoded;
    use super::*;

    fn kinds(events: &[String]) -> Vec<&str> {
        events.iter().map(|event| event.split([' ', '(']).next().unwrap_or_default()).collect()
    }

    fn chunk(parts: &str, reason: &str) -> String {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{reason}}}],"responseId":"r","modelVersion":"m"}}"#
        )
    }

    const STOP: &str = r#","finishReason":"STOP""#;

    /// C116
    #[test]
    fn arguments_in_pieces_that_nobody_asked_for_are_not_taken_for_a_call_without_any() {
        let (_, error) = decoded(&[
            &chunk(r#"{"functionCall":{"name":"f","willContinue":true}}"#, ""),
            &chunk(
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"b"}],"willContinue":true}}"#,
                "",
            ),
            &chunk(r#"{"functionCall":{}}"#, STOP),
        ]);

        assert_eq!(error.unwrap().kind(), Kind::Upstream);
    }

    /// T27, C33, C115
    #[test]
    fn a_stream_is_understood_and_its_last_counts_win() {
        let (events, error) = decoded(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"Once"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},"modelVersion":"gemini-x","responseId":"r1"}"#,
            &chunk(
                r#"{"text":" upon"},{"functionCall":{"name":"f","args":{"a": 1}}},{"functionCall":{"id":"c","name":"f"}}"#,
                STOP,
            ),
            r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":5,"totalTokenCount":13}}"#,
        ]);

        assert!(error.is_none());
        let expected = [
            "Start",
            "Text",
            "Usage",
            "Text",
            "ToolCall",
            "Arguments",
            "ToolCall",
            "Arguments",
            "Usage",
            "Finish",
            "End",
        ];
        assert_eq!(kinds(&events), expected);
        assert_eq!(events[5], r#"Arguments { choice: 0, call: 0, fragment: "{\"a\": 1}" }"#);
        assert_eq!(events[6], r#"ToolCall { choice: 0, call: 1, id: "c", name: "f", is_free_text: false }"#);
        assert_eq!(events[9], "Finish { choice: 0, finish: ToolCalls }");
    }

    /// C71, C74
    #[test]
    fn signatures_come_behind_texts_and_before_calls() {
        let (events, _) = decoded(&[
            &chunk(r#"{"text":"hm","thought":true}"#, ""),
            &chunk(r#"{"functionCall":{"id":"c","name":"f"},"thoughtSignature":"UzE="}"#, ""),
            &chunk(r#"{"text":"ok","thoughtSignature":"UzI="}"#, ""),
            &chunk(r#"{"text":"","thoughtSignature":"UzM="}"#, STOP),
        ]);

        let expected = [
            "Start",
            "Reasoning",
            "Signature",
            "ToolCall",
            "Arguments",
            "Text",
            "Signature",
            "Signature",
            "Finish",
            "End",
        ];
        assert_eq!(kinds(&events), expected);
        assert_eq!(events[2], r#"Signature { choice: 0, signature: "gemini:UzE=" }"#);
    }

    /// C78
    #[test]
    fn a_blocked_prompt_ends_with_a_refusal() {
        let (events, error) = decoded(&[
            r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":12}}"#,
        ]);

        assert!(error.is_none());
        assert_eq!(kinds(&events), ["Start", "Usage", "Finish", "End"]);
        assert!(events[2].contains("Refused(Some"), "{}", events[2]);
    }

    /// C77, C80
    #[test]
    fn an_end_without_content_is_no_error_unless_the_model_failed() {
        let (fine, none) = decoded(&[r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#]);
        let (_, failed) = decoded(&[r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#]);
        let (said, fine_too) =
            decoded(&[&chunk(r#"{"text":"x"}"#, r#","finishReason":"MALFORMED_FUNCTION_CALL""#)]);

        assert!(none.is_none() && fine_too.is_none());
        assert_eq!(fine[1], "Finish { choice: 0, finish: Length }");
        assert_eq!(said[2], "Finish { choice: 0, finish: Stop }");
        assert_eq!(failed.unwrap().kind(), Kind::Upstream);
    }

    /// C92
    #[test]
    fn an_error_inside_the_stream_is_of_its_kind() {
        let error =
            "{\n \"error\": {\"code\": 503, \"message\": \"overloaded\", \"status\": \"UNAVAILABLE\"}}";

        for error in [error.to_owned(), format!("[{error}]")] {
            let (events, failed) = decoded(&[&chunk(r#"{"text":"x"}"#, ""), &error]);
            let failed = failed.unwrap();
            assert_eq!((failed.kind(), failed.message()), (Kind::Overloaded, "overloaded"));
            assert_eq!(kinds(&events), ["Start", "Text"]);
        }
    }

    /// C93
    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        assert_eq!(decoded(&[&chunk(r#"{"text":"x"}"#, "")]).1.unwrap().kind(), Kind::Upstream);
        assert_eq!(decoded(&[]).1.unwrap().kind(), Kind::Upstream);
        assert_eq!(decoded(&["{\"candidates\":7}"]).1.unwrap().kind(), Kind::Upstream);
    }

    /// C65
    #[test]
    fn several_answers_take_turns() {
        let (events, error) = decoded(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#,
            r#"{"candidates":[{"index":1,"finishReason":"STOP"}]}"#,
            r#"{"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}]}"#,
        ]);

        assert!(error.is_none());
        assert_eq!(events[2], r#"Text { choice: 1, text: "b" }"#);
        assert_eq!(
            events[3..],
            ["Finish { choice: 0, finish: Length }", "Finish { choice: 1, finish: Stop }", "End"]
        );
    }
}
