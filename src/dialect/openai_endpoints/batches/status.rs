//! What a provider says of a batch.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Tokens,
    dialect::{Progress, json, openai_responses, text::Str},
};

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    status: Str<'a>,
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
struct Counts {
    #[serde(default)]
    completed: u64,
}

fn read(json: &[u8]) -> Option<Batch<'_>> {
    json::parse(json).ok()
}

/// How far it is; `None` if this is no batch.
pub(super) fn progress(json: &[u8]) -> Option<Progress> {
    let batch = read(json).filter(|batch| !batch.id.is_empty())?;
    let counted = batch.request_counts.map(|counts| counts.completed);
    Some(Progress {
        id: (&*batch.id).into(),
        is_over: matches!(&*batch.status, "completed" | "failed" | "expired" | "cancelled"),
        answered: match &*batch.status {
            // Its file was refused, before anything was asked.
            "failed" => Some(counted.unwrap_or(0)),
            _ => counted,
        },
    })
}

/// What it has used; `None` if that isn't said. Where something was answered something was used.
pub(super) fn usage(json: &[u8]) -> Option<Tokens> {
    let batch = read(json)?;
    let answered = batch.request_counts.map_or(1, |counts| counts.completed);
    let used = openai_responses::usage::read(batch.usage?)?;
    (!used.is_zero() || answered == 0).then_some(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(status: &str, more: &str) -> String {
        format!(r#"{{"id":"b","object":"batch","status":"{status}"{more}}}"#)
    }

    #[test]
    fn a_batch_is_over_when_nothing_follows() {
        let is_over = |status| progress(batch(status, "").as_bytes()).unwrap().is_over;

        for status in ["completed", "failed", "expired", "cancelled"] {
            assert!(is_over(status), "{status}");
        }
        for status in ["validating", "in_progress", "finalizing", "cancelling", "something new"] {
            assert!(!is_over(status), "{status}");
        }
        for other in [r#"{"id":"b","deleted":true}"#, r#"{"status":"completed"}"#, "[1]", ""] {
            assert_eq!(progress(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_was_refused_has_used_nothing() {
        let answered = |status, more| progress(batch(status, more).as_bytes()).unwrap().answered;

        assert_eq!((answered("failed", ""), answered("expired", "")), (Some(0), None));
        assert_eq!(answered("expired", r#","request_counts":{"total":3,"completed":2,"failed":1}"#), Some(2));
        assert_eq!(answered("completed", r#","request_counts":null"#), None);
    }

    #[test]
    fn counts_that_are_not_filled_in_are_none() {
        let used = |more| usage(batch("completed", more).as_bytes());
        let counted = r#","usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":15}"#;

        let tokens = used(counted).unwrap();

        assert_eq!((tokens.input, tokens.cached, tokens.output, tokens.reasoning), (10, 4, 5, 1));
        assert_eq!((used(""), used(r#","usage":null"#), used(r#","usage":{}"#)), (None, None, None));
        assert!(used(r#","usage":{"input_tokens":0},"request_counts":{"completed":0}"#).is_some());
    }
}
