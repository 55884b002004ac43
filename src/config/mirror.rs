//! Whom a share of a model's requests is copied to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, Limits, Model, Several, Target, problem::Problem, quotas};
use crate::ledger::{Scope, Zone};

/// Copies a share of the requests to another target, whose answers nobody sees, so that models can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Mirror {
    /// `provider/model`: a name under `providers`, and the model's name there.
    #[serde(rename = "use")]
    pub name: String,
    /// What the model is, by its name in the list of prices, where its name at the provider doesn't say.
    #[serde(default)]
    pub model: Option<String>,
    /// So many of a hundred requests are copied: all, if it isn't given.
    #[serde(default)]
    pub percent: Option<u32>,
    /// What copies may cost; no more are sent where it is used up. Unlimited, but for the budget of the provider, if it
    /// isn't given.
    #[serde(default)]
    pub budget: Several<Budget>,
    /// How much of other things copies may use.
    #[serde(default)]
    pub limits: Limits,
}

impl Mirror {
    /// The target that gets the copies.
    pub fn target(&self) -> Target {
        Target { model: self.model.clone(), ..Target::new(&*self.name) }
    }

    /// What the copies of a model's requests are charged to.
    pub(super) fn scopes(&self, model: &str, zone: Option<Zone>) -> Vec<Scope> {
        quotas::scopes(&format!("mirror:{model}"), &self.budget, &self.limits, zone)
    }
}

/// What a mirror says that can't be.
pub(super) fn check(path: &str, model: &Model, zone: Option<Zone>, problems: &mut Vec<Problem>) {
    let Some(mirror) = &model.mirror else { return };
    if mirror.percent.is_some_and(|percent| percent == 0 || percent > 100) {
        problems.push(Problem::at(format!("{path}.mirror.percent"), "is not between 1 and 100"));
    }
    quotas::check(&format!("{path}.mirror"), &mirror.budget, &mirror.limits, zone, problems);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(mirror: &str) -> Vec<String> {
        let model: Model = serde_saphyr::from_str(&format!("{{ targets: [], mirror: {mirror} }}")).unwrap();
        let mut problems = Vec::new();
        check("models.chat", &model, None, &mut problems);
        problems.iter().map(|problem| format!("{problem:?}")).collect()
    }

    #[test]
    fn a_share_and_a_budget_are_checked() {
        assert_eq!(problems("{ use: a/b, percent: 10, budget: { usd: 5, per: day } }"), Vec::<String>::new());
        assert!(problems("{ use: a/b, percent: 0 }")[0].contains("models.chat.mirror.percent"));
        let twice = problems("{ use: a/b, budget: [ { usd: 5, per: day }, { usd: 6, per: day } ] }");
        assert!(twice[0].contains("models.chat.mirror.budget"), "{twice:?}");
    }

    #[test]
    fn copies_are_charged_to_an_account_of_their_own() {
        let mirror: Mirror = serde_saphyr::from_str("{ use: a/b, budget: { usd: 5, per: day } }").unwrap();

        let scopes = mirror.scopes("chat", None);

        assert!(scopes.iter().all(|scope| &*scope.account == "mirror:chat"), "{scopes:?}");
        assert_eq!((scopes.len(), mirror.target().parts()), (1, Some(("a", "b"))));
    }
}
