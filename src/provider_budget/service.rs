use std::{
    mem,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{ProviderBudgetLayer, SettleAttempt, job::JobAttempt};
use crate::{
    Error, Kind, Payload,
    body::{Followed, OnEnd},
    budget::{StoreAway, UnknownPrice, is_free, is_job},
    exchange::AssumeOutput,
    future::Watched,
    ledger::{Amounts, Balance, Measure, Scope, Ticket},
    price::{ASSUMED_OUTPUT, AttemptCost},
};

/// Middleware of [`ProviderBudgetLayer`].
#[derive(Clone, Debug)]
pub struct ProviderBudget<S> {
    pub(super) inner: S,
    pub(super) settings: ProviderBudgetLayer,
}

impl<S, R> Service<Request<Payload>> for ProviderBudget<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    R: Body + 'static,
{
    type Response = Response<Followed<R, SettleAttempt>>;
    type Error = Error;
    type Future = Watched<S::Future, SettleAttempt, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        match self.settings.hold(&req) {
            Ok(Held::Now(ticket)) => {
                let watch = self.settings.watch(ticket, req.body());
                Watched::called(self.inner.call(req), watch)
            }
            Ok(later) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                Watched::waiting(Box::pin(admit(ready, self.settings.clone(), later, req)))
            }
            Err(error) => Watched::refused(error),
        }
    }
}

enum Held {
    /// The ledger has answered, or need not be asked.
    Now(Option<Ticket>),
    /// The ledger wants to be waited for.
    Later(Vec<Scope>, Amounts),
    /// It is about a batch.
    Job(JobAttempt, Amounts),
}

async fn admit<S, R>(
    mut ready: S,
    settings: ProviderBudgetLayer,
    held: Held,
    req: Request<Payload>,
) -> Result<Response<Followed<R, SettleAttempt>>, Error>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
    R: Body,
{
    let watch = match held {
        Held::Now(ticket) => settings.watch(ticket, req.body()),
        Held::Later(scopes, worst) => {
            let answer = settings.ledger.reserve(&scopes, worst).await;
            settings.watch(settings.judge(answer)?, req.body())
        }
        Held::Job(attempt, worst) => settings.watch_job(attempt, worst).await?,
    };
    Watched::called(ready.call(req), watch).await
}

impl ProviderBudgetLayer {
    fn hold(&self, req: &Request<Payload>) -> Result<Held, Error> {
        // Whoever brings a key asks for an account that isn't the gateway's.
        if self.scopes.is_empty() || req.body().exchange().learn(|learnt| learnt.own_key) {
            return Ok(Held::Now(None));
        }
        let assumed = req.extensions().get::<AssumeOutput>().map_or(ASSUMED_OUTPUT, |assumed| assumed.tokens);
        // What was paid for before, or by whom it is asked first, is looked at for nothing.
        let is_free = is_free(req.body()) || is_job(req.body());
        let job = self.job(req.body());
        if job.is_none() && is_free {
            return self.ask(&self.of_requests(), Amounts::default());
        }
        match job {
            Some(job) if job.is_followed() => Ok(Held::Job(job, Amounts::default())),
            Some(job) => Ok(Held::Job(job, self.worst(req.body(), assumed)?)),
            None => self.ask(&self.scopes, self.worst(req.body(), assumed)?),
        }
    }

    fn ask(&self, scopes: &[Scope], worst: Amounts) -> Result<Held, Error> {
        if scopes.is_empty() {
            return Ok(Held::Now(None));
        }
        match self.ledger.try_reserve(scopes, worst) {
            Some(answer) => self.judge(answer).map(Held::Now),
            None => Ok(Held::Later(scopes.to_vec(), worst)),
        }
    }

    /// The most that the attempt may use.
    fn worst(&self, payload: &Payload, assumed: u64) -> Result<Amounts, Error> {
        let is_free = payload.dialect().is_free();
        let cost =
            if is_free { Some(AttemptCost::FREE) } else { AttemptCost::of(&self.target, payload, assumed) };
        let is_budget = || {
            let mut quotas = self.scopes.iter().filter_map(|scope| scope.quota);
            quotas.any(|quota| quota.measure == Measure::Usd && !quota.shadow)
        };
        let is_bounded = cost.is_some_and(|cost| cost.is_bounded);
        if !is_bounded && self.unknown_price == UnknownPrice::Refuse && is_budget() {
            let message = format!(
                "what this may cost at `{}` is not known, and its provider has a budget to keep",
                self.target.name()
            );
            return Err(Error::new(Kind::Billing, message).with_param("model"));
        }
        let tokens = AttemptCost::tokens(&self.target, payload, assumed);
        Ok(Amounts::new(cost.unwrap_or(AttemptCost::FREE).answered, &tokens))
    }

    /// Whether the ledger's answer lets the attempt be made. What refuses it is the provider's, and another one
    /// may have more.
    pub(super) fn judge(&self, answer: Result<Ticket, Error>) -> Result<Option<Ticket>, Error> {
        let error = match answer {
            Ok(ticket) => return Ok(Some(ticket)),
            Err(error) => error,
        };
        match error.kind() {
            Kind::BudgetExhausted => {
                let refused = Error::new(Kind::Billing, error.message());
                Err(error.retry_after().into_iter().fold(refused, Error::with_retry_after))
            }
            Kind::RateLimited => Err(error),
            _ if self.store_away == StoreAway::Allow => {
                tracing::warn!(?error, "the ledger can't be asked, an attempt is made uncounted");
                Ok(None)
            }
            _ => Err(error.with_nothing_begun()),
        }
    }

    pub(super) fn watch(&self, ticket: Option<Ticket>, payload: &Payload) -> OnEnd<SettleAttempt> {
        let exchange = payload.exchange().clone();
        if ticket.is_some() {
            exchange.learn(|learnt| learnt.provider_scopes.push(self.scopes.clone()));
        }
        let index = exchange.learn(|learnt| {
            let shadowed = ticket.iter().flat_map(|ticket| &ticket.shadowed);
            learnt.shadowed.extend(shadowed.map(|error| error.message().into()));
            learnt.attempts.len()
        });
        let (ledger, scopes) = (self.ledger.clone(), self.scopes.clone());
        OnEnd::new(SettleAttempt { ticket, job: None, scopes, ledger, exchange, index })
    }
}

impl ProviderBudgetLayer {
    /// Why an attempt would not be made at the moment; `None` if it would, or that can't be found out.
    pub(crate) async fn lacking(&self, payload: &Payload, assumed: u64) -> Option<Error> {
        if self.scopes.is_empty() {
            return None;
        }
        let worst = match self.worst(payload, assumed) {
            Ok(worst) => worst,
            Err(error) => return Some(error),
        };
        let balances = self.ledger.balances(&self.scopes).await.ok()?;
        let is_short = |(scope, balance): &(&Scope, &Balance)| {
            let quota = scope.quota.filter(|quota| !quota.shadow);
            quota.is_some_and(|quota| {
                let used = balance.posted.saturating_add(balance.held);
                used.saturating_add(worst.held(quota.measure)) > quota.limit
            })
        };
        let (scope, _) = self.scopes.iter().zip(&balances).find(is_short)?;
        let message = format!("what is left to `{}` doesn't bear the request", scope.account);
        Some(Error::new(Kind::Billing, message))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        Exchange, Target, Tokens,
        batch::{Batch, Requests, Stage},
        dialect::OPENAI_BATCHES,
        dispatch::{Candidate, Dispatch, Retry, Route, Table},
        exchange::Job,
        ledger::{MemoryLedger, Period, Quota},
        payload::Head,
        price::{NanoUsd, Rates},
        target::ModelFacts,
        testing::{ENDINGS, Ending, MustBeReady, Script, ask, is_shared},
    };

    /// One output token of a request without a cap costs one nano-dollar.
    fn target(provider: &str) -> Arc<Target> {
        let rates = Rates::flat(NanoUsd(0), NanoUsd(1_000_000));
        Arc::new(Target::new(provider, "m").price(Some(rates.into())))
    }

    fn layer(ledger: &Arc<MemoryLedger>, quota: Quota) -> ProviderBudgetLayer {
        ProviderBudgetLayer::new(ledger.clone(), target("demo"), [Scope::new("provider:demo", quota)])
    }

    fn usd(most: u64) -> Quota {
        Quota::usd(NanoUsd(most), Period::Day)
    }

    /// Notes an attempt that writes seven tokens.
    async fn answer(
        target: &Arc<Target>,
        req: Request<Payload>,
        ending: Ending,
    ) -> Result<Response<Script>, Error> {
        let attempt = req.body().exchange().begin(target);
        attempt.report(Tokens { output: 7, ..Tokens::default() });
        ending.answer().await
    }

    fn balance(ledger: &MemoryLedger) -> (u64, u64) {
        let balance = ledger.balance("provider:demo", Measure::Usd, Period::Day);
        balance.map_or((0, 0), |balance| (balance.posted, balance.held))
    }

    #[tokio::test]
    async fn an_attempt_is_charged_with_what_it_used_however_it_ends() {
        for ending in ENDINGS {
            let ledger = Arc::new(MemoryLedger::default());
            let target = target("demo");
            let service = layer(&ledger, usd(20_000)).layer(MustBeReady::new(move |req| {
                let target = target.clone();
                async move { answer(&target, req, ending).await }
            }));
            is_shared(&service);
            let req = ask("m", None);
            // An attempt of another target before it is not its business.
            req.body()
                .exchange()
                .begin(&self::target("other"))
                .report(Tokens { output: 99, ..Tokens::default() });

            let during = || assert_eq!(balance(&ledger), (0, ASSUMED_OUTPUT), "{ending:?}");
            let after = || assert_eq!(balance(&ledger), (7, 0), "{ending:?}");
            ending.play(service.oneshot(req), during, after).await;
        }
    }

    #[tokio::test]
    async fn what_a_provider_cannot_bear_is_sent_to_the_next_one() {
        let ledger = Arc::new(MemoryLedger::default());
        let candidate = |provider: &'static str| {
            let to = target(provider);
            let inner = service_fn(move |req: Request<Payload>| {
                let to = to.clone();
                async move { answer(&to, req, Ending::KnownLength).await }
            });
            let quota = if provider == "demo" { usd(20_000) } else { usd(0) };
            let scope = Scope::new(format!("provider:{provider}"), quota);
            let layer = ProviderBudgetLayer::new(ledger.clone(), target(provider), [scope]);
            (provider, layer, inner)
        };
        let stack = |provider| {
            let (provider, layer, inner) = candidate(provider);
            Candidate::new(target(provider), layer.layer(inner))
        };
        let route = |name: &str, first, second: &[&'static str]| {
            let rest: Vec<_> = second.iter().map(|provider| stack(provider)).collect();
            Route::new(name, std::iter::once(stack(first)).chain(rest)).retry(Retry::never())
        };
        let table = Table::default().route(route("both", "poor", &["demo"])).route(route("one", "poor", &[]));
        let dispatch = Dispatch::new(table);

        let answered = dispatch.clone().oneshot(ask("both", None)).await.unwrap();
        let refused = dispatch.oneshot(ask("one", None)).await.unwrap_err();

        assert_eq!(answered.headers()[crate::headers::PROVIDER], "demo");
        assert_eq!(refused.kind(), Kind::Billing);
        assert!(
            refused.message().starts_with("the budget of provider:poor is used up: 0 usd per day"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn limits_refuse_by_their_own_kind() {
        let ledger = Arc::new(MemoryLedger::default());
        let layer = layer(&ledger, Quota::concurrent(1));
        let service = || layer.layer(service_fn(|_: Request<Payload>| Ending::DroppedAfterFrame.answer()));

        let streaming = service().oneshot(ask("m", None)).await.unwrap();
        let refused = service().oneshot(ask("m", None)).await.unwrap_err();
        drop(streaming);

        assert_eq!(refused.kind(), Kind::RateLimited);
        assert!(refused.message().contains("provider:demo"), "{refused}");
        assert!(service().oneshot(ask("m", None)).await.is_ok());
    }

    #[tokio::test]
    async fn a_model_without_a_price_has_no_place_in_a_budget() {
        let ledger = Arc::new(MemoryLedger::default());
        let unpriced = Arc::new(Target::new("demo", "m"));
        let scopes = |quota| [Scope::new("provider:demo", quota)];
        let inner = || service_fn(|_: Request<Payload>| Ending::KnownLength.answer());
        let layer = |quota| ProviderBudgetLayer::new(ledger.clone(), unpriced.clone(), scopes(quota));

        let refused = layer(usd(5)).layer(inner()).oneshot(ask("m", None)).await.unwrap_err();
        let allowed = layer(usd(5)).unknown_price(UnknownPrice::Allow).layer(inner());
        let limited = layer(Quota::concurrent(1)).layer(inner());

        assert_eq!((refused.kind(), refused.is_failover()), (Kind::Billing, true));
        assert!(allowed.oneshot(ask("m", None)).await.is_ok());
        assert!(limited.oneshot(ask("m", None)).await.is_ok());
    }

    #[tokio::test]
    async fn quotas_of_other_models_are_not_asked() {
        let ledger = Arc::new(MemoryLedger::default());
        let models = Some(crate::access::Pattern::new("other-*"));
        let scope = Scope { models, ..Scope::new("provider:demo other-*", usd(0)) };
        let layer = ProviderBudgetLayer::new(ledger, target("demo"), [scope]);

        let answer = layer.layer(service_fn(|_: Request<Payload>| Ending::KnownLength.answer()));

        assert!(answer.oneshot(ask("m", None)).await.is_ok());
    }
    /// An attempt about a batch, of whose cost the exchange is told.
    fn about(stage: Stage) -> Request<Payload> {
        about_requests(stage, Requests { lines: 1, output: 4_096, ..Requests::default() })
    }

    fn about_requests(stage: Stage, requests: Requests) -> Request<Payload> {
        let batch = Batch { requests, stage, proof: None };
        let head = Head { model: "m".into(), batch: Some(Box::new(batch)), ..Head::default() };
        let exchange = Exchange::default();
        exchange.hold_job();
        Request::new(Payload::new(&OPENAI_BATCHES, head, Bytes::new(), exchange))
    }

    #[tokio::test]
    async fn what_a_batch_may_cost_is_held_until_it_is_over() {
        let ledger = Arc::new(MemoryLedger::default());
        let mut facts = ModelFacts::default();
        facts.max_output = Some(4_096);
        let limited = Arc::new(Target::clone(&target("demo")).facts(facts));
        let scope = Scope::new("provider:demo", usd(3_000));
        let layer = ProviderBudgetLayer::new(ledger.clone(), limited, [scope]);
        let attempt = async |stage: Stage, next: Option<Job>| {
            let (to, inner) = (target("demo"), next.clone());
            let service = layer.layer(service_fn(move |req: Request<Payload>| {
                let (to, next) = (to.clone(), inner.clone());
                async move {
                    let is_over = next == Some(Job::Over);
                    if let Some(next) = next {
                        req.body().exchange().advance_job(next);
                    }
                    if is_over {
                        answer(&to, req, Ending::Complete).await
                    } else {
                        Ending::Complete.answer().await
                    }
                }
            }));
            let answered = service.oneshot(about(stage)).await;
            answered.map(|answer| drop(answer.into_body())).map_err(|error| error.kind())
        };
        let begun = || Stage::Begun { file_at: 0..0, file: "f".into() };
        let followed = || Stage::Followed { hold: "b".into() };
        let running = || Some(Job::Running("b".into()));

        attempt(begun(), running()).await.unwrap();
        // Half of the price of the most that the model writes, as it is a batch.
        let held = 2_048;
        assert_eq!(balance(&ledger), (0, held));
        assert_eq!(attempt(begun(), running()).await, Err(Kind::Billing));
        for next in [running(), None] {
            attempt(followed(), next).await.unwrap();
            assert_eq!(balance(&ledger), (0, held));
        }
        attempt(followed(), Some(Job::Over)).await.unwrap();
        assert_eq!(balance(&ledger), (7, 0));

        // A batch that was not begun holds nothing.
        attempt(begun(), None).await.unwrap();
        assert_eq!(balance(&ledger), (7, 0));
    }

    #[tokio::test]
    async fn a_batch_that_may_cost_any_amount_is_not_begun() {
        let ledger = Arc::new(MemoryLedger::default());
        let layer = layer(&ledger, usd(1_000_000_000));
        let stage = Stage::Begun { file_at: 0..0, file: "f".into() };
        let requests = Requests { lines: 1, open: 1, ..Requests::default() };

        let service = layer.layer(service_fn(|_: Request<Payload>| Ending::KnownLength.answer()));
        let refused = service.oneshot(about_requests(stage, requests)).await.unwrap_err();

        assert_eq!(refused.kind(), Kind::Billing);
        assert!(refused.message().contains("is not known"), "{refused}");
    }

    #[tokio::test]
    async fn who_only_looks_at_a_batch_leaves_the_hold_to_others() {
        let ledger = Arc::new(MemoryLedger::default());
        let layer = layer(&ledger, usd(0));
        let req = about(Stage::Followed { hold: "b".into() });
        req.body().exchange().learn(|learnt| learnt.job = Job::None);

        let service = layer.layer(service_fn(|_: Request<Payload>| Ending::KnownLength.answer()));

        assert!(service.oneshot(req).await.is_ok());
    }
}
