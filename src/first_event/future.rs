use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header, response::Parts};
use http_body::Body;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::{
    Proven,
    body::{State, broken},
    guard::Guard,
};
use crate::{
    BoxError, Dialect, Error, Kind, Payload,
    body::Framing,
    dialect::{Codec, streamed},
    headers,
};

pin_project! {
    /// Response future of [`FirstEvent`](super::FirstEvent).
    #[derive(Debug)]
    pub struct ResponseFuture<F, R> {
        #[pin]
        answer: F,
        // Once the head is here.
        proof: Option<Proof<R>>,
        asked: Asked,
        limit: usize,
        is_opaque: bool,
        takes_whole: bool,
        // For streams only: a whole answer may take as long as what is further out allows.
        until: Option<Until>,
    }
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) dialect: &'static dyn Dialect,
    /// The request, if it is one for a stream: a whole answer is made one.
    pub(super) stream: Option<Payload>,
}

/// When a stream has to have brought content.
#[derive(Debug)]
struct Until {
    within: Duration,
    at: Instant,
    /// Made when the provider is waited for the first time.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What is here of an answer.
#[derive(Debug)]
struct Proof<R> {
    parts: Parts,
    // Pinned where it will stay: a stream outlives this future.
    body: Pin<Box<R>>,
    kind: Kinds,
    held: Held,
}

#[derive(Debug)]
enum Kinds {
    Whole,
    /// Sound or text, of which nothing can be told but that it is there.
    Opaque,
    Stream(Guard),
    /// A single body where a stream was asked for, which becomes one.
    NotAStream,
}

impl<F, R> ResponseFuture<F, R> {
    pub(super) fn new(
        answer: F,
        asked: Asked,
        takes_whole: bool,
        is_opaque: bool,
        within: Duration,
        limit: usize,
    ) -> Self {
        let until =
            asked.stream.is_some().then(|| Until { within, at: Instant::now() + within, alarm: None });
        Self { answer, proof: None, asked, limit, is_opaque, takes_whole, until }
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<Proven<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut until = this.until.as_mut();
        if this.proof.is_none() {
            let Poll::Ready(answer) = this.answer.poll(cx) else { return wait(until, cx) };
            let (parts, body) = answer.map_err(Into::into)?.into_parts();
            let kind = match until {
                // Whatever was asked for, JSON may hold an error.
                None if *this.is_opaque && !headers::is_json(&parts.headers) => Kinds::Opaque,
                None => Kinds::Whole,
                Some(_) if headers::is_json(&parts.headers) => {
                    if *this.takes_whole {
                        Kinds::Whole
                    } else {
                        Kinds::NotAStream
                    }
                }
                Some(_) => Kinds::Stream(Guard::new(this.asked.dialect)),
            };
            *this.proof = Some(Proof { parts, body: Box::pin(body), kind, held: Held::default() });
            until = this.until.as_mut();
        }
        let Some(proof) = this.proof else { return Poll::Pending };
        match proof.poll(cx, *this.limit) {
            Poll::Pending => wait(until, cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let proof = this.proof.take().expect("it was there a moment ago");
                Poll::Ready(proof.judge(this.asked))
            }
        }
    }
}

fn wait<T>(until: Option<&mut Until>, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
    let Some(Until { within, at, alarm }) = until else { return Poll::Pending };
    let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*at)));
    ready!(alarm.as_mut().poll(cx));
    Poll::Ready(Err(Error::new(Kind::Timeout, format!("the provider sent no content within {within:?}"))))
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

impl<R> Proof<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    /// Reads until the answer can be judged.
    fn poll(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), Error>> {
        loop {
            let chunk = match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(data),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => return Poll::Ready(Err(broken(error.into()))),
                None => None,
            };
            let over = chunk.is_none();
            match &mut self.kind {
                Kinds::Whole | Kinds::NotAStream => self.held.push(chunk.unwrap_or_default(), limit)?,
                Kinds::Opaque => {
                    let chunk = chunk.unwrap_or_default();
                    let has_begun = !chunk.is_empty();
                    self.held.push(chunk, limit)?;
                    if has_begun {
                        return Poll::Ready(Ok(()));
                    }
                }
                Kinds::Stream(guard) => {
                    let events = match chunk {
                        Some(chunk) => guard.chunk(chunk),
                        None => guard.close(),
                    };
                    if guard.is_committed() {
                        self.held.push(events, limit)?;
                        return Poll::Ready(Ok(()));
                    }
                    if let Some(error) = guard.failure() {
                        return Poll::Ready(Err(error));
                    }
                    if over {
                        return Poll::Ready(Err(Error::new(
                            Kind::Upstream,
                            "the provider's stream ended before any content",
                        )));
                    }
                    self.held.push(events, limit)?;
                }
            }
            if over {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn judge(self, asked: &mut Asked) -> Result<Response<Proven<R>>, Error> {
        let dialect = asked.dialect;
        let Self { mut parts, body, kind, held } = self;
        let held = held.into_bytes();
        // Layers further out, and clients, go by the type, which not every provider says.
        let state = match kind {
            Kinds::Stream(guard) => {
                if !is_stream(&parts.headers) {
                    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                }
                State::Stream { held, guard, inner: Some(body) }
            }
            Kinds::Opaque => State::Opaque { held, inner: Some(body) },
            Kinds::Whole => {
                if let Some(error) = dialect.error_in_answer(&held) {
                    return Err(error);
                }
                parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                State::Whole { body: Full::new(held) }
            }
            Kinds::NotAStream => {
                if let Some(error) = dialect.error_in_answer(&held) {
                    return Err(error);
                }
                match (dialect.codec(), asked.stream.take()) {
                    (Some(Codec::Chat(codec)), Some(asked)) if dialect.framing() == Framing::Sse => {
                        parts.headers.remove(header::CONTENT_LENGTH);
                        let events = HeaderValue::from_static("text/event-stream");
                        parts.headers.insert(header::CONTENT_TYPE, events);
                        State::Whole { body: Full::new(streamed(codec, &held, asked)?) }
                    }
                    // Some models take no notice of the wish, and clients of such endpoints know them.
                    (None, _) => State::Whole { body: Full::new(held) },
                    (Some(_), _) => {
                        let message = "the provider answered a stream with a single body";
                        return Err(Error::new(Kind::Upstream, message));
                    }
                }
            }
        };
        Ok(Response::from_parts(parts, state.into()))
    }
}

/// What is held back. What comes in one piece, as most does, is not copied.
#[derive(Debug, Default)]
struct Held {
    first: Bytes,
    more: BytesMut,
}

impl Held {
    fn push(&mut self, piece: Bytes, limit: usize) -> Result<(), Error> {
        if self.first.len() + self.more.len() + piece.len() > limit {
            let message = format!("the provider's answer is larger than {limit} bytes");
            return Err(Error::new(Kind::Upstream, message));
        }
        if self.first.is_empty() && self.more.is_empty() {
            self.first = piece;
        } else {
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
            self.more.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}
