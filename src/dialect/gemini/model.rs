//! What is known of a model by its name, where the list of models doesn't say.

use crate::Target;

/// How a model is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether a call of the current turn has to come back with its signature.
    pub(super) wants_signatures: bool,
    /// Whether pictures may be part of what a function returned.
    pub(super) takes_media_in_results: bool,
    /// Whether the form of the answer can be given beside functions that may be called.
    pub(super) takes_form_with_tools: bool,
    /// How the amount of thinking is said.
    pub(super) thinking: Thinking,
}

/// How the amount of thinking is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// By a level.
    Level { has_minimal: bool },
    /// By a number of tokens.
    Budget { least: u64, most: u64, can_be_off: bool },
}

impl Traits {
    /// The traits of `model`.
    pub(super) fn of(model: &Target) -> Self {
        let facts = model.known_facts();
        let name = model.model();
        // The third generation and what comes after it; aliases mean the newest.
        let is_new = generation(name).is_some_and(|generation| generation >= 3);
        let thinking = match is_new {
            true => Thinking::Level {
                has_minimal: name.contains("flash") && !facts.lacks("minimal_reasoning_effort"),
            },
            false => budget(name),
        };
        Self {
            wants_signatures: is_new || facts.supports("thought_signatures"),
            takes_media_in_results: is_new,
            takes_form_with_tools: is_new,
            thinking,
        }
    }
}

fn budget(name: &str) -> Thinking {
    let (least, most, can_be_off) = if name.contains("pro") {
        (128, 32_768, false)
    } else if name.contains("lite") {
        (512, 24_576, true)
    } else {
        (1, 24_576, true)
    };
    Thinking::Budget { least, most, can_be_off }
}

/// `3` of `gemini-3.1-pro-preview`; `None` for what is not a Gemini.
fn generation(name: &str) -> Option<u32> {
    let version = name.rsplit('/').next()?.strip_prefix("gemini-")?;
    if version.ends_with("-latest") {
        return Some(u32::MAX);
    }
    version.split(['.', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::ModelFacts;

    fn traits(name: &str) -> Traits {
        Traits::of(&Target::new("gemini", name))
    }

    #[test]
    fn the_generation_is_part_of_the_name() {
        assert_eq!(generation("gemini-2.5-flash"), Some(2));
        assert_eq!(generation("gemini-3-flash-preview"), Some(3));
        assert_eq!(generation("models/gemini-4-argon"), Some(4));
        assert_eq!(generation("gemini-flash-latest"), Some(u32::MAX));
        assert_eq!(generation("gemini-exp-1206"), None);
        assert_eq!(generation("gemma-4-31b-it"), None);
    }

    #[test]
    fn newer_models_have_levels_and_older_ones_budgets() {
        assert_eq!(traits("gemini-3.1-flash-lite").thinking, Thinking::Level { has_minimal: true });
        assert_eq!(traits("gemini-3.1-pro-preview").thinking, Thinking::Level { has_minimal: false });
        assert_eq!(
            traits("gemini-2.5-pro").thinking,
            Thinking::Budget { least: 128, most: 32_768, can_be_off: false }
        );
        assert!(traits("gemini-3-pro").wants_signatures && !traits("gemini-2.5-pro").wants_signatures);
        let lacking = Target::new("gemini", "gemini-3.8-flash")
            .facts(ModelFacts::new([], ["minimal_reasoning_effort"]));
        assert_eq!(Traits::of(&lacking).thinking, Thinking::Level { has_minimal: false });
    }
}
