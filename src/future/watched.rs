use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{
    BoxFuture, Error,
    body::{End, Followed, Observe, OnEnd},
};

pin_project! {
    /// Response future of layers that let a request in and watch its answer to the end.
    ///
    /// The watch moves into the body with the head of the answer; a future dropped before that is
    /// [`End::Aborted`], an error instead of an answer is [`End::Failed`].
    pub struct Watched<F, O: Observe, R> {
        #[pin]
        state: State<F, O, R>,
    }
}

pin_project! {
    // Field order matters: `inner` drops first, so inner observers have reported before this one is
    // told that the client left.
    #[project = StateProj]
    enum State<F, O: Observe, R> {
        Called { #[pin] inner: F, watch: Option<OnEnd<O>> },
        Waiting { future: BoxFuture<'static, Result<Response<Followed<R, O>>, Error>> },
        Refused { error: Option<Error> },
    }
}

impl<F, O: Observe, R> Watched<F, O, R> {
    /// The request was let in; `watch` follows the inner service's answer.
    pub fn called(inner: F, watch: OnEnd<O>) -> Self {
        Self { state: State::Called { inner, watch: Some(watch) } }
    }

    /// The decision takes time; it and the inner call are one future.
    pub fn waiting(future: BoxFuture<'static, Result<Response<Followed<R, O>>, Error>>) -> Self {
        Self { state: State::Waiting { future } }
    }

    /// The request was refused.
    pub fn refused(error: Error) -> Self {
        Self { state: State::Refused { error: Some(error) } }
    }
}

impl<F, O, R, E> Future for Watched<F, O, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    O: Observe,
    R: Body,
{
    type Output = Result<Response<Followed<R, O>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const DONE: &str = "a future is not polled after it is ready";
        Poll::Ready(match self.project().state.project() {
            StateProj::Called { inner, watch } => {
                let answer = ready!(inner.poll(cx));
                let watch = watch.take().expect(DONE);
                match answer {
                    Ok(answer) => Ok(answer.map(|body| watch.follow(body))),
                    Err(error) => {
                        watch.finish(End::Failed);
                        Err(error.into())
                    }
                }
            }
            StateProj::Waiting { future } => ready!(future.as_mut().poll(cx)),
            StateProj::Refused { error } => Err(error.take().expect(DONE)),
        })
    }
}

impl<F, O: Observe, R> fmt::Debug for Watched<F, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
