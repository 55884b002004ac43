//! The `response` object for a client: whole answers are one, and so are the first and the last event of a
//! stream.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{echo::Echo, usage::Usage};

/// A response in which `O` is the output. What neither the answer nor the request tells has its default.
#[derive(Debug, Serialize)]
pub(crate) struct Response<'a, O> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    pub(crate) status: &'static str,
    background: bool,
    pub(crate) error: Option<Failure<'a>>,
    pub(crate) incomplete_details: Option<Incomplete>,
    model: &'a str,
    pub(crate) output: O,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_tier: Option<&'a str>,
    store: bool,
    pub(crate) usage: Option<Usage>,
    #[serde(flatten)]
    echo: Echo<'a>,
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

impl<'a, O: Default> Response<'a, O> {
    /// One that has just begun, of a request of which `echo` is repeated.
    pub(crate) fn begun(id: &'a str, model: &'a str, created_at: u64, echo: Echo<'a>) -> Self {
        Self {
            id,
            object: "response",
            created_at,
            status: "in_progress",
            background: false,
            error: None,
            incomplete_details: None,
            model,
            output: O::default(),
            service_tier: None,
            store: false,
            usage: None,
            echo,
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
