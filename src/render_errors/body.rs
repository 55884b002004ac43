use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::{BoxError, Dialect, Error, Exchange, dialect::Sent};

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
        Whole { #[pin] inner: R },
        /// A break has to be said in an event.
        Stream { #[pin] inner: R, dialect: &'static dyn Dialect, exchange: Exchange, sent: Sent, over: bool },
        /// An error from the first.
        Error { #[pin] body: Full<Bytes> },
    }
}

impl<R> Rendered<R> {
    pub(super) fn whole(inner: R) -> Self {
        Self { state: State::Whole { inner } }
    }

    pub(super) fn stream(inner: R, dialect: &'static dyn Dialect, exchange: Exchange) -> Self {
        Self { state: State::Stream { inner, dialect, exchange, sent: Sent::default(), over: false } }
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
            StateProj::Whole { inner } => inner.poll_frame(cx).map_err(Into::into),
            StateProj::Error { body } => body.poll_frame(cx).map_err(|never| match never {}),
            StateProj::Stream { over: true, .. } => Poll::Ready(None),
            StateProj::Stream { inner, dialect, exchange, sent, over } => {
                match ready!(inner.poll_frame(cx)) {
                    Some(Err(error)) => {
                        *over = true;
                        let error = Error::from(error.into());
                        exchange.fail(&error);
                        exchange.broke_off(&error);
                        let event = dialect.error_event_after(&error, exchange.id(), sent);
                        Poll::Ready(Some(Ok(Frame::data(event))))
                    }
                    frame => {
                        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                            sent.last = data.clone();
                            if sent.first.is_empty() {
                                sent.first = data.clone();
                            }
                        }
                        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Whole { inner } => inner.is_end_stream(),
            State::Stream { inner, over, .. } => *over || inner.is_end_stream(),
            State::Error { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole { inner } => inner.size_hint(),
            State::Stream { .. } => SizeHint::default(),
            State::Error { body } => body.size_hint(),
        }
    }
}
