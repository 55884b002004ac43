use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::layer::Signature;
use crate::{Error, Payload};

/// Whether a header of a client means something to its provider.
fn is_passed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "anthropic-version"
            | "anthropic-beta"
            | "anthropic-dangerous-direct-browser-access"
            | "openai-beta"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "accept"
    )
}

/// Middleware of [`SignLayer`](super::SignLayer).
#[derive(Clone, Debug)]
pub struct Sign<S> {
    inner: S,
    signature: Arc<Signature>,
}

impl<S> Sign<S> {
    pub(super) fn new(inner: S, signature: Arc<Signature>) -> Self {
        Self { inner, signature }
    }
}

impl<S, R> Service<Request<Payload>> for Sign<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<Payload>) -> Self::Future {
        let headers = outbound(&self.signature, req.headers());
        *req.headers_mut() = headers;
        ResponseFuture { inner: self.inner.call(req), signature: self.signature.clone() }
    }
}

fn outbound(signature: &Signature, client: &HeaderMap) -> HeaderMap {
    let mut headers = signature.headers.clone();
    for name in client.keys().filter(|name| is_passed(name)) {
        let mut values = client.get_all(name).iter();
        if let Some(first) = values.next() {
            headers.insert(name, first.clone());
        }
        for more in values {
            headers.append(name, more.clone());
        }
    }
    headers
}

pin_project! {
    /// Response future of [`Sign`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        signature: Arc<Signature>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<R>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(ready!(this.inner.poll(cx)).map_err(|error| this.signature.scrub(error.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{HeaderName, HeaderValue, StatusCode};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        Exchange, Kind,
        dialect::OPENAI_CHAT,
        error::Reply,
        payload::Head,
        secret::Secret,
        sign::{Credential, SignLayer},
    };

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Payload> {
        let mut req =
            Request::new(Payload::new(&OPENAI_CHAT, Head::default(), "{}".into(), Exchange::default()));
        for (name, value) in headers {
            req.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        req
    }

    #[tokio::test]
    async fn only_what_concerns_the_provider_leaves() {
        let layer = SignLayer::new(Credential::Bearer(Secret::new("sk-provider")))
            .unwrap()
            .header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
        let svc = layer.layer(service_fn(async |req: Request<Payload>| {
            Ok::<_, Infallible>(Response::new(req.headers().clone()))
        }));

        let sent = svc
            .oneshot(request(&[
                ("cookie", "a=b"),
                ("x-api-key", "sk-client"),
                ("authorization", "Bearer sk-client"),
                ("connection", "keep-alive, x-secret"),
                ("x-forwarded-for", "10.0.0.1"),
                ("anthropic-version", "2026-10-21"),
                ("anthropic-beta", "a"),
                ("anthropic-beta", "b"),
            ]))
            .await
            .unwrap()
            .into_body();

        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "anthropic-beta",
                "anthropic-version",
                "authorization",
                "content-type",
                "user-agent"
            ]
        );
        assert_eq!(sent["authorization"], "Bearer sk-provider");
        assert_eq!(sent["anthropic-version"], "2026-10-21");
        assert_eq!(sent.get_all("anthropic-beta").iter().count(), 2);
    }

    #[tokio::test]
    async fn a_provider_that_quotes_the_key_is_not_quoted() {
        let layer = SignLayer::new(Credential::Bearer(Secret::new("sk-provider"))).unwrap();
        let svc = layer.layer(service_fn(async |_: Request<Payload>| {
            let reply = Reply {
                status: StatusCode::BAD_REQUEST,
                headers: HeaderMap::new(),
                body: "key sk-provider, sk-provider!".into(),
                dialect: "openai-chat",
            };
            Err::<Response<()>, _>(Error::new(Kind::InvalidRequest, "bad key sk-provider").with_reply(reply))
        }));

        let error = svc.oneshot(request(&[])).await.unwrap_err();

        assert_eq!(error.message(), "bad key ***");
        assert_eq!(error.reply().unwrap().body, "key ***, ***!");
    }
}
