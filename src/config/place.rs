//! How a model is asked, where the models of one provider are asked in different ways.

use super::{
    Provider, ProviderKind,
    address::foundry,
    stack::{deviations, natives},
};
use crate::{
    BoxError, Dialect,
    dialect::{ANTHROPIC, ANTHROPIC_COUNT, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, VERTEX_EMBEDDINGS},
    preset::{CLAUDE_AT_VERTEX, Deviations, GEMINI_AT_VERTEX, OPENAI, Preset},
    upstream::Address,
};

/// How a model is asked.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The dialects in which the provider has it.
    pub(super) natives: Vec<&'static dyn Dialect>,
    /// How they deviate.
    pub(super) deviations: Deviations,
    /// Where it is; the demo is nowhere.
    pub(super) address: Option<Address>,
    /// Its name in requests.
    pub(super) model: &'a str,
}

impl Place<'_> {
    /// Whether it is asked as Anthropic itself is.
    pub(super) fn is_anthropics(&self) -> bool {
        self.deviations == NONE && self.natives.iter().any(|native| native.id() == ANTHROPIC.id())
    }
}

const NONE: Deviations = Deviations::new("", &[]);

/// How `provider`, which is at `address`, is asked for `model`, which is `known_as` something in the list of
/// prices.
pub(super) fn place<'a>(
    provider: &Provider,
    address: Option<&Address>,
    model: &'a str,
    known_as: &str,
) -> Result<Place<'a>, BoxError> {
    let kind = provider.kind;
    let usual =
        Place { natives: natives(kind), deviations: deviations(kind), address: address.cloned(), model };
    match (kind, address) {
        (ProviderKind::Vertex, Some(address)) => vertex(address, model),
        (ProviderKind::Azure, _) => azure(provider, usual, known_as),
        _ => Ok(usual),
    }
}

/// The publishers at Vertex, where a model's name tells who made it.
const MAKERS: [(&str, &str); 8] = [
    ("claude", "anthropic"),
    ("gemini", "google"),
    ("text-embedding", "google"),
    ("text-multilingual-embedding", "google"),
    ("mistral", "mistralai"),
    ("ministral", "mistralai"),
    ("codestral", "mistralai"),
    ("jamba", "ai21"),
];

/// A model's publisher at Vertex, and its name there; both may be in the name that the configuration has.
fn published(model: &str) -> (&str, &str) {
    if let Some((publisher, name)) =
        model.strip_prefix("publishers/").and_then(|path| path.split_once("/models/"))
    {
        return (publisher, name);
    }
    let by_name = || MAKERS.iter().find(|(beginning, _)| model.starts_with(beginning));
    model.split_once('/').unwrap_or_else(|| (by_name().map_or("", |(_, publisher)| *publisher), model))
}

/// The names by which the list of prices may know a model of Vertex.
pub(super) fn names_at_vertex(model: &str) -> [&str; 2] {
    [model, published(model).1]
}

fn vertex<'a>(location: &Address, model: &'a str) -> Result<Place<'a>, BoxError> {
    let (publisher, name) = published(model);
    let place = |natives, address: Address, deviations, model| Place {
        natives,
        deviations,
        address: Some(address),
        model,
    };
    let chat: Vec<&'static dyn Dialect> = vec![&OPENAI_CHAT];
    let below = |path: &str| location.below(path);
    Ok(match publisher {
        "anthropic" => {
            let natives: Vec<&'static dyn Dialect> = vec![&ANTHROPIC, &ANTHROPIC_COUNT];
            place(natives, below("/publishers/anthropic")?.predict(), CLAUDE_AT_VERTEX, name)
        }
        "google" if !name.ends_with("-maas") => {
            place(vec![&GEMINI, &VERTEX_EMBEDDINGS], below("/publishers/google")?, GEMINI_AT_VERTEX, name)
        }
        "mistralai" => {
            let mistral = Preset::named("mistral").map_or(NONE, |preset| preset.deviations);
            place(chat, below("/publishers/mistralai")?.predict(), mistral, name)
        }
        "ai21" => place(chat, below("/publishers/ai21")?.predict(), NONE, name),
        "openai" if !name.ends_with("-maas") => {
            place(vec![&OPENAI_CHAT, &OPENAI_RESPONSES], below("/publishers/openai/v1")?, OPENAI, name)
        }
        // A model that someone has deployed, by the number of its endpoint.
        "endpoints" => place(chat, below(&format!("/endpoints/{name}"))?, NONE, model),
        _ => place(chat, below("/endpoints/openapi")?, NONE, model),
    })
}

/// Deployments may be of other makers too.
fn azure<'a>(provider: &Provider, usual: Place<'a>, known_as: &str) -> Result<Place<'a>, BoxError> {
    if known_as.starts_with("claude") {
        return Ok(Place {
            natives: vec![&ANTHROPIC],
            address: Some(foundry(provider)?),
            deviations: NONE,
            ..usual
        });
    }
    let version = provider.api_version.as_deref().unwrap_or_default();
    let is_old = version.starts_with(|c: char| c.is_ascii_digit()) && version < FIRST_RESPONSES;
    let mut natives = usual.natives;
    natives.retain(|native| native.id() != OPENAI_RESPONSES.id() || !(is_old || is_inference(provider)));
    Ok(Place { natives, ..usual })
}

/// The first dated version of Azure that has responses.
const FIRST_RESPONSES: &str = "2025-03-01";

/// Whether the address is that of the models which aren't OpenAI's.
pub(super) fn is_inference(provider: &Provider) -> bool {
    provider.base_url.as_deref().is_some_and(|url| url.trim_end_matches('/').ends_with("/models"))
}

#[cfg(test)]
mod tests {
    use super::{super::address::address, *};
    use crate::{Exchange, Payload, payload::Head};

    fn asked(provider: &Provider, model: &str, known_as: &str, stream: bool) -> (String, String) {
        let base = address(provider).unwrap();
        let place = place(provider, Some(&base), model, known_as).unwrap();
        let head = Head { model: place.model.into(), stream, ..Head::default() };
        let payload = Payload::new(place.natives[0], head, "{}".into(), Exchange::default());
        let ids: Vec<_> = place.natives.iter().map(|native| native.id()).collect();
        (ids.join(" "), place.address.unwrap().of(&payload).unwrap().to_string())
    }

    #[test]
    fn a_model_of_vertex_is_asked_as_its_maker_has_it() {
        let mut vertex = Provider::new(ProviderKind::Vertex);
        vertex.project = Some("p".to_owned());
        let location = "https://aiplatform.googleapis.com/v1/projects/p/locations/global";
        let gemini = "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
        let claude = "/publishers/anthropic/models/claude-opus-4-5@20251101:streamRawPredict";
        let codestral = "/publishers/mistralai/models/codestral-2:streamRawPredict";
        let openapi = "/endpoints/openapi/chat/completions";

        let cases = [
            ("gemini-2.5-flash", "gemini vertex-embeddings", gemini),
            ("google/gemini-2.5-flash", "gemini vertex-embeddings", gemini),
            ("publishers/google/models/gemini-2.5-flash", "gemini vertex-embeddings", gemini),
            ("claude-opus-4-5@20251101", "anthropic-messages anthropic-count", claude),
            ("anthropic/claude-opus-4-5@20251101", "anthropic-messages anthropic-count", claude),
            ("codestral-2", "openai-chat", codestral),
            ("mistralai/codestral-2", "openai-chat", codestral),
            ("meta/llama-3.3-70b-instruct-maas", "openai-chat", openapi),
            ("google/gemma-4-26b-a4b-it-maas", "openai-chat", openapi),
            ("openai/gpt-oss-120b-maas", "openai-chat", openapi),
            ("openai/gpt-6", "openai-chat openai-responses", "/publishers/openai/v1/chat/completions"),
            ("endpoints/42", "openai-chat", "/endpoints/42/chat/completions"),
        ];
        for (model, dialects, path) in cases {
            let (natives, url) = asked(&vertex, model, model, true);
            assert!(natives.starts_with(dialects), "{model}: {natives}");
            assert_eq!(url, format!("{location}{path}"), "{model}");
        }
    }

    #[test]
    fn a_deployment_of_azure_has_what_its_version_and_its_maker_have() {
        let mut azure = Provider::new(ProviderKind::Azure);
        azure.resource = Some("r".to_owned());
        let natives = |azure: &Provider| asked(azure, "mine", "gpt-4o", false).0;
        let has_responses = |azure: &Provider| natives(azure).contains("openai-responses");

        assert!(has_responses(&azure) && natives(&azure).starts_with("openai-chat"));
        azure.api_version = Some("2025-04-01-preview".to_owned());
        assert!(has_responses(&azure));
        azure.api_version = Some("2024-10-21".to_owned());
        assert!(!has_responses(&azure) && natives(&azure).contains("openai-embeddings"));
        assert_eq!(
            asked(&azure, "mine", "claude-opus-5", false),
            (
                "anthropic-messages".to_owned(),
                "https://r.services.ai.azure.com/anthropic/v1/messages".to_owned()
            )
        );
    }
}
