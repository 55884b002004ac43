use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tower::ServiceBuilder;

use super::{
    Config, Model, Provider, ProviderKind, RetryOn, Target as Place, UnknownPrice,
    address::{address, base_url},
    credentials::credential,
    resolve::Models,
};
use crate::{
    BoxError, Dialect, Target,
    access::Pattern,
    demo::Demo,
    dialect::{ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_EMBEDDINGS, OPENAI_RESPONSES, endpoints},
    dispatch::{Candidate, Cause, Retry, Route, Table},
    first_event::FirstEventLayer,
    in_flight::InFlightLayer,
    meter::MeterLayer,
    own_ids::OwnIdsLayer,
    preset::Deviations,
    price::{Listing, Price, PriceBook},
    sign::SignLayer,
    translate::TranslateLayer,
    upstream::{Address, HttpClient, Upstream},
};

/// Makes routing tables of configurations.
///
/// It is kept from one configuration to the next, because the connections to providers and the count
/// of requests in flight have to outlive a reload.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    clients: HashMap<Pool, HttpClient>,
    in_flight: HashMap<(String, usize), InFlightLayer>,
}

impl Builder {
    /// The routes of `config`: one for each of its models, and `provider/model` for all others.
    ///
    /// # Errors
    ///
    /// If the address, a header or the key of a provider can't be used; the message names it.
    pub fn table(&mut self, config: &Config) -> Result<Table, BoxError> {
        let prices = Arc::new(Prices::new(config));
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            let stack = self.provider(name, provider, config, &prices);
            providers.insert(name.clone(), stack.map_err(|error| format!("providers.{name}: {error}"))?);
        }
        let mut table = Table::default();
        for (name, model) in &config.models {
            table = table.route(route(name, model, config, &providers)?);
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
            self.in_flight.entry((name.to_owned(), most)).or_insert_with(|| InFlightLayer::new(most));
        // Routes may set a time of their own for connecting; connections are shared where it is the same.
        let own = config.models.values().filter_map(|model| model.timeouts.connect.map(|time| *time));
        let clients = own.chain([connect]).map(|connect| {
            let pool = Pool { connect, http2: provider.http2, tls: base_url(provider).starts_with("https:") };
            (connect, self.clients.entry(pool).or_insert_with(|| pool.client()).clone())
        });
        Ok(Stack {
            name: name.to_owned(),
            kind: provider.kind,
            connect,
            clients: clients.collect(),
            sign: sign(provider, address.as_ref())?,
            address,
            in_flight: in_flight.clone(),
            prices: prices.clone(),
            own_prices: provider
                .prices
                .iter()
                .map(|(model, price)| (model.clone(), (*price).into()))
                .collect(),
        })
    }
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

fn sign(provider: &Provider, address: Option<&Address>) -> Result<SignLayer, BoxError> {
    let (credential, charged) = credential(provider, address)?;
    let mut sign =
        SignLayer::new(credential).map_err(|_| "api_key: has characters that a header can't have")?;
    if provider.kind == ProviderKind::Anthropic {
        sign =
            sign.header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));
    }
    let project = if provider.kind == ProviderKind::Vertex { &None } else { &provider.project };
    let named = [
        ("openai-organization", &provider.organization),
        ("openai-project", project),
        ("x-goog-user-project", &charged),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let extra = provider.headers.iter().map(|(name, value)| (&**name, value.expose()));
    for (name, value) in named.chain(extra) {
        let wrong = |_| format!("headers.{name}: not a header");
        let mut value = HeaderValue::from_str(value).map_err(|_| format!("headers.{name}: not a header"))?;
        value.set_sensitive(true);
        sign = sign.header(HeaderName::try_from(name).map_err(wrong)?, value);
    }
    Ok(sign)
}

fn route(
    name: &str,
    model: &Model,
    config: &Config,
    providers: &BTreeMap<String, Stack>,
) -> Result<Route, BoxError> {
    let candidate = |(index, place): (usize, &Place)| {
        let wrong = |what: &str| BoxError::from(format!("models.{name}.targets[{index}].use: {what}"));
        let (provider, upstream_model) = place.parts().ok_or_else(|| wrong("expected provider/model"))?;
        let stack = providers.get(provider).ok_or_else(|| wrong("there is no such provider"))?;
        stack.candidate(upstream_model, model, config).map_err(|error| wrong(&error.to_string()))
    };
    let candidates = model.targets.iter().enumerate().map(candidate).collect::<Result<Vec<_>, _>>()?;
    Ok(settings(Route::new(name, candidates), model, config))
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
        .total(model.timeouts.or(&defaults.timeouts).total())
        .drain(model.on_disconnect.unwrap_or(defaults.on_disconnect) == super::OnDisconnect::Drain)
        .assume_output(model.assume_output.unwrap_or(defaults.assume_output).get())
}

/// Everything that the stacks of one provider share.
#[derive(Debug)]
pub(super) struct Stack {
    name: String,
    pub(super) kind: ProviderKind,
    connect: Duration,
    clients: HashMap<Duration, HttpClient>,
    /// Where the provider is; the demo is nowhere.
    address: Option<Address>,
    sign: SignLayer,
    in_flight: InFlightLayer,
    prices: Arc<Prices>,
    own_prices: BTreeMap<String, Price>,
}

impl Stack {
    /// One model of the provider behind its own stack.
    pub(super) fn candidate(
        &self,
        model: &str,
        settings: &Model,
        config: &Config,
    ) -> Result<Candidate, BoxError> {
        let timeouts = settings.timeouts.or(&config.defaults.timeouts);
        let target = self.target(model);
        // The route gets its own way of connecting, unless the provider insists on one.
        let connect = settings.timeouts.connect.map_or(self.connect, |time| *time);
        let translate = TranslateLayer::new(target.clone(), natives(self.kind))
            .strict(settings.strict.unwrap_or(config.server.strict))
            .deviations(deviations(self.kind));
        let stack = ServiceBuilder::new()
            // Full is an error, so that the route can go on to the next target.
            .layer(self.in_flight.clone())
            // Sees all errors that are made of the provider's words, which may quote the credential.
            .layer(self.sign.scrub())
            // Further in are the provider's ids, further out the client's.
            .layer(OwnIdsLayer::new(target.clone()))
            // Everything further in speaks the provider's dialect.
            .layer(translate)
            // Until there is content, or the whole answer, another target can still be tried.
            .layer(FirstEventLayer::new(timeouts.first_event()))
            // Sees what the provider really sent, and all of it.
            .layer(MeterLayer::new(target.clone()));
        let Some(address) = &self.address else {
            return Ok(Candidate::new(target, stack.service(Demo::default())));
        };
        let client = self.clients.get(&connect).cloned().unwrap_or_else(|| HttpClient::new(connect));
        let upstream =
            Upstream::at(client, address.clone()).first_byte(timeouts.first_byte()).idle(timeouts.idle());
        // Last, so that the credential passes through no other layer.
        Ok(Candidate::new(target, stack.layer(self.sign.clone()).service(upstream)))
    }

    fn target(&self, model: &str) -> Arc<Target> {
        let Listing { price, facts, .. } = self.prices.lookup(&self.name, self.kind, model);
        let price = self.own_prices.get(model).copied().or(price).or(self.prices.unknown);
        let facts = match self.kind {
            ProviderKind::Preset(preset) => preset.facts(facts),
            _ => facts,
        };
        Arc::new(Target::new(&self.name, model).price(price).facts(facts))
    }

    /// Whether the list of prices knows the model as one of this provider.
    pub(super) fn lists(&self, model: &str) -> bool {
        list_name(self.kind).is_some_and(|list| self.prices.book.lookup(list, model).is_some())
    }
}

fn natives(kind: ProviderKind) -> Vec<&'static dyn Dialect> {
    match kind {
        ProviderKind::OpenAi | ProviderKind::Azure => {
            let own: [&dyn Dialect; 3] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &OPENAI_EMBEDDINGS];
            own.into_iter().chain(endpoints()).collect()
        }
        ProviderKind::OpenAiCompatible | ProviderKind::Preset(_) => {
            let own: [&dyn Dialect; 2] = [&OPENAI_CHAT, &OPENAI_EMBEDDINGS];
            own.into_iter().chain(endpoints()).collect()
        }
        ProviderKind::Anthropic => vec![&ANTHROPIC],
        ProviderKind::Gemini => vec![&GEMINI],
        ProviderKind::Vertex | ProviderKind::Bedrock | ProviderKind::Demo => vec![&OPENAI_CHAT],
    }
}

fn deviations(kind: ProviderKind) -> Deviations {
    match kind {
        ProviderKind::Preset(preset) => preset.deviations,
        _ => Deviations::new("", &[]),
    }
}

/// The provider's name in the list of prices.
pub(super) fn list_name(kind: ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::OpenAi => Some("openai"),
        ProviderKind::Anthropic => Some("anthropic"),
        ProviderKind::Gemini => Some("gemini"),
        ProviderKind::Preset(preset) => Some(preset.list).filter(|list| !list.is_empty()),
        ProviderKind::Azure => Some("azure"),
        ProviderKind::Vertex => Some("vertex"),
        ProviderKind::Bedrock => Some("bedrock"),
        ProviderKind::OpenAiCompatible | ProviderKind::Demo => None,
    }
}

/// The list of prices, what the configuration says instead, and what it assumes where both are silent.
#[derive(Debug)]
struct Prices {
    book: PriceBook,
    unknown: Option<Price>,
}

impl Prices {
    fn new(config: &Config) -> Self {
        let overrides = config.prices.iter().map(|(name, price)| (Pattern::new(&**name), (*price).into()));
        let unknown = match config.unknown_price {
            UnknownPrice::Ceiling(ceiling) => Some(ceiling.into()),
            UnknownPrice::Refuse | UnknownPrice::Allow => None,
        };
        Self { book: PriceBook::builtin().with_overrides(overrides), unknown }
    }

    /// By the provider's name in the configuration, and then by what kind it is.
    fn lookup(&self, name: &str, kind: ProviderKind, model: &str) -> Listing {
        if kind == ProviderKind::Demo {
            return Listing { price: Some(Price::default()), ..Listing::default() };
        }
        // The chat completions of Vertex want the maker's name in front, which the list leaves out.
        let model = match kind {
            ProviderKind::Vertex => model.strip_prefix("google/").unwrap_or(model),
            _ => model,
        };
        let named = self.book.lookup(name, model).unwrap_or_default();
        let listed =
            list_name(kind).filter(|list| *list != name).and_then(|list| self.book.lookup(list, model));
        match listed {
            Some(listed) => Listing { price: named.price.or(listed.price), facts: listed.facts },
            None => named,
        }
    }
}
