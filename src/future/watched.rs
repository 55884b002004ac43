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

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{
        lock,
        testing::{ENDINGS, Ending, Script, poll_once},
    };

    struct Name(&'static str, Arc<Mutex<Vec<(&'static str, End)>>>);

    impl Observe for Name {
        fn end(self, end: End) {
            lock(&self.1).push((self.0, end));
        }
    }

    #[test]
    fn inner_observers_report_first_when_the_client_leaves() {
        let seen = Arc::default();
        let inner = OnEnd::new(Name("inner", Arc::clone(&seen)));
        let outer = OnEnd::new(Name("outer", seen.clone()));
        let call = async {
            let _inner = inner;
            pending::<Result<Response<Script>, Error>>().await
        };

        let mut answer = Box::pin(Watched::called(call, outer));
        assert!(poll_once(&mut answer).is_pending());
        drop(answer);

        assert_eq!(*lock(&seen), [("inner", End::Aborted), ("outer", End::Aborted)]);
    }

    #[tokio::test]
    async fn each_end_is_told_once_and_by_its_name() {
        for ending in ENDINGS {
            let seen = Arc::default();
            let watch = OnEnd::new(Name("it", Arc::clone(&seen)));
            let expected = match ending {
                Ending::Complete | Ending::KnownLength => End::Complete,
                Ending::Broken | Ending::Refused => End::Failed,
                Ending::DroppedAfterFrame | Ending::DroppedBeforeHead => End::Aborted,
            };

            let during = || assert_eq!(*lock(&seen), [], "{ending:?}");
            let after = || assert_eq!(*lock(&seen), [("it", expected)], "{ending:?}");
            ending.play(Watched::called(ending.answer(), watch), during, after).await;

            assert_eq!(lock(&seen).len(), 1, "{ending:?}");
        }
    }
}
