use std::{borrow::Cow, num::NonZeroU32};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, text_or::FromText};

/// One of several keys of a provider: the key, or more about it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PooledKey {
    /// What it is called in records, measurements and alerts: its number among the keys of the provider, counted from 1,
    /// if it isn't given.
    #[serde(default)]
    pub name: Option<String>,
    /// The key.
    pub key: Secret,
    /// Its share among the others: 1 if it isn't given.
    #[serde(default)]
    pub weight: Option<NonZeroU32>,
}

impl PooledKey {
    /// What the key at this place, counted from 0, is called.
    pub(super) fn called(&self, index: usize) -> Cow<'_, str> {
        self.name.as_deref().map_or_else(|| (index + 1).to_string().into(), Cow::Borrowed)
    }
}

impl FromText for PooledKey {
    const FORM: &'static str = "a key, or fields such as { name: spare, key: a key }";

    fn from_text(key: &str) -> Self {
        Self { name: None, key: Secret::new(key), weight: None }
    }
}
