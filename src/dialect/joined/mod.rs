//! The stream of a dialect as a whole answer of the same dialect, with everything that only this dialect
//! knows. What goes from one dialect to another is put together in the
//! [canonical form](super::assembled) instead.

mod anthropic;
mod gemini;
mod last;
mod merge;
mod open_response;
mod openai_chat;
mod openai_completions;
mod openai_responses;

use serde::de::DeserializeOwned;

use super::buffer::Buffered;
use crate::{Error, Kind, body::sse};

/// Puts the events of one stream together.
trait Join: Send {
    /// Takes the name and the data of one event, and returns about how many bytes more are kept for it.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Result<usize, Error>;

    /// The whole answer; empty if nothing was said.
    fn finish(self: Box<Self>) -> Result<Vec<u8>, Error>;

    /// The answer as far as it came.
    fn so_far(self: Box<Self>) -> Result<Vec<u8>, Error> {
        self.finish()
    }
}

/// The events of one stream, put together.
pub(crate) struct Joined {
    join: Box<dyn Join>,
    kept: Buffered,
}

impl Joined {
    /// For the dialect of this [id](super::Dialect::id); `None` for those whose streams can't be put together here.
    pub(crate) fn of(dialect: &str) -> Option<Self> {
        let join: Box<dyn Join> = match dialect {
            "openai-chat" => Box::new(openai_chat::Chat::default()),
            "openai-completions" => Box::new(openai_completions::Completions::default()),
            "openai-responses" => Box::new(openai_responses::Responses::default()),
            "anthropic-messages" => Box::new(anthropic::Message::default()),
            "gemini" => Box::new(gemini::Gemini::default()),
            _ => return None,
        };
        Some(Self { join, kept: Buffered::default() })
    }

    /// For any dialect whose streams can be put together, also of those that may [break off](Self::so_far).
    pub(crate) fn of_any(dialect: &str) -> Option<Self> {
        let join: Box<dyn Join> = match dialect {
            "openai-responses" => Box::new(openai_responses::Responses::that_may_break_off()),
            "openai-images"
            | "openai-image-edits"
            | "openai-speech"
            | "openai-transcriptions"
            | "openai-translations" => Box::new(last::Last::default()),
            _ => return Self::of(dialect),
        };
        Some(Self { join, kept: Buffered::default() })
    }

    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] if it can't be read or there is too much to keep.
    pub(crate) fn event(&mut self, event: &sse::Event) -> Result<(), Error> {
        let data = event.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        self.kept.keep(self.join.event(&event.name, data)?)
    }

    /// The whole answer.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] if there was none.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        self.join.finish()
    }

    /// What there is of the answer, if it broke off.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`] if there was nothing.
    pub(crate) fn so_far(self) -> Result<Vec<u8>, Error> {
        self.join.so_far()
    }
}

fn read<T: DeserializeOwned>(data: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(data).map_err(unreadable)
}

fn written(answer: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(answer).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(Kind::Upstream, "the provider's stream can't be put together").with_source(error)
}

#[cfg(test)]
use super::Dialect;

#[cfg(test)]
fn joined(dialect: &dyn Dialect, events: &[&str]) -> serde_json::Value {
    let mut joined = Joined::of(dialect.id()).unwrap();
    for data in events {
        let event =
            sse::Event { raw: Default::default(), name: Default::default(), data: data.to_string().into() };
        joined.event(&event).unwrap();
    }
    serde_json::from_slice(&joined.finish().unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{ANTHROPIC, BEDROCK, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, buffer::MAX_BYTES};

    #[test]
    fn every_dialect_of_clients_is_put_together() {
        let dialects: [&dyn Dialect; 4] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI];

        assert!(dialects.iter().all(|dialect| Joined::of(dialect.id()).is_some()));
        assert!(Joined::of(BEDROCK.id()).is_none());
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let piece = "a".repeat(MAX_BYTES / 2 + 1);
        let chat = format!(r#"{{"choices":[{{"delta":{{"content":"{piece}"}}}}]}}"#);
        let claude =
            format!(r#"{{"type":"content_block_start","index":0,"content_block":{{"x":"{piece}"}}}}"#);
        let claude_more = claude.replace(":0,", ":1,");
        let gemini = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{piece}"}}]}}}}]}}"#);
        let responses = format!(r#"{{"type":"response.output_item.done","item":{{"x":"{piece}"}}}}"#);
        let all: [(&dyn Dialect, &str, &str); 4] = [
            (&OPENAI_CHAT, &chat, &chat),
            (&ANTHROPIC, &claude, &claude_more),
            (&GEMINI, &gemini, &gemini),
            (&OPENAI_RESPONSES, &responses, &responses),
        ];

        for (dialect, first, second) in all {
            let mut joined = Joined::of(dialect.id()).unwrap();
            let mut event = |data: &str| {
                let data = data.to_owned().into();
                joined.event(&sse::Event { raw: Default::default(), name: Default::default(), data })
            };
            assert!(event(first).is_ok(), "{}", dialect.id());
            assert_eq!(event(second).unwrap_err().kind(), Kind::Upstream, "{}", dialect.id());
        }
    }
}
