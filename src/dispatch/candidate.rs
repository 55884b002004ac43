use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tower::{Service, ServiceExt};

use super::{
    load::{Asking, Load},
    pace::Pace,
};
use crate::{
    BoxBody, BoxError, BoxFuture, Error, Payload, Target,
    body::{End, OnEnd},
    breaker::Breaker,
    headers,
    payload::ModelName,
    price::FlatPrice,
    provider_budget::ProviderBudgetLayer,
    sign::KeyPool,
};

/// One target behind its own stack of layers.
#[derive(Clone)]
pub struct Candidate {
    target: Arc<Target>,
    model: ModelName,
    provider_header: HeaderValue,
    model_header: HeaderValue,
    stack: Arc<dyn Call>,
    weight: u32,
    load: Arc<Load>,
    digest: u64,
    pace: Option<Arc<Pace>>,
    rank: u32,
    takes_preferences: bool,
    breaker: Option<Breaker>,
    keys: Option<KeyPool>,
    budget: Option<ProviderBudgetLayer>,
    flat: Option<FlatPrice>,
}

/// Ranks within a group have fewer bits.
const GROUP: u32 = 16;

/// The beginning of a digest.
pub(super) fn short(digest: Sha256) -> u64 {
    let digest: [u8; 32] = digest.finalize().into();
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// A service with its type forgotten; calling it costs one allocation.
trait Call: Send + Sync {
    fn call(
        &self,
        req: Request<Payload>,
        asking: OnEnd<Asking>,
    ) -> BoxFuture<'static, Result<Response<BoxBody>, Error>>;
}

impl Candidate {
    /// Any service can answer for a target. Overload has to be an error of it, never a wait.
    pub fn new<S, R>(target: Arc<Target>, service: S) -> Self
    where
        S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
        Self {
            model: ModelName::new(target.model()),
            provider_header: header(target.provider()),
            model_header: header(target.model()),
            flat: FlatPrice::of(&target),
            digest: short(Sha256::new_with_prefix(target.name().as_bytes())),
            target,
            stack: Arc::new(Stack(service)),
            weight: 1,
            load: Arc::default(),
            pace: None,
            rank: 0,
            takes_preferences: false,
            breaker: None,
            keys: None,
            budget: None,
        }
    }

    /// What it costs, as far as that is simple.
    pub(super) fn flat_price(&self) -> Option<&FlatPrice> {
        self.flat.as_ref()
    }

    /// Which part of the requests it is asked for in its turn.
    pub(super) fn recovered(&self) -> f64 {
        self.breaker.as_ref().map_or(1.0, Breaker::share)
    }

    /// Sets its share among the others, where the route goes by weights: 1 if it isn't set. One of 0 is asked
    /// after all others.
    #[must_use]
    pub fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Shares what is known of the target with other candidates, and with what comes after a reload.
    #[must_use]
    pub fn load(self, load: Arc<Load>) -> Self {
        Self { load, ..self }
    }

    /// Sets the name by which the provider is asked, where the target has another one.
    #[must_use]
    pub fn asked_for(self, model: &str) -> Self {
        Self { model: ModelName::new(model), ..self }
    }

    /// Sets that its provider understands `provider` in a request, and is told what the client says there, unless
    /// that is about targets of the gateway.
    #[must_use]
    pub fn preferences(self, takes_them: bool) -> Self {
        Self { takes_preferences: takes_them, ..self }
    }

    /// Sets what passes over it inside of its stack. While it recovers, it is asked for a share of the requests
    /// only, where there are others.
    #[must_use]
    pub fn breaker(self, breaker: Breaker) -> Self {
        Self { breaker: Some(breaker), ..self }
    }

    /// Sets the keys that its requests are sent with, so that it can be [explained](super::Explanation) when they
    /// are all out.
    #[must_use]
    pub fn keys(self, keys: Option<KeyPool>) -> Self {
        Self { keys, ..self }
    }

    /// Sets what its attempts are charged to inside of its stack, so that it can be
    /// [explained](super::Explanation) when that is used up.
    #[must_use]
    pub fn budget(self, budget: ProviderBudgetLayer) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Sets in which time its answers have to begin.
    pub(super) fn pace(self, time: Duration) -> Self {
        Self { pace: Some(self.load.pace(time)), ..self }
    }

    /// Sets in which time its answers have to begin for one request, where that isn't less already.
    pub(super) fn pace_at_most(self, time: Duration) -> Self {
        match &self.pace {
            Some(known) if known.limit() <= time => self,
            _ => Self { pace: Some(self.load.pace_asked_for(time)), ..self },
        }
    }

    /// Puts it behind all others whose place is lower, whatever the strategy says.
    pub(crate) fn behind(self, rank: u32) -> Self {
        Self { rank: self.rank + rank, ..self }
    }

    /// Puts it behind all those of groups that come before its own.
    pub(crate) fn of_group(self, group: usize) -> Self {
        self.behind((group as u32) << GROUP)
    }

    /// Which group it is of.
    pub(crate) fn group(&self) -> usize {
        (self.rank >> GROUP) as usize
    }

    /// Who answers.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Its share among the others.
    pub(super) fn share(&self) -> u32 {
        self.weight
    }

    /// Which ones it comes behind.
    pub(super) fn rank(&self) -> u32 {
        self.rank
    }

    /// Which time it has to keep.
    pub(super) fn known_pace(&self) -> Option<&Pace> {
        self.pace.as_deref()
    }

    /// What passes over it.
    pub(super) fn known_breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// The keys that its requests are sent with.
    pub(super) fn known_keys(&self) -> Option<&KeyPool> {
        self.keys.as_ref()
    }

    /// What its attempts are charged to.
    pub(super) fn known_budget(&self) -> Option<&ProviderBudgetLayer> {
        self.budget.as_ref()
    }

    /// Whether its provider understands `provider` in a request.
    pub(crate) fn takes_preferences(&self) -> bool {
        self.takes_preferences
    }

    /// What is known of it from its answers.
    pub(super) fn known_load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Of its name.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Asks the target, under its name for the model.
    pub(crate) fn call(&self, req: Request<Payload>) -> BoxFuture<'static, Result<Response<BoxBody>, Error>> {
        let mut asking = self.load.begin(req.body().exchange());
        if let (Some(pace), Some(asking)) = (&self.pace, asking.get_mut()) {
            asking.pace = Some(pace.clone());
        }
        let told = |payload: Payload| if self.takes_preferences { payload.preferring() } else { payload };
        self.stack.call(req.map(|payload| told(payload).for_model(&self.model)), asking)
    }

    /// Says in an answer who gave it.
    pub(super) fn sign(&self, res: &mut Response<BoxBody>) {
        let headers = res.headers_mut();
        headers.insert(headers::PROVIDER, self.provider_header.clone());
        headers.insert(headers::MODEL, self.model_header.clone());
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Candidate").field(&self.target.name()).finish()
    }
}

struct Stack<S>(S);

impl<S, R> Call for Stack<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    fn call(
        &self,
        req: Request<Payload>,
        mut asking: OnEnd<Asking>,
    ) -> BoxFuture<'static, Result<Response<BoxBody>, Error>> {
        let call = self.0.clone().oneshot(req);
        Box::pin(async move {
            match call.await {
                Ok(res) => {
                    if let Some(asking) = asking.get_mut() {
                        asking.head();
                    }
                    Ok(res.map(|body| asking.follow(body.map_err(Into::into)).boxed_unsync()))
                }
                Err(error) => {
                    let error = error.into();
                    if let Some(asking) = asking.get_mut() {
                        asking.failed(&error);
                    }
                    asking.finish(End::Failed);
                    Err(error)
                }
            }
        })
    }
}
