use std::{fs::OpenOptions, path::Path, sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    clickhouse::ClickHouseOptions,
    config::{Config, Records},
    logs::{Logs, PostgresLogs, Retention, SqliteLogs, SqliteLogsOptions},
    record::{JsonLines, Keep, QueueOptions},
};

use super::store::with_source;

/// The most that are found again where they are only in memory, and their bytes.
const IN_MEMORY: u64 = 20_000;
const MEMORY: u64 = 256 << 20;

/// Adds who keeps records as the configuration says, and tells where they are found again.
pub fn kept(config: &Config, queue: QueueOptions) -> Result<(QueueOptions, Option<Arc<dyn Logs>>), BoxError> {
    let mut keepers = Keepers { queue, logs: None };
    for to in config.log.records.iter() {
        keepers = keepers.add(config, to)?;
    }
    Ok((keepers.queue, keepers.logs))
}

struct Keepers {
    queue: QueueOptions,
    logs: Option<Arc<dyn Logs>>,
}

impl Keepers {
    fn add(self, config: &Config, to: &Records) -> Result<Self, BoxError> {
        Ok(match to {
            Records::File(path) => {
                let open = OpenOptions::new().create(true).append(true).open(path);
                let file = open.map_err(|error| format!("log.records.file: {}: {error}", path.display()))?;
                Self { queue: self.queue.keeper(JsonLines::new(file)), ..self }
            }
            Records::Sqlite(path) => self.found(sqlite(config, Some(path))?),
            Records::Logs => self.found(sqlite(config, config.logs_path().as_deref())?),
            Records::Postgres(postgres) => {
                let options = postgres.options(age(config));
                let options = options.map_err(|error| format!("log.records.postgres.authority: {error}"))?;
                let logs = PostgresLogs::new(options);
                self.found(logs.map_err(|error| format!("log.records.postgres: {}", with_source(error)))?)
            }
            Records::ClickHouse(clickhouse) => {
                let keeper = clickhouse.options(age(config)).and_then(ClickHouseOptions::open);
                let keeper = keeper.map_err(|error| format!("log.records.clickhouse: {error}"))?;
                Self { queue: self.queue.keeper(keeper), ..self }
            }
            _ => self,
        })
    }

    /// Adds one that can be asked; a configuration has only one.
    fn found(self, logs: impl Keep + Logs + Clone) -> Self {
        let asked: Arc<dyn Logs> = Arc::new(logs.clone());
        Self { queue: self.queue.keeper(logs), logs: Some(asked) }
    }
}

/// How old records may be in databases.
fn age(config: &Config) -> Option<Duration> {
    config.log.retention.age.map(|age| *age)
}

fn sqlite(config: &Config, path: Option<&Path>) -> Result<SqliteLogs, BoxError> {
    let bytes = config.log.retention.size.map(|size| size.0);
    let options = match path {
        Some(path) => SqliteLogsOptions::new(path).retention(Retention::new(age(config), bytes, None)),
        None => {
            let bytes = bytes.map_or(MEMORY, |bytes| bytes.min(MEMORY));
            let retention = Retention::new(age(config), Some(bytes), Some(IN_MEMORY));
            SqliteLogsOptions::in_memory(IN_MEMORY).retention(retention)
        }
    };
    Ok(options.open().map_err(|error| format!("log.records: {error}"))?)
}
