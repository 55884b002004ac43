//! Why an answer ended.

use crate::{
    Error, Kind,
    dialect::{canonical::Finish, text::Str},
};

/// What Bedrock's reason means; `called` says whether the answer has calls of tools.
pub(super) fn read<'a>(reason: Option<&str>, sequence: Option<Str<'a>>, called: bool) -> Finish<'a> {
    match reason {
        // Which one it was is said by some models only.
        Some("stop_sequence") => Finish::StopSequence(sequence.unwrap_or_default().into()),
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("tool_use") => Finish::ToolCalls,
        Some("guardrail_intervened" | "content_filtered") => Finish::Refused(None),
        Some("end_turn") => Finish::Stop,
        Some(reason) if is_malformed(reason) => Finish::Stop,
        _ if called => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// Whether the model wrote what Bedrock can't make anything of.
pub(super) fn is_malformed(reason: &str) -> bool {
    matches!(reason, "malformed_model_output" | "malformed_tool_use")
}

/// An answer without anything in it, because what the model wrote was malformed: worth another try.
pub(super) fn malformed() -> Error {
    Error::new(Kind::Upstream, "the model wrote what its provider can't read")
}
