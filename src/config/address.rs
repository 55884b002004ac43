//! Where a provider of the configuration is.

use std::borrow::Cow;

use super::{Provider, ProviderKind};
use crate::{BoxError, percent, upstream::Address};

/// The address before the version and the path.
pub(super) fn base_url(provider: &Provider) -> Cow<'_, str> {
    if let Some(url) = provider.base_url.as_deref() {
        return url.into();
    }
    let given = |field: &Option<String>| percent::encoded(field.as_deref().unwrap_or_default());
    match provider.kind {
        ProviderKind::OpenAi => "https://api.openai.com/v1".into(),
        ProviderKind::Anthropic => "https://api.anthropic.com".into(),
        ProviderKind::Gemini => "https://generativelanguage.googleapis.com/v1beta".into(),
        ProviderKind::Preset(preset) => preset.base_url.into(),
        ProviderKind::Azure => format!("https://{}.openai.azure.com", given(&provider.resource)).into(),
        ProviderKind::Vertex => {
            let location = provider.location.as_deref().unwrap_or("global");
            let (host, project) = (vertex_host(location), given(&provider.project));
            let location = percent::encoded(location);
            format!("https://{host}/v1/projects/{project}/locations/{location}/endpoints/openapi").into()
        }
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
        ProviderKind::Azure => azure(&base, provider.api_version.as_deref()),
        _ => Address::new(&base),
    };
    address.map_err(|error| format!("base_url: {error}").into())
}

/// A dated version belongs to the form with deployments; the others to the one without.
fn azure(base: &str, version: Option<&str>) -> Result<Address, BoxError> {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let base = base.strip_suffix("/openai").unwrap_or(base);
    let query = |version| format!("api-version={}", percent::encoded(version));
    Ok(match version {
        None => Address::new(&format!("{base}/openai/v1"))?,
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            Address::new(&format!("{base}/openai"))?.deployments().query(query(version))
        }
        Some(version) => Address::new(&format!("{base}/openai/v1"))?.query(query(version)),
    })
}

fn vertex_host(location: &str) -> String {
    match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{}-aiplatform.googleapis.com", percent::encoded(region)),
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
    fn clouds_have_hosts_for_places() {
        let mut vertex = Provider::new(ProviderKind::Vertex);
        vertex.project = Some("p".to_owned());
        assert_eq!(
            url(&vertex),
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/chat/completions"
        );
        vertex.location = Some("eu".to_owned());
        assert!(
            url(&vertex).starts_with("https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/")
        );
        vertex.location = Some("us-central1".to_owned());
        assert!(url(&vertex).starts_with("https://us-central1-aiplatform.googleapis.com/v1/projects/p/"));

        let mut bedrock = Provider::new(ProviderKind::Bedrock);
        bedrock.region = Some("cn-north-1".to_owned());
        assert!(url(&bedrock).starts_with("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/"));
    }
}
