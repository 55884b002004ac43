//! The likelihoods of tokens, in the form of OpenAI.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::dialect::text::Str;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Result<'a> {
    #[serde(borrow)]
    chosen_candidates: Vec<Token<'a>>,
    #[serde(borrow)]
    top_candidates: Vec<Top<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Top<'a> {
    #[serde(borrow)]
    candidates: Vec<Token<'a>>,
}

#[derive(Default, Deserialize)]
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
    let result: Result<'_> = serde_json::from_str(raw.get()).ok()?;
    let tops = result.top_candidates.iter().map(|top| &top.candidates[..]).chain(std::iter::repeat(&[][..]));
    let content = result.chosen_candidates.iter().zip(tops);
    let content = content.map(|(chosen, top)| {
        let top = top.iter().map(|token| rendered(token, None)).collect();
        rendered(chosen, Some(top))
    });
    to_raw_value(&Rendered { content: content.collect(), refusal: None }).ok().map(Cow::Owned)
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
}
