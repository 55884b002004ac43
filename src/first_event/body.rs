use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::guard::Guard;
use crate::{BoxError, Error, Kind};

/// What a broken body means.
pub(super) fn broken(error: BoxError) -> Error {
    // An error of the call's own stays what it is; anything else means that the connection broke.
    match error.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(other) => Error::new(Kind::Unreachable, "the provider's answer broke off").with_source(other),
    }
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
    pub(super) enum State<R> {
        Whole { #[pin] body: Full<Bytes> },
        Opaque { held: Bytes, inner: Option<Pin<Box<R>>> },
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

fn poll_opaque<R>(
    held: &mut Bytes,
    inner: &mut Option<Pin<Box<R>>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    if !held.is_empty() {
        return Poll::Ready(Some(Ok(Frame::data(std::mem::take(held)))));
    }
    let Some(body) = inner else { return Poll::Ready(None) };
    let frame = ready!(body.as_mut().poll_frame(cx));
    if !matches!(frame, Some(Ok(_))) {
        *inner = None;
    }
    Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(error.into()).into())))
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
            StateProj::Opaque { held, inner } => return poll_opaque(held, inner, cx),
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
                Some(Err(_)) if guard.is_over() => *inner = None,
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
            State::Opaque { held, inner } => {
                held.is_empty() && inner.as_ref().is_none_or(|body| body.is_end_stream())
            }
            // A failure may still have to be told.
            State::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole { body } => body.size_hint(),
            State::Opaque { .. } | State::Stream { .. } => SizeHint::default(),
        }
    }
}
