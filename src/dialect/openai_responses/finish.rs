//! Why an answer ended, in both directions.

use super::wire::IncompleteDetails;
use crate::{
    Error, Kind,
    dialect::canonical::{Content, Finish, Part},
};

/// What an answer contained, as far as it matters for its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contained {
    pub(crate) calls: bool,
    pub(crate) refusal: bool,
}

impl Contained {
    /// What is in `parts`.
    pub(crate) fn of(parts: &[Part<'_>]) -> Self {
        Self {
            calls: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
            refusal: parts.iter().any(|part| matches!(part.content, Content::Refusal(_))),
        }
    }
}

/// What a provider's status means.
///
/// # Errors
///
/// An answer that was cancelled, or that is still in the making, is none.
pub(crate) fn read(
    status: Option<&str>,
    details: Option<&IncompleteDetails<'_>>,
    contained: Contained,
) -> Result<Finish<'static>, Error> {
    let upstream = |message| Err(Error::new(Kind::Upstream, message));
    match (status, details.and_then(|details| details.reason.as_deref())) {
        (Some("failed"), _) => upstream("the provider failed while it answered"),
        (Some("cancelled"), _) => upstream("the provider cancelled its answer"),
        (Some("queued" | "in_progress"), _) => upstream("the provider's answer is not finished"),
        (Some("incomplete"), Some("content_filter")) => Ok(Finish::Refused(None)),
        (Some("incomplete"), _) => Ok(Finish::Length),
        _ if contained.calls => Ok(Finish::ToolCalls),
        _ if contained.refusal => Ok(Finish::Refused(None)),
        _ => Ok(Finish::Stop),
    }
}

/// The status for a client, and the reason if the answer isn't whole; `refuses` says whether it has the
/// text of a refusal, which is a whole answer too.
pub(crate) fn write(finish: &Finish<'_>, refuses: bool) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => ("completed", None),
        Finish::Length => ("incomplete", Some("max_output_tokens")),
        Finish::Refused(None) if refuses => ("completed", None),
        Finish::Refused(_) => ("incomplete", Some("content_filter")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(status: &str, reason: Option<&'static str>, contained: Contained) -> Finish<'static> {
        let details = IncompleteDetails { reason: reason.map(Into::into) };
        read(Some(status), Some(&details), contained).unwrap()
    }

    #[test]
    fn the_end_is_understood() {
        let (nothing, calls) = (Contained::default(), Contained { calls: true, refusal: false });

        assert_eq!(finish("completed", None, nothing), Finish::Stop);
        assert_eq!(finish("completed", None, calls), Finish::ToolCalls);
        assert_eq!(
            finish("completed", None, Contained { calls: false, refusal: true }),
            Finish::Refused(None)
        );
        assert_eq!(finish("incomplete", Some("max_output_tokens"), calls), Finish::Length);
        assert_eq!(finish("incomplete", Some("content_filter"), nothing), Finish::Refused(None));
        for status in ["failed", "cancelled", "queued", "in_progress"] {
            assert_eq!(read(Some(status), None, nothing).unwrap_err().kind(), Kind::Upstream);
        }
    }

    #[test]
    fn a_refusal_in_words_is_a_whole_answer() {
        // C118
        assert_eq!(write(&Finish::Refused(None), true), ("completed", None));
        assert_eq!(write(&Finish::Refused(None), false), ("incomplete", Some("content_filter")));
        assert_eq!(write(&Finish::Refused(Some("x".into())), true), ("incomplete", Some("content_filter")));
    }
}
