use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Count, Problem, units::Written};
use crate::{
    budget::{Ceiling, OnExcess as Then},
    price::NanoUsd,
};

/// The most that one request may use, by its worst case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct PerRequest {
    /// How much it may cost, in dollars.
    pub usd: Option<Written<NanoUsd>>,
    /// About how many tokens its prompt may have.
    pub input: Option<Written<Count>>,
    /// How many tokens its answers may have.
    pub output: Option<Written<Count>>,
    /// How many tokens prompt and answers may have together.
    pub tokens: Option<Written<Count>>,
    /// What becomes of a request that may use more.
    pub on_excess: OnExcess,
    /// Whether it only reports, and changes nothing.
    pub shadow: bool,
}

/// What becomes of a request that may use more than one request may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnExcess {
    /// It is refused.
    #[default]
    Refuse,
    /// The cap on its output is lowered to what fits; it is refused where not even a token does.
    Lower,
}

impl PerRequest {
    pub(super) fn ceiling(&self, account: &str) -> Ceiling {
        let mut ceiling = Ceiling::new(account).on_excess(match self.on_excess {
            _ if self.shadow => Then::Shadow,
            OnExcess::Refuse => Then::Refuse,
            OnExcess::Lower => Then::Lower,
        });
        if let Some(most) = self.usd {
            ceiling = ceiling.usd(*most);
        }
        if let Some(most) = self.input {
            ceiling = ceiling.input(most.0);
        }
        if let Some(most) = self.output {
            ceiling = ceiling.output(most.0);
        }
        if let Some(most) = self.tokens {
            ceiling = ceiling.tokens(most.0);
        }
        ceiling
    }
}

/// Complains of what bounds nothing.
pub(super) fn check(path: &str, per_request: Option<&PerRequest>, problems: &mut Vec<Problem>) {
    let Some(PerRequest { usd, input, output, tokens, .. }) = per_request else { return };
    if usd.is_none() && input.or(*output).or(*tokens).is_none() {
        let message = "has none of `usd`, `input`, `output` and `tokens`";
        problems.push(Problem::at(format!("{path}.per_request"), message));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_request_is_held_to_the_ceilings_of_its_key_and_of_all_that_it_belongs_to() {
        let text = "gateway: { per_request: { usd: 2 } }\n\
                    customers: { acme: { per_request: { tokens: 1M } } }\n\
                    teams: { search: { customer: acme, per_request: { output: 8k, on_excess: lower } } }\n\
                    keys: [ { name: a, key: 0123456789abcdef, team: search, per_request: { input: 5k } } ]\n";
        let config = Config::read(text, "f", &|_| None).unwrap();

        let ceilings = config.virtual_keys().remove(0).1.ceilings;

        let shown: Vec<_> = ceilings.iter().map(|ceiling| format!("{ceiling:?}")).collect();
        let begins = ["key:a\", most: [(Input, 5000)]", "team:search\", most: [(Output, 8000)]"];
        assert!(begins.iter().zip(&shown).all(|(begin, shown)| shown.contains(begin)), "{shown:?}");
        assert!(shown[1].contains("Lower") && shown[2].contains("customer:acme"), "{shown:?}");
        assert!(shown[3].contains("gateway") && shown.len() == 4, "{shown:?}");
    }

    #[test]
    fn one_that_bounds_nothing_is_complained_of() {
        let text = "auth: open\ngateway: { per_request: { on_excess: lower } }";

        let error = Config::read(text, "f", &|_| None).unwrap_err().to_string();

        assert_eq!(error, "f: gateway.per_request: has none of `usd`, `input`, `output` and `tokens`");
    }
}
