use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::Answered;
use crate::{
    body::{Framing, Splitter, sse::Event},
    dialect::{Dialect, Dialects, joined::Joined},
};

/// An answer that came in pieces, put together: also one that broke off, as far as it came, with the error at its end
/// as a member `error`.
#[derive(Debug)]
pub(super) struct Whole {
    /// The answer in the client's dialect.
    pub(super) json: Vec<u8>,
    /// How much of what the model wrote there was when.
    pub(super) times: Vec<(Duration, u64)>,
    /// Whether the end is missing.
    pub(super) is_cut: bool,
}

/// Whether an answer came in pieces: as events, or as an array of answers, in which Gemini streams.
pub(super) fn is_in_pieces(answered: &Answered, dialect: Option<&str>) -> bool {
    answered.is_stream || dialect == Some("gemini") && answered.bytes.trim_ascii_start().starts_with(b"[")
}

impl Whole {
    /// `None` where it can't be put together, because the dialect isn't known or nothing came.
    pub(super) fn of(answered: &Answered, dialect: Option<&str>) -> Option<Self> {
        let dialect = dialect?;
        let (joined, reads) = (Joined::of_any(dialect)?, Dialects::default().of_id(dialect)?);
        let mut joining = Joining { joined, reads, said: 0, error: None, is_cut: answered.is_cut };
        let times = match answered.is_stream {
            true => joining.events(answered),
            false => joining.elements(answered),
        };
        joining.finish(times)
    }
}

struct Joining {
    joined: Joined,
    reads: &'static dyn Dialect,
    said: u64,
    error: Option<Box<RawValue>>,
    is_cut: bool,
}

impl Joining {
    fn events(&mut self, answered: &Answered) -> Vec<(Duration, u64)> {
        let all = Bytes::copy_from_slice(&answered.bytes);
        let (mut splitter, mut times, mut begin) = (Splitter::new(Framing::Sse), Vec::new(), 0);
        for (at, end) in &answered.pieces {
            let more = all.get(begin..*end).map(|more| all.slice_ref(more)).unwrap_or_default();
            begin = *end;
            if splitter.push(more).is_err() {
                self.is_cut = true;
                return times;
            }
            while let Some(event) = splitter.next_event() {
                if !self.take(&event) {
                    return times;
                }
            }
            times.push((*at, self.said));
        }
        if let Some(event) = splitter.finish().filter(|_| !answered.is_cut) {
            self.take(&event);
        }
        times
    }

    fn elements(&mut self, answered: &Answered) -> Vec<(Duration, u64)> {
        let (mut rest, mut times) = (&answered.bytes[..], Vec::new());
        loop {
            rest = rest.trim_ascii_start();
            rest = rest.strip_prefix(b"[").or(rest.strip_prefix(b",")).unwrap_or(rest);
            let mut elements = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
            let Some(Ok(element)) = elements.next() else { return times };
            let data = Bytes::copy_from_slice(element.get().as_bytes());
            rest = &rest[elements.byte_offset()..];
            if !self.take(&Event { raw: Bytes::new(), name: Bytes::new(), data }) {
                return times;
            }
            let end = answered.bytes.len() - rest.len();
            let piece = answered.pieces.partition_point(|(_, there)| *there < end);
            times.extend(answered.pieces.get(piece).map(|(at, _)| (*at, self.said)));
        }
    }

    /// Takes the next event; says whether what comes behind it can be read too. What isn't understood could be the
    /// middle of a secret, so nothing is put behind it.
    fn take(&mut self, event: &Event) -> bool {
        if let Some(error) = error(&event.data) {
            self.error = Some(error);
            return true;
        }
        self.said += self.reads.output_bytes(event) as u64;
        let is_read = self.joined.event(event).is_ok();
        self.is_cut |= !is_read;
        is_read
    }

    fn finish(self, times: Vec<(Duration, u64)>) -> Option<Whole> {
        let mut json = self.joined.so_far().unwrap_or_default();
        if let Some(error) = self.error {
            json = with_error(json, &error);
        }
        (!json.is_empty()).then_some(Whole { json, times, is_cut: self.is_cut })
    }
}

/// The error that an event is about.
fn error(data: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Failed {
        r#type: Option<String>,
        error: Option<Box<RawValue>>,
    }
    memmem::find(data, b"\"error\"")?;
    let failed: Failed = serde_json::from_slice(data).ok()?;
    match failed.error {
        Some(error) if error.get() != "null" => Some(error),
        // OpenAI's responses have it without an object of its own.
        _ if failed.r#type.as_deref() == Some("error") => serde_json::from_slice(data).ok(),
        _ => None,
    }
}

/// The object with one more member.
fn with_error(mut json: Vec<u8>, error: &RawValue) -> Vec<u8> {
    let begins = json.iter().rposition(|byte| *byte == b'}').map_or(&b"{"[..], |end| {
        json.truncate(end);
        if json.trim_ascii() == b"{" { b"" } else { b"," }
    });
    json.extend_from_slice(begins);
    json.extend_from_slice(b"\"error\":");
    json.extend_from_slice(error.get().as_bytes());
    json.push(b'}');
    json
}

/// Takes out how likely tokens were: they say the answer once more, in pieces too short to tell a secret by.
pub(super) fn without_likelihoods(mut json: Vec<u8>) -> Vec<u8> {
    for name in [&b"\"logprobs\""[..], b"\"logprobsResult\"", b"\"top_logprobs\""] {
        let mut from = 0;
        while let Some(found) = json.get(from..).and_then(|rest| memmem::find(rest, name)) {
            from += found + name.len();
            let value =
                json[from..].trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii_start();
            if !value.starts_with(b"{") && !value.starts_with(b"[") {
                continue;
            }
            let begin = json.len() - value.len();
            let mut values = serde_json::Deserializer::from_slice(value).into_iter::<IgnoredAny>();
            let end = match values.next() {
                Some(Ok(_)) => begin + values.byte_offset(),
                // The rest is missing.
                _ => json.len(),
            };
            json.splice(begin..end, *b"null");
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihoods_are_left_out_wherever_they_stand() {
        let without = |json: &str| String::from_utf8(without_likelihoods(json.into())).unwrap();

        assert_eq!(
            without(
                r#"{"a":[{"logprobs": {"content":[{"token":"s","top_logprobs":[]}]},"b":1}],"logprobs":null}"#
            ),
            r#"{"a":[{"logprobs": null,"b":1}],"logprobs":null}"#
        );
        assert_eq!(
            without(r#"{"logprobs":[{"token":"s"}],"logprobsResult":{"a":1}}"#),
            r#"{"logprobs":null,"logprobsResult":null}"#
        );
        assert_eq!(without(r#"{"logprobs":{"tokens":["s","k"#), r#"{"logprobs":null"#);
        assert_eq!(without(r#"{"text":"\"logprobs\":{\"a\":1}"}"#), r#"{"text":"\"logprobs\":{\"a\":1}"}"#);
    }

    #[test]
    fn an_error_at_the_end_is_a_member_of_the_answer() {
        let error = RawValue::from_string("1".into()).unwrap();
        let with = |json: &str| String::from_utf8(with_error(json.into(), &error)).unwrap();

        assert_eq!(
            [with(""), with("{}"), with(r#"{"a":{}}"#)],
            [r#"{"error":1}"#, r#"{"error":1}"#, r#"{"a":{},"error":1}"#]
        );
    }
}
