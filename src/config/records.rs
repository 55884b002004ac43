use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem, Secret, postgres,
    text_or::{FromText, TextOr},
    units::Written,
};

/// Where the record of each request goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Records {
    /// Nowhere.
    None,
    /// Among the log lines.
    Tracing,
    /// Where they are found again: in a file beside that of `store`, and in memory where `store` has none.
    Logs,
    /// To the end of this file, one JSON object a line.
    File(PathBuf),
    /// Into this SQLite database, which is made if it isn't there.
    Sqlite(PathBuf),
    /// Into this Postgres, where the dashboards of all gateways that write there find them: its address, or more about it.
    Postgres(TextOr<PostgresRecords>),
    /// Into this ClickHouse: the address of its HTTP interface, or more about it.
    ClickHouse(TextOr<ClickHouseRecords>),
}

impl Records {
    /// As it is called in a configuration, if the dashboard can find records there.
    fn found(&self) -> Option<&'static str> {
        match self {
            Self::Logs => Some("logs"),
            Self::Sqlite(_) => Some("sqlite"),
            Self::Postgres(_) => Some("postgres"),
            _ => None,
        }
    }
}

/// Where records are in Postgres.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresRecords {
    /// `postgres://user:password@host:5432/database`; `?sslmode=require` behind it insists on TLS.
    pub url: Secret,
    /// The schema that the tables are in; gateways that share it show each other's records.
    #[serde(default = "usual_schema")]
    pub schema: String,
    /// How long a batch of records, or a question of the dashboard, may take.
    #[serde(default = "usual_timeout")]
    pub timeout: Written<Duration>,
    /// The file with the certificates, as PEM, that are trusted in place of Mozilla's.
    #[serde(default)]
    pub authority: Option<PathBuf>,
}

/// Where records are in ClickHouse.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClickHouseRecords {
    /// The HTTP interface, such as `http://127.0.0.1:8123` or `https://host:8443`.
    pub url: String,
    /// Who writes; `default` if nobody is named.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of the user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The database, which has to be there.
    #[serde(default = "usual_database")]
    pub database: String,
    /// The table, which is made if it isn't there.
    #[serde(default = "usual_table")]
    pub table: String,
    /// How long a batch of records may take.
    #[serde(default = "usual_timeout")]
    pub timeout: Written<Duration>,
}

fn usual_schema() -> String {
    "bartizan_logs".to_owned()
}

fn usual_timeout() -> Written<Duration> {
    Written::new(Duration::from_secs(10))
}

fn usual_database() -> String {
    "default".to_owned()
}

fn usual_table() -> String {
    "bartizan_records".to_owned()
}

impl FromText for PostgresRecords {
    const FORM: &'static str =
        "an address such as postgres://user@host/database, or fields such as { url: address }";

    fn from_text(url: &str) -> Self {
        Self { url: Secret::new(url), schema: usual_schema(), timeout: usual_timeout(), authority: None }
    }
}

impl FromText for ClickHouseRecords {
    const FORM: &'static str = "an address such as http://127.0.0.1:8123, or fields such as { url: address }";

    fn from_text(url: &str) -> Self {
        let (database, table, timeout) = (usual_database(), usual_table(), usual_timeout());
        Self { url: url.to_owned(), user: None, password: None, database, table, timeout }
    }
}

pub(super) fn check(records: &[Records], problems: &mut Vec<Problem>) {
    let mut wrong = |field: &str, message: &str| {
        problems.push(Problem::at(format!("log.records{field}"), message));
    };
    if records.len() > 1 && records.contains(&Records::None) {
        wrong("", "has `none` among others");
    }
    let found: Vec<_> = records.iter().filter_map(Records::found).collect();
    if found.len() > 1 {
        let found = found.join(", ");
        wrong("", &format!("has several that the dashboard could read: {found}; leave one of them"));
    }
    for to in records {
        match to {
            Records::Postgres(postgres) => postgres.check(&mut wrong),
            Records::ClickHouse(clickhouse) => clickhouse.check(&mut wrong),
            _ => {}
        }
    }
}

impl PostgresRecords {
    fn check(&self, wrong: &mut dyn FnMut(&str, &str)) {
        #[cfg(not(feature = "postgres"))]
        wrong(".postgres", "this program was built without the feature `postgres`");
        if !postgres::is_address(&self.url) {
            wrong(".postgres", postgres::NO_ADDRESS);
        }
        if !postgres::is_schema(&self.schema) {
            wrong(".postgres.schema", postgres::NO_SCHEMA);
        }
        if self.timeout.is_zero() {
            wrong(".postgres.timeout", "is no time at all");
        }
    }

    /// Where that is, for records that may be so old.
    ///
    /// # Errors
    ///
    /// If the file with the authority can't be read.
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    pub fn options(&self, age: Option<Duration>) -> std::io::Result<crate::logs::PostgresLogsOptions> {
        let options = crate::logs::PostgresLogsOptions::new(self.url.expose());
        let options = options.schema(&self.schema).timeout(*self.timeout);
        let authority = self.authority.as_deref().map(std::fs::read).transpose()?;
        let options = authority.into_iter().fold(options, |options, pem| options.authority(pem));
        Ok(age.into_iter().fold(options, |options, age| options.age(age)))
    }
}

impl ClickHouseRecords {
    fn check(&self, wrong: &mut dyn FnMut(&str, &str)) {
        if self.timeout.is_zero() {
            wrong(".clickhouse.timeout", "is no time at all");
        }
        #[cfg(not(feature = "clickhouse"))]
        wrong(".clickhouse", "this program was built without the feature `clickhouse`");
        #[cfg(feature = "clickhouse")]
        if let Err(error) = self.options(None).and_then(crate::clickhouse::ClickHouseOptions::open) {
            wrong(".clickhouse", error);
        }
    }

    /// Where that is, for records that may be so old.
    ///
    /// # Errors
    ///
    /// If the address is none.
    #[cfg(feature = "clickhouse")]
    #[cfg_attr(docsrs, doc(cfg(feature = "clickhouse")))]
    pub fn options(
        &self,
        age: Option<Duration>,
    ) -> Result<crate::clickhouse::ClickHouseOptions, &'static str> {
        let options = crate::clickhouse::ClickHouseOptions::new(&self.url)?;
        let options = options.database(&self.database).table(&self.table).timeout(*self.timeout);
        let options = self.user.iter().fold(options, |options, user| options.user(user.as_str()));
        let options = self.password.iter().fold(options, |options, word| options.password(word.clone()));
        Ok(age.into_iter().fold(options, |options, age| options.age(age)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn read(records: &str) -> Result<Vec<Records>, ConfigError> {
        let environment = |name: &str| (name == "URL").then(|| "postgres://a:hunter2@host/db".to_owned());
        let config = Config::read(&format!("auth: open\nlog: {{ records: {records} }}"), "f", &environment)?;
        Ok(config.log.records.to_vec())
    }

    #[test]
    fn postgres_and_clickhouse_need_an_address_and_nothing_else() {
        let short = read("[ { postgres: \"${URL}\" }, { clickhouse: 'http://host:8123' } ]").unwrap();
        let long = read("[ { postgres: { url: \"${URL}\" } }, { clickhouse: { url: 'http://host:8123' } } ]")
            .unwrap();

        assert_eq!(short, long);
        let [Records::Postgres(postgres), Records::ClickHouse(clickhouse)] = &short[..] else {
            panic!("{short:?}")
        };
        assert_eq!((&*postgres.schema, *postgres.timeout), ("bartizan_logs", Duration::from_secs(10)));
        assert_eq!((&*clickhouse.database, &*clickhouse.table), ("default", "bartizan_records"));
        let shown = format!("{short:?} {}", serde_json::to_string(&short).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        let again =
            read(&serde_json::to_string(&read("{ clickhouse: 'http://h:1' }").unwrap()[0]).unwrap()).unwrap();
        assert_eq!(again, read("{ clickhouse: 'http://h:1' }").unwrap());
    }

    #[test]
    fn what_can_not_be_meant_is_complained_of_without_secrets() {
        for (records, message) in [
            ("[none, tracing]", "log.records: has `none` among others"),
            ("[logs, { postgres: \"${URL}\" }]", "could read: logs, postgres; leave one of them"),
            ("{ postgres: 'http://user:hunter2@host' }", "begins neither with postgres:// nor"),
            ("{ postgres: { url: \"${URL}\", schema: A } }", "log.records.postgres.schema: is not made of"),
            ("{ postgres: { url: \"${URL}\", timeout: 0s } }", "log.records.postgres.timeout: is no time"),
            ("{ postgres: { url: \"${URL}\", shema: x } }", "did you mean `schema`?"),
            ("{ postgres: {} }", "`url`"),
            ("{ postgres: [] }", "expected an address such as postgres://"),
            (
                "{ clickhouse: 'http://user:hunter2@host:8123' }",
                "log.records.clickhouse: expected an address such as",
            ),
            (
                "{ clickhouse: { url: 'http://h:1', table: 'a`b' } }",
                "log.records.clickhouse: database and table",
            ),
            (
                "{ clickhouse: { url: 'http://h:1', timeout: 0s } }",
                "log.records.clickhouse.timeout: is no time",
            ),
        ] {
            let problem = read(records).unwrap_err().to_string();
            assert!(problem.contains(message), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
