use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problem, Secret, text_or::FromText, units::Written};

/// Where Postgres is, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Postgres {
    /// `postgres://user:password@host:5432/database`; `?sslmode=require` behind it insists on TLS.
    pub url: Secret,
    /// The schema that the tables are in; gateways that share budgets share it.
    #[serde(default = "usual_schema")]
    pub schema: String,
    /// How long a request waits for an answer.
    #[serde(default = "timeout")]
    pub timeout: Written<Duration>,
    /// After what time without a sign of life other gateways charge what one has held.
    #[serde(default = "lease")]
    pub lease: Written<Duration>,
    /// The file in which spend waits while Postgres is away; each process has its own. `null` for none.
    #[serde(default = "journal")]
    pub journal: Option<PathBuf>,
    /// The file with the certificates, as PEM, that are trusted in place of Mozilla's.
    #[serde(default)]
    pub authority: Option<PathBuf>,
}

impl FromText for Postgres {
    const FORM: &'static str =
        "an address such as postgres://user@host/database, or fields such as { url: address }";

    fn from_text(url: &str) -> Self {
        Self::new(Secret::new(url))
    }
}

impl Postgres {
    /// The database at this address, with nothing else set.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            schema: usual_schema(),
            timeout: timeout(),
            lease: lease(),
            journal: journal(),
            authority: None,
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |field: &str, message: &str| {
            problems.push(Problem::at(format!("store.postgres{field}"), message));
        };
        if !is_address(&self.url) {
            wrong("", NO_ADDRESS);
        }
        if !is_schema(&self.schema) {
            wrong(".schema", NO_SCHEMA);
        }
        if self.timeout.is_zero() {
            wrong(".timeout", "is no time at all");
        }
        if *self.lease < Duration::from_secs(1) {
            wrong(".lease", "is shorter than 1s");
        }
    }
}

pub(super) const NO_ADDRESS: &str =
    "has an address that begins neither with postgres:// nor with postgresql://";
pub(super) const NO_SCHEMA: &str = "is not made of up to 63 letters of a-z, digits and underscores";

pub(super) fn is_address(url: &Secret) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme))
}

/// Whether a schema may be called so.
pub(super) fn is_schema(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    begins && name.chars().all(is_plain) && name.len() <= 63
}

fn usual_schema() -> String {
    "bartizan".to_owned()
}

fn timeout() -> Written<Duration> {
    Written::new(Duration::from_millis(500))
}

fn lease() -> Written<Duration> {
    Written::new(Duration::from_secs(30))
}

fn journal() -> Option<PathBuf> {
    Some("bartizan.journal".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Store};

    fn read(store: &str) -> Result<Postgres, ConfigError> {
        let environment = |name: &str| (name == "URL").then(|| "postgres://a:hunter2@host/db".to_owned());
        let config = Config::read(&format!("auth: open\nstore: {store}"), "f", &environment)?;
        match config.store {
            Store::Postgres(postgres) => Ok((*postgres).clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn postgres_needs_an_address_and_nothing_else() {
        let short = read("{ postgres: \"${URL}\" }").unwrap();

        assert_eq!(short, read("{ postgres: { url: \"${URL}\" } }").unwrap());
        assert_eq!((&*short.schema, *short.timeout), ("bartizan", Duration::from_millis(500)));
        assert_eq!(short.journal.as_deref(), Some("bartizan.journal".as_ref()));
        assert!(!format!("{short:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&short).unwrap().contains("hunter2"));
        let without = read("{ postgres: { url: \"${URL}\", journal: null } }").unwrap();
        assert_eq!(without.journal, None);
    }

    #[test]
    fn what_can_not_be_meant_is_complained_of_without_the_address() {
        for (store, message) in [
            ("{ postgres: {} }", "`url`"),
            ("{ postgres: \"http://user:hunter2@host\" }", "begins neither with postgres:// nor"),
            ("{ postgres: { url: \"${URL}\", schema: 'a b' } }", "store.postgres.schema: is not made of"),
            ("{ postgres: { url: \"${URL}\", timeout: 0s } }", "store.postgres.timeout: is no time at all"),
            ("{ postgres: { url: \"${URL}\", lease: 10ms } }", "store.postgres.lease: is shorter than 1s"),
            ("{ postgres: { url: \"${URL}\", shema: x } }", "did you mean `schema`?"),
        ] {
            let problem = read(store).unwrap_err().to_string();
            assert!(problem.contains(message), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
