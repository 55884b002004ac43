use std::{borrow::Cow, ops::Deref, sync::Arc, time::SystemTime};

use http::Request;

use super::KeyDigest;
use crate::{
    Error, Kind, Target,
    access::Pattern,
    budget::Ceiling,
    ledger::{Quota, Scope},
    loops::Loops,
    request_limit::Rate,
};

/// What the gateway knows of one of its keys. The key itself is not among it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VirtualKey {
    /// The key's name in the configuration, in logs and in records.
    pub name: Arc<str>,
    /// The team it belongs to.
    pub team: Option<Arc<str>>,
    /// The models it may ask for; `None` is all of them.
    pub allow: Option<Vec<Pattern>>,
    /// The models it may not ask for, whatever is allowed.
    pub deny: Vec<Pattern>,
    /// Who may answer its requests.
    pub providers: Providers,
    /// The regions in which its requests may be answered; `None` is everywhere, also where it isn't known.
    pub regions: Option<Vec<Pattern>>,
    /// The customer it belongs to.
    pub customer: Option<Arc<str>>,
    /// How many requests it, its team, its customer and the gateway may make, by the name of the account.
    pub rates: Vec<(Arc<str>, Rate)>,
    /// The accounts that its requests are charged to: its own, its team's, the gateway's.
    pub scopes: Vec<Scope>,
    /// The most that one request of it may use: of the key, its team, its customer and the gateway.
    pub ceilings: Vec<Ceiling>,
    /// The tags that its requests have to say.
    pub required_tags: Vec<Box<str>>,
    /// Whether its requests may bring a provider's key of their own, in `x-bartizan-provider-key`.
    pub own_provider_key: bool,
    /// Whether a sink of [records](crate::record) may keep what its requests and answers say.
    pub log_content: bool,
    /// What is a loop of its requests; `None` leaves that to the gateway.
    pub loops: Option<Arc<Loops>>,
    /// When it stops being accepted.
    pub expires: Option<SystemTime>,
    /// Whether it is refused although it is known.
    pub disabled: bool,
}

impl VirtualKey {
    /// A key that may do everything, and whose spend is counted on the account `key:{name}`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            team: None,
            allow: None,
            deny: Vec::new(),
            providers: Providers::default(),
            regions: None,
            customer: None,
            rates: Vec::new(),
            scopes: vec![Scope::counted(format!("key:{name}"))],
            ceilings: Vec::new(),
            required_tags: Vec::new(),
            own_provider_key: false,
            log_content: false,
            loops: None,
            expires: None,
            disabled: false,
        }
    }

    /// Sets the team it belongs to.
    #[must_use]
    pub fn team(self, team: impl Into<Arc<str>>) -> Self {
        Self { team: Some(team.into()), ..self }
    }

    /// Sets the models it may ask for.
    #[must_use]
    pub fn allow(self, models: impl IntoIterator<Item = Pattern>) -> Self {
        Self { allow: Some(models.into_iter().collect()), ..self }
    }

    /// Sets the models it may not ask for, whatever is allowed.
    #[must_use]
    pub fn deny(self, models: impl IntoIterator<Item = Pattern>) -> Self {
        Self { deny: models.into_iter().collect(), ..self }
    }

    /// Sets who may answer its requests.
    #[must_use]
    pub fn providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// Sets the regions in which its requests may be answered.
    #[must_use]
    pub fn regions(self, regions: impl IntoIterator<Item = Pattern>) -> Self {
        Self { regions: Some(regions.into_iter().collect()), ..self }
    }

    /// Adds a rate of requests that it may make.
    #[must_use]
    pub fn requests(mut self, rate: Rate) -> Self {
        self.rates.push((format!("key:{}", self.name).into(), rate));
        self
    }

    /// Adds a quota of its own account.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        let name = format!("key:{}", self.name);
        let known = self.scopes.iter().find(|scope| *scope.account == *name);
        let account = known.map_or_else(|| name.into(), |scope| scope.account.clone());
        // Quotas count for themselves.
        self.scopes.retain(|scope| scope.account != account || scope.quota.is_some());
        self.scopes.insert(0, Scope::new(account, quota));
        self
    }

    /// Adds an account that its requests are charged to, such as its team's.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scopes.push(scope);
        self
    }

    /// Adds a bound to what one request of it may use.
    #[must_use]
    pub fn ceiling(mut self, ceiling: Ceiling) -> Self {
        self.ceilings.push(ceiling);
        self
    }

    /// Adds a tag that its requests have to say.
    #[must_use]
    pub fn required_tag(mut self, name: &str) -> Self {
        self.required_tags.push(name.into());
        self
    }

    /// Sets whether its requests may bring a provider's key of their own.
    #[must_use]
    pub fn own_provider_key(self, may_bring: bool) -> Self {
        Self { own_provider_key: may_bring, ..self }
    }

    /// Sets whether what its requests and answers say may be kept.
    #[must_use]
    pub fn log_content(self, may_be_kept: bool) -> Self {
        Self { log_content: may_be_kept, ..self }
    }

    /// Sets what is a loop of its requests.
    #[must_use]
    pub fn loops(self, loops: Loops) -> Self {
        Self { loops: Some(loops.into()), ..self }
    }

    /// Sets when it stops being accepted.
    #[must_use]
    pub fn expires(self, at: SystemTime) -> Self {
        Self { expires: Some(at), ..self }
    }

    /// Sets whether it is refused although it is known.
    #[must_use]
    pub fn disabled(self, disabled: bool) -> Self {
        Self { disabled, ..self }
    }

    /// Whether `target` may answer its requests.
    ///
    /// # Errors
    ///
    /// [`Kind::Forbidden`] if the key doesn't allow its provider, or the region that it is in.
    pub fn may_be_answered_by(&self, target: &Target) -> Result<(), Error> {
        let forbidden = |message: String| Err(Error::new(Kind::Forbidden, message).with_param("model"));
        if !self.providers.has(target.provider()) {
            return forbidden("this key may not use any of the providers that have the model".to_owned());
        }
        let Some(regions) = &self.regions else { return Ok(()) };
        let region = target.known_region();
        if region.is_some_and(|region| regions.iter().any(|allowed| allowed.matches(region))) {
            return Ok(());
        }
        let regions: Vec<_> = regions.iter().map(Pattern::to_string).collect();
        forbidden(format!(
            "this key may only be answered in {}, and nobody is known to have the model there",
            regions.join(", ")
        ))
    }

    /// Whether it is restricted to no providers and no regions.
    pub(crate) fn may_be_answered_by_all(&self) -> bool {
        self.providers.are_all() && self.regions.is_none()
    }

    /// Whether it may ask for `model`.
    pub fn may_use(&self, model: &str) -> bool {
        let is_one_of = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(model));
        self.allow.as_deref().is_none_or(is_one_of) && !is_one_of(&self.deny)
    }
}

/// Providers, by the names that the gateway has for them.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    /// Those that may answer; `None` is all of them.
    pub allow: Option<Vec<Pattern>>,
    /// Those that may not, whatever is allowed.
    pub deny: Vec<Pattern>,
}

impl Providers {
    /// Whether `provider` is one of them.
    ///
    /// ```
    /// use bartizan::{access::Pattern, auth::Providers};
    ///
    /// let european = Providers { allow: Some(vec![Pattern::new("*-eu")]), deny: Vec::new() };
    ///
    /// assert!(european.has("azure-eu") && !european.has("openai"));
    /// ```
    pub fn has(&self, provider: &str) -> bool {
        let is_one_of = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(provider));
        self.allow.as_deref().is_none_or(is_one_of) && !is_one_of(&self.deny)
    }

    /// Whether every provider is one of them.
    fn are_all(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

/// Who asks: put into the request's extensions by [`Auth`](super::Auth).
#[derive(Clone, Debug)]
pub struct Caller {
    key: Arc<VirtualKey>,
    /// Of what it presented.
    digest: Option<KeyDigest>,
    /// What is charged besides the scopes of the key.
    besides: Vec<Scope>,
}

impl Caller {
    /// The caller whose key is `key`. What is [sealed](crate::own_ids) for it is sealed with its name, until
    /// there is [something better](Self::presented).
    pub fn new(key: impl Into<Arc<VirtualKey>>) -> Self {
        Self { key: key.into(), digest: None, besides: Vec::new() }
    }

    /// The same caller, by the digest of what it presented, which nobody else knows.
    #[must_use]
    pub fn presented(self, digest: KeyDigest) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// The same caller, where this request is charged to other accounts too.
    #[must_use]
    pub fn charged(self, scopes: Vec<Scope>) -> Self {
        Self { besides: scopes, ..self }
    }

    /// The accounts that a request to `model` is charged to.
    pub fn scopes_for(&self, model: &str) -> Cow<'_, [Scope]> {
        if self.besides.is_empty() && self.scopes.iter().all(|scope| scope.models.is_none()) {
            return Cow::Borrowed(&self.scopes);
        }
        self.scopes.iter().chain(&self.besides).filter(|scope| scope.is_for(model)).cloned().collect()
    }

    /// Whether requests to `model` are charged to accounts that those to `other` are not.
    pub(crate) fn has_more_limits_for(&self, model: &str, other: &str) -> bool {
        let mut scopes = self.scopes.iter().chain(&self.besides);
        scopes.any(|scope| scope.is_for(model) && !scope.is_for(other))
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        self.digest.unwrap_or_else(|| KeyDigest::of(&*self.key.name))
    }

    /// The caller of `req`.
    ///
    /// # Errors
    ///
    /// [`Kind::Unauthenticated`] if no [`Auth`](super::Auth) stands outside: layers that need a caller
    /// fail closed.
    pub fn of<B>(req: &Request<B>) -> Result<&Self, Error> {
        req.extensions().get().ok_or_else(|| {
            Error::new(Kind::Unauthenticated, "the request came in without a check of its key")
        })
    }
}

impl Deref for Caller {
    type Target = VirtualKey;

    fn deref(&self) -> &VirtualKey {
        &self.key
    }
}
