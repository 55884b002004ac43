//! Sound: texts that are read aloud, and speech that is written down.

use std::time::Duration;

use super::{Makes, OpenAiEndpoint, Takes, fields::Fields, simple::tokens};
use crate::{Error, Tokens, Units, Work, payload::Head};

pub(super) const SPEECH: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-speech",
    path: "/audio/speech",
    model: None,
    takes: Takes::Json,
    makes: Makes::Media,
    keeps: None,
    ask: speak,
};

pub(super) const TRANSCRIPTIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-transcriptions",
    path: "/audio/transcriptions",
    model: None,
    takes: Takes::Form,
    makes: Makes::Text,
    keeps: None,
    ask: listen,
};

pub(super) const TRANSLATIONS: OpenAiEndpoint = OpenAiEndpoint {
    id: "openai-translations",
    path: "/audio/translations",
    model: None,
    takes: Takes::Form,
    makes: Makes::Text,
    keeps: None,
    ask: listen,
};

/// Speech has about fifteen characters and twenty tokens in a second; this leaves room for slow voices.
const TOKENS_OF_A_CHARACTER: f64 = 2.0;
/// The lowest rate at which speech is usually recorded: 8 kilobits in a second.
const BYTES_OF_A_SECOND: u64 = 1_000;
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

/// How long a recording may be: as a WAV says, or as long as its bytes suffice for.
fn longest(file: &[u8]) -> Duration {
    let of_wav = || {
        let header = file.get(..44)?;
        let is_wav = header.starts_with(b"RIFF") && &header[8..16] == b"WAVEfmt ";
        let rate = u32::from_le_bytes(header[28..32].try_into().ok()?);
        // A rate that is too good to be true is none.
        (is_wav && (BYTES_OF_A_SECOND..=1_000_000).contains(&rate.into())).then_some(u64::from(rate))
    };
    let rate = of_wav().unwrap_or(BYTES_OF_A_SECOND);
    Duration::from_millis((file.len() as u64).saturating_mul(1_000) / rate + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_as_long_as_its_bytes_may_last() {
        let mut wav =
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
        wav.resize(44 + 64_000, 0);

        assert_eq!(longest(&wav).as_secs(), 2);
        assert_eq!(longest(&[0; 64_000]).as_secs(), 64);
        wav[28..32].fill(0xff);
        assert_eq!(longest(&wav).as_secs(), 64);
    }
}
