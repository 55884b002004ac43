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

use super::{Record, Sink};
use crate::{
    Exchange,
    body::{End, Followed, Observe, OnEnd},
};

/// Middleware of [`RecordLayer`](super::RecordLayer).
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    inner: S,
    sink: Arc<dyn Sink>,
}

impl<S> Recorded<S> {
    pub(super) fn new(inner: S, sink: Arc<dyn Sink>) -> Self {
        Self { inner, sink }
    }
}

impl<S, B, R> Service<Request<B>> for Recorded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<Followed<R, Finish>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let exchange = Exchange::open(&mut req);
        let finish = Finish { exchange, sink: self.sink.clone(), status: None, bytes: 0 };
        ResponseFuture { inner: self.inner.call(req), watch: Some(OnEnd::new(finish)) }
    }
}

pin_project! {
    /// Response future of [`Recorded`].
    // `inner` drops first, so that what is inside has reported before the record is made.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        watch: Option<OnEnd<Finish>>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<Followed<R, Finish>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let mut watch = this.watch.take().expect("a future is not polled after it is ready");
        Poll::Ready(match result {
            Ok(res) => {
                if let Some(finish) = watch.get_mut() {
                    finish.status = Some(res.status().as_u16());
                }
                Ok(res.map(|body| watch.follow(body)))
            }
            Err(error) => {
                watch.finish(End::Failed);
                Err(error)
            }
        })
    }
}

/// Makes the record when the response ends.
#[derive(Debug)]
pub struct Finish {
    exchange: Exchange,
    sink: Arc<dyn Sink>,
    status: Option<u16>,
    bytes: u64,
}

impl Observe for Finish {
    fn data(&mut self, chunk: &Bytes) {
        self.bytes += chunk.len() as u64;
    }

    fn end(self, end: End) {
        self.sink.record(Record::new(&self.exchange, self.status, self.bytes, end));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Error, Kind, lock,
        record::RecordLayer,
        testing::{ENDINGS, Ending, MustBeReady, is_shared},
    };

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Record>>);

    impl Sink for Kept {
        fn record(&self, record: Record) {
            lock(&self.0).push(record);
        }
    }

    #[tokio::test]
    async fn however_the_answer_ends_there_is_one_record_of_it() {
        for ending in ENDINGS {
            let kept = Arc::new(Kept::default());
            let service =
                RecordLayer::new(kept.clone()).layer(MustBeReady::new(move |_: Request<()>| ending.answer()));
            is_shared(&service);
            let (end, status, bytes) = match ending {
                Ending::Complete | Ending::KnownLength => (End::Complete, Some(200), 8),
                Ending::Broken => (End::Failed, Some(200), 4),
                Ending::DroppedAfterFrame => (End::Aborted, Some(200), 4),
                Ending::DroppedBeforeHead => (End::Aborted, None, 0),
                Ending::Refused => (End::Failed, None, 0),
            };

            let during = || assert!(lock(&kept.0).is_empty(), "{ending:?}");
            let after = || {
                let records = lock(&kept.0);
                let [record] = &records[..] else { panic!("{ending:?}: {records:?}") };
                assert_eq!((record.end, record.status, record.bytes), (end, status, bytes), "{ending:?}");
            };
            ending.play(service.oneshot(Request::new(())), during, after).await;

            assert_eq!(lock(&kept.0).len(), 1, "{ending:?}");
        }
    }

    #[tokio::test]
    async fn what_failed_further_in_has_failed_although_the_answer_is_complete() {
        let kept = Arc::new(Kept::default());
        let service = RecordLayer::new(kept.clone()).layer(MustBeReady::new(|req: Request<()>| {
            Exchange::of(&req).fail(&Error::new(Kind::NoRoute, "there is no route"));
            Ending::KnownLength.answer()
        }));

        let body = service.oneshot(Request::new(())).await.unwrap().into_body();
        http_body_util::BodyExt::collect(body).await.unwrap();

        let record = lock(&kept.0).pop().unwrap();
        assert_eq!((record.end, record.error), (End::Failed, Some(Kind::NoRoute)));
        assert_eq!(record.message.as_deref(), Some("there is no route"));
    }
}
