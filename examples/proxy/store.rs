use std::{sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    audit::{Audit, JsonLinesAudit, MemoryAudit, PostgresAudit, RedisAudit, SqliteAudit},
    breaker::Board,
    config::{self, Away, Config, Postgres, Redis, Store},
    directory::{Directory, MemoryDirectory, PostgresDirectory, RedisDirectory, SqliteDirectory},
    ledger::{
        Autonomous, Later, Ledger, MemoryLedger, PostgresLedger, PostgresOptions, RedisLedger, RedisOptions,
        Scope, SqliteLedger,
    },
};
use tokio::task::JoinHandle;

/// Where budgets are kept.
pub enum Budgets {
    Memory(Arc<MemoryLedger>),
    File(Arc<SqliteLedger>),
    Redis(Shared<RedisLedger>),
    Postgres(Shared<PostgresLedger>),
}

/// A store that others use too.
pub struct Shared<L> {
    ledger: Arc<L>,
    /// What goes on while it is away.
    alone: Option<Arc<Autonomous<L>>>,
    /// Who writes there.
    worker: JoinHandle<()>,
}

impl<L: Later + 'static> Shared<L> {
    fn new(ledger: Arc<L>, worker: JoinHandle<()>, config: &Config) -> Self {
        let goes_on = config.store_away.budgets == Away::Allow;
        let alone = goes_on.then(|| Arc::new(Autonomous::new(ledger.clone())));
        Self { ledger, alone, worker }
    }

    /// Asks once, so that a gateway without its store says so from the beginning.
    async fn look_for(&self, name: &str) {
        if self.ledger.balances(&[Scope::counted("gateway")]).await.is_ok() {
            return;
        }
        match self.alone {
            None => tracing::warn!("{name} is away: until it answers, requests that it counts are refused"),
            Some(_) => tracing::warn!("{name} is away: until it answers, each gateway counts by itself"),
        }
    }

    fn ledger(&self) -> Arc<dyn Ledger> {
        match &self.alone {
            Some(alone) => alone.clone(),
            None => self.ledger.clone(),
        }
    }

    /// Asks the ledger as long as it is there.
    fn asks(&self, is_away: fn(&L) -> bool) -> Box<dyn Fn() -> bool + Send + Sync> {
        let ledger = Arc::downgrade(&self.ledger);
        Box::new(move || ledger.upgrade().is_some_and(|ledger| is_away(&ledger)))
    }

    /// Whether all is written in time.
    async fn close(self, patience: Duration) -> bool {
        let Self { ledger, alone, worker } = self;
        // The worker ends when the last ledger is gone.
        drop((ledger, alone));
        matches!(tokio::time::timeout(patience, worker).await, Ok(Ok(())))
    }
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
                let shared = Shared::new(ledger, worker, config);
                shared.look_for("redis").await;
                Self::Redis(shared)
            }
            Store::Postgres(postgres) => {
                let (ledger, worker) =
                    connect_postgres(postgres).map_err(|error| format!("store.postgres: {error}"))?;
                let shared = Shared::new(ledger, worker, config);
                shared.look_for("postgres").await;
                Self::Postgres(shared)
            }
            _ => Self::Memory(Arc::default()),
        })
    }

    pub fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory(ledger) => ledger.clone(),
            Self::File(ledger) => ledger.clone(),
            Self::Redis(shared) => shared.ledger(),
            Self::Postgres(shared) => shared.ledger(),
        }
    }

    /// What is set while the gateway runs is kept where budgets are.
    pub fn directory(&self) -> Arc<dyn Directory> {
        match self {
            Self::Memory(_) => Arc::new(MemoryDirectory::default()),
            Self::File(ledger) => Arc::new(SqliteDirectory::new(ledger)),
            Self::Redis(shared) => Arc::new(RedisDirectory::new(&shared.ledger)),
            Self::Postgres(shared) => Arc::new(PostgresDirectory::new(&shared.ledger)),
        }
    }

    /// Who changed what and when is kept there too, unless it has a file of its own.
    pub fn audit(&self, place: &config::Audit) -> Result<Arc<dyn Audit>, BoxError> {
        if let config::Audit::File(path) = place {
            let file = JsonLinesAudit::open(path);
            return Ok(Arc::new(file.map_err(|error| format!("audit.file: {}: {error}", path.display()))?));
        }
        Ok(match self {
            Self::Memory(_) => Arc::new(MemoryAudit::default()),
            Self::File(ledger) => Arc::new(SqliteAudit::new(ledger)),
            Self::Redis(shared) => Arc::new(RedisAudit::new(&shared.ledger)),
            Self::Postgres(shared) => Arc::new(PostgresAudit::new(&shared.ledger)),
        })
    }

    /// Where other gateways can be told which targets are passed over.
    pub fn board(&self) -> Option<Arc<dyn Board>> {
        match self {
            Self::Redis(shared) => Some(Arc::new(shared.ledger.board())),
            _ => None,
        }
    }

    /// What tells whether a store that others can reach too does not answer.
    pub fn away(&self) -> Option<Box<dyn Fn() -> bool + Send + Sync>> {
        match self {
            Self::Memory(_) | Self::File(_) => None,
            Self::Redis(shared) => Some(shared.asks(RedisLedger::is_away)),
            Self::Postgres(shared) => Some(shared.asks(PostgresLedger::is_away)),
        }
    }

    /// Waits for what was spent to be written, when nobody spends any more.
    pub async fn close(self, patience: Duration) {
        let is_written = match self {
            Self::Memory(_) => true,
            Self::File(file) => matches!(tokio::time::timeout(patience, file.written()).await, Ok(Ok(()))),
            Self::Redis(shared) => shared.close(patience).await,
            Self::Postgres(shared) => shared.close(patience).await,
        };
        if !is_written {
            tracing::error!("what was spent last is charged as it was held, at the next start or by others");
        }
    }
}

pub fn connect(redis: &Redis) -> Result<(Arc<RedisLedger>, JoinHandle<()>), BoxError> {
    let options = RedisOptions::from_config(redis).map_err(unreadable)?;
    let (ledger, worker) = RedisLedger::connect(options).map_err(with_source)?;
    Ok((Arc::new(ledger), tokio::spawn(worker)))
}

pub fn connect_postgres(postgres: &Postgres) -> Result<(Arc<PostgresLedger>, JoinHandle<()>), BoxError> {
    let options = PostgresOptions::from_config(postgres).map_err(unreadable)?;
    let (ledger, worker) = PostgresLedger::connect(options).map_err(with_source)?;
    Ok((Arc::new(ledger), tokio::spawn(worker)))
}

fn unreadable(error: std::io::Error) -> String {
    format!("the authority can't be read: {error}")
}

/// An error and why.
pub fn with_source(error: bartizan::Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
