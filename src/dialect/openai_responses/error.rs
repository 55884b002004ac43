//! Errors inside of streams.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{
    echo::Echo,
    response::{Failure, Response, now},
};
use crate::{
    Error, Kind,
    body::sse::{self, Splitter},
    dialect::{Sent, json, openai_error},
    exchange::RequestId,
};

/// The error in an event that tells of one: in its response, in its member `error`, or all over it.
pub(crate) fn in_event(data: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        response: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let unread = || Error::new(Kind::Upstream, "the provider failed inside its stream");
    let Ok(event) = json::parse::<Event<'_>>(data) else { return unread() };
    let error = match event {
        Event { response: Some(response), .. } => openai_error::read_inside(response.get().as_bytes()),
        Event { error: Some(_), .. } => openai_error::read_inside(data),
        Event { .. } => openai_error::read_inside(&[b"{\"error\":", data, b"}"].concat()),
    };
    error.unwrap_or_else(unread)
}

/// The event by which a client learns that its stream broke off. It is about the response that has begun,
/// and comes after all its events.
pub(crate) fn event(error: &Error, id: &RequestId, sent: &Sent) -> Bytes {
    let failure = Failure { code: code(error.kind()), message: error.message() };
    let response = failed(begun(&sent.first), failure, id);
    let number = last_number(&sent.last).map_or(0, |number| number + 1);
    written(&Failed { r#type: "response.failed", sequence_number: number, response })
}

/// The event for an encoder, which knows what it has written.
pub(crate) fn written(event: &impl Serialize) -> Bytes {
    let mut out = b"event: response.failed\ndata: ".to_vec();
    // Nothing in these types can fail to be written.
    let _ = serde_json::to_writer(&mut out, event);
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// `response.failed`
#[derive(Serialize)]
struct Failed {
    r#type: &'static str,
    sequence_number: u64,
    response: Value,
}

/// The codes that clients know; everything else is a fault of the server to them.
fn code(kind: Kind) -> &'static str {
    match openai_error::code(kind) {
        Some(code)
            if !matches!(kind, Kind::Upstream | Kind::Unreachable | Kind::UpstreamAuth | Kind::Timeout) =>
        {
            code
        }
        _ => "server_error",
    }
}

fn failed(begun: Option<Map<String, Value>>, failure: Failure<'_>, id: &RequestId) -> Value {
    match begun {
        Some(mut response) => {
            response.insert("status".into(), "failed".into());
            response.insert("error".into(), serde_json::to_value(failure).unwrap_or_default());
            response.into()
        }
        None => {
            let id = format!("resp_{}", id.as_str().trim_start_matches("req_"));
            let mut response = Response::<[(); 0]>::begun(&id, "", now(), Echo::default());
            (response.status, response.error) = ("failed", Some(failure));
            serde_json::to_value(response).unwrap_or_default()
        }
    }
}

/// The response with which a stream has begun.
fn begun(first: &Bytes) -> Option<Map<String, Value>> {
    #[derive(Deserialize)]
    struct Created {
        response: Map<String, Value>,
    }
    events(first).find_map(|event| Some(json::parse::<Created>(&event.data).ok()?.response))
}

/// The number of the last event of a stream.
fn last_number(last: &Bytes) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence_number: u64,
    }
    events(last).filter_map(|event| Some(json::parse::<Numbered>(&event.data).ok()?.sequence_number)).last()
}

fn events(chunk: &Bytes) -> impl Iterator<Item = sse::Event> {
    let mut splitter = Splitter::default();
    let is_read = splitter.push(chunk.clone()).is_ok();
    std::iter::from_fn(move || splitter.next_event().filter(|_| is_read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exchange;

    fn data(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        let data = text.strip_prefix("event: response.failed\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn a_stream_that_broke_off_fails_as_the_response_that_it_was() {
        // C92
        let first = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"error\":null,\"output\":[]}}\n\n";
        let last = "data: {\"sequence_number\":6}\n\ndata: {\"sequence_number\":7}\n\n";
        let sent = Sent { first: first.into(), last: last.into() };

        let event = data(&event(&Error::new(Kind::Overloaded, "full"), Exchange::default().id(), &sent));

        assert_eq!((&event["type"], &event["sequence_number"]), (&"response.failed".into(), &8.into()));
        assert_eq!(
            (&event["response"]["id"], &event["response"]["status"]),
            (&"resp_1".into(), &"failed".into())
        );
        assert_eq!(event["response"]["error"]["code"], "server_is_overloaded");
    }

    #[test]
    fn a_stream_that_never_began_fails_with_all_that_a_response_must_have() {
        let event =
            data(&event(&Error::new(Kind::Unreachable, "gone"), Exchange::default().id(), &Sent::default()));

        let response = &event["response"];
        assert!(response["id"].as_str().unwrap().starts_with("resp_0"), "{response}");
        assert_eq!(response["error"], serde_json::json!({"code": "server_error", "message": "gone"}));
        for member in ["created_at", "tools", "tool_choice", "parallel_tool_calls", "output", "metadata"] {
            assert!(!response[member].is_null(), "{member}");
        }
    }

    #[test]
    fn clients_know_the_codes() {
        assert_eq!(code(Kind::RateLimited), "rate_limit_exceeded");
        assert_eq!(code(Kind::BudgetExhausted), "insufficient_quota");
        assert_eq!(code(Kind::ContextTooLong), "context_length_exceeded");
        assert_eq!(code(Kind::Internal), "server_error");
        assert_eq!(code(Kind::Timeout), "server_error");
    }
}
