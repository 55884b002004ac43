//! How much to think, in the form that the model takes, within the cap on the answer.

use super::wire::write::Thinking;
use crate::{
    dialect::{
        canonical::{Effort, Reasoning, Request},
        lost::Lost,
    },
    target::ModelFacts,
};

const FIELD: &str = "reasoning_effort";
/// Anthropic refuses to think for fewer tokens.
const LEAST_BUDGET: u64 = 1024;
/// The cap where neither the client nor what is known of the model gives one.
const DEFAULT_CAP: u64 = 4096;

/// How much to think, and the cap that leaves room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) thinking: Option<Thinking>,
    pub(crate) effort: Option<&'static str>,
    pub(crate) max_tokens: u64,
}

impl Plan {
    /// Whether the model will think, which narrows what may be sampled.
    pub(crate) fn thinks(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Adaptive { .. } | Thinking::Enabled { .. }))
    }
}

/// The plan for `request`; `may_budget` says whether the rest of the request goes together with
/// thinking in the older form.
pub(crate) fn plan(request: &Request<'_>, facts: &ModelFacts, may_budget: bool, lost: &mut Lost) -> Plan {
    let most = facts.max_output.unwrap_or(u64::MAX);
    let cap = request.max_output.or(request.assumed_output).or(facts.max_output);
    let cap = cap.unwrap_or(DEFAULT_CAP).min(most);
    let plain = Plan { thinking: None, effort: None, max_tokens: cap };
    let Some(reasoning) = request.reasoning else { return plain };
    if reasoning.effort == Some(Effort::None) {
        return without(plain, facts, lost);
    }
    if facts.lacks("reasoning") {
        lost.push(FIELD);
        return plain;
    }
    if facts.supports("adaptive_thinking") {
        let display = if reasoning.visible == Some(false) { "omitted" } else { "summarized" };
        let effort = effort(&reasoning, facts);
        return Plan { thinking: Some(Thinking::Adaptive { display }), effort, ..plain };
    }
    let wanted = budget(&reasoning, facts);
    match within(wanted, cap).filter(|_| may_budget) {
        Some(budget_tokens) => {
            lost.push_if(budget_tokens < wanted, FIELD);
            let display = (reasoning.visible == Some(false)).then_some("omitted");
            Plan { thinking: Some(Thinking::Enabled { budget_tokens, display }), ..plain }
        }
        None => {
            lost.push(FIELD);
            plain
        }
    }
}

fn without(plain: Plan, facts: &ModelFacts, lost: &mut Lost) -> Plan {
    if facts.supports("thinking_always_on") {
        lost.push(FIELD);
        return Plan { effort: Some("low"), ..plain };
    }
    let thinking = (!facts.lacks("reasoning")).then_some(Thinking::Disabled);
    Plan { thinking, ..plain }
}

/// The effort that is closest to what is asked for.
pub(crate) fn effort(reasoning: &Reasoning, facts: &ModelFacts) -> Option<&'static str> {
    let by_budget = || {
        reasoning.budget.map(|budget| match budget {
            0..=1024 => Effort::Low,
            1025..=8192 => Effort::Medium,
            _ => Effort::High,
        })
    };
    Some(match reasoning.effort.or_else(by_budget)? {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::Max if facts.supports("max_reasoning_effort") => "max",
        Effort::XHigh | Effort::Max if facts.supports("xhigh_reasoning_effort") => "xhigh",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    })
}

/// The tokens to think for.
fn budget(reasoning: &Reasoning, facts: &ModelFacts) -> u64 {
    let by_effort = match reasoning.effort.unwrap_or(Effort::Medium) {
        Effort::None | Effort::Minimal | Effort::Low => LEAST_BUDGET,
        Effort::Medium => 4096,
        Effort::High => 16_384,
        Effort::XHigh => 32_768,
        Effort::Max => facts.max_output.map_or(32_768, |most| most / 2),
    };
    reasoning.budget.unwrap_or(by_effort).max(LEAST_BUDGET)
}

/// As much of `budget` as leaves room for an answer below `cap`, which is what was reserved; `None` if that is
/// too little to think at all.
fn within(budget: u64, cap: u64) -> Option<u64> {
    match budget < cap {
        true => Some(budget),
        false => (cap > LEAST_BUDGET).then_some((cap / 2).max(LEAST_BUDGET)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{asking, assistant, call, encoded, hi, result, text, thought, tool, user};
    use super::*;
    use crate::dialect::canonical::ToolChoice;

    fn thinking(reasoning: Reasoning, supports: &[&str], lacks: &[&str]) -> (Value, Vec<String>) {
        encoded(&Request { reasoning: Some(reasoning), ..hi() }, supports, lacks)
    }

    fn with(effort: Effort) -> Reasoning {
        Reasoning { effort: Some(effort), ..Reasoning::default() }
    }

    /// T07
    /// C70
    #[test]
    fn newer_models_think_by_effort() {
        let (high, _) = thinking(with(Effort::High), &["adaptive_thinking"], &[]);
        let (max, _) = thinking(with(Effort::Max), &["adaptive_thinking", "xhigh_reasoning_effort"], &[]);
        let budget = Reasoning { budget: Some(2000), visible: Some(false), ..Reasoning::default() };
        let (budget, _) = thinking(budget, &["adaptive_thinking"], &[]);

        assert_eq!(high["thinking"], json!({"type": "adaptive", "display": "summarized"}));
        assert_eq!(high["output_config"], json!({"effort": "high"}));
        assert_eq!(max["output_config"], json!({"effort": "xhigh"}));
        assert_eq!(budget["thinking"], json!({"type": "adaptive", "display": "omitted"}));
        assert_eq!(budget["output_config"], json!({"effort": "medium"}));
    }

    #[test]
    fn older_models_think_by_budget() {
        let (low, _) = thinking(with(Effort::Low), &[], &[]);
        let given = Reasoning { budget: Some(500), ..with(Effort::High) };
        let (given, _) = thinking(given, &[], &[]);

        assert_eq!(low["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
        assert!(low.get("output_config").is_none());
        assert_eq!(given["thinking"]["budget_tokens"], 1024);
    }

    #[test]
    fn thinking_is_turned_off_where_that_is_possible() {
        let (off, lost) = thinking(with(Effort::None), &[], &[]);
        let always = ["adaptive_thinking", "thinking_always_on"];
        let (low, lost_always) = thinking(with(Effort::None), &always, &[]);
        let (never, lost_never) = thinking(with(Effort::High), &[], &["reasoning"]);

        assert_eq!((&off["thinking"], lost), (&json!({"type": "disabled"}), vec![]));
        assert_eq!(low["output_config"], json!({"effort": "low"}));
        assert!(low.get("thinking").is_none() && never.get("thinking").is_none());
        assert_eq!((lost_always, lost_never), (vec![FIELD.to_owned()], vec![FIELD.to_owned()]));
    }

    /// C125
    #[test]
    fn the_budget_stays_below_the_cap() {
        let capped = |max_output, effort, most| {
            let mut facts = ModelFacts::default();
            facts.max_output = most;
            let request = Request { max_output, reasoning: Some(with(effort)), ..Request::default() };
            let mut lost = Lost::default();
            let plan = plan(&request, &facts, true, &mut lost);
            let budget = match plan.thinking {
                Some(Thinking::Enabled { budget_tokens, .. }) => Some(budget_tokens),
                _ => None,
            };
            (budget, plan.max_tokens, lost.into_names().len())
        };

        assert_eq!(capped(Some(5000), Effort::Medium, Some(64_000)), (Some(4096), 5000, 0), "room enough");
        assert_eq!(capped(Some(3000), Effort::High, Some(64_000)), (Some(1500), 3000, 1), "cut");
        assert_eq!(capped(Some(1500), Effort::High, None), (Some(1024), 1500, 1), "the least");
        assert_eq!(capped(Some(100), Effort::High, Some(64_000)), (None, 100, 1), "no room at all");
        assert_eq!(
            capped(Some(1024), Effort::Low, Some(64_000)),
            (None, 1024, 1),
            "not one token of an answer"
        );
        assert_eq!(capped(None, Effort::High, None), (Some(2048), 4096, 1), "nobody set a cap");
    }

    #[test]
    fn the_cap_is_the_clients_but_never_above_the_models() {
        let cap = |max_output, most| {
            let mut facts = ModelFacts::default();
            facts.max_output = most;
            let request = Request { max_output, ..Request::default() };
            plan(&request, &facts, true, &mut Lost::default()).max_tokens
        };

        assert_eq!(cap(Some(50), Some(100)), 50);
        assert_eq!(cap(Some(500), Some(100)), 100);
        assert_eq!(cap(None, Some(100)), 100);
        assert_eq!(cap(None, None), 4096);
    }

    #[test]
    fn a_cap_that_is_not_the_clients_is_what_is_reserved() {
        let cap = |effort: Option<Effort>, most| {
            let mut facts = ModelFacts::default();
            facts.max_output = Some(most);
            let reasoning = effort.map(with);
            let request = Request { assumed_output: Some(6_000), reasoning, ..Request::default() };
            plan(&request, &facts, true, &mut Lost::default()).max_tokens
        };

        assert_eq!((cap(None, 64_000), cap(Some(Effort::High), 64_000)), (6_000, 6_000));
        assert_eq!(cap(None, 5_000), 5_000);
    }

    /// C49
    #[test]
    fn a_forced_tool_leaves_no_thinking() {
        let request = Request {
            tools: vec![tool("f", None)],
            tool_choice: Some(ToolChoice::Required),
            reasoning: Some(with(Effort::High)),
            ..hi()
        };

        let (body, lost) = encoded(&request, &[], &[]);

        assert!(body.get("thinking").is_none());
        assert_eq!(body["tool_choice"], json!({"type": "any"}));
        assert_eq!(lost, [FIELD]);
    }

    /// C67
    #[test]
    fn thinking_is_left_out_when_the_client_has_lost_the_thoughts() {
        let resumed = |begin: Vec<_>| Request {
            tools: vec![tool("f", None)],
            reasoning: Some(with(Effort::High)),
            ..asking(vec![user(vec![text("a")]), assistant(begin), user(vec![result("c", "r")])])
        };

        let (without, lost) = encoded(&resumed(vec![call("c", "f", "{}")]), &[], &[]);
        let (with, _) = encoded(&resumed(vec![thought("t", Some("s")), call("c", "f", "{}")]), &[], &[]);
        let (adaptive, _) = encoded(&resumed(vec![call("c", "f", "{}")]), &["adaptive_thinking"], &[]);

        assert!(without.get("thinking").is_none());
        assert_eq!(lost, [FIELD]);
        assert_eq!(with["thinking"]["type"], "enabled");
        assert_eq!(adaptive["thinking"]["type"], "adaptive");
    }
}
