//! What the tests of layers share: scripted answers, a service that must be ready, requests.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tower::Service;

use crate::{
    BoxError, BoxFuture, Error, Exchange, Kind, Payload,
    auth::{Caller, VirtualKey},
    dialect::OPENAI_CHAT,
    ledger::{Amounts, Balance, Ledger, MemoryLedger, Scope, Ticket},
    payload::Head,
};

/// Compiles only if `T` can be shared by connections.
pub(crate) fn is_shared<T: Clone + Send + Sync>(_: &T) {}

/// Polls a future that nobody will wake.
pub(crate) fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A request for `model`, from the caller with `key` if there is one.
pub(crate) fn ask(model: &str, key: Option<VirtualKey>) -> Request<Payload> {
    let mut req = Request::new(());
    if let Some(key) = key {
        req.extensions_mut().insert(Caller::new(key));
    }
    let exchange = Exchange::open(&mut req);
    let head = Head { model: model.into(), ..Head::default() };
    let source = format!(r#"{{"model":"{model}"}}"#);
    req.map(|()| Payload::new(&OPENAI_CHAT, head, source.into(), exchange))
}

/// A service that panics unless it was polled ready before the call; clones are not ready.
#[derive(Debug)]
pub(crate) struct MustBeReady<F> {
    answer: F,
    ready: bool,
}

impl<F> MustBeReady<F> {
    pub(crate) fn new(answer: F) -> Self {
        Self { answer, ready: false }
    }
}

impl<F: Clone> Clone for MustBeReady<F> {
    fn clone(&self) -> Self {
        Self::new(self.answer.clone())
    }
}

impl<F, Q, A, T, E> Service<Q> for MustBeReady<F>
where
    F: FnMut(Q) -> A,
    A: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Q) -> A {
        assert!(self.ready, "the service that is called is not the one that was polled");
        self.ready = false;
        (self.answer)(req)
    }
}

/// What a scripted body does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Data(&'static str),
    Break,
    Hang,
}

/// A body that follows a script, and then ends.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    known_length: bool,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), known_length: false }
    }

    /// Says by itself that it is over, so that nobody polls for the end.
    pub(crate) fn of_known_length(self) -> Self {
        Self { known_length: true, ..self }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            Some(Step::Data(text)) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
            Some(Step::Break) => Poll::Ready(Some(Err("the connection broke".into()))),
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.known_length && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The ways in which a response comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    KnownLength,
    Broken,
    DroppedAfterFrame,
    DroppedBeforeHead,
    /// The provider failed before there was a head.
    Refused,
}

pub(crate) const ENDINGS: [Ending; 6] = [
    Ending::Complete,
    Ending::KnownLength,
    Ending::Broken,
    Ending::DroppedAfterFrame,
    Ending::DroppedBeforeHead,
    Ending::Refused,
];

impl Ending {
    /// The provider's part of it.
    pub(crate) async fn answer(self) -> Result<Response<Script>, Error> {
        let data = Step::Data("data");
        Ok(Response::new(match self {
            Self::Complete => Script::new([data, data]),
            Self::KnownLength => Script::new([data, data]).of_known_length(),
            Self::Broken => Script::new([data, Step::Break]),
            Self::DroppedAfterFrame => Script::new([data, Step::Hang]),
            Self::DroppedBeforeHead => pending().await,
            Self::Refused => return Err(Error::new(Kind::Upstream, "the provider failed")),
        }))
    }

    /// The client's part of it. `during` is called while the answer is on its way, `after` as soon as
    /// it is over: before the body is dropped, unless dropping is the end.
    pub(crate) async fn play<R, E>(
        self,
        answer: impl Future<Output = Result<Response<R>, E>>,
        during: impl FnOnce(),
        after: impl FnOnce(),
    ) where
        R: Body<Data = Bytes>,
    {
        let mut answer = Box::pin(answer);
        if self == Self::DroppedBeforeHead {
            assert!(poll_once(&mut answer).is_pending());
            during();
            drop(answer);
            return after();
        }
        let Ok(answer) = answer.await else {
            assert_eq!(self, Self::Refused);
            return after();
        };
        let mut body = Box::pin(answer.into_body());
        assert!(matches!(body.frame().await, Some(Ok(_))));
        during();
        match self {
            Self::Complete => while let Some(Ok(_)) = body.frame().await {},
            Self::KnownLength => {
                while !body.is_end_stream() {
                    body.frame().await;
                }
            }
            Self::Broken => assert!(matches!(body.frame().await, Some(Err(_)))),
            _ => {
                drop(body);
                return after();
            }
        }
        after();
    }
}

/// Writes down what is counted, a line for each time.
#[cfg(feature = "metrics")]
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Mutex<Vec<String>>>);

#[cfg(feature = "metrics")]
impl Counted {
    pub(crate) fn lines(&self) -> Vec<String> {
        crate::lock(&self.0).clone()
    }
}

#[cfg(feature = "metrics")]
struct Line(Counted, String);

#[cfg(feature = "metrics")]
impl metrics::CounterFn for Line {
    fn increment(&self, _: u64) {
        crate::lock(&self.0.0).push(self.1.clone());
    }

    fn absolute(&self, _: u64) {}
}

#[cfg(feature = "metrics")]
impl metrics::Recorder for Counted {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let line = format!("{} {}", key.name(), labels.collect::<Vec<_>>().join(","));
        metrics::Counter::from_arc(Arc::new(Line(self.clone(), line)))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// A ledger that answers later, as a store would.
#[derive(Debug)]
pub(crate) struct Remote(pub(crate) Arc<MemoryLedger>);

impl Ledger for Remote {
    fn reserve<'a>(&'a self, scopes: &'a [Scope], worst: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.reserve(scopes, worst).await
        })
    }

    fn settle(&self, ticket: Ticket, actual: Amounts) {
        self.0.settle(ticket, actual);
    }

    fn keep(&self, ticket: Ticket, name: &str) {
        self.0.keep(ticket, name);
    }

    fn resume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
        self.0.resume(name)
    }

    fn balances<'a>(&'a self, scopes: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
        self.0.balances(scopes)
    }

    fn mark_once<'a>(&'a self, name: &'a str, lasts: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.mark_once(name, lasts)
    }
}
