//! A provider's stream, read chunk by chunk.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    calls::Calls,
    finish::{self, Contained},
    message::{flattened, is_anthropic_format},
    object::TextOr,
    usage,
    wire::{CallDelta, Chunk, ChunkChoice, ContentPart, Delta, MessageContent},
};
use crate::{
    Error, Kind,
    body::sse,
    dialect::{Decode, Emit, canonical::Event, openai_error, text::Str},
};

/// Reads the chunks of a provider.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    is_started: bool,
    is_ended: bool,
    choices: Vec<Choice>,
}

/// The state of one answer of several.
#[derive(Debug, Default)]
struct Choice {
    index: u32,
    calls: Calls,
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
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|error| {
            openai_error::read_inside(data).unwrap_or_else(|| not_understood().with_source(error))
        })?;
        let error = chunk.error.or(chunk.x_groq.as_ref().and_then(|groq| groq.error));
        match error {
            Some(error) => Err(failure(data, error)),
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

/// Groq has its errors one level deeper.
fn failure(data: &[u8], error: &RawValue) -> Error {
    let deeper = || openai_error::read_inside(format!("{{\"error\":{error}}}").as_bytes());
    openai_error::read_inside(data).or_else(deeper).unwrap_or_else(not_understood)
}

impl Decoder {
    fn chunk(&mut self, chunk: Chunk<'_>, emit: Emit<'_>) -> Result<(), Error> {
        let choices = chunk.choices.unwrap_or_default();
        let counted = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage));
        let counted = counted.or(choices.iter().find_map(|choice| choice.usage)).and_then(usage::read);
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
            self.choice(index).chunk(choice, emit)?;
        }
        if let Some(tokens) = counted {
            emit(Event::Usage(tokens));
        }
        Ok(())
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    fn done(&mut self, emit: Emit<'_>) -> Result<(), Error> {
        if !self.is_started {
            return Err(Error::new(Kind::Upstream, "the provider's stream ended before it began"));
        }
        self.is_ended = true;
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
            self.delta(delta, emit);
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

    fn delta(&mut self, delta: Delta<'_>, emit: Emit<'_>) {
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
        for call in delta.tool_calls.into_iter().flatten() {
            self.calls.delta(choice, call, emit);
        }
        if let Some(function) = delta.function_call {
            let call = CallDelta { index: Some(0), function: Some(function), ..Default::default() };
            self.calls.delta(choice, call, emit);
        }
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
    fn text(&self, text: Str<'_>, emit: Emit<'_>) {
        if !text.is_empty() {
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
