use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::ReadUsage;
use crate::{
    Error, Payload, Target,
    body::{Followed, OnEnd},
    price::ReportedCost,
};

/// Middleware of [`MeterLayer`](super::MeterLayer).
#[derive(Clone, Debug)]
pub struct Meter<S> {
    inner: S,
    target: Arc<Target>,
    cost: Option<ReportedCost>,
    cached_in: Option<&'static str>,
}

impl<S> Meter<S> {
    pub(super) fn new(
        inner: S,
        target: Arc<Target>,
        cost: Option<ReportedCost>,
        cached_in: Option<&'static str>,
    ) -> Self {
        Self { inner, target, cost, cached_in }
    }
}

impl<S, R> Service<Request<Payload>> for Meter<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body<Data = Bytes>,
{
    type Response = Response<Followed<R, ReadUsage>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<Payload>) -> Self::Future {
        let read = ReadUsage::new(&req, &self.target, self.cost);
        req.body_mut().attempts(read.attempt());
        let watch = OnEnd::new(read);
        ResponseFuture { inner: self.inner.call(req), watch: Some(watch), cached_in: self.cached_in }
    }
}

pin_project! {
    /// Response future of [`Meter`].
    // `inner` drops first: it may still hold what the watch has to see.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        watch: Option<OnEnd<ReadUsage>>,
        cached_in: Option<&'static str>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<Followed<R, ReadUsage>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx)).map_err(Into::into);
        let mut watch = this.watch.take().expect("a future is not polled after it is ready");
        Poll::Ready(match result {
            Ok(res) => {
                if let Some(read) = watch.get_mut() {
                    read.head(res.status(), res.headers(), *this.cached_in);
                }
                Ok(res.map(|body| watch.follow(body)))
            }
            Err(error) => {
                ReadUsage::failed(watch, &error);
                Err(error)
            }
        })
    }
}
