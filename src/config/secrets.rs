use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::{Config, Provider, Records, Secret, Store};

/// Names of headers whose values are secrets.
const SECRET_HEADERS: [&str; 6] = ["key", "token", "auth", "secret", "cookie", "password"];

impl Config {
    /// All secrets that stand in it, for [`KnownSecrets`](crate::record::KnownSecrets): they are masked in records
    /// wherever they turn up. Of keys of which only the hash is known there is none.
    pub fn secrets(&self) -> Vec<Secret> {
        let of_keys = self.keys.iter().filter_map(|key| key.key.as_ref());
        let of_gateway = self.admin.key.iter().chain(&self.server.secret);
        let of_webhooks =
            self.alerts.webhooks.iter().flat_map(|webhook| webhook.secret.iter().chain([&webhook.url]));
        let of_otel = self.otel.iter().flat_map(|otel| of_headers(&otel.headers));
        let all = of_keys.chain(of_gateway).chain(of_webhooks).cloned();
        let of_providers = self.providers.values().flat_map(secrets);
        all.chain(of_otel).chain(of_providers).chain(self.of_databases()).collect()
    }

    /// The secrets of a section whose members have no names, in the order of its fields.
    pub(super) fn secrets_of(&self, section: &str) -> Vec<&Secret> {
        match section {
            "server" => self.server.secret.iter().collect(),
            "admin" => self.admin.key.iter().collect(),
            "otel" => self.otel.iter().flat_map(|otel| otel.headers.values()).collect(),
            "alerts" => {
                let webhooks = self.alerts.webhooks.iter();
                webhooks.flat_map(|webhook| [&webhook.url].into_iter().chain(&webhook.secret)).collect()
            }
            "store" => self.of_store(),
            "log" => self.log.records.iter().filter_map(of_records).collect(),
            _ => Vec::new(),
        }
    }

    /// The secrets of a provider or a key.
    pub(super) fn secrets_of_member(&self, section: &str, name: &str) -> Vec<&Secret> {
        match section {
            "providers" => {
                let provider = self.providers.get(name).into_iter();
                provider.flat_map(|provider| of_keys(provider).chain(provider.headers.values())).collect()
            }
            "keys" => self
                .keys
                .iter()
                .find(|key| key.name == name)
                .and_then(|key| key.key.as_ref())
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn of_store(&self) -> Vec<&Secret> {
        match &self.store {
            Store::Redis(redis) => redis.url.iter().chain(&redis.nodes).collect(),
            Store::Postgres(postgres) => vec![&postgres.url],
            Store::Memory | Store::Sqlite(_) => Vec::new(),
        }
    }

    /// Addresses of databases, and the passwords inside of them and beside them.
    fn of_databases(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for secret in self.of_store().into_iter().chain(self.log.records.iter().filter_map(of_records)) {
            secrets.push(secret.clone());
            let is_address = secret.expose().contains("://");
            secrets.extend(is_address.then(|| passwords(secret.expose())).into_iter().flatten());
        }
        secrets
    }
}

fn of_records(records: &Records) -> Option<&Secret> {
    match records {
        Records::Postgres(postgres) => Some(&postgres.url),
        Records::ClickHouse(clickhouse) => clickhouse.password.as_ref(),
        _ => None,
    }
}

fn secrets(provider: &Provider) -> Vec<Secret> {
    of_keys(provider).cloned().chain(of_headers(&provider.headers)).collect()
}

fn of_keys(provider: &Provider) -> impl Iterator<Item = &Secret> {
    let keys = provider.api_key.iter().chain(provider.api_keys.iter().map(|pooled| &pooled.key));
    let credentials = provider.credentials.iter().flat_map(|given| {
        given.client_secret.iter().chain(&given.secret_access_key).chain(&given.session_token)
    });
    keys.chain(credentials)
}

/// The values of headers, and what stands in them behind the name of a scheme, such as `Bearer`.
fn of_headers(headers: &BTreeMap<String, Secret>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for (_, value) in headers.iter().filter(is_secret) {
        secrets.push(value.clone());
        let token = value.expose().split_once(' ').map(|(_, token)| token.trim());
        secrets.extend(token.filter(|token| !token.contains(' ')).map(Secret::new));
    }
    secrets
}

fn is_secret((name, _): &(&String, &Secret)) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_HEADERS.iter().any(|part| name.contains(part))
}

/// The password in an address, as it is written there and as it is meant.
fn passwords(url: &str) -> Vec<Secret> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    let given = rest.split_once('?').map_or("", |(_, options)| options);
    let option = given.split('&').find_map(|option| option.strip_prefix("password="));
    let mut secrets = Vec::new();
    for written in user.map(|(_, password)| password).into_iter().chain(option) {
        let meant = percent_decode_str(written).decode_utf8_lossy();
        if meant != written {
            secrets.push(Secret::new(&*meant));
        }
        secrets.push(Secret::new(written));
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_databases_and_tokens_in_headers_are_known_alone() {
        let config = Config::read(
            "auth: open\n\
             store: { postgres: 'postgres://me@host/db?password=secret-as-option&sslmode=require' }\n\
             log: { records: [ { postgres: 'postgres://me:secret%2Dof-records@host/db' }, \
                { clickhouse: { url: 'http://h:1', password: secret-of-clickhouse } } ] }\n\
             otel: { endpoint: 'http://127.0.0.1:4318', headers: { authorization: 'Bearer secret-of-otel' } }\n\
             providers:\n  \
               a: { kind: openai, api_key: secret-of-a, headers: { authorization: 'Token secret-of-a-header' } }\n",
            "f",
            &|_| None,
        )
        .unwrap();

        let secrets = config.secrets();

        for secret in [
            "secret-as-option",
            "secret%2Dof-records",
            "secret-of-records",
            "secret-of-clickhouse",
            "Bearer secret-of-otel",
            "secret-of-otel",
            "secret-of-a-header",
        ] {
            assert!(secrets.iter().any(|known| known.expose() == secret), "{secret}");
        }
    }

    #[test]
    fn every_secret_of_a_configuration_is_known() {
        let config = Config::read(
            "admin: { key: secret-of-the-admin }\n\
             server: { secret: secret-of-the-gateway }\n\
             store: { postgres: 'postgres://me:secret-of-the-store@host/db' }\n\
             alerts: { webhooks: { url: 'https://a.example/secret-of-the-hook', secret: secret-of-alerts } }\n\
             otel: { endpoint: 'http://127.0.0.1:4318', headers: { x-api-key: secret-of-otel } }\n\
             providers:\n  \
               a: { kind: openai, api_key: secret-of-a, headers: { x-auth: secret-in-a-header, x-tenant: not-secret } }\n  \
               b: { kind: openai, api_keys: [ secret-of-b, { key: secret-of-b-too } ] }\n  \
               c: { kind: bedrock, region: r, credentials: { access_key_id: id, secret_access_key: secret-of-c } }\n\
             keys: [ { name: k, key: secret-of-the-key } ]\n",
            "f",
            &|_| None,
        )
        .unwrap();

        let secrets = config.secrets();

        let mut found: Vec<_> = secrets.iter().map(Secret::expose).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "https://a.example/secret-of-the-hook",
                "postgres://me:secret-of-the-store@host/db",
                "secret-in-a-header",
                "secret-of-a",
                "secret-of-alerts",
                "secret-of-b",
                "secret-of-b-too",
                "secret-of-c",
                "secret-of-otel",
                "secret-of-the-admin",
                "secret-of-the-gateway",
                "secret-of-the-key",
                "secret-of-the-store",
            ]
        );
    }
}
