use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{Alerts, ResponseFuture, Touch};
use crate::{
    Error, Ingested,
    auth::Caller,
    body::{Followed, OnEnd},
};

/// Middleware of [`AlertsLayer`](super::AlertsLayer).
#[derive(Clone, Debug)]
pub struct Alerting<S> {
    pub(super) inner: S,
    pub(super) alerts: Alerts,
}

impl<S, B, R> Service<Request<B>> for Alerting<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    B: Ingested,
    R: Body,
{
    type Response = Response<Followed<R, Touch>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let payload = req.body().payload();
        // Whoever has no caller is refused further in.
        let caller = Caller::of(&req).ok();
        let touch = caller.map(|caller| Touch::new(self.alerts.clone(), caller.clone(), payload));
        let watch = OnEnd::new(touch.unwrap_or_default());
        ResponseFuture { inner: self.inner.call(req), watch: Some(watch) }
    }
}
