//! Copies a share of the traffic to another target, whose answers nobody sees: [`Mirror`].

mod compare;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures_util::future::{Either, select};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

pub use self::compare::Compared;
use self::compare::{Comparison, Side};
use super::{
    Candidate, Route,
    order::random,
    service::{attempt, note, prepare},
};
use crate::{
    BoxBody, Error, Exchange, Payload,
    auth::{Caller, ProviderKey},
    body::{End, Observe, OnEnd},
    metrics::{self, Mirrored},
    record::{Passing, Record, Sink},
};

/// Copies a share of a route's requests to another target, so that models can be compared on real traffic. The client
/// never sees what comes of it, nor waits for it, nor pays for it; the copies have records of their own, and
/// [`Mirrors`] compares what came of either.
///
/// Only chats are copied in which the provider does no more than to write, of callers whom the target may answer, and none
/// with a provider's key of the caller's own, or whose client rules the target out.
#[derive(Clone, Debug)]
pub struct Mirror {
    candidate: Candidate,
    percent: u32,
    mirrors: Mirrors,
}

impl Mirror {
    /// All requests are copied to `candidate`, as far as there is room for them.
    pub fn new(candidate: Candidate, mirrors: &Mirrors) -> Self {
        Self { candidate, percent: 100, mirrors: mirrors.clone() }
    }

    /// Sets how many of a hundred requests are copied, drawn by chance.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self { percent: percent.min(100), ..self }
    }

    /// Who gets the copies.
    pub(super) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Sends a copy of a request on its way if it is drawn; what is returned watches the original.
    pub(super) fn copy(&self, route: &Arc<Route>, req: &Request<Payload>) -> Option<OnEnd<Original>> {
        let may_be_asked = |caller: &Caller| caller.may_be_answered_by(self.candidate.target()).is_ok();
        let is_drawn = random() % 100 < u64::from(self.percent);
        let is_copied = is_drawn
            && req.body().is_safe_twice()
            && req.extensions().get::<ProviderKey>().is_none()
            && req.extensions().get::<Caller>().is_none_or(may_be_asked)
            && route.is_inside(self.candidate.target()).is_ok();
        let runtime = Handle::try_current().ok().filter(|_| is_copied)?;
        let Ok(place) = self.mirrors.0.places.clone().try_acquire_owned() else {
            self.mirrors.0.comparison.skipped(&route.name, self.candidate.target());
            metrics::mirrored(self.candidate.target(), Mirrored::Skipped);
            return None;
        };
        let original = Original {
            exchange: req.body().exchange().clone(),
            route: route.clone(),
            mirrors: self.mirrors.clone(),
            is_alone: Arc::default(),
        };
        runtime.spawn(self.clone().run(original.clone(), copied(req), place));
        Some(OnEnd::new(original))
    }

    async fn run(self, original: Original, req: Request<Payload>, place: OwnedSemaphorePermit) {
        let (exchange, route) = (req.body().exchange().clone(), original.route.clone());
        let Mirrors(shared) = &self.mirrors;
        // Never given out: it is closed when copies are to stop.
        let stopped = pin!(shared.stop.acquire());
        let read = match select(stopped, pin!(self.read(&original, req))).await {
            Either::Left(_) => Read { status: None, bytes: 0, end: End::Aborted },
            Either::Right((read, _)) => read,
        };
        if read.end != End::Aborted {
            shared.comparison.told(&route.name, Side::Mirror, &exchange);
        }
        if let Some(records) = &shared.records {
            let passing = Passing { status: read.status, bytes: read.bytes, ..Passing::default() };
            records.record(Record::new(&exchange, passing, None, read.end));
        }
        drop(place);
    }

    async fn read(&self, original: &Original, mut req: Request<Payload>) -> Read {
        let exchange = req.body().exchange().clone();
        let deadline = prepare(&original.route, &mut req);
        let answer = attempt(self.ask(req), deadline).await;
        if let Err(error) = &answer
            && !is_asked(&exchange)
        {
            metrics::mirrored(self.candidate.target(), Mirrored::Refused(error.kind()));
            self.mirrors.0.comparison.skipped(&original.route.name, self.candidate.target());
            original.is_alone.store(true, Relaxed);
        }
        let status = answer.is_ok().then_some(StatusCode::OK.as_u16());
        let read = match answer {
            Ok(answer) => attempt(read(answer), deadline).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &read {
            note(&exchange, 0, error);
            exchange.fail(error);
        }
        let (bytes, end) = read.map_or((0, End::Failed), |bytes| (bytes, End::Complete));
        Read { status, bytes, end }
    }

    /// Asks the target, which counts once it is asked: a budget, a breaker or a limit stands before that.
    async fn ask(&self, req: Request<Payload>) -> Result<Response<BoxBody>, Error> {
        let exchange = req.body().exchange().clone();
        let (mut call, mut is_counted) = (self.candidate.call(req), false);
        poll_fn(|cx| {
            let answer = call.as_mut().poll(cx);
            if !is_counted && is_asked(&exchange) {
                is_counted = true;
                metrics::mirrored(self.candidate.target(), Mirrored::Sent);
            }
            answer
        })
        .await
    }
}

/// Whether the target of a copy was asked.
fn is_asked(copy: &Exchange) -> bool {
    copy.learn(|learnt| !learnt.attempts.is_empty())
}

/// What came of reading an answer that nobody sees.
struct Read {
    status: Option<u16>,
    bytes: u64,
    end: End,
}

/// The same request for somebody else, of which the client's exchange learns nothing. Its span is below that of the
/// original.
fn copied(req: &Request<Payload>) -> Request<Payload> {
    let (original, exchange) = (req.body().exchange(), Exchange::default());
    let (asked, trace, state) =
        original.learn(|learnt| (learnt.asked.clone(), learnt.trace, learnt.trace_state.clone()));
    let above = original.span();
    if let Some(above) = above {
        exchange.trace(above.child());
    }
    exchange.learn(|learnt| {
        (learnt.asked, learnt.mirrors, learnt.trace) = (asked, Some(*original.id()), above.or(trace));
        learnt.trace_state = state;
    });
    let mut req = req.clone();
    req.extensions_mut().insert(exchange.clone());
    req.map(|payload| payload.of_exchange(exchange))
}

/// Reads an answer to its end, and returns how long it is in bytes.
async fn read(answer: Response<BoxBody>) -> Result<u64, Error> {
    let mut body = pin!(answer.into_body());
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.map_err(Error::from)?.data_ref().map_or(0, |data| data.len() as u64);
        if body.is_end_stream() {
            break;
        }
    }
    Ok(bytes)
}

/// What mirrors have in common: how many copies may be under way, where they are recorded, and what came of them and of
/// their originals.
///
/// Clones share all of it.
#[derive(Clone, Debug)]
pub struct Mirrors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at_once: u32,
    places: Arc<Semaphore>,
    stop: Semaphore,
    records: Option<Arc<dyn Sink>>,
    comparison: Comparison,
}

impl Mirrors {
    /// At most so many copies are under way at the same time; what comes beyond is not copied, and counted.
    pub fn new(at_once: u32) -> Self {
        let at_once = at_once.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self::of(at_once, None)
    }

    /// Records each copy in `sink`, with the name of its original in `mirrors`.
    #[must_use]
    pub fn records(self, sink: Arc<dyn Sink>) -> Self {
        Self::of(self.0.at_once, Some(sink))
    }

    fn of(at_once: u32, records: Option<Arc<dyn Sink>>) -> Self {
        let (places, stop) = (Arc::new(Semaphore::new(at_once as usize)), Semaphore::new(0));
        Self(Arc::new(Shared { at_once, places, stop, records, comparison: Comparison::default() }))
    }

    /// What came of copies and of their originals since the process began, by route and target.
    pub fn report(&self) -> Vec<Compared> {
        self.0.comparison.report()
    }

    /// Gives up the copies that are under way, which are charged by an estimate, and waits until none is. None is made
    /// any more.
    pub async fn stop(&self) {
        self.0.stop.close();
        self.finished().await;
    }

    /// Waits until no copy is under way.
    pub async fn finished(&self) {
        // The semaphore is never closed.
        let _ = self.0.places.acquire_many(self.0.at_once).await;
    }
}

impl Default for Mirrors {
    /// A hundred at once.
    fn default() -> Self {
        Self::new(100)
    }
}

/// Tells how the original of a copy has come out.
#[derive(Clone, Debug)]
pub(super) struct Original {
    exchange: Exchange,
    route: Arc<Route>,
    mirrors: Mirrors,
    /// Whether the copy was not sent after all.
    is_alone: Arc<AtomicBool>,
}

impl Observe for Original {
    fn end(self, end: End) {
        // Whoever left has not seen how it would have come out.
        if end != End::Aborted && !self.is_alone.load(Relaxed) {
            self.mirrors.0.comparison.told(&self.route.name, Side::Original, &self.exchange);
        }
    }
}

/// The answer with its watch, if it was copied.
pub(super) fn watched(
    answer: Result<Response<BoxBody>, Error>,
    watch: Option<OnEnd<Original>>,
) -> Result<Response<BoxBody>, Error> {
    match (answer, watch) {
        (Ok(answer), Some(watch)) => Ok(answer.map(|body| watch.follow(body).boxed_unsync())),
        (Err(error), Some(watch)) => {
            watch.finish(End::Failed);
            Err(error)
        }
        (answer, None) => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use tokio::time::sleep;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{
        Kind, Target, Tokens,
        auth::VirtualKey,
        dispatch::{Dispatch, Retry, Table},
        exchange::{Outcome, RequestId, TraceParent},
        lock,
        price::{NanoUsd, Rates},
        testing::{Script, Step, ask},
    };

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Record>>);

    impl Sink for Kept {
        fn record(&self, record: Record) {
            lock(&self.0).push(record);
        }
    }

    /// Answers after a time, or fails, and has used 10 tokens for 10 dollars a million.
    fn candidate(name: &str, milliseconds: u64, kind: Option<Kind>) -> Candidate {
        let price = Rates::flat(NanoUsd::from_usd(10), NanoUsd::from_usd(10));
        let target = Arc::new(Target::new("demo", name).price(Some(price.into())).region(Some("eu-west-1")));
        let own = target.clone();
        let service = service_fn(move |req: Request<Payload>| {
            let attempt = req.body().exchange().begin(&own);
            async move {
                sleep(Duration::from_millis(milliseconds)).await;
                attempt.first_byte();
                attempt.report(Tokens { input: 7, output: 3, ..Tokens::default() });
                attempt.finish(kind.map_or(Outcome::Answered, Outcome::Failed));
                match kind {
                    Some(kind) => Err(Error::new(kind, "failed")),
                    None => Ok(Response::new(Script::new([Step::Data("data")]))),
                }
            }
        });
        Candidate::new(target, service)
    }

    fn dispatch(mirror: Mirror) -> Dispatch {
        let route = Route::new("chat", [candidate("own", 10, None)]).mirror(mirror).retry(Retry::never());
        Dispatch::new(Table::default().route(route))
    }

    async fn answered(service: &Dispatch, req: Request<Payload>) -> RequestId {
        let id = *req.body().exchange().id();
        let answer = service.clone().oneshot(req).await.unwrap();
        assert_eq!(answer.headers()["x-bartizan-model"], "own");
        answer.into_body().collect().await.unwrap();
        id
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_neither_waits_for_the_copy_nor_pays_for_it_and_it_is_recorded_apart() {
        let kept = Arc::new(Kept::default());
        let mirrors = Mirrors::new(9).records(kept.clone());
        let service = dispatch(Mirror::new(candidate("other", 900, None), &mirrors));
        let req = ask("chat", None);
        let exchange = req.body().exchange().clone();
        let begun = tokio::time::Instant::now();

        let id = answered(&service, req).await;
        let took = begun.elapsed();
        mirrors.finished().await;

        assert_eq!((took.as_millis(), begun.elapsed().as_millis()), (10, 900));
        assert_eq!((exchange.cost(), exchange.learn(|learnt| learnt.attempts.len())), (NanoUsd(100_000), 1));
        let records = lock(&kept.0);
        assert_eq!((records.len(), records[0].mirrors), (1, Some(id)));
        assert_eq!((records[0].cost, &*records[0].attempts[0].target), (NanoUsd(100_000), "demo/other"));
        assert_eq!((records[0].key.as_deref(), records[0].bytes, records[0].end), (None, 4, End::Complete));
    }

    #[tokio::test(start_paused = true)]
    async fn copies_that_are_stopped_are_recorded_and_compared_with_nothing() {
        let kept = Arc::new(Kept::default());
        let mirrors = Mirrors::new(9).records(kept.clone());
        let service = dispatch(Mirror::new(candidate("other", 900, None), &mirrors));

        answered(&service, ask("chat", None)).await;
        mirrors.stop().await;

        assert_eq!(lock(&kept.0)[0].end, End::Aborted);
        assert!(mirrors.report().iter().all(|row| !row.is_mirror));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_of_copies_and_originals_is_compared() {
        let mirrors = Mirrors::default();
        let good = dispatch(Mirror::new(candidate("other", 30, None), &mirrors));
        let bad = dispatch(Mirror::new(candidate("other", 30, Some(Kind::Upstream)), &mirrors));

        for _ in 0..30 {
            answered(&good, ask("chat", None)).await;
        }
        for _ in 0..10 {
            answered(&bad, ask("chat", None)).await;
        }
        mirrors.finished().await;

        let report = mirrors.report();
        let row = |mirror| report.iter().find(|row| row.is_mirror == mirror).unwrap();
        let (own, other) = (row(false), row(true));
        assert_eq!((&*own.target, own.requests, own.failed), ("demo/own", 40, 0));
        assert_eq!((&*other.target, other.requests, other.failed), ("demo/other", 40, 10));
        assert_eq!((other.input, other.output, other.cost), (280, 120, NanoUsd(4_000_000)));
        assert_eq!(own.p95, Some(Duration::from_millis(10)));
        assert_eq!(
            (other.p50, other.first_p50),
            (Some(Duration::from_millis(30)), Some(Duration::from_millis(30)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_is_copied_and_what_there_is_no_room_for_is_not() {
        let (some, one) = (Mirrors::new(9_999), Mirrors::new(1));
        let share = dispatch(Mirror::new(candidate("other", 1, None), &some).percent(20));
        let full = dispatch(Mirror::new(candidate("other", 900, None), &one));

        for _ in 0..2_000 {
            answered(&share, ask("chat", None)).await;
        }
        for _ in 0..3 {
            answered(&full, ask("chat", None)).await;
        }
        some.finished().await;
        one.finished().await;

        let copies = some.report().iter().find(|row| row.is_mirror).unwrap().requests;
        assert!((300..500).contains(&copies), "{copies}");
        let report = one.report();
        let row = report.iter().find(|row| row.is_mirror).unwrap();
        assert_eq!((row.requests, row.skipped), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_copy_is_not_sent_its_original_is_not_compared_either() {
        let mirrors = Mirrors::new(9);
        let full = service_fn(async |_: Request<Payload>| {
            Err::<Response<Script>, _>(Error::new(Kind::Overloaded, "too many requests are in flight"))
        });
        let full = Candidate::new(Arc::new(Target::new("demo", "full")), full);
        let service = dispatch(Mirror::new(full, &mirrors));

        for _ in 0..3 {
            answered(&service, ask("chat", None)).await;
        }
        mirrors.finished().await;

        let report = mirrors.report();
        assert_eq!(report.len(), 1);
        assert_eq!((report[0].is_mirror, report[0].requests, report[0].skipped), (true, 0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_stands_in_the_trace_of_its_original_below_it() {
        let kept = Arc::new(Kept::default());
        let mirrors = Mirrors::new(9).records(kept.clone());
        let service = dispatch(Mirror::new(candidate("other", 1, None), &mirrors));
        let req = ask("chat", None);
        let span = TraceParent { trace: 7, span: 8, is_sampled: true };
        req.body().exchange().trace(span);

        answered(&service, req).await;
        mirrors.finished().await;

        let records = lock(&kept.0);
        let (above, own) = (records[0].trace.unwrap(), records[0].span.unwrap());
        assert_eq!(above, span);
        assert!(own.trace == 7 && own.is_sampled && own.span != 8, "{own}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_copied_to_where_the_caller_may_not_be_answered_or_what_is_not_safe_to_send_twice() {
        let kept = Arc::new(Kept::default());
        let mirrors = Mirrors::new(9).records(kept.clone());
        let away = Arc::new(Target::new("demo", "away").region(Some("us-east-1")));
        let service = service_fn(async |_: Request<Payload>| Ok::<_, Error>(Response::new(Script::new([]))));
        let service = dispatch(Mirror::new(Candidate::new(away, service), &mirrors));
        let key = VirtualKey::new("a").regions([crate::access::Pattern::new("eu*")]);
        let once = ask("chat", None).map(|payload| {
            let head = crate::payload::Head { is_once: true, ..payload.head().clone() };
            let source = payload.source().clone();
            payload.rewritten(head, source)
        });

        answered(&service, ask("chat", Some(key))).await;
        answered(&service, once).await;
        mirrors.finished().await;

        assert!(lock(&kept.0).is_empty());
        assert!(mirrors.report().is_empty());
    }
}
