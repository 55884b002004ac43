//! Why an answer ended, in both directions.

use crate::{
    Error, Kind,
    dialect::canonical::{Finish, Text},
};

/// Whether the provider itself failed with this reason: the model wrote what is not an answer.
pub(super) fn is_failure(reason: &str) -> bool {
    matches!(
        reason,
        "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
    )
}

/// What an answer contained, as far as it matters for its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contained {
    /// Anything at all.
    pub(super) anything: bool,
    /// Calls of functions, for which there is no reason of their own.
    pub(super) calls: bool,
}

/// What a provider's reason means.
///
/// # Errors
///
/// [`Kind::Upstream`] for a reason that means that the provider failed, if there is nothing to show.
pub(super) fn read<'a>(
    reason: &str,
    message: Option<Text<'a>>,
    contained: Contained,
) -> Result<Finish<'a>, Error> {
    Ok(match reason {
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE" | "NO_IMAGE"
        | "MODEL_ARMOR" | "ESCALATION" => Finish::Refused(message),
        image if image.starts_with("IMAGE_") => Finish::Refused(message),
        "OTHER" if !contained.anything => Finish::Refused(message),
        reason if is_failure(reason) && !contained.anything => return Err(failed(reason)),
        _ if contained.calls => Finish::ToolCalls,
        _ => Finish::Stop,
    })
}

/// The error for an answer that came to nothing.
pub(super) fn failed(reason: &str) -> Error {
    Error::new(Kind::Upstream, format!("the model failed to answer: {reason}"))
}

/// The end of an answer to a prompt that was blocked.
pub(super) fn blocked<'a>(reason: &str, message: Option<Text<'a>>) -> Finish<'a> {
    let said = || format!("the prompt was blocked by the provider: {reason}").into();
    Finish::Refused(Some(message.filter(|text| !text.is_empty()).unwrap_or_else(said)))
}

/// The reason for a client.
pub(super) fn word(finish: &Finish<'_>) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Refused(_) => "SAFETY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Contained = Contained { anything: false, calls: false };
    const TEXT: Contained = Contained { anything: true, calls: false };
    const CALLS: Contained = Contained { anything: true, calls: true };

    fn finish(reason: &str, contained: Contained) -> Finish<'static> {
        read(reason, None, contained).unwrap()
    }

    /// C79, C81 and §7
    #[test]
    fn every_reason_is_understood() {
        for reason in ["SAFETY", "RECITATION", "IMAGE_SAFETY", "IMAGE_RECITATION", "NO_IMAGE", "MODEL_ARMOR"]
        {
            assert_eq!(finish(reason, TEXT), Finish::Refused(None), "{reason}");
        }
        assert_eq!(finish("STOP", TEXT), Finish::Stop);
        assert_eq!(finish("STOP", CALLS), Finish::ToolCalls);
        assert_eq!(finish("MAX_TOKENS", CALLS), Finish::Length);
        assert_eq!(finish("CONTINUATION", TEXT), Finish::Length);
        assert_eq!(finish("OTHER", NOTHING), Finish::Refused(None));
        assert_eq!(finish("OTHER", TEXT), Finish::Stop);
        assert_eq!(finish("FINISH_REASON_UNSPECIFIED", TEXT), Finish::Stop);
        assert_eq!(finish("NEW_REASON", TEXT), Finish::Stop);
    }

    /// C77
    #[test]
    fn what_the_model_could_not_write_is_an_error_unless_there_is_something_to_show() {
        for reason in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"] {
            assert_eq!(read(reason, None, NOTHING).unwrap_err().kind(), Kind::Upstream);
            assert_eq!(finish(reason, TEXT), Finish::Stop);
        }
    }
}
