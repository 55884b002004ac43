use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::array::Array;
use crate::{BoxError, Dialect, Error, Exchange};

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
        Stream {
            #[pin] inner: R,
            dialect: &'static dyn Dialect,
            exchange: Exchange,
            array: Option<Array>,
            over: bool,
        },
        /// An error from the first.
        Error { #[pin] body: Full<Bytes> },
    }
}

impl<R> Rendered<R> {
    pub(super) fn whole(inner: R) -> Self {
        Self { state: State::Whole { inner } }
    }

    pub(super) fn stream(
        inner: R,
        dialect: &'static dyn Dialect,
        exchange: Exchange,
        array: Option<Array>,
    ) -> Self {
        Self { state: State::Stream { inner, dialect, exchange, array, over: false } }
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
            StateProj::Stream { mut inner, dialect, exchange, array, over } => loop {
                let result = match ready!(inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => match (array.as_mut(), frame.into_data()) {
                        (Some(array), Ok(data)) => array.chunk(data),
                        (None, Ok(data)) => Ok(data),
                        (_, Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    Some(Err(error)) => Err(Error::from(error.into())),
                    None => {
                        *over = true;
                        let end = array.as_mut().map(Array::end);
                        return Poll::Ready(end.map(|end| Ok(Frame::data(end))));
                    }
                };
                return Poll::Ready(Some(Ok(Frame::data(match result {
                    Ok(data) if data.is_empty() && array.is_some() => continue,
                    Ok(data) => data,
                    Err(error) => {
                        *over = true;
                        exchange.fail(&error);
                        exchange.broke_off(&error);
                        let event = dialect.error_event(&error, exchange.id());
                        array.as_mut().map_or(event.clone(), |array| array.broken(event))
                    }
                }))));
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Whole { inner } => inner.is_end_stream(),
            // The end of an array has to be written.
            State::Stream { inner, over, array, .. } => *over || array.is_none() && inner.is_end_stream(),
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
