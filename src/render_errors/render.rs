use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{Dialect, Error, Kind, error::Reply, exchange::RequestId, headers};

/// The response by which a client of `dialect` learns of `error`.
pub(super) fn render(dialect: &dyn Dialect, error: &Error, id: &RequestId) -> Response<Bytes> {
    let (status, body, content_type) = match error.reply().filter(|reply| is_for(reply, dialect, error)) {
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
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
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
    is_final.then_some("false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, dialect::ANTHROPIC};

    fn body(status: StatusCode, said: &'static str) -> Bytes {
        let reply =
            Reply { status, headers: HeaderMap::new(), body: said.into(), dialect: "anthropic-messages" };
        let error = Error::new(Kind::Upstream, "the provider failed").with_reply(reply);

        render(&ANTHROPIC, &error, Exchange::default().id()).into_body()
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
