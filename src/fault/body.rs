use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::{
    BoxError, Error, Kind,
    body::{Framing, Splitter},
};

pin_project! {
    /// The answer of a provider, or what stands in its place.
    #[derive(Debug)]
    pub struct Faulted<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<R> {
        Passes { #[pin] inner: R },
        Says { #[pin] said: Full<Bytes> },
        // So many events are still to come.
        Cut { #[pin] inner: R, events: Splitter, left: usize },
    }
}

impl<R> Faulted<R> {
    pub(super) fn passes(inner: R) -> Self {
        Self { state: State::Passes { inner } }
    }

    pub(super) fn says(said: Bytes) -> Self {
        Self { state: State::Says { said: Full::new(said) } }
    }

    pub(super) fn cut(inner: R, framing: Framing, events: usize) -> Self {
        Self { state: State::Cut { inner, events: Splitter::new(framing), left: events } }
    }
}

impl<R> Body for Faulted<R>
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
            StateProj::Passes { inner } => {
                inner.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            StateProj::Says { said } => {
                said.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            StateProj::Cut { inner, events, left } => cut(inner, events, left, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Passes { inner } => inner.is_end_stream(),
            State::Says { said } => said.is_end_stream(),
            State::Cut { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Passes { inner } => inner.size_hint(),
            State::Says { said } => said.size_hint(),
            State::Cut { .. } => SizeHint::default(),
        }
    }
}

/// The next event, as long as there is to be one.
fn cut<R>(
    mut inner: Pin<&mut R>,
    events: &mut Splitter,
    left: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    loop {
        let Some(rest) = left.checked_sub(1) else {
            let broken = Error::new(Kind::Unreachable, "the provider's answer broke off, on purpose");
            return Poll::Ready(Some(Err(broken.into())));
        };
        if let Some(event) = events.next_event() {
            *left = rest;
            return Poll::Ready(Some(Ok(Frame::data(event.raw))));
        }
        match std::task::ready!(inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => events.push(data)?,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            // It was shorter than that.
            None => return Poll::Ready(events.finish().map(|event| Ok(Frame::data(event.raw)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::testing::{Script, Step};

    async fn play(events: usize) -> (String, bool) {
        let steps = [Step::Data("data: 1\n\nda"), Step::Data("ta: 2\n\ndata: 3\n\n")];
        let mut body = std::pin::pin!(Faulted::cut(Script::new(steps), Framing::Sse, events));
        let mut text = String::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap(),
                Err(_) => return (text, true),
            }
        }
        (text, false)
    }

    #[tokio::test]
    async fn it_breaks_after_so_many_events_however_they_came() {
        assert_eq!(play(0).await, (String::new(), true));
        assert_eq!(play(1).await, ("data: 1\n\n".into(), true));
        assert_eq!(play(2).await, ("data: 1\n\ndata: 2\n\n".into(), true));
        assert_eq!(play(4).await, ("data: 1\n\ndata: 2\n\ndata: 3\n\n".into(), false));
    }
}
