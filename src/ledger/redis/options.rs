use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::ledger::errand::micros;

/// Where a [`RedisLedger`](super::RedisLedger) is kept, and how it is asked.
#[derive(Clone)]
pub struct RedisOptions {
    pub(super) urls: Vec<String>,
    pub(super) cluster: bool,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) lease: Duration,
    pub(super) journal: Option<PathBuf>,
    pub(super) authority: Option<Vec<u8>>,
    clock: Option<Clock>,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Without addresses: there may be passwords in them.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("cluster", &self.cluster)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("lease", &self.lease)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// One server: `redis://user:password@host:6379/0`, or `rediss://` for TLS.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            cluster: false,
            prefix: "bartizan".into(),
            timeout: Duration::from_millis(500),
            lease: Duration::from_secs(30),
            journal: None,
            authority: None,
            clock: None,
        }
    }

    /// A cluster that some of its servers lead to.
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Self {
        Self { urls: urls.into_iter().map(Into::into).collect(), cluster: true, ..Self::new("") }
    }

    /// Sets whose certificates are trusted, as PEM, instead of the authorities of Mozilla. All addresses
    /// have to be `rediss://` then.
    #[must_use]
    pub fn authority(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { authority: Some(pem.into()), ..self }
    }

    /// Sets what the names of all keys begin with, between braces; gateways that share balances share it.
    /// `bartizan` without this.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
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

    /// Sets the file in which settlements wait while Redis is away. Without one they wait in memory only.
    #[must_use]
    pub fn journal(self, path: impl Into<PathBuf>) -> Self {
        Self { journal: Some(path.into()), ..self }
    }

    /// Sets a clock that quotas go by instead of the server's; leases still go by the server's.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Some(Arc::new(now)), ..self }
    }

    /// Now, and in microseconds if the server's clock does not count.
    pub(super) fn now(&self) -> (SystemTime, Option<u64>) {
        match &self.clock {
            Some(clock) => {
                let now = clock();
                (now, Some(micros(now)))
            }
            None => (SystemTime::now(), None),
        }
    }

    /// What the configuration says.
    ///
    /// # Errors
    ///
    /// If the file with the authority can't be read.
    #[cfg(feature = "config")]
    #[cfg_attr(docsrs, doc(cfg(feature = "config")))]
    pub fn from_config(config: &crate::config::Redis) -> std::io::Result<Self> {
        let crate::config::Redis { url, nodes, prefix, timeout, lease, journal, authority } = config;
        let options = match url {
            Some(url) => Self::new(url.expose()),
            None => Self::cluster(nodes.iter().map(|node| node.expose())),
        };
        let options = options.prefix(prefix).timeout(**timeout).lease(**lease);
        let authority = authority.as_deref().map(std::fs::read).transpose()?;
        Ok(Self { journal: journal.clone(), authority, ..options })
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.urls.is_empty() {
            return Err("a cluster of redis has at least one address");
        }
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err("the prefix of keys in redis has at least one character and no braces");
        }
        if self.timeout.is_zero() || self.lease < Duration::from_millis(100) {
            return Err("the timeout of redis is more than nothing, and its lease at least 100ms");
        }
        Ok(())
    }
}
