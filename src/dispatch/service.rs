use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response};
use tokio::time::Instant;
use tower::Service;

use super::{
    Candidate, Hedge, Route, Table, hedge::race, lower::lowered, mirror::watched, needs::Needs,
    recovery::Recovering, resume::resumable,
};
use crate::{
    BoxBody, BoxFuture, Error, Ingested, Kind, Payload,
    auth::{Caller, ProviderKey},
    choose::{self, Chosen},
    exchange::{AssumeOutput, Deadline, Exchange, Outcome, Role, Routed},
    headers,
    price::{AttemptCost, NanoUsd},
};

/// Sends requests to targets that answer; see the [module](super). Clones share the table.
#[derive(Clone, Debug)]
pub struct Dispatch {
    table: Arc<ArcSwap<Table>>,
}

impl Dispatch {
    /// Sends requests along the routes of `table`.
    pub fn new(table: Table) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(table)) }
    }

    /// Exchanges the table. Requests under way keep the route they started with.
    pub fn reload(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The route of a model's name, before its rules were asked.
    pub(crate) fn route(&self, model: &str) -> Option<Arc<Route>> {
        self.table.load().find(model)
    }

    pub(super) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }
}

impl<B: Ingested> Service<Request<B>> for Dispatch {
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    /// Always ready: a target's readiness is asked for after it is chosen, so that one that is full
    /// never stands in the way of another.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let (parts, body) = req.into_parts();
        let (payload, lowered) = match lowered(&parts, body.payload().clone()) {
            Ok(both) => both,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let req = Request::from_parts(parts, payload);
        if let Some(chosen) = req.body().chosen().cloned() {
            return begun(chosen, req, lowered);
        }
        match self.route(req.body().model()) {
            Some(route) => match choose::at_once(route, &req) {
                Ok(chosen) => begun(chosen, req, lowered),
                Err(route) => Box::pin(choose_and_run(self.clone(), route, req, lowered)),
            },
            None => {
                let message = format!(
                    "the model `{}` does not exist, or this gateway has no route for it",
                    req.body().model()
                );
                Box::pin(std::future::ready(Err(Error::new(Kind::NoRoute, message).with_param("model"))))
            }
        }
    }
}

fn begun(
    chosen: Chosen,
    req: Request<Payload>,
    lowered: Option<&'static str>,
) -> BoxFuture<'static, Result<Response<BoxBody>, Error>> {
    match chosen.route.mirror {
        Some(_) => Box::pin(mirrored(chosen, req, lowered)),
        None => Box::pin(run(chosen, req, lowered)),
    }
}

/// Answers a request of which a copy may be on its way.
async fn mirrored(
    chosen: Chosen,
    req: Request<Payload>,
    lowered: Option<&'static str>,
) -> Result<Response<BoxBody>, Error> {
    let route = &chosen.route;
    let watch = route.mirror.as_ref().and_then(|mirror| mirror.copy(route, &req));
    watched(run(chosen, req, lowered).await, watch)
}

/// Where no layer further out has chosen.
async fn choose_and_run(
    dispatch: Dispatch,
    route: Arc<Route>,
    req: Request<Payload>,
    lowered: Option<&'static str>,
) -> Result<Response<BoxBody>, Error> {
    let req = choose::chosen(&dispatch, None, route.clone(), req).await?;
    let chosen = req.body().chosen().cloned().unwrap_or_else(|| Chosen::plainly(route));
    mirrored(chosen, req, lowered).await
}

async fn run(
    chosen: Chosen,
    mut req: Request<Payload>,
    lowered: Option<&'static str>,
) -> Result<Response<BoxBody>, Error> {
    let route = &chosen.route;
    let exchange = req.body().exchange().clone();
    let head = req.body().shared_head();
    let deadline = prepare(route, &mut req);
    route.retry_budget.deposit();
    let caller = req.extensions().get::<Caller>();
    // Most keys and routes restrict nothing.
    let are_all_permitted = route.admits_all() && caller.is_none_or(|caller| caller.may_be_answered_by_all());
    let permit = |candidate: &Candidate| {
        if are_all_permitted { Ok(()) } else { route.permit(candidate, caller, req.body()) }
    };
    let may_be_asked = || route.candidates_for(&head).filter(|candidate| permit(candidate).is_ok());
    if req.extensions().get::<ProviderKey>().is_some() {
        one_provider(may_be_asked())?;
    }
    let needs = &route.differences.needs(req.body());
    let passed_over = passed_over(needs, may_be_asked());
    exchange.learn(|learnt| {
        learnt.drain |= route.drain;
        learnt.route = Some(Routed { strategy: route.strategy, passed_over });
    });
    let takes_it = move |one: &&Candidate| passed_over == 0 || needs.are_met_by(one.target().known_facts());
    let eligible = || may_be_asked().filter(takes_it);
    // What is asked once is not asked again after a hang.
    let left = if head.is_once || route.candidates.len() < 2 { 0 } else { eligible().count() };
    let mut failed = Failed::default();
    let order = Recovering::new(route, route.order(eligible(), req.body(), needs), needs);
    let mut order = Left { order, left };
    let mut kept = None;
    let mut hedge = route.hedge_for(req.body());
    while let Some(candidate) = kept.take().or_else(|| order.next()) {
        if failed.rules_out(candidate) {
            continue;
        }
        if let Some(error) = failed.last.take_if(|_| !is_affordable(candidate, route, req.body())) {
            return Err(error);
        }
        chosen.asks(candidate);
        let has_others = order.left > 0 || kept.is_some();
        let second = hedge.take().map(|hedge| (hedge, &mut order, &mut kept));
        match ask(candidate, route, &req, deadline, has_others, second).await {
            Ok((mut res, answers)) => {
                chosen.tell(answers, req.body(), lowered, &mut res);
                if !route.may_resume(req.body()) {
                    return Ok(res);
                }
                let first = (!std::ptr::eq(candidate, answers)).then_some(candidate);
                let others = kept.into_iter().chain(order).chain(first).chain([answers]).cloned().collect();
                return Ok(resumable(res, route.clone(), req, others, deadline));
            }
            Err(error) if may_go_on(route, &error, head.is_once) && !is_past(deadline) => {
                failed.note(error, candidate, req.body());
            }
            Err(error) => return Err(error),
        }
    }
    let forbidden = || route.refusal(req.body(), route.candidates_for(&head), permit);
    let nobody = || Error::new(Kind::NoRoute, "the route has no targets").with_param("model");
    Err(failed.last.or_else(forbidden).unwrap_or_else(nobody))
}

/// Why the targets that were asked have not answered.
#[derive(Debug, Default)]
struct Failed {
    last: Option<Error>,
    /// The input of the largest that it was too long for.
    more_than: Option<u64>,
}

impl Failed {
    /// Whether the request will be too long for a candidate as well.
    fn rules_out(&self, candidate: &Candidate) -> bool {
        let most = candidate.target().known_facts().max_input;
        self.more_than.is_some_and(|more_than| most.is_none_or(|most| most <= more_than))
    }

    fn note(&mut self, error: Error, candidate: &Candidate, payload: &Payload) {
        if error.kind() == Kind::ContextTooLong {
            let most = candidate.target().known_facts().max_input;
            let taken = most.unwrap_or_else(|| payload.input().likely());
            self.more_than = self.more_than.max(Some(taken));
        }
        self.last = Some(error);
    }
}

impl Chosen {
    /// Says in an answer who gave it, and how it came about. The rule that led to another model than the first
    /// one is written down now.
    fn tell(
        &self,
        answers: &Candidate,
        payload: &Payload,
        lowered: Option<&str>,
        res: &mut Response<BoxBody>,
    ) {
        answers.sign(res);
        // One that was asked beside the first may be of another model.
        self.asks(answers);
        self.route.answered(answers, payload);
        describe(payload.exchange(), lowered, res);
        let Some(led) = self.led_to(answers) else { return };
        if answers.group() > 0 {
            payload.exchange().learn(|learnt| learnt.rule = led.rule.clone());
        }
        res.headers_mut().extend(led.says.clone());
    }
}

/// Tells the request what its route says of it, and by when it has to be over.
pub(super) fn prepare(route: &Route, req: &mut Request<Payload>) -> Option<Deadline> {
    let deadline = route.total.map(|total| Deadline(Instant::now() + total));
    if let Some(deadline) = deadline {
        req.extensions_mut().insert(deadline);
    }
    let head = req.body().head();
    if head.batch.is_some() || head.max_output.is_none() {
        let is_batch = head.batch.is_some();
        let lowered = req.body().exchange().learn(|learnt| learnt.lowered).filter(|_| !is_batch);
        let (tokens, is_cap) = lowered.map_or((route.assume_output, route.caps_output), |most| (most, true));
        req.extensions_mut().insert(AssumeOutput { tokens, is_cap });
    }
    deadline
}

/// Candidates, and how many of them are left.
struct Left<L> {
    order: L,
    left: usize,
}

impl<L: Iterator> Iterator for Left<L> {
    type Item = L::Item;

    fn next(&mut self) -> Option<L::Item> {
        self.left = self.left.saturating_sub(1);
        self.order.next()
    }
}

/// How many of `candidates` are not asked, because others take what they don't; none, if there are no others.
fn passed_over<'a>(needs: &Needs, candidates: impl Iterator<Item = &'a Candidate>) -> u32 {
    if needs.is_nothing() {
        return 0;
    }
    let (mut taking, mut lacking) = (0, 0);
    for candidate in candidates {
        let count =
            if needs.are_met_by(candidate.target().known_facts()) { &mut taking } else { &mut lacking };
        *count += 1;
    }
    if taking == 0 { 0 } else { lacking }
}

/// Whoever brings a key has to be sure whose it is: nobody else may get to see it.
fn one_provider<'a>(mut candidates: impl Iterator<Item = &'a Candidate>) -> Result<(), Error> {
    let Some(first) = candidates.next().map(|candidate| candidate.target().provider()) else { return Ok(()) };
    let Some(other) = candidates.find(|candidate| candidate.target().provider() != first) else {
        return Ok(());
    };
    let message = format!(
        "{}: the model is served by `{first}` and `{}`; ask for one of a single provider",
        headers::PROVIDER_KEY,
        other.target().provider()
    );
    Err(Error::new(Kind::InvalidRequest, message).with_param("model"))
}

/// How a second target is asked beside the first: which ones there are, and which of them was not asked after all.
type Second<'h, 'a, O> = (&'h Hedge, &'h mut O, &'h mut Option<&'a Candidate>);

/// Asks one target, again and again if that may help; and the `second` as well, if the first answer takes long. Of a
/// target that `has_others` behind it less is waited for.
async fn ask<'a>(
    candidate: &'a Candidate,
    route: &Route,
    req: &Request<Payload>,
    deadline: Option<Deadline>,
    has_others: bool,
    mut second: Option<Second<'_, 'a, impl Iterator<Item = &'a Candidate> + Send>>,
) -> Result<(Response<BoxBody>, &'a Candidate), Error> {
    let (exchange, is_once) = (req.body().exchange(), req.body().head().is_once);
    let asking = || req.clone().map(|payload| payload.with_others(has_others));
    let mut attempts = 0;
    loop {
        attempts += 1;
        let begun = exchange.learn(|learnt| learnt.attempts.len());
        let answer = match second.take() {
            None => attempt(candidate.call(asking()), deadline).await.map(|res| (res, candidate)),
            // In a box, because few requests have to bear its size.
            Some((hedge, others, kept)) => {
                attempt(Box::pin(race(hedge, candidate, others, kept, route, &asking())), deadline).await
            }
        };
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        note(exchange, begun, &error);
        let again = route.retry.wait(&error, attempts).filter(|_| may_go_on(route, &error, is_once));
        let Some(wait) = again.filter(|_| is_affordable(candidate, route, req.body())) else {
            return Err(error);
        };
        if deadline.is_some_and(|deadline| Instant::now() + wait >= deadline.0) {
            return Err(error);
        }
        if !route.retry_budget.withdraw() {
            tracing::debug!(id = %exchange.id(), target = %candidate.target(), kind = %error.kind(), "the retry budget is used up");
            return Err(error);
        }
        tracing::debug!(id = %exchange.id(), target = %candidate.target(), kind = %error.kind(), ?wait, "trying again");
        tokio::time::sleep(wait).await;
    }
}

pub(super) async fn attempt<T>(
    call: impl Future<Output = Result<T, Error>>,
    deadline: Option<Deadline>,
) -> Result<T, Error> {
    match deadline {
        None => call.await,
        Some(deadline) => tokio::time::timeout_at(deadline.0, call)
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "the deadline of the request passed"))),
    }
}

/// Whether the next attempt may help, and does no harm.
fn may_go_on(route: &Route, error: &Error, is_once: bool) -> bool {
    route.goes_on_after(error) && (!is_once || error.has_begun_nothing())
}

/// Whether what is left of what was reserved bears another attempt.
pub(super) fn is_affordable(candidate: &Candidate, route: &Route, payload: &Payload) -> bool {
    let reserved = payload.exchange().learn(|learnt| learnt.reserved);
    let Some(reserved) = reserved else { return true };
    let spent = payload.exchange().cost();
    // Most attempts that fail have cost nothing.
    spent == NanoUsd(0)
        || AttemptCost::of(candidate.target(), payload, route.assume_output)
            .is_none_or(|cost| spent + cost.answered <= reserved)
}

pub(super) fn is_past(deadline: Option<Deadline>) -> bool {
    deadline.is_some_and(|deadline| deadline.0 <= Instant::now() + Duration::from_millis(1))
}

/// What was begun has failed, and why is known best here: inside it looked like leaving. A candidate
/// that refused by itself has begun nothing.
pub(super) fn note(exchange: &Exchange, begun: usize, error: &Error) {
    exchange.learn(|learnt| {
        for attempt in learnt.attempts.iter_mut().skip(begun) {
            // That of a hedge is noted by itself.
            if attempt.role == Role::Answer || !matches!(attempt.outcome, Outcome::Failed(_)) {
                attempt.outcome = Outcome::Failed(error.kind());
            }
        }
    });
}

/// Says in an answer how it came about, and which cap on its output was `lowered`.
fn describe(exchange: &Exchange, lowered: Option<&str>, res: &mut Response<BoxBody>) {
    let (attempts, lost, cap, route) = exchange.learn(|learnt| {
        let lost: Vec<_> = lowered.into_iter().chain(learnt.lost.iter().map(|lost| &**lost)).collect();
        (
            learnt.attempts.iter().filter(|attempt| attempt.role.answers()).count(),
            (!lost.is_empty()).then(|| lost.join(", ")),
            learnt.max_output.or(learnt.lowered),
            learnt.route,
        )
    });
    res.headers_mut().insert(headers::ATTEMPTS, HeaderValue::from(attempts));
    if let Some(route) = route {
        res.headers_mut().insert(headers::ROUTE, HeaderValue::from_static(route.strategy.as_str()));
    }
    if let Some(cap) = cap {
        res.headers_mut().insert(headers::MAX_OUTPUT, HeaderValue::from(cap));
    }
    // Clients choose the names, line breaks included.
    let lost = lost.map(|lost| lost.replace(char::is_control, "?"));
    if let Some(lost) = lost.and_then(|lost| HeaderValue::try_from(lost).ok()) {
        res.headers_mut().insert(headers::LOST, lost);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Target,
        budget::Prices,
        dispatch::{Retry, RetryBudget, Strategy},
        lock,
        price::Rates,
        target::ModelFacts,
        testing::{ENDINGS, Ending, MustBeReady, Script, Step, ask, is_shared},
    };

    type Calls = Arc<Mutex<Vec<&'static str>>>;

    fn target(model: &str) -> Arc<Target> {
        Arc::new(Target::new("demo", model))
    }

    /// Notes that it is called, and then does what it is told to.
    fn candidate<A>(
        calls: &Calls,
        name: &'static str,
        answer: impl Fn() -> A + Clone + Send + Sync + 'static,
    ) -> Candidate
    where
        A: Future<Output = Result<Response<Script>, Error>> + Send + 'static,
    {
        let calls = calls.clone();
        let service = MustBeReady::new(move |req: Request<Payload>| {
            assert_eq!(req.body().model(), name);
            lock(&calls).push(name);
            answer()
        });
        Candidate::new(target(name), service)
    }

    fn failing(calls: &Calls, name: &'static str, kind: Kind) -> Candidate {
        candidate(calls, name, move || async move { Err(Error::new(kind, name)) })
    }

    fn answering(calls: &Calls, name: &'static str) -> Candidate {
        candidate(calls, name, || Ending::KnownLength.answer())
    }

    fn dispatch(route: Route) -> Dispatch {
        Dispatch::new(Table::default().route(route))
    }

    fn twice() -> Retry {
        Retry { attempts: 2, ..Retry::default() }
    }

    #[tokio::test]
    async fn an_answer_passes_and_ends_as_it_did() {
        for ending in ENDINGS {
            let candidate = candidate(&Calls::default(), "a", move || ending.answer());
            let service = dispatch(Route::new("chat", [candidate]).retry(Retry::never()));
            is_shared(&service);

            ending.play(service.oneshot(ask("chat", None)), || {}, || {}).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_asked_again_and_then_the_next_one() {
        let calls = Calls::default();
        let route = Route::new("chat", [failing(&calls, "a", Kind::Overloaded), answering(&calls, "b")]);

        let res = dispatch(route.retry(twice())).oneshot(ask("chat", None)).await.unwrap();

        assert_eq!(*lock(&calls), ["a", "a", "b"]);
        assert_eq!(
            (&res.headers()[headers::PROVIDER], &res.headers()[headers::MODEL]),
            (&"demo".parse().unwrap(), &"b".parse().unwrap())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_target_after_which_another_one_could_be_asked_shares_its_time() {
        let shares = Arc::<Mutex<Vec<bool>>>::default();
        let noting = |name| {
            let shares = shares.clone();
            let service = tower::service_fn(move |req: Request<Payload>| {
                lock(&shares).push(req.body().has_others());
                async { Err::<Response<Script>, _>(Error::new(Kind::Overloaded, "no")) }
            });
            Candidate::new(target(name), service)
        };
        let route = Route::new("chat", ["a", "b", "c"].map(noting)).retry(twice());
        let alone = Route::new("alone", ["a"].map(noting)).retry(Retry::never());
        let dispatch = Dispatch::new(Table::default().route(route).route(alone));

        dispatch.clone().oneshot(ask("chat", None)).await.unwrap_err();
        assert_eq!(std::mem::take(&mut *lock(&shares)), [true, true, true, true, false, false]);

        dispatch.oneshot(ask("alone", None)).await.unwrap_err();
        assert_eq!(*lock(&shares), [false]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_everywhere_is_asked_once() {
        for kind in [Kind::InvalidRequest, Kind::ContextTooLong, Kind::ContentFiltered, Kind::TooLarge] {
            let calls = Calls::default();
            let route = Route::new("chat", [failing(&calls, "a", kind), answering(&calls, "b")]);

            let error = dispatch(route.retry(twice())).oneshot(ask("chat", None)).await.unwrap_err();

            assert_eq!((error.kind(), &**lock(&calls)), (kind, &["a"][..]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_time_does_not_heal_is_not_asked_again_but_elsewhere() {
        for kind in [Kind::UpstreamAuth, Kind::Billing, Kind::NoRoute] {
            let calls = Calls::default();
            let route = Route::new("chat", [failing(&calls, "a", kind), answering(&calls, "b")]);

            assert!(dispatch(route.retry(twice())).oneshot(ask("chat", None)).await.is_ok());

            assert_eq!(*lock(&calls), ["a", "b"], "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_of_the_target_is_kept_unless_it_is_too_long() {
        for (after, expected) in [(3, &["a", "a", "b"][..]), (6, &["a", "b"])] {
            let calls = Calls::default();
            let limited = candidate(&calls, "a", move || async move {
                Err(Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(after)))
            });
            let route = Route::new("chat", [limited, answering(&calls, "b")]).retry(twice());
            let begun = Instant::now();

            assert!(dispatch(route).oneshot(ask("chat", None)).await.is_ok());

            assert_eq!(*lock(&calls), expected);
            assert_eq!(begun.elapsed().as_secs(), if after == 3 { 3 } else { 0 });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_for_all_attempts_together() {
        let calls = Calls::default();
        let slow = |name| {
            candidate(&calls, name, || async {
                tokio::time::sleep(Duration::from_secs(6)).await;
                Err(Error::new(Kind::Upstream, "failed late"))
            })
        };
        let route = Route::new("chat", [slow("a"), slow("b"), slow("c")]).retry(Retry::never());
        let begun = Instant::now();

        let error =
            dispatch(route.total(Duration::from_secs(10))).oneshot(ask("chat", None)).await.unwrap_err();

        assert_eq!((error.kind(), begun.elapsed().as_secs()), (Kind::Timeout, 10));
        assert_eq!(*lock(&calls), ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_the_deadline_is_not_begun() {
        let calls = Calls::default();
        let limited = candidate(&calls, "a", || async {
            Err(Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_secs(4)))
        });
        let route = Route::new("chat", [limited]).retry(twice()).total(Duration::from_secs(3));
        let begun = Instant::now();

        let error = dispatch(route).oneshot(ask("chat", None)).await.unwrap_err();

        assert_eq!((error.kind(), begun.elapsed()), (Kind::RateLimited, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_refusal_of_the_candidate_itself_is_noted_on_no_attempt() {
        let calls = Calls::default();
        let begins = Candidate::new(
            target("a"),
            MustBeReady::new(async |req: Request<Payload>| {
                req.body().exchange().begin(&target("a"));
                Err::<Response<Script>, _>(Error::new(Kind::Upstream, "failed"))
            }),
        );
        let route =
            Route::new("chat", [begins, failing(&calls, "b", Kind::Overloaded)]).retry(Retry::never());
        let req = ask("chat", None);
        let exchange = req.body().exchange().clone();

        let error = dispatch(route).oneshot(req).await.unwrap_err();

        assert_eq!(error.kind(), Kind::Overloaded);
        let outcomes = exchange.learn(|learnt| learnt.attempts.iter().map(|a| a.outcome).collect::<Vec<_>>());
        assert_eq!(outcomes, [Outcome::Failed(Kind::Upstream)]);
    }

    #[tokio::test]
    async fn a_model_that_is_not_known_is_named() {
        for service in [Dispatch::new(Table::default()), dispatch(Route::new("other", []))] {
            let error = service.oneshot(ask("chat", None)).await.unwrap_err();

            assert_eq!((error.kind(), error.param()), (Kind::NoRoute, Some("model")));
        }
        let empty = dispatch(Route::new("chat", [])).oneshot(ask("chat", None)).await.unwrap_err();
        assert_eq!(empty.kind(), Kind::NoRoute);
    }

    #[tokio::test]
    async fn a_request_keeps_the_route_it_began_with() {
        let calls = Calls::default();
        let (data, hang) = (Step::Data("old"), Step::Hang);
        let old =
            candidate(&calls, "a", move || async move { Ok(Response::new(Script::new([data, data, hang]))) });
        let service = dispatch(Route::new("chat", [old]));
        let waiting = service.clone().oneshot(ask("chat", None));
        let mut running = service.clone().oneshot(ask("chat", None)).await.unwrap().into_body();

        let new = Table::default().route(Route::new("chat", [answering(&calls, "b")]));
        service.reload(new);
        let next = service.oneshot(ask("chat", None)).await.unwrap();

        assert_eq!(next.headers()[headers::MODEL], "b");
        assert_eq!(running.frame().await.unwrap().unwrap().data_ref().unwrap(), "old");
        // A future that was never polled has not begun.
        assert_eq!(waiting.await.unwrap().headers()[headers::MODEL], "b");
    }

    #[test]
    fn the_worst_case_is_the_dearest_target() {
        let priced = |name: &'static str, output: Option<u64>| {
            let price = output.map(|usd| Rates::flat(NanoUsd(0), NanoUsd::from_usd(usd)).into());
            let target = Arc::new(Target::new("demo", name).price(price));
            Candidate::new(target, MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer()))
        };
        let worst = |candidates: Vec<Candidate>| {
            let service = dispatch(Route::new("chat", candidates).assume_output(1_000_000));
            service.worst_case(ask("chat", None).body())
        };

        assert_eq!(
            worst(vec![priced("a", Some(1)), priced("b", Some(3)), priced("c", Some(2))]),
            Some(NanoUsd::from_usd(3))
        );
        assert_eq!(worst(vec![priced("a", Some(1)), priced("b", None)]), None);
        let partly =
            dispatch(Route::new("chat", [priced("a", Some(2)), priced("b", None)]).assume_output(1_000_000));
        assert_eq!(partly.known_worst_case(ask("chat", None).body()), NanoUsd::from_usd(2));
        assert_eq!(Dispatch::new(Table::default()).worst_case(ask("chat", None).body()), Some(NanoUsd(0)));
    }

    #[test]
    fn the_worst_case_has_the_input_of_every_other_attempt_in_it() {
        let priced = |usd| {
            let rates = Rates::flat(NanoUsd::from_usd(usd), NanoUsd::from_usd(10));
            let target = Arc::new(Target::new("demo", "m").price(Some(rates.into())));
            Candidate::new(target, MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer()))
        };
        let worst = |candidates: Vec<Candidate>, attempts| {
            let route = Route::new("chat", candidates).assume_output(1_000);
            let req = ask("chat", None);
            let input = req.body().input().most(&Default::default(), false);
            let bound = dispatch(route.retry(Retry { attempts, ..twice() })).worst_case(req.body()).unwrap();
            (bound.0 - 10_000_000) / (input * 1_000)
        };

        assert_eq!(worst(vec![priced(1)], 1), 1);
        assert_eq!(worst(vec![priced(1)], 3), 3);
        assert_eq!(worst(vec![priced(1), priced(5)], 2), 2 + 2 * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_reservation_does_not_bear_any_more_is_not_begun() {
        for (reserved, expected) in [(None, 2), (Some(NanoUsd(20_000)), 1), (Some(NanoUsd::from_usd(1)), 2)] {
            let calls = Calls::default();
            let price = Rates::flat(NanoUsd(1_000_000), NanoUsd(10_000_000));
            let dear = Arc::new(Target::new("demo", "a").price(Some(price.into())));
            let target = dear.clone();
            let count = calls.clone();
            // Fails after it has written much.
            let failing = MustBeReady::new(move |req: Request<Payload>| {
                lock(&count).push("a");
                let attempt = req.body().exchange().begin(&target);
                attempt.report(crate::Tokens { output: 1_000, ..Default::default() });
                async { Err::<Response<Script>, _>(Error::new(Kind::Unreachable, "broke")) }
            });
            let route = Route::new("chat", [Candidate::new(dear, failing)]).retry(twice());
            let req = ask("chat", None);
            req.body().exchange().learn(|learnt| learnt.reserved = reserved);

            let error = dispatch(route.assume_output(1_000)).oneshot(req).await.unwrap_err();

            assert_eq!((error.kind(), lock(&calls).len()), (Kind::Unreachable, expected), "{reserved:?}");
        }
    }

    #[test]
    fn what_is_lost_is_said_whatever_its_name_is() {
        let exchange = Exchange::default();
        exchange.learn(|learnt| learnt.lost = vec!["top_k".into(), "two\nlines".into()]);
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut res = Response::new(body);

        describe(&exchange, None, &mut res);

        assert_eq!(res.headers()[headers::LOST], "top_k, two?lines");
    }

    #[tokio::test]
    async fn only_providers_that_the_key_may_use_are_asked() {
        let calls = Calls::default();
        let other = Arc::new(Target::new("other", "second"));
        let second = Candidate::new(other, {
            let calls = calls.clone();
            MustBeReady::new(move |_: Request<Payload>| {
                lock(&calls).push("second");
                Ending::KnownLength.answer()
            })
        });
        let table =
            || Table::default().route(Route::new("chat", [answering(&calls, "first"), second.clone()]));
        let only = |name: &str| {
            let allow = Some(vec![crate::access::Pattern::new(name)]);
            crate::auth::VirtualKey::new("a").providers(crate::auth::Providers { allow, deny: Vec::new() })
        };

        let mut answers = Vec::new();
        for name in ["other", "nobody"] {
            let dispatch = Dispatch::new(table());
            answers.push(dispatch.oneshot(ask("chat", Some(only(name)))).await);
        }

        assert_eq!(*lock(&calls), ["second"]);
        assert_eq!(answers.pop().unwrap().unwrap_err().kind(), Kind::Forbidden);
        assert!(answers.pop().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_key_of_the_callers_own_is_for_one_provider() {
        let calls = Calls::default();
        let other = Candidate::new(
            Arc::new(Target::new("other", "b")),
            MustBeReady::new(async |_: Request<Payload>| {
                Err::<Response<Script>, _>(Error::new(Kind::Internal, ""))
            }),
        );
        let ask = || {
            let mut req = ask("chat", None);
            req.extensions_mut().insert(ProviderKey(crate::secret::Secret::new("sk-own")));
            req
        };

        let one = dispatch(Route::new("chat", [answering(&calls, "a"), answering(&calls, "b")]));
        let two = dispatch(Route::new("chat", [answering(&calls, "a"), other]));

        assert!(one.oneshot(ask()).await.is_ok());
        let refused = two.oneshot(ask()).await.unwrap_err();
        assert_eq!((refused.kind(), lock(&calls).len()), (Kind::InvalidRequest, 1));
        assert!(refused.message().contains("`demo` and `other`"), "{refused}");
    }

    #[tokio::test]
    async fn only_regions_that_the_key_allows_answer() {
        let calls = Calls::default();
        let placed = |name: &'static str, region| {
            let calls = calls.clone();
            let service = MustBeReady::new(move |_: Request<Payload>| {
                lock(&calls).push(name);
                Ending::KnownLength.answer()
            });
            Candidate::new(Arc::new(Target::new("demo", name).region(region)), service)
        };
        let targets =
            [placed("anywhere", None), placed("us", Some("us-east-1")), placed("eu", Some("eu-west-1"))];
        let service = dispatch(Route::new("chat", targets));
        let key =
            |region: &str| crate::auth::VirtualKey::new("a").regions([crate::access::Pattern::new(region)]);

        let answered = service.clone().oneshot(ask("chat", Some(key("eu*")))).await;
        let refused = service.oneshot(ask("chat", Some(key("ap*")))).await.unwrap_err();

        assert!(answered.is_ok());
        assert_eq!(*lock(&calls), ["eu"]);
        assert_eq!(refused.kind(), Kind::Forbidden);
        assert_eq!(
            refused.message(),
            "this key may only be answered in ap*, and nobody is known to have the model there"
        );
    }

    fn with(target: Target, calls: &Calls, name: &'static str, kind: Option<Kind>) -> Candidate {
        let calls = calls.clone();
        let service = MustBeReady::new(move |_: Request<Payload>| {
            lock(&calls).push(name);
            async move {
                match kind {
                    Some(kind) => Err(Error::new(kind, name)),
                    None => Ending::KnownLength.answer().await,
                }
            }
        });
        Candidate::new(Arc::new(target), service)
    }

    fn sized(name: &'static str, most: Option<u64>) -> Target {
        let mut facts = ModelFacts::new([], []);
        facts.max_input = most;
        Target::new("demo", name).facts(facts)
    }

    #[tokio::test]
    async fn what_is_too_long_for_one_goes_to_those_that_are_known_to_take_more() {
        for (goes_on, expected) in [(true, vec!["small", "large"]), (false, vec!["small"])] {
            let calls = Calls::default();
            let too_long = Some(Kind::ContextTooLong);
            let candidates = [
                with(sized("small", Some(100)), &calls, "small", too_long),
                with(sized("equal", Some(100)), &calls, "equal", None),
                with(sized("unknown", None), &calls, "unknown", None),
                with(sized("large", Some(200)), &calls, "large", None),
            ];
            let after = goes_on.then_some(Kind::ContextTooLong);
            let route = Route::new("chat", candidates).go_on_after(after);

            let answer = dispatch(route).oneshot(ask("chat", None)).await;

            assert_eq!((lock(&calls).clone(), answer.is_ok()), (expected, goes_on));
        }
    }

    #[tokio::test]
    async fn what_one_provider_filters_may_go_to_another() {
        for (kinds, expected) in [(vec![Kind::ContentFiltered], 2), (vec![Kind::ContextTooLong], 1)] {
            let calls = Calls::default();
            let candidates = [failing(&calls, "a", Kind::ContentFiltered), answering(&calls, "b")];
            let route = Route::new("chat", candidates).go_on_after(kinds);

            let answer = dispatch(route).oneshot(ask("chat", None)).await;

            assert_eq!((lock(&calls).len(), answer.is_ok()), (expected, expected == 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_makes_no_storm_of_retries_and_the_next_target_is_asked_all_the_same() {
        let calls = Calls::default();
        let candidates = [failing(&calls, "down", Kind::Upstream), answering(&calls, "up")];
        let retry = Retry { attempts: 3, backoff: Default::default(), ..Retry::default() };
        let route = Route::new("chat", candidates).retry(retry).retry_budget(RetryBudget::new(20, 0));
        let service = dispatch(route);

        for _ in 0..100 {
            assert!(service.clone().oneshot(ask("chat", None)).await.is_ok());
        }

        let down = lock(&calls).iter().filter(|name| **name == "down").count();
        assert_eq!((down, lock(&calls).len() - down), (120, 100));
    }

    #[tokio::test]
    async fn who_lacks_what_is_needed_is_passed_over_while_another_can() {
        let calls = Calls::default();
        let lacks = |name| Target::new("demo", name).facts(ModelFacts::new([], ["function_calling"]));
        let without = |name| with(lacks(name), &calls, name, None);
        let tools = || {
            ask("chat", None).map(|payload| {
                let source = r#"{"model":"chat","tools":[{"type":"function"}]}"#;
                Payload::new(
                    payload.dialect(),
                    payload.head().clone(),
                    source.into(),
                    payload.exchange().clone(),
                )
            })
        };
        let mixed = dispatch(Route::new("chat", [without("a"), answering(&calls, "b")]));
        let none = dispatch(Route::new("chat", [without("c"), without("d")]));
        let req = tools();
        let exchange = req.body().exchange().clone();

        mixed.clone().oneshot(req).await.unwrap();
        mixed.oneshot(ask("chat", None)).await.unwrap();
        none.oneshot(tools()).await.unwrap();

        assert_eq!(*lock(&calls), ["b", "a", "c"]);
        assert_eq!(exchange.learn(|learnt| learnt.route.unwrap().passed_over), 1);
    }

    #[tokio::test]
    async fn an_answer_says_by_what_its_target_was_chosen() {
        let calls = Calls::default();
        let route = Route::new("chat", [answering(&calls, "a")]).strategy(Strategy::LeastBusy);

        let answer = dispatch(route).oneshot(ask("chat", None)).await.unwrap();

        assert_eq!(answer.headers()[headers::ROUTE], "least-busy");
    }
}
