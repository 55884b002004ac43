use std::{collections::BTreeMap, time::SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Budget, Config, Secret, units::Written};
use crate::{
    access::Pattern,
    auth::{KeyDigest, VirtualKey},
    ledger::Scope,
    request_limit::Rate,
};

/// A virtual key: who may come in, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Key {
    /// The name in logs and records; unique.
    pub name: String,
    /// The key itself, at least 16 characters. Either this or `sha256` is needed.
    #[serde(default)]
    pub key: Option<Secret>,
    /// The SHA-256 of the key in 64 hexadecimal digits, with or without `sha256:` before them, if the
    /// key itself shall not stand here.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The team that it belongs to, one of `teams`.
    #[serde(default)]
    pub team: Option<String>,
    /// The models that it may ask for, with `*` for any run of characters; all of them if it isn't
    /// given.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// How often it may come.
    #[serde(default)]
    pub limits: Limits,
    /// What it may spend.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// When it stops being accepted.
    #[serde(default)]
    pub expires: Option<Written<SystemTime>>,
    /// Whether it is refused.
    #[serde(default)]
    pub disabled: bool,
}

/// How often a key may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// How many requests it may make.
    pub requests: Option<Written<Rate>>,
}

/// Keys that spend from one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Team {
    /// What all keys of the team may spend together.
    pub budget: Option<Budget>,
}

/// The gateway as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Gateway {
    /// What all keys may spend together.
    pub budget: Option<Budget>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AuthMode {
    /// Those who present one of `keys`.
    #[default]
    Keys,
    /// Everyone. For a gateway that only its own machine can reach.
    Open,
}

impl Key {
    /// A key that may do everything, and spend without a limit.
    pub fn new(name: impl Into<String>, key: Secret) -> Self {
        Self {
            name: name.into(),
            key: Some(key),
            sha256: None,
            team: None,
            allow: None,
            limits: Limits::default(),
            budget: None,
            expires: None,
            disabled: false,
        }
    }

    /// The SHA-256 of the key; `None` if there is no key, or no well-formed one.
    pub(super) fn digest(&self) -> Option<KeyDigest> {
        match (&self.key, &self.sha256) {
            (Some(key), _) => Some(KeyDigest::of(key.expose())),
            (None, Some(hex)) => hex.parse().ok(),
            (None, None) => None,
        }
    }

    fn scopes(&self, teams: &BTreeMap<String, Team>, gateway: &Gateway) -> Vec<Scope> {
        let scope = |account: String, budget: Option<Budget>| Scope {
            account: account.into(),
            quota: budget.map(Into::into),
        };
        let mut scopes = vec![scope(format!("key:{}", self.name), self.budget)];
        if let Some(team) = &self.team {
            scopes.push(scope(format!("team:{team}"), teams.get(team).and_then(|team| team.budget)));
        }
        scopes.push(scope("gateway".to_owned(), gateway.budget));
        scopes
    }

    fn virtual_key(&self, teams: &BTreeMap<String, Team>, gateway: &Gateway) -> VirtualKey {
        let mut key = VirtualKey::new(&self.name);
        key.team = self.team.as_deref().map(Into::into);
        key.allow =
            self.allow.as_ref().map(|names| names.iter().map(|name| Pattern::new(name.as_str())).collect());
        key.requests = self.limits.requests.map(|rate| *rate);
        key.scopes = self.scopes(teams, gateway);
        key.expires = self.expires.map(|at| *at);
        key.disabled = self.disabled;
        key
    }
}

impl Config {
    /// What the gateway knows of its keys, each with the SHA-256 of the key itself. Keys that have
    /// none, which [`check`](Self::check) complains of, are left out.
    pub fn virtual_keys(&self) -> Vec<(KeyDigest, VirtualKey)> {
        let known = |key: &Key| Some((key.digest()?, key.virtual_key(&self.teams, &self.gateway)));
        self.keys.iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::NanoUsd;

    fn read(text: &str) -> Config {
        Config::read(text, "f", &|_| None).unwrap()
    }

    #[test]
    fn a_key_is_charged_to_itself_its_team_and_the_gateway() {
        let config = read(
            "gateway: { budget: { usd: 500, per: total } }\n\
             teams: { search: { budget: { usd: 200, per: month } } }\n\
             keys:\n  \
             - { name: a, key: 0123456789abcdef, team: search, budget: { usd: 50, per: day } }\n  \
             - { name: b, key: 0123456789abcdeg }\n",
        );

        let keys = config.virtual_keys();

        let scopes = |index: usize| {
            let of =
                |scope: &Scope| (scope.account.to_string(), scope.quota.map(|quota| NanoUsd(quota.limit)));
            keys[index].1.scopes.iter().map(of).collect::<Vec<_>>()
        };
        let usd = |dollars| Some(NanoUsd::from_usd(dollars));
        let gateway = ("gateway".to_owned(), usd(500));
        assert_eq!(
            scopes(0),
            [("key:a".to_owned(), usd(50)), ("team:search".to_owned(), usd(200)), gateway.clone()]
        );
        assert_eq!(scopes(1), [("key:b".to_owned(), None), gateway]);
    }

    #[test]
    fn a_key_and_its_digest_are_the_same_key() {
        let hex = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let plain = read("keys: [ { name: a, key: 0123456789abcdef } ]").virtual_keys();
        let hashed = read(&format!("keys: [ {{ name: b, sha256: 'sha256:{hex}' }} ]")).virtual_keys();
        let upper = read(&format!("keys: [ {{ name: c, sha256: {} }} ]", hex.to_uppercase())).virtual_keys();

        assert_eq!(plain[0].0, hashed[0].0);
        assert_eq!(plain[0].0, upper[0].0);
    }

    #[test]
    fn what_a_key_may_do_is_taken_over() {
        let config = read(
            "keys: [ { name: a, key: 0123456789abcdef, allow: [ chat, 'anthropic/*' ], disabled: true, \
             limits: { requests: 5/second }, expires: 2027-01-01T00:00:00Z } ]",
        );

        let (_, key) = &config.virtual_keys()[0];

        assert!(key.allow.as_ref().unwrap()[1].matches("anthropic/x"));
        assert_eq!(key.requests.unwrap().to_string(), "5/second");
        assert!(key.disabled && key.expires.is_some());
    }
}
