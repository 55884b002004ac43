use std::collections::BTreeSet;

use super::{Config, Provider, ProviderKind, UnknownPrice, address::is_regional, place::names_at_vertex};
use crate::{
    access::Pattern,
    price::{Listing, Price, PriceBook},
    target::ModelFacts,
};

/// The lists of those who make models. The last ones serve models of others too, so that who has made a model comes
/// before whoever serves it as well.
const MAKERS: [&str; 17] = [
    "openai",
    "anthropic",
    "gemini",
    "mistral",
    "deepseek",
    "xai",
    "moonshot",
    "zai",
    "minimax",
    "cohere",
    "meta",
    "ai21",
    "voyage",
    "perplexity",
    "dashscope",
    "volcengine",
    "tencent",
];

/// The list of prices, what the configuration says instead, and what it assumes where both are silent.
#[derive(Debug)]
pub(super) struct Prices {
    pub(super) book: PriceBook,
    pub(super) unknown: Option<Price>,
}

impl Prices {
    pub(super) fn new(config: &Config) -> Self {
        let overrides = config.prices.iter().map(|(name, price)| (Pattern::new(&**name), price.into()));
        let unknown = match config.unknown_price {
            UnknownPrice::Ceiling(ceiling) => Some(ceiling.into()),
            UnknownPrice::Refuse | UnknownPrice::Allow => None,
        };
        Self { book: PriceBook::builtin().with_overrides(overrides), unknown }
    }

    /// What is known of a provider's model, which is `known_as` another if that is said.
    pub(super) fn of(&self, name: &str, kind: ProviderKind, model: &str, known_as: Option<&str>) -> Listing {
        match known_as {
            Some(known_as) => {
                let listed = self.lookup(name, kind, &[model, known_as]);
                // A price of the configuration alone says nothing of what the model can do.
                let is_listed =
                    listed.facts.is_known() || (listed.price.is_some() && listed.set_for.is_none());
                let elsewhere = if is_listed { None } else { self.elsewhere(known_as) };
                match elsewhere {
                    Some(elsewhere) if listed.price.is_none() => elsewhere,
                    Some(elsewhere) => Listing { facts: elsewhere.facts, ..listed },
                    None => listed,
                }
            }
            // The list leaves the makers out of most names.
            None if kind == ProviderKind::Vertex => self.lookup(name, kind, &names_at_vertex(model)),
            None => self.lookup(name, kind, &[model]),
        }
    }

    /// What is known of a model that its provider's own list doesn't have: by the list that its name begins with, as
    /// in `openai/gpt-4o`, or in the first of the [`MAKERS`]' lists that has it.
    fn elsewhere(&self, known_as: &str) -> Option<Listing> {
        let listed = PriceBook::builtin();
        let of_makers = MAKERS.into_iter().map(|list| (list, known_as));
        let mut names = known_as.split_once('/').into_iter().chain(of_makers);
        // What the configuration has a price for, by a pattern, need not be there.
        let (list, model) = names.find(|(list, model)| listed.lookup(list, model).is_some())?;
        self.book.lookup(list, model)
    }

    /// By the provider's name in the configuration, and then by what kind it is; a model may have several
    /// names.
    fn lookup(&self, name: &str, kind: ProviderKind, models: &[&str]) -> Listing {
        if kind == ProviderKind::Demo {
            return Listing { price: Some(Price::default()), ..Listing::default() };
        }
        let named = self.listing(name, models).unwrap_or_default();
        let others = (kind == ProviderKind::Azure).then_some("azure_ai");
        let mut lists = list_name(kind).into_iter().chain(others).filter(|list| *list != name);
        match lists.find_map(|list| self.listing(list, models)) {
            Some(listed) if named.price.is_none() => listed,
            Some(listed) => Listing { facts: listed.facts, ..named },
            None => named,
        }
    }

    /// What one list says of a model, by the first of its names that it has.
    fn listing(&self, list: &str, models: &[&str]) -> Option<Listing> {
        let mut found = models.iter().filter_map(|model| self.book.lookup(list, model));
        let first = found.next()?;
        if first.facts.is_known() {
            return Some(first);
        }
        // A price of the configuration comes without facts.
        let facts = found.map(|listing| listing.facts).find(ModelFacts::is_known);
        Some(Listing { facts: facts.unwrap_or_default(), ..first })
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

/// What a price is where the provider is.
pub(super) fn in_region(provider: &Provider, price: Option<Price>) -> Option<Price> {
    price.map(|price| if is_regional(provider) { price.in_region() } else { price })
}

/// What a model costs, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) price: Option<Price>,
    pub(crate) source: Source,
}

/// Who says what a model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The provider's own `prices`.
    Provider,
    /// The entry of `prices` with this name.
    Set(String),
    /// The built-in list.
    List,
    /// `unknown_price`.
    Ceiling,
    Nobody,
}

impl Config {
    /// The models whose prices can be told: those in the list, of the providers that there are, and those that
    /// this configuration names.
    pub(crate) fn priced_models(&self) -> BTreeSet<String> {
        let mut models: BTreeSet<String> = BTreeSet::new();
        for (name, provider) in &self.providers {
            let listed = list_name(provider.kind).map(PriceBook::names).into_iter().flatten();
            models.extend(listed.map(|model| format!("{name}/{model}")));
            models.extend(provider.prices.keys().map(|model| format!("{name}/{model}")));
        }
        let targets = self.models.values().flat_map(|model| &model.targets).map(|target| &target.name);
        let named = targets.chain(self.prices.keys().filter(|name| !name.contains('*')));
        let is_served = |name: &&String| {
            name.split_once('/').is_some_and(|(provider, _)| self.providers.contains_key(provider))
        };
        models.extend(named.filter(is_served).cloned());
        models
    }

    /// What each of `models` costs, as requests are charged.
    pub(crate) fn price_list<'a>(
        &'a self,
        models: impl IntoIterator<Item = String> + 'a,
    ) -> impl Iterator<Item = (Listed, String)> + 'a {
        let prices = Prices::new(self);
        let listed = move |name: String| Some((self.listed(&prices, &name)?, name));
        models.into_iter().filter_map(listed)
    }

    fn listed(&self, prices: &Prices, name: &str) -> Option<Listed> {
        let (provider_name, model) = name.split_once('/')?;
        let provider = self.providers.get(provider_name)?;
        if let Some(own) = provider.prices.get(model) {
            return Some(Listed { price: in_region(provider, Some(own.into())), source: Source::Provider });
        }
        let Listing { price, set_for, .. } =
            prices.of(provider_name, provider.kind, model, self.known_as(name));
        let source = match (&price, set_for) {
            (Some(_), Some(pattern)) => Source::Set(pattern.to_string()),
            (Some(_), None) => Source::List,
            (None, _) if prices.unknown.is_some() => Source::Ceiling,
            (None, _) => Source::Nobody,
        };
        Some(Listed { price: in_region(provider, price.or_else(|| prices.unknown.clone())), source })
    }

    /// What a target of the configuration says of `provider/model`.
    pub(super) fn known_as(&self, name: &str) -> Option<&str> {
        let targets = self.targets().map(|target| (&target.name, target.known_as()));
        let mirrors = self.models.values().filter_map(|model| model.mirror.as_ref());
        let targets = targets.chain(mirrors.map(|mirror| (&mirror.name, mirror.model.as_deref())));
        targets.filter(|(target, _)| *target == name).find_map(|(_, known_as)| known_as)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::NanoUsd;

    #[test]
    fn what_a_model_is_is_known_wherever_a_target_says_it() {
        let text = "auth: open\n\
            providers: { mine: { kind: openai, api_key: k } }\n\
            models:\n  \
              chat:\n    \
                targets: [ { use: mine/a, model: gpt-4o } ]\n    \
                rules: [ { when: \"true\", targets: [ { use: mine/b, model: gpt-4o-mini } ] } ]\n    \
                mirror: { use: mine/c, model: o3 }\n";
        let config = Config::read(text, "f", &|_| None).unwrap();

        let known = ["mine/a", "mine/b", "mine/c", "mine/d"].map(|name| config.known_as(name));

        assert_eq!(known, [Some("gpt-4o"), Some("gpt-4o-mini"), Some("o3"), None]);
    }

    #[test]
    fn a_price_is_that_of_who_has_the_last_word() {
        let text = "auth: open\n\
            providers:\n  \
              openai: { kind: openai, api_key: k, prices: { gpt-4o: { input: 1, output: 1 } } }\n  \
              mine: { kind: openai, api_key: k }\n  \
              local: { kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1' }\n\
            models: { chat: { targets: [ { use: local/own, model: x } ] } }\n\
            prices: { 'mine/gpt-4o*': { input: 2, output: 2 }, local/large: { input: 3, output: 3 } }\n\
            unknown_price: { ceiling: { input: 9, output: 9 } }\n";
        let config = Config::read(text, "f", &|_| None).unwrap();

        let of = |name: &str| {
            let (Listed { price, source }, _) = config.price_list([name.to_owned()]).next().unwrap();
            (price.map(|price| price.scale.rates.input), source)
        };

        let usd = |dollars| Some(NanoUsd::from_usd(dollars));
        assert_eq!(of("openai/gpt-4o"), (usd(1), Source::Provider));
        assert_eq!(of("mine/gpt-4o-mini"), (usd(2), Source::Set("mine/gpt-4o*".into())));
        assert_eq!(of("mine/text-embedding-3-small"), (Some(NanoUsd(20_000_000)), Source::List));
        assert_eq!(of("local/own"), (usd(9), Source::Ceiling));
        assert!(config.price_list(["nobody/x".to_owned()]).next().is_none());
        let models = config.priced_models();
        for name in ["openai/gpt-4o", "mine/gpt-4o", "local/own", "local/large"] {
            assert!(models.contains(name), "{name}");
        }
    }

    #[test]
    fn a_model_that_is_said_to_be_another_has_its_price_and_its_abilities_at_any_server() {
        let text = "auth: open\n\
            providers:\n  \
              local: { kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1' }\n  \
              free: { kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1' }\n\
            models: { chat: { targets: [ { use: local/mine, model: gpt-4o } ] } }\n\
            prices: { 'free/*': { input: 0, output: 0 }, 'anthropic/*': { input: 7, output: 7 } }\n";
        let config = Config::read(text, "f", &|_| None).unwrap();
        let prices = Prices::new(&config);
        let of = |provider, known_as| prices.of(provider, ProviderKind::OpenAiCompatible, "mine", known_as);
        let openai = PriceBook::builtin().lookup("openai", "gpt-4o").unwrap();

        for name in ["gpt-4o", "openai/gpt-4o"] {
            assert_eq!(of("local", Some(name)), openai, "{name}");
            let free = of("free", Some(name));
            assert_eq!(free.facts, openai.facts, "{name}");
            assert_eq!(free.price.map(|price| price.scale.rates.input), Some(NanoUsd::from_usd(0)), "{name}");
        }
        for nobody in [None, Some("x"), Some("openai/x"), Some("anthropic/x"), Some("")] {
            assert_eq!(of("local", nobody), Listing::default(), "{nobody:?}");
        }
        let (listed, _) = config.price_list(["local/mine".to_owned()]).next().unwrap();
        assert_eq!(listed, Listed { price: openai.price, source: Source::List });
    }

    #[test]
    fn of_several_lists_that_have_a_model_its_makers_says_what_it_is() {
        let prices = Prices::new(&Config::default());
        let of = |kind, model, known_as| prices.of("local", kind, model, Some(known_as));
        let book = PriceBook::builtin();

        for (maker, model) in [
            ("deepseek", "deepseek-v4-flash"),
            ("moonshot", "kimi-k3"),
            ("zai", "glm-5.2"),
            ("anthropic", "claude-haiku-4-5"),
            ("gemini", "gemini-2.5-flash"),
        ] {
            let listed = book.lookup(maker, model);
            assert!(listed.is_some(), "{model}");
            assert_eq!(Some(of(ProviderKind::OpenAiCompatible, "mine", model)), listed, "{model}");
        }
        let named = of(ProviderKind::OpenAiCompatible, "mine", "dashscope/deepseek-v4-flash");
        assert_eq!(Some(named), book.lookup("dashscope", "deepseek-v4-flash"));
        // What a provider's own list has is looked up nowhere else.
        let own = of(ProviderKind::OpenAi, "gpt-4o-mini", "claude-haiku-4-5");
        assert_eq!(Some(own), book.lookup("openai", "gpt-4o-mini"));
    }
}
