use std::{fs::OpenOptions, path::Path, sync::Arc};

use bartizan::{
    BoxError,
    config::{Config, Records},
    logs::{Logs, Retention, SqliteLogs, SqliteLogsOptions},
    record::{JsonLines, QueueOptions},
};

/// The most that are found again where they are only in memory.
const IN_MEMORY: u64 = 20_000;

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
            Records::Sqlite(path) => self.sqlite(sqlite(config, Some(path))?),
            Records::Logs => self.sqlite(sqlite(config, config.logs_path().as_deref())?),
            _ => self,
        })
    }

    /// What is asked is the first one.
    fn sqlite(self, logs: SqliteLogs) -> Self {
        let asked: Arc<dyn Logs> = Arc::new(logs.clone());
        Self { queue: self.queue.keeper(logs), logs: self.logs.or(Some(asked)) }
    }
}

fn sqlite(config: &Config, path: Option<&Path>) -> Result<SqliteLogs, BoxError> {
    let bytes = config.log.retention.size.map(|size| size.0);
    let age = config.log.retention.age.map(|age| *age);
    let options = match path {
        Some(path) => SqliteLogsOptions::new(path).retention(Retention::new(age, bytes, None)),
        None => SqliteLogsOptions::in_memory(IN_MEMORY),
    };
    Ok(options.open().map_err(|error| format!("log.records: {error}"))?)
}
