use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "otel")]
use super::Config;
use super::{Secret, problem::Problem};

/// What a collector of OpenTelemetry is told, by OTLP over HTTP. Takes a restart to change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Otel {
    /// The address of the collector, such as `http://127.0.0.1:4318`; what `OTEL_EXPORTER_OTLP_ENDPOINT` says, if it
    /// isn't given.
    pub endpoint: Option<String>,
    /// Headers that it wants, such as a key; those of `OTEL_EXPORTER_OTLP_HEADERS`, if none are given.
    pub headers: BTreeMap<String, Secret>,
    /// The name of the gateway; what `OTEL_SERVICE_NAME` says, if it isn't given, and otherwise `bartizan`.
    pub service: Option<String>,
    /// Whether requests are traces, and providers are told of them in `traceparent`.
    pub traces: bool,
    /// Which part of the traces that begin here is recorded, from 0 to 1.
    pub sample: f64,
    /// Whether it is told how long attempts take and how many tokens they use.
    pub metrics: bool,
    /// Whether each request is a line of a log.
    pub logs: bool,
    /// Whether traces have what was asked and answered, of the keys whose `log_content` allows it.
    pub content: bool,
}

impl Default for Otel {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            service: None,
            traces: true,
            sample: 1.0,
            metrics: true,
            logs: false,
            content: false,
        }
    }
}

// The share is a number: it has been checked.
impl Eq for Otel {}

impl Otel {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if !(0.0..=1.0).contains(&self.sample) {
            problems.push(Problem::at("otel.sample", "expected a number from 0 to 1"));
        }
        #[cfg(not(feature = "otel"))]
        problems.push(Problem::at("otel", "this program was built without the feature `otel`"));
        #[cfg(feature = "otel")]
        if let Some(endpoint) = &self.endpoint
            && let Err(error) = crate::otel::OtelOptions::new(endpoint)
        {
            problems.push(Problem::at("otel.endpoint", error));
        }
    }
}

#[cfg(feature = "otel")]
mod options {
    use super::*;
    use crate::{
        config::{ProviderKind, address::base_url},
        otel::{OtelOptions, Provider, Providers},
    };

    impl Otel {
        /// What is told, and where, with `environment` where nothing is said.
        ///
        /// # Errors
        ///
        /// If there is no address, or one of its headers can't be one.
        pub fn options(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<OtelOptions, String> {
            let endpoint = self.endpoint.clone().or_else(|| environment("OTEL_EXPORTER_OTLP_ENDPOINT"));
            let endpoint =
                endpoint.ok_or("otel.endpoint: is missing, and so is OTEL_EXPORTER_OTLP_ENDPOINT")?;
            let options = OtelOptions::new(&endpoint).map_err(|error| format!("otel.endpoint: {error}"))?;
            let service = self.service.clone().or_else(|| environment("OTEL_SERVICE_NAME"));
            let options = match service {
                Some(service) => options.service(&service),
                None => options,
            };
            let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
            let headers: Vec<_> = match self.headers.is_empty() {
                true => from_environment(&environment("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default()),
                false => headers.collect(),
            };
            headers.into_iter().try_fold(options.content(self.content), |options, (name, value)| {
                options.header(&name, &value).map_err(|error| format!("otel.headers.{name}: {error}"))
            })
        }
    }

    /// Headers as the environment has them: `name=value,other=value`, with `%20` and the like.
    fn from_environment(text: &str) -> Vec<(String, Secret)> {
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (decoded(name), Secret::new(decoded(value)))).collect()
    }

    impl Config {
        /// Who the providers are, for OpenTelemetry.
        pub fn otel_providers(&self) -> Providers {
            Providers::new(self.providers.iter().map(|(name, provider)| {
                let uri = base_url(provider).parse::<http::Uri>().ok();
                let address = uri.and_then(|uri| {
                    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
                    Some((uri.host()?.into(), uri.port_u16().unwrap_or(usual)))
                });
                let known = named(provider.kind).map(Into::into);
                let known = known.unwrap_or_else(|| name.clone().into());
                (name.as_str().into(), Provider { name: known, address })
            }))
        }
    }

    /// What the conventions call a provider; those that they don't know are called as the configuration does.
    fn named(kind: ProviderKind) -> Option<&'static str> {
        Some(match kind {
            ProviderKind::OpenAi => "openai",
            ProviderKind::Anthropic => "anthropic",
            ProviderKind::Gemini => "gcp.gemini",
            ProviderKind::Vertex => "gcp.vertex_ai",
            ProviderKind::Bedrock => "aws.bedrock",
            ProviderKind::Azure => "azure.ai.openai",
            ProviderKind::Preset(preset) => match preset.name {
                "mistral" => "mistral_ai",
                "moonshot" => "moonshot_ai",
                "xai" => "x_ai",
                name => name,
            },
            ProviderKind::OpenAiCompatible | ProviderKind::Demo => return None,
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_not_said_is_what_the_environment_says() {
            let environment = |name: &str| {
                Some(match name {
                    "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://collector:4318/".to_owned(),
                    "OTEL_EXPORTER_OTLP_HEADERS" => "x-key=a%20secret, x-other=b".to_owned(),
                    _ => return None,
                })
            };

            assert!(Otel::default().options(&environment).is_ok());
            assert!(Otel::default().options(&|_| None).unwrap_err().contains("otel.endpoint"));
            let headers = from_environment("x-key=a%20secret, x-other=b");
            let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, value.expose())).collect();
            assert_eq!(headers, [("x-key", "a secret"), ("x-other", "b")]);
        }

        #[test]
        fn an_endpoint_with_a_user_is_refused_and_not_shown() {
            let otel = Otel { endpoint: Some("http://me:secret@h:4318".to_owned()), ..Otel::default() };

            let error = otel.options(&|_| None).unwrap_err();

            assert!(error.contains("has a user") && !error.contains("secret"), "{error}");
        }

        #[test]
        fn providers_are_called_as_the_conventions_do() {
            let text = "auth: open\nproviders:\n  \
                a: { kind: mistral, api_key: k }\n  \
                own: { kind: openai-compatible, base_url: 'http://10.0.0.1:9000/v1' }";
            let providers = Config::from_text(text).unwrap().otel_providers();

            assert_eq!(providers.of("a/m").name, "mistral_ai");
            assert_eq!(providers.of("a/m").address, Some(("api.mistral.ai".into(), 443)));
            let own = providers.of("own/m");
            assert_eq!((&*own.name, own.address), ("own", Some(("10.0.0.1".into(), 9000))));
            assert_eq!(providers.of("nobody/m").name, "nobody");
        }
    }
}
