use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{ledger::errand::micros, postgres::is_schema};

/// Where a [`PostgresLedger`](super::PostgresLedger) is kept, and how it is asked.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) url: String,
    pub(super) schema: String,
    pub(super) timeout: Duration,
    pub(super) lease: Duration,
    pub(super) journal: Option<PathBuf>,
    pub(super) authority: Option<Vec<u8>>,
    clock: Option<Clock>,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Without the address: there may be a password in it.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("timeout", &self.timeout)
            .field("lease", &self.lease)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// A server: `postgres://user:password@host:5432/database?sslmode=require`. TLS is used if the server
    /// has it, and its certificate is then verified; with `sslmode=require` it has to, with
    /// `sslmode=disable` it is not asked for. Several hosts, with `target_session_attrs=read-write`, are
    /// tried in turn.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "bartizan".into(),
            timeout: Duration::from_millis(500),
            lease: Duration::from_secs(30),
            journal: None,
            authority: None,
            clock: None,
        }
    }

    /// Sets whose certificates are trusted, as PEM, instead of the authorities of Mozilla.
    #[must_use]
    pub fn authority(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { authority: Some(pem.into()), ..self }
    }

    /// Sets the schema that the tables are in, which is made if it isn't there; gateways that share balances
    /// share it. `bartizan` without this.
    #[must_use]
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Sets how long a reservation waits for an answer; half a second without this.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets after what time without a sign of life other nodes take a node for dead; 30 seconds without this.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Sets the file in which settlements wait while Postgres is away. Without one they wait in memory only.
    #[must_use]
    pub fn journal(self, path: impl Into<PathBuf>) -> Self {
        Self { journal: Some(path.into()), ..self }
    }

    /// Sets a clock that quotas go by instead of the server's; leases still go by the server's.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Some(Arc::new(now)), ..self }
    }

    /// Now in microseconds, if the server's clock does not count.
    pub(super) fn at(&self) -> Option<u64> {
        self.clock.as_ref().map(|clock| micros(clock()))
    }

    /// What the configuration says.
    ///
    /// # Errors
    ///
    /// If the file with the authority can't be read.
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(config: &crate::config::Postgres) -> std::io::Result<Self> {
        let crate::config::Postgres { url, schema, timeout, lease, journal, authority } = config;
        let options = Self::new(url.expose()).schema(schema).timeout(**timeout).lease(**lease);
        let authority = authority.as_deref().map(std::fs::read).transpose()?;
        Ok(Self { journal: journal.clone(), authority, ..options })
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if !is_schema(&self.schema) {
            return Err("the schema in postgres has up to 63 letters of a-z, digits and underscores");
        }
        if self.timeout.is_zero() || self.lease < Duration::from_millis(100) {
            return Err("the timeout of postgres is more than nothing, and its lease at least 100ms");
        }
        Ok(())
    }
}
