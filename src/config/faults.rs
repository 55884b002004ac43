use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Problem,
    units::{Unit, Written},
};
use crate::{
    Target,
    access::Pattern,
    auth::KeyDigest,
    fault::{Fault, FaultLayer, TellFaultsLayer},
};

/// What is made to fail on purpose, to see that nobody notices it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Faults {
    /// Whether requests may ask for a fault in `x-bartizan-fault`, if they have `admin.key` in
    /// `x-bartizan-admin-key`.
    pub by_header: bool,
    /// What strikes requests that don't ask for it. The first rule that strikes counts.
    pub rules: Vec<FaultRule>,
}

/// One way to fail, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FaultRule {
    /// A status from 400 to 599, `delay 2s`, `refuse`, `reset`, `hang`, `malformed`, `empty`, `error` (as the first
    /// event of a stream, or as the whole answer), or `cut 3` (after three events).
    pub fault: Written<Fault>,
    /// The targets that it strikes, by `provider/model`, with `*` for any run of characters; all if it isn't given.
    #[serde(default)]
    pub targets: Option<String>,
    /// How many of a hundred requests it strikes: all if it isn't given.
    #[serde(default)]
    pub percent: Option<u8>,
}

impl FaultRule {
    /// A rule that strikes every request to the targets that a pattern matches.
    pub fn new(fault: Fault, targets: impl Into<String>) -> Self {
        Self { fault: Written::new(fault), targets: Some(targets.into()), percent: None }
    }

    fn strikes(&self, target: &str) -> bool {
        self.targets.as_ref().is_none_or(|targets| Pattern::new(targets.as_str()).matches(target))
    }
}

impl Faults {
    /// Whether anything may be made to fail.
    pub fn are_on(&self) -> bool {
        self.by_header || !self.rules.is_empty()
    }

    /// What strikes `target`.
    pub(super) fn layer(&self, target: &Arc<Target>) -> FaultLayer {
        let layer = FaultLayer::new(target.clone());
        let layer = if self.by_header { layer.when_asked() } else { layer };
        self.rules.iter().filter(|rule| rule.strikes(target.name())).fold(layer, |layer, rule| {
            layer.rule(*rule.fault, f64::from(rule.percent.unwrap_or(100)) / 100.0)
        })
    }

    pub(super) fn check(&self, has_admins: bool, problems: &mut Vec<Problem>) {
        if self.by_header && !has_admins {
            let message = "needs `admin.key`, so that it is known who may ask";
            problems.push(Problem::at("faults.by_header", message));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.percent.is_some_and(|percent| percent > 100) {
                let path = format!("faults.rules[{index}].percent");
                problems.push(Problem::at(path, "expected a percentage from 0 to 100"));
            }
            if rule.targets.as_ref().is_some_and(|targets| !targets.contains(['/', '*'])) {
                let message = "is matched with `provider/model`; write `/*` behind it for all of a provider";
                problems.push(Problem::at(format!("faults.rules[{index}].targets"), message));
            }
        }
    }
}

impl Config {
    /// Lets `layer` tell of the faults of this configuration, and warns in the log of each of them.
    pub fn announce_faults(&self, layer: &TellFaultsLayer) {
        if !self.faults.are_on() {
            return layer.turn_off();
        }
        let admins = self.admin.key.as_ref().filter(|_| self.faults.by_header);
        layer.turn_on(admins.map(|key| KeyDigest::of(key.expose())));
        if self.faults.by_header {
            tracing::warn!("FAULTS ARE ON: administrators may ask for them by header");
        }
        for FaultRule { fault, targets, percent } in &self.faults.rules {
            let targets = targets.as_deref().unwrap_or("*");
            tracing::warn!(fault = %**fault, targets, percent = percent.unwrap_or(100), "FAULTS ARE ON: requests fail on purpose");
        }
    }
}

impl Unit for Fault {
    const NAME: &'static str = "Fault";
    const FORM: &'static str = Self::FORM;

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn json_types() -> &'static [&'static str] {
        &["integer", "string"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(faults: &str) -> Result<Config, String> {
        let text = format!("auth: open\nadmin: {{ key: 0123456789abcdef }}\nfaults: {faults}");
        Config::read(&text, "f", &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_strikes_the_targets_that_it_names() {
        let faults = read("{ rules: [ { fault: 503, targets: \"a/*\" }, { fault: cut 3, percent: 5 } ] }")
            .unwrap()
            .faults;

        let struck = |target: &str| -> Vec<String> {
            let rules = faults.rules.iter().filter(|rule| rule.strikes(target));
            rules.map(|rule| rule.fault.to_string()).collect()
        };

        assert_eq!(struck("a/m"), ["503", "cut 3"]);
        assert_eq!(struck("b/m"), ["cut 3"]);
        assert!(faults.are_on() && !Faults::default().are_on());
    }

    #[test]
    fn what_cannot_be_meant_is_a_problem_of_its_field() {
        for (faults, wrong) in [
            ("{ rules: [ { fault: rain } ] }", "expected a status such as 503, delay 2s"),
            ("{ rules: [ { fault: 503, percent: 101 } ] }", "faults.rules[0].percent: expected a percentage"),
            ("{ rules: [ { fault: 503, targets: openai } ] }", "faults.rules[0].targets: is matched with"),
            (
                "{ rules: [ { fault: 503, target: openai } ] }",
                "unknown field `target`, did you mean `targets`?",
            ),
        ] {
            let error = read(faults).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
        let open = Config::read("auth: open\nfaults: { by_header: true }", "f", &|_| None).unwrap_err();
        assert!(open.to_string().contains("faults.by_header: needs `admin.key`"), "{open}");
    }
}
