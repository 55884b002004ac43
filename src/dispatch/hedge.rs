//! A second attempt where the first one takes long to begin: [`Hedge`].

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::{Instant, timeout};

use super::{Candidate, Route};
use crate::{
    BoxBody, BoxFuture, Error, Exchange, Payload,
    dialect::Codec,
    exchange::{Outcome, Role},
    metrics::{self, Hedged},
    price::{AttemptCost, NanoUsd},
};

/// What one hedge takes of the allowance.
const ONE: u32 = 100;
/// The most that is saved up: after a time in which everything was quick, so many may come at once.
const SAVED: u32 = 10 * ONE;

/// Asks the next target as well where the first one takes long to begin; the one that answers first answers, and
/// the other one is given up and charged by an estimate. The next one is the next of those that may be asked at all,
/// and the same one again if there is no other.
///
/// Only chats are hedged, and none in which the provider does more than to write: searches, what it keeps, tools that
/// it calls itself. Where something was reserved for the request, it has to bear both attempts.
///
/// Clones share what is left of the allowance.
#[derive(Clone, Debug)]
pub struct Hedge {
    after: After,
    percent: u32,
    allowance: Arc<AtomicU32>,
}

/// When a second target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// After this time.
    Time(Duration),
    /// After the time within which so many of a hundred of the target's last answers have begun, streams and whole
    /// answers apart; not before there were twenty.
    Percentile(u8),
}

impl Hedge {
    /// At most 5 of a hundred requests are sent a second time.
    pub fn new(after: After) -> Self {
        Self { after, percent: 5, allowance: Arc::default() }
    }

    /// Sets how many of a hundred requests may be sent a second time; 100 at the most.
    #[must_use]
    pub fn percent(self, percent: u32) -> Self {
        Self { percent: percent.min(100), ..self }
    }

    fn deposit(&self) {
        let more = |saved: u32| Some(saved.saturating_add(self.percent).min(SAVED));
        let _ = self.allowance.fetch_update(Relaxed, Relaxed, more);
    }

    fn withdraw(&self) -> bool {
        self.allowance.fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(ONE)).is_ok()
    }

    /// Nothing was sent after all.
    fn give_back(&self) {
        self.allowance.fetch_add(ONE, Relaxed);
    }

    fn delay(&self, candidate: &Candidate, is_stream: bool) -> Option<Duration> {
        match self.after {
            After::Time(time) => Some(time),
            After::Percentile(percent) => candidate.known_load().tails().of(is_stream).percentile(percent),
        }
    }
}

impl Route {
    /// Whether a request may be sent twice, as far as the route and the request are concerned.
    pub(super) fn may_hedge(&self, payload: &Payload) -> bool {
        self.hedge.is_some() && payload.is_safe_twice()
    }

    /// How a request is hedged, which counts as one that was made.
    pub(super) fn hedge_for(&self, payload: &Payload) -> Option<&Hedge> {
        let hedge = self.hedge.as_ref().filter(|_| payload.is_safe_twice())?;
        hedge.deposit();
        Some(hedge)
    }
}

impl Payload {
    /// Whether asking twice does nothing that asking once doesn't.
    pub(super) fn is_safe_twice(&self) -> bool {
        let head = self.head();
        let is_chat = matches!(self.dialect().codec(), Some(Codec::Chat(_)));
        let is_kept = head.is_once || head.batch.is_some() || head.resource.is_some();
        is_chat && !is_kept && !head.reads_more && head.code_sessions == 0
    }
}

/// Whether what was reserved bears the answer of either, and the loss of the other.
fn is_covered(one: &Candidate, other: &Candidate, route: &Route, payload: &Payload) -> bool {
    let reserved = payload.exchange().learn(|learnt| learnt.reserved);
    let Some(reserved) = reserved else { return true };
    let cost = |candidate: &Candidate| AttemptCost::of(candidate.target(), payload, route.assume_output);
    let (Some(one), Some(other)) = (cost(one), cost(other)) else { return true };
    let both: NanoUsd = (one.answered + other.lost).max(other.answered + one.lost);
    payload.exchange().cost() + both <= reserved
}

/// Asks `candidate`, and one of the `others` if that takes long; `kept` is one of them that was not asked after all.
///
/// # Errors
///
/// That of `candidate`, if neither answers.
pub(super) async fn race<'a>(
    hedge: &Hedge,
    candidate: &'a Candidate,
    others: &mut (impl Iterator<Item = &'a Candidate> + Send),
    kept: &mut Option<&'a Candidate>,
    route: &Route,
    req: &Request<Payload>,
) -> Result<(Response<BoxBody>, &'a Candidate), Error> {
    let mut first = Leg::new(candidate, req, Role::Answer);
    let waited = match hedge.delay(candidate, req.body().head().stream) {
        Some(delay) => timeout(delay, &mut first).await.ok(),
        None => Some((&mut first).await),
    };
    if let Some(answer) = waited {
        return first.answered(answer?);
    }
    let mut again = Some(candidate);
    loop {
        if !hedge.withdraw() {
            metrics::hedged(candidate.target(), Hedged::Refused);
            break;
        }
        let next = others.next();
        let other = next.or_else(|| again.take());
        let Some(other) = other.filter(|other| is_covered(candidate, other, route, req.body())) else {
            hedge.give_back();
            metrics::hedged(candidate.target(), Hedged::Refused);
            *kept = next;
            break;
        };
        let mut second = Leg::new(other, req, Role::Hedge);
        match quicker(&mut first, &mut second).await {
            Quicker::First(Ok(answer)) => return first.answered(answer),
            Quicker::First(Err(error)) if !route.goes_on_after(&error) => return Err(error),
            Quicker::First(Err(error)) => {
                first.failed(&error);
                let Ok(answer) = (&mut second).await.inspect_err(|error| second.failed(error)) else {
                    return Err(error);
                };
                metrics::hedged(other.target(), Hedged::Won);
                return second.answered(answer);
            }
            Quicker::Second(Ok(answer)) => {
                first.tell();
                metrics::hedged(other.target(), Hedged::Won);
                return second.answered(answer);
            }
            Quicker::Second(Err(error)) => second.failed(&error),
        }
        if second.attempt.is_some() {
            break;
        }
        // What refuses by itself, because it is full or failed before, was not asked.
        hedge.give_back();
    }
    let answer = (&mut first).await?;
    first.answered(answer)
}

/// Which of two has come to its end first.
enum Quicker {
    First(Result<Response<BoxBody>, Error>),
    Second(Result<Response<BoxBody>, Error>),
}

async fn quicker(first: &mut Leg<'_>, second: &mut Leg<'_>) -> Quicker {
    poll_fn(|cx| match Pin::new(&mut *first).poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Quicker::First(answer)),
        Poll::Pending => Pin::new(&mut *second).poll(cx).map(Quicker::Second),
    })
    .await
}

/// One of two attempts under way.
struct Leg<'a> {
    candidate: &'a Candidate,
    call: BoxFuture<'static, Result<Response<BoxBody>, Error>>,
    exchange: Exchange,
    is_stream: bool,
    role: Role,
    begun: Instant,
    /// Which one of the exchange it is, once it is there.
    attempt: Option<usize>,
    /// What the exchange knows of the way in which the target is asked: what is lost, and the cap that is set.
    asked: (Vec<Box<str>>, Option<u64>),
}

impl<'a> Leg<'a> {
    fn new(candidate: &'a Candidate, req: &Request<Payload>, role: Role) -> Self {
        Self {
            candidate,
            call: candidate.call(req.clone().map(|payload| payload.for_role(role))),
            exchange: req.body().exchange().clone(),
            is_stream: req.body().head().stream,
            role,
            begun: Instant::now(),
            attempt: None,
            asked: Default::default(),
        }
    }

    /// Both are polled one after the other, so that what was begun meanwhile is its own.
    fn note(&mut self, before: usize) {
        self.exchange.learn(|learnt| {
            let last = learnt.attempts.len().checked_sub(1).filter(|last| *last >= before);
            let Some(index) = last else { return };
            if self.attempt.replace(index).is_none() && self.role == Role::Hedge {
                metrics::hedged(self.candidate.target(), Hedged::Sent);
            }
            self.asked = (learnt.lost.clone(), learnt.max_output);
        });
    }

    /// It answers, and what the other one has left behind is not said of it.
    fn answered(self, answer: Response<BoxBody>) -> Result<(Response<BoxBody>, &'a Candidate), Error> {
        self.tell();
        self.exchange.learn(|learnt| {
            if self.attempt.is_some() {
                learnt.answers = self.attempt;
                (learnt.lost, learnt.max_output) = self.asked;
            }
        });
        Ok((answer, self.candidate))
    }

    fn failed(&self, error: &Error) {
        self.exchange.learn(|learnt| {
            if let Some(attempt) = self.attempt.and_then(|index| learnt.attempts.get_mut(index)) {
                attempt.outcome = Outcome::Failed(error.kind());
            }
        });
    }

    /// It has taken so long, or at least so long.
    fn tell(&self) {
        self.candidate.known_load().tails().of(self.is_stream).told(self.begun.elapsed());
    }
}

impl Future for Leg<'_> {
    type Output = Result<Response<BoxBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.attempt.is_some() {
            return self.call.as_mut().poll(cx);
        }
        let before = self.exchange.learn(|learnt| learnt.attempts.len());
        let answer = self.call.as_mut().poll(cx);
        self.note(before);
        answer
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{
        Kind, Target, Tokens,
        auth::VirtualKey,
        body::{End, Observe, OnEnd},
        budget::Prices,
        dispatch::{Dispatch, Retry, Table},
        price::Rates,
        testing::{Script, Step, ask},
    };

    /// What an attempt that is given up has used.
    struct Meter(crate::exchange::AttemptHandle);

    impl Observe for Meter {
        fn end(self, end: End) {
            let outcome = if end == End::Aborted { Outcome::Aborted } else { Outcome::Answered };
            self.0.estimate(Tokens { input: 7, ..Tokens::default() });
            self.0.finish(outcome);
        }
    }

    /// Answers after a time, or fails.
    fn answering(
        target: Target,
        answer: impl Fn() -> (u64, Option<Kind>) + Clone + Send + Sync + 'static,
    ) -> Candidate {
        let target = Arc::new(target);
        let own = target.clone();
        let service = service_fn(move |req: Request<Payload>| {
            let watch = OnEnd::new(Meter(req.body().begin(&own)));
            let ((time, kind), name) = (answer(), own.name().clone());
            req.body().exchange().learn(|learnt| learnt.lost = vec![(&*name).into()]);
            async move {
                sleep(Duration::from_millis(time)).await;
                match kind {
                    Some(kind) => Err(Error::new(kind, "failed")),
                    None => Ok(Response::new(watch.follow(Script::new([Step::Data("data")])))),
                }
            }
        });
        Candidate::new(target, service)
    }

    fn after(name: &str, milliseconds: u64) -> Candidate {
        answering(Target::new("demo", name), move || (milliseconds, None))
    }

    fn fails(name: &str, milliseconds: u64) -> Candidate {
        answering(Target::new("demo", name), move || (milliseconds, Some(Kind::Upstream)))
    }

    fn always() -> Hedge {
        let hedge = Hedge::new(After::Time(Duration::from_millis(100))).percent(100);
        hedge.deposit();
        hedge
    }

    struct Seen {
        model: Result<String, Kind>,
        took: u128,
        outcomes: Vec<(Role, Outcome)>,
        lost: Vec<Box<str>>,
    }

    async fn seen(route: Route, req: Request<Payload>) -> Seen {
        let exchange = req.body().exchange().clone();
        let begun = Instant::now();
        let dispatch = Dispatch::new(Table::default().route(route.retry(Retry::never())));
        let answer = dispatch.oneshot(req).await;
        let model = answer.map(|answer| answer.headers()["x-bartizan-model"].to_str().unwrap().to_owned());
        exchange.learn(|learnt| Seen {
            model: model.map_err(|error| error.kind()),
            took: begun.elapsed().as_millis(),
            outcomes: learnt.attempts.iter().map(|attempt| (attempt.role, attempt.outcome)).collect(),
            lost: learnt.lost.clone(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_not_asked_beside_is_asked_after() {
        let used_up = Hedge::new(After::Time(Duration::from_millis(100))).percent(1);
        let route = Route::new("chat", [fails("a", 500), after("b", 10)]).hedge(used_up);

        let seen = seen(route, ask("chat", None)).await;

        assert_eq!((seen.model.as_deref(), seen.took), (Ok("b"), 510));
        assert_eq!(seen.outcomes[0], (Role::Answer, Outcome::Failed(Kind::Upstream)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_first_answers_and_the_other_one_is_given_up_and_charged() {
        let req = ask("chat", None);
        let exchange = req.body().exchange().clone();
        let quick = seen(Route::new("chat", [after("a", 900), after("b", 50)]).hedge(always()), req).await;
        let slow =
            seen(Route::new("chat", [after("a", 120), after("b", 50)]).hedge(always()), ask("chat", None))
                .await;

        assert_eq!((quick.model.as_deref(), quick.took), (Ok("b"), 150));
        assert_eq!(quick.outcomes[0], (Role::Answer, Outcome::Aborted));
        assert_eq!(quick.lost, [Box::from("demo/b")]);
        assert_eq!(exchange.tokens().input, 14);
        assert_eq!((slow.model.as_deref(), slow.took), (Ok("a"), 120));
        assert_eq!(slow.outcomes[1], (Role::Hedge, Outcome::Aborted));
        assert_eq!(slow.lost, [Box::from("demo/a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_in_time_is_asked_alone_and_a_lonely_target_is_asked_again() {
        let alone =
            seen(Route::new("chat", [after("a", 90), after("b", 0)]).hedge(always()), ask("chat", None))
                .await;
        let times = Arc::new(AtomicU32::new(0));
        let lonely = answering(Target::new("demo", "a"), move || {
            if times.fetch_add(1, Relaxed) == 0 { (900, None) } else { (10, None) }
        });
        let again = seen(Route::new("chat", [lonely]).hedge(always()), ask("chat", None)).await;

        assert_eq!((alone.took, alone.outcomes.len()), (90, 1));
        assert_eq!((again.took, again.outcomes.len()), (110, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_one_waits_for_the_other() {
        let route = |a: Candidate, b: Candidate| Route::new("chat", [a, b]).hedge(always());

        let first = seen(route(fails("a", 200), after("b", 300)), ask("chat", None)).await;
        let second = seen(route(after("a", 300), fails("b", 50)), ask("chat", None)).await;
        let both = seen(route(fails("a", 300), fails("b", 50)), ask("chat", None)).await;

        assert_eq!((first.model.as_deref(), first.took), (Ok("b"), 400));
        assert_eq!((second.model.as_deref(), second.took), (Ok("a"), 300));
        assert_eq!((both.model, both.took), (Err(Kind::Upstream), 300));
        let failed = Outcome::Failed(Kind::Upstream);
        assert_eq!(both.outcomes, [(Role::Answer, failed), (Role::Hedge, failed)]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_whom_the_key_does_not_allow() {
        let placed = |name: &str, region, time| {
            answering(Target::new("demo", name).region(Some(region)), move || (time, None))
        };
        let route = Route::new("chat", [placed("a", "eu-west-1", 900), placed("b", "us-east-1", 0)]);
        let key = VirtualKey::new("a").regions([crate::access::Pattern::new("eu*")]);

        let seen = seen(route.hedge(always()), ask("chat", Some(key))).await;

        assert_eq!((seen.model.as_deref(), seen.took), (Ok("a"), 900));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reserved_has_to_bear_both() {
        let priced = |name: &str, time| {
            let price = Rates::flat(NanoUsd::from_usd(1), NanoUsd::from_usd(10));
            answering(Target::new("demo", name).price(Some(price.into())), move || (time, None))
        };
        let route =
            || Route::new("chat", [priced("a", 900), priced("b", 50)]).hedge(always()).retry(Retry::never());
        let service = Dispatch::new(Table::default().route(route()));
        let worst = service.worst_case(ask("chat", None).body()).unwrap();
        let cost = AttemptCost::of(priced("a", 0).target(), ask("chat", None).body(), 16_384).unwrap();

        for (reserved, expected) in [(worst, "b"), (cost.answered, "a")] {
            let req = ask("chat", None);
            req.body().exchange().learn(|learnt| learnt.reserved = Some(reserved));

            assert_eq!(seen(route(), req).await.model.as_deref(), Ok(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_safe_to_send_twice_is_sent_once() {
        let once = |change: fn(&mut crate::payload::Head)| {
            ask("chat", None).map(|payload| {
                let mut head = payload.head().clone();
                change(&mut head);
                let source = payload.source().clone();
                payload.rewritten(head, source)
            })
        };
        let image = ask("chat", None).map(|payload| {
            let (head, exchange) = (payload.head().clone(), payload.exchange().clone());
            Payload::new(&crate::dialect::OPENAI_IMAGES, head, payload.source().clone(), exchange)
        });
        for req in [once(|head| head.is_once = true), once(|head| head.reads_more = true), image] {
            let route = Route::new("chat", [after("a", 900), after("b", 50)]).hedge(always());

            assert_eq!(seen(route, req).await.outcomes.len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_at_the_95th_percentile_halves_the_99th_of_a_slow_tail() {
        const REQUESTS: u32 = 20_000;
        let run = async |hedge: Option<Hedge>| {
            let asked = Arc::new(AtomicU32::new(0));
            let count = asked.clone();
            // 80 to 120 ms, and 1 to 3 s for one in twenty, by a sequence that only looks random.
            let target = answering(Target::new("demo", "m"), move || {
                let number = u64::from(count.fetch_add(1, Relaxed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let (dice, spread) = ((number >> 32) % 1_000, number >> 48);
                (if dice < 50 { 1_000 + spread % 2_000 } else { 80 + spread % 40 }, None)
            });
            let route = Route::new("chat", [target]);
            let route = hedge.into_iter().fold(route, Route::hedge);
            let service = Dispatch::new(Table::default().route(route));
            let mut times = Vec::new();
            for _ in 0..REQUESTS {
                let begun = Instant::now();
                service.clone().oneshot(ask("chat", None)).await.unwrap();
                times.push(begun.elapsed().as_millis());
            }
            times.sort_unstable();
            (times[times.len() * 99 / 100], f64::from(asked.load(Relaxed)) / f64::from(REQUESTS))
        };

        let (alone, _) = run(None).await;
        let (hedged, asked) = run(Some(Hedge::new(After::Percentile(95)).percent(6))).await;

        assert!(2 * hedged <= alone, "{hedged} ms, {alone} ms without");
        assert!(asked <= 1.06, "{asked}");
    }
}
