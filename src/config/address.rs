//! Where a provider of the configuration is.

use std::borrow::Cow;

use http::Uri;

use super::{Provider, ProviderKind, place::is_inference};
use crate::{BoxError, percent, upstream::Address};

/// The address before the version and the path.
pub(super) fn base_url(provider: &Provider) -> Cow<'_, str> {
    let given = |field: &Option<String>| percent::encoded(field.as_deref().unwrap_or_default());
    match provider.kind {
        ProviderKind::Vertex => {
            let location = provider.location.as_deref().unwrap_or("global");
            let base = provider.base_url.as_deref().map(|url| url.trim_end_matches('/').into());
            let base: Cow<'_, str> = base.unwrap_or_else(|| vertex_base(location).into());
            let (project, location) = (given(&provider.project), percent::encoded(location));
            format!("{base}/projects/{project}/locations/{location}").into()
        }
        _ if provider.base_url.is_some() => provider.base_url.as_deref().unwrap_or_default().into(),
        ProviderKind::OpenAi => "https://api.openai.com/v1".into(),
        ProviderKind::Anthropic => "https://api.anthropic.com".into(),
        ProviderKind::Gemini => "https://generativelanguage.googleapis.com/v1beta".into(),
        ProviderKind::Preset(preset) => preset.base_url.into(),
        ProviderKind::Azure => format!("https://{}.openai.azure.com", given(&provider.resource)).into(),
        ProviderKind::Bedrock => {
            let region = given(&provider.region);
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://bedrock-runtime.{region}.amazonaws.com{china}").into()
        }
        ProviderKind::OpenAiCompatible | ProviderKind::Demo => "".into(),
    }
}

/// Where requests are sent.
pub(super) fn address(provider: &Provider) -> Result<Address, BoxError> {
    let base = base_url(provider);
    let address = match provider.kind {
        ProviderKind::Azure if is_inference(provider) => {
            let version = provider.api_version.as_deref().unwrap_or("2024-05-01-preview");
            Address::new(&base).map(|address| address.query(version_query(version)))
        }
        ProviderKind::Azure => azure(&base, provider.api_version.as_deref()),
        _ => Address::new(&base),
    };
    address.map_err(|error| format!("base_url: {error}").into())
}

/// Where Azure has the models of Anthropic.
pub(super) fn foundry(provider: &Provider) -> Result<Address, BoxError> {
    let base = match (&provider.base_url, &provider.resource) {
        (None, Some(resource)) => format!("https://{}.services.ai.azure.com", percent::encoded(resource)),
        _ => azure_root(&base_url(provider)).to_owned(),
    };
    Address::new(&format!("{base}/anthropic")).map_err(|error| format!("base_url: {error}").into())
}

/// The address of a resource without the path to the models of OpenAI.
fn azure_root(base: &str) -> &str {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    base.strip_suffix("/openai").unwrap_or(base)
}

fn version_query(version: &str) -> String {
    format!("api-version={}", percent::encoded(version))
}

/// A dated version belongs to the form with deployments; the others to the one without.
fn azure(base: &str, version: Option<&str>) -> Result<Address, BoxError> {
    let base = azure_root(base);
    Ok(match version {
        None => Address::new(&format!("{base}/openai/v1"))?,
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            Address::new(&format!("{base}/openai"))?.deployments().query(version_query(version))
        }
        Some(version) => Address::new(&format!("{base}/openai/v1"))?.query(version_query(version)),
    })
}

/// Whether the provider is asked in one place only, for which some charge more.
pub(super) fn is_regional(provider: &Provider) -> bool {
    match provider.kind {
        ProviderKind::Vertex => provider.location.as_deref().is_some_and(|location| location != "global"),
        ProviderKind::OpenAi => {
            let host =
                base_url(provider).parse::<Uri>().ok().and_then(|url| Some(url.host()?.to_lowercase()));
            host.is_some_and(|host| host.ends_with(".api.openai.com"))
        }
        _ => false,
    }
}

fn vertex_base(location: &str) -> String {
    match location {
        "global" => "https://aiplatform.googleapis.com/v1".to_owned(),
        "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com/v1"),
        region => format!("https://{}-aiplatform.googleapis.com/v1", percent::encoded(region)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, Payload, dialect::OPENAI_CHAT, payload::Head};

    fn url(provider: &Provider) -> String {
        let head = Head { model: "gpt-4o".into(), ..Head::default() };
        let payload = Payload::new(&OPENAI_CHAT, head, "{}".into(), Exchange::default());
        address(provider).unwrap().of(&payload).unwrap().to_string()
    }

    #[test]
    fn azure_has_two_forms() {
        let mut azure = Provider::new(ProviderKind::Azure);
        azure.resource = Some("r".to_owned());

        assert_eq!(url(&azure), "https://r.openai.azure.com/openai/v1/chat/completions");
        azure.api_version = Some("preview".to_owned());
        assert!(url(&azure).ends_with("/openai/v1/chat/completions?api-version=preview"));
        azure.api_version = Some("2024-10-21".to_owned());
        azure.base_url = Some("https://apim.example.org/x/openai/".to_owned());
        assert_eq!(
            url(&azure),
            "https://apim.example.org/x/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
        );
    }

    #[test]
    fn azure_has_a_place_for_the_models_of_others() {
        let mut azure = Provider::new(ProviderKind::Azure);
        azure.base_url = Some("https://r.services.ai.azure.com/models/".to_owned());
        let models = "https://r.services.ai.azure.com/models/chat/completions?api-version=";

        assert_eq!(url(&azure), format!("{models}2024-05-01-preview"));
        azure.api_version = Some("2025-05-01".to_owned());
        assert_eq!(url(&azure), format!("{models}2025-05-01"));
    }

    #[test]
    fn some_addresses_are_of_one_place_only() {
        let mut vertex = Provider::new(ProviderKind::Vertex);
        let mut openai = Provider::new(ProviderKind::OpenAi);
        assert!(!is_regional(&vertex) && !is_regional(&openai));

        for (location, is_one) in [("global", false), ("eu", true), ("us-east5", true)] {
            vertex.location = Some(location.to_owned());
            assert_eq!(is_regional(&vertex), is_one, "{location}");
        }
        for (host, is_one) in
            [("api.openai.com", false), ("EU.api.openai.com", true), ("eu.example.org", false)]
        {
            openai.base_url = Some(format!("https://{host}/v1"));
            assert_eq!(is_regional(&openai), is_one, "{host}");
        }
    }

    #[test]
    fn clouds_have_hosts_for_places() {
        let mut vertex = Provider::new(ProviderKind::Vertex);
        vertex.project = Some("p".to_owned());
        assert_eq!(
            url(&vertex),
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/chat/completions"
        );
        vertex.location = Some("eu".to_owned());
        assert!(
            url(&vertex).starts_with("https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/")
        );
        vertex.location = Some("us-central1".to_owned());
        assert!(url(&vertex).starts_with("https://us-central1-aiplatform.googleapis.com/v1/projects/p/"));
        vertex.base_url = Some("https://proxy.example.org/v1beta1/".to_owned());
        assert!(
            url(&vertex).starts_with("https://proxy.example.org/v1beta1/projects/p/locations/us-central1/")
        );

        let mut bedrock = Provider::new(ProviderKind::Bedrock);
        bedrock.region = Some("cn-north-1".to_owned());
        assert!(url(&bedrock).starts_with("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/"));
    }
}
