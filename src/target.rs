//! [`Target`]: one model at one provider, and what is known of it.

use std::{fmt, sync::Arc};

use crate::price::Price;

/// One model at one provider: what a candidate's stack is built for.
#[derive(Clone, Debug)]
pub struct Target {
    name: Arc<str>,
    provider_ends: usize,
    price: Option<Price>,
    facts: ModelFacts,
    region: Option<Box<str>>,
}

impl Target {
    /// A target named `provider/model`, without a price and with nothing known of the model.
    pub fn new(provider: &str, model: &str) -> Self {
        Self {
            name: format!("{provider}/{model}").into(),
            provider_ends: provider.len(),
            price: None,
            facts: ModelFacts::default(),
            region: None,
        }
    }

    /// Sets what it costs; a target without a price is counted as unpriced.
    #[must_use]
    pub fn price(self, price: Option<Price>) -> Self {
        Self { price, ..self }
    }

    /// Sets what is known of the model.
    #[must_use]
    pub fn facts(self, facts: ModelFacts) -> Self {
        Self { facts, ..self }
    }

    /// Sets where it answers, such as `eu-west-1`.
    #[must_use]
    pub fn region(self, region: Option<&str>) -> Self {
        Self { region: region.map(Into::into), ..self }
    }

    /// `provider/model`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The provider's name in the configuration, such as `openai`.
    pub fn provider(&self) -> &str {
        &self.name[..self.provider_ends]
    }

    /// The model's name at the provider.
    pub fn model(&self) -> &str {
        &self.name[self.provider_ends + 1..]
    }

    /// What it costs, if that is known.
    pub fn known_price(&self) -> Option<&Price> {
        self.price.as_ref()
    }

    /// Where it answers, if that is known.
    pub fn known_region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// What is known of the model.
    pub fn known_facts(&self) -> &ModelFacts {
        &self.facts
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a model takes and refuses. `None` is "not known".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelFacts {
    /// The most tokens of input.
    pub max_input: Option<u64>,
    /// The most tokens of output.
    pub max_output: Option<u64>,
    supports: Vec<Box<str>>,
    lacks: Vec<Box<str>>,
    server_supports: &'static [&'static str],
    server_lacks: &'static [&'static str],
}

impl ModelFacts {
    /// Facts from the names that `model_prices.json` uses, such as `adaptive_thinking`.
    pub fn new<'a>(
        supports: impl IntoIterator<Item = &'a str>,
        lacks: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            supports: supports.into_iter().map(Into::into).collect(),
            lacks: lacks.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds what the server takes and refuses whatever the model, where nothing else is known of it.
    #[must_use]
    pub fn at_server(self, supports: &'static [&'static str], lacks: &'static [&'static str]) -> Self {
        Self { server_supports: supports, server_lacks: lacks, ..self }
    }

    /// Takes back that the model has `feature`.
    pub(crate) fn without(mut self, feature: &str) -> Self {
        self.supports.retain(|known| **known != *feature);
        self
    }

    /// Whether anything is known of the model itself.
    pub fn is_known(&self) -> bool {
        let limits = self.max_input.or(self.max_output);
        limits.is_some() || !self.supports.is_empty() || !self.lacks.is_empty()
    }

    /// Whether the model is known to have `feature`.
    pub fn supports(&self, feature: &str) -> bool {
        has(&self.supports, feature)
            || (!has(&self.lacks, feature) && self.server_supports.contains(&feature))
    }

    /// Whether the model is known not to have `feature`.
    pub fn lacks(&self, feature: &str) -> bool {
        has(&self.lacks, feature) || (!has(&self.supports, feature) && self.server_lacks.contains(&feature))
    }
}

fn has(names: &[Box<str>], feature: &str) -> bool {
    names.iter().any(|name| **name == *feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_model_goes_before_what_is_known_of_its_server() {
        let facts = ModelFacts::new(["a"], ["b"]).at_server(&["b", "c"], &["a", "d"]);

        assert!(facts.supports("a") && !facts.lacks("a"));
        assert!(facts.lacks("b") && !facts.supports("b"));
        assert!(facts.supports("c") && facts.lacks("d"));
        assert!(facts.is_known());
        assert!(!ModelFacts::default().at_server(&["c"], &[]).is_known());
    }
}
