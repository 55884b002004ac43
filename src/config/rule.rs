//! Rules of a model: which requests go to other targets than the usual ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Model, Strategy, Target, problem::Problem, problem::unknown};
use crate::expression::Expression;

/// A condition, and where requests go for which it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// What answers and records call it; its number if it isn't given.
    #[serde(default)]
    pub name: Option<String>,
    /// The condition, in CEL, such as `request.tokens > 50000 && tags.feature == "search"`.
    pub when: String,
    /// Another one of `models`, by which they go then, with its own rules.
    #[serde(default)]
    pub model: Option<String>,
    /// The targets in place of the model's own.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Which target is asked first, in place of the model's own strategy.
    #[serde(default)]
    pub strategy: Option<Strategy>,
}

/// What an alias says itself; the rest is said by the model that it stands for.
const OF_AN_ALIAS: [&str; 10] = [
    "alias",
    "deprecated",
    "keep_conversations",
    "link",
    "max_cost",
    "regions",
    "rules",
    "successor",
    "sunset",
    "tasks",
];

impl Model {
    /// What it says although it is an alias.
    fn of_no_effect(&self) -> Vec<String> {
        let members = |model: &Self| match serde_json::to_value(model) {
            Ok(serde_json::Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        let usual = members(&Self::default());
        let said = members(self).into_iter().filter(|(name, value)| usual.get(name) != Some(value));
        said.map(|(name, _)| name).filter(|name| !OF_AN_ALIAS.contains(&&**name)).collect()
    }

    /// The other models that it leads to: by an alias, a rule, a task or a successor.
    pub fn leads(&self) -> impl Iterator<Item = &str> {
        let rules = self.rules.iter().filter_map(|rule| rule.model.as_deref());
        let tasks = self.tasks.iter().flat_map(|tasks| &tasks.kinds).map(|task| &*task.model);
        rules.chain(tasks).chain(self.alias.as_deref()).chain(self.successor.as_deref())
    }
}

impl Rule {
    /// What it is called, as the one at `index`.
    pub(super) fn called(&self, index: usize) -> String {
        self.name.clone().unwrap_or_else(|| (index + 1).to_string())
    }

    /// The model with the targets and the strategy of the rule, and without rules.
    pub(super) fn instead(&self, model: &Model) -> Model {
        let targets = if self.targets.is_empty() { &model.targets } else { &self.targets };
        Model {
            targets: targets.clone(),
            strategy: self.strategy.unwrap_or(model.strategy),
            rules: Vec::new(),
            ..model.clone()
        }
    }
}

impl Config {
    /// What is wrong with the rules of a model.
    pub(super) fn check_rules(&self, name: &str, path: &str, model: &Model, problems: &mut Vec<Problem>) {
        for (index, rule) in model.rules.iter().enumerate() {
            let path = format!("{path}.rules[{index}]");
            let mut wrong =
                |field: &str, message: String| problems.push(Problem::at(format!("{path}{field}"), message));
            if let Err(mistake) = Expression::new(&rule.when) {
                wrong(".when", mistake.to_string());
            }
            if rule.name.as_ref().is_some_and(|name| !is_header(name)) {
                wrong(".name", "is not a name that a header can have".to_owned());
            }
            let has_targets = !rule.targets.is_empty();
            match &rule.model {
                Some(_) if has_targets || rule.strategy.is_some() => {
                    wrong(
                        ".model",
                        "stands beside `targets` or a `strategy`, which are the other model's".into(),
                    );
                }
                Some(other) if !self.models.contains_key(other) => {
                    wrong(".model", unknown("model", other, self.models.keys().map(String::as_str)));
                }
                Some(other) if self.leads_to(other, name) => {
                    wrong(".model", format!("`{other}` leads back to `{name}`"));
                }
                None if !has_targets && rule.strategy.is_none() => {
                    wrong("", "says nothing of where to go: a `model`, `targets` or a `strategy`".to_owned());
                }
                None if !has_targets && model.alias.is_some() => {
                    let message =
                        "stands alone, and an alias has no targets of its own; name a `model` or `targets`";
                    wrong(".strategy", message.to_owned());
                }
                _ => {}
            }
            for (index, target) in rule.targets.iter().enumerate() {
                if let Some(message) = self.wrong_target(target) {
                    wrong(&format!(".targets[{index}].use"), message);
                }
            }
        }
    }

    /// What is wrong with the names of other models in what is said about a name itself.
    pub(super) fn check_names(&self, name: &str, path: &str, model: &Model, problems: &mut Vec<Problem>) {
        for (field, other) in [("alias", &model.alias), ("successor", &model.successor)] {
            let Some(other) = other else { continue };
            let path = format!("{path}.{field}");
            if !self.models.contains_key(other) {
                let message = unknown("model", other, self.models.keys().map(String::as_str));
                problems.push(Problem::at(path, message));
            } else if self.leads_to(other, name) {
                problems.push(Problem::at(path, format!("`{other}` leads back to `{name}`")));
            }
        }
        let mut wrong =
            |field: &str, message: &str| problems.push(Problem::at(format!("{path}.{field}"), message));
        if let Some(other) = &model.alias {
            for field in model.of_no_effect() {
                wrong(&field, &format!("has no effect beside `alias`: it is `{other}` that has to say it"));
            }
        }
        if model.successor.is_some() && model.sunset.is_none() {
            wrong("successor", "is of use with a `sunset` only");
        }
        if model.link.is_some() && model.deprecated.is_none() && model.sunset.is_none() {
            wrong("link", "is of use with `deprecated` or a `sunset` only");
        }
        let is_late = |(sunset, deprecated)| sunset < deprecated;
        if model.sunset.as_deref().zip(model.deprecated.as_deref()).is_some_and(is_late) {
            wrong("sunset", "is before `deprecated`");
        }
        let is_link = |link: &String| {
            link.starts_with("https://")
                && link.bytes().all(|byte| (b'!'..0x7f).contains(&byte) && byte != b'>')
        };
        if model.link.as_ref().is_some_and(|link| !is_link(link)) {
            wrong("link", "is not an address such as https://docs.example.com/models");
        }
    }

    /// Whether one model leads to another one.
    pub(super) fn leads_to(&self, from: &str, to: &str) -> bool {
        let mut open = vec![from];
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = open.pop() {
            if name == to {
                return true;
            }
            if seen.insert(name) {
                open.extend(self.models.get(name).into_iter().flat_map(Model::leads));
            }
        }
        false
    }
}

/// Whether a name can be told in a header of an answer.
pub(super) fn is_header(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(rules: &str) -> String {
        let text = format!(
            "auth: open\nproviders: {{ d: {{ kind: demo }} }}\nmodels:\n  chat:\n    targets: [ {{ use: d/a }} ]\n    \
             rules: {rules}\n  back: {{ targets: [ {{ use: d/b }} ], rules: [ {{ when: \"true\", model: chat }} ] }}\n"
        );
        Config::from_text(&text).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn rules_lead_to_models_targets_and_strategies() {
        let rules = "[ { when: request.stream, targets: [ { use: d/c } ] }, \
                     { name: at night, when: time.hour < 6, strategy: cheapest } ]";

        assert_eq!(problems(rules), "");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (rules, expected) in [
            (
                "[ { when: request.stram, strategy: latency } ]",
                "models.chat.rules[0].when: line 1, column 1: unknown member of `request` `stram`, did you mean `stream`?",
            ),
            ("[ { when: \"true\" } ]", "models.chat.rules[0]: says nothing of where to go"),
            (
                "[ { when: \"true\", model: chta } ]",
                "models.chat.rules[0].model: unknown model `chta`, did you mean `chat`?",
            ),
            ("[ { when: \"true\", model: chat } ]", "`chat` leads back to `chat`"),
            ("[ { when: \"true\", model: back } ]", "`back` leads back to `chat`"),
            (
                "[ { when: \"true\", model: back, strategy: latency } ]",
                "models.chat.rules[0].model: stands beside",
            ),
            (
                "[ { when: \"true\", targets: [ { use: e/x } ] } ]",
                "models.chat.rules[0].targets[0].use: unknown provider",
            ),
            ("[ { name: \"\\n\", when: \"true\", strategy: latency } ]", "models.chat.rules[0].name"),
            (
                "[]\n  other: { alias: chat, rules: [ { when: \"true\", strategy: latency } ] }",
                "models.other.rules[0].strategy: stands alone, and an alias has no targets",
            ),
            (
                "[]\n  other: { alias: chat, targets: [ { use: e/x } ] }",
                "models.other.targets: has no effect beside `alias`: it is `chat` that has to say it",
            ),
            (
                "[]\n  other: { alias: chat, link: 'https://docs.example.com' }",
                "models.other.link: is of use with `deprecated` or a `sunset` only",
            ),
            (
                "[]\n    tasks: { kinds: [ { name: \"a\\nb\", model: chat, code: true } ] }",
                "models.chat.tasks.kinds[0].name: is not a name that a header can have",
            ),
            ("[]\n  other: { alias: chat, timeouts: { total: 5s } }", "models.other.timeouts: has no effect"),
            (
                "[]\n  other: { alias: chat, per_request: { usd: 1 } }",
                "models.other.per_request: has no effect",
            ),
        ] {
            assert!(problems(rules).contains(expected), "{rules}\n{}", problems(rules));
        }
    }
}
