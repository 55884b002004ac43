use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

use super::held::Held;
use crate::BoxFuture;

pin_project! {
    /// A body that is read to its end even when it is dropped before.
    pub struct DrainBody<R> {
        #[pin]
        state: State<R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<R> {
        /// Dropped as usual.
        Plain { #[pin] inner: R },
        Kept { held: Held<R> },
    }
}

impl<R> DrainBody<R> {
    /// Continues what `call` has begun. Only a body that is worth it goes into a box.
    pub(super) fn new<F>(body: R, call: &Held<F>) -> Self
    where
        R: Body + Send + 'static,
    {
        let is_kept = !body.is_end_stream() && call.exchange.learn(|learnt| learnt.drain);
        let state = if is_kept {
            let held = Held::new(body, finish, call.exchange.clone(), call.places.clone());
            State::Kept { held }
        } else {
            State::Plain { inner: body }
        };
        Self { state }
    }
}

pub(super) fn finish<R>(mut body: Pin<Box<R>>) -> BoxFuture<'static, ()>
where
    R: Body + Send + 'static,
{
    Box::pin(async move { while let Some(Ok(_)) = body.frame().await {} })
}

impl<R: Body> Body for DrainBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let held = match self.project().state.project() {
            StateProj::Plain { inner } => return inner.poll_frame(cx),
            StateProj::Kept { held } => held,
        };
        let Some(rest) = &mut held.rest else {
            return Poll::Ready(None);
        };
        let frame = ready!(rest.as_mut().poll_frame(cx));
        let is_over = match &frame {
            // hyper does not poll again once the length is reached.
            Some(Ok(_)) => rest.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if is_over {
            held.rest = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Plain { inner } => inner.is_end_stream(),
            State::Kept { held } => held.rest.as_ref().is_none_or(|rest| rest.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Plain { inner } => inner.size_hint(),
            State::Kept { held } => {
                held.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint())
            }
        }
    }
}

impl<R> fmt::Debug for DrainBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainBody").finish_non_exhaustive()
    }
}
