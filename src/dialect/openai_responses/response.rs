//! The `response` object for a client: whole answers are one, and so are the first and the last event of a
//! stream.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::usage::Usage;

/// A response in which `O` is the output. What the answer doesn't tell has its default.
#[derive(Debug, Serialize)]
pub(crate) struct Response<'a, O> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    pub(crate) status: &'static str,
    background: bool,
    pub(crate) error: Option<Failure<'a>>,
    pub(crate) incomplete_details: Option<Incomplete>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u64>,
    model: &'a str,
    pub(crate) output: O,
    parallel_tool_calls: bool,
    previous_response_id: Option<&'a str>,
    reasoning: Reasoning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'a str>,
    store: bool,
    temperature: Option<f64>,
    text: Text,
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: Option<f64>,
    truncation: &'static str,
    pub(crate) usage: Option<Usage>,
    user: Option<&'a str>,
    metadata: Nothing,
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
pub(crate) struct Failure<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
}

/// Why an answer isn't whole.
#[derive(Debug, Serialize)]
pub(crate) struct Incomplete {
    pub(crate) reason: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Reasoning {
    effort: Option<&'static str>,
    summary: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Text {
    format: Format,
}

#[derive(Debug, Serialize)]
struct Format {
    r#type: &'static str,
}

impl Default for Format {
    fn default() -> Self {
        Self { r#type: "text" }
    }
}

#[derive(Debug, Serialize)]
struct Nothing {}

impl<'a, O: Default> Response<'a, O> {
    /// One that has just begun.
    pub(crate) fn begun(id: &'a str, model: &'a str, created_at: u64) -> Self {
        Self {
            id,
            object: "response",
            created_at,
            status: "in_progress",
            background: false,
            error: None,
            incomplete_details: None,
            instructions: None,
            max_output_tokens: None,
            model,
            output: O::default(),
            parallel_tool_calls: true,
            previous_response_id: None,
            reasoning: Reasoning::default(),
            service_tier: None,
            store: false,
            temperature: None,
            text: Text::default(),
            tool_choice: "auto",
            tools: [],
            top_p: None,
            truncation: "disabled",
            usage: None,
            user: None,
            metadata: Nothing {},
        }
    }
}

/// The time, in the unit of `created_at`.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The name of an item, which is the same whenever the same answer is written.
pub(crate) fn item_id(prefix: &str, response: &str, index: usize) -> String {
    format!("{prefix}_{}_{index}", response.strip_prefix("resp_").unwrap_or(response))
}
