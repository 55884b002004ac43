use std::{
    collections::{HashMap, HashSet},
    future,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, Request, Uri};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::{
    Config, Problem, Provider, ProviderKind, address::base_url, breaker::Breakers, build::with_headers,
    credentials::form, stack::versioned, units::Written,
};
use crate::{
    BoxError, Kind,
    breaker::Breaker,
    dialect::status,
    sign::{Credential, SignLayer},
    upstream::SmallClient,
};

/// How a provider is asked whether it is there, while nobody asks it for anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Probe {
    /// How often, at least every second.
    pub every: Written<Duration>,
    /// What is fetched below `base_url`, such as `/models`: something that costs nothing. It is asked for with the
    /// provider's credential (with one of several keys after the other, until one isn't refused), and is charged to
    /// nobody.
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
    /// With each key of the provider.
    headers: Vec<HeaderMap>,
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
        let is_own = |target: &&str| target.split_once('/').is_some_and(|(of, _)| of == name);
        let own = config.target_names().into_iter().filter(is_own);
        let breakers = own.map(|target| breakers.of(target, rules)).collect();
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

/// What is sent with each of a provider's keys.
fn headers(provider: &Provider) -> Result<Vec<HeaderMap>, BoxError> {
    let keys = provider.api_key.iter().chain(provider.api_keys.iter().map(|pooled| &pooled.key));
    let mut credentials: Vec<_> = keys.map(|key| form(provider.kind).credential(key)).collect();
    if credentials.is_empty() {
        credentials.push(Credential::None);
    }
    let signed = |credential| {
        let sign = with_headers(SignLayer::new(credential)?, provider, None)?;
        Ok(if provider.kind == ProviderKind::Anthropic { versioned(sign) } else { sign }.headers())
    };
    credentials.into_iter().map(signed).collect()
}

/// Asks all of `probes` whenever their time has come, until it is dropped.
pub(super) async fn ask(probes: Probes) {
    /// As long as a provider may take.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// How often it is looked whose time has come.
    const STEP: Duration = Duration::from_millis(500);

    let client = SmallClient::new(PATIENCE);
    let mut last: HashMap<String, Instant> = HashMap::new();
    // One that hangs holds up no other.
    let (mut asking, mut asked) = (FuturesUnordered::new(), HashSet::new());
    loop {
        let answers = async {
            while let Some(provider) = asking.next().await {
                asked.remove(&provider);
            }
            future::pending().await
        };
        let _: Result<(), _> = timeout(STEP, answers).await;
        let (probes, now) = (probes.load_full(), Instant::now());
        last.retain(|provider, _| probes.iter().any(|probed| probed.provider == *provider));
        for probed in probes.iter() {
            let is_due = last.get(&probed.provider).is_none_or(|last| *last + probed.every <= now);
            if is_due && asked.insert(probed.provider.clone()) {
                last.insert(probed.provider.clone(), now);
                let (probed, client) = (probed.clone(), &client);
                asking.push(async move {
                    probed.ask(client, PATIENCE).await;
                    probed.provider
                });
            }
        }
    }
}

impl Probed {
    /// Asks with one key after the other, until one isn't refused.
    async fn ask(&self, client: &SmallClient, patience: Duration) {
        let mut failure = None;
        for headers in &self.headers {
            failure = self.ask_with(headers, client, patience.min(self.every)).await;
            let is_of_key = |kind| matches!(kind, Kind::UpstreamAuth | Kind::Billing | Kind::RateLimited);
            if !failure.is_some_and(is_of_key) {
                break;
            }
        }
        self.breakers.iter().for_each(|breaker| breaker.probed(failure, self.every));
    }

    /// Why the provider isn't there, if it isn't.
    async fn ask_with(&self, headers: &HeaderMap, client: &SmallClient, patience: Duration) -> Option<Kind> {
        let mut req = Request::new(Full::<Bytes>::default());
        *req.uri_mut() = self.uri.clone();
        *req.headers_mut() = headers.clone();
        match client.send(req, patience).await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(status::kind_of(answer.status().as_u16())),
            Err(error) if error.is::<tokio::time::error::Elapsed>() => Some(Kind::Timeout),
            Err(_) => Some(Kind::Unreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn read(provider: &str) -> Result<Config, String> {
        let text = format!(
            "auth: open\nproviders: {{ a: {{ {provider} }}, b: {{ kind: demo }} }}\n\
             models:\n  \
               x: {{ targets: [ {{ use: a/m }}, {{ use: b/m }} ], mirror: {{ use: a/mirror }} }}\n  \
               y: {{ targets: [ {{ use: a/m }}, {{ use: a/n }} ], \
                 rules: [ {{ when: request.stream, targets: [ {{ use: a/rule }} ] }} ], \
                 tasks: {{ embeddings: a/tasks, kinds: [] }} }}\n"
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
        assert_eq!(probes[0].headers[0]["authorization"], "Bearer sk-a");
        let names: Vec<_> = probes[0].breakers.iter().map(Breaker::name).collect();
        assert_eq!(names, ["a/m", "a/mirror", "a/n", "a/rule", "a/tasks"]);
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

    /// Refuses every key but one.
    async fn serve(listener: tokio::net::TcpListener, seen: Arc<Mutex<Vec<String>>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            let head = String::from_utf8_lossy(&bytes[..length]).to_lowercase();
            let status = if head.contains("sk-good") { "200 OK" } else { "401 Unauthorized" };
            crate::lock(&seen).push(head);
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_provider_that_hangs_holds_up_no_other_one() {
        let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = format!(
            "auth: open\nproviders:\n  \
               a: {{ kind: openai, base_url: 'http://{}', probe: {{ every: 60s, path: /models }} }}\n  \
               b: {{ kind: openai, base_url: 'http://{}', probe: {{ every: 1s, path: /models }} }}\n",
            hanging.local_addr().unwrap(),
            listener.local_addr().unwrap(),
        );
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let serving = tokio::spawn(serve(listener, seen.clone()));
        let config = Config::read(&config, "f", &|_| None).unwrap();
        let probes = probes(&config, &Breakers::default()).unwrap();

        let asking = tokio::spawn(ask(Arc::new(ArcSwap::from_pointee(probes))));

        let (_hangs, _) = hanging.accept().await.unwrap();
        // The first one is given up after ten seconds.
        timeout(Duration::from_secs(8), async {
            while crate::lock(&seen).len() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        asking.abort();
        serving.abort();
    }

    #[tokio::test]
    async fn a_provider_is_there_if_one_of_its_keys_is_not_refused_and_is_asked_as_by_its_stack() {
        for (keys, is_there) in [("{ key: sk-bad }, { key: sk-good }", true), ("{ key: sk-bad }", false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let seen = Arc::<Mutex<Vec<String>>>::default();
            let serving = tokio::spawn(serve(listener, seen.clone()));
            let config = read(&format!(
                "kind: anthropic, api_keys: [ {keys} ], base_url: 'http://{address}', headers: {{ x-tenant: us }},
                 breaker: {{ failures: 1 }}, probe: {{ every: 10s, path: /v1/models }}"
            ));
            let probes = probes(&config.unwrap(), &Breakers::default()).unwrap();

            probes[0].ask(&SmallClient::new(Duration::from_secs(5)), Duration::from_secs(5)).await;

            let standing = probes[0].breakers[0].standing();
            assert_eq!(standing.open_for.is_none(), is_there, "{standing:?}");
            let heads = crate::lock(&seen).clone();
            for part in
                ["get /v1/models", "x-api-key: sk-bad", "anthropic-version: 2023-06-01", "x-tenant: us"]
            {
                assert!(heads[0].contains(part), "{part} in {heads:?}");
            }
            assert_eq!(heads.len(), if is_there { 2 } else { 1 });
            serving.abort();
        }
    }
}
