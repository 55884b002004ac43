use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;

use crate::BoxFuture;

pin_project! {
    /// Response future of layers that answer some requests by themselves.
    pub struct Answering<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, E> {
        Called { #[pin] inner: F },
        Waiting { answer: BoxFuture<'static, Result<Response<Full<Bytes>>, E>> },
        Answered { answer: Option<Result<Response<Full<Bytes>>, E>> },
    }
}

impl<F, E> Answering<F, E> {
    /// The request goes inwards; this is the inner service's answer.
    pub fn called(inner: F) -> Self {
        Self { state: State::Called { inner } }
    }

    /// The layer answers with this JSON text.
    pub fn json(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self { state: State::Answered { answer: Some(Ok(json(status, text))) } }
    }

    /// The layer will answer.
    pub fn waiting(answer: BoxFuture<'static, Result<Response<Full<Bytes>>, E>>) -> Self {
        Self { state: State::Waiting { answer } }
    }

    /// The layer refuses.
    pub fn refused(error: E) -> Self {
        Self { state: State::Answered { answer: Some(Err(error)) } }
    }
}

/// An answer with this JSON text.
pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl<F, R, E, G> Future for Answering<F, E>
where
    F: Future<Output = Result<Response<R>, G>>,
    G: Into<E>,
{
    type Output = Result<Response<Either<R, Full<Bytes>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProj::Called { inner } => match ready!(inner.poll(cx)) {
                Ok(answer) => Ok(answer.map(Either::Left)),
                Err(error) => Err(error.into()),
            },
            StateProj::Waiting { answer } => {
                ready!(answer.as_mut().poll(cx)).map(|res| res.map(Either::Right))
            }
            StateProj::Answered { answer } => answer
                .take()
                .expect("a future is not polled after it is ready")
                .map(|res| res.map(Either::Right)),
        })
    }
}

impl<F, E> fmt::Debug for Answering<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}
