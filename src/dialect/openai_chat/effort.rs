//! How hard a model is to think, in the words that this very model takes.

use crate::{
    dialect::canonical::{Effort, Reasoning},
    target::ModelFacts,
};

/// What to say of reasoning to a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The value of `reasoning_effort`.
    pub(crate) effort: Option<&'static str>,
    /// Whether the model will think, as far as is known; such models refuse to be sampled otherwise.
    pub(crate) thinks: bool,
    /// Whether what the client asked for can't be said.
    pub(crate) is_lost: bool,
}

/// Finds the words for `asked`.
pub(crate) fn plan(asked: Option<Reasoning>, facts: &ModelFacts) -> Plan {
    let reasons = facts.supports("reasoning");
    let Some(asked) = asked.and_then(effort) else {
        // A model that may not think does so only when it is told to.
        return Plan { effort: None, thinks: reasons && !takes(Effort::None, facts), is_lost: false };
    };
    if !reasons && facts.is_known() {
        return Plan { effort: None, thinks: false, is_lost: asked != Effort::None };
    }
    let nearest = nearest(asked, facts);
    Plan {
        effort: Some(word(nearest)),
        thinks: reasons && nearest != Effort::None,
        is_lost: asked == Effort::None && nearest != Effort::None,
    }
}

fn effort(asked: Reasoning) -> Option<Effort> {
    asked.effort.or_else(|| {
        Some(match asked.budget? {
            0 => Effort::None,
            1..=1024 => Effort::Low,
            1025..=8192 => Effort::Medium,
            _ => Effort::High,
        })
    })
}

/// Models whose facts are not known are trusted with every effort. The ends of the scale have to be
/// known to be there, the middle has to be known to be missing.
fn takes(effort: Effort, facts: &ModelFacts) -> bool {
    match effort {
        Effort::None => facts.supports("none_reasoning_effort"),
        Effort::Minimal => facts.supports("minimal_reasoning_effort"),
        Effort::Low => !facts.lacks("low_reasoning_effort"),
        Effort::Medium | Effort::High => true,
        Effort::XHigh => facts.supports("xhigh_reasoning_effort"),
        Effort::Max => facts.supports("max_reasoning_effort"),
    }
}

fn nearest(asked: Effort, facts: &ModelFacts) -> Effort {
    use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
    if !facts.is_known() {
        return asked;
    }
    let scale: &[Effort] = match asked {
        None => &[None, Minimal, Low, Medium],
        Minimal => &[Minimal, Low, Medium],
        Low => &[Low, Medium],
        Medium => &[Medium],
        High => &[High],
        XHigh => &[XHigh, High],
        Max => &[Max, XHigh, High],
    };
    scale.iter().copied().find(|effort| takes(*effort, facts)).unwrap_or(Medium)
}

/// The effort that a word means; `None` if it is none of OpenAI's.
pub(crate) fn read(word: &str) -> Option<Effort> {
    Some(match word {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::XHigh,
        "max" => Effort::Max,
        _ => return None,
    })
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh => "xhigh",
        Effort::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(effort: Effort) -> Option<Reasoning> {
        Some(Reasoning { effort: Some(effort), ..Reasoning::default() })
    }

    #[test]
    fn a_budget_becomes_an_effort() {
        let unknown = ModelFacts::default();
        let of =
            |budget| plan(Some(Reasoning { budget: Some(budget), ..Reasoning::default() }), &unknown).effort;

        assert_eq!(of(0), Some("none"));
        assert_eq!(of(1024), Some("low"));
        assert_eq!(of(8192), Some("medium"));
        assert_eq!(of(8193), Some("high"));
    }

    #[test]
    fn an_effort_the_model_lacks_becomes_the_nearest() {
        let gpt5 = ModelFacts::new(["reasoning", "minimal_reasoning_effort"], ["none_reasoning_effort"]);

        assert_eq!(plan(with(Effort::Max), &gpt5).effort, Some("high"));
        assert_eq!(plan(with(Effort::Minimal), &gpt5).effort, Some("minimal"));
        let off = plan(with(Effort::None), &gpt5);
        assert_eq!(off, Plan { effort: Some("minimal"), thinks: true, is_lost: true });
    }

    #[test]
    fn a_model_that_cannot_think_is_not_asked_to() {
        let plain = ModelFacts::new(["function_calling"], []);

        assert_eq!(plan(with(Effort::High), &plain), Plan { effort: None, thinks: false, is_lost: true });
        assert!(!plan(with(Effort::None), &plain).is_lost);
        assert!(!plan(None, &plain).thinks);
    }

    #[test]
    fn nothing_is_assumed_of_a_model_that_is_not_known() {
        let unknown = ModelFacts::default();

        assert_eq!(plan(with(Effort::XHigh), &unknown).effort, Some("xhigh"));
        assert!(!plan(with(Effort::High), &unknown).thinks);
    }
}
