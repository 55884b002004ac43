use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Join,
    merge::{Object, merge},
    read, written,
};
use crate::{
    Error,
    dialect::buffer::{MAX_CHOICES, too_many},
};

/// The chunks of an answer.
#[derive(Default)]
pub(super) struct Gemini {
    members: Map,
    candidates: BTreeMap<u64, Candidate>,
}

type Map = BTreeMap<String, Box<RawValue>>;

#[derive(Default)]
struct Candidate {
    members: Map,
    role: Option<Box<RawValue>>,
    parts: Vec<Part>,
    has_content: bool,
    /// The likelihoods of tokens, which come chunk by chunk.
    likelihoods: Object,
}

/// A piece of content.
enum Part {
    /// One that says nothing but a text; the next of its kind goes on with it.
    Text { text: String, is_thought: bool, signature: Option<Box<RawValue>> },
    /// Any other, as it came.
    Other(Box<RawValue>),
}

impl Join for Gemini {
    fn event(&mut self, _: &[u8], data: &[u8]) -> Result<usize, Error> {
        let mut chunk: Map = read(data)?;
        let candidates: Option<Vec<Map>> = match chunk.remove("candidates") {
            Some(candidates) => read(candidates.get().as_bytes())?,
            None => None,
        };
        let mut grown = say(&mut self.members, chunk);
        for mut said in candidates.into_iter().flatten() {
            let index = said.get("index").and_then(|raw| raw.get().parse().ok()).unwrap_or(0);
            if !self.candidates.contains_key(&index) && self.candidates.len() >= MAX_CHOICES {
                return Err(too_many("candidates"));
            }
            let candidate = self.candidates.entry(index).or_default();
            if let Some(content) = said.remove("content") {
                grown += candidate.content(&content)?;
            }
            if let Some(likelihoods) = said.remove("logprobsResult") {
                let more: Option<Object> = read(likelihoods.get().as_bytes())?;
                grown += merge(&mut candidate.likelihoods, more.unwrap_or_default());
            }
            grown += say(&mut candidate.members, said);
        }
        Ok(grown)
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, Error> {
        if !self.candidates.is_empty() {
            let candidates: Vec<_> =
                self.candidates.into_values().map(Candidate::finish).collect::<Result<_, _>>()?;
            self.members.insert("candidates".into(), raw(&candidates)?);
        }
        written(&self.members)
    }
}

impl Candidate {
    fn content(&mut self, content: &RawValue) -> Result<usize, Error> {
        #[derive(Deserialize)]
        struct Content {
            parts: Option<Vec<Box<RawValue>>>,
            role: Option<Box<RawValue>>,
        }
        let Some(content) = read::<Option<Content>>(content.get().as_bytes())? else { return Ok(0) };
        self.has_content = true;
        self.role = content.role.or(self.role.take());
        Ok(content.parts.into_iter().flatten().map(|part| self.part(part)).sum())
    }

    fn part(&mut self, raw: Box<RawValue>) -> usize {
        let more = Part::read(raw);
        match (self.parts.last_mut(), more) {
            (
                Some(Part::Text { text, is_thought, signature: signature @ None }),
                Part::Text { text: more, is_thought: goes_on, signature: last },
            ) if *is_thought == goes_on => {
                text.push_str(&more);
                let proof = last.as_ref().map_or(0, |last| last.get().len());
                *signature = last;
                more.len() + proof
            }
            // It would be refused if the client sent it back.
            (_, Part::Text { text, signature: None, .. }) if text.is_empty() => 0,
            (_, more) => {
                let size = more.size();
                self.parts.push(more);
                size
            }
        }
    }

    fn finish(mut self) -> Result<Box<RawValue>, Error> {
        #[derive(Serialize)]
        struct Content {
            parts: Vec<Box<RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            role: Option<Box<RawValue>>,
        }
        if self.has_content {
            let parts = self.parts.into_iter().map(Part::finish).collect::<Result<_, _>>()?;
            self.members.insert("content".into(), raw(&Content { parts, role: self.role })?);
        }
        if !self.likelihoods.is_empty() {
            self.members.insert("logprobsResult".into(), raw(&self.likelihoods)?);
        }
        raw(&self.members)
    }
}

impl Part {
    fn read(raw: Box<RawValue>) -> Self {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Text {
            text: String,
            #[serde(default)]
            thought: bool,
            #[serde(rename = "thoughtSignature")]
            signature: Option<Box<RawValue>>,
        }
        match serde_json::from_str(raw.get()) {
            Ok(Text { text, thought, signature }) => Self::Text { text, is_thought: thought, signature },
            Err(_) => Self::Other(raw),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text { text, signature, .. } => {
                    text.len() + signature.as_ref().map_or(0, |signature| signature.get().len())
                }
                Self::Other(raw) => raw.get().len(),
            }
    }

    fn finish(self) -> Result<Box<RawValue>, Error> {
        match self {
            Self::Text { text, is_thought, signature } => {
                #[derive(Serialize)]
                struct Text {
                    text: String,
                    #[serde(skip_serializing_if = "std::ops::Not::not")]
                    thought: bool,
                    #[serde(rename = "thoughtSignature", skip_serializing_if = "Option::is_none")]
                    signature: Option<Box<RawValue>>,
                }
                raw(&Text { text, thought: is_thought, signature })
            }
            Self::Other(raw) => Ok(raw),
        }
    }
}

/// Keeps what is said last of every member.
fn say(all: &mut Map, more: Map) -> usize {
    let said = more.into_iter().filter(|(_, value)| value.get() != "null");
    said.map(|(name, value)| {
        let (size, more) = (name.len() + size_of::<Box<RawValue>>(), value.get().len());
        match all.insert(name, value) {
            Some(before) => more.saturating_sub(before.get().len()),
            None => size + more,
        }
    })
    .sum()
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(super::unreadable)
}

#[cfg(test)]
mod tests {
    use super::super::joined;
    use crate::dialect::GEMINI;
    use serde_json::json;

    #[test]
    fn everything_that_chunks_say_is_in_the_answer() {
        let answer = joined(
            &GEMINI,
            &[
                r#"{"candidates":[{"content":{"parts":[{"text":"h","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":1},"modelVersion":"g","responseId":"r"}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"m","thought":true},{"text":"He"}]},"logprobsResult":{"chosenCandidates":[{"token":"He"}]}}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"llo"},{"text":"","thoughtSignature":"c2ln"},{"executableCode":{"code":"1","language":"PYTHON"}},{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]},"logprobsResult":{"chosenCandidates":[{"token":"llo"}]}}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"b":1,"a":2}}},{"text":""}]},"finishReason":"STOP","safetyRatings":[{"category":"X"}],"groundingMetadata":{"webSearchQueries":["q"]}},{"index":1,"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}"#,
            ],
        );

        let parts = json!([{"text": "hm", "thought": true}, {"text": "Hello", "thoughtSignature": "c2ln"},
            {"executableCode": {"code": "1", "language": "PYTHON"}},
            {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
            {"functionCall": {"name": "f", "args": {"b": 1, "a": 2}}}]);
        let expected = json!({"candidates": [
            {"content": {"parts": parts, "role": "model"}, "index": 0, "finishReason": "STOP",
                "safetyRatings": [{"category": "X"}], "groundingMetadata": {"webSearchQueries": ["q"]},
                "logprobsResult": {"chosenCandidates": [{"token": "He"}, {"token": "llo"}]}},
            {"index": 1, "finishReason": "MAX_TOKENS"}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}, "modelVersion": "g",
            "responseId": "r"});
        assert_eq!(answer, expected);
    }
}
