use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::stream::Stream;
use crate::{BoxError, Error, Exchange};

pin_project! {
    /// A response whose errors are written for the client.
    #[derive(Debug)]
    pub struct Rendered<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<R> {
        /// Its length is known or it isn't a stream: a break shows as one.
        Whole { #[pin] inner: R, exchange: Exchange },
        /// A break has to be said in an event.
        Stream { #[pin] inner: R, stream: Stream, over: bool },
        /// An error from the first.
        Error { #[pin] body: Full<Bytes> },
    }
}

impl<R> Rendered<R> {
    pub(super) fn whole(inner: R, exchange: Exchange) -> Self {
        Self { state: State::Whole { inner, exchange } }
    }

    pub(super) fn stream(inner: R, stream: Stream) -> Self {
        Self { state: State::Stream { inner, stream, over: false } }
    }

    pub(super) fn error(body: Bytes) -> Self {
        Self { state: State::Error { body: Full::new(body) } }
    }
}

impl<R> Body for Rendered<R>
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
            StateProj::Whole { inner, exchange } => inner.poll_frame(cx).map_err(|error| {
                let error = Error::from(error.into());
                exchange.fail(&error);
                error.into()
            }),
            StateProj::Error { body } => body.poll_frame(cx).map_err(|never| match never {}),
            StateProj::Stream { over: true, .. } => Poll::Ready(None),
            StateProj::Stream { mut inner, stream, over } => loop {
                let result = match ready!(inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => stream.chunk(data),
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    Some(Err(error)) => Err(Error::from(error.into())),
                    None => {
                        *over = true;
                        return Poll::Ready(stream.end().map(|end| Ok(Frame::data(end))));
                    }
                };
                let data = result.unwrap_or_else(|error| {
                    *over = true;
                    stream.broken(&error)
                });
                if *over || !data.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Whole { inner, .. } => inner.is_end_stream(),
            // The end of an array has to be written.
            State::Stream { inner, over, stream } => *over || !stream.is_array() && inner.is_end_stream(),
            State::Error { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole { inner, .. } => inner.size_hint(),
            State::Stream { .. } => SizeHint::default(),
            State::Error { body } => body.size_hint(),
        }
    }
}
