//! Providers that offer OpenAI's chat completions with deviations of their own: [`Preset`].
//!
//! A preset is data: where the provider is, which variable holds its key, and how it deviates. The
//! deviations are edits of a request's bytes, so that they hold for a request that passes through as
//! well as for a translated one, and a request in which nothing has to be changed is looked at once and
//! not rebuilt. What a provider refuses is taken out and reported as lost; what only has another name
//! is renamed.
//!
//! ```
//! use bartizan::preset::Preset;
//!
//! let groq = Preset::named("groq").unwrap();
//!
//! assert_eq!(groq.base_url, "https://api.groq.com/openai/v1");
//! assert_eq!(groq.key, "GROQ_API_KEY");
//! ```
//!
//! How one is added is described in [`extending`](crate::extending#a-provider).

mod apply;
mod facts;
mod object;
mod openai;
mod quirk;
mod rule;
mod table;
mod vertex;

use crate::{
    dialect::{Dialect, OPENAI_EMBEDDINGS, OPENAI_RESPONSES},
    price::ReportedCost,
    target::ModelFacts,
};

pub(crate) use self::apply::Adapter;
pub(crate) use self::object::items;
use self::rule::Action;
pub use self::{
    object::Object,
    openai::OPENAI,
    quirk::Changes,
    rule::Rule,
    table::{COMPATIBLE, PRESETS, UNKNOWN_LACKS},
    vertex::{CLAUDE_AT_VERTEX, GEMINI_AT_VERTEX},
};

/// A provider that is known by its name.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preset {
    /// The name in the configuration, such as `deepseek`.
    pub name: &'static str,
    /// Who that is, in words.
    pub title: &'static str,
    /// Where it is, if the configuration doesn't say otherwise.
    pub base_url: &'static str,
    /// The variable in which its key is looked for.
    pub key: &'static str,
    /// The variable in which its address is looked for.
    pub url: &'static str,
    /// Its name in the list of prices; empty if it isn't there.
    pub list: &'static str,
    /// What its server takes whatever the model, by the names that
    /// [`ModelFacts`] has for features.
    pub supports: &'static [&'static str],
    /// What its server refuses whatever the model, likewise.
    pub lacks: &'static [&'static str],
    /// Where its answers say what they have cost, if they do and are right.
    pub cost: Option<ReportedCost>,
    /// Whether it has batches and files for them as OpenAI does.
    pub batches: bool,
    /// The header of its answers that says how many tokens it had in its cache, where their counts may not.
    pub cached_in: Option<&'static str>,
    /// How its chat completions deviate.
    pub deviations: Deviations,
}

impl Preset {
    /// The preset with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// What is known of a model, with what its server takes and refuses.
    pub fn facts(&self, facts: ModelFacts) -> ModelFacts {
        let facts = facts.at_server(self.supports, self.lacks);
        match self.name {
            // It does at another address only.
            "deepseek" => facts.without("assistant_prefill"),
            _ => facts,
        }
    }
}

impl std::hash::Hash for Preset {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// How a provider deviates from a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deviations {
    /// The [id](crate::dialect::Dialect::id) of the dialect.
    pub dialect: &'static str,
    /// What is done to the fields of a request.
    pub rules: &'static [Rule],
    /// What no rule can express.
    pub quirk: Option<Quirk>,
    /// What is done to the fields of a request for embeddings in OpenAI's dialect.
    pub embeddings: &'static [Rule],
    /// What is done to those of a request in OpenAI's dialect of responses.
    pub responses: &'static [Rule],
}

impl Deviations {
    /// Those from a dialect, by its id.
    pub const fn new(dialect: &'static str, rules: &'static [Rule]) -> Self {
        Self { dialect, rules, quirk: None, embeddings: &[], responses: &[] }
    }

    /// The same with something that no rule can express.
    #[must_use]
    pub const fn quirk(self, quirk: fn(&Object<'_>, &mut Changes<'_>)) -> Self {
        Self { quirk: Some(Quirk(quirk)), ..self }
    }

    /// The same with rules for embeddings, which are another dialect.
    #[must_use]
    pub const fn embeddings(self, rules: &'static [Rule]) -> Self {
        Self { embeddings: rules, ..self }
    }

    /// The same with rules for responses, which are another dialect.
    #[must_use]
    pub const fn responses(self, rules: &'static [Rule]) -> Self {
        Self { responses: rules, ..self }
    }

    /// The dialects of which something is known.
    fn dialects(&self) -> impl Iterator<Item = &'static str> {
        [self.dialect, OPENAI_EMBEDDINGS.id(), OPENAI_RESPONSES.id()].into_iter()
    }

    /// Whether the provider has another name for a field of requests in a dialect.
    pub(crate) fn renames(&self, dialect: &str, field: &str) -> bool {
        let is_renamed = |rule: &Rule| rule.path == field && matches!(rule.action, Action::Rename(_));
        self.of(dialect).0.iter().any(is_renamed)
    }

    /// What is to be done to requests in a dialect.
    fn of(&self, dialect: &str) -> (&'static [Rule], Option<Quirk>) {
        match dialect {
            dialect if dialect == self.dialect => (self.rules, self.quirk),
            dialect if dialect == OPENAI_EMBEDDINGS.id() => (self.embeddings, None),
            dialect if dialect == OPENAI_RESPONSES.id() => (self.responses, None),
            _ => (&[], None),
        }
    }
}

/// A function that looks at a request and changes it.
#[derive(Clone, Copy)]
pub struct Quirk(fn(&Object<'_>, &mut Changes<'_>));

impl PartialEq for Quirk {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for Quirk {}

impl std::fmt::Debug for Quirk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Quirk")
    }
}
