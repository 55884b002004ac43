//! What answers say was used, in the words of OpenAI and of those that rank documents.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    Makes,
    videos::{duration, lines},
};
use crate::{Work, dialect::json};

/// An answer, or an event's data.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    meta: Option<Meta>,
    /// What has been made or is being made.
    #[serde(default)]
    object: Option<Value>,
    #[serde(default)]
    seconds: Option<Value>,
    #[serde(default)]
    size: Option<Value>,
    /// Of sound that was listened to.
    #[serde(default)]
    duration: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    #[serde(alias = "prompt_tokens")]
    input_tokens: Option<f64>,
    #[serde(alias = "completion_tokens")]
    output_tokens: Option<f64>,
    total_tokens: Option<f64>,
    #[serde(alias = "input_token_details")]
    input_tokens_details: Option<Details>,
    #[serde(alias = "output_token_details")]
    output_tokens_details: Option<Details>,
    /// Of sound.
    seconds: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    text_tokens: Option<f64>,
    image_tokens: Option<f64>,
    audio_tokens: Option<f64>,
    cached_tokens: Option<f64>,
    /// Of which kinds these are, where that is said.
    cached_tokens_details: Option<Cached>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cached {
    text_tokens: Option<f64>,
    image_tokens: Option<f64>,
    audio_tokens: Option<f64>,
}

/// Cohere's place for it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    billed_units: Option<Billed>,
    tokens: Option<Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Billed {
    search_units: Option<f64>,
    input_tokens: Option<f64>,
}

/// Merges what an answer says into `work`; false if it says nothing.
pub(super) fn read(json: &[u8], makes: Makes, work: &mut Work) -> bool {
    let Ok(answer) = json::parse::<Answer>(json) else { return false };
    let usage = answer.usage.is_some_and(|usage| usage.merge(makes, work));
    let meta = answer.meta.is_some_and(|meta| meta.merge(work));
    let is_film = answer.object == Some(Value::from("video"));
    let film = is_film && film(&answer.seconds, &answer.size, work);
    // A verbose transcription says how long the sound was.
    let heard = answer.duration.as_ref().filter(|_| !usage && makes == Makes::Text).and_then(number);
    let heard = heard.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(heard) = heard {
        work.units.audio = heard;
    }
    usage || meta || film || heard.is_some()
}

/// A number, which some write as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// How long a film becomes, and how large.
fn film(seconds: &Option<Value>, size: &Option<Value>, work: &mut Work) -> bool {
    let Some(seconds) = seconds.as_ref().and_then(number).and_then(duration) else { return false };
    work.units.video = seconds;
    if let Some(lines) = size.as_ref().and_then(Value::as_str).map(lines).filter(|lines| *lines > 0) {
        work.units.lines = lines;
    }
    true
}

impl Usage {
    fn merge(self, makes: Makes, work: &mut Work) -> bool {
        if let Some(seconds) = self.seconds {
            work.units.audio = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        }
        let output = whole(self.output_tokens);
        // Where only the sum is said, as rankers do, all of it was read.
        let input = self.input_tokens.or(self.total_tokens);
        if input.is_none() && self.output_tokens.is_none() {
            return self.seconds.is_some();
        }
        let read = self.input_tokens_details.unwrap_or_default();
        let made = self.output_tokens_details.unwrap_or_default();
        work.tokens.input = whole(input);
        work.tokens.output = output;
        // Where it isn't said of which kinds it is, no more than all of the text is taken for cached.
        let text = read.cached_tokens_details.as_ref().map_or(read.text_tokens, |kept| kept.text_tokens);
        let kept = read.cached_tokens_details.unwrap_or_default();
        work.units.media_cached = whole(kept.image_tokens).saturating_add(whole(kept.audio_tokens));
        let kept = whole(text).saturating_add(work.units.media_cached);
        work.tokens.cached = whole(read.cached_tokens).min(kept).min(work.tokens.input);
        work.units.media_input = whole(read.image_tokens).saturating_add(whole(read.audio_tokens));
        work.units.media_output = match makes {
            Makes::Media => output.saturating_sub(whole(made.text_tokens)),
            Makes::Text => 0,
        };
        true
    }
}

impl Meta {
    fn merge(self, work: &mut Work) -> bool {
        let billed = self.billed_units.unwrap_or_default();
        if let Some(searches) = billed.search_units {
            work.units.searches = whole(Some(searches));
        }
        let read = billed.input_tokens.or(self.tokens.and_then(|tokens| tokens.input_tokens));
        if let Some(read) = read {
            work.tokens.input = whole(Some(read));
        }
        billed.search_units.is_some() || read.is_some()
    }
}

/// Casts of floats saturate, and make nothing of what is no number.
fn whole(number: Option<f64>) -> u64 {
    number.unwrap_or(0.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tokens, Units};

    fn used(json: &str, makes: Makes) -> Option<(Tokens, Units)> {
        let mut work = Work::default();
        read(json.as_bytes(), makes, &mut work).then_some((work.tokens, work.units))
    }

    #[test]
    fn a_verbose_transcription_says_how_long_it_listened() {
        let heard = |json| used(json, Makes::Text).map(|(_, units)| units.audio);

        assert_eq!(heard(r#"{"text":"a","duration":8.5}"#), Some(Duration::from_millis(8_500)));
        assert_eq!(heard(r#"{"text":"a","duration":"8.5"}"#), Some(Duration::from_millis(8_500)));
        let both = r#"{"duration":9,"usage":{"type":"duration","seconds":10}}"#;
        assert_eq!(heard(both), Some(Duration::from_secs(10)));
        assert_eq!(heard(r#"{"text":"a","duration":-1}"#), None);
    }

    #[test]
    fn images_are_told_from_text() {
        let said = r#"{"data":[],"usage":{"total_tokens":4210,"input_tokens":50,"output_tokens":4160,"input_tokens_details":{"text_tokens":10,"image_tokens":40,"cached_tokens":4}}}"#;
        let (tokens, units) = used(said, Makes::Media).unwrap();

        assert_eq!((tokens.input, tokens.cached, tokens.output), (50, 4, 4160));
        assert_eq!((units.media_input, units.media_output), (40, 4160));
        let kinds = r#"{"usage":{"input_tokens":50,"output_tokens":9,"input_tokens_details":{"text_tokens":10,"image_tokens":40,
            "cached_tokens":35,"cached_tokens_details":{"text_tokens":5,"image_tokens":30}}}}"#;
        let (tokens, units) = used(kinds, Makes::Media).unwrap();
        assert_eq!((tokens.cached, units.media_input, units.media_cached), (35, 40, 30));
    }

    #[test]
    fn sound_is_counted_in_tokens_or_seconds() {
        let tokens = r#"{"type":"transcript.text.done","text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":45,"total_tokens":59}}"#;
        let seconds = r#"{"text":"x","usage":{"type":"duration","seconds":9.5}}"#;

        let (counted, units) = used(tokens, Makes::Text).unwrap();
        assert_eq!((counted.input, counted.output, units.media_input, units.media_output), (14, 45, 10, 0));
        let (counted, units) = used(seconds, Makes::Text).unwrap();
        assert!(counted.is_zero() && units.audio == Duration::from_millis(9_500));
        assert_eq!(used(r#"{"text":"x"}"#, Makes::Text), None);
    }

    #[test]
    fn searches_are_counted_as_each_ranker_does() {
        let cohere = r#"{"results":[],"meta":{"billed_units":{"search_units":2}}}"#;
        let jina = r#"{"results":[],"usage":{"total_tokens":38}}"#;

        assert_eq!(used(cohere, Makes::Text).unwrap().1.searches, 2);
        assert_eq!(used(jina, Makes::Text).unwrap().0.input, 38);
        assert_eq!(used(r#"{"results":[],"meta":{"api_version":{}}}"#, Makes::Text), None);
    }

    #[test]
    fn a_strange_count_does_no_harm() {
        assert_eq!(used(r#"{"usage":{"seconds":-1}}"#, Makes::Text).unwrap().1.audio, Duration::ZERO);
        assert_eq!(used(r#"{"usage":{"input_tokens":-5}}"#, Makes::Text).unwrap().0.input, 0);
        assert_eq!(used(r#"{"usage":"x"}"#, Makes::Text), None);
        assert_eq!(used("[1]", Makes::Text), None);
    }
}
