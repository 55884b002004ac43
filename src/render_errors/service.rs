use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{body::Rendered, render::render, stream::Stream};
use crate::{
    BoxError, Dialect, Error, Exchange, dialect::Dialects, exchange::RequestId, fault::tell, headers,
};

/// Middleware of [`RenderErrorsLayer`](super::RenderErrorsLayer).
#[derive(Debug)]
pub struct RenderErrors<S> {
    inner: S,
    dialects: Dialects,
    not_ready: Option<Error>,
}

impl<S> RenderErrors<S> {
    pub(super) fn new(inner: S, dialects: Dialects) -> Self {
        Self { inner, dialects, not_ready: None }
    }
}

impl<S: Clone> Clone for RenderErrors<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.dialects.clone())
    }
}

impl<S, B, R> Service<Request<B>> for RenderErrors<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<Rendered<R>>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // That the inner service has failed is told to whoever calls next.
        self.not_ready = ready!(self.inner.poll_ready(cx)).err().map(Into::into);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let exchange = Exchange::open(&mut req);
        let (parts, body) = req.into_parts();
        let dialect = self.dialects.of_errors(&parts);
        let is_array = dialect.stream_is_array(&parts);
        let state = match self.not_ready.take() {
            Some(error) => State::Failed { error: Some(error) },
            None => State::Called { inner: self.inner.call(Request::from_parts(parts, body)) },
        };
        ResponseFuture { state, dialect, exchange, is_array }
    }
}

pin_project! {
    /// Response future of [`RenderErrors`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        dialect: &'static dyn Dialect,
        exchange: Exchange,
        is_array: bool,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Called { #[pin] inner: F },
        Failed { error: Option<Error> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<Rendered<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)).map_err(Into::into),
            StateProj::Failed { error } => {
                Err(error.take().expect("a future is not polled after it is ready"))
            }
        };
        let mut res = match result {
            Ok(mut res) if is_stream(res.headers()) => {
                if *this.is_array {
                    res.headers_mut()
                        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                }
                res.map(|body| {
                    Rendered::stream(body, Stream::new(*this.dialect, this.exchange.clone(), *this.is_array))
                })
            }
            Ok(res) => res.map(|body| Rendered::whole(body, this.exchange.clone())),
            Err(error) => {
                this.exchange.fail(&error);
                let mut res = render(*this.dialect, &error, this.exchange.id()).map(Rendered::error);
                tell(this.exchange, res.headers_mut());
                res
            }
        };
        let limits = this.dialect.limit_headers();
        limits.rename(res.headers_mut());
        limits.write(&this.exchange.learn(|learnt| learnt.standings), res.headers_mut());
        name(res.headers_mut(), this.exchange.id());
        Poll::Ready(Ok(res))
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

fn name(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(headers::REQUEST_ID, id.clone());
        headers.insert(headers::ANTHROPIC_REQUEST_ID, id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Kind,
        render_errors::RenderErrorsLayer,
        testing::{ENDINGS, Ending, MustBeReady, Script, Step, is_shared},
    };

    fn request(path: &str) -> Request<()> {
        Request::post(path).body(()).unwrap()
    }

    fn layer() -> RenderErrorsLayer {
        RenderErrorsLayer::new(Dialects::default())
    }

    #[tokio::test]
    async fn an_answer_passes_and_ends_as_it_did() {
        for ending in ENDINGS.into_iter().filter(|ending| *ending != Ending::Refused) {
            let service = layer().layer(MustBeReady::new(move |_: Request<()>| ending.answer()));
            is_shared(&service);

            ending.play(service.oneshot(request("/")), || {}, || {}).await;
        }
    }

    #[tokio::test]
    async fn an_error_is_a_response_in_the_dialect_of_the_path() {
        for (path, of_anthropic) in [("/v1/messages", true), ("/v1/chat/completions", false), ("/x", false)] {
            let mut req = request(path);
            let exchange = Exchange::open(&mut req);
            let service = layer().layer(MustBeReady::new(|_: Request<()>| Ending::Refused.answer()));

            let res = service.oneshot(req).await.unwrap();

            assert!(res.status().is_server_error());
            assert_eq!(res.headers()[headers::REQUEST_ID], exchange.id().as_str());
            assert_eq!(res.headers()[header::CACHE_CONTROL], "private, no-store");
            let body = res.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["type"] == "error", of_anthropic, "{path}");
            assert_eq!(body["error"]["message"], "the provider failed");
            assert_eq!(exchange.learn(|learnt| learnt.failure.clone()).unwrap().kind, Kind::Upstream);
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_says_so_once_and_is_over() {
        let service = layer().layer(MustBeReady::new(async |_: Request<()>| {
            let mut res =
                Response::new(Script::new([Step::Data("data: 1\n\n"), Step::Break, Step::Data("2")]));
            res.headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            Ok::<_, Error>(res)
        }));
        let mut body = service.oneshot(request("/v1/messages")).await.unwrap().into_body();

        let text = async |body: &mut Rendered<Script>| {
            let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            String::from_utf8(data.to_vec()).unwrap()
        };
        assert_eq!(text(&mut body).await, "data: 1\n\n");
        assert!(!body.is_end_stream());
        let last = text(&mut body).await;

        assert!(last.starts_with("event: error\ndata: {") && last.ends_with("}\n\n"), "{last}");
        assert!(!last.contains("the connection broke"), "{last}");
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }

    async fn array(steps: &'static [Step], path: &str) -> (Value, bool) {
        let service = layer().layer(MustBeReady::new(move |_: Request<()>| async move {
            let mut res = Response::new(Script::new(steps.iter().copied()));
            res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            Ok::<_, Error>(res)
        }));
        let res = service.oneshot(request(path)).await.unwrap();
        assert_eq!(res.headers()[header::CONTENT_TYPE], "application/json");
        let mut body = res.into_body();
        let mut all = Vec::new();
        // Not a poll more once it says that it has ended, as hyper does.
        while !body.is_end_stream() {
            all.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        let is_over = body.frame().await.is_none();
        (serde_json::from_slice(&all).unwrap(), is_over)
    }

    #[tokio::test]
    async fn a_client_that_knows_no_events_gets_an_array_however_it_ends() {
        use Step::{Break, Data};
        let path = "/v1beta/models/m:streamGenerateContent";

        let whole =
            array(&[Data("data: {\"a\":"), Data("1}\r\n\r\n: ping\n\n"), Data("data: 2")], path).await;
        let broken = array(&[Data("data: 1\n\ndata: {\"half"), Break, Data("data: 3\n\n")], path).await;
        let nothing = array(&[], path).await;

        assert_eq!(whole, (serde_json::json!([{ "a": 1 }, 2]), true));
        assert_eq!((&broken.0[0], broken.0.as_array().unwrap().len(), broken.1), (&1.into(), 2, true));
        assert_eq!(broken.0[1]["error"]["status"], "INTERNAL");
        assert_eq!(nothing, (serde_json::json!([]), true));
    }

    #[tokio::test]
    async fn a_service_that_is_never_ready_is_an_error_for_whoever_calls() {
        #[derive(Clone)]
        struct Broken;

        impl Service<Request<()>> for Broken {
            type Response = Response<Script>;
            type Error = Error;
            type Future = std::future::Ready<Result<Response<Script>, Error>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
                Poll::Ready(Err(Error::new(Kind::Overloaded, "full")))
            }

            fn call(&mut self, _: Request<()>) -> Self::Future {
                panic!("called although it was not ready")
            }
        }

        let res = layer().layer(Broken).oneshot(request("/v1/chat/completions")).await.unwrap();

        assert_eq!(res.status(), 503);
    }

    #[tokio::test]
    async fn what_stays_refused_is_not_worth_a_retry() {
        for (kind, should) in [
            (Kind::BudgetExhausted, true),
            (Kind::RunawayLoop, true),
            (Kind::UpstreamAuth, true),
            (Kind::RateLimited, false),
        ] {
            let service = layer().layer(MustBeReady::new(move |_: Request<()>| async move {
                let after = std::time::Duration::from_millis(1500);
                Err::<Response<Script>, _>(Error::new(kind, "no").with_retry_after(after))
            }));

            let res = service.oneshot(request("/v1/messages")).await.unwrap();

            let told = res.headers().get(headers::SHOULD_RETRY).is_some_and(|value| value == "false");
            assert_eq!(told, should, "{kind}");
            assert_eq!(res.headers()["retry-after"], "2");
            assert_eq!(res.headers()["retry-after-ms"], "1500");
        }
    }
}
