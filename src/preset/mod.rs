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
//! A new one is an entry in the table of this module, and a test that shows what becomes of a request;
//! it is a provider kind of the configuration from then on. A provider of one's own gets its
//! deviations through [`TranslateLayer::deviations`](crate::translate::TranslateLayer::deviations).

mod apply;
mod object;
mod quirk;
mod rule;
mod table;
mod vertex;

use crate::target::ModelFacts;

pub(crate) use self::apply::adapted;
pub use self::{
    object::Object,
    quirk::Changes,
    rule::Rule,
    table::PRESETS,
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
        facts.at_server(self.supports, self.lacks)
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
}

impl Deviations {
    /// Those from a dialect, by its id.
    pub const fn new(dialect: &'static str, rules: &'static [Rule]) -> Self {
        Self { dialect, rules, quirk: None }
    }

    /// The same with something that no rule can express.
    #[must_use]
    pub const fn quirk(self, quirk: fn(&Object<'_>, &mut Changes<'_>)) -> Self {
        Self { quirk: Some(Quirk(quirk)), ..self }
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
