//! Comments that keep a stream open while its first event is waited for: [`KeepAliveLayer`].
//!
//! Proxies and clients take a connection on which nothing comes for dead, and a model may think for minutes. With this
//! layer a client that asks for the stream of a chat is sent the head of its answer when it has waited for a while, and
//! then a comment (`: keep-alive`) each time it has waited as long again, until the answer begins.
//!
//! What is sent can't be taken back: an answer that fails after that has the status 200 and ends with an error event in
//! the client's dialect, as [`RenderErrorsLayer`](crate::render_errors::RenderErrorsLayer) writes it, and has none of
//! the headers that name the target. Until then all is as without the layer. It stands inside of
//! [`IngestLayer`](crate::ingest::IngestLayer) and outside of everything that may take long.
//!
//! ```
//! use std::time::Duration;
//!
//! use bartizan::{Error, Exchange, Payload, dialect::OPENAI_CHAT, keep_alive::KeepAliveLayer, payload::Head};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), bartizan::BoxError> {
//! let slow = service_fn(async |_: Request<Payload>| {
//!     tokio::time::sleep(Duration::from_secs(25)).await;
//!     Ok::<_, Error>(Response::new(Full::<Bytes>::from("data: [DONE]\n\n")))
//! });
//! let service = ServiceBuilder::new().layer(KeepAliveLayer::new(Some(Duration::from_secs(10)))).service(slow);
//!
//! let head = Head { stream: true, ..Head::default() };
//! let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default());
//! let answer = service.oneshot(Request::new(payload)).await?;
//!
//! let text = answer.into_body().collect().await?.to_bytes();
//! assert_eq!(text, ": keep-alive\n\n: keep-alive\n\ndata: [DONE]\n\n");
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

use crate::{BoxError, Error, Ingested, Payload, dialect::Codec};

const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Sends comments to clients that wait for a stream; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct KeepAliveLayer {
    every: Option<Duration>,
}

impl KeepAliveLayer {
    /// Lets clients wait for so long without a sign; for ever, if it isn't given.
    pub fn new(every: Option<Duration>) -> Self {
        Self { every }
    }
}

impl<S> Layer<S> for KeepAliveLayer {
    type Service = KeepAlive<S>;

    fn layer(&self, inner: S) -> KeepAlive<S> {
        KeepAlive { inner, every: self.every }
    }
}

/// Middleware of [`KeepAliveLayer`].
#[derive(Clone, Debug)]
pub struct KeepAlive<S> {
    inner: S,
    every: Option<Duration>,
}

/// Whether an answer can only be a stream of events: of other tasks it may be a single body.
fn is_stream(payload: &Payload) -> bool {
    payload.head().stream && payload.dialect().codec().and_then(Codec::chat).is_some()
}

impl<S, B, R> Service<Request<B>> for KeepAlive<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    B: Ingested,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Response = Response<Kept<S::Future, R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let every = self.every.filter(|_| is_stream(req.body().payload()));
        let inner = self.inner.call(req);
        let state = match every {
            None => State::Called { inner },
            Some(every) => State::Waiting { waiting: Some(Waiting::new(inner, every)) },
        };
        ResponseFuture { state, body: std::marker::PhantomData }
    }
}

/// An answer that is waited for.
struct Waiting<F> {
    inner: Pin<Box<F>>,
    alarm: Pin<Box<Sleep>>,
    every: Duration,
}

impl<F: Future> Waiting<F> {
    fn new(inner: F, every: Duration) -> Self {
        Self { inner: Box::pin(inner), alarm: Box::pin(tokio::time::sleep(every)), every }
    }

    /// The answer, or that it is time for a comment.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if let Poll::Ready(answer) = self.inner.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        ready!(self.alarm.as_mut().poll(cx));
        self.alarm.as_mut().reset(Instant::now() + self.every);
        Poll::Ready(None)
    }
}

pin_project! {
    /// Response future of [`KeepAlive`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F>,
        body: std::marker::PhantomData<fn() -> R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] inner: F },
        Waiting { waiting: Option<Waiting<F>> },
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Kept<F, R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const DONE: &str = "a future is not polled after it is ready";
        let answer = match self.project().state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)),
            StateProj::Waiting { waiting } => match ready!(waiting.as_mut().expect(DONE).poll(cx)) {
                Some(answer) => answer,
                None => {
                    let waiting = waiting.take().expect(DONE);
                    return Poll::Ready(Ok(head(Kept { state: Keeps::Waits { waiting, is_due: true } })));
                }
            },
        };
        Poll::Ready(
            answer.map(|res| res.map(|inner| Kept { state: Keeps::Passes { inner } })).map_err(Into::into),
        )
    }
}

/// The head of a stream that has not begun.
fn head<T>(body: T) -> Response<T> {
    let mut res = Response::new(body);
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    res
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// An answer, after comments if it was waited for.
    pub struct Kept<F, R> {
        #[pin]
        state: Keeps<F, R>,
    }
}

pin_project! {
    #[project = KeepsProj]
    enum Keeps<F, R> {
        Passes { #[pin] inner: R },
        Waits { waiting: Waiting<F>, is_due: bool },
        Comes { inner: Pin<Box<R>> },
        Failed,
    }
}

impl<F, R, E> Body for Kept<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                KeepsProj::Passes { inner } => return inner.poll_frame(cx).map(|frame| frame.map(in_a_box)),
                KeepsProj::Comes { inner } => {
                    return inner.as_mut().poll_frame(cx).map(|frame| frame.map(in_a_box));
                }
                KeepsProj::Failed => return Poll::Ready(None),
                KeepsProj::Waits { waiting, is_due } => {
                    if std::mem::take(is_due) {
                        return Poll::Ready(Some(Ok(Frame::data(COMMENT))));
                    }
                    match ready!(waiting.poll(cx)) {
                        None => {
                            *is_due = true;
                            continue;
                        }
                        Some(answer) => answer.map_err(Into::<Error>::into),
                    }
                }
            };
            match next {
                Ok(answer) => state.set(Keeps::Comes { inner: Box::pin(answer.into_body()) }),
                Err(error) => {
                    state.set(Keeps::Failed);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            Keeps::Passes { inner } => inner.is_end_stream(),
            Keeps::Waits { .. } => false,
            Keeps::Comes { inner } => inner.is_end_stream(),
            Keeps::Failed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            Keeps::Passes { inner } => inner.size_hint(),
            Keeps::Comes { inner } => inner.size_hint(),
            Keeps::Waits { .. } | Keeps::Failed => SizeHint::default(),
        }
    }
}

fn in_a_box<E: Into<BoxError>>(frame: Result<Frame<Bytes>, E>) -> Result<Frame<Bytes>, BoxError> {
    frame.map_err(Into::into)
}

impl<F, R> fmt::Debug for Kept<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use http_body_util::BodyExt;
    use tower::{ServiceBuilder, ServiceExt};

    use super::*;
    use crate::{
        Dialect, Exchange, Kind,
        dialect::{ANTHROPIC, Dialects, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, OPENAI_TRANSCRIPTIONS},
        payload::Head,
        render_errors::RenderErrorsLayer,
        testing::{ENDINGS, MustBeReady, Script, Step, is_shared},
    };

    const EVERY: Duration = Duration::from_secs(10);

    fn asked(dialect: &'static dyn Dialect, stream: bool) -> Request<Payload> {
        let head = Head { stream, ..Head::default() };
        Request::new(Payload::new(dialect, head, Bytes::new(), Exchange::default()))
    }

    /// Answers after a time.
    async fn late(seconds: u64, error: Option<Kind>) -> Result<Response<Script>, Error> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        match error {
            Some(kind) => Err(Error::new(kind, "it failed")),
            None => Ok(Response::new(Script::new([Step::Data("data: hi\n\n")]))),
        }
    }

    async fn text<B: Body<Data = Bytes, Error = BoxError>>(res: Response<B>) -> String {
        String::from_utf8(res.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_passes_and_ends_as_it_did() {
        for (every, ending) in ENDINGS.into_iter().flat_map(|ending| [(None, ending), (Some(EVERY), ending)])
        {
            let service = KeepAliveLayer::new(every)
                .layer(MustBeReady::new(move |_: Request<Payload>| ending.answer()));
            is_shared(&service);

            ending.play(service.oneshot(asked(&OPENAI_CHAT, true)), || {}, || {}).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_is_sent_a_comment_each_time() {
        for (seconds, comments) in [(9, 0), (11, 1), (35, 3)] {
            let service =
                KeepAliveLayer::new(Some(EVERY)).layer(MustBeReady::new(move |_| late(seconds, None)));

            let res = service.oneshot(asked(&OPENAI_CHAT, true)).await.unwrap();

            assert_eq!(res.headers().contains_key(header::CONTENT_TYPE), comments > 0);
            assert_eq!(text(res).await, format!("{}data: hi\n\n", ": keep-alive\n\n".repeat(comments)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_stream_of_a_chat_is_waited_for() {
        for req in [asked(&OPENAI_CHAT, false), asked(&OPENAI_TRANSCRIPTIONS, true)] {
            let service = KeepAliveLayer::new(Some(EVERY)).layer(MustBeReady::new(|_| late(60, None)));

            assert_eq!(text(service.oneshot(req).await.unwrap()).await, "data: hi\n\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_before_the_head_is_an_error_and_one_after_it_an_event() {
        for (dialect, path, event) in [
            (&OPENAI_CHAT as &'static dyn Dialect, "/v1/chat/completions", "data: {\"error\":"),
            (&OPENAI_RESPONSES, "/v1/responses", "event: response.failed"),
            (&ANTHROPIC, "/v1/messages", "event: error"),
            (&GEMINI, "/v1beta/models/m:streamGenerateContent?alt=sse", "data: {\"error\":"),
        ] {
            for (seconds, status) in [(5, StatusCode::SERVICE_UNAVAILABLE), (15, StatusCode::OK)] {
                let ingest =
                    MustBeReady::new(move |_: Request<Payload>| late(seconds, Some(Kind::Overloaded)));
                let ingested = KeepAliveLayer::new(Some(EVERY)).layer(ingest);
                let service = ServiceBuilder::new()
                    .layer(RenderErrorsLayer::new(Dialects::default()))
                    .map_request(move |_: Request<()>| asked(dialect, true))
                    .service(ingested);
                let req = Request::builder().method(Method::POST).uri(path).body(()).unwrap();

                let res = service.oneshot(req).await.unwrap();

                let late = res.status() == StatusCode::OK;
                assert!(late || res.status().as_u16() >= 500, "{path}");
                assert_eq!(late, status == StatusCode::OK, "{path}");
                let said = text(res.map(|body| body.map_err(Into::into))).await;
                let is_event =
                    said.strip_prefix(": keep-alive\n\n").is_some_and(|rest| rest.starts_with(event));
                assert_eq!(is_event, late, "{path}: {said}");
                assert!(said.contains("it failed"), "{path}: {said}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_while_it_waits_ends_the_call() {
        let called = std::sync::Arc::new(());
        let holds = called.clone();
        let service = KeepAliveLayer::new(Some(EVERY)).layer(MustBeReady::new(move |_: Request<Payload>| {
            let holds = holds.clone();
            async move {
                let _holds = holds;
                std::future::pending::<Result<Response<Script>, Error>>().await
            }
        }));
        let mut body = Box::pin(service.oneshot(asked(&OPENAI_CHAT, true)).await.unwrap().into_body());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), COMMENT);
        let during = std::sync::Arc::strong_count(&called);

        drop(body);

        assert_eq!((during, std::sync::Arc::strong_count(&called)), (2, 1));
    }
}
