use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tower::ServiceBuilder;

use super::{
    Config, Model, PooledKey, Provider, ProviderKind, RetryOn, Streaming, Target as Listed, Tasks,
    address::{address, base_url},
    breaker::Breakers,
    credentials::{credential, form},
    place::{Place, place},
    prices::{Prices, in_region, list_name},
    probe::{self, Probes, probes},
    region::region,
    resolve::Models,
    standings::{Known, Standings},
};
use crate::{
    BoxError, Dialect, Target,
    access::Pattern,
    alerts::Alerts,
    breaker::{self, Board, BreakerLayer, Rules},
    choose::{self, Embed, HashedNgrams, Life, ProviderEmbeddings},
    demo::Demo,
    dialect::{
        ANTHROPIC, ANTHROPIC_COUNT, BEDROCK, BEDROCK_EMBEDDINGS, GEMINI, GEMINI_BATCH_EMBED, GEMINI_COUNT,
        GEMINI_EMBED, OPENAI_BATCHES, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_COUNT, OPENAI_EMBEDDINGS,
        OPENAI_FILES, OPENAI_RESPONSES, endpoints,
    },
    dispatch::{Candidate, Cause, Conversations, Load, Mirror, Mirrors, Retry, Route, Table},
    expression::Expression,
    first_event::FirstEventLayer,
    in_flight::InFlightLayer,
    ledger::{Ledger, MemoryLedger, Scope},
    meter::MeterLayer,
    own_ids::OwnIdsLayer,
    preset::{COMPATIBLE, Deviations, OPENAI, UNKNOWN_LACKS},
    price::{Listing, Price, ReportedCost},
    provider_budget::ProviderBudgetLayer,
    sign::{Credential, KeyForm, KeyPool, SignLayer},
    translate::TranslateLayer,
    upstream::{Address, HttpClient, Upstream},
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
    standings: Standings,
    probes: Probes,
    secret: OwnSecret,
    kept: Kept,
    ends: Ends,
    ledger: Option<Arc<dyn Ledger>>,
    mirrors: Mirrors,
    is_rehearsed: bool,
}

/// The conversations of models.
type Kept = HashMap<(String, Duration), Conversations>;

/// Whether it was told that models are served by their successors.
type Ends = HashMap<(String, SystemTime), Arc<AtomicBool>>;

/// What is known of the targets of the configuration, by their names.
type Loads = HashMap<String, Arc<Load>>;

/// That of the targets of `config`, as far as anything is `known`. What clients name themselves is not among it,
/// so that it has as many members as the configuration.
fn loads(config: &Config, known: &Loads) -> Loads {
    let rules =
        |model: &'_ Model| model.rules.iter().flat_map(|rule| &rule.targets).cloned().collect::<Vec<_>>();
    let targets = config.models.values().flat_map(|model| model.targets.iter().cloned().chain(rules(model)));
    targets
        .map(|target| (target.name.clone(), known.get(&target.name).cloned().unwrap_or_default()))
        .collect()
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
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            let stack = self.provider(name, provider, config, &prices);
            providers.insert(name.clone(), stack.map_err(|error| format!("providers.{name}: {error}"))?);
        }
        let (kept, ends, mirrors) = (&mut self.kept, &mut self.ends, &self.mirrors);
        let made = BTreeMap::new();
        let mut routes = Routes { config, providers: &providers, mirrors, made, kept, ends };
        let mut table = Table::default();
        for name in config.models.keys() {
            table = table.route(routes.of(name, 0)?);
        }
        self.standings.replace(self.known(config, &providers));
        if !self.is_rehearsed {
            self.probes.store(Arc::new(probes(config, &self.breakers)?));
        }
        Ok(table.resolve(Models::new(config, providers)))
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
        // Routes may set a time of their own for connecting; connections are shared where it is the same.
        let own = config.models.values().filter_map(|model| model.timeouts.connect.map(|time| *time));
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
        let targets = config.models.values().flat_map(|model| &model.targets);
        let known = |target: &Listed| {
            let (provider, _) = target.parts()?;
            let stack = providers.get(provider)?;
            let pool = self.pools.get(provider).filter(|_| !stack.provider.api_keys.is_empty());
            Some(Known { breaker: self.breakers.of(&target.name, stack.rules), pool: pool.cloned() })
        };
        targets.filter(|target| seen.insert(&target.name)).filter_map(known).collect()
    }

    /// The keys of a provider that has several. What is known of them outlives a reload, as long as they are the same.
    fn pool(&mut self, name: &str, provider: &Provider) -> Result<Option<KeyPool>, BoxError> {
        let weight = |pooled: &PooledKey| pooled.weight.map_or(1, NonZeroU32::get);
        let keys: Vec<_> =
            provider.api_keys.iter().map(|pooled| (pooled.key.clone(), weight(pooled))).collect();
        let form = form(provider.kind);
        if keys.is_empty() {
            return Ok(None);
        }
        if let Some(pool) = self.pools.get(name).filter(|pool| pool.is_of(&form, &keys)) {
            return Ok(Some(pool.clone()));
        }
        let pool = KeyPool::new(name, form, keys).map_err(|error| format!("api_keys: {error}"))?;
        let pool = self.alerts.iter().fold(pool, |pool, alerts| pool.alerts(alerts.clone()));
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
    let project = if provider.kind == ProviderKind::Vertex { &None } else { &provider.project };
    let named = [
        ("openai-organization", &provider.organization),
        ("openai-project", project),
        ("x-goog-user-project", &charged),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?, true)));
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

/// The target under the name that requests have for its model.
fn asked(target: &Arc<Target>, model: &str) -> Arc<Target> {
    if target.model() == model {
        return target.clone();
    }
    let asked = Target::new(target.provider(), model).price(target.known_price().cloned());
    Arc::new(asked.facts(target.known_facts().clone()))
}

/// The API of Anthropic wants to be told its version.
fn versioned(sign: SignLayer) -> SignLayer {
    sign.header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"))
}

/// The routes of the models, some of which lead to others.
struct Routes<'a> {
    config: &'a Config,
    providers: &'a BTreeMap<String, Stack>,
    mirrors: &'a Mirrors,
    made: BTreeMap<&'a str, Route>,
    kept: &'a mut Kept,
    ends: &'a mut Ends,
}

/// How many models may lead to each other, one after the other.
const DEEPEST: usize = 16;

impl<'a> Routes<'a> {
    /// The route of a model, which others have led to.
    fn of(&mut self, name: &str, depth: usize) -> Result<Route, BoxError> {
        if let Some(route) = self.made.get(name) {
            return Ok(route.clone());
        }
        let found = self.config.models.get_key_value(name).filter(|_| depth < DEEPEST);
        let (name, model) =
            found.ok_or_else(|| format!("models.{name}: is not there, or leads to itself"))?;
        let mut made = match &model.alias {
            Some(other) => self.of(other, depth + 1)?.named(name),
            None => self.route(name, model)?,
        };
        if let Some(lasts) = &model.keep_conversations {
            made = made.conversations(self.conversations(name, **lasts));
        }
        for (index, rule) in model.rules.iter().enumerate() {
            let wrong = |what: &str| BoxError::from(format!("models.{name}.rules[{index}]: {what}"));
            let when = Expression::new(&rule.when).map_err(|mistake| wrong(&mistake.to_string()))?;
            let then = match &rule.model {
                Some(other) => self.of(other, depth + 1)?,
                None => self.route(name, &rule.instead(model))?,
            };
            let zone = self.config.timezone.as_ref().map(|zone| **zone);
            made = made.rule(choose::Rule::new(&rule.called(index), when.zone(zone), then));
        }
        if let Some(tasks) = &model.tasks {
            made = made.classify(self.tasks(name, tasks, depth)?);
        }
        if let Some(life) = self.life(name, model, depth)? {
            made = made.ending(life);
        }
        self.made.insert(name, made.clone());
        Ok(made)
    }
}

impl Routes<'_> {
    /// What a model says of itself alone, with whom its requests are copied to.
    fn route(&self, name: &str, model: &Model) -> Result<Route, BoxError> {
        let route = route(name, model, self.config, self.providers)?;
        Ok(match mirror(name, model, self.config, self.providers, self.mirrors)? {
            Some(mirror) => route.mirror(mirror),
            None => route,
        })
    }

    fn tasks(&mut self, name: &str, tasks: &Tasks, depth: usize) -> Result<choose::Tasks, BoxError> {
        let wrong = |what: &str| BoxError::from(format!("models.{name}.tasks: {what}"));
        let embedder: Arc<dyn Embed> = match tasks.embeddings.as_ref().map(|name| name.split_once('/')) {
            None => Arc::new(HashedNgrams),
            Some(parts) => {
                let (provider, model) = parts.ok_or_else(|| wrong("embeddings: expected provider/model"))?;
                let stack =
                    self.providers.get(provider).ok_or_else(|| wrong("embeddings: no such provider"))?;
                let usual = Model::default();
                Arc::new(ProviderEmbeddings::new(stack.candidate(model, None, &usual, self.config)?))
            }
        };
        let mut routes = Vec::new();
        for task in &tasks.kinds {
            routes.push((task.name.as_str().into(), self.of(&task.model, depth + 1)?));
        }
        Ok(choose::Tasks::new(tasks.classifier(embedder).map_err(|why| wrong(&why))?, routes))
    }

    fn life(&mut self, name: &str, model: &Model, depth: usize) -> Result<Option<Life>, BoxError> {
        if model.deprecated.is_none() && model.sunset.is_none() {
            return Ok(None);
        }
        let mut life = Life::default();
        if let Some(since) = &model.deprecated {
            life = life.deprecated(**since);
        }
        if let Some(at) = &model.sunset {
            life = life.sunset(**at).told(self.ends.entry((name.to_owned(), **at)).or_default().clone());
        }
        if let Some(other) = &model.successor {
            life = life.successor(self.of(other, depth + 1)?);
        }
        Ok(Some(match &model.link {
            Some(link) => life.link(link),
            None => life,
        }))
    }

    fn conversations(&mut self, name: &str, lasts: Duration) -> Conversations {
        let kept = self.kept.entry((name.to_owned(), lasts));
        kept.or_insert_with(|| Conversations::new(lasts)).clone()
    }
}

fn route(
    name: &str,
    model: &Model,
    config: &Config,
    providers: &BTreeMap<String, Stack>,
) -> Result<Route, BoxError> {
    let candidate = |(index, place): (usize, &Listed)| {
        let wrong = |what: &str| BoxError::from(format!("models.{name}.targets[{index}].use: {what}"));
        let (provider, upstream_model) = place.parts().ok_or_else(|| wrong("expected provider/model"))?;
        let stack = providers.get(provider).ok_or_else(|| wrong("there is no such provider"))?;
        stack
            .candidate(upstream_model, place.known_as(), model, config)
            .map(|candidate| candidate.weight(place.weight.unwrap_or(1)))
            .map_err(|error| wrong(&error.to_string()))
    };
    let candidates = model.targets.iter().enumerate().map(candidate).collect::<Result<Vec<_>, _>>()?;
    let route = settings(Route::new(name, candidates), model, config).strategy(model.strategy.into());
    let route = route.go_on_after(model.go_on_after.iter().map(|cause| (*cause).into()));
    let route = route.on_break(model.on_break.into());
    let route = model.hedge.into_iter().fold(route, |route, hedge| route.hedge(hedge.into()));
    let route = bounded(route, model);
    let route = match &model.sticky {
        Some(sticky) => route.sticky((**sticky).clone()),
        None => route,
    };
    Ok(match &model.per_request {
        Some(per_request) => route.ceiling(per_request.ceiling(&format!("model:{name}"))),
        None => route,
    })
}

/// Whom a model's requests are copied to.
fn mirror(
    name: &str,
    model: &Model,
    config: &Config,
    providers: &BTreeMap<String, Stack>,
    mirrors: &Mirrors,
) -> Result<Option<Mirror>, BoxError> {
    let Some(mirror) = &model.mirror else { return Ok(None) };
    let wrong = |what: &str| BoxError::from(format!("models.{name}.mirror.use: {what}"));
    let target = mirror.target();
    let (provider, upstream_model) = target.parts().ok_or_else(|| wrong("expected provider/model"))?;
    let stack = providers.get(provider).ok_or_else(|| wrong("there is no such provider"))?;
    let scopes = mirror.scopes(name, config.zone());
    let candidate = stack.charged(upstream_model, target.known_as(), model, config, scopes);
    let candidate = candidate.map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(Mirror::new(candidate, mirrors).percent(mirror.percent.unwrap_or(100))))
}

/// What a model keeps its requests within.
fn bounded(mut route: Route, model: &Model) -> Route {
    if !model.regions.is_empty() {
        route = route.regions(model.regions.iter().map(|region| Pattern::new(&**region)));
    }
    if let Some(most) = &model.max_cost {
        route = route.max_cost(**most);
    }
    match &model.objective {
        Some(objective) => route.objective(*objective.p95),
        None => route,
    }
}

/// What a model says of its route, and what the defaults say where it doesn't.
pub(super) fn settings(route: Route, model: &Model, config: &Config) -> Route {
    let defaults = &config.defaults;
    let retry = model.retry.or(&defaults.retry);
    let cause = |on: RetryOn| match on {
        RetryOn::Status(status) => Cause::Status(status.get()),
        RetryOn::Connect => Cause::Connect,
        RetryOn::Timeout => Cause::Timeout,
    };
    let backoff = retry.backoff();
    route
        .retry(Retry {
            on: retry.on().into_iter().map(cause).collect(),
            attempts: retry.attempts(),
            backoff: (backoff.first, backoff.most),
        })
        .retry_budget(retry.budget().into())
        .total(model.timeouts.or(&defaults.timeouts).total())
        .drain(model.on_disconnect.unwrap_or(defaults.on_disconnect) == super::OnDisconnect::Drain)
        .assume_output(model.assume_output.unwrap_or(defaults.assume_output).get())
        .cap_output(model.assume_output.is_some())
}

/// Everything that the stacks of one provider share.
#[derive(Debug)]
pub(super) struct Stack {
    name: String,
    pub(super) kind: ProviderKind,
    provider: Provider,
    connect: Duration,
    clients: HashMap<Duration, HttpClient>,
    /// Where the provider is; the demo is nowhere.
    address: Option<Address>,
    sign: SignLayer,
    is_rehearsed: bool,
    in_flight: InFlightLayer,
    rules: Rules,
    breakers: Breakers,
    loads: Arc<Loads>,
    prices: Arc<Prices>,
    own_prices: BTreeMap<String, Price>,
    /// What all that is asked there is charged to.
    scopes: Vec<Scope>,
    ledger: Arc<dyn Ledger>,
    /// What nobody knows outside of the gateway.
    secret: [u8; 32],
}

impl Stack {
    /// One model of the provider, which is `known_as` another if that is said, behind its own stack.
    pub(super) fn candidate(
        &self,
        model: &str,
        known_as: Option<&str>,
        settings: &Model,
        config: &Config,
    ) -> Result<Candidate, BoxError> {
        self.charged(model, known_as, settings, config, Vec::new())
    }

    /// The same, where each attempt is charged to other accounts too.
    fn charged(
        &self,
        model: &str,
        known_as: Option<&str>,
        settings: &Model,
        config: &Config,
        besides: Vec<Scope>,
    ) -> Result<Candidate, BoxError> {
        let timeouts = settings.timeouts.or(&config.defaults.timeouts);
        let target = self.target(model, known_as);
        let mut place = place(&self.provider, self.address.as_ref(), model, known_as.unwrap_or(model))?;
        if self.is_rehearsed {
            rehearse(&mut place);
        }
        let sign = match place.is_anthropics() {
            true => versioned(self.sign.clone()),
            false => self.sign.clone(),
        };
        // The route gets its own way of connecting, unless the provider insists on one.
        let connect = settings.timeouts.connect.map_or(self.connect, |time| *time);
        let translate = TranslateLayer::new(asked(&target, place.model), place.natives)
            .strict(settings.strict.unwrap_or(config.server.strict))
            .always_streams(self.provider.stream == Streaming::Always)
            .deviations(place.deviations);
        let scopes = self.scopes.iter().cloned().chain(besides);
        let budget = ProviderBudgetLayer::new(self.ledger.clone(), target.clone(), scopes)
            .unknown_price(config.unknown_price.into())
            .store_away(config.store_away.budgets.into());
        let breaker = self.breakers.of(target.name(), self.rules);
        let stack = ServiceBuilder::new()
            // Outermost, to see how an attempt ended in the end; what it passes over costs nothing.
            .layer(BreakerLayer::new(breaker.clone()))
            // Full is an error, so that the route can go on to the next target.
            .layer(self.in_flight.clone())
            // Outside of what is sent: where the provider's budget is used up, nothing is.
            .layer(budget)
            // Sees all errors that are made of the provider's words, which may quote the credential.
            .layer(self.sign.scrub())
            // Further in are the provider's ids, further out the client's.
            .layer(OwnIdsLayer::new(target.clone()).secret(&self.secret))
            // Everything further in speaks the provider's dialect.
            .layer(translate)
            // Until there is content, or the whole answer, another target can still be tried.
            .layer(FirstEventLayer::new(timeouts.first_event()))
            // Sees what the provider really sent, and all of it.
            .layer(
                MeterLayer::new(target.clone())
                    .cost(reported_cost(&self.provider))
                    .cached_in(cached_in(self.kind)),
            );
        let load = self.loads.get(&**target.name()).cloned().unwrap_or_default();
        // Where the provider's answer comes from, so that all others take it for one of the provider.
        let faults = config.faults.layer(&target).first_byte(timeouts.first_byte());
        let Some(address) = place.address else {
            let candidate = Candidate::new(target, stack.layer(faults).service(Demo::default()));
            return Ok(candidate.load(load).breaker(breaker));
        };
        let client = self.clients.get(&connect).cloned().unwrap_or_else(|| HttpClient::new(connect));
        let upstream = Upstream::at(client, address).first_byte(timeouts.first_byte()).idle(timeouts.idle());
        // Almost last, so that the credential passes through no layer that reads.
        let service = stack.layer(sign).layer(faults).service(upstream);
        let understands = matches!(self.kind, ProviderKind::Preset(preset) if preset.name == "openrouter");
        Ok(Candidate::new(target, service)
            .asked_for(place.model)
            .load(load)
            .preferences(understands)
            .breaker(breaker))
    }

    fn target(&self, model: &str, known_as: Option<&str>) -> Arc<Target> {
        let Listing { price, facts, .. } = self.prices.of(&self.name, self.kind, model, known_as);
        let price = self.own_prices.get(model).cloned().or(price).or_else(|| self.prices.unknown.clone());
        let price = in_region(&self.provider, price);
        let facts = match self.kind {
            ProviderKind::Preset(preset) => preset.facts(facts),
            ProviderKind::OpenAiCompatible => facts.at_server(&[], UNKNOWN_LACKS),
            _ => facts,
        };
        let region = region(&self.provider, model);
        Arc::new(Target::new(&self.name, model).price(price).facts(facts).region(region))
    }

    /// Whether the list of prices knows the model as one of this provider.
    pub(super) fn lists(&self, model: &str) -> bool {
        list_name(self.kind).is_some_and(|list| self.prices.book.lookup(list, model).is_some())
    }
}

/// Lets the demo take the place, which speaks all dialects but Bedrock's, whose requests no client writes.
fn rehearse(place: &mut Place<'_>) {
    place.address = None;
    if place.natives.iter().any(|native| native.id() == BEDROCK.id()) {
        place.natives = vec![&OPENAI_CHAT];
    }
}

/// Where the answers of a provider say what they have cost. Whoever else is behind an address isn't believed.
fn reported_cost(provider: &Provider) -> Option<ReportedCost> {
    match provider.kind {
        ProviderKind::Preset(preset) if base_url(provider) == preset.base_url => preset.cost,
        _ => None,
    }
}

/// The header in which answers tell what came out of a cache.
fn cached_in(kind: ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::Preset(preset) => preset.cached_in,
        _ => None,
    }
}

/// Files are of no use without batches.
const BATCHES: [&dyn Dialect; 2] = [&OPENAI_FILES, &OPENAI_BATCHES];

pub(super) fn natives(kind: ProviderKind) -> Vec<&'static dyn Dialect> {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Azure => {
            let others: [&dyn Dialect; 3] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &OPENAI_EMBEDDINGS];
            // The name of a deployment doesn't say whether it is of a model that takes completions.
            let own: &[&dyn Dialect] =
                if kind == ProviderKind::OpenAi { &[&OPENAI_COMPLETIONS, &OPENAI_COUNT] } else { &[] };
            others.into_iter().chain(own.iter().copied()).chain(endpoints()).chain(BATCHES).collect()
        }
        ProviderKind::OpenAiCompatible => {
            let own: [&dyn Dialect; 3] = [&OPENAI_CHAT, &OPENAI_EMBEDDINGS, &OPENAI_COMPLETIONS];
            own.into_iter().chain(endpoints()).chain(BATCHES).collect()
        }
        ProviderKind::Preset(preset) => {
            // The others have chats only, or say nothing of the old endpoint.
            let completes = matches!(preset.name, "ollama" | "vllm");
            let completions = completes.then_some(&OPENAI_COMPLETIONS as &dyn Dialect);
            let others: [&dyn Dialect; 2] = [&OPENAI_CHAT, &OPENAI_EMBEDDINGS];
            let batches = preset.batches.then_some(BATCHES).into_iter().flatten();
            others.into_iter().chain(completions).chain(endpoints()).chain(batches).collect()
        }
        ProviderKind::Anthropic => vec![&ANTHROPIC, &ANTHROPIC_COUNT],
        ProviderKind::Gemini => vec![&GEMINI, &GEMINI_COUNT, &GEMINI_BATCH_EMBED, &GEMINI_EMBED],
        ProviderKind::Bedrock => vec![&BEDROCK, &BEDROCK_EMBEDDINGS],
        ProviderKind::Vertex | ProviderKind::Demo => vec![&OPENAI_CHAT],
    }
}

pub(super) fn deviations(kind: ProviderKind) -> Deviations {
    match kind {
        ProviderKind::Preset(preset) => preset.deviations,
        ProviderKind::OpenAi | ProviderKind::Azure => OPENAI,
        ProviderKind::OpenAiCompatible => COMPATIBLE,
        _ => Deviations::new("", &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_go_to_those_that_have_them_as_openai_does() {
        let have_them = |kind: &str| {
            let kind: ProviderKind = serde_json::from_value(kind.into()).unwrap();
            natives(kind).iter().filter(|native| BATCHES.iter().any(|one| one.id() == native.id())).count()
        };

        for kind in ["openai", "azure", "groq", "qwen", "openai-compatible"] {
            assert_eq!(have_them(kind), 2, "{kind}");
        }
        for kind in
            ["anthropic", "gemini", "vertex", "bedrock", "demo", "mistral", "together", "xai", "ollama"]
        {
            assert_eq!(have_them(kind), 0, "{kind}");
        }
    }

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

    #[test]
    fn only_a_provider_at_its_own_address_is_believed_what_it_says_of_costs() {
        let believed = |yaml: &str| reported_cost(&serde_saphyr::from_str(yaml).unwrap()).is_some();

        assert!(believed("{ kind: openrouter, api_key: k }"));
        assert!(believed("{ kind: openrouter, api_key: k, base_url: https://openrouter.ai/api/v1 }"));
        assert!(!believed("{ kind: openrouter, api_key: k, base_url: https://openrouter.example/api/v1 }"));
        assert!(!believed("{ kind: openai-compatible, base_url: https://openrouter.ai/api/v1 }"));
        assert!(!believed("{ kind: deepseek, api_key: k }") && !believed("{ kind: openai, api_key: k }"));
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
        let weights = [(crate::secret::Secret::new("sk-a"), 2), (crate::secret::Secret::new("sk-b"), 1)];
        assert!(first.is_of(&KeyForm::Bearer, &weights));
        assert!(pool("[ { key: sk-a, weight: 2 }, { key: sk-b } ]").unwrap().is_same(&first));
        assert!(!pool("[ { key: sk-a, weight: 2 }, { key: sk-c } ]").unwrap().is_same(&first));
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
            ("api_keys: [ { key: x, weight: 0 } ]", "expected a whole number, at least 1"),
        ] {
            let text = format!("auth: open\nproviders: {{ a: {{ kind: openai, {provider} }} }}");
            let error = Config::read(&text, "f", &|_| None).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
