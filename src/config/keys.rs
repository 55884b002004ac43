use std::{collections::BTreeMap, time::SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Budget, Config, secret::Secret, units::Written};
use crate::{access::Pattern, auth::VirtualKey, ledger::Scope, request_limit::Rate};

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
    /// The SHA-256 of the key in 64 hexadecimal digits, if the key itself shall not stand here.
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

/// The SHA-256 of a key.
pub(crate) type Sha256Digest = [u8; 32];

impl Key {
    /// The SHA-256 of the key; `None` if there is no key, or no well-formed one.
    pub(super) fn digest(&self) -> Option<Sha256Digest> {
        match (&self.key, &self.sha256) {
            (Some(key), _) => Some(Sha256::digest(key.expose().as_bytes()).into()),
            (None, Some(hex)) => from_hex(hex),
            (None, None) => None,
        }
    }

    fn scopes(&self, teams: &BTreeMap<String, Team>, gateway: &Gateway) -> Vec<Scope> {
        let scope = |account: String, budget: Option<Budget>| Scope {
            account: account.into(),
            budget: budget.map(Into::into),
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
    pub fn virtual_keys(&self) -> Vec<([u8; 32], VirtualKey)> {
        let known = |key: &Key| Some((key.digest()?, key.virtual_key(&self.teams, &self.gateway)));
        self.keys.iter().filter_map(known).collect()
    }
}

fn from_hex(text: &str) -> Option<Sha256Digest> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
