//! What stands around the targets of one provider.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tower::ServiceBuilder;

use super::{
    Config, Model, Provider, ProviderKind, Streaming,
    address::base_url,
    breaker::Breakers,
    build::Loads,
    place::{Place, place},
    prices::{Prices, in_region, list_name},
    region::region,
};
use crate::{
    BoxError, Dialect, Target,
    breaker::{BreakerLayer, Rules},
    demo::Demo,
    dialect::{
        ANTHROPIC, ANTHROPIC_COUNT, BEDROCK, BEDROCK_EMBEDDINGS, GEMINI, GEMINI_BATCH_EMBED, GEMINI_COUNT,
        GEMINI_EMBED, OPENAI_BATCHES, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_COUNT, OPENAI_EMBEDDINGS,
        OPENAI_FILES, OPENAI_RESPONSES, endpoints,
    },
    dispatch::Candidate,
    fault::FaultLayer,
    first_event::FirstEventLayer,
    in_flight::InFlightLayer,
    ledger::{Ledger, Scope},
    meter::MeterLayer,
    own_ids::OwnIdsLayer,
    preset::{COMPATIBLE, Deviations, OPENAI, UNKNOWN_LACKS},
    price::{Listing, Price, ReportedCost},
    provider_budget::ProviderBudgetLayer,
    sign::{KeyPool, SignLayer},
    translate::TranslateLayer,
    upstream::{Address, HttpClient, Upstream},
};

/// Everything that the stacks of one provider share.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) name: String,
    pub(super) kind: ProviderKind,
    pub(super) provider: Provider,
    pub(super) connect: Duration,
    pub(super) clients: HashMap<Duration, HttpClient>,
    /// Where the provider is; the demo is nowhere.
    pub(super) address: Option<Address>,
    pub(super) sign: SignLayer,
    pub(super) is_rehearsed: bool,
    pub(super) in_flight: InFlightLayer,
    pub(super) rules: Rules,
    pub(super) breakers: Breakers,
    pub(super) loads: Arc<Loads>,
    pub(super) prices: Arc<Prices>,
    pub(super) own_prices: BTreeMap<String, Price>,
    /// The keys of a provider that has several.
    pub(super) keys: Option<KeyPool>,
    /// What all that is asked there is charged to.
    pub(super) scopes: Vec<Scope>,
    pub(super) ledger: Arc<dyn Ledger>,
    /// What nobody knows outside of the gateway.
    pub(super) secret: [u8; 32],
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
    pub(super) fn charged(
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
        let budget = self.budget(&target, config, besides);
        let breaker = self.breakers.of(target.name(), self.rules);
        let stack = ServiceBuilder::new()
            // Outermost, to see how an attempt ended in the end; what it passes over costs nothing.
            .layer(BreakerLayer::new(breaker.clone()))
            // Full is an error, so that the route can go on to the next target.
            .layer(self.in_flight.clone())
            // Outside of what is sent: where the provider's budget is used up, nothing is.
            .layer(budget.clone())
            // Sees all errors that are made of the provider's words, which may quote the credential.
            .layer(self.sign.scrub())
            // Further in are the provider's ids, further out the client's.
            .layer(OwnIdsLayer::new(target.clone()).secret(&self.secret))
            // Everything further in speaks the provider's dialect.
            .layer(self.translate(&target, &place, settings, config))
            // Until there is content, or the whole answer, another target can still be tried.
            .layer(timeouts.first_event().map_or_else(FirstEventLayer::default, FirstEventLayer::new))
            // Sees what the provider really sent, and all of it.
            .layer(
                MeterLayer::new(target.clone())
                    .cost(reported_cost(&self.provider))
                    .cached_in(cached_in(self.kind)),
            );
        // Where the provider's answer comes from, so that all others take it for one of the provider.
        let faults = config.faults.layer(&target);
        let faults = timeouts.first_byte().into_iter().fold(faults, FaultLayer::first_byte);
        let load = self.loads.get(&**target.name()).cloned().unwrap_or_default();
        let candidate = match place.address.take() {
            None => Candidate::new(target, stack.layer(faults).service(Demo::default())),
            Some(address) => {
                let client = self.client(settings);
                let upstream = Upstream::at(client, address).idle(timeouts.idle());
                let upstream = timeouts.first_byte().into_iter().fold(upstream, Upstream::first_byte);
                // Almost last, so that the credential passes through no layer that reads.
                let service = stack.layer(self.signature(&place)).layer(faults).service(upstream);
                Candidate::new(target, service).asked_for(place.model).preferences(self.takes_preferences())
            }
        };
        Ok(candidate.load(load).breaker(breaker).budget(budget).keys(self.keys.clone()))
    }

    fn budget(&self, target: &Arc<Target>, config: &Config, besides: Vec<Scope>) -> ProviderBudgetLayer {
        let scopes = self.scopes.iter().cloned().chain(besides);
        ProviderBudgetLayer::new(self.ledger.clone(), target.clone(), scopes)
            .unknown_price(config.unknown_price.into())
            .store_away(config.store_away.budgets.into())
    }

    fn translate(
        &self,
        target: &Arc<Target>,
        place: &Place<'_>,
        settings: &Model,
        config: &Config,
    ) -> TranslateLayer {
        TranslateLayer::new(asked(target, place.model), place.natives.clone())
            .strict(settings.strict.unwrap_or(config.server.strict))
            .always_streams(self.provider.stream == Streaming::Always)
            .deviations(place.deviations)
    }

    fn signature(&self, place: &Place<'_>) -> SignLayer {
        let sign = self.sign.clone();
        if place.is_anthropics() { versioned(sign) } else { sign }
    }

    /// The route says how long connecting may take, unless the provider insists on a time.
    pub(super) fn connect(&self, settings: &Model) -> Duration {
        let said = self.provider.connect_timeout.or(settings.timeouts.connect);
        said.map_or(self.connect, |time| *time)
    }

    fn client(&self, settings: &Model) -> HttpClient {
        let connect = self.connect(settings);
        self.clients.get(&connect).cloned().unwrap_or_else(|| HttpClient::new(connect))
    }

    fn takes_preferences(&self) -> bool {
        matches!(self.kind, ProviderKind::Preset(preset) if preset.name == "openrouter")
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
pub(super) fn reported_cost(provider: &Provider) -> Option<ReportedCost> {
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
pub(super) const BATCHES: [&dyn Dialect; 2] = [&OPENAI_FILES, &OPENAI_BATCHES];

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

/// The target under the name that requests have for its model.
fn asked(target: &Arc<Target>, model: &str) -> Arc<Target> {
    if target.model() == model {
        return target.clone();
    }
    let asked = Target::new(target.provider(), model).price(target.known_price().cloned());
    Arc::new(asked.facts(target.known_facts().clone()))
}

/// The API of Anthropic wants to be told its version.
pub(super) fn versioned(sign: SignLayer) -> SignLayer {
    sign.header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"))
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
    fn only_a_provider_at_its_own_address_is_believed_what_it_says_of_costs() {
        let believed = |yaml: &str| reported_cost(&serde_saphyr::from_str(yaml).unwrap()).is_some();

        assert!(believed("{ kind: openrouter, api_key: k }"));
        assert!(believed("{ kind: openrouter, api_key: k, base_url: https://openrouter.ai/api/v1 }"));
        assert!(!believed("{ kind: openrouter, api_key: k, base_url: https://openrouter.example/api/v1 }"));
        assert!(!believed("{ kind: openai-compatible, base_url: https://openrouter.ai/api/v1 }"));
        assert!(!believed("{ kind: deepseek, api_key: k }") && !believed("{ kind: openai, api_key: k }"));
    }
}
