use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use pin_project_lite::pin_project;
use tower::Service;

use super::{FirstEventLayer, guard::Guard};
use crate::{BoxError, BoxFuture, Dialect, Error, Kind, Payload};

/// Middleware of [`FirstEventLayer`].
#[derive(Clone, Debug)]
pub struct FirstEvent<S> {
    inner: S,
    config: FirstEventLayer,
}

impl<S> FirstEvent<S> {
    pub(super) fn new(inner: S, config: FirstEventLayer) -> Self {
        Self { inner, config }
    }
}

impl<S, R> Service<Request<Payload>> for FirstEvent<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error> + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Proven<R>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let (dialect, stream) = (req.body().dialect(), req.body().head().stream);
        let FirstEventLayer { within, limit } = self.config;
        let answer = self.inner.call(req);
        if !stream {
            return Box::pin(whole(answer, dialect, limit));
        }
        Box::pin(async move {
            tokio::time::timeout(within, begun(answer, dialect, limit)).await.unwrap_or_else(|_| {
                Err(Error::new(Kind::Timeout, format!("the provider sent no content within {within:?}")))
            })
        })
    }
}

/// The whole of an answer that isn't a stream.
async fn whole<F, R, E>(
    answer: F,
    dialect: &'static dyn Dialect,
    limit: usize,
) -> Result<Response<Proven<R>>, Error>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = answer.await.map_err(Into::into)?.into_parts();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(error.into()))?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(Error::new(
                Kind::Upstream,
                format!("the provider's answer is larger than {limit} bytes"),
            ));
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    match dialect.error_in_answer(&bytes) {
        Some(error) => Err(error),
        None => {
            // Whatever the provider called it, it is JSON.
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(Response::from_parts(parts, State::Whole { body: Full::new(bytes) }.into()))
        }
    }
}

/// A stream up to its first content.
async fn begun<F, R, E>(
    answer: F,
    dialect: &'static dyn Dialect,
    limit: usize,
) -> Result<Response<Proven<R>>, Error>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let (mut parts, inner) = answer.await.map_err(Into::into)?.into_parts();
    if parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
    {
        return Err(not_a_stream(inner, dialect, limit).await);
    }
    // Pinned where it will stay: the stream outlives this future.
    let mut inner = Box::pin(inner);
    let mut guard = Guard::new(dialect);
    let mut held = BytesMut::new();
    let mut only = Bytes::new();
    while !guard.is_committed() {
        let (events, over) = match inner.frame().await {
            Some(frame) => match frame.map_err(|error| broken(error.into()))?.into_data() {
                Ok(data) => (guard.chunk(data), false),
                Err(_trailers) => continue,
            },
            None => (guard.close(), true),
        };
        if !guard.is_committed() {
            match guard.failure() {
                Some(error) => return Err(error),
                None if over => return Err(empty()),
                None => {}
            }
        }
        // Usually the first chunk has content, and nothing is copied.
        if only.is_empty() && held.is_empty() {
            only = events;
        } else {
            held.extend_from_slice(&std::mem::take(&mut only));
            held.extend_from_slice(&events);
        }
        if held.len() > limit {
            return Err(Error::new(
                Kind::Upstream,
                format!("the provider sent {limit} bytes without content"),
            ));
        }
    }
    let held = if held.is_empty() { only } else { held.freeze() };
    // Layers further out, and clients, tell a stream by its type, which not every provider says.
    if !is_stream(&parts.headers) {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    Ok(Response::from_parts(parts, State::Stream { held, guard, inner: Some(inner) }.into()))
}

fn is_stream(headers: &http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

fn broken(error: BoxError) -> Error {
    // An error of the call's own stays what it is; anything else means that the connection broke.
    match error.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(other) => Error::new(Kind::Unreachable, "the provider's answer broke off").with_source(other),
    }
}

fn empty() -> Error {
    Error::new(Kind::Upstream, "the provider's stream ended before any content")
}

/// A JSON body where a stream was asked for: an error, or a provider that can't stream.
async fn not_a_stream<R>(inner: R, dialect: &'static dyn Dialect, limit: usize) -> Error
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let limited = pin!(http_body_util::Limited::new(inner, limit));
    let said = limited.collect().await.ok().and_then(|body| dialect.error_in_answer(&body.to_bytes()));
    said.unwrap_or_else(|| Error::new(Kind::Upstream, "the provider answered a stream with a single body"))
}

pin_project! {
    /// An answer that has proven itself.
    #[derive(Debug)]
    pub struct Proven<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<R> {
        Whole { #[pin] body: Full<Bytes> },
        /// `None` as soon as it is over: what is further in has ended, and said so, before an error goes
        /// outwards.
        Stream { held: Bytes, guard: Guard, inner: Option<Pin<Box<R>>> },
    }
}

impl<R> From<State<R>> for Proven<R> {
    fn from(state: State<R>) -> Self {
        Self { state }
    }
}

impl<R> Body for Proven<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (held, guard, inner) = match self.project().state.project() {
            StateProj::Whole { body } => return body.poll_frame(cx).map_err(|never| match never {}),
            StateProj::Stream { held, guard, inner } => (held, guard, inner),
        };
        let mut events = std::mem::take(held);
        loop {
            if !events.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(events))));
            }
            if let Some(error) = guard.failure() {
                *inner = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            let Some(provider) = inner else { return Poll::Ready(None) };
            match ready!(provider.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        events = guard.chunk(data);
                    }
                }
                Some(Err(error)) => {
                    *inner = None;
                    return Poll::Ready(Some(Err(broken(error.into()).into())));
                }
                None => {
                    *inner = None;
                    events = guard.close();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Whole { body } => body.is_end_stream(),
            // A failure may still have to be told.
            State::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole { body } => body.size_hint(),
            State::Stream { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use futures_util::{StreamExt, stream};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        Exchange,
        dialect::{ANTHROPIC, OPENAI_CHAT},
        lock,
        payload::Head,
    };

    const HI: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

    /// Sends `chunks`, and then nothing more or the end.
    fn scripted(chunks: &[&str], ends: bool) -> impl Body<Data = Bytes, Error = BoxError> + Send + use<> {
        let frames: Vec<_> =
            chunks.iter().map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk.as_bytes())))).collect();
        let silence = stream::poll_fn(move |_| if ends { Poll::Ready(None) } else { Poll::Pending });
        http_body_util::StreamBody::new(stream::iter(frames).chain(silence))
    }

    /// Asks for a stream whose provider sends `chunks`, and then nothing or the end.
    async fn streamed(
        dialect: &'static dyn Dialect,
        chunks: &[&str],
        ends: bool,
    ) -> Result<Response<Proven<impl Body<Data = Bytes, Error = BoxError>>>, Error> {
        let body = Arc::new(Mutex::new(Some(scripted(chunks, ends))));
        let svc =
            FirstEventLayer::new(Duration::from_secs(20)).layer(service_fn(move |_: Request<Payload>| {
                let body = lock(&body).take().unwrap();
                async { Ok::<_, Infallible>(Response::new(body)) }
            }));
        let head = Head { stream: true, ..Head::default() };
        svc.oneshot(Request::new(Payload::new(dialect, head, Bytes::new(), Exchange::default()))).await
    }

    async fn whole(body: &'static str) -> Result<Bytes, Error> {
        let svc = FirstEventLayer::new(Duration::from_secs(20)).limit(100).layer(service_fn(
            move |_: Request<Payload>| async move {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
            },
        ));
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), Bytes::new(), Exchange::default());
        let res = svc.oneshot(Request::new(payload)).await?;
        Ok(res.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_good_stream_passes_unchanged_however_it_is_cut() {
        let text = [ROLE, ": keep-alive\n\n", HI, STOP, DONE].concat();
        for cut in 1..text.len() {
            let chunks = [&text[..cut], &text[cut..]];

            let res = streamed(&OPENAI_CHAT, &chunks, true).await.unwrap();

            assert_eq!(res.into_body().collect().await.unwrap().to_bytes(), text);
        }
    }

    #[tokio::test]
    async fn an_answer_is_called_what_it_is() {
        let plain = |body: String| {
            service_fn(move |_: Request<Payload>| {
                let mut res = Response::new(Full::<Bytes>::from(body.clone()));
                res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                async { Ok::<_, Infallible>(res) }
            })
        };
        let answer = async |stream: bool, body: String| {
            let head = Head { stream, ..Head::default() };
            let payload = Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default());
            let layer = FirstEventLayer::new(Duration::from_secs(20));
            let res = layer.layer(plain(body)).oneshot(Request::new(payload)).await.unwrap();
            res.headers()[header::CONTENT_TYPE].clone()
        };

        assert_eq!(answer(true, [HI, STOP, DONE].concat()).await, "text/event-stream");
        assert_eq!(answer(false, r#"{"choices":[]}"#.to_owned()).await, "application/json");
    }

    #[tokio::test]
    async fn what_fails_before_content_is_an_error_and_not_an_answer() {
        let refused =
            async |dialect, chunks: &[&str]| streamed(dialect, chunks, true).await.err().unwrap().kind();
        let error = "data: {\"error\":{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}\n\n";

        assert_eq!(refused(&OPENAI_CHAT, &[]).await, Kind::Upstream);
        assert_eq!(refused(&OPENAI_CHAT, &[ROLE, DONE]).await, Kind::Upstream);
        assert_eq!(refused(&OPENAI_CHAT, &[ROLE, error]).await, Kind::RateLimited);
        assert_eq!(refused(&OPENAI_CHAT, &["<html>"]).await, Kind::Upstream);
        assert_eq!(refused(&ANTHROPIC, &[OVERLOADED]).await, Kind::Overloaded);
        assert_eq!(refused(&ANTHROPIC, &[OVERLOADED.trim_end()]).await, Kind::Overloaded);
        assert_eq!(refused(&ANTHROPIC, &["event: content_block_delta\ndata: {\"ty"]).await, Kind::Upstream);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_sends_pings_only_is_late() {
        let late = streamed(&ANTHROPIC, &["event: ping\ndata: {}\n\n"], false).await.err().unwrap();

        assert_eq!(late.kind(), Kind::Timeout);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_after_content_ends_with_an_error() {
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
        let with_error = [delta, OVERLOADED].concat();
        for (chunks, kind) in [
            (vec![delta], Kind::Upstream),
            (vec![delta, "event: content_bl"], Kind::Upstream),
            (vec![delta, "event: content_block_delta\ndata: {\"type"], Kind::Upstream),
            (vec![delta, OVERLOADED], Kind::Overloaded),
            (vec![&*with_error], Kind::Overloaded),
        ] {
            let mut body = streamed(&ANTHROPIC, &chunks, true).await.unwrap().into_body();

            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let rest = body.frame().await.unwrap();

            assert_eq!(first, delta);
            assert_eq!(Error::from(rest.unwrap_err()).kind(), kind);
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_whole_answer_must_be_json_without_an_error() {
        assert_eq!(whole(r#" {"id":"x","error":null}"#).await.unwrap(), r#" {"id":"x","error":null}"#);
        assert_eq!(whole("").await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(whole("<html>").await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(whole(r#"{"id":"#).await.unwrap_err().kind(), Kind::Upstream);
        assert_eq!(
            whole(r#"{"error":{"code":503,"message":"x"}}"#).await.unwrap_err().kind(),
            Kind::Overloaded
        );
        assert!(whole(concat!("{\"x\":\"", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"}")).await.is_err());
    }
}
