use std::{borrow::Cow, fmt, num::NonZeroU32};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, MapAccess, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};

use super::Secret;

/// One of several keys of a provider: the key, or more about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PooledKey {
    /// What it is called in records, measurements and alerts: its number among the keys of the provider, counted from 1,
    /// if it isn't given.
    pub name: Option<String>,
    /// The key.
    pub key: Secret,
    /// Its share among the others: 1 if it isn't given.
    pub weight: Option<NonZeroU32>,
}

impl PooledKey {
    /// What the key at this place, counted from 0, is called.
    pub(super) fn called(&self, index: usize) -> Cow<'_, str> {
        self.name.as_deref().map_or_else(|| (index + 1).to_string().into(), Cow::Borrowed)
    }
}

/// The long form of [`PooledKey`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PooledKeyFields")]
struct Fields {
    /// What it is called in records, measurements and alerts: its number among the keys of the provider, counted from 1,
    /// if it isn't given.
    #[serde(default)]
    name: Option<String>,
    /// The key.
    key: Secret,
    /// Its share among the others: 1 if it isn't given.
    #[serde(default)]
    weight: Option<NonZeroU32>,
}

impl<'de> Deserialize<'de> for PooledKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyOrFields)
    }
}

struct KeyOrFields;

impl<'de> Visitor<'de> for KeyOrFields {
    type Value = PooledKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or fields such as { name: spare, key: a key }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PooledKey, E> {
        let key = Secret::deserialize(StrDeserializer::new(text))?;
        Ok(PooledKey { name: None, key, weight: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PooledKey, A::Error> {
        let Fields { name, key, weight } = Fields::deserialize(MapAccessDeserializer::new(map))?;
        Ok(PooledKey { name, key, weight })
    }
}

impl JsonSchema for PooledKey {
    fn schema_name() -> Cow<'static, str> {
        "PooledKey".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (key, fields) = (generator.subschema_for::<Secret>(), generator.subschema_for::<Fields>());
        json_schema!({ "anyOf": [key, fields] })
    }
}
