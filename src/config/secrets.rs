use super::{Config, Provider, Secret, Store};

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
        let of_otel =
            self.otel.iter().flat_map(|otel| &otel.headers).filter(is_secret).map(|(_, value)| value);
        let of_store = match &self.store {
            Store::Redis(redis) => redis.url.iter().chain(&redis.nodes).collect(),
            Store::Postgres(postgres) => vec![&postgres.url],
            _ => Vec::new(),
        };
        let all = of_keys.chain(of_gateway).chain(of_webhooks).chain(of_otel).chain(of_store.iter().copied());
        let of_providers = self.providers.values().flat_map(secrets);
        let passwords = of_store.iter().filter_map(|url| password(url.expose()));
        all.cloned().chain(of_providers).chain(passwords).collect()
    }
}

fn secrets(provider: &Provider) -> Vec<Secret> {
    let keys = provider.api_key.iter().chain(provider.api_keys.iter().map(|pooled| &pooled.key));
    let headers = provider.headers.iter().filter(is_secret).map(|(_, value)| value);
    let credentials = provider.credentials.iter().flat_map(|given| {
        given.client_secret.iter().chain(&given.secret_access_key).chain(&given.session_token)
    });
    keys.chain(headers).chain(credentials).cloned().collect()
}

fn is_secret((name, _): &(&String, &Secret)) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_HEADERS.iter().any(|part| name.contains(part))
}

/// The password in an address.
fn password(url: &str) -> Option<Secret> {
    let (user, _) = url.split_once("://")?.1.rsplit_once('@')?;
    Some(Secret::new(user.split_once(':')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

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
