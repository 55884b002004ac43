use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Config, Problem, Provider, ProviderKind, address::base_url, breaker::Breakers, credentials::form,
    units::Written,
};
use crate::{BoxError, Kind, breaker::Breaker, dialect::status, sign::SignLayer, upstream::SmallClient};

/// How a provider is asked whether it is there, while nobody asks it for anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Probe {
    /// How often, at least every second.
    pub every: Written<Duration>,
    /// What is fetched below `base_url`, such as `/models`: something that costs nothing. It is asked for with the
    /// provider's credential, and is charged to nobody.
    pub path: String,
}

impl Probe {
    pub(super) fn check(&self, path: &str, provider: &Provider, problems: &mut Vec<Problem>) {
        let mut wrong =
            |field: &str, message: &str| problems.push(Problem::at(format!("{path}.probe{field}"), message));
        if *self.every < Duration::from_secs(1) {
            wrong(".every", "is shorter than a second");
        }
        if !self.path.starts_with('/') {
            wrong(".path", "begins with a `/`");
        }
        let asks_otherwise =
            [ProviderKind::Demo, ProviderKind::Azure, ProviderKind::Vertex, ProviderKind::Bedrock];
        if asks_otherwise.contains(&provider.kind) {
            wrong("", "is for providers that are asked with a key at one address");
        }
    }
}

/// Who is asked, and what is told of it.
#[derive(Clone, Debug)]
pub(super) struct Probed {
    provider: String,
    uri: Uri,
    headers: HeaderMap,
    every: Duration,
    breakers: Vec<Breaker>,
}

/// All that are asked at the moment.
pub(super) type Probes = Arc<ArcSwap<Vec<Probed>>>;

/// Those of the providers in `config` that are to be asked.
///
/// # Errors
///
/// If an address can't be used.
pub(super) fn probes(config: &Config, breakers: &Breakers) -> Result<Vec<Probed>, BoxError> {
    let mut probes = Vec::new();
    for (name, provider) in &config.providers {
        let Some(probe) = &provider.probe else { continue };
        let rules = provider.breaker.or(&config.defaults.breaker).rules();
        let targets = config.models.values().flat_map(|model| &model.targets);
        let own = targets.filter(|target| target.parts().is_some_and(|(of, _)| of == name));
        let mut breakers: Vec<Breaker> = own.map(|target| breakers.of(&target.name, rules)).collect();
        breakers.sort_by(|a, b| a.name().cmp(b.name()));
        breakers.dedup_by(|a, b| a.is_same(b));
        let wrong = |_| format!("providers.{name}.probe.path: is not a path such as /models");
        probes.push(Probed {
            provider: name.clone(),
            uri: format!("{}{}", base_url(provider).trim_end_matches('/'), probe.path)
                .parse()
                .map_err(wrong)?,
            headers: headers(provider)?,
            every: *probe.every,
            breakers,
        });
    }
    Ok(probes)
}

fn headers(provider: &Provider) -> Result<HeaderMap, BoxError> {
    let key = provider.api_key.as_ref().or_else(|| provider.api_keys.first().map(|pooled| &pooled.key));
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers = SignLayer::new(form(provider.kind).credential(key))?.headers();
    }
    if provider.kind == ProviderKind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    for (name, value) in &provider.headers {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value.expose())?);
    }
    Ok(headers)
}

/// Asks all of `probes` whenever their time has come, until it is dropped.
pub(super) async fn ask(probes: Probes) {
    /// As long as a provider may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How often it is looked whose time has come.
    const STEP: Duration = Duration::from_millis(500);

    let client = SmallClient::new(PATIENCE);
    let mut last: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(STEP).await;
        let (probes, now) = (probes.load_full(), Instant::now());
        last.retain(|provider, _| probes.iter().any(|probed| probed.provider == *provider));
        let is_due =
            |probed: &&Probed| last.get(&probed.provider).is_none_or(|last| *last + probed.every <= now);
        let due: Vec<_> = probes.iter().filter(is_due).collect();
        last.extend(due.iter().map(|probed| (probed.provider.clone(), now)));
        join_all(due.into_iter().map(|probed| probed.ask(&client, PATIENCE))).await;
    }
}

impl Probed {
    async fn ask(&self, client: &SmallClient, patience: Duration) {
        let mut req = Request::new(Full::<Bytes>::default());
        *req.uri_mut() = self.uri.clone();
        *req.headers_mut() = self.headers.clone();
        let failure = match client.send(req, patience.min(self.every)).await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(status::kind_of(answer.status().as_u16())),
            Err(error) if error.is::<tokio::time::error::Elapsed>() => Some(Kind::Timeout),
            Err(_) => Some(Kind::Unreachable),
        };
        self.breakers.iter().for_each(|breaker| breaker.probed(failure, self.every));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(provider: &str) -> Result<Config, String> {
        let text = format!(
            "auth: open\nproviders: {{ a: {{ {provider} }}, b: {{ kind: demo }} }}\n\
             models: {{ x: {{ targets: [ {{ use: a/m }}, {{ use: b/m }} ] }}, y: {{ targets: [ {{ use: a/m }}, {{ use: a/n }} ] }} }}"
        );
        Config::read(&text, "f", &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_provider_is_asked_for_all_of_its_targets_at_once_and_with_its_key() {
        let config = read(
            "kind: openai, api_key: sk-a, base_url: 'http://h/v1/', probe: { every: 10s, path: /models }",
        )
        .unwrap();

        let probes = probes(&config, &Breakers::default()).unwrap();

        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0].uri, "http://h/v1/models");
        assert_eq!(probes[0].headers["authorization"], "Bearer sk-a");
        let names: Vec<_> = probes[0].breakers.iter().map(Breaker::name).collect();
        assert_eq!(names, ["a/m", "a/n"]);
        assert!(!format!("{probes:?}").contains("sk-a"));
    }

    #[test]
    fn nobody_is_asked_who_is_not_configured_to_be() {
        assert!(probes(&read("kind: openai").unwrap(), &Breakers::default()).unwrap().is_empty());
        for (provider, wrong) in [
            ("kind: openai, probe: { every: 500ms, path: /models }", "providers.a.probe.every: is shorter"),
            ("kind: openai, probe: { every: 5s, path: models }", "providers.a.probe.path: begins with a `/`"),
            ("kind: demo, probe: { every: 5s, path: /models }", "providers.a.probe: is for providers"),
        ] {
            let error = read(provider).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
