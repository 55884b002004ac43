use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{
    Record, Sink,
    content::Answered,
    keep::{Charge, Room},
};
use crate::{
    Exchange,
    body::{End, Followed, Observe, OnEnd},
    exchange::{ClientAddress, Share, TraceParent, trace_state},
};

/// Middleware of [`RecordLayer`](super::RecordLayer).
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    inner: S,
    sink: Arc<dyn Sink>,
    traces: Option<Share>,
    room: Room,
}

impl<S> Recorded<S> {
    pub(super) fn new(inner: S, sink: Arc<dyn Sink>, traces: Option<Share>, room: Room) -> Self {
        Self { inner, sink, traces, room }
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
        let client = req.extensions().get::<ClientAddress>().map(|client| client.0);
        let trace = TraceParent::of(req.headers());
        if trace.is_some() {
            exchange.learn(|learnt| learnt.trace = trace);
        }
        if let Some(share) = self.traces {
            let span = TraceParent::below(trace, share);
            exchange.trace(span);
            if let Some(state) = trace.filter(|_| span.is_sampled).and_then(|_| trace_state(req.headers())) {
                exchange.learn(|learnt| learnt.trace_state = Some(state));
            }
        }
        let passing = Passing { client, ..Passing::default() };
        let finish =
            Finish { exchange, sink: self.sink.clone(), passing, room: self.room.clone(), collected: None };
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
                    finish.begun(&res);
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
    passing: Passing,
    room: Room,
    /// What is answered, where that may be kept, and the room that it takes.
    collected: Option<(Answered, Charge)>,
}

/// What the record layer itself sees of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passing {
    pub(crate) client: Option<IpAddr>,
    pub(crate) status: Option<u16>,
    pub(crate) overhead: Option<Duration>,
    pub(crate) first_event: Option<Duration>,
    pub(crate) bytes: u64,
}

impl Finish {
    fn begun<R>(&mut self, res: &Response<R>) {
        self.passing.status = Some(res.status().as_u16());
        self.passing.overhead = Some(self.exchange.answered().gateway);
        let is_kept = self.exchange.learn(|learnt| learnt.content.is_some());
        let answer = is_kept.then(|| Answered::new(res.headers())).flatten();
        self.collected = answer.and_then(|answer| Some((answer, self.room.take(0)?)));
    }
}

impl Observe for Finish {
    fn data(&mut self, chunk: &Bytes) {
        if self.passing.bytes == 0 {
            self.passing.first_event = Some(self.exchange.elapsed());
        }
        self.passing.bytes += chunk.len() as u64;
        if let Some((answer, charge)) = self.collected.as_mut().filter(|(answer, _)| !answer.is_cut) {
            match charge.grow(chunk.len() + Answered::PIECE) {
                true => answer.push(self.exchange.elapsed(), chunk),
                false => answer.is_cut = true,
            }
        }
    }

    fn end(self, end: End) {
        let Self { exchange, sink, passing, collected, .. } = self;
        if exchange.learn(|learnt| learnt.unrecorded) {
            return;
        }
        // The sink makes room of its own for what it keeps.
        let answer = collected.map(|(answer, _)| answer);
        sink.record(Record::new(&exchange, passing, answer, end));
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
    async fn what_was_asked_and_answered_is_there_only_where_the_caller_allows_it() {
        use crate::auth::{Caller, VirtualKey};

        for may_be_kept in [true, false] {
            let kept = Arc::new(Kept::default());
            let service = RecordLayer::new(kept.clone()).layer(
                crate::ingest::IngestLayer::new(Default::default()).layer(tower::service_fn(
                    async |_: Request<crate::Payload>| {
                        let answer =
                            Response::builder().header("content-type", "application/json; charset=utf-8");
                        Ok::<_, Error>(
                            answer.body(http_body_util::Full::new(Bytes::from("{\"a\":1}"))).unwrap(),
                        )
                    },
                )),
            );
            let mut req = Request::post("/v1/chat/completions")
                .extension(ClientAddress([10, 0, 0, 7].into()))
                .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .body(http_body_util::Full::new(Bytes::from(r#"{"model":"m","messages":[]}"#)))
                .unwrap();
            let caller = Caller::new(VirtualKey::new("k").log_content(may_be_kept));
            Exchange::open(&mut req).learn(|learnt| learnt.caller = Some(caller));

            let body = service.oneshot(req).await.unwrap().into_body();
            http_body_util::BodyExt::collect(body).await.unwrap();

            let record = lock(&kept.0).pop().unwrap();
            assert_eq!(
                (record.client, record.trace.map(|at| at.span)),
                (Some([10, 0, 0, 7].into()), Some(0xb7ad6b7169203331))
            );
            assert!(record.first_event.is_some() && record.overhead <= record.first_event);
            let content = record.content.as_deref();
            let asked = content.map(|content| &*content.request);
            assert_eq!(asked, may_be_kept.then_some(&br#"{"model":"m","messages":[]}"#[..]));
            let answered = content.and_then(|content| content.answer.as_ref());
            assert_eq!(answered.map(|answer| &*answer.bytes), may_be_kept.then_some(&br#"{"a":1}"#[..]));
            assert!(!format!("{record:?}{}", serde_json::to_string(&record).unwrap()).contains("messages"));
        }
    }

    #[test]
    fn of_answers_that_find_no_room_the_end_is_missing_and_room_is_given_back() {
        let kept = Arc::new(Kept::default());
        let chunk = Bytes::from("12345678");
        let room = Room::new(2 * (chunk.len() + Answered::PIECE));
        let finish = || {
            let mut headers = http::HeaderMap::new();
            headers.insert("content-type", "text/event-stream".parse().unwrap());
            let collected = Answered::new(&headers).zip(room.take(0));
            let exchange = Exchange::default();
            exchange.learn(|learnt| learnt.content = Some("{}".into()));
            Finish {
                exchange,
                sink: kept.clone(),
                passing: Passing::default(),
                room: room.clone(),
                collected,
            }
        };
        let answer = || lock(&kept.0).pop().unwrap().content.as_deref().unwrap().answer.clone().unwrap();

        for _ in 0..2 {
            let mut finish = finish();
            (0..4).for_each(|_| finish.data(&chunk));
            finish.end(End::Complete);

            let answer = answer();
            assert_eq!((answer.bytes.len(), answer.is_cut), (16, true));
        }
    }

    #[test]
    fn what_is_not_collected_any_more_takes_no_room() {
        let room = Room::new(3 << 20);
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let mut finish = Finish {
            exchange: Exchange::default(),
            sink: Arc::new(Kept::default()),
            passing: Passing::default(),
            room: room.clone(),
            collected: Answered::new(&headers).zip(room.take(0)),
        };

        let chunk = Bytes::from(vec![b'x'; 1 << 19]);
        (0..100).for_each(|_| finish.data(&chunk));

        assert!(room.take(1 << 20).is_some());
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
