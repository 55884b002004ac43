//! How many requests may be under way at once, counted until their answers have ended.
//!
//! [`InFlightLayer`] never lets a request wait: one too many is refused, so that it can be tried
//! elsewhere or later. It reads and writes neither headers nor extensions, and works for any body.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::{Kind, in_flight::InFlightLayer};
//! use bytes::Bytes;
//! use http::Response;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::Error> {
//! let service = ServiceBuilder::new().layer(InFlightLayer::new(1)).service(service_fn(
//!     async |text: &'static str| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text))),
//! ));
//!
//! let answer = service.clone().oneshot("first").await?;
//! let refused = service.clone().oneshot("second").await.unwrap_err();
//! assert_eq!(refused.kind(), Kind::Overloaded);
//!
//! drop(answer);
//! assert!(service.oneshot("third").await.is_ok());
//! # Ok(())
//! # }
//! ```

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use crate::{
    Error, Kind,
    body::{End, Followed, Observe, OnEnd},
    future::Watched,
};

/// Lets in as many requests at once as there are places.
///
/// Clones, and the services they make, share the places.
#[derive(Clone, Debug)]
pub struct InFlightLayer {
    places: Arc<Semaphore>,
    max: usize,
}

impl InFlightLayer {
    /// Has `max` places.
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(max)), max }
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.max.saturating_sub(self.places.available_permits())
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight { inner, places: self.places.clone() }
    }
}

/// Refuses requests when all places are taken; see the [module](self).
#[derive(Clone, Debug)]
pub struct InFlight<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S, Q, R> Service<Q> for InFlight<S>
where
    S: Service<Q, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body,
{
    type Response = Response<Followed<R, Permit>>;
    type Error = Error;
    type Future = Watched<S::Future, Permit, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Q) -> Self::Future {
        match self.places.clone().try_acquire_owned() {
            Ok(place) => Watched::called(self.inner.call(req), OnEnd::new(Permit { _place: place })),
            Err(_) => Watched::refused(
                Error::new(Kind::Overloaded, "too many requests are in flight")
                    .with_retry_after(Duration::from_secs(1)),
            ),
        }
    }
}

/// Holds a place until the answer has ended.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Observe for Permit {
    fn end(self, _: End) {}
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::testing::{ENDINGS, Ending, MustBeReady, is_shared};

    #[tokio::test]
    async fn however_the_answer_ends_its_place_is_given_back() {
        for ending in ENDINGS {
            let layer = InFlightLayer::new(1);
            let service = layer.layer(MustBeReady::new(move |()| ending.answer()));
            is_shared(&service);
            let free = |places| assert_eq!(layer.places.available_permits(), places, "{ending:?}");

            ending.play(service.oneshot(()), || free(0), || free(1)).await;
        }
    }

    #[tokio::test]
    async fn one_too_many_is_refused_and_not_called() {
        let layer = InFlightLayer::new(2);
        let service = layer.layer(MustBeReady::new(|()| Ending::DroppedAfterFrame.answer()));
        let _first = service.clone().oneshot(()).await.unwrap();
        let _second = service.clone().oneshot(()).await.unwrap();

        let error = service.oneshot(()).await.unwrap_err();

        assert_eq!(error.kind(), Kind::Overloaded);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn any_number_may_be_set() {
        let service = |max| InFlightLayer::new(max).layer(MustBeReady::new(|()| Ending::Complete.answer()));

        assert!(service(usize::MAX).oneshot(()).await.is_ok());
        assert!(service(0).oneshot(()).await.is_err());
    }
}
