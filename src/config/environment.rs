use std::env;

use super::{AuthMode, Config, Provider, ProviderKind, Secret};

/// Where the SDK of a provider looks for its key and its address.
const KNOWN: [(&str, ProviderKind, &str, &str); 2] = [
    ("openai", ProviderKind::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", ProviderKind::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
];

impl Config {
    /// A configuration for a machine of one's own: the providers whose keys are in the environment,
    /// and one named `demo` that answers by itself; open to everyone who can reach 127.0.0.1.
    ///
    /// Returns the names of the variables that were found too. An address without a key is not
    /// looked at, since it may well be the gateway's own. The values are not
    /// [checked](Self::check).
    pub fn from_environment() -> (Self, Vec<&'static str>) {
        from_variables(&|name| env::var(name).ok())
    }
}

fn from_variables(lookup: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<&'static str>) {
    let mut config = Config { auth: AuthMode::Open, ..Config::default() };
    let mut found = Vec::new();
    let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
    for (name, kind, key, base_url) in KNOWN {
        let Some(api_key) = lookup(key) else {
            continue;
        };
        found.push(key);
        let mut provider = Provider::new(kind);
        provider.api_key = Some(Secret::new(api_key));
        provider.base_url = lookup(base_url).inspect(|_| found.push(base_url));
        config.providers.insert(name.to_owned(), provider);
    }
    config.providers.insert("demo".to_owned(), Provider::new(ProviderKind::Demo));
    (config, found)
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
            _ => None,
        });

        assert_eq!(found, ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"]);
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["anthropic", "demo"]);
        assert_eq!(config.providers["anthropic"].base_url.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(config.check(), []);
    }

    #[test]
    fn without_keys_there_is_the_demo() {
        let (config, found) = from_variables(&|_| None);

        assert!(found.is_empty());
        assert_eq!(config.providers["demo"].kind, ProviderKind::Demo);
        assert_eq!(config.server, Config::default().server);
        assert_eq!(config.check(), []);
    }
}
