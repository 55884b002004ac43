//! How much to think, in the form that the model takes.

use super::{
    model::{Thinking, Traits},
    wire::write::ThinkingConfig,
};
use crate::{
    dialect::{
        canonical::{Effort, Reasoning},
        lost::Lost,
    },
    target::ModelFacts,
};

const FIELD: &str = "reasoning_effort";

/// The settings for what is `asked`, within the cap on thoughts and answer together.
pub(super) fn config(
    asked: Option<Reasoning>,
    cap: Option<u64>,
    traits: Traits,
    facts: &ModelFacts,
    lost: &mut Lost,
) -> Option<ThinkingConfig> {
    let asked = asked?;
    let is_off = asked.effort == Some(Effort::None) || (asked.effort.is_none() && asked.budget == Some(0));
    if facts.is_known() && !facts.supports("reasoning") {
        lost.push_if(!is_off, FIELD);
        return None;
    }
    // Thoughts are shown to those who ask, and other dialects ask by thinking.
    let include_thoughts = (!is_off && asked.visible != Some(false)).then_some(true);
    let config = ThinkingConfig { include_thoughts, ..ThinkingConfig::default() };
    Some(match traits.thinking {
        Thinking::Level { has_minimal } => {
            lost.push_if(is_off, FIELD);
            ThinkingConfig { thinking_level: level(asked, has_minimal, facts), ..config }
        }
        Thinking::Budget { least, most, can_be_off } => {
            lost.push_if(is_off && !can_be_off, FIELD);
            let budget = budget(asked, most).map(|budget| match budget {
                0 if can_be_off => 0,
                budget => budget.clamp(least, most),
            });
            let wanted = budget;
            // Thoughts that fill the cap leave no answer; who counts them knows that.
            let budget = budget.map(|budget| match cap {
                Some(cap) if asked.budget.is_none() && budget > 0 && budget >= cap => (cap / 2).max(least),
                _ => budget,
            });
            lost.push_if(budget < wanted, FIELD);
            ThinkingConfig { thinking_budget: budget, ..config }
        }
    })
}

/// The nearest level that the model has; it can't be kept from thinking at all.
fn level(asked: Reasoning, has_minimal: bool, facts: &ModelFacts) -> Option<&'static str> {
    let by_budget = |budget| match budget {
        0 => Effort::None,
        1..=1024 => Effort::Low,
        1025..=8192 => Effort::Medium,
        _ => Effort::High,
    };
    Some(match asked.effort.or(asked.budget.map(by_budget))? {
        Effort::None | Effort::Minimal if has_minimal => "MINIMAL",
        Effort::None | Effort::Minimal | Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::XHigh | Effort::Max if facts.supports("xhigh_reasoning_effort") => "XHIGH",
        Effort::High | Effort::XHigh | Effort::Max => "HIGH",
    })
}

fn budget(asked: Reasoning, most: u64) -> Option<u64> {
    asked.budget.filter(|_| asked.effort != Some(Effort::None)).or_else(|| {
        Some(match asked.effort? {
            Effort::None => 0,
            Effort::Minimal => 512,
            Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High => 24_576,
            Effort::XHigh | Effort::Max => most,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;

    fn asked(model: &str, asked: Reasoning) -> (Option<ThinkingConfig>, Vec<Box<str>>) {
        let mut lost = Lost::default();
        let traits = Traits::of(&Target::new("gemini", model));
        let config = config(Some(asked), None, traits, &ModelFacts::default(), &mut lost);
        (config, lost.into_names())
    }

    fn effort(effort: Effort) -> Reasoning {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    fn level_of(model: &str, wanted: Effort) -> Option<&'static str> {
        asked(model, effort(wanted)).0.unwrap().thinking_level
    }

    fn budget_of(model: &str, wanted: Reasoning) -> Option<u64> {
        asked(model, wanted).0.unwrap().thinking_budget
    }

    /// §5
    #[test]
    fn an_effort_is_a_level_for_newer_models() {
        assert_eq!(level_of("gemini-3-flash", Effort::Minimal), Some("MINIMAL"));
        assert_eq!(level_of("gemini-3-pro", Effort::Minimal), Some("LOW"));
        assert_eq!(level_of("gemini-3-pro", Effort::Medium), Some("MEDIUM"));
        assert_eq!(level_of("gemini-3-pro", Effort::Max), Some("HIGH"));
        let by_budget = Reasoning { budget: Some(2000), ..Reasoning::default() };
        assert_eq!(asked("gemini-3-pro", by_budget).0.unwrap().thinking_level, Some("MEDIUM"));
    }

    #[test]
    fn thoughts_leave_room_for_an_answer() {
        let budget = |cap| {
            let (mut lost, traits) = (Lost::default(), Traits::of(&Target::new("gemini", "gemini-2.5-pro")));
            let config =
                config(Some(effort(Effort::High)), Some(cap), traits, &ModelFacts::default(), &mut lost);
            (config.unwrap().thinking_budget, lost.into_names().len())
        };

        assert_eq!(budget(30_000), (Some(24_576), 0));
        assert_eq!((budget(1_000), budget(100)), ((Some(500), 1), (Some(128), 1)));
    }

    #[test]
    fn an_effort_is_a_budget_for_older_models() {
        assert_eq!(budget_of("gemini-2.5-flash", effort(Effort::Low)), Some(1024));
        assert_eq!(budget_of("gemini-2.5-pro", effort(Effort::Max)), Some(32_768));
        let given = Reasoning { budget: Some(100_000), ..Reasoning::default() };
        assert_eq!(budget_of("gemini-2.5-flash", given), Some(24_576));
    }

    #[test]
    fn what_can_not_be_turned_off_is_reported() {
        let (off, lost) = asked("gemini-2.5-flash", effort(Effort::None));
        assert_eq!((off.unwrap().thinking_budget, lost.len()), (Some(0), 0));

        for (model, least, level) in
            [("gemini-2.5-pro", Some(128), None), ("gemini-3-pro", None, Some("LOW"))]
        {
            let (off, lost) = asked(model, effort(Effort::None));
            let expected =
                ThinkingConfig { include_thoughts: None, thinking_budget: least, thinking_level: level };
            assert_eq!((off, &lost[..]), (Some(expected), &[FIELD].map(Box::<str>::from)[..]), "{model}");
        }
    }

    #[test]
    fn thoughts_are_shown_unless_the_client_does_not_want_them() {
        let shown = |visible| {
            let wanted = Reasoning { visible, ..effort(Effort::High) };
            asked("gemini-3-pro", wanted).0.unwrap().include_thoughts
        };

        assert_eq!((shown(None), shown(Some(true)), shown(Some(false))), (Some(true), Some(true), None));
    }

    #[test]
    fn a_model_that_can_not_think_is_not_asked_to() {
        let (facts, mut lost) = (ModelFacts::new(["tool_choice"], []), Lost::default());
        let traits = Traits::of(&Target::new("gemini", "gemini-2.0-flash"));

        assert_eq!(config(Some(effort(Effort::High)), None, traits, &facts, &mut lost), None);
        assert_eq!(lost.into_names(), [FIELD].map(Box::<str>::from));
    }
}
