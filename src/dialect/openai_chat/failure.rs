//! Failures of servers that hide in what came with a status of success.

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{
    FINISH_REASON,
    finish::{self, Contained},
};
use crate::{
    Error,
    dialect::{
        json::{self, Member},
        openai_error,
        text::Str,
    },
};

static ERROR: Member = Member::new(|| Finder::new(b"\"error\""));
static BASE_RESP: Member = Member::new(|| Finder::new(b"\"base_resp\""));

/// The error in a whole answer or in one event, wherever a server puts it; cheap where there is none.
pub(super) fn said(json: &[u8]) -> Option<Error> {
    let has_error = ERROR.value(json).is_some_and(|first| first != b'n');
    let is_suspect = has_error || BASE_RESP.value(json) == Some(b'{');
    is_suspect.then(|| openai_error::read_inside(json)).flatten()
}

/// The error that a reason to end stands for, where an answer or a piece of it has such a reason.
pub(super) fn finished(json: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        choices: Vec<Choice<'a>>,
    }
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow)]
        finish_reason: Option<Str<'a>>,
    }
    let failing = |reason: Option<&str>| {
        reason.and_then(|word| finish::read(Some(word), None, Contained::default()).err())
    };

    failing(FINISH_REASON.word(json))?;
    // What is called so may be part of something else.
    let answer: Answer<'_> = json::parse(json).ok()?;
    answer.choices.iter().find_map(|choice| failing(choice.finish_reason.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn an_error_is_found_wherever_it_stands() {
        let kind = |json: &str| said(json.as_bytes()).map(|error| error.kind());

        assert_eq!(
            kind(r#"{"error":{"code":429,"message":"slow down"},"choices":[]}"#),
            Some(Kind::RateLimited)
        );
        assert_eq!(
            kind(r#"{"choices":[],"x_groq":{"id":"r","error":"over_capacity"}}"#),
            Some(Kind::Upstream)
        );
        let minimax = r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}"#;
        assert_eq!(kind(minimax), Some(Kind::RateLimited));
        assert_eq!(said(minimax.as_bytes()).unwrap().message(), "rate limit");
        assert_eq!(kind(r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#), None);
        assert_eq!(kind(r#"{"choices":[],"error":null,"x_groq":{"id":"r"}}"#), None);
    }

    #[test]
    fn a_reason_that_means_a_failure_is_one() {
        let kind = |reason| {
            let json = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
            finished(json.as_bytes()).map(|error| error.kind())
        };

        assert_eq!(kind("insufficient_system_resource"), Some(Kind::Overloaded));
        assert_eq!((kind("error"), kind("network_error")), (Some(Kind::Upstream), Some(Kind::Upstream)));
        assert_eq!((kind("stop"), kind("")), (None, None));
        let of_a_tool =
            br#"{"choices":[{"message":{"x":{"finish_reason":"error"}},"finish_reason":"stop"}]}"#;
        assert!(finished(of_a_tool).is_none());
    }
}
