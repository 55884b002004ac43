//! Which target of a model is asked first, and which one after a failure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Model, Retry, Rule, Target, problem::Problem, units::Unit};
use crate::{Kind, dispatch};

/// By what the target is chosen that is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// As they are listed.
    #[default]
    Priority,
    /// By chance, in proportion to their weights; see `sticky`.
    Weighted,
    /// The fewest requests under way for its weight.
    LeastBusy,
    /// The quicker one of two that are drawn, by the time until answers begin, and the less busy.
    Latency,
    /// The lowest price for the request's likely tokens.
    Cheapest,
    /// The most tokens of output per second.
    Throughput,
}

impl Strategy {
    fn goes_by_weight(self) -> bool {
        matches!(self, Self::Weighted | Self::LeastBusy)
    }
}

impl From<Strategy> for dispatch::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Priority => Self::Priority,
            Strategy::Weighted => Self::Weighted,
            Strategy::LeastBusy => Self::LeastBusy,
            Strategy::Latency => Self::Latency,
            Strategy::Cheapest => Self::Cheapest,
            Strategy::Throughput => Self::Throughput,
        }
    }
}

/// A failure after which the next target is asked, although it is otherwise final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GoOnAfter {
    /// The input is longer than the model takes: targets that are known to take more are asked.
    ContextWindow,
    /// The provider's policy refuses the content.
    ContentPolicy,
}

impl From<GoOnAfter> for Kind {
    fn from(cause: GoOnAfter) -> Self {
        match cause {
            GoOnAfter::ContextWindow => Self::ContextTooLong,
            GoOnAfter::ContentPolicy => Self::ContentFiltered,
        }
    }
}

/// What becomes of a stream that breaks in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnBreak {
    /// It ends with an error in the client's dialect.
    #[default]
    Error,
    /// The next target goes on with it, and the client gets one stream; where that can't be done cleanly, it ends with an
    /// error.
    Resume,
}

impl From<OnBreak> for dispatch::OnBreak {
    fn from(on_break: OnBreak) -> Self {
        match on_break {
            OnBreak::Error => Self::Error,
            OnBreak::Resume => Self::Resume,
        }
    }
}

/// How often targets are asked again by all requests of a model together, so that an outage makes no
/// storm of retries. The next target is asked whatever is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RetryBudget {
    /// About so many of a hundred requests may be asked again; at most 1000.
    pub percent: u32,
    /// So many more may be each second.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, per_second: 10 }
    }
}

impl From<RetryBudget> for dispatch::RetryBudget {
    fn from(budget: RetryBudget) -> Self {
        Self::new(budget.percent, budget.per_second)
    }
}

impl Unit for dispatch::Sticky {
    const NAME: &'static str = "Sticky";
    const FORM: &'static str = "user, session, key, or a tag such as tag:feature";

    fn read(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "session" => Some(Self::Session),
            "key" => Some(Self::Key),
            other => {
                other.strip_prefix("tag:").filter(|name| !name.is_empty()).map(|name| Self::Tag(name.into()))
            }
        }
    }

    fn write(&self) -> String {
        match self {
            Self::User => "user".to_owned(),
            Self::Session => "session".to_owned(),
            Self::Key => "key".to_owned(),
            Self::Tag(name) => format!("tag:{name}"),
        }
    }
}

/// What a model says of the choice and no strategy of it looks at, neither its own nor one of its rules.
pub(super) fn check(path: &str, model: &Model, problems: &mut Vec<Problem>) {
    let instead = |(index, rule): (usize, &Rule)| {
        let is_own = rule.model.is_none();
        is_own.then(|| (index, rule.targets.is_empty(), rule.instead(model)))
    };
    let rules: Vec<_> = model.rules.iter().enumerate().filter_map(instead).collect();
    let strategies = rules.iter().map(|(_, _, instead)| instead.strategy).chain([model.strategy]);
    if model.sticky.is_some() && !strategies.into_iter().any(|strategy| strategy == Strategy::Weighted) {
        problems.push(Problem::at(format!("{path}.sticky"), "is of use with `strategy: weighted` only"));
    }
    let with_targets_of_model = rules.iter().filter(|(_, has_none, _)| *has_none);
    let uses: Vec<_> = with_targets_of_model.map(|(_, _, instead)| instead).chain([model]).collect();
    let goes_by_weight = uses.iter().any(|model| model.strategy.goes_by_weight());
    check_weights(&format!("{path}.targets"), &model.targets, goes_by_weight, problems);
    for (index, _, instead) in rules.iter().filter(|(_, has_none, _)| !has_none) {
        let path = format!("{path}.rules[{index}].targets");
        check_weights(&path, &instead.targets, instead.strategy.goes_by_weight(), problems);
    }
}

fn check_weights(path: &str, targets: &[Target], goes_by_weight: bool, problems: &mut Vec<Problem>) {
    for (index, target) in targets.iter().enumerate() {
        if target.weight.is_some() && !goes_by_weight {
            let message = "is of use with `strategy: weighted` or `least-busy` only";
            problems.push(Problem::at(format!("{path}[{index}].weight"), message));
        }
    }
    let all_are_last = !targets.is_empty() && targets.iter().all(|target| target.weight == Some(0));
    if all_are_last && goes_by_weight {
        problems.push(Problem::at(path, "have a weight of 0, all of them"));
    }
}

/// More retries than requests are no budget.
pub(super) fn check_budget(path: &str, retry: &Retry, problems: &mut Vec<Problem>) {
    if retry.budget.is_some_and(|budget| budget.percent > 1_000) {
        problems.push(Problem::at(format!("{path}.retry.budget.percent"), "is more than 1000"));
    }
    if retry.budget.is_some_and(|budget| budget.per_second > 1_000_000) {
        problems.push(Problem::at(format!("{path}.retry.budget.per_second"), "is more than 1000000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn model(text: &str) -> Model {
        serde_saphyr::from_str(text).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check("models.chat", &model(text), &mut problems);
        check_budget("models.chat", &model(text).retry, &mut problems);
        problems.iter().map(|problem| format!("{problem:?}")).collect()
    }

    #[test]
    fn all_of_it_can_be_written() {
        let chat = model(
            "{ targets: [ { use: a/b, weight: 3 } ], strategy: weighted, sticky: tag:feature, \
             go_on_after: [ context_window, content_policy ], retry: { budget: { percent: 50 } } }",
        );

        assert_eq!(dispatch::Strategy::from(chat.strategy), dispatch::Strategy::Weighted);
        assert_eq!(chat.sticky.as_deref(), Some(&dispatch::Sticky::Tag("feature".into())));
        let kinds: Vec<Kind> = chat.go_on_after.iter().map(|cause| (*cause).into()).collect();
        assert_eq!(kinds, [Kind::ContextTooLong, Kind::ContentFiltered]);
        assert_eq!(chat.retry.budget(), RetryBudget { percent: 50, per_second: 10 });
        for name in ["priority", "weighted", "least-busy", "latency", "cheapest", "throughput"] {
            let strategy = model(&format!("{{ targets: [], strategy: {name} }}")).strategy;
            assert_eq!(dispatch::Strategy::from(strategy).as_str(), name);
        }
    }

    #[test]
    fn what_sticks_is_read_as_it_is_written() {
        for text in ["user", "session", "key", "tag:feature"] {
            assert_eq!(dispatch::Sticky::read(text).unwrap().write(), text);
        }
        assert_eq!(dispatch::Sticky::read("tag:"), None);
    }

    #[test]
    fn what_the_strategy_does_not_look_at_is_a_problem_of_its_field() {
        let found = problems("{ targets: [ { use: a/b, weight: 3 } ], sticky: user, strategy: latency }");
        assert!(found[0].contains("models.chat.sticky"), "{found:?}");
        assert!(found[1].contains("models.chat.targets[0].weight"), "{found:?}");
        let none = problems("{ targets: [ { use: a/b, weight: 0 } ], strategy: weighted }");
        assert!(none.len() == 1 && none[0].contains("models.chat.targets"), "{none:?}");
        let storm = problems("{ targets: [], retry: { budget: { percent: 5000, per_second: 4000000 } } }");
        assert!(storm[0].contains("models.chat.retry.budget.percent"), "{storm:?}");
        assert!(storm[1].contains("models.chat.retry.budget.per_second"), "{storm:?}");
    }

    #[test]
    fn what_the_strategy_of_a_rule_looks_at_is_of_use() {
        let with = |model: &str, rule: &str| {
            problems(&format!("{{ targets: [ {{ use: a/b{model}, rules: [ {{ when: 'true', {rule} }} ] }}"))
        };

        for (model, rule) in [
            (" } ], sticky: user", "strategy: weighted"),
            (", weight: 3 } ], strategy: latency", "strategy: weighted"),
            (" } ]", "targets: [ { use: a/c, weight: 3 } ], strategy: least-busy"),
            (" } ], strategy: weighted", "targets: [ { use: a/c, weight: 3 } ]"),
        ] {
            let found = with(model, rule);
            assert!(found.is_empty(), "{found:?}");
        }
        for (model, rule, wrong) in [
            (" } ], sticky: user", "strategy: latency", "models.chat.sticky"),
            (" } ], sticky: user", "model: other", "models.chat.sticky"),
            (
                ", weight: 3 } ]",
                "targets: [ { use: a/c } ], strategy: weighted",
                "models.chat.targets[0].weight",
            ),
            (" } ]", "targets: [ { use: a/c, weight: 3 } ]", "models.chat.rules[0].targets[0].weight"),
            (
                " } ], strategy: weighted",
                "targets: [ { use: a/c, weight: 3 } ], strategy: latency",
                "models.chat.rules[0].targets[0].weight",
            ),
            (
                " } ], strategy: weighted",
                "targets: [ { use: a/c, weight: 0 } ]",
                "models.chat.rules[0].targets\"",
            ),
            (", weight: 0 } ]", "strategy: weighted", "models.chat.targets\""),
        ] {
            let found = with(model, rule);
            assert!(found.len() == 1 && found[0].contains(wrong), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        for (field, wrong) in [
            ("strategy: fastest", "fastest"),
            ("sticky: cookie", "user, session, key, or a tag"),
            ("go_on_after: [ rain ]", "rain"),
        ] {
            let text = format!("auth: open\nmodels:\n  chat:\n    targets: []\n    {field}\n");

            let error = Config::from_text(&text).unwrap_err().to_string();

            assert!(error.contains(":5:") && error.contains(wrong), "{error}");
        }
    }
}
