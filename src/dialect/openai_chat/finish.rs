//! Why an answer ended, in the words of OpenAI and of the servers that speak like it.

use serde_json::value::RawValue;

use crate::{
    Error, Kind,
    dialect::{
        canonical::{Finish, Text},
        text::Str,
    },
};

/// The model waits for tools.
pub(crate) const TOOL_CALLS: &str = "tool_calls";

/// The same to a client of `functions`.
pub(crate) const FUNCTION_CALL: &str = "function_call";

/// What an answer contained, as far as it matters for its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contained {
    /// Calls of tools: many servers say `stop` although the model waits.
    pub(crate) calls: bool,
    /// A refusal, which OpenAI ends with `stop`.
    pub(crate) refusal: bool,
}

/// Reads a reason; anything that is not known is a proper end.
///
/// # Errors
///
/// Some providers have reasons that mean that they failed.
pub(crate) fn read<'a>(
    reason: Option<&str>,
    stop_reason: Option<&'a RawValue>,
    contained: Contained,
) -> Result<Finish<'a>, Error> {
    Ok(match reason.unwrap_or_default() {
        "length" | "model_length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" | "sensitive" => Finish::Refused(None),
        "insufficient_system_resource" => {
            return Err(Error::new(Kind::Overloaded, "the provider ran out of resources"));
        }
        "error" | "network_error" => {
            return Err(Error::new(Kind::Upstream, "the provider failed while it answered"));
        }
        _ if contained.calls => Finish::ToolCalls,
        _ if contained.refusal => Finish::Refused(None),
        _ => stop_text(stop_reason).map_or(Finish::Stop, Finish::StopSequence),
    })
}

/// vLLM says which stop text came up, or the number of a token.
fn stop_text(stop_reason: Option<&RawValue>) -> Option<Text<'_>> {
    serde_json::from_str::<Str<'_>>(stop_reason?.get()).ok().map(Text::from)
}

/// The word for a client.
pub(crate) fn word(finish: &Finish<'_>) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => TOOL_CALLS,
        Finish::Refused(_) => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(reason: &str) -> Finish<'static> {
        read(Some(reason), None, Contained::default()).unwrap()
    }

    #[test]
    fn the_words_of_all_servers_are_known() {
        assert_eq!(finish("stop"), Finish::Stop);
        assert_eq!(finish("eos"), Finish::Stop);
        assert_eq!(finish("model_length"), Finish::Length);
        assert_eq!(finish("function_call"), Finish::ToolCalls);
        assert_eq!(finish("sensitive"), Finish::Refused(None));
    }

    #[test]
    fn calls_and_refusals_are_believed_more_than_a_stop() {
        // C85, C118
        let calls = Contained { calls: true, ..Contained::default() };
        let refusal = Contained { refusal: true, ..Contained::default() };

        assert_eq!(read(Some("stop"), None, calls).unwrap(), Finish::ToolCalls);
        assert_eq!(read(Some(""), None, calls).unwrap(), Finish::ToolCalls);
        assert_eq!(read(None, None, calls).unwrap(), Finish::ToolCalls);
        assert_eq!(read(Some("length"), None, calls).unwrap(), Finish::Length);
        assert_eq!(read(Some("stop"), None, refusal).unwrap(), Finish::Refused(None));
    }

    #[test]
    fn the_stop_text_is_passed_on_where_it_is_said() {
        let reason = |raw| read(Some("stop"), Some(serde_json::from_str(raw).unwrap()), Contained::default());

        assert_eq!(reason("\"END\"").unwrap(), Finish::StopSequence("END".into()));
        assert_eq!(reason("128009").unwrap(), Finish::Stop);
        assert_eq!(reason("null").unwrap(), Finish::Stop);
    }

    #[test]
    fn a_provider_that_failed_is_an_error() {
        let kind = |reason| read(Some(reason), None, Contained::default()).unwrap_err().kind();

        assert_eq!(kind("insufficient_system_resource"), Kind::Overloaded);
        assert_eq!(kind("error"), Kind::Upstream);
    }
}
