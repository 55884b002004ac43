use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{DrainBody, ResponseFuture, future, held::Held, places::Places};
use crate::Exchange;

/// Reads answers to their end; see the [module](super).
#[derive(Clone, Debug)]
pub struct Drain<S> {
    pub(super) inner: S,
    pub(super) places: Arc<Places>,
}

impl<S, B, R> Service<Request<B>> for Drain<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Body + Send + 'static,
{
    type Response = Response<DrainBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let exchange = Exchange::open(&mut req);
        let call = self.inner.call(req);
        ResponseFuture { held: Held::new(call, future::finish, exchange, self.places.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Error,
        body::{End, Followed, Observe, OnEnd},
        drain::DrainLayer,
        lock,
        testing::{Ending, MustBeReady, Script, Step, is_shared, poll_once},
    };

    /// How the answers ended, as seen from inside.
    #[derive(Clone, Debug, Default)]
    struct Seen(Arc<Mutex<Vec<End>>>);

    impl Seen {
        fn ends(&self) -> Vec<End> {
            lock(&self.0).clone()
        }
    }

    impl Observe for Seen {
        fn end(self, end: End) {
            lock(&self.0).push(end);
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Leave {
        BeforeHead,
        AfterFrame,
    }

    /// Answers with three frames, some time after the call.
    async fn answer(
        req: Request<()>,
        seen: Seen,
        drain: bool,
    ) -> Result<Response<Followed<Script, Seen>>, Error> {
        let watch = OnEnd::new(seen);
        Exchange::of(&req).learn(|learnt| learnt.drain = drain);
        tokio::task::yield_now().await;
        let data = Step::Data("data");
        Ok(Response::new(watch.follow(Script::new([data, data, data]))))
    }

    async fn leave(layer: &DrainLayer, seen: &Seen, drain: bool, when: Leave) {
        let seen = seen.clone();
        let service = layer.layer(MustBeReady::new(move |req| answer(req, seen.clone(), drain)));
        is_shared(&service);
        let mut call = Box::pin(service.oneshot(Request::new(())));
        assert!(poll_once(&mut call).is_pending());
        if when == Leave::AfterFrame {
            let mut body = call.await.unwrap().into_body();
            assert!(http_body_util::BodyExt::frame(&mut body).await.is_some());
        }
    }

    #[tokio::test]
    async fn what_a_client_leaves_is_read_to_its_end() {
        for when in [Leave::BeforeHead, Leave::AfterFrame] {
            let (layer, seen) = (DrainLayer::new(1), Seen::default());

            leave(&layer, &seen, true, when).await;
            assert_eq!(seen.ends(), []);
            layer.finished().await;

            assert_eq!(seen.ends(), [End::Complete]);
        }
    }

    #[tokio::test]
    async fn it_is_dropped_where_that_is_not_asked_for() {
        for when in [Leave::BeforeHead, Leave::AfterFrame] {
            let (layer, seen) = (DrainLayer::new(1), Seen::default());

            leave(&layer, &seen, false, when).await;

            assert_eq!(seen.ends(), [End::Aborted]);
        }
    }

    #[tokio::test]
    async fn it_is_dropped_when_there_is_no_place() {
        let (layer, seen) = (DrainLayer::new(1), Seen::default());

        leave(&layer, &seen, true, Leave::BeforeHead).await;
        leave(&layer, &seen, true, Leave::BeforeHead).await;
        assert_eq!(seen.ends(), [End::Aborted]);

        layer.finished().await;
        assert_eq!(seen.ends(), [End::Aborted, End::Complete]);
    }

    #[tokio::test]
    async fn nothing_is_read_any_more_when_that_is_stopped() {
        let seen = Seen::default();
        let layer = DrainLayer::new(2);

        leave(&layer, &seen, true, Leave::AfterFrame).await;
        layer.stop().await;
        assert_eq!(seen.ends(), [End::Aborted]);

        leave(&layer, &seen, true, Leave::AfterFrame).await;
        assert_eq!(seen.ends(), [End::Aborted, End::Aborted]);
    }

    #[tokio::test]
    async fn it_is_read_although_the_layer_is_gone() {
        let (layer, seen) = (DrainLayer::new(1), Seen::default());

        leave(&layer, &seen, true, Leave::BeforeHead).await;
        drop(layer);
        while seen.ends().is_empty() {
            tokio::task::yield_now().await;
        }

        assert_eq!(seen.ends(), [End::Complete]);
    }

    #[test]
    fn it_is_dropped_when_there_is_no_runtime() {
        let (layer, seen) = (DrainLayer::new(1), Seen::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let inner = {
            let seen = seen.clone();
            MustBeReady::new(move |req| answer(req, seen.clone(), true))
        };

        let answer = runtime.block_on(layer.layer(inner).oneshot(Request::new(()))).unwrap();
        drop(answer);

        assert_eq!(seen.ends(), [End::Aborted]);
    }

    #[tokio::test]
    async fn answers_that_end_by_themselves_take_no_place() {
        for ending in [Ending::Complete, Ending::KnownLength, Ending::Broken, Ending::Refused] {
            let layer = DrainLayer::new(1);
            let service = layer.layer(MustBeReady::new(move |req: Request<()>| {
                Exchange::of(&req).learn(|learnt| learnt.drain = true);
                ending.answer()
            }));

            ending.play(service.oneshot(Request::new(())), || {}, || {}).await;

            assert!(layer.places.are_all_free(), "{ending:?}");
        }
    }
}
