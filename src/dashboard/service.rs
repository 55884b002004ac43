use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tower::Service;

use super::{answer::answer, future::ResponseFuture, layer::Desk};
use crate::{BoxBody, BoxError};

/// Answers `/logs` and all below it; see the [module](super).
#[derive(Clone, Debug)]
pub struct Dashboard<S> {
    pub(super) inner: S,
    pub(super) desk: Arc<Desk>,
}

impl<S, B, R> Service<Request<B>> for Dashboard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<http_body_util::Either<R, BoxBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        if !is_ours(req.uri().path()) {
            return ResponseFuture::called(self.inner.call(req));
        }
        ResponseFuture::answered(answer(self.desk.clone(), req))
    }
}

fn is_ours(path: &str) -> bool {
    path.strip_prefix("/logs").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where there is nothing but the dashboard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<BoxBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<BoxBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let mut answer = Response::new(Empty::new().map_err(Into::into).boxed_unsync());
        *answer.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(answer))
    }
}
