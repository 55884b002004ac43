use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Postgres, Problem, Secret,
    text_or::{FromText, TextOr},
    units::Written,
};

/// Where budgets and what was spent of them are kept. Takes a restart to change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Store {
    /// In memory: they begin anew with the process.
    Memory,
    /// In this file, which is made if it isn't there, and belongs to one process at a time.
    Sqlite(PathBuf),
    /// In Redis, for all gateways that have the same server and prefix: its address, or more about it.
    Redis(TextOr<Redis>),
    /// In Postgres, for all gateways that have the same database and schema: its address, or more about it.
    Postgres(TextOr<Postgres>),
}

impl Default for Store {
    fn default() -> Self {
        Self::Sqlite("bartizan.db".into())
    }
}

impl Store {
    /// Whether other gateways count on the same accounts.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Postgres(_))
    }
}

/// Where Redis is, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Redis {
    /// One server: `redis://user:password@host:6379/0`, or `rediss://` for TLS.
    pub url: Option<Secret>,
    /// Some servers of a cluster, which lead to the others; in place of `url`.
    pub nodes: Vec<Secret>,
    /// What the names of all keys begin with, between braces; gateways that share budgets share it.
    pub prefix: String,
    /// How long a request waits for an answer.
    pub timeout: Written<Duration>,
    /// After what time without a sign of life other gateways charge what one has held.
    pub lease: Written<Duration>,
    /// The file in which spend waits while Redis is away; each process has its own. `null` for none.
    pub journal: Option<PathBuf>,
    /// The file with the certificates, as PEM, that are trusted in place of Mozilla's.
    pub authority: Option<PathBuf>,
}

impl FromText for Redis {
    const FORM: &'static str =
        "an address such as redis://127.0.0.1:6379, or fields such as { url: address }";

    fn from_text(url: &str) -> Self {
        Self::new(Secret::new(url))
    }
}

impl Redis {
    /// The server at this address, with nothing else set.
    pub fn new(url: Secret) -> Self {
        Self { url: Some(url), ..Self::default() }
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |field: &str, message: &str| {
            problems.push(Problem::at(format!("store.redis{field}"), message));
        };
        match (&self.url, &*self.nodes) {
            (None, []) => wrong("", "has neither `url` nor `nodes`"),
            (Some(_), [_, ..]) => wrong("", "has both `url` and `nodes`; a cluster has `nodes` only"),
            _ => {}
        }
        let is_address =
            |url: &Secret| ["redis://", "rediss://"].iter().any(|scheme| url.expose().starts_with(scheme));
        if !self.url.iter().chain(&self.nodes).all(is_address) {
            wrong("", "has an address that begins neither with redis:// nor with rediss://");
        }
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            wrong(".prefix", "is empty or has braces");
        }
        if self.timeout.is_zero() {
            wrong(".timeout", "is no time at all");
        }
        if *self.lease < Duration::from_secs(1) {
            wrong(".lease", "is shorter than 1s");
        }
    }
}

/// No server yet.
impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            nodes: Vec::new(),
            prefix: "bartizan".to_owned(),
            timeout: Written::new(Duration::from_millis(500)),
            lease: Written::new(Duration::from_secs(30)),
            journal: Some("bartizan.journal".into()),
            authority: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn read(store: &str) -> Result<Store, ConfigError> {
        let environment = |name: &str| (name == "REDIS").then(|| "rediss://:hunter2@host:6380/1".to_owned());
        Config::read(&format!("auth: open\nstore: {store}"), "f", &environment).map(|config| config.store)
    }

    fn redis(store: &str) -> Redis {
        match read(store).unwrap() {
            Store::Redis(redis) => (*redis).clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn redis_needs_an_address_and_nothing_else() {
        let short = redis("{ redis: \"${REDIS}\" }");

        assert_eq!(short, redis("{ redis: { url: \"${REDIS}\" } }"));
        assert_eq!(short.url.as_ref().unwrap().expose(), "rediss://:hunter2@host:6380/1");
        assert_eq!((&*short.prefix, *short.timeout), ("bartizan", Duration::from_millis(500)));
        assert_eq!(short.journal.as_deref(), Some("bartizan.journal".as_ref()));
        assert!(!format!("{short:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&short).unwrap().contains("hunter2"));
    }

    #[test]
    fn everything_about_redis_can_be_set() {
        let long = redis(
            "{ redis: { nodes: [ redis://a, redis://b ], prefix: team, timeout: 2s, lease: 10s, journal: null, \
             authority: ca.pem } }",
        );

        assert_eq!(long.nodes.len(), 2);
        assert_eq!(
            (&*long.prefix, *long.timeout, *long.lease),
            ("team", Duration::from_secs(2), Duration::from_secs(10))
        );
        assert_eq!((long.journal, long.authority), (None, Some("ca.pem".into())));
    }

    #[test]
    fn what_can_not_be_meant_is_complained_of_without_the_address() {
        for (store, message) in [
            ("{ redis: {} }", "has neither `url` nor `nodes`"),
            ("{ redis: { url: redis://a, nodes: [ redis://b ] } }", "has both `url` and `nodes`"),
            ("{ redis: \"http://user:hunter2@host\" }", "begins neither with redis:// nor with rediss://"),
            ("{ redis: { url: redis://a, prefix: '{a}' } }", "store.redis.prefix: is empty or has braces"),
            ("{ redis: { url: redis://a, timeout: 0s } }", "store.redis.timeout: is no time at all"),
            ("{ redis: { url: redis://a, lease: 10ms } }", "store.redis.lease: is shorter than 1s"),
            ("{ redis: { url: redis://a, prefiks: x } }", "did you mean `prefix`?"),
            ("{ redis: { url: redis://a, timeout: soon } }", "expected a duration such as 200ms"),
            ("{ redis: [ redis://a ] }", "expected an address such as redis://127.0.0.1:6379, or fields"),
        ] {
            let problem = read(store).unwrap_err().to_string();
            assert!(problem.contains(message), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
