use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{
    Config, Model, PooledKey, Provider, ProviderKind, Target as Listed, TextOr,
    address::{address, base_url},
    breaker::Breakers,
    credentials::{credential, form},
    prices::Prices,
    probe::{self, Probes, probes},
    resolve::Models,
    retry_budgets::RetryBudgets,
    routes::{Ends, Kept, Routes},
    stack::Stack,
    standings::{Known, Standings},
};
use crate::{
    BoxError,
    alerts::Alerts,
    audit::Trail,
    breaker::{self, Board},
    dispatch::{Load, Mirrors, Table},
    in_flight::InFlightLayer,
    ledger::{Ledger, MemoryLedger},
    sign::{Credential, KeyForm, KeyPool, PoolKey, SignLayer},
    upstream::{Address, HttpClient},
};

/// Makes routing tables of configurations.
///
/// It is kept from one configuration to the next, because the connections to providers, the count of
/// requests in flight and what is known of targets from their answers have to outlive a reload.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    clients: HashMap<Pool, HttpClient>,
    in_flight: HashMap<(String, usize), InFlightLayer>,
    breakers: Breakers,
    loads: Arc<Loads>,
    /// The keys of providers that have several.
    pools: HashMap<String, KeyPool>,
    alerts: Option<Alerts>,
    trail: Option<Trail>,
    standings: Standings,
    probes: Probes,
    secret: OwnSecret,
    kept: Kept,
    ends: Ends,
    retry_budgets: RetryBudgets,
    ledger: Option<Arc<dyn Ledger>>,
    mirrors: Mirrors,
    is_rehearsed: bool,
}

/// What is known of the targets of the configuration, by their names.
pub(super) type Loads = HashMap<String, Arc<Load>>;

/// That of the targets of `config`, as far as anything is `known`. What clients name themselves is not among it,
/// so that it has as many members as the configuration.
fn loads(config: &Config, known: &Loads) -> Loads {
    let names = config.target_names().into_iter();
    names.map(|name| (name.to_owned(), known.get(name).cloned().unwrap_or_default())).collect()
}

impl Config {
    /// The targets of its models and of their rules.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Listed> {
        self.models.values().flat_map(|Model { targets, rules, .. }| {
            targets.iter().chain(rules.iter().flat_map(|rule| &rule.targets))
        })
    }

    /// The names of all that it says is asked: targets, mirrors, and what tells tasks.
    pub(super) fn target_names(&self) -> BTreeSet<&str> {
        let of_models = self.models.values().flat_map(|model| {
            let mirror = model.mirror.iter().map(|mirror| &*mirror.name);
            mirror.chain(model.tasks.iter().filter_map(|tasks| tasks.embeddings.as_deref()))
        });
        self.targets().map(|target| &*target.name).chain(of_models).collect()
    }
}

impl Builder {
    /// Sets where the budgets and limits of providers are kept; in memory, if it isn't said.
    #[must_use]
    pub fn ledger(self, ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Sets where copies of requests are compared and recorded; nowhere else than here, if it isn't said.
    #[must_use]
    pub fn mirrors(self, mirrors: Mirrors) -> Self {
        Self { mirrors, ..self }
    }

    /// How the targets stand, now and whenever it is looked at again.
    pub fn standings(&self) -> Standings {
        self.standings.clone()
    }

    /// Tells other gateways on `board` which targets are passed over, and passes over those that they do, until it is
    /// dropped.
    pub fn sharing(&self, board: Arc<dyn Board>) -> impl Future<Output = ()> + Send + use<> {
        let breakers = self.breakers.clone();
        breaker::share(board, move || breakers.all())
    }

    /// Asks providers whether they are there, as the configuration in force has it, until it is dropped.
    pub fn probing(&self) -> impl Future<Output = ()> + Send + use<> {
        probe::ask(self.probes.clone())
    }

    /// Sets who tells people of keys that providers refuse.
    #[must_use]
    pub fn alerts(self, alerts: Alerts) -> Self {
        Self { alerts: Some(alerts), ..self }
    }

    /// Sets where it is noted that targets are passed over, that models are served by their successors, and that
    /// providers refuse keys.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        Self { breakers: self.breakers.audit(trail.clone()), trail: Some(trail), ..self }
    }

    /// Lets the [demo](crate::demo) answer in place of all providers, in their dialects, without their credentials:
    /// routes can be tried with it, and cost nothing. Bedrock's place is taken in OpenAI's chat completions.
    #[must_use]
    pub fn rehearsed(self) -> Self {
        Self { is_rehearsed: true, ..self }
    }

    /// The routes of `config`: one for each of its models, and `provider/model` for all others.
    ///
    /// # Errors
    ///
    /// If the address, a header or the key of a provider can't be used; the message names it.
    pub fn table(&mut self, config: &Config) -> Result<Table, BoxError> {
        let prices = Arc::new(Prices::new(config));
        self.loads = Arc::new(loads(config, &self.loads));
        self.breakers.name(config.target_names());
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            let stack = self.provider(name, provider, config, &prices);
            providers.insert(name.clone(), stack.map_err(|error| format!("providers.{name}: {error}"))?);
        }
        let budgets = self.retry_budgets.clone();
        let mut routes = Routes {
            config,
            providers: &providers,
            mirrors: &self.mirrors,
            trail: &self.trail,
            budgets: &budgets,
            made: BTreeMap::new(),
            kept: &mut self.kept,
            ends: &mut self.ends,
        };
        let mut table = Table::default();
        for name in config.models.keys() {
            table = table.route(routes.of(name, 0)?);
        }
        let pools =
            providers.iter().map(|(name, stack)| (name.as_str().into(), stack.keys.clone())).collect();
        self.standings.replace(self.known(config, &providers), self.breakers.clone(), pools);
        if !self.is_rehearsed {
            self.probes.store(Arc::new(probes(config, &self.breakers)?));
        }
        self.breakers.name_only(config.target_names());
        Ok(table.resolve(Models::new(config, providers, budgets)))
    }

    fn provider(
        &mut self,
        name: &str,
        provider: &Provider,
        config: &Config,
        prices: &Arc<Prices>,
    ) -> Result<Stack, BoxError> {
        let address = if provider.kind == ProviderKind::Demo { None } else { Some(address(provider)?) };
        let connect = provider.connect_timeout.map_or(config.defaults.timeouts.connect(), |time| *time);
        let most = provider.max_in_flight.map_or(usize::MAX, Into::into);
        let in_flight =
            self.in_flight.entry((name.to_owned(), most)).or_insert_with(|| InFlightLayer::new(most)).clone();
        // Routes may set a time of their own for connecting, where the provider has none; connections are shared
        // where it is the same.
        let routes = config.models.values().filter(|_| provider.connect_timeout.is_none());
        let own = routes.filter_map(|model| model.timeouts.connect.map(|time| *time));
        let connects = own.chain([connect]).filter(|_| !self.is_rehearsed);
        let clients = connects.map(|connect| {
            let pool = Pool { connect, http2: provider.http2, tls: base_url(provider).starts_with("https:") };
            (connect, self.clients.entry(pool).or_insert_with(|| pool.client()).clone())
        });
        let clients = clients.collect();
        let pool = self.pool(name, provider)?;
        Ok(Stack {
            name: name.to_owned(),
            kind: provider.kind,
            provider: provider.clone(),
            connect,
            clients,
            keys: pool.clone(),
            sign: if self.is_rehearsed {
                SignLayer::new(Credential::None)?
            } else {
                sign(provider, address.as_ref(), pool)?
            },
            is_rehearsed: self.is_rehearsed,
            address,
            in_flight,
            rules: provider.breaker.or(&config.defaults.breaker).rules(),
            breakers: self.breakers.clone(),
            loads: self.loads.clone(),
            secret: secret(provider, config).unwrap_or(self.secret.0),
            prices: prices.clone(),
            scopes: config.provider_scopes(name, provider),
            ledger: self.ledger.get_or_insert_with(|| Arc::new(MemoryLedger::default())).clone(),
            own_prices: provider.prices.iter().map(|(model, price)| (model.clone(), price.into())).collect(),
        })
    }

    /// The targets of the configuration, each once.
    fn known(&self, config: &Config, providers: &BTreeMap<String, Stack>) -> Vec<Known> {
        let mut seen = HashSet::new();
        let known = |target: &Listed| {
            let stack = providers.get(target.parts()?.0)?;
            Some(Known { breaker: self.breakers.of(&target.name, stack.rules), pool: stack.keys.clone() })
        };
        config.targets().filter(|target| seen.insert(&target.name)).filter_map(known).collect()
    }

    /// The keys of a provider that has several. What is known of them outlives a reload, as long as they are the same.
    fn pool(&mut self, name: &str, provider: &Provider) -> Result<Option<KeyPool>, BoxError> {
        let key = |(index, pooled): (usize, &TextOr<PooledKey>)| {
            PoolKey::new(&pooled.called(index), pooled.key.clone())
                .weight(pooled.weight.map_or(1, NonZeroU32::get))
        };
        let keys: Vec<_> = provider.api_keys.iter().enumerate().map(key).collect();
        let form = form(provider.kind);
        if keys.is_empty() {
            return Ok(None);
        }
        if let Some(pool) = self.pools.get(name).filter(|pool| pool.is_of(&form, &keys)) {
            return Ok(Some(pool.clone()));
        }
        let pool = KeyPool::new(name, form, keys).map_err(|error| format!("api_keys: {error}"))?;
        let pool = self.alerts.iter().fold(pool, |pool, alerts| pool.alerts(alerts.clone()));
        let pool = self.trail.iter().fold(pool, |pool, trail| pool.audit(trail.clone()));
        self.pools.insert(name.to_owned(), pool.clone());
        Ok(Some(pool))
    }
}

/// A secret of this process, for providers that have none: it outlives a reload and not a restart.
#[derive(Clone)]
struct OwnSecret([u8; 32]);

impl Default for OwnSecret {
    fn default() -> Self {
        let mut secret = [0; 32];
        // Without randomness there would be no TLS either.
        let _ = getrandom::fill(&mut secret);
        Self(secret)
    }
}

impl fmt::Debug for OwnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSecret")
    }
}

/// What replicas with the same configuration have in common, and clients don't know.
fn secret(provider: &Provider, config: &Config) -> Option<[u8; 32]> {
    let credentials = provider.credentials.as_ref();
    let first = || provider.api_keys.first().map(|pooled| &pooled.key);
    let own = || provider.api_key.as_ref().or_else(first).or_else(|| credentials?.client_secret.as_ref());
    let secret = config.server.secret.as_ref().or_else(own)?;
    Some(Sha256::digest(secret.expose()).into())
}

/// What has to be the same for two providers to share their connections' settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pool {
    connect: Duration,
    http2: bool,
    tls: bool,
}

impl Pool {
    fn client(self) -> HttpClient {
        match (self.http2, self.tls) {
            (false, _) => HttpClient::new(self.connect),
            (true, true) => HttpClient::http2(self.connect),
            (true, false) => HttpClient::http2_prior_knowledge(self.connect),
        }
    }
}

fn sign(
    provider: &Provider,
    address: Option<&Address>,
    pool: Option<KeyPool>,
) -> Result<SignLayer, BoxError> {
    let (mut sign, charged) = match pool {
        Some(pool) => (SignLayer::with_pool(pool), None),
        None => {
            let (credential, charged) = credential(provider, address)?;
            let wrong = |_| "api_key: has characters that a header can't have";
            (SignLayer::new(credential).map_err(wrong)?, charged)
        }
    };
    sign = sign.own_key(own_key(provider.kind));
    with_headers(sign, provider, charged.as_deref())
}

/// The headers that a provider wants beside the credential.
pub(super) fn with_headers(
    mut sign: SignLayer,
    provider: &Provider,
    charged: Option<&str>,
) -> Result<SignLayer, BoxError> {
    let project = if provider.kind == ProviderKind::Vertex { &None } else { &provider.project };
    let named = [
        ("openai-organization", provider.organization.as_deref()),
        ("openai-project", project.as_deref()),
        ("x-goog-user-project", charged),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value?, true)));
    let extra = provider.headers.iter().map(|(name, value)| (&**name, value.expose(), false));
    for (name, value, is_of_account) in named.chain(extra) {
        let wrong = |_| format!("headers.{name}: not a header");
        let mut value = HeaderValue::from_str(value).map_err(|_| format!("headers.{name}: not a header"))?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(name).map_err(wrong)?;
        sign = if is_of_account { sign.account_header(name, value) } else { sign.header(name, value) };
    }
    Ok(sign)
}

/// How a caller presents a key of its own to a provider of this kind.
fn own_key(kind: ProviderKind) -> Option<KeyForm> {
    let header = |name| Some(KeyForm::Header(HeaderName::from_static(name)));
    match kind {
        ProviderKind::Anthropic => header("x-api-key"),
        ProviderKind::Gemini => header("x-goog-api-key"),
        ProviderKind::Azure => header("api-key"),
        // Vertex wants a token that is made of more than a key.
        ProviderKind::Vertex | ProviderKind::Demo => None,
        _ => Some(KeyForm::Bearer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_that_of_the_gateway_or_of_the_provider() {
        let (mut provider, mut config) = (Provider::new(ProviderKind::OpenAi), Config::default());
        assert_eq!(secret(&provider, &config), None);

        provider.api_key = Some(crate::secret::Secret::new("a"));
        let one = secret(&provider, &config).unwrap();
        provider.api_key = Some(crate::secret::Secret::new("b"));
        let other = secret(&provider, &config).unwrap();
        config.server.secret = Some(crate::secret::Secret::new("a"));

        assert_ne!(one, other);
        assert_eq!(secret(&provider, &config), Some(one));
        assert_ne!(OwnSecret::default().0, OwnSecret::default().0);
    }

    #[tokio::test]
    async fn what_is_known_of_targets_outlives_a_reload_and_clients_add_nothing_to_it() {
        let config = |targets: &str| {
            let text = format!(
                "auth: open\nproviders: {{ d: {{ kind: demo }} }}\nmodels: {{ chat: {{ targets: [ {targets} ] }} }}"
            );
            Config::from_text(&text).unwrap()
        };
        let mut builder = Builder::default();
        let table = builder.table(&config("{ use: d/a }, { use: d/b }")).unwrap();
        let known = builder.loads["d/a"].clone();

        let dispatch = crate::dispatch::Dispatch::new(table);
        let names = ["d/a", "d/one", "d/other"].map(|name| crate::testing::ask(name, None));
        for req in names {
            // There is a route; the demo wants messages.
            let error = tower::ServiceExt::oneshot(dispatch.clone(), req).await.unwrap_err();
            assert_eq!(error.kind(), crate::Kind::InvalidRequest);
        }
        let after_requests = builder.loads.len();
        builder.table(&config("{ use: d/a }, { use: d/c }")).unwrap();

        assert!(Arc::ptr_eq(&known, &builder.loads["d/a"]));
        let mut names: Vec<_> = builder.loads.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!((after_requests, names), (2, vec!["d/a", "d/c"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_does_not_keep_its_time_is_still_asked_late_after_a_reload() {
        let config = Config::from_text(
            "auth: open\nproviders: { d: { kind: demo } }\n\
             faults: { rules: [ { fault: delay 2s, targets: d/slow, percent: 100 } ] }\n\
             models: { chat: { targets: [ { use: d/slow }, { use: d/quick } ], objective: { p95: 500ms } } }",
        )
        .unwrap();
        let mut builder = Builder::default();
        let dispatch = crate::dispatch::Dispatch::new(builder.table(&config).unwrap());
        let ask = || {
            crate::testing::ask("chat", None).map(|payload| {
                let body = r#"{"model":"chat","messages":[{"role":"user","content":"hi"}]}"#;
                let (head, exchange) = (payload.head().clone(), payload.exchange().clone());
                crate::Payload::new(payload.dialect(), head, body.into(), exchange)
            })
        };
        for _ in 0..50 {
            tower::ServiceExt::oneshot(dispatch.clone(), ask()).await.unwrap();
        }

        dispatch.reload(builder.table(&config).unwrap());

        let told = dispatch.explain(None, ask()).await.unwrap();
        let slow = told.candidates.iter().find(|one| &*one.target == "d/slow").unwrap();
        assert!(slow.why.starts_with("asked late"), "{}", slow.why);
    }

    #[test]
    fn keys_of_a_pool_keep_what_is_known_of_them_until_they_are_others() {
        let mut builder = Builder::default();
        let mut pool = |keys: &str| {
            let text = format!("auth: open\nproviders: {{ a: {{ kind: openai, api_keys: {keys} }} }}");
            let config = Config::read(&text, "f", &|_| None).unwrap();
            builder.pool("a", &config.providers["a"]).unwrap()
        };

        assert!(pool("[]").is_none());
        let first = pool("[ { key: sk-a, weight: 2 }, { key: sk-b } ]").unwrap();
        assert_eq!(first.standings().len(), 2);
        let key = |name: &str, key: &str| PoolKey::new(name, crate::secret::Secret::new(key));
        assert!(first.is_of(&KeyForm::Bearer, &[key("1", "sk-a").weight(2), key("2", "sk-b")]));
        assert!(pool("[ { key: sk-a, weight: 2 }, { key: sk-b } ]").unwrap().is_same(&first));
        assert!(!pool("[ { key: sk-a, weight: 2 }, { key: sk-c } ]").unwrap().is_same(&first));
        let named = pool("[ sk-a, { name: spare, key: sk-b } ]").unwrap();
        assert!(named.is_of(&KeyForm::Bearer, &[key("1", "sk-a"), key("spare", "sk-b")]));
    }

    #[tokio::test]
    async fn how_long_connecting_may_take_is_said_by_the_provider_then_by_the_model_then_by_the_defaults() {
        let config = Config::from_text(
            "auth: open\ndefaults: { timeouts: { connect: 7s } }\nproviders:\n  \
               a: { kind: openai, api_key: k, connect_timeout: 20s }\n  \
               b: { kind: openai, api_key: k }\n\
             models:\n  \
               own: { targets: [ { use: a/m } ], timeouts: { connect: 2s } }\n  \
               usual: { targets: [ { use: a/m } ] }\n",
        )
        .unwrap();
        let (mut builder, prices) = (Builder::default(), Arc::new(Prices::new(&config)));
        let mut connects = |name: &str| {
            let stack = builder.provider(name, &config.providers[name], &config, &prices).unwrap();
            let seconds = ["own", "usual"].map(|model| stack.connect(&config.models[model]).as_secs());
            (seconds, stack.clients.len())
        };

        assert_eq!(connects("a"), ([20, 20], 1));
        assert_eq!(connects("b"), ([2, 7], 2));
    }

    #[test]
    fn keys_that_cannot_be_a_pool_are_problems() {
        for (provider, wrong) in [
            ("api_key: x, api_keys: [ { key: y } ]", "providers.a.api_keys: stands beside an `api_key`"),
            (
                "api_keys: [ { key: x }, { key: x } ]",
                "providers.a.api_keys[1].key: is the same key as api_keys[0]",
            ),
            ("api_keys: [ { key: ' ' } ]", "providers.a.api_keys[0].key: is empty"),
            (
                "api_keys: [ { name: '2', key: x }, z ]",
                "providers.a.api_keys[1].name: is called `2` like api_keys[0]",
            ),
            ("api_keys: [ { name: ' ', key: x } ]", "providers.a.api_keys[0].name: is empty"),
            ("api_keys: [ { key: x, weight: 0 } ]", "expected a whole number, at least 1"),
        ] {
            let text = format!("auth: open\nproviders: {{ a: {{ kind: openai, {provider} }} }}");
            let error = Config::read(&text, "f", &|_| None).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
