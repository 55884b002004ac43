use std::{sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    config::{Away, Config, Redis, Store},
    directory::{Directory, MemoryDirectory, RedisDirectory, SqliteDirectory},
    ledger::{Autonomous, Ledger, MemoryLedger, RedisLedger, RedisOptions, Scope, SqliteLedger},
};
use tokio::task::JoinHandle;

/// Where budgets are kept.
pub enum Budgets {
    Memory(Arc<MemoryLedger>),
    File(Arc<SqliteLedger>),
    /// With what goes on while it is away, and who writes there.
    Redis(Arc<RedisLedger>, Option<Arc<Autonomous<RedisLedger>>>, JoinHandle<()>),
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
                look_for(&ledger, config.store_away.budgets).await;
                let goes_on = config.store_away.budgets == Away::Allow;
                let alone = goes_on.then(|| Arc::new(Autonomous::new(ledger.clone())));
                Self::Redis(ledger, alone, worker)
            }
            _ => Self::Memory(Arc::default()),
        })
    }

    pub fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory(ledger) => ledger.clone(),
            Self::File(ledger) => ledger.clone(),
            Self::Redis(_, Some(alone), _) => alone.clone(),
            Self::Redis(ledger, None, _) => ledger.clone(),
        }
    }

    /// What is set while the gateway runs is kept where budgets are.
    pub fn directory(&self) -> Arc<dyn Directory> {
        match self {
            Self::Memory(_) => Arc::new(MemoryDirectory::default()),
            Self::File(ledger) => Arc::new(SqliteDirectory::new(ledger)),
            Self::Redis(ledger, ..) => Arc::new(RedisDirectory::new(ledger)),
        }
    }

    /// Waits for what was spent to be written, when nobody spends any more.
    pub async fn close(self, patience: Duration) {
        let is_written = match self {
            Self::Memory(_) => true,
            Self::File(file) => matches!(tokio::time::timeout(patience, file.written()).await, Ok(Ok(()))),
            Self::Redis(ledger, alone, worker) => {
                // The worker ends when the last ledger is gone.
                drop((ledger, alone));
                matches!(tokio::time::timeout(patience, worker).await, Ok(Ok(())))
            }
        };
        if !is_written {
            tracing::error!("what was spent last is charged as it was held, at the next start or by others");
        }
    }
}

fn connect(redis: &Redis) -> Result<(Arc<RedisLedger>, JoinHandle<()>), BoxError> {
    let options =
        RedisOptions::from_config(redis).map_err(|error| format!("the authority can't be read: {error}"))?;
    let (ledger, worker) =
        RedisLedger::connect(options).map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
    Ok((Arc::new(ledger), tokio::spawn(worker)))
}

/// Asks once, so that a gateway without its store says so from the beginning.
async fn look_for(ledger: &RedisLedger, policy: Away) {
    if ledger.balances(&[Scope::counted("gateway")]).await.is_ok() {
        return;
    }
    match policy {
        Away::Refuse => {
            tracing::warn!("redis is away: until it answers, requests that it counts are refused")
        }
        Away::Allow => tracing::warn!("redis is away: until it answers, each gateway counts by itself"),
    }
}
