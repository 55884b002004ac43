use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::body::Translated;
use crate::{BoxFuture, Dialect, Error};

pin_project! {
    /// Response future of [`Translate`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    /// Who answers.
    pub(super) enum State<F, R> {
        // The provider, in the client's dialect; counts that it didn't ask for are taken out of a stream by `filter`.
        Native { #[pin] inner: F, filter: Option<&'static dyn Dialect> },
        // The provider, in another one.
        Foreign { answer: BoxFuture<'static, Result<Response<Translated<R>>, Error>> },
        // The gateway itself.
        Own { answer: Option<Result<Response<Translated<R>>, Error>> },
    }
}

impl<F, R> From<State<F, R>> for ResponseFuture<F, R> {
    fn from(state: State<F, R>) -> Self {
        Self { state }
    }
}

impl<F, R> std::fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Translated<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Native { inner, filter } => {
                let res = ready!(inner.poll(cx)).map_err(Into::into)?;
                Poll::Ready(Ok(res.map(|inner| match filter.take() {
                    Some(dialect) => Translated::filtered(inner, dialect),
                    None => Translated::native(inner),
                })))
            }
            StateProj::Foreign { answer } => answer.as_mut().poll(cx),
            StateProj::Own { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is ready"))
            }
        }
    }
}
