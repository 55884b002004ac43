use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Budget, Config, Limits, Loops, PerRequest, Provider, Secret, Several,
    quotas::{self, Quotas},
    units::Written,
};
use crate::{
    access::Pattern,
    auth::{KeyDigest, Providers, VirtualKey},
    labels::Rules,
    ledger::{Scope, Zone},
};

/// A virtual key: who may come in, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Key {
    /// The name in logs and records; unique.
    pub name: String,
    /// The key itself, at least 16 characters. Either this or `sha256` is needed.
    #[serde(default)]
    pub key: Option<Secret>,
    /// The SHA-256 of the key in 64 hexadecimal digits, with or without `sha256:` before them, if the
    /// key itself shall not stand here.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The team that it belongs to, one of `teams`.
    #[serde(default)]
    pub team: Option<String>,
    /// The customer that it belongs to, one of `customers`; the team's if it isn't given.
    #[serde(default)]
    pub customer: Option<String>,
    /// The models that it may ask for, with `*` for any run of characters; all of them if it isn't
    /// given.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// The models that it may not ask for, in the same form, whatever is allowed.
    #[serde(default)]
    pub deny: Vec<String>,
    /// The providers that may answer it, in the same form; all of them if it isn't given.
    #[serde(default)]
    pub providers: Option<Vec<String>>,
    /// The providers that may not answer it, whatever is allowed.
    #[serde(default)]
    pub deny_providers: Vec<String>,
    /// The regions in which it may be answered, such as `eu-*`, in the same form; anywhere if it isn't given.
    /// Where a provider is says its `region`, or `location` at Vertex.
    #[serde(default)]
    pub regions: Option<Vec<String>>,
    /// How often, and how much at a time, it may ask.
    #[serde(default)]
    pub limits: Limits,
    /// What it may spend: one budget or several.
    #[serde(default)]
    pub budget: Several<Budget>,
    /// What is a loop of its requests that has run away, in the place of what its team or the gateway says.
    #[serde(default)]
    pub loops: Option<Loops>,
    /// What one request may use at the most.
    #[serde(default)]
    pub per_request: Option<PerRequest>,
    /// The tags that its requests have to say in `x-bartizan-tags` or in their metadata.
    #[serde(default)]
    pub required_tags: Vec<String>,
    /// Whether its requests may bring a provider's key of their own in `x-bartizan-provider-key`, which is used
    /// in place of the gateway's and not charged to budgets in dollars.
    #[serde(default)]
    pub own_provider_key: bool,
    /// Whether what its requests and answers say may be kept by what keeps records. The proxy's own records never
    /// hold it.
    #[serde(default)]
    pub log_content: bool,
    /// When it stops being accepted.
    #[serde(default)]
    pub expires: Option<Written<SystemTime>>,
    /// Whether it is refused.
    #[serde(default)]
    pub disabled: bool,
    /// The keys that it had before, which are accepted for a while.
    #[serde(default)]
    pub previous: Several<Previous>,
    /// How the key begins, to tell it from others.
    #[serde(default)]
    pub prefix: Option<String>,
    /// What the key was made of, together with what only who made it knows: by it the same request to make it has
    /// the same answer.
    #[serde(default)]
    pub seed: Option<String>,
    /// Whatever else is to be known of it; nothing goes by it.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
}

/// A key that was replaced by another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Previous {
    /// Its SHA-256 in 64 hexadecimal digits, with or without `sha256:` before them.
    pub sha256: String,
    /// When it stops being accepted.
    pub until: Written<SystemTime>,
}

/// Keys that share budgets and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Team {
    /// The customer that it belongs to, one of `customers`.
    pub customer: Option<String>,
    /// How often, and how much at a time, all keys of the team may ask together.
    pub limits: Limits,
    /// What all keys of the team may spend together.
    pub budget: Several<Budget>,
    /// What is a loop of a key of the team, in the place of what the gateway says.
    pub loops: Option<Loops>,
    /// What one request of the team may use at the most.
    pub per_request: Option<PerRequest>,
}

/// An organisation whose teams and keys share budgets and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Customer {
    /// How often, and how much at a time, all keys of the customer may ask together.
    pub limits: Limits,
    /// What all keys of the customer may spend together.
    pub budget: Several<Budget>,
    /// What one request of the customer may use at the most.
    pub per_request: Option<PerRequest>,
}

/// The gateway as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Gateway {
    /// How often, and how much at a time, all keys may ask together.
    pub limits: Limits,
    /// What all keys may spend together.
    pub budget: Several<Budget>,
    /// What one request may use at the most.
    pub per_request: Option<PerRequest>,
}

/// What each end user, each session or each value of a tag is held to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Labelled {
    /// How often, and how much at a time, all requests that say it may ask together.
    pub limits: Limits,
    /// What all requests that say it may spend together.
    pub budget: Several<Budget>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AuthMode {
    /// Those who present one of `keys`.
    #[default]
    Keys,
    /// Everyone. For a gateway that only its own machine can reach.
    Open,
}

impl Key {
    /// A key that may do everything, and spend without a limit.
    pub fn new(name: impl Into<String>, key: Secret) -> Self {
        Self {
            name: name.into(),
            key: Some(key),
            sha256: None,
            team: None,
            customer: None,
            allow: None,
            deny: Vec::new(),
            providers: None,
            deny_providers: Vec::new(),
            regions: None,
            limits: Limits::default(),
            budget: Several::default(),
            loops: None,
            per_request: None,
            required_tags: Vec::new(),
            own_provider_key: false,
            log_content: false,
            expires: None,
            disabled: false,
            previous: Several::default(),
            prefix: None,
            seed: None,
            metadata: BTreeMap::new(),
        }
    }

    /// The SHA-256 of the key; `None` if there is no key, or no well-formed one.
    pub(crate) fn digest(&self) -> Option<KeyDigest> {
        match (&self.key, &self.sha256) {
            (Some(key), _) => Some(KeyDigest::of(key.expose())),
            (None, Some(hex)) => hex.parse().ok(),
            (None, None) => None,
        }
    }

    /// The SHA-256 of all keys that are accepted for it, each with the end that a replaced one has. Those
    /// past their end are left out.
    pub(super) fn digests(&self) -> impl Iterator<Item = (KeyDigest, Option<SystemTime>)> {
        let now = SystemTime::now();
        let previous = self.previous.iter().filter(move |previous| *previous.until > now);
        let previous =
            previous.filter_map(|previous| Some((previous.sha256.parse().ok()?, Some(*previous.until))));
        self.digest().map(|digest| (digest, None)).into_iter().chain(previous)
    }

    fn team<'a>(&self, config: &'a Config) -> Option<&'a Team> {
        config.teams.get(self.team.as_ref()?)
    }

    pub(crate) fn customer<'a>(&'a self, config: &'a Config) -> Option<&'a str> {
        let team = self.team(config);
        self.customer.as_deref().or(team.and_then(|team| team.customer.as_deref()))
    }

    /// What its requests are held to, the narrowest first.
    fn quotas(&self, config: &Config) -> Quotas {
        let mut quotas = Quotas::of(config);
        let account = format!("key:{}", self.name);
        quotas.add(&account, &self.budget, &self.limits);
        quotas.bound(&account, self.per_request.as_ref());
        if let Some(name) = &self.team {
            let team = config.teams.get(name).cloned().unwrap_or_default();
            let account = format!("team:{name}");
            quotas.add(&account, &team.budget, &team.limits);
            quotas.bound(&account, team.per_request.as_ref());
        }
        if let Some(name) = self.customer(config) {
            let customer = config.customers.get(name).cloned().unwrap_or_default();
            let account = format!("customer:{name}");
            quotas.add(&account, &customer.budget, &customer.limits);
            quotas.bound(&account, customer.per_request.as_ref());
        }
        quotas.add("gateway", &config.gateway.budget, &config.gateway.limits);
        quotas.bound("gateway", config.gateway.per_request.as_ref());
        quotas
    }

    fn virtual_key(&self, config: &Config) -> VirtualKey {
        let mut key = VirtualKey::new(&self.name);
        key.team = self.team.as_deref().map(Into::into);
        key.customer = self.customer(config).map(Into::into);
        key.allow = self.allow.as_deref().map(patterns);
        key.deny = patterns(&self.deny);
        key.providers = Providers {
            allow: self.providers.as_deref().map(patterns),
            deny: patterns(&self.deny_providers),
        };
        key.own_provider_key = self.own_provider_key;
        key.log_content = self.log_content;
        key.regions = self.regions.as_deref().map(patterns);
        let Quotas { rates, scopes, ceilings, .. } = self.quotas(config);
        (key.rates, key.scopes, key.ceilings) = (rates, scopes, ceilings);
        key.required_tags = self.required_tags.iter().map(|name| name.as_str().into()).collect();
        let loops = self.loops.or(self.team(config).and_then(|team| team.loops));
        key.loops = loops.map(|loops| loops.rules().into());
        key.expires = self.expires.map(|at| *at);
        key.disabled = self.disabled;
        key
    }
}

/// What many keys are charged to, such as their team, has its name once in memory: it is found there more quickly.
fn share_names(key: &mut VirtualKey, names: &mut HashSet<Arc<str>>) {
    let of_scopes = key.scopes.iter_mut().map(|scope| &mut scope.account);
    for name in of_scopes.chain(key.rates.iter_mut().map(|(account, _)| account)) {
        match names.get(name) {
            Some(known) => *name = known.clone(),
            None => drop(names.insert(name.clone())),
        }
    }
}

fn patterns(names: &[String]) -> Vec<Pattern> {
    names.iter().map(|name| Pattern::new(name.as_str())).collect()
}

impl Config {
    /// What the gateway knows of its keys, each with the SHA-256 of the key itself. Keys that have
    /// none, which [`check`](Self::check) complains of, are left out.
    pub fn virtual_keys(&self) -> Vec<(KeyDigest, VirtualKey)> {
        let mut keys = Vec::with_capacity(self.keys.len());
        let mut names = HashSet::new();
        for key in &self.keys {
            let mut known = key.virtual_key(self);
            share_names(&mut known, &mut names);
            for (digest, until) in key.digests() {
                let expires = known.expires.into_iter().chain(until).min();
                keys.push((digest, VirtualKey { expires, ..known.clone() }));
            }
        }
        keys
    }

    /// The accounts of a provider, if it is held to anything.
    pub(crate) fn provider_scopes(&self, name: &str, provider: &Provider) -> Vec<Scope> {
        quotas::scopes(&format!("provider:{name}"), &provider.budget, &provider.limits, self.zone())
    }

    /// Where days begin, if nothing else is said.
    pub(super) fn zone(&self) -> Option<Zone> {
        self.timezone.map(|zone| *zone)
    }

    /// What end users, sessions and tags are held to.
    pub fn label_rules(&self) -> Rules {
        let rules = |labelled: &Labelled| quotas::rules(&labelled.budget, &labelled.limits, self.zone());
        let labels = Rules::default().users(rules(&self.users)).sessions(rules(&self.sessions));
        self.tags.iter().fold(labels, |labels, (tag, labelled)| match tag.split_once('=') {
            Some((name, value)) => labels.tag_value(name, value, rules(labelled)),
            None => labels.tag(tag, rules(labelled)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Measure, Period, Quota},
        price::NanoUsd,
    };

    fn read(text: &str) -> Config {
        Config::read(text, "f", &|_| None).unwrap()
    }

    #[test]
    fn what_is_said_may_be_kept_of_a_key_that_says_so_only() {
        let config = read(
            "keys:\n  \
             - { name: a, key: 0123456789abcdef, log_content: true }\n  \
             - { name: b, key: 0123456789abcdeg }\n",
        );

        let kept: Vec<_> = config.virtual_keys().iter().map(|(_, key)| key.log_content).collect();

        assert_eq!(kept, [true, false]);
    }

    #[test]
    fn a_key_is_charged_to_itself_its_team_and_the_gateway() {
        let config = read(
            "gateway: { budget: { usd: 500, per: total } }\n\
             teams: { search: { budget: { usd: 200, per: month } } }\n\
             keys:\n  \
             - { name: a, key: 0123456789abcdef, team: search, budget: { usd: 50, per: day } }\n  \
             - { name: b, key: 0123456789abcdeg }\n",
        );

        let keys = config.virtual_keys();

        let scopes = |index: usize| {
            let of =
                |scope: &Scope| (scope.account.to_string(), scope.quota.map(|quota| NanoUsd(quota.limit)));
            keys[index].1.scopes.iter().map(of).collect::<Vec<_>>()
        };
        let usd = |dollars| Some(NanoUsd::from_usd(dollars));
        let gateway = ("gateway".to_owned(), usd(500));
        assert_eq!(
            scopes(0),
            [("key:a".to_owned(), usd(50)), ("team:search".to_owned(), usd(200)), gateway.clone()]
        );
        assert_eq!(scopes(1), [("key:b".to_owned(), None), gateway]);
    }

    #[test]
    fn the_name_of_a_team_is_in_memory_once() {
        let config = read(
            "teams: { search: { limits: { requests: 600/minute, tokens: 1M/minute } } }\n\
             keys:\n  \
             - { name: a, key: 0123456789abcdef, team: search }\n  \
             - { name: b, key: 0123456789abcdeg, team: search }\n",
        );

        let keys = config.virtual_keys();

        let of_scopes = keys.iter().flat_map(|(_, key)| key.scopes.iter().map(|scope| &scope.account));
        let of_rates = keys.iter().flat_map(|(_, key)| key.rates.iter().map(|(account, _)| account));
        let names: Vec<_> = of_scopes.chain(of_rates).filter(|name| ***name == *"team:search").collect();
        assert_eq!(names.len(), 6);
        assert!(names.iter().all(|name| Arc::ptr_eq(name, names[0])));
    }

    #[test]
    fn quotas_are_for_any_account_any_measure_and_any_models() {
        let config = read(
            "customers: { acme: { budget: [ { usd: 9, per: quarter }, { tokens: 5M, per: 30d } ] } }\n\
             teams: { search: { customer: acme, limits: { requests: 600/minute, shadow: true } } }\n\
             gateway: { limits: { requests: [ 5/second, 1k/day ] } }\n\
             keys:\n  \
             - name: a\n    \
               key: 0123456789abcdef\n    \
               team: search\n    \
               limits: { concurrent: 2, tokens: 100k/minute, models: { 'gpt-*': { requests: 3/hour } } }\n",
        );

        let (_, key) = &config.virtual_keys()[0];

        assert_eq!(key.customer.as_deref(), Some("acme"));
        let rates: Vec<_> = key.rates.iter().map(|(account, rate)| format!("{account} {rate}")).collect();
        assert_eq!(rates, ["gateway 5/second"]);
        let shown = |scope: &Scope| match scope.quota {
            None => format!("{} counted", scope.account),
            Some(Quota { measure, limit, period, shadow }) => {
                let shadow = if shadow { " in shadow" } else { "" };
                format!("{} {limit} {} per {period}{shadow}", scope.account, measure.as_str())
            }
        };
        let scopes: Vec<_> = key.scopes.iter().map(shown).collect();
        assert_eq!(
            scopes,
            [
                "key:a counted",
                "key:a 100000 tokens per minute",
                "key:a 2 concurrent per total",
                "key:a gpt-* 3 requests per hour",
                "team:search counted",
                "team:search 600 requests per minute in shadow",
                "customer:acme 9000000000 usd per quarter",
                "customer:acme 5000000 tokens per 30d",
                "gateway counted",
                "gateway 1000 requests per day",
            ]
        );
        let is_for = |index: usize, model| key.scopes[index].is_for(model);
        assert_eq!([is_for(3, "gpt-4o"), is_for(3, "claude"), is_for(0, "claude")], [true, false, true]);
    }

    #[test]
    fn rates_are_asked_of_the_ledger_too_where_it_is_shared() {
        let config = read(
            "store: { redis: redis://host }\n\
             users: { limits: { requests: 5/minute } }\n\
             keys: [ { name: a, key: 0123456789abcdef, limits: { requests: [ 9/minute, 7/day ] } } ]\n",
        );

        let (_, key) = &config.virtual_keys()[0];

        let quotas: Vec<_> = key.scopes.iter().filter_map(|scope| scope.quota).collect();
        let requests = |limit, period| Quota::new(Measure::Requests, limit, period);
        assert_eq!(quotas, [requests(9, Period::Minute), requests(7, Period::Day)]);
        assert_eq!(key.rates.len(), 1);
    }

    #[test]
    fn days_begin_in_the_zone_of_the_configuration_or_of_the_quota() {
        let config = read(
            "timezone: Europe/Berlin\n\
             auth: open\n\
             users: { budget: { usd: 1, per: week } }\n\
             keys:\n  \
             - name: a\n    \
               key: 0123456789abcdef\n    \
               budget: [ { usd: 1, per: day }, { usd: 9, per: day in Asia/Tokyo }, { usd: 99, per: 30d } ]\n    \
               limits: { tokens: 1k/day in UTC }\n",
        );

        let (_, key) = &config.virtual_keys()[0];
        let of_users = config.label_rules();

        let periods: Vec<_> =
            key.scopes.iter().filter_map(|scope| Some(scope.quota?.period.to_string())).collect();
        assert_eq!(periods, ["day in Europe/Berlin", "day in Asia/Tokyo", "30d", "day in UTC"]);
        assert!(format!("{of_users:?}").contains("Week, Europe/Berlin"), "{of_users:?}");
        let error = Config::read("auth: open\ntimezone: Berlin", "f", &|_| None).unwrap_err().to_string();
        assert!(error.contains("expected a time zone"), "{error}");
    }

    #[test]
    fn quotas_that_contradict_themselves_are_complained_of() {
        let problem = |text: &str| Config::read(text, "f", &|_| None).unwrap_err().to_string();
        let key = "keys: [ { name: a, key: 0123456789abcdef, ";

        for (rest, message) in [
            ("budget: { per: day } } ]", "has neither `usd` nor `tokens`"),
            ("budget: { usd: 1, tokens: 1, per: day } } ]", "has both `usd` and `tokens`"),
            ("budget: [ { usd: 1, per: day }, { usd: 2, per: day } ] } ]", "two budgets of one kind"),
            ("limits: { models: { 'a*': { models: { b: {} } } } } } ]", "one level too many"),
            ("limits: { requests: 5 } } ]", "expected an amount in a time, such as 600/minute"),
            ("customer: nobody } ]", "unknown customer `nobody`"),
        ] {
            let problem = problem(&format!("{key}{rest}"));
            assert!(problem.contains(message), "{problem}");
        }
    }

    #[test]
    fn a_key_and_its_digest_are_the_same_key() {
        let hex = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let plain = read("keys: [ { name: a, key: 0123456789abcdef } ]").virtual_keys();
        let hashed = read(&format!("keys: [ {{ name: b, sha256: 'sha256:{hex}' }} ]")).virtual_keys();
        let upper = read(&format!("keys: [ {{ name: c, sha256: {} }} ]", hex.to_uppercase())).virtual_keys();

        assert_eq!(plain[0].0, hashed[0].0);
        assert_eq!(plain[0].0, upper[0].0);
    }

    #[test]
    fn what_a_key_may_do_is_taken_over() {
        let config = read(
            "keys: [ { name: a, key: 0123456789abcdef, allow: [ chat, 'anthropic/*' ], disabled: true, \
             limits: { requests: 5/second }, expires: 2027-01-01T00:00:00Z } ]",
        );

        let (_, key) = &config.virtual_keys()[0];

        assert!(key.allow.as_ref().unwrap()[1].matches("anthropic/x"));
        assert_eq!(key.rates[0].1.to_string(), "5/second");
        assert!(key.disabled && key.expires.is_some());
    }

    #[test]
    fn a_replaced_key_is_accepted_until_its_end() {
        let old = KeyDigest::of("the-key-before");
        let config = read(&format!(
            "keys:\n  - name: a\n    key: 0123456789abcdef\n    expires: 2100-01-01T00:00:00Z\n    previous:\n      \
             - {{ sha256: {old}, until: 2099-01-01T00:00:00Z }}\n      \
             - {{ sha256: {}, until: 2001-01-01T00:00:00Z }}\n",
            KeyDigest::of("long-ago")
        ));

        let keys = config.virtual_keys();

        assert_eq!(keys.len(), 2);
        assert_eq!((keys[1].0, &*keys[1].1.name), (old, "a"));
        assert!(keys[1].1.expires < keys[0].1.expires);
    }

    #[test]
    fn what_is_denied_is_denied_whatever_is_allowed() {
        let config = read(
            "keys:\n  - { name: a, key: 0123456789abcdef, allow: [ 'gpt-*' ], deny: [ '*-big' ], \
             providers: [ '*-eu' ], deny_providers: [ old-eu ] }\n",
        );

        let (_, key) = &config.virtual_keys()[0];

        assert!(key.may_use("gpt-a") && !key.may_use("gpt-big") && !key.may_use("claude"));
        assert!(key.providers.has("azure-eu") && !key.providers.has("old-eu") && !key.providers.has("azure"));
    }
}
