use std::{collections::BTreeMap, sync::Arc};

use super::Labels;
use crate::{
    access::Pattern,
    ledger::{Quota, Scope},
};

/// What the labels of a request are held to. A label without a quota is written down and not counted.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    users: Vec<Rule>,
    sessions: Vec<Rule>,
    /// For each value of the tag.
    tags: BTreeMap<Box<str>, Vec<Rule>>,
    /// For one value of the tag, in the place of those for each.
    values: BTreeMap<(Box<str>, Box<str>), Vec<Rule>>,
}

/// A quota, and the models that it is for.
#[derive(Clone, Debug)]
pub struct Rule {
    quota: Quota,
    models: Option<Pattern>,
    alert_at: Option<Arc<[u16]>>,
}

impl Rule {
    /// A quota for some models only.
    pub fn of_models(quota: Quota, models: Pattern) -> Self {
        Self { models: Some(models), ..Self::from(quota) }
    }

    /// What a scope is held to, whatever its account; `None` if it is only counted.
    #[cfg(feature = "config")]
    pub(crate) fn of(scope: Scope) -> Option<Self> {
        Some(Self { quota: scope.quota?, models: scope.models, alert_at: scope.alert_at })
    }
}

impl From<Quota> for Rule {
    fn from(quota: Quota) -> Self {
        Self { quota, models: None, alert_at: None }
    }
}

impl Rules {
    /// Holds every end user to `quotas`.
    #[must_use]
    pub fn users(mut self, quotas: impl IntoIterator<Item: Into<Rule>>) -> Self {
        self.users.extend(quotas.into_iter().map(Into::into));
        self
    }

    /// Holds every session to `quotas`.
    #[must_use]
    pub fn sessions(mut self, quotas: impl IntoIterator<Item: Into<Rule>>) -> Self {
        self.sessions.extend(quotas.into_iter().map(Into::into));
        self
    }

    /// Holds every value of the tag `name` to `quotas`.
    #[must_use]
    pub fn tag(mut self, name: &str, quotas: impl IntoIterator<Item: Into<Rule>>) -> Self {
        self.tags.entry(name.into()).or_default().extend(quotas.into_iter().map(Into::into));
        self
    }

    /// Holds one value of the tag `name` to `quotas`, in the place of those for every value.
    #[must_use]
    pub fn tag_value(mut self, name: &str, value: &str, quotas: impl IntoIterator<Item: Into<Rule>>) -> Self {
        let place = (name.into(), value.into());
        self.values.entry(place).or_default().extend(quotas.into_iter().map(Into::into));
        self
    }

    /// Whether nothing is held to anything.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.sessions.is_empty() && self.tags.is_empty() && self.values.is_empty()
    }

    /// The accounts that a request of a customer with `labels` is charged to.
    pub(crate) fn scopes(&self, customer: Option<&str>, labels: &Labels) -> Vec<Scope> {
        let mut scopes = Vec::new();
        if let Some(user) = &labels.user {
            add(&mut scopes, &self.users, || account(customer, "user", user));
        }
        if let Some(session) = &labels.session {
            add(&mut scopes, &self.sessions, || account(customer, "session", session));
        }
        for (name, value) in &labels.tags {
            let rules = match self.values.get(&(name.clone(), value.clone())) {
                Some(rules) => rules,
                None => self.tags.get(name).map_or(&[][..], Vec::as_slice),
            };
            add(&mut scopes, rules, || format!("tag:{name}={value}"));
        }
        scopes
    }
}

/// As a ledger calls the account of an end user or a session. Customers name theirs as they like, so the same name
/// means somebody else at each of them.
pub(crate) fn account(customer: Option<&str>, kind: &str, name: &str) -> String {
    match customer {
        // Nobody can write the name of another customer's.
        Some(customer) => {
            format!("customer:{}/{kind}:{name}", customer.replace('%', "%25").replace('/', "%2F"))
        }
        None => format!("{kind}:{name}"),
    }
}

/// Quotas for some models are on an account of their own, so that nothing is counted twice where another quota
/// of the same kind is for all of them.
fn add(scopes: &mut Vec<Scope>, rules: &[Rule], account: impl FnOnce() -> String) {
    if rules.is_empty() {
        return;
    }
    let account: Arc<str> = account().into();
    scopes.extend(rules.iter().map(|rule| {
        let account = match &rule.models {
            Some(models) => format!("{account} {models}").into(),
            None => account.clone(),
        };
        Scope {
            models: rule.models.clone(),
            alert_at: rule.alert_at.clone(),
            ..Scope::new(account, rule.quota)
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_that_of_another_customers() {
        let named = [
            (None, "b"),
            (None, "a/user:b"),
            (Some("a"), "b"),
            (Some("a"), "user:b"),
            (Some("a/user:b"), "c"),
            (Some("a"), "b/user:c"),
            (Some("a%2Fuser:b"), "c"),
        ];

        let accounts: std::collections::BTreeSet<_> =
            named.iter().map(|(customer, user)| account(*customer, "user", user)).collect();

        assert_eq!(accounts.len(), named.len());
        assert_eq!(account(Some("a"), "session", "s"), "customer:a/session:s");
    }
}
