use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{Answered, Content, Mask};
use crate::{
    body::{Framing, Splitter},
    dialect::{Dialects, joined::Joined},
};

/// The most steps of a stream that are told apart.
const MOST_PIECES: usize = 256;

/// What of content is kept.
#[derive(Clone, Debug)]
pub struct ContentRules {
    most: usize,
    mask: Mask,
}

impl Default for ContentRules {
    fn default() -> Self {
        Self { most: 64 << 10, mask: Mask::default() }
    }
}

impl ContentRules {
    /// Sets how many bytes of a request, and of an answer, are kept at the most.
    #[must_use]
    pub fn most(self, bytes: usize) -> Self {
        Self { most: bytes, ..self }
    }

    /// Sets what is taken for a secret.
    #[must_use]
    pub fn mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    fn text(&self, bytes: &[u8], is_cut: &mut bool) -> Box<str> {
        // What is cut off could be the end by which a secret is known.
        let mut text = self.mask.apply(&String::from_utf8_lossy(bytes));
        if text.len() > self.most {
            *is_cut = true;
            let end = (0..=self.most).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
        }
        text.into()
    }
}

/// What was asked and answered, as it is kept: without secrets, an answer that was a stream put together.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct Said {
    /// The client's JSON.
    pub request: Box<str>,
    /// The answer in the client's dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Box<str>>,
    /// How the answer came, if it was a stream: milliseconds after the request's arrival, and how many bytes of what the
    /// model wrote there were then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<(u64, u64)>,
    /// Whether the end of the request or of the answer is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

impl Said {
    /// What is kept of what passed. It takes some work; `dialect` is the client's.
    pub(crate) fn new(content: &Content, dialect: Option<&str>, rules: &ContentRules) -> Self {
        let mut is_cut = content.is_cut;
        let request = rules.text(&content.request, &mut is_cut);
        let (mut answer, mut pieces) = (None, Vec::new());
        if let Some(answered) = &content.answer {
            is_cut |= answered.is_cut;
            let joined = answered.is_stream.then(|| joined(answered, dialect?)).flatten();
            if let Some((_, times)) = &joined {
                pieces = few(times);
            }
            let bytes = joined.as_ref().map_or(&answered.bytes, |(whole, _)| whole);
            answer = Some(rules.text(bytes, &mut is_cut));
        }
        Self { request, answer, pieces, is_cut }
    }

    /// About how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        self.request.len() + self.answer.as_ref().map_or(0, |answer| answer.len()) + 16 * self.pieces.len()
    }
}

/// Prompts don't belong into logs.
impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Said").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// A whole answer, and how much of it there was when.
type Whole = (Vec<u8>, Vec<(Duration, u64)>);

/// The stream as a whole answer; `None` where it can't be put together, because it broke off too early or the
/// dialect isn't known.
fn joined(answered: &Answered, dialect: &str) -> Option<Whole> {
    let mut joined = Joined::of(dialect)?;
    let reads = Dialects::default().of_id(dialect)?;
    let mut splitter = Splitter::new(Framing::Sse);
    let (mut times, mut said, mut begin) = (Vec::with_capacity(answered.pieces.len()), 0, 0);
    for (at, end) in &answered.pieces {
        splitter.push(Bytes::copy_from_slice(answered.bytes.get(begin..*end)?)).ok()?;
        begin = *end;
        while let Some(event) = splitter.next_event() {
            said += reads.output_bytes(&event) as u64;
            // An error at the end is no part of the answer.
            if joined.event(&event).is_err() {
                break;
            }
        }
        times.push((*at, said));
    }
    Some((joined.finish().ok().filter(|whole| !whole.is_empty())?, times))
}

/// Of the moments in which something came as many as can be shown.
fn few(times: &[(Duration, u64)]) -> Vec<(u64, u64)> {
    let every = times.len().div_ceil(MOST_PIECES).max(1);
    let last = times.len().saturating_sub(1);
    let chosen = times.iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last);
    let mut few: Vec<_> = chosen.map(|(_, (at, said))| (at.as_millis() as u64, *said)).collect();
    few.dedup_by_key(|(_, said)| *said);
    few
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(request: &str, stream: &[&str]) -> Content {
        let mut answered = Answered { is_stream: true, bytes: Vec::new(), pieces: Vec::new(), is_cut: false };
        for (chunk, at) in stream.iter().zip(1..) {
            answered.push(Duration::from_millis(10 * at), chunk.as_bytes());
        }
        Content::new(request.to_owned().into(), Some(answered))
    }

    const STREAM: [&str; 4] = [
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Your key is \"}}]}\n\nda",
        "ta: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"sk-01234\"}}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"56789abcdef\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ];

    #[test]
    fn a_stream_is_put_together_and_secrets_are_masked_across_its_events() {
        let content = content(r#"{"messages":[{"content":"AKIAIOSFODNN7EXAMPLE"}]}"#, &STREAM);

        let said = Said::new(&content, Some("openai-chat"), &ContentRules::default());

        assert_eq!(&*said.request, r#"{"messages":[{"content":"AKIA[masked]"}]}"#);
        let answer: serde_json::Value = serde_json::from_str(said.answer.as_deref().unwrap()).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "Your key is sk-[masked]");
        assert_eq!(said.pieces, [(10, 12), (20, 20), (30, 31)]);
        assert!(!said.is_cut);
    }

    #[test]
    fn what_can_not_be_put_together_stays_as_it_came() {
        for dialect in [None, Some("openai-completions")] {
            let said = Said::new(&content("{}", &STREAM), dialect, &ContentRules::default());

            assert!(said.answer.unwrap().starts_with("data: "));
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let rules = ContentRules::default().most(10);

        let said = Said::new(&content("größe größe", &["größe"]), None, &rules);

        assert_eq!((&*said.request, said.answer.as_deref(), said.is_cut), ("größe gr", Some("größe"), true));
    }

    #[test]
    fn of_many_pieces_some_are_kept_and_the_last_one() {
        let times: Vec<_> = (0..1_000).map(|number| (Duration::from_millis(number), number)).collect();

        let few = few(&times);

        assert!(few.len() <= MOST_PIECES + 1);
        assert_eq!((few[0], few[few.len() - 1]), ((0, 0), (999, 999)));
    }
}
