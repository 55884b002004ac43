use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    Dialect, Error, Kind, dialect::status, error::Reply, exchange::RequestId, headers, ledger::Refused,
};

/// The response by which a client of `dialect` learns of `error`.
pub(super) fn render(dialect: &dyn Dialect, error: &Error, id: &RequestId) -> Response<Bytes> {
    let own = |reply: &&Reply| is_for(reply, dialect, error) && is_telling(reply.status, dialect, error, id);
    let (status, body, content_type) = match error.reply().filter(own) {
        Some(reply) => (reply.status, reply.body.clone(), reply.headers.get(header::CONTENT_TYPE).cloned()),
        None => {
            let (status, body) = dialect.render_error(error, id);
            (status, body, None)
        }
    };
    let mut res = Response::new(body);
    *res.status_mut() = status;
    let headers = res.headers_mut();
    if let Some(reply) = error.reply() {
        pass_on(&reply.headers, headers);
    }
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(json));
    if let Some(after) = error.retry_after() {
        retry_after(after, headers);
    }
    if let Some(should) = should_retry(error) {
        headers.insert(headers::SHOULD_RETRY, HeaderValue::from_static(should));
    }
    if let Some(allow) = error.allow().and_then(|allow| allow.parse().ok()) {
        headers.insert(header::ALLOW, allow);
    }
    res.extensions_mut().insert(error.kind());
    res
}

/// Whether a client gets the provider's own words. The page of a proxy in front of it is none of them.
fn is_for(reply: &Reply, client: &dyn Dialect, error: &Error) -> bool {
    reply.dialect == client.id()
        && error.kind() != Kind::UpstreamAuth
        && reply.body.trim_ascii_start().starts_with(b"{")
}

/// Whether a provider's status tells a client what the class would. Servers that speak like OpenAI have more
/// statuses than its clients know, and use some of OpenAI's for something else.
fn is_telling(status: StatusCode, client: &dyn Dialect, error: &Error, id: &RequestId) -> bool {
    let is_known = !matches!(status.as_u16(), 402 | 498 | 499 | 505..);
    !client.id().starts_with("openai-")
        || is_known && status::kind_of(status.as_u16()) == error.kind()
        || status == client.render_error(error, id).0
}

/// The provider's limits, which its clients read.
fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if name.as_str().starts_with("x-ratelimit-") || name.as_str().starts_with("anthropic-ratelimit-") {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Whole seconds for everybody, and milliseconds for those who can wait shorter.
fn retry_after(after: Duration, headers: &mut HeaderMap) {
    let seconds = after.as_millis().div_ceil(1000) as u64;
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(headers::RETRY_AFTER_MS, HeaderValue::from(after.as_millis() as u64));
}

/// What official SDKs can't tell from the status: that trying again is of no use.
fn should_retry(error: &Error) -> Option<&'static str> {
    let is_final = matches!(
        error.kind(),
        Kind::BudgetExhausted | Kind::RunawayLoop | Kind::Billing | Kind::UpstreamAuth
    );
    let never_fits = Refused::of(error).is_some_and(|refused| refused.is_final);
    (is_final || never_fits).then_some("false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange,
        dialect::{ANTHROPIC, OPENAI_CHAT},
    };

    fn body(status: StatusCode, said: &'static str) -> Bytes {
        let reply =
            Reply { status, headers: HeaderMap::new(), body: said.into(), dialect: "anthropic-messages" };
        let error = Error::new(Kind::Upstream, "the provider failed").with_reply(reply);

        render(&ANTHROPIC, &error, Exchange::default().id()).into_body()
    }

    #[test]
    fn a_status_that_clients_do_not_know_becomes_that_of_its_class() {
        let answer = |status, said: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            let reply =
                Reply { status, headers: HeaderMap::new(), body: said.into(), dialect: "openai-chat" };
            let res = render(&OPENAI_CHAT, &OPENAI_CHAT.read_error(reply), Exchange::default().id());
            let body: serde_json::Value = serde_json::from_slice(res.body()).unwrap();
            (res.status().as_u16(), body["error"]["message"].as_str().unwrap().to_owned())
        };

        let plain = r#"{"error":{"message":"their words","type":"x","code":null}}"#;
        let statuses = [529, 498, 402, 400, 422, 500].map(|status| answer(status, plain));
        assert_eq!(statuses.each_ref().map(|(status, _)| *status), [503, 429, 429, 400, 422, 500]);
        assert!(statuses.iter().all(|(_, message)| message == "their words"));
        let arrears = r#"{"error":{"message":"unpaid","type":"Arrearage","code":"Arrearage"}}"#;
        assert_eq!(answer(400, arrears), (429, "unpaid".into()));
        let groq = r#"{"error":{"message":"too much","type":"tokens","code":"rate_limit_exceeded"}}"#;
        assert_eq!(answer(413, groq), (429, "too much".into()));
    }

    #[test]
    fn a_client_gets_the_words_of_its_provider_but_not_the_page_of_a_proxy() {
        let said = r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#;

        assert_eq!(body(StatusCode::INTERNAL_SERVER_ERROR, said), said);

        let page = body(StatusCode::BAD_GATEWAY, "<html>502 Bad Gateway</html>");
        let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
        assert_eq!((&page["type"], &page["error"]["type"]), (&"error".into(), &"api_error".into()));
    }
}
