use std::env;

use super::check::SHORTEST_KEY;
use super::{Config, Key, Provider, ProviderKind, Secret};
use crate::preset::PRESETS;

/// Where the SDK of a provider looks for its key and its address.
const KNOWN: [(&str, ProviderKind, &str, &str); 4] = [
    ("openai", ProviderKind::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", ProviderKind::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    // Google's SDKs look for both, in this order.
    ("gemini", ProviderKind::Gemini, "GOOGLE_API_KEY", GEMINI_URL),
    ("gemini", ProviderKind::Gemini, "GEMINI_API_KEY", GEMINI_URL),
];

/// Where Google's SDKs look for an address, to which they add the version.
const GEMINI_URL: &str = "GOOGLE_GEMINI_BASE_URL";

/// Chooses the key of a gateway that has no configuration.
const KEY: &str = "BARTIZAN_KEY";

/// Chooses the key of its administrators.
const ADMIN_KEY: &str = "BARTIZAN_ADMIN_KEY";

impl Config {
    /// A configuration for a machine of one's own: the providers whose keys are in the environment,
    /// one named `demo` that answers by itself, one key, which is that of the variable `BARTIZAN_KEY` or else made
    /// up here, and the administrators' key, which is that of `BARTIZAN_ADMIN_KEY`, if it has 16 characters, or
    /// made up too.
    ///
    /// The address of a provider without a key is not looked at, since it may well be the gateway's own.
    pub fn from_environment() -> (Self, Found) {
        let (mut config, variables) = from_variables(&|name| env::var(name).ok());
        let chosen =
            |name, least| env::var(name).ok().filter(|key: &String| key.len() >= least).map(Secret::new);
        let mut found = Found { variables, ..Found::default() };
        let key = chosen(KEY, 1).unwrap_or_else(|| found.key.insert(random_key()).clone());
        config.keys.push(Key::new("local", key));
        let admin = chosen(ADMIN_KEY, SHORTEST_KEY);
        config.admin.key = Some(admin.unwrap_or_else(|| found.admin_key.insert(random_key()).clone()));
        (config, found)
    }
}

/// What [`Config::from_environment`] has found, and what it has made up.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The names of the variables that are there.
    pub variables: Vec<&'static str>,
    /// The key of clients, if it was made up.
    pub key: Option<Secret>,
    /// The key of the administrators, if it was made up.
    pub admin_key: Option<Secret>,
}

/// 256 random bits, behind the prefix by which clients recognise keys.
fn random_key() -> Secret {
    let mut bits = [0; 32];
    // Without randomness there can be no key: better an empty one, which no request can present.
    if getrandom::fill(&mut bits).is_err() {
        return Secret::new("");
    }
    let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(format!("sk-{digits}"))
}

fn from_variables(lookup: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<&'static str>) {
    let mut config = Config::default();
    let mut found = Vec::new();
    let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
    let presets =
        PRESETS.iter().map(|preset| (preset.name, ProviderKind::Preset(preset), preset.key, preset.url));
    for (name, kind, key, base_url) in KNOWN.into_iter().chain(presets) {
        let Some(api_key) = lookup(key).filter(|_| !config.providers.contains_key(name)) else {
            continue;
        };
        found.push(key);
        let mut provider = Provider::new(kind);
        provider.api_key = Some(Secret::new(api_key));
        provider.base_url = lookup(base_url).inspect(|_| found.push(base_url));
        if base_url == GEMINI_URL {
            provider.base_url = provider.base_url.map(|url| format!("{}/v1beta", url.trim_end_matches('/')));
        }
        config.providers.insert(name.to_owned(), provider);
    }
    azure(&lookup, &mut config, &mut found);
    bedrock(&lookup, &mut config, &mut found);
    vertex(&lookup, &mut config, &mut found);
    config.providers.insert("demo".to_owned(), Provider::new(ProviderKind::Demo));
    (config, found)
}

/// Azure has no address of its own.
fn azure(lookup: &dyn Fn(&str) -> Option<String>, config: &mut Config, found: &mut Vec<&'static str>) {
    const VARIABLES: [&str; 2] = ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"];
    const VERSION: &str = "OPENAI_API_VERSION";
    let [key, url] = VARIABLES.map(lookup);
    if let (Some(key), Some(url)) = (key, url) {
        found.extend(VARIABLES);
        let mut provider = Provider::new(ProviderKind::Azure);
        provider.api_key = Some(Secret::new(key));
        provider.base_url = Some(url);
        provider.api_version = lookup(VERSION).inspect(|_| found.push(VERSION));
        config.providers.insert("azure".to_owned(), provider);
    }
}

/// Bedrock is in a region. The keys of an account may be there for something else: only one of Bedrock's own
/// says that it is meant.
fn bedrock(lookup: &dyn Fn(&str) -> Option<String>, config: &mut Config, found: &mut Vec<&'static str>) {
    const KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
    const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let region = REGIONS.into_iter().find_map(|name| Some((name, lookup(name)?)));
    if let (Some(key), Some((name, region))) = (lookup(KEY), region) {
        found.extend([KEY, name]);
        let mut provider = Provider::new(ProviderKind::Bedrock);
        provider.api_key = Some(Secret::new(key));
        provider.region = Some(region);
        config.providers.insert("bedrock".to_owned(), provider);
    }
}

/// A project may be there for something else: Google's SDKs have a switch that says that Vertex is meant.
fn vertex(lookup: &dyn Fn(&str) -> Option<String>, config: &mut Config, found: &mut Vec<&'static str>) {
    const SWITCHES: [&str; 2] = ["GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"];
    const PROJECT: &str = "GOOGLE_CLOUD_PROJECT";
    const LOCATION: &str = "GOOGLE_CLOUD_LOCATION";
    let is_on = |name: &&str| lookup(name).is_some_and(|value| matches!(&*value, "true" | "True" | "1"));
    if let (Some(switch), Some(project)) = (SWITCHES.into_iter().find(is_on), lookup(PROJECT)) {
        found.extend([switch, PROJECT]);
        let mut provider = Provider::new(ProviderKind::Vertex);
        provider.project = Some(project);
        provider.location = lookup(LOCATION).inspect(|_| found.push(LOCATION));
        config.providers.insert("vertex".to_owned(), provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_environment_become_providers() {
        let (config, found) = from_variables(&|name| match name {
            "ANTHROPIC_API_KEY" => Some("sk-ant".to_owned()),
            "ANTHROPIC_BASE_URL" => Some("http://127.0.0.1:9000".to_owned()),
            "OPENAI_BASE_URL" => Some("http://127.0.0.1:8080/v1".to_owned()),
            "OPENAI_API_KEY" => Some(String::new()),
            "GROQ_API_KEY" => Some("gsk".to_owned()),
            _ => None,
        });

        assert_eq!(found, ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "GROQ_API_KEY"]);
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["anthropic", "demo", "groq"]);
        assert_eq!(config.providers["groq"].kind.as_str(), "groq");
        assert_eq!(config.providers["anthropic"].base_url.as_deref(), Some("http://127.0.0.1:9000"));
    }

    #[test]
    fn the_key_of_gemini_has_two_names_and_its_address_no_version() {
        let (config, found) = from_variables(&|name| match name {
            "GOOGLE_API_KEY" => Some("first".to_owned()),
            "GEMINI_API_KEY" => Some("second".to_owned()),
            "GOOGLE_GEMINI_BASE_URL" => Some("http://127.0.0.1:9000/".to_owned()),
            _ => None,
        });

        let gemini = &config.providers["gemini"];
        assert_eq!(found, ["GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"]);
        assert_eq!(gemini.api_key.as_ref().unwrap().expose(), "first");
        assert_eq!(gemini.base_url.as_deref(), Some("http://127.0.0.1:9000/v1beta"));
    }

    #[test]
    fn vertex_is_there_if_it_is_meant() {
        let with = |switch: &'static str| {
            from_variables(&move |name| match name {
                "GOOGLE_GENAI_USE_VERTEXAI" => Some(switch.to_owned()),
                "GOOGLE_CLOUD_PROJECT" => Some("p".to_owned()),
                "GOOGLE_CLOUD_LOCATION" => Some("eu".to_owned()),
                _ => None,
            })
        };

        let (config, found) = with("true");

        assert_eq!(found, ["GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"]);
        let vertex = &config.providers["vertex"];
        assert_eq!((vertex.project.as_deref(), vertex.location.as_deref()), (Some("p"), Some("eu")));
        assert!(!with("false").0.providers.contains_key("vertex"));
    }

    #[test]
    fn without_keys_there_is_the_demo() {
        let (config, found) = from_variables(&|_| None);

        assert!(found.is_empty());
        assert_eq!(config.providers["demo"].kind, ProviderKind::Demo);
        assert_eq!(config.server, Config::default().server);
    }

    #[test]
    fn a_key_of_bedrock_needs_a_region() {
        let with = |region: Option<&'static str>| {
            from_variables(&|name| match name {
                "AWS_BEARER_TOKEN_BEDROCK" => Some("key".to_owned()),
                "AWS_DEFAULT_REGION" => region.map(str::to_owned),
                _ => None,
            })
        };

        let (config, found) = with(Some("eu-west-1"));

        assert_eq!(found, ["AWS_BEARER_TOKEN_BEDROCK", "AWS_DEFAULT_REGION"]);
        assert_eq!(config.providers["bedrock"].region.as_deref(), Some("eu-west-1"));
        assert!(!with(None).0.providers.contains_key("bedrock"));
    }
}
