//! Where the time of a request has gone, for its client.
//!
//! [`ServerTimingLayer`] gives every answer a header of
//! [Server Timing](https://www.w3.org/TR/server-timing/#the-server-timing-header-field):
//! `gateway;dur=0.041, provider;dur=812.300`, the milliseconds that the gateway itself was at it until the answer began
//! ([`Exchange::overhead`]), and those until the first byte of the provider that answers. What the provider says there of
//! its own stays beside it. It stands outside of all that answers.
//!
//! - sets the extension [`Exchange`], in which layers further in write what they learn; an answer for which nobody was
//!   asked has taken the gateway all of its time
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::server_timing::ServerTimingLayer;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let service = ServiceBuilder::new()
//!     .layer(ServerTimingLayer::default())
//!     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
//!
//! let answer = service.oneshot(Request::new(())).await?;
//!
//! assert!(answer.headers()["server-timing"].to_str().unwrap().starts_with("gateway;dur=0."));
//! # Ok(())
//! # }
//! ```

use std::{
    future::Future,
    io::Write,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{Exchange, exchange::Spent, headers};

/// Says in answers where the time has gone; see the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerTimingLayer(());

impl<S> Layer<S> for ServerTimingLayer {
    type Service = ServerTiming<S>;

    fn layer(&self, inner: S) -> ServerTiming<S> {
        ServerTiming { inner }
    }
}

/// Middleware of [`ServerTimingLayer`].
#[derive(Clone, Copy, Debug)]
pub struct ServerTiming<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ServerTiming<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let exchange = Exchange::open(&mut req);
        ResponseFuture { inner: self.inner.call(req), exchange }
    }
}

pin_project! {
    /// Response future of [`ServerTiming`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        exchange: Exchange,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut res = ready!(this.inner.poll(cx))?;
        if let Some(timing) = timing(this.exchange.answered()) {
            res.headers_mut().append(headers::SERVER_TIMING, timing);
        }
        Poll::Ready(Ok(res))
    }
}

/// The times as the header has them.
fn timing(Spent { gateway, provider }: Spent) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(64);
    let mut write = |name, time: Duration| {
        let micros = time.as_micros();
        write!(text, "{name};dur={}.{:03}", micros / 1000, micros % 1000)
    };
    write("gateway", gateway).ok()?;
    if let Some(provider) = provider {
        write(", provider", provider).ok()?;
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::Full;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{
        Error, Target,
        record::{Record, RecordLayer, Sink},
    };

    #[derive(Debug)]
    struct Nowhere;

    impl Sink for Nowhere {
        fn record(&self, _: Record) {}
    }

    fn said<R>(answer: &Response<R>) -> Vec<&HeaderValue> {
        answer.headers().get_all(headers::SERVER_TIMING).iter().collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_says_where_the_time_has_gone_beside_what_its_provider_says() {
        let service = service_fn(async |req: Request<()>| {
            tokio::time::sleep(Duration::from_micros(41)).await;
            let attempt = Exchange::of(&req).begin(&Arc::new(Target::new("p", "m")));
            tokio::time::sleep(Duration::from_micros(812_300)).await;
            attempt.first_byte();
            tokio::time::sleep(Duration::from_micros(9)).await;
            let answer = Response::builder().header("server-timing", "cache;dur=3");
            Ok::<_, Error>(answer.body(Full::<Bytes>::default()).unwrap())
        });
        let service = ServerTimingLayer::default().layer(RecordLayer::new(Arc::new(Nowhere)).layer(service));

        let answer = service.oneshot(Request::new(())).await.unwrap();

        // A timer is of milliseconds.
        assert_eq!(said(&answer), ["cache;dur=3", "gateway;dur=2.000, provider;dur=813.000"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_asked_for_has_taken_the_gateway_all_of_its_time() {
        let service = ServerTimingLayer::default().layer(service_fn(async |_: Request<()>| {
            tokio::time::sleep(Duration::from_millis(7)).await;
            Ok::<_, Error>(Response::new(()))
        }));

        let answer = service.oneshot(Request::new(())).await.unwrap();

        assert_eq!(said(&answer), ["gateway;dur=7.000"]);
    }
}
