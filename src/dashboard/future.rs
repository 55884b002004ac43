use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body_util::Either;
use pin_project_lite::pin_project;

use crate::{BoxBody, BoxFuture};

pin_project! {
    /// Response future of [`Dashboard`](super::Dashboard).
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] inner: F },
        Answered { answer: BoxFuture<'static, Response<BoxBody>> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(inner: F) -> Self {
        Self { state: State::Called { inner } }
    }

    pub(super) fn answered(answer: impl Future<Output = Response<BoxBody>> + Send + 'static) -> Self {
        Self { state: State::Answered { answer: Box::pin(answer) } }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, BoxBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Called { inner } => ready!(inner.poll(cx)).map(|answer| answer.map(Either::Left)),
            StateProj::Answered { answer } => Ok(ready!(answer.as_mut().poll(cx)).map(Either::Right)),
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
