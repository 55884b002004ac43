//! Sound: texts that are read aloud, and speech that is written down.

use std::time::Duration;

use super::{Makes, OpenAiEndpoint, Takes, fields::Fields, simple::tokens, sound::longest};
use crate::{Error, Tokens, Units, Work, payload::Head};

pub(super) const SPEECH: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-speech",
    path: "/audio/speech",
    model: None,
    takes: Takes::Json,
    makes: Makes::Media,
    keeps: &[],
    ask: speak,
};

pub(super) const TRANSCRIPTIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-transcriptions",
    path: "/audio/transcriptions",
    model: None,
    takes: Takes::Form,
    makes: Makes::Text,
    keeps: &[],
    ask: listen,
};

pub(super) const TRANSLATIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-translations",
    path: "/audio/translations",
    model: None,
    takes: Takes::Form,
    makes: Makes::Text,
    keeps: &[],
    ask: listen,
};

/// Speech has about fifteen characters and twenty tokens in a second; this leaves room for slow voices.
const TOKENS_OF_A_CHARACTER: f64 = 2.0;
/// Speech is heard as ten tokens in a second, and at most so many are written down of it.
const TOKENS_OF_A_SECOND: u64 = 10;

fn speak(fields: &Fields<'_>, head: &mut Head) -> Result<Work, Error> {
    fields.require("input")?;
    let input = fields.text("input")?.unwrap_or_default();
    let instructions = fields.text("instructions")?.unwrap_or_default();
    let speed = fields.number("speed")?.unwrap_or(1.0).clamp(0.25, 1.0);
    head.stream = fields.text("stream_format")?.as_deref() == Some("sse");
    head.is_opaque = !head.stream;
    let characters = input.chars().count() as u64;
    // Casts of floats saturate.
    let output = (characters as f64 * TOKENS_OF_A_CHARACTER / speed).ceil() as u64;
    Ok(Work {
        tokens: Tokens { input: tokens(input.len() + instructions.len()), output, ..Tokens::default() },
        units: Units { characters, media_output: output, ..Units::default() },
    })
}

fn listen(fields: &Fields<'_>, head: &mut Head) -> Result<Work, Error> {
    fields.require("file")?;
    let format = fields.text("response_format")?;
    head.stream = fields.flag("stream")?;
    head.is_opaque = !head.stream && matches!(format.as_deref(), Some("text" | "srt" | "vtt"));
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let audio = fields.files("file")?.map(longest).sum::<Duration>();
    let heard = audio.as_secs().saturating_add(1).saturating_mul(TOKENS_OF_A_SECOND);
    Ok(Work {
        tokens: Tokens {
            input: tokens(prompt.len()).saturating_add(heard),
            output: heard,
            ..Tokens::default()
        },
        units: Units { media_input: heard, audio, ..Units::default() },
    })
}
