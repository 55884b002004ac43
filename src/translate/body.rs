use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::undo::UndoStream;
use crate::{
    BoxError, Dialect, Error,
    body::{Framing, Splitter, sse::Event},
};

pin_project! {
    /// An answer in the client's dialect.
    #[derive(Debug)]
    pub struct Translated<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<R> {
        /// The provider's own words.
        Native { #[pin] inner: R },
        /// The same without the counts that only the gateway has asked for.
        Filtered { #[pin] inner: Option<R>, events: Splitter, filter: Filter, out: BytesMut, rest: Rest },
        /// A whole answer, translated.
        Whole { #[pin] body: Full<Bytes> },
        /// A stream, translated as it passes.
        Stream { #[pin] inner: Option<R>, events: Splitter, stream: UndoStream, out: BytesMut, rest: Rest },
    }
}

#[derive(Debug)]
struct Filter(&'static dyn Dialect);

/// What is to be expected of the provider.
#[derive(Debug)]
enum Rest {
    More,
    /// It failed; what was understood before goes out first.
    Failed(Error),
    Over,
}

impl<R> Translated<R> {
    pub(super) fn native(inner: R) -> Self {
        Self { state: State::Native { inner } }
    }

    pub(super) fn filtered(inner: R, dialect: &'static dyn Dialect) -> Self {
        let (events, out) = (Splitter::new(dialect.framing()), BytesMut::new());
        Self {
            state: State::Filtered {
                inner: Some(inner),
                events,
                filter: Filter(dialect),
                out,
                rest: Rest::More,
            },
        }
    }

    pub(super) fn whole(body: Bytes) -> Self {
        Self { state: State::Whole { body: Full::new(body) } }
    }

    pub(super) fn stream(inner: R, framing: Framing, stream: UndoStream) -> Self {
        let (events, out) = (Splitter::new(framing), BytesMut::new());
        Self { state: State::Stream { inner: Some(inner), events, stream, out, rest: Rest::More } }
    }
}

/// What happens to the events of a stream.
trait Rewrite {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), Error>;

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Error>;
}

impl Rewrite for Filter {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), Error> {
        if let Some(event) = self.0.without_usage(event) {
            out.extend_from_slice(&event);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut BytesMut) -> Result<(), Error> {
        Ok(())
    }
}

impl Rewrite for UndoStream {
    fn event(&mut self, event: &Event, out: &mut BytesMut) -> Result<(), Error> {
        self.event(event, out)
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<(), Error> {
        self.finish(out)
    }
}

fn poll_rewritten<R>(
    mut inner: Pin<&mut Option<R>>,
    cx: &mut Context<'_>,
    events: &mut Splitter,
    rewrite: &mut impl Rewrite,
    out: &mut BytesMut,
    rest: &mut Rest,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    loop {
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(out.split().freeze()))));
        }
        let Some(provider) = inner.as_mut().as_pin_mut() else {
            return Poll::Ready(match std::mem::replace(rest, Rest::Over) {
                Rest::Failed(error) => Some(Err(error.into())),
                Rest::More | Rest::Over => None,
            });
        };
        let result = match ready!(provider.poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => rewrite_chunk(events, data, rewrite, out),
                Err(_trailers) => continue,
            },
            Some(Err(error)) => Err(Error::from(error.into())),
            None => {
                inner.set(None);
                *rest = Rest::Over;
                let last = events.finish();
                last.map_or(Ok(()), |event| rewrite.event(&event, out)).and_then(|()| rewrite.finish(out))
            }
        };
        if let Err(error) = result {
            // What is further in has to have ended, and said so, before its error goes outwards.
            inner.set(None);
            *rest = Rest::Failed(error);
        }
    }
}

fn rewrite_chunk(
    events: &mut Splitter,
    chunk: Bytes,
    rewrite: &mut impl Rewrite,
    out: &mut BytesMut,
) -> Result<(), Error> {
    events.push(chunk)?;
    while let Some(event) = events.next_event() {
        rewrite.event(&event, out)?;
    }
    events.check()
}

impl<R> Body for Translated<R>
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
        match self.project().state.project() {
            StateProj::Native { inner } => inner.poll_frame(cx).map_err(Into::into),
            StateProj::Whole { body } => body.poll_frame(cx).map_err(|never| match never {}),
            StateProj::Filtered { inner, events, filter, out, rest } => {
                poll_rewritten(inner, cx, events, filter, out, rest)
            }
            StateProj::Stream { inner, events, stream, out, rest } => {
                poll_rewritten(inner, cx, events, stream, out, rest)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Native { inner } => inner.is_end_stream(),
            State::Whole { body } => body.is_end_stream(),
            State::Filtered { out, rest, .. } | State::Stream { out, rest, .. } => {
                matches!(rest, Rest::Over) && out.is_empty()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Native { inner } => inner.size_hint(),
            State::Whole { body } => body.size_hint(),
            State::Filtered { .. } | State::Stream { .. } => SizeHint::default(),
        }
    }
}
