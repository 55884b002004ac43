use std::{sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    config::{Away, Config, Postgres, Redis, Store},
    directory::{Directory, MemoryDirectory, PostgresDirectory, RedisDirectory},
    ledger::{
        Ledger, MemoryLedger, PostgresLedger, PostgresOptions, RedisLedger, RedisOptions, Scope, SqliteLedger,
    },
};
use tokio::task::JoinHandle;

/// Where budgets are kept.
pub enum Budgets {
    Memory(Arc<MemoryLedger>),
    File(Arc<SqliteLedger>),
    /// With who writes there.
    Redis(Arc<RedisLedger>, JoinHandle<()>),
    Postgres(Arc<PostgresLedger>, JoinHandle<()>),
}

impl Budgets {
    pub async fn open(config: &Config) -> Result<Self, BoxError> {
        Ok(match &config.store {
            Store::Sqlite(path) => {
                let file = SqliteLedger::open(path).map_err(|error| format!("store.sqlite: {error}"))?;
                Self::File(Arc::new(file))
            }
            Store::Redis(redis) => {
                let (ledger, worker) = connect(redis).map_err(|error| format!("store.redis: {error}"))?;
                look_for(&*ledger, "redis", config.store_away.budgets).await;
                Self::Redis(ledger, worker)
            }
            Store::Postgres(postgres) => {
                let (ledger, worker) =
                    connect_postgres(postgres).map_err(|error| format!("store.postgres: {error}"))?;
                look_for(&*ledger, "postgres", config.store_away.budgets).await;
                Self::Postgres(ledger, worker)
            }
            _ => Self::Memory(Arc::default()),
        })
    }

    pub fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory(ledger) => ledger.clone(),
            Self::File(ledger) => ledger.clone(),
            Self::Redis(ledger, _) => ledger.clone(),
            Self::Postgres(ledger, _) => ledger.clone(),
        }
    }

    /// What is set while the gateway runs is kept where budgets are.
    pub fn directory(&self) -> Arc<dyn Directory> {
        match self {
            Self::Redis(ledger, _) => Arc::new(RedisDirectory::new(ledger)),
            Self::Postgres(ledger, _) => Arc::new(PostgresDirectory::new(ledger)),
            Self::Memory(_) | Self::File(_) => Arc::new(MemoryDirectory::default()),
        }
    }

    /// What tells whether a store that others can reach too does not answer.
    pub fn away(&self) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        match self {
            Self::Memory(_) | Self::File(_) => None,
            Self::Redis(ledger, _) => {
                let ledger = Arc::downgrade(ledger);
                Some(Box::new(move || ledger.upgrade().is_some_and(|ledger| ledger.is_away())))
            }
            Self::Postgres(ledger, _) => {
                let ledger = Arc::downgrade(ledger);
                Some(Box::new(move || ledger.upgrade().is_some_and(|ledger| ledger.is_away())))
            }
        }
    }

    /// Waits for what was spent to be written, when nobody spends any more.
    pub async fn close(self, patience: Duration) {
        let is_written = match self {
            Self::Memory(_) => true,
            Self::File(file) => matches!(tokio::time::timeout(patience, file.written()).await, Ok(Ok(()))),
            // A worker ends when the last ledger is gone.
            Self::Redis(ledger, worker) => {
                drop(ledger);
                matches!(tokio::time::timeout(patience, worker).await, Ok(Ok(())))
            }
            Self::Postgres(ledger, worker) => {
                drop(ledger);
                matches!(tokio::time::timeout(patience, worker).await, Ok(Ok(())))
            }
        };
        if !is_written {
            tracing::error!("what was spent last is charged as it was held, at the next start or by others");
        }
    }
}

fn connect(redis: &Redis) -> Result<(Arc<RedisLedger>, JoinHandle<()>), BoxError> {
    let options = RedisOptions::from_config(redis).map_err(unreadable)?;
    let (ledger, worker) = RedisLedger::connect(options).map_err(with_source)?;
    Ok((Arc::new(ledger), tokio::spawn(worker)))
}

fn connect_postgres(postgres: &Postgres) -> Result<(Arc<PostgresLedger>, JoinHandle<()>), BoxError> {
    let options = PostgresOptions::from_config(postgres).map_err(unreadable)?;
    let (ledger, worker) = PostgresLedger::connect(options).map_err(with_source)?;
    Ok((Arc::new(ledger), tokio::spawn(worker)))
}

fn unreadable(error: std::io::Error) -> String {
    format!("the authority can't be read: {error}")
}

fn with_source(error: bartizan::Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Asks once, so that a gateway without its store says so from the beginning.
async fn look_for(ledger: &dyn Ledger, name: &str, policy: Away) {
    if ledger.balances(&[Scope::counted("gateway")]).await.is_ok() {
        return;
    }
    match policy {
        Away::Refuse => {
            tracing::warn!("{name} is away: until it answers, requests that it counts are refused")
        }
        Away::Allow => {
            tracing::warn!("{name} is away: until it answers, requests are served without budgets")
        }
    }
}
