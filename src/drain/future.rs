use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;

use super::{body, body::DrainBody, held::Held};
use crate::BoxFuture;

/// Response future of [`Drain`](super::Drain).
#[derive(Debug)]
pub struct ResponseFuture<F> {
    pub(super) held: Held<F>,
}

pub(super) fn finish<F, R, E>(call: Pin<Box<F>>) -> BoxFuture<'static, ()>
where
    F: Future<Output = Result<Response<R>, E>> + Send + 'static,
    R: Body + Send + 'static,
{
    Box::pin(async move {
        let Ok(answer) = call.await else {
            return;
        };
        body::finish(Box::pin(answer.into_body())).await;
    })
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body + Send + 'static,
{
    type Output = Result<Response<DrainBody<R>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = &mut self.held;
        let call = held.rest.as_mut().expect("a future is not polled after it is ready");
        let answer = ready!(call.as_mut().poll(cx));
        held.rest = None;
        Poll::Ready(answer.map(|answer| answer.map(|body| DrainBody::new(body, held))))
    }
}
