use std::{
    borrow::Cow,
    mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    BudgetLayer, Settle, StoreAway,
    job::{JobRequest, is_job},
    worst::is_free,
};
use crate::{
    Error, Exchange, Ingested, Payload,
    auth::Caller,
    body::{Followed, OnEnd},
    future::Watched,
    ledger::{Amounts, Measure, Refused, Scope, Ticket, is_refusal},
};

/// Reserves before the call and settles after the answer; see the [module](super).
#[derive(Clone, Debug)]
pub struct Budget<S> {
    pub(super) inner: S,
    pub(super) settings: BudgetLayer,
}

impl<S, B, R> Service<Request<B>> for Budget<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    B: Ingested + Send + 'static,
    R: Body + 'static,
{
    type Response = Response<Followed<R, Settle>>;
    type Error = Error;
    type Future = Watched<S::Future, Settle, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        match self.settings.reserve(&req) {
            Ok(Reserved::Now(ticket)) => {
                let watch = self.settings.watch(ticket, req.body().payload().exchange().clone());
                Watched::called(self.inner.call(req), watch)
            }
            Ok(Reserved::Later(worst)) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                Watched::waiting(Box::pin(admit(ready, self.settings.clone(), worst, req)))
            }
            Err(error) => Watched::refused(error),
        }
    }
}

enum Reserved {
    /// The ledger has answered, or need not be asked.
    Now(Option<Ticket>),
    /// The ledger wants to be waited for.
    Later(Amounts),
}

async fn admit<S, B, R>(
    mut ready: S,
    settings: BudgetLayer,
    worst: Amounts,
    req: Request<B>,
) -> Result<Response<Followed<R, Settle>>, Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    B: Ingested,
    R: Body,
{
    if is_job(req.body().payload()) {
        let watch = settings.watch_job(JobRequest::of(&req)?, worst).await?;
        return Watched::called(ready.call(req), watch).await;
    }
    let answer = {
        let caller = Caller::of(&req)?.clone();
        settings.ledger.reserve(&charged(&caller, req.body().payload()), worst).await
    };
    let exchange = req.body().payload().exchange();
    let watch = settings.watch(settings.judge(answer, exchange)?, exchange.clone());
    Watched::called(ready.call(req), watch).await
}

impl BudgetLayer {
    fn reserve<B: Ingested>(&self, req: &Request<B>) -> Result<Reserved, Error> {
        let caller = Caller::of(req)?;
        let payload = req.body().payload();
        let scopes = charged(caller, payload);
        if is_job(payload) {
            return Ok(Reserved::Later(self.worst(caller, &scopes, payload, req.headers())?));
        }
        let worst = self.worst(caller, &scopes, payload, req.headers())?;
        if scopes.is_empty() {
            return Ok(Reserved::Now(None));
        }
        let worst = payload.exchange().learn(|learnt| {
            // What was used to find out where the request goes is charged with it.
            let worst = worst.and(learnt.used());
            learnt.reserved = (!learnt.own_key).then_some(worst.cost);
            worst
        });
        match self.ledger.try_reserve(&scopes, worst) {
            Some(answer) => self.judge(answer, payload.exchange()).map(Reserved::Now),
            None => Ok(Reserved::Later(worst)),
        }
    }

    /// Whether the ledger's answer lets the request in.
    pub(super) fn judge(
        &self,
        answer: Result<Ticket, Error>,
        exchange: &Exchange,
    ) -> Result<Option<Ticket>, Error> {
        match answer {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) if self.store_away == StoreAway::Allow && !is_refusal(&error) => {
                tracing::warn!(?error, "the ledger can't be asked, a request goes on uncounted");
                Ok(None)
            }
            Err(error) => {
                let standing = Refused::of(&error).and_then(|refused| refused.standing);
                exchange.learn(|learnt| {
                    learnt.reserved = None;
                    standing.into_iter().for_each(|standing| learnt.standings.note(standing));
                });
                Err(error)
            }
        }
    }

    pub(super) fn watch(&self, ticket: Option<Ticket>, exchange: Exchange) -> OnEnd<Settle> {
        if let Some(ticket) = &ticket {
            note(ticket, &exchange);
        }
        OnEnd::new(Settle::new(ticket, self.ledger.clone(), exchange))
    }
}

/// The accounts that a request is charged to. What costs nothing, such as a look at what was paid for
/// before, counts as a request and needs no budget.
pub(super) fn charged<'a>(caller: &'a Caller, payload: &Payload) -> Cow<'a, [Scope]> {
    let scopes = caller.scopes_for(payload.model());
    if !is_free(payload) {
        return scopes;
    }
    let counts = |scope: &Scope| {
        scope.quota.is_some_and(|quota| matches!(quota.measure, Measure::Requests | Measure::Concurrent))
    };
    scopes.iter().filter(|scope| counts(scope)).cloned().collect()
}

/// Writes down what the ledger says beside yes.
fn note(ticket: &Ticket, exchange: &Exchange) {
    if ticket.standings.is_empty() && ticket.shadowed.is_empty() {
        return;
    }
    exchange.learn(|learnt| {
        ticket.standings.iter().for_each(|standing| learnt.standings.note(*standing));
        learnt.shadowed.extend(ticket.shadowed.iter().map(|error| error.message().into()));
    });
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use bytes::Bytes;
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        BoxFuture, Kind, Target, Tokens, Work,
        access::Pattern,
        auth::VirtualKey,
        batch::{Batch, Requests, Stage},
        budget::{Prices, UnknownPrice},
        dialect::OPENAI_BATCHES,
        exchange::{Job, Outcome},
        ledger::{Balance, Ledger, MemoryLedger, Period, Quota},
        payload::Head,
        price::{NanoUsd, Rates},
        testing::{ENDINGS, Ending, MustBeReady, Remote, Script, ask, is_shared, poll_once},
    };

    const WORST: NanoUsd = NanoUsd(60);
    const ACTUAL: NanoUsd = NanoUsd(7);

    #[derive(Debug)]
    struct Fixed(Option<NanoUsd>);

    impl Prices for Fixed {
        fn worst_case(&self, _: &Payload) -> Option<NanoUsd> {
            self.0
        }
    }

    #[derive(Debug)]
    struct Away;

    impl Ledger for Away {
        fn reserve<'a>(&'a self, _: &'a [Scope], _: Amounts) -> BoxFuture<'a, Result<Ticket, Error>> {
            Box::pin(async { Err(Error::new(Kind::Internal, "the ledger is away")) })
        }

        fn settle(&self, _: Ticket, _: Amounts) {
            panic!("nothing was reserved");
        }

        fn keep(&self, _: Ticket, _: &str) {
            panic!("nothing was reserved");
        }

        fn resume<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Ticket>, Error>> {
            Box::pin(async { Err(Error::new(Kind::Internal, "the ledger is away")) })
        }

        fn balances<'a>(&'a self, _: &'a [Scope]) -> BoxFuture<'a, Result<Vec<Balance>, Error>> {
            Box::pin(async { Err(Error::new(Kind::Internal, "the ledger is away")) })
        }

        fn mark_once<'a>(&'a self, _: &'a str, _: Duration) -> BoxFuture<'a, Result<bool, Error>> {
            Box::pin(async { Err(Error::new(Kind::Internal, "the ledger is away")) })
        }
    }

    fn key() -> VirtualKey {
        let budget = Quota::usd(NanoUsd(100), Period::Total);
        VirtualKey::new("a").quota(budget).scope(Scope::counted("team:b"))
    }

    fn layers() -> [(Arc<MemoryLedger>, BudgetLayer); 2] {
        let prices = Arc::new(Fixed(Some(WORST)));
        let (near, far) = (Arc::new(MemoryLedger::default()), Arc::new(MemoryLedger::default()));
        let remote = Arc::new(Remote(far.clone()));
        [(near.clone(), BudgetLayer::new(near, prices.clone())), (far, BudgetLayer::new(remote, prices))]
    }

    fn balances(ledger: &MemoryLedger) -> [Option<(NanoUsd, NanoUsd)>; 2] {
        ["key:a", "team:b"].map(|account| {
            ledger.balance(account, Measure::Usd, Period::Total).map(|b| (NanoUsd(b.posted), NanoUsd(b.held)))
        })
    }

    /// Spends [`ACTUAL`] on an attempt before it answers.
    async fn spend(req: Request<Payload>, ending: Ending) -> Result<Response<Script>, Error> {
        let price = Rates::flat(NanoUsd(1_000_000), NanoUsd(0));
        let target = Arc::new(Target::new("demo", "m").price(Some(price.into())));
        let attempt = req.body().exchange().begin(&target);
        attempt.report(Tokens { input: ACTUAL.0, ..Tokens::default() });
        attempt.finish(Outcome::Answered);
        ending.answer().await
    }

    async fn play(ending: Ending, ledger: &MemoryLedger, layer: &BudgetLayer) {
        let service = layer.layer(MustBeReady::new(move |req| spend(req, ending)));
        is_shared(&service);
        let held = || assert_eq!(balances(ledger), [Some((NanoUsd(0), WORST)); 2], "{ending:?}");
        let settled = || assert_eq!(balances(ledger), [Some((ACTUAL, NanoUsd(0))); 2], "{ending:?}");

        ending.play(service.oneshot(ask("m", Some(key()))), held, settled).await;
    }

    #[tokio::test]
    async fn however_the_answer_ends_what_it_cost_is_settled() {
        for ending in ENDINGS {
            let [(near, to_near), (far, to_far)] = layers();

            play(ending, &near, &to_near).await;
            // A client that leaves this early has a test of its own.
            if ending != Ending::DroppedBeforeHead {
                play(ending, &far, &to_far).await;
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_a_slow_ledger_is_charged_from_the_call_on() {
        let [_, (ledger, layer)] = layers();
        let service = layer.layer(service_fn(|req| spend(req, Ending::DroppedBeforeHead)));
        let mut answer = Box::pin(service.oneshot(ask("m", Some(key()))));

        assert!(poll_once(&mut answer).is_pending());
        assert_eq!(balances(&ledger), [None; 2]);
        assert!(poll_once(&mut answer).is_pending());
        assert_eq!(balances(&ledger), [Some((NanoUsd(0), WORST)); 2]);
        drop(answer);

        assert_eq!(balances(&ledger), [Some((ACTUAL, NanoUsd(0))); 2]);
    }

    #[tokio::test]
    async fn what_the_budget_cannot_bear_is_not_called() {
        for (ledger, layer) in layers() {
            let calls = Arc::new(AtomicU32::new(0));
            let count = calls.clone();
            let service = layer.layer(service_fn(move |req| {
                count.fetch_add(1, Ordering::Relaxed);
                spend(req, Ending::DroppedAfterFrame)
            }));

            let streaming = service.clone().oneshot(ask("m", Some(key()))).await.unwrap();
            let refused = service.clone().oneshot(ask("m", Some(key()))).await.unwrap_err();
            drop(streaming);
            let again = service.oneshot(ask("m", Some(key()))).await;

            assert_eq!(refused.kind(), Kind::BudgetExhausted);
            assert_eq!(calls.load(Ordering::Relaxed), 2);
            assert!(again.is_ok());
            drop(again);
            assert_eq!(balances(&ledger), [Some((NanoUsd(14), NanoUsd(0))); 2]);
        }
    }

    #[tokio::test]
    async fn a_quota_for_some_models_is_not_asked_for_others() {
        let key = || {
            let narrow = Quota::new(Measure::Requests, 1, Period::Day);
            let scope = Scope { models: Some(Pattern::new("gpt-*")), ..Scope::new("key:a gpt-*", narrow) };
            Some(VirtualKey::new("a").scope(scope))
        };
        for (_, layer) in layers() {
            let ask = |model| {
                layer.layer(service_fn(|req| spend(req, Ending::Complete))).oneshot(ask(model, key()))
            };

            drop(ask("gpt-4o").await.unwrap());
            drop(ask("claude").await.unwrap());
            let refused = ask("gpt-4o-mini").await.unwrap_err();

            assert_eq!(refused.kind(), Kind::RateLimited);
            assert!(refused.message().starts_with("the limit of key:a gpt-* is used up: 1 requests per day"));
        }
    }

    #[tokio::test]
    async fn what_costs_nothing_needs_no_budget_and_is_a_request_all_the_same() {
        let key = || {
            let requests = Scope::new("key:a", Quota::new(Measure::Requests, 2, Period::Day));
            Some(VirtualKey::new("a").quota(Quota::usd(WORST, Period::Total)).scope(requests))
        };
        for (_, layer) in layers() {
            let overspent = layer.clone().layer(service_fn(|req: Request<Payload>| {
                let attempt = req.body().exchange().begin(&Arc::new(
                    Target::new("demo", "m").price(Some(Rates::flat(NanoUsd(1_000_000), NanoUsd(0)).into())),
                ));
                attempt.report(Tokens { input: 1_000, ..Tokens::default() });
                Ending::Complete.answer()
            }));
            drop(overspent.oneshot(ask("m", key())).await.unwrap());
            let free = || {
                let (parts, payload) = ask("m", key()).into_parts();
                let head = Head { work: Some(Work::default()), ..payload.head().clone() };
                let exchange = payload.exchange().clone();
                Request::from_parts(parts, Payload::new(payload.dialect(), head, "{}".into(), exchange))
            };
            let service = layer.layer(service_fn(|_: Request<Payload>| Ending::Complete.answer()));

            let asked = service.clone().oneshot(ask("m", key())).await.unwrap_err();
            drop(service.clone().oneshot(free()).await.unwrap());
            let third = service.oneshot(free()).await.unwrap_err();

            assert_eq!(asked.kind(), Kind::BudgetExhausted);
            assert_eq!(third.kind(), Kind::RateLimited);
        }
    }

    #[tokio::test]
    async fn limits_on_tokens_hold_what_a_request_probably_uses() {
        for (_, layer) in layers() {
            let limit = Scope::new("key:a", Quota::new(Measure::Tokens, 20_000, Period::Minute));
            let key = || Some(VirtualKey::new("a").scope(limit.clone()));
            let service = layer.layer(service_fn(|req| spend(req, Ending::Complete)));

            let streaming = service.clone().oneshot(ask("m", key())).await.unwrap();
            let refused = service.clone().oneshot(ask("m", key())).await.unwrap_err();
            drop(streaming);

            assert_eq!(refused.kind(), Kind::RateLimited);
            assert!(refused.message().contains("20000 tokens per minute"), "{refused}");
            assert!(service.oneshot(ask("m", key())).await.is_ok());
        }
    }

    #[tokio::test]
    async fn what_the_ledger_says_beside_yes_is_written_down() {
        let limit = Scope::new("key:a", Quota::new(Measure::Tokens, 20_000, Period::Minute));
        let watched = Scope::new("team:b", Quota::usd(NanoUsd(1), Period::Day).shadow(true));
        for (_, layer) in layers() {
            let key = VirtualKey::new("a").scope(limit.clone()).scope(watched.clone());
            let req = ask("m", Some(key));
            let exchange = req.body().exchange().clone();

            drop(layer.layer(service_fn(|req| spend(req, Ending::Complete))).oneshot(req).await.unwrap());

            let (standing, shadowed) = exchange
                .learn(|learnt| (learnt.standings.of(Measure::Tokens).copied(), learnt.shadowed.clone()));
            // The output that is assumed, and a little for the input.
            assert_eq!(standing.map(|standing| (standing.limit, standing.left)), Some((20_000, 3_612)));
            assert_eq!(shadowed.len(), 1);
            assert!(
                shadowed[0].starts_with("the request is too large for the budget of team:b"),
                "{shadowed:?}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_caller_nothing_is_called() {
        for (_, layer) in layers() {
            let service = layer.layer(service_fn(async |_| -> Result<Response<Script>, Infallible> {
                panic!("called without a caller")
            }));

            let error = service.oneshot(ask("m", None)).await.unwrap_err();

            assert_eq!(error.kind(), Kind::Unauthenticated);
        }
    }

    #[tokio::test]
    async fn an_unknown_price_is_refused_where_there_is_a_budget_to_keep() {
        let ledger = Arc::new(MemoryLedger::default());
        let layer = BudgetLayer::new(ledger.clone(), Arc::new(Fixed(None)));
        let inner = service_fn(|req| spend(req, Ending::Complete));
        let unlimited = || VirtualKey::new("a").scope(Scope::counted("team:b"));

        let refused = layer.layer(inner).oneshot(ask("m", Some(key()))).await.unwrap_err();
        assert_eq!((refused.kind(), refused.param()), (Kind::Forbidden, Some("model")));
        assert_eq!(
            refused.message(),
            "the price of the model `m`, of a tool that is asked for or of a batch whose lines have no cap on their \
             output is not known, and the key `a` has a budget \
             to keep"
        );

        drop(layer.layer(inner).oneshot(ask("m", Some(unlimited()))).await.unwrap());
        assert_eq!(balances(&ledger), [Some((ACTUAL, NanoUsd(0))); 2]);

        let layer = layer.unknown_price(UnknownPrice::Allow);
        drop(layer.layer(inner).oneshot(ask("m", Some(key()))).await.unwrap());
        assert_eq!(balances(&ledger), [Some((NanoUsd(14), NanoUsd(0))); 2]);
    }

    #[tokio::test]
    async fn a_ledger_that_is_away_refuses_unless_it_is_told_otherwise() {
        let layer = BudgetLayer::new(Arc::new(Away), Arc::new(Fixed(Some(WORST))));
        let inner = service_fn(|req| spend(req, Ending::Complete));

        let refused = layer.layer(inner).oneshot(ask("m", Some(key()))).await.unwrap_err();
        let allowed = layer.store_away(StoreAway::Allow).layer(inner).oneshot(ask("m", Some(key()))).await;

        assert_eq!(refused.kind(), Kind::Internal);
        assert!(allowed.is_ok());
    }

    #[tokio::test]
    async fn a_budget_that_is_used_up_refuses_although_an_absent_store_would_not() {
        for (_, layer) in layers() {
            let service = layer
                .store_away(StoreAway::Allow)
                .layer(service_fn(|req| spend(req, Ending::DroppedAfterFrame)));
            let _streaming = service.clone().oneshot(ask("m", Some(key()))).await.unwrap();

            let error = service.oneshot(ask("m", Some(key()))).await.unwrap_err();

            assert_eq!(error.kind(), Kind::BudgetExhausted);
        }
    }

    fn about(stage: Stage) -> Request<Payload> {
        let requests = Requests::default();
        let head = Head {
            model: "m".into(),
            batch: Some(Box::new(Batch { requests, stage, proof: None })),
            ..Head::default()
        };
        let mut req = Request::new(Payload::new(&OPENAI_BATCHES, head, Bytes::new(), Exchange::default()));
        req.extensions_mut().insert(Caller::new(key()));
        req
    }

    fn beginning() -> Request<Payload> {
        about(Stage::Begun { file_at: 0..0, file: "f".into() })
    }

    fn following() -> Request<Payload> {
        about(Stage::Followed { hold: "b".into() })
    }

    /// Spends [`ACTUAL`] if it learns for whom the job is held.
    async fn work(
        req: Request<Payload>,
        ending: Ending,
        next: Option<Job>,
    ) -> Result<Response<Script>, Error> {
        let is_ours = next.is_some_and(|next| req.body().exchange().advance_job(next));
        if is_ours && req.body().exchange().learn(|learnt| learnt.job == Job::Over) {
            return spend(req, ending).await;
        }
        ending.answer().await
    }

    #[tokio::test]
    async fn what_goes_on_is_held_however_it_is_asked_for() {
        for (ledger, layer) in layers() {
            let going_on = || Some(Job::Running("b".into()));
            let begun = layer.layer(service_fn(move |req| work(req, Ending::Complete, going_on())));
            drop(begun.oneshot(beginning()).await.unwrap());
            let held = [Some((NanoUsd(0), WORST)); 2];
            assert_eq!(balances(&ledger), held);

            for ending in ENDINGS {
                for next in [None, going_on()] {
                    let service = layer.layer(service_fn(move |req| work(req, ending, next.clone())));
                    // A slow ledger may not have been asked before the client leaves.
                    let (before, after) = (|| {}, || assert_eq!(balances(&ledger), held, "{ending:?}"));
                    ending.play(service.oneshot(following()), before, after).await;
                }
            }

            for _ in 0..2 {
                let service = layer.layer(service_fn(|req| work(req, Ending::Complete, Some(Job::Over))));
                drop(service.oneshot(following()).await.unwrap());
                assert_eq!(balances(&ledger), [Some((ACTUAL, NanoUsd(0))); 2]);
            }
        }
    }

    #[tokio::test]
    async fn a_job_that_is_not_begun_costs_nothing() {
        for (ledger, layer) in layers() {
            for ending in ENDINGS {
                let service = layer.layer(service_fn(move |req| work(req, ending, None)));
                let free =
                    || assert!(balances(&ledger).iter().flatten().all(|b| *b == (NanoUsd(0), NanoUsd(0))));

                ending.play(service.oneshot(beginning()), || {}, free).await;
            }
        }
    }

    #[tokio::test]
    async fn of_two_who_ask_for_a_job_one_holds_what_it_costs() {
        for (ledger, layer) in layers() {
            let begun =
                layer.layer(service_fn(|req| work(req, Ending::Complete, Some(Job::Running("b".into())))));
            drop(begun.oneshot(beginning()).await.unwrap());
            let service = |next: Option<Job>| {
                layer.layer(service_fn(move |req| work(req, Ending::DroppedAfterFrame, next.clone())))
            };

            let first = service(None).oneshot(following()).await.unwrap();
            drop(service(Some(Job::Over)).oneshot(following()).await.unwrap());
            assert_eq!(balances(&ledger), [Some((NanoUsd(0), WORST)); 2]);
            drop(first);
            drop(service(Some(Job::Over)).oneshot(following()).await.unwrap());

            assert_eq!(balances(&ledger), [Some((ACTUAL, NanoUsd(0))); 2]);
        }
    }
}
