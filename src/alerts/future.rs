use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::Alerts;
use crate::{
    Error, Exchange, Payload,
    auth::Caller,
    body::{End, Followed, Observe, OnEnd},
    ledger::Refused,
    payload::Head,
};

pin_project! {
    /// Response future of [`Alerting`](super::Alerting).
    // `inner` drops first, so that what is inside has settled before the accounts are noted.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        pub(super) inner: F,
        pub(super) watch: Option<OnEnd<Touch>>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body,
{
    type Output = Result<Response<Followed<R, Touch>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        let mut watch = this.watch.take().expect("a future is not polled after it is ready");
        Poll::Ready(match answer {
            Ok(answer) => Ok(answer.map(|body| watch.follow(body))),
            Err(error) => {
                let error = error.into();
                if let Some(touch) = watch.get_mut().and_then(|touch| touch.0.as_mut()) {
                    touch.refused = Refused::of(&error).cloned();
                }
                watch.finish(End::Failed);
                Err(error)
            }
        })
    }
}

/// Notes the accounts of a request when it has ended.
#[derive(Debug, Default)]
pub struct Touch(Option<Touching>);

#[derive(Debug)]
struct Touching {
    alerts: Alerts,
    caller: Caller,
    head: Arc<Head>,
    exchange: Exchange,
    /// The quota by which it was refused.
    refused: Option<Refused>,
}

impl Touch {
    pub(super) fn new(alerts: Alerts, caller: Caller, payload: &Payload) -> Self {
        let (head, exchange) = (payload.shared_head(), payload.exchange().clone());
        Self(Some(Touching { alerts, caller, head, exchange, refused: None }))
    }
}

impl Observe for Touch {
    // However it ended: what was broken off has cost something too.
    fn end(self, _: End) {
        if let Some(Touching { alerts, caller, head, exchange, refused }) = self.0 {
            alerts.note(&caller.scopes_for(&head.model), exchange.cost(), refused.as_ref());
            let providers = exchange.learn(|learnt| mem::take(&mut learnt.provider_scopes));
            providers.iter().for_each(|scopes| alerts.touch(scopes, None));
        }
    }
}
