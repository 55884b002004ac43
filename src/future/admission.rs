use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{BoxFuture, Error};

pin_project! {
    /// Response future of layers that decide before they call.
    ///
    /// A decision that needs no waiting costs no allocation: the inner future lies in here.
    pub struct Admission<F, T> {
        #[pin]
        state: State<F, T>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, T> {
        Called { #[pin] inner: F },
        Waiting { future: BoxFuture<'static, Result<T, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, T> Admission<F, T> {
    /// The request was let in; this is the inner service's answer.
    pub fn called(inner: F) -> Self {
        Self { state: State::Called { inner } }
    }

    /// The decision takes time; it and the inner call are one future.
    pub fn waiting(future: BoxFuture<'static, Result<T, Error>>) -> Self {
        Self { state: State::Waiting { future } }
    }

    /// The request was refused.
    pub fn refused(error: Error) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }
}

impl<F, T, E> Future for Admission<F, T>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { inner } => Poll::Ready(ready!(inner.poll(cx)).map_err(Into::into)),
            StateProj::Waiting { future } => future.as_mut().poll(cx),
            StateProj::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}

impl<F, T> fmt::Debug for Admission<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
