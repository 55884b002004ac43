use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    AuthMode, Config, Key, MetricsAre, Model, Provider, ProviderKind, Retry, Secret, Store, Target, UsdPrice,
    choice, hedge, mirror, per_request,
    problem::{Problem, unknown},
    quotas,
};
use crate::auth::KeyDigest;

/// Fewer characters can be guessed.
pub(super) const SHORTEST_KEY: usize = 16;

impl Config {
    /// Everything in which the configuration contradicts itself; nothing if it can be used.
    ///
    /// Whatever [`from_file`](Self::from_file) returns has been checked already.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_keys(&mut problems);
        self.check_teams(&mut problems);
        self.check_alerts(&mut problems);
        if self.server.comment_every.is_some_and(|every| *every < Duration::from_secs(1)) {
            problems.push(Problem::at("server.comment_every", "is shorter than a second"));
        }
        self.log.check(&mut problems);
        if self.server.metrics == Some(MetricsAre::Admin) && self.admin.key.is_none() {
            problems.push(Problem::at("server.metrics", "`admin` needs `admin.key`"));
        }
        self.otel.iter().for_each(|otel| otel.check(&mut problems));
        self.faults.check(self.admin.key.is_some(), &mut problems);
        for (name, provider) in &self.providers {
            check_provider(name, provider, &mut problems);
            let path = format!("providers.{}", step(name));
            quotas::check(&path, &provider.budget, &provider.limits, self.zone(), &mut problems);
            check_prices(&format!("{path}.prices"), &provider.prices, &mut problems);
            provider.breaker.check(&format!("{path}.breaker"), &mut problems);
            provider.probe.iter().for_each(|probe| probe.check(&path, provider, &mut problems));
        }
        for (name, model) in &self.models {
            self.check_model(name, model, &mut problems);
        }
        check_retry("defaults", &self.defaults.retry, &mut problems);
        self.defaults.breaker.check("defaults.breaker", &mut problems);
        for pattern in self.prices.keys().filter(|pattern| !pattern.contains('/')) {
            let message = "is matched with `provider/model`; write `*/` in front of it for all providers";
            problems.push(Problem::at(format!("prices.{}", step(pattern)), message));
        }
        check_prices("prices", &self.prices, &mut problems);
        match &self.store {
            Store::Redis(redis) => redis.check(&mut problems),
            Store::Postgres(postgres) => postgres.check(&mut problems),
            Store::Memory | Store::Sqlite(_) => {}
        }
        problems
    }

    fn check_keys(&self, problems: &mut Vec<Problem>) {
        for (path, secret) in [("admin.key", &self.admin.key), ("server.secret", &self.server.secret)] {
            if secret.as_ref().is_some_and(is_short) {
                let message = format!("has fewer than {SHORTEST_KEY} characters and could be guessed");
                problems.push(Problem::at(path, message));
            }
        }
        if self.auth == AuthMode::Keys && self.keys.is_empty() && self.admin.key.is_none() {
            let message = "there are no keys, so nobody can come in; add one, or set `auth: open`";
            problems.push(Problem::at("keys", message));
        }
        let mut names = HashMap::new();
        let mut digests = HashMap::new();
        for (index, key) in self.keys.iter().enumerate() {
            let path = format!("keys[{index}]");
            check_key(&path, key, problems);
            check_previous(&path, key, problems);
            if let Some(team) = key.team.as_ref().filter(|team| !self.teams.contains_key(*team)) {
                let message = unknown("team", team, self.teams.keys().map(String::as_str));
                problems.push(Problem::at(format!("{path}.team"), message));
            }
            if let Some(name) = key.customer.as_ref().filter(|name| !self.customers.contains_key(*name)) {
                let message = unknown("customer", name, self.customers.keys().map(String::as_str));
                problems.push(Problem::at(format!("{path}.customer"), message));
            }
            quotas::check(&path, &key.budget, &key.limits, self.zone(), problems);
            key.loops.inspect(|loops| loops.check(&format!("{path}.loops"), problems));
            per_request::check(&path, key.per_request.as_ref(), problems);
            if let Some(first) = names.insert(&key.name, index) {
                problems
                    .push(Problem::at(format!("{path}.name"), format!("is the name of keys[{first}] too")));
            }
            for (digest, _) in key.digests() {
                if let Some(first) = digests.insert(digest, index).filter(|first| *first != index) {
                    problems.push(Problem::at(&path, format!("is the same key as keys[{first}]")));
                }
            }
        }
    }

    fn check_teams(&self, problems: &mut Vec<Problem>) {
        for (name, team) in &self.teams {
            let path = format!("teams.{}", step(name));
            if let Some(name) = team.customer.as_ref().filter(|name| !self.customers.contains_key(*name)) {
                let message = unknown("customer", name, self.customers.keys().map(String::as_str));
                problems.push(Problem::at(format!("{path}.customer"), message));
            }
            quotas::check(&path, &team.budget, &team.limits, self.zone(), problems);
            team.loops.inspect(|loops| loops.check(&format!("{path}.loops"), problems));
            per_request::check(&path, team.per_request.as_ref(), problems);
        }
        for (name, customer) in &self.customers {
            let path = format!("customers.{}", step(name));
            quotas::check(&path, &customer.budget, &customer.limits, self.zone(), problems);
            per_request::check(&path, customer.per_request.as_ref(), problems);
        }
        let labelled = [("users".to_owned(), &self.users), ("sessions".to_owned(), &self.sessions)];
        let tags = self.tags.iter().map(|(tag, labelled)| (format!("tags.{}", step(tag)), labelled));
        for (path, labelled) in labelled.into_iter().chain(tags) {
            quotas::check(&path, &labelled.budget, &labelled.limits, self.zone(), problems);
        }
        quotas::check("gateway", &self.gateway.budget, &self.gateway.limits, self.zone(), problems);
        per_request::check("gateway", self.gateway.per_request.as_ref(), problems);
    }

    fn check_model(&self, name: &str, model: &Model, problems: &mut Vec<Problem>) {
        let path = format!("models.{}", step(name));
        if let Some((provider, _)) =
            name.split_once('/').filter(|(first, _)| self.providers.contains_key(*first))
        {
            let message = format!(
                "hides a model of the provider `{provider}`; choose a name that doesn't begin with `{provider}/`"
            );
            problems.push(Problem::at(&path, message));
        }
        if model.targets.is_empty() && model.alias.is_none() {
            problems.push(Problem::at(format!("{path}.targets"), "is empty; name a `provider/model` to use"));
        }
        for (index, target) in model.targets.iter().enumerate() {
            if let Some(message) = self.wrong_target(target) {
                problems.push(Problem::at(format!("{path}.targets[{index}].use"), message));
            }
        }
        check_retry(&path, &model.retry, problems);
        choice::check(&path, model, problems);
        hedge::check(&path, model.hedge, problems);
        mirror::check(&path, model, self.zone(), problems);
        if let Some(message) = model.mirror.as_ref().and_then(|mirror| self.wrong_target(&mirror.target())) {
            problems.push(Problem::at(format!("{path}.mirror.use"), message));
        }
        self.check_rules(name, &path, model, problems);
        self.check_tasks(name, &path, model, problems);
        self.check_names(name, &path, model, problems);
        self.check_regions(&path, model, problems);
        per_request::check(&path, model.per_request.as_ref(), problems);
    }

    pub(super) fn wrong_target(&self, target: &Target) -> Option<String> {
        self.wrong_name(&target.name)
    }

    /// What is wrong with a name that is to be one of a provider's models.
    pub(super) fn wrong_name(&self, name: &str) -> Option<String> {
        let parts =
            name.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
        let Some((provider, _)) = parts else {
            return Some(format!("`{name}` is not of the form `provider/model`"));
        };
        let is_known = self.providers.contains_key(provider);
        (!is_known).then(|| unknown("provider", provider, self.providers.keys().map(String::as_str)))
    }
}

fn is_short(secret: &Secret) -> bool {
    secret.expose().chars().count() < SHORTEST_KEY
}

fn check_key(path: &str, key: &Key, problems: &mut Vec<Problem>) {
    let mut wrong =
        |field: &str, message: String| problems.push(Problem::at(format!("{path}{field}"), message));
    if key.name.is_empty() {
        wrong(".name", "is empty".to_owned());
    }
    match (&key.key, &key.sha256) {
        (None, None) => wrong("", "has neither `key` nor `sha256`".to_owned()),
        (Some(_), Some(_)) => wrong("", "has both `key` and `sha256`; one is enough".to_owned()),
        (Some(key), None) if is_short(key) => {
            let advice = "make one with `openssl rand -hex 24`";
            wrong(".key", format!("has fewer than {SHORTEST_KEY} characters and could be guessed; {advice}"));
        }
        (None, Some(_)) if key.digest().is_none() => {
            wrong(".sha256", "is not 64 hexadecimal digits".to_owned());
        }
        _ => {}
    }
}

fn check_previous(path: &str, key: &Key, problems: &mut Vec<Problem>) {
    for (index, previous) in key.previous.iter().enumerate() {
        let at = format!("{path}.previous[{index}].sha256");
        match previous.sha256.parse::<KeyDigest>() {
            Err(_) => problems.push(Problem::at(at, "is not 64 hexadecimal digits")),
            Ok(digest) if key.digest() == Some(digest) => {
                problems.push(Problem::at(at, "is the key itself"));
            }
            Ok(_) => {}
        }
    }
}

fn check_provider(name: &str, provider: &Provider, problems: &mut Vec<Problem>) {
    let path = format!("providers.{}", step(name));
    let mut wrong =
        |field: &str, message: &str| problems.push(Problem::at(format!("{path}{field}"), message));
    if name.is_empty() || name.contains(['/', '*']) {
        wrong("", "a provider's name is not empty and has no `/` and no `*`");
    }
    match (&provider.base_url, provider.kind) {
        (None, ProviderKind::OpenAiCompatible) => {
            wrong(".base_url", "is missing; say where the provider is, such as http://127.0.0.1:9000/v1");
        }
        (Some(url), _) if !is_base_url(url) => {
            wrong(
                ".base_url",
                "is not a URL such as https://api.example.org/v1, without a user, a query and a fragment",
            );
        }
        _ => {}
    }
    for (field, problem) in missing(provider).into_iter().chain(of_others(provider)) {
        wrong(field, problem);
    }
    if let Some(problem) = provider.credentials.as_ref().and_then(|given| given.problem(provider.kind)) {
        wrong(".credentials", problem);
    }
    let has_key = provider.api_key.is_some() || !provider.api_keys.is_empty();
    if provider.api_key.is_some() && !provider.api_keys.is_empty() {
        wrong(".api_keys", "stands beside an `api_key`; put that one among them");
    }
    for (index, pooled) in provider.api_keys.iter().enumerate() {
        if pooled.key.expose().trim().is_empty() {
            wrong(&format!(".api_keys[{index}].key"), "is empty");
        }
        if let Some(first) = provider.api_keys[..index].iter().position(|other| other.key == pooled.key) {
            wrong(&format!(".api_keys[{index}].key"), &format!("is the same key as api_keys[{first}]"));
        }
        let name = pooled.called(index);
        if name.trim().is_empty() {
            wrong(&format!(".api_keys[{index}].name"), "is empty");
        }
        let mut before = provider.api_keys[..index].iter().enumerate();
        if let Some((first, _)) = before.find(|(first, other)| other.called(*first) == name) {
            wrong(&format!(".api_keys[{index}].name"), &format!("is called `{name}` like api_keys[{first}]"));
        }
    }
    if has_key && provider.credentials.is_some() {
        wrong(".credentials", "stands beside an `api_key`; one is enough");
    }
    if provider.api_key.as_ref().is_some_and(|key| key.expose().trim().is_empty()) {
        wrong(".api_key", "is empty; leave it out if the provider takes none");
    }
    for (header, value) in &provider.headers {
        if header.parse::<http::HeaderName>().is_err() || value.expose().parse::<http::HeaderValue>().is_err()
        {
            wrong(&format!(".headers.{}", step(header)), "is not a header that can be sent");
        }
    }
}

/// What the clouds have to be told.
fn missing(provider: &Provider) -> Vec<(&'static str, &'static str)> {
    let mut missing = Vec::new();
    let mut need = |is_there: bool, field, message| {
        if !is_there {
            missing.push((field, message));
        }
    };
    let has_url = provider.base_url.is_some();
    match provider.kind {
        ProviderKind::Azure => {
            need(provider.resource.is_some() || has_url, ".resource", "is missing; or give a `base_url`");
            let has_key = provider.api_key.is_some() || !provider.api_keys.is_empty();
            let has_proof = has_key || provider.credentials.is_some();
            need(has_proof, ".api_key", "is missing; or give `credentials`");
        }
        ProviderKind::Vertex => {
            need(provider.project.is_some(), ".project", "is missing; name the project at Google");
        }
        ProviderKind::Bedrock => {
            need(provider.region.is_some(), ".region", "is missing; such as us-east-1");
        }
        _ => {}
    }
    missing
}

/// What it says of its place or its account that only providers of other kinds have.
fn of_others(provider: &Provider) -> impl Iterator<Item = (&'static str, &'static str)> {
    let Provider { kind, resource, api_version, location, organization, project, .. } = provider;
    let (is_azure, is_vertex) = (*kind == ProviderKind::Azure, *kind == ProviderKind::Vertex);
    let is_openais = matches!(kind, ProviderKind::OpenAi | ProviderKind::OpenAiCompatible);
    let names_resource = is_azure && provider.base_url.is_none();
    let fields = [
        (".resource", resource, names_resource, "is for `azure` only, in place of a `base_url`"),
        (".api_version", api_version, is_azure, "is for `azure` only"),
        (".location", location, is_vertex, "is for `vertex` only; where others are is their `region`"),
        (".organization", organization, is_openais, "is for `openai` and `openai-compatible` only"),
        (
            ".project",
            project,
            is_openais || is_vertex,
            "is for `openai`, `openai-compatible` and `vertex` only",
        ),
    ];
    let of_others = |(field, given, is_own, problem): (_, &Option<String>, bool, _)| {
        (given.is_some() && !is_own).then_some((field, problem))
    };
    fields.into_iter().filter_map(of_others)
}

fn is_base_url(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https"))
            && !has_user
            && uri.query().is_none()
            && !url.contains('#')
    })
}

fn check_prices(path: &str, prices: &BTreeMap<String, UsdPrice>, problems: &mut Vec<Problem>) {
    for (name, price) in prices {
        if let Some(problem) = price.problem() {
            problems.push(Problem::at(format!("{path}.{}", step(name)), problem));
        }
    }
}

fn check_retry(path: &str, retry: &Retry, problems: &mut Vec<Problem>) {
    choice::check_budget(path, retry, problems);
    if retry.backoff.is_some_and(|backoff| backoff.first > backoff.most) {
        let message = "the longest pause is shorter than the first one; write the shorter one first";
        problems.push(Problem::at(format!("{path}.retry.backoff"), message));
    }
}

/// A name as a step of a path: quoted if it has dots or the like.
pub(super) fn step(name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if is_plain { name.to_owned() } else { format!("\"{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let error = Config::read(text, "f", &|_| None).unwrap_err().to_string();
        error.lines().map(|line| line.trim_start_matches("f: ").to_owned()).collect()
    }

    #[test]
    fn all_problems_are_reported_at_once_with_their_places() {
        let text = r#"
            providers: { openai: { kind: openai }, local: { kind: openai-compatible } }
            models:
              chat: { targets: [ { use: opnai/gpt-4o }, { use: gpt-4o } ], retry: { backoff: 5s..200ms } }
              openai/fast: { targets: [] }
            teams: { engineering: {} }
            prices: { gpt-4o: { input: 1, output: 1 } }
            keys:
              - { name: a, key: 0123456789abcdef, team: enginering }
              - { name: a, key: short }
              - { name: c }
              - { name: d, sha256: abc }
              - { name: e, key: 0123456789abcdef }
              - { name: f, key: 0123456789abcdeg, sha256: abc }
        "#;

        let found = problems(text);

        let expected = [
            "keys[0].team: unknown team `enginering`, did you mean `engineering`?",
            "keys[1].key: has fewer than 16 characters and could be guessed; make one with `openssl rand -hex 24`",
            "keys[1].name: is the name of keys[0] too",
            "keys[2]: has neither `key` nor `sha256`",
            "keys[3].sha256: is not 64 hexadecimal digits",
            "keys[4]: is the same key as keys[0]",
            "keys[5]: has both `key` and `sha256`; one is enough",
            "providers.local.base_url: is missing; say where the provider is, such as http://127.0.0.1:9000/v1",
            "models.chat.targets[0].use: unknown provider `opnai`, did you mean `openai`?",
            "models.chat.targets[1].use: `gpt-4o` is not of the form `provider/model`",
            "models.chat.retry.backoff: the longest pause is shorter than the first one; write the shorter one first",
            "models.\"openai/fast\": hides a model of the provider `openai`; choose a name that doesn't begin with `openai/`",
            "models.\"openai/fast\".targets: is empty; name a `provider/model` to use",
            "prices.gpt-4o: is matched with `provider/model`; write `*/` in front of it for all providers",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn clouds_need_a_place_and_a_proof() {
        let found = problems(
            r#"
            auth: open
            providers:
              a: { kind: azure }
              b: { kind: bedrock, credentials: { access_key_id: x } }
              c: { kind: vertex, credentials: { client_id: x } }
              d: { kind: azure, resource: r, api_key: k, credentials: { tenant_id: t, client_id: c } }
              e: { kind: groq, credentials: { file: x } }
              f: { kind: openai, location: eu, resource: r }
              h: { kind: azure, resource: r, base_url: "https://r.example.com", api_key: k }
              g: { kind: anthropic, api_version: "2023-06-01", organization: o, project: p }
            "#,
        );

        let expected = [
            "providers.a.resource: is missing; or give a `base_url`",
            "providers.a.api_key: is missing; or give `credentials`",
            "providers.b.region: is missing; such as us-east-1",
            "providers.b.credentials: needs `access_key_id` and `secret_access_key`",
            "providers.c.project: is missing; name the project at Google",
            "providers.c.credentials: has fields that `vertex` doesn't",
            "providers.d.credentials: needs `tenant_id`, `client_id` and `client_secret` or `token_file`, or `managed_identity`",
            "providers.d.credentials: stands beside an `api_key`; one is enough",
            "providers.e.credentials: is for `azure`, `vertex` and `bedrock`; others have an `api_key`",
            "providers.f.resource: is for `azure` only, in place of a `base_url`",
            "providers.f.location: is for `vertex` only; where others are is their `region`",
            "providers.g.api_version: is for `azure` only",
            "providers.g.organization: is for `openai` and `openai-compatible` only",
            "providers.g.project: is for `openai`, `openai-compatible` and `vertex` only",
            "providers.h.resource: is for `azure` only, in place of a `base_url`",
        ];
        assert_eq!(found, expected);
        let good = r#"
            auth: open
            providers:
              a: { kind: azure, resource: r, credentials: { tenant_id: t, client_id: c, client_secret: s } }
              b: { kind: azure, resource: r, api_version: "2024-10-21", credentials: { managed_identity: true } }
              c: { kind: bedrock, region: us-east-1, api_key: k }
              d: { kind: vertex, project: p, location: eu, credentials: { file: key.json } }
              e: { kind: openai, organization: o, project: p }
        "#;
        assert!(Config::read(good, "f", &|_| None).is_ok());
    }

    #[test]
    fn base_urls_are_http_and_hold_no_credentials() {
        assert!(is_base_url("http://127.0.0.1:9000/v1"));
        assert!(is_base_url("https://api.example.org"));
        for wrong in ["", "api.example.org", "ftp://x", "https://user:pass@x/v1", "https://x/v1?key=1", "/v1"]
        {
            assert!(!is_base_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn nobody_can_come_in_without_keys() {
        assert!(problems("providers: { demo: { kind: demo } }")[0].starts_with("keys: there are no keys"));
        assert!(Config::read("auth: open", "f", &|_| None).is_ok());
    }
}
