//! The likelihoods of tokens, in the form of OpenAI.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::dialect::text::Str;

/// A `logprobsResult`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Likelihoods<'a> {
    #[serde(borrow)]
    chosen_candidates: Vec<Token<'a>>,
    #[serde(borrow)]
    top_candidates: Vec<Top<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Top<'a> {
    #[serde(borrow)]
    candidates: Vec<Token<'a>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Token<'a> {
    #[serde(borrow)]
    token: Str<'a>,
    log_probability: f64,
}

#[derive(Serialize)]
struct Rendered<'a> {
    content: Vec<RenderedToken<'a>>,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct RenderedToken<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<RenderedToken<'a>>>,
}

/// A `logprobsResult` as `logprobs`; `None` if it can't be understood.
pub(super) fn read(raw: &RawValue) -> Option<Cow<'static, RawValue>> {
    let result: Likelihoods<'_> = serde_json::from_str(raw.get()).ok()?;
    let tops = result.top_candidates.iter().map(|top| &top.candidates[..]).chain(std::iter::repeat(&[][..]));
    let content = result.chosen_candidates.iter().zip(tops);
    let content = content.map(|(chosen, top)| {
        let top = top.iter().map(|token| rendered(token, None)).collect();
        rendered(chosen, Some(top))
    });
    to_raw_value(&Rendered { content: content.collect(), refusal: None }).ok().map(Cow::Owned)
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<Vec<SaidToken<'a>>>,
}

#[derive(Deserialize)]
struct SaidToken<'a> {
    #[serde(borrow)]
    token: Str<'a>,
    logprob: f64,
    #[serde(borrow)]
    top_logprobs: Option<Vec<SaidToken<'a>>>,
}

/// `logprobs` as a `logprobsResult`; `None` if there are none.
pub(super) fn write(raw: &RawValue) -> Option<Likelihoods<'_>> {
    let content = serde_json::from_str::<Said<'_>>(raw.get()).ok()?.content?;
    let mut written = Likelihoods::default();
    for SaidToken { token, logprob, top_logprobs } in content {
        let candidates = top_logprobs.into_iter().flatten();
        let candidates = candidates.map(|top| Token { token: top.token, log_probability: top.logprob });
        written.top_candidates.push(Top { candidates: candidates.collect() });
        written.chosen_candidates.push(Token { token, log_probability: logprob });
    }
    (!written.chosen_candidates.is_empty()).then_some(written)
}

fn rendered<'a>(token: &'a Token<'_>, top_logprobs: Option<Vec<RenderedToken<'a>>>) -> RenderedToken<'a> {
    RenderedToken {
        token: &token.token,
        logprob: token.log_probability,
        bytes: token.token.as_bytes(),
        top_logprobs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C117
    #[test]
    fn likelihoods_come_with_the_bytes_of_their_tokens() {
        let raw = r#"{"chosenCandidates":[{"token":"é","tokenId":1,"logProbability":-0.5},{"token":"!"}],
            "topCandidates":[{"candidates":[{"token":"é","logProbability":-0.5}]}]}"#;

        let read = read(serde_json::from_str(raw).unwrap()).unwrap();

        assert_eq!(
            read.get(),
            r#"{"content":[{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169]}]},{"token":"!","logprob":0.0,"bytes":[33],"top_logprobs":[]}],"refusal":null}"#
        );
    }

    #[test]
    fn likelihoods_are_written_with_what_else_was_likely() {
        let raw = r#"{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.5}]}],"refusal":null}"#;

        let written = write(serde_json::from_str(raw).unwrap()).unwrap();

        assert_eq!(
            serde_json::to_string(&written).unwrap(),
            r#"{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"b","logProbability":-1.5}]}]}"#
        );
        assert!(write(serde_json::from_str(r#"{"content":null}"#).unwrap()).is_none());
    }
}
