//! How much to think, in the form that the model takes, within the cap on the answer.

use super::{lost::Lost, wire::write::Thinking};
use crate::{
    dialect::canonical::{Effort, Reasoning, Request},
    target::ModelFacts,
};

const FIELD: &str = "reasoning_effort";
/// Anthropic refuses to think for fewer tokens.
const LEAST_BUDGET: u64 = 1024;
/// The cap where neither the client nor what is known of the model gives one.
const DEFAULT_CAP: u64 = 4096;

/// How much to think, and the cap that leaves room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) thinking: Option<Thinking>,
    pub(super) effort: Option<&'static str>,
    pub(super) max_tokens: u64,
}

impl Plan {
    /// Whether the model will think, which narrows what may be sampled.
    pub(super) fn thinks(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Adaptive { .. } | Thinking::Enabled { .. }))
    }
}

/// The plan for `request`; `may_budget` says whether the rest of the request goes together with
/// thinking in the older form.
pub(super) fn plan(request: &Request<'_>, facts: &ModelFacts, may_budget: bool, lost: &mut Lost) -> Plan {
    let most = facts.max_output.unwrap_or(u64::MAX);
    let cap = request.max_output.or(facts.max_output).unwrap_or(DEFAULT_CAP).min(most);
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
    let ceiling = match (facts.max_output, request.max_output) {
        (Some(most), _) => most,
        // What an unknown model takes is not known, so the client's cap stays.
        (None, Some(_)) => cap,
        (None, None) => u64::MAX,
    };
    match budget(&reasoning, cap, ceiling, facts).filter(|_| may_budget) {
        Some((budget_tokens, max_tokens)) => {
            let display = (reasoning.visible == Some(false)).then_some("omitted");
            Plan { thinking: Some(Thinking::Enabled { budget_tokens, display }), effort: None, max_tokens }
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
fn effort(reasoning: &Reasoning, facts: &ModelFacts) -> Option<&'static str> {
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

/// The tokens to think for and the cap above them, raised up to `ceiling`; `None` if there is no room.
fn budget(reasoning: &Reasoning, cap: u64, ceiling: u64, facts: &ModelFacts) -> Option<(u64, u64)> {
    let by_effort = match reasoning.effort.unwrap_or(Effort::Medium) {
        Effort::None | Effort::Minimal | Effort::Low => LEAST_BUDGET,
        Effort::Medium => 4096,
        Effort::High => 16_384,
        Effort::XHigh => 32_768,
        Effort::Max => facts.max_output.map_or(32_768, |most| most / 2),
    };
    let budget = reasoning.budget.unwrap_or(by_effort).max(LEAST_BUDGET);
    if budget < cap {
        return Some((budget, cap));
    }
    let raised = budget.saturating_add(cap);
    if raised <= ceiling {
        return Some((budget, raised));
    }
    (cap > LEAST_BUDGET).then_some(((cap / 2).max(LEAST_BUDGET), cap))
}
