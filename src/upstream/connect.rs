use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use tower::Service;

use crate::{BoxError, BoxFuture};

/// A connector that gives up when a connection, TLS included, is not there in time.
#[derive(Clone, Debug)]
pub(super) struct ConnectWithin<C> {
    inner: C,
    time: Duration,
}

impl<C> ConnectWithin<C> {
    pub(super) fn new(inner: C, time: Duration) -> Self {
        Self { inner, time }
    }
}

impl<C> Service<Uri> for ConnectWithin<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.time, self.inner.call(uri));
        Box::pin(async move {
            match connected.await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_hangs_is_given_up() {
        let hangs = service_fn(|_: Uri| std::future::pending::<Result<(), io::Error>>());
        let begun = tokio::time::Instant::now();

        let error = ConnectWithin::new(hangs, Duration::from_secs(2)).oneshot(Uri::default()).await;

        assert_eq!(error.unwrap_err().downcast::<io::Error>().unwrap().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }
}
