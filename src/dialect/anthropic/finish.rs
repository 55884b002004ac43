//! Why an answer ended, in both directions.

use super::wire::write::{Stop, StopDetails};
use crate::dialect::{canonical::Finish, text::Str};

/// What a provider's reason means; `called` says whether the answer has calls of tools.
pub(super) fn read<'a>(
    reason: Option<&str>,
    sequence: Option<Str<'a>>,
    explanation: Option<Str<'a>>,
    called: bool,
) -> Finish<'a> {
    match reason {
        Some("end_turn") => Finish::Stop,
        Some("stop_sequence") => Finish::StopSequence(sequence.unwrap_or_default().into()),
        // A pause is an answer that isn't finished, and there is no way to say so elsewhere.
        Some("max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction") => Finish::Length,
        Some("tool_use") => Finish::ToolCalls,
        Some("refusal") => Finish::Refused(explanation.map(Into::into)),
        _ if called => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// The reason for a client; `called` says whether the answer has calls of tools, `refused` whether it
/// has the text of a refusal.
pub(super) fn write<'a>(finish: &'a Finish<'_>, called: bool, refused: bool) -> Stop<'a> {
    let stop = |reason| Stop { stop_reason: Some(reason), ..Stop::default() };
    match finish {
        Finish::Length => stop("max_tokens"),
        Finish::StopSequence(text) => Stop { stop_sequence: Some(text), ..stop("stop_sequence") },
        Finish::Refused(explanation) => refusal(explanation.as_deref()),
        _ if refused => refusal(None),
        // Some providers say "stop" although the model waits for tools.
        Finish::Stop if called => stop("tool_use"),
        Finish::Stop => stop("end_turn"),
        Finish::ToolCalls => stop("tool_use"),
    }
}

fn refusal(explanation: Option<&str>) -> Stop<'_> {
    let details = StopDetails { kind: "refusal", category: None, explanation };
    Stop { stop_reason: Some("refusal"), stop_sequence: None, stop_details: Some(details) }
}
