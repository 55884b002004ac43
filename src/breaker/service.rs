use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{
    Breaker,
    state::{Outcome, Pass},
};
use crate::{
    Error, Kind,
    auth::ProviderKey,
    body::{End, Followed, Observe, OnEnd},
};

/// Middleware of [`BreakerLayer`](super::BreakerLayer).
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    pub(super) inner: S,
    pub(super) breaker: Breaker,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body,
{
    type Response = Response<Followed<R, Watch>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        // Whoever brings a key has an account of its own, which says nothing of that of all others.
        let is_own = req.extensions().get::<ProviderKey>().is_some();
        let counted = if is_own { Ok(None) } else { self.breaker.admit().map(Some) };
        let state = match counted {
            Ok(pass) => {
                let counted = pass.map(|pass| Counted::new(self.breaker.clone(), pass));
                State::Called { inner: self.inner.call(req), watch: Some(OnEnd::new(Watch(counted))) }
            }
            Err(error) => State::Refused { error: Some(error) },
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// Response future of [`Guarded`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    // Field order matters: `inner` drops first, as the client leaves.
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Called { #[pin] inner: F, watch: Option<OnEnd<Watch>> },
        Refused { error: Option<Error> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body,
{
    type Output = Result<Response<Followed<R, Watch>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const DONE: &str = "a future is not polled after it is ready";
        Poll::Ready(match self.project().state.project() {
            StateProj::Refused { error } => Err(error.take().expect(DONE)),
            StateProj::Called { inner, watch } => {
                let answer = ready!(inner.poll(cx)).map_err(Into::into);
                let mut watch = watch.take().expect(DONE);
                if let Some(Watch(Some(counted))) = watch.get_mut() {
                    counted.head(answer.as_ref().err());
                }
                match answer {
                    Ok(answer) => Ok(answer.map(|body| watch.follow(body))),
                    Err(error) => {
                        watch.finish(End::Failed);
                        Err(error)
                    }
                }
            }
        })
    }
}

/// Tells the breaker what becomes of one request, if that counts.
#[derive(Debug)]
pub struct Watch(Option<Counted>);

#[derive(Debug)]
struct Counted {
    breaker: Breaker,
    pass: Pass,
    begun: Instant,
    head: Head,
}

/// What is known of the answer by its head.
#[derive(Debug)]
enum Head {
    NotYet,
    Here {
        slowly: bool,
    },
    /// Instead of one there was an error, which is the target's fault or not.
    Refused(Option<Outcome>),
}

impl Counted {
    fn new(breaker: Breaker, pass: Pass) -> Self {
        Self { breaker, pass, begun: Instant::now(), head: Head::NotYet }
    }

    fn head(&mut self, error: Option<&Error>) {
        self.head = match error {
            Some(error) => Head::Refused(fault(error)),
            None => {
                self.breaker.answers(&self.pass);
                let slow = self.breaker.rules().slow.unwrap_or(Duration::MAX);
                Head::Here { slowly: self.begun.elapsed() > slow }
            }
        };
    }
}

impl Observe for Watch {
    fn end(self, end: End) {
        if let Some(counted) = self.0 {
            counted.end(end);
        }
    }
}

impl Counted {
    fn end(self, end: End) {
        let outcome = match (self.head, end) {
            (Head::Refused(Some(fault)), _) => fault,
            // The gateway has refused it, or the client was wrong: the target may be well.
            (Head::NotYet | Head::Refused(None), _) => return self.breaker.left(&self.pass),
            (Head::Here { .. }, End::Failed) => Outcome::Failed { kind: Kind::Upstream, retry_after: None },
            (Head::Here { slowly }, End::Complete | End::Aborted) => Outcome::Answered { slowly },
        };
        self.breaker.report(&self.pass, outcome);
    }
}

/// What the target is to blame for.
fn fault(error: &Error) -> Option<Outcome> {
    let is_targets = match error.kind() {
        // Other keys of the target may be well, and the pool leaves out the one that isn't.
        _ if error.is_elsewhere() => false,
        Kind::Unreachable | Kind::Timeout | Kind::Upstream => true,
        // Without a reply these are said by a layer of the gateway.
        Kind::Overloaded | Kind::RateLimited | Kind::UpstreamAuth | Kind::Billing => error.reply().is_some(),
        _ => false,
    };
    is_targets.then(|| Outcome::Failed { kind: error.kind(), retry_after: error.retry_after() })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        breaker::{BreakerLayer, Rules},
        error::Reply,
        secret::Secret,
        testing::{ENDINGS, Ending, MustBeReady, Script, is_shared},
    };

    fn breaker() -> Breaker {
        Breaker::new("a/b", Rules { in_a_row: 1, ..Rules::default() })
    }

    fn failures(breaker: &Breaker) -> u32 {
        breaker.standing().failures_in_a_row
    }

    #[tokio::test]
    async fn an_answer_passes_and_its_end_is_told() {
        for ending in ENDINGS {
            let breaker = breaker();
            let service = BreakerLayer::new(breaker.clone())
                .layer(MustBeReady::new(move |_: Request<()>| ending.answer()));
            is_shared(&service);

            let during = || assert_eq!(failures(&breaker), 0, "{ending:?}");
            ending.play(service.oneshot(Request::new(())), during, || {}).await;

            let expected = u32::from(matches!(ending, Ending::Broken | Ending::Refused));
            assert_eq!(failures(&breaker), expected, "{ending:?}");
        }
    }

    async fn refused(error: impl Fn() -> Error + Clone + Send + Sync + 'static) -> Breaker {
        let breaker = breaker();
        let service = BreakerLayer::new(breaker.clone()).layer(MustBeReady::new(move |_: Request<()>| {
            let error = error();
            async move { Err::<Response<Script>, _>(error) }
        }));
        assert!(service.oneshot(Request::new(())).await.is_err());
        breaker
    }

    #[tokio::test]
    async fn only_what_is_the_targets_fault_counts() {
        let reply =
            |status| Reply { status, headers: HeaderMap::new(), body: "{}".into(), dialect: "openai-chat" };
        for kind in [Kind::InvalidRequest, Kind::ContentFiltered, Kind::ContextTooLong, Kind::NoRoute] {
            let error = move || Error::new(kind, "").with_reply(reply(StatusCode::BAD_REQUEST));
            assert_eq!(failures(&refused(error).await), 0, "{kind}");
        }
        for kind in [Kind::Overloaded, Kind::RateLimited, Kind::UpstreamAuth, Kind::Billing] {
            let of_target = move || Error::new(kind, "").with_reply(reply(StatusCode::SERVICE_UNAVAILABLE));

            assert_eq!(failures(&refused(of_target).await), 1, "{kind}");
            assert_eq!(failures(&refused(move || Error::new(kind, "")).await), 0, "{kind} of the gateway");
        }
        for kind in [Kind::Unreachable, Kind::Timeout, Kind::Upstream] {
            assert_eq!(failures(&refused(move || Error::new(kind, "")).await), 1, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_one_calls_nobody_until_its_probe_is_answered() {
        let breaker = breaker();
        let failing = BreakerLayer::new(breaker.clone())
            .layer(MustBeReady::new(|_: Request<()>| Ending::Refused.answer()));
        let answering = BreakerLayer::new(breaker.clone())
            .layer(MustBeReady::new(|_: Request<()>| Ending::KnownLength.answer()));
        assert!(failing.oneshot(Request::new(())).await.is_err());

        assert_eq!(answering.clone().oneshot(Request::new(())).await.unwrap_err().kind(), Kind::Overloaded);
        tokio::time::advance(Duration::from_secs(2)).await;

        assert!(answering.clone().oneshot(Request::new(())).await.is_ok());
        assert_eq!(breaker.standing().open_for, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_the_gateway_refuses_lets_the_next_one_through() {
        let breaker = breaker();
        let failing = BreakerLayer::new(breaker.clone())
            .layer(MustBeReady::new(|_: Request<()>| Ending::Refused.answer()));
        let full = BreakerLayer::new(breaker.clone()).layer(MustBeReady::new(|_: Request<()>| async {
            Err::<Response<Script>, _>(Error::new(Kind::Overloaded, "too many requests are in flight"))
        }));
        assert!(failing.oneshot(Request::new(())).await.is_err());
        tokio::time::advance(Duration::from_secs(2)).await;

        for _ in 0..2 {
            assert_eq!(
                full.clone().oneshot(Request::new(())).await.unwrap_err().message(),
                "too many requests are in flight"
            );
        }
    }

    #[tokio::test]
    async fn failures_with_a_key_of_the_callers_own_are_nobody_elses() {
        let breaker = breaker();
        let service = BreakerLayer::new(breaker.clone())
            .layer(MustBeReady::new(|_: Request<()>| Ending::Refused.answer()));
        let mut own = Request::new(());
        own.extensions_mut().insert(ProviderKey(Secret::new("sk-of-its-own")));

        assert!(service.clone().oneshot(own.clone()).await.is_err());
        assert_eq!(failures(&breaker), 0);

        assert!(service.clone().oneshot(Request::new(())).await.is_err());
        // Nor is it held up by what others have seen.
        assert_eq!(service.oneshot(own).await.unwrap_err().kind(), Kind::Upstream);
    }
}
