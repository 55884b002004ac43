use std::{borrow::Cow, sync::LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use crate::preset::{PRESETS, Preset};

/// The API that a provider offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderKind {
    /// OpenAI's own.
    OpenAi,
    /// Anthropic's own.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// The chat completions of OpenAI, offered by someone else at `base_url`.
    OpenAiCompatible,
    /// The same by someone whose address and deviations are known.
    Preset(&'static Preset),
    /// The models at Azure: OpenAI's and others.
    Azure,
    /// The models of Google's Vertex AI: Gemini, Claude and others.
    Vertex,
    /// Amazon Bedrock: the models of all makers there, through Converse.
    Bedrock,
    /// Built in: answers by itself, without a network.
    Demo,
}

/// The kinds that aren't presets, and what they are.
const OWN: [(ProviderKind, &str); 8] = [
    (ProviderKind::OpenAi, "OpenAI's own."),
    (ProviderKind::Anthropic, "Anthropic's own."),
    (ProviderKind::Gemini, "Google's Gemini API."),
    (
        ProviderKind::OpenAiCompatible,
        "The chat completions of OpenAI, offered by someone else at `base_url`.",
    ),
    (ProviderKind::Azure, "The models at Azure: OpenAI's and others."),
    (ProviderKind::Vertex, "The models of Google's Vertex AI: Gemini, Claude and others."),
    (ProviderKind::Bedrock, "Amazon Bedrock: the models of all makers there, through Converse."),
    (ProviderKind::Demo, "Built in: answers by itself, without a network."),
];

impl ProviderKind {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiCompatible => "openai-compatible",
            Self::Preset(preset) => preset.name,
            Self::Azure => "azure",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
            Self::Demo => "demo",
        }
    }

    /// All kinds, with a sentence about each.
    fn all() -> impl Iterator<Item = (Self, Cow<'static, str>)> {
        let presets = PRESETS.iter().map(|preset| {
            let what = format!("The chat completions of {}.", preset.title);
            (Self::Preset(preset), what.into())
        });
        OWN.into_iter().map(|(kind, what)| (kind, what.into())).chain(presets)
    }
}

impl Serialize for ProviderKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProviderKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static NAMES: LazyLock<Vec<&'static str>> =
            LazyLock::new(|| ProviderKind::all().map(|(kind, _)| kind.as_str()).collect());
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        let kind = Self::all().find(|(kind, _)| kind.as_str() == name);
        kind.map(|(kind, _)| kind).ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for ProviderKind {
    fn schema_name() -> Cow<'static, str> {
        "ProviderKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds: Vec<Value> = Self::all()
            .map(|(kind, what)| json!({ "type": "string", "const": kind.as_str(), "description": what }))
            .collect();
        json_schema!({ "description": "The API that a provider offers.", "oneOf": kinds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name() {
        for (kind, _) in ProviderKind::all() {
            let read: ProviderKind = serde_json::from_value(kind.as_str().into()).unwrap();
            assert_eq!((read, serde_json::to_value(kind).unwrap()), (kind, kind.as_str().into()));
        }

        let wrong = serde_json::from_str::<ProviderKind>("\"grok\"").unwrap_err().to_string();
        assert!(wrong.contains("unknown variant `grok`") && wrong.contains("`groq`"), "{wrong}");
    }
}
