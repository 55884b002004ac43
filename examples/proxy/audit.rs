use std::{io::Write, path::Path, process::ExitCode, sync::Arc};

use bartizan::{
    BoxError,
    audit::{Audit, Head, JsonLinesAudit, PostgresAudit, RedisAudit, SqliteAudit, verify},
    config::{self, Config, Store},
    ledger::{PostgresLedger, RedisLedger},
};

use super::{
    arguments::{self, Source},
    drill,
    store::{connect, connect_postgres},
};

/// How many entries are read at once.
const STEP: usize = 1_000;

/// Looks at the audit where it is kept. Exits with 1 if an entry doesn't fit, with 2 if it can't be looked at.
pub fn run(command: &arguments::Audit) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(BoxError::from).and_then(|runtime| runtime.block_on(ask(command)));
    done.unwrap_or_else(|error| {
        eprintln!("proxy: {error}");
        ExitCode::from(2)
    })
}

async fn ask(command: &arguments::Audit) -> Result<ExitCode, BoxError> {
    match command {
        arguments::Audit::Verify { source, head } => {
            let known = head.as_deref().map(known).transpose()?;
            let opened = Opened::of(source)?;
            Ok(match verify(&*opened.audit, known).await.map_err(said)? {
                Ok(head) => {
                    println!("all {} entries fit", head.as_ref().map_or(0, |head| head.number));
                    ExitCode::SUCCESS
                }
                Err(broken) => {
                    eprintln!("{broken}");
                    ExitCode::FAILURE
                }
            })
        }
        arguments::Audit::Export { source } => export(&*Opened::of(source)?.audit).await,
        arguments::Audit::Head { source } => {
            let opened = Opened::of(source)?;
            match opened.audit.last().await.map_err(said)? {
                Some(last) => println!("{}:{}", last.number, last.hash),
                None => return Err("there is no entry yet".into()),
            }
            Ok(ExitCode::SUCCESS)
        }
        arguments::Audit::List(_) => Err("the list is that of a proxy that runs".into()),
    }
}

/// The end of a chain as it is printed.
fn known(text: &str) -> Result<Head, BoxError> {
    let wrong = || format!("--head {text}: expected what `audit head` prints, a number, a colon and a hash");
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Head { number: number.parse().map_err(|_| wrong())?, hash: hash.into() })
}

async fn export(audit: &dyn Audit) -> Result<ExitCode, BoxError> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut next = 1;
    loop {
        let entries = audit.read(next, STEP).await.map_err(said)?;
        for entry in &entries {
            writeln!(out, "{}", entry.json())?;
        }
        if entries.is_empty() {
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        next += entries.len() as u64;
    }
}

/// Where entries are kept, as long as they are looked at.
struct Opened {
    audit: Arc<dyn Audit>,
    _store: Held,
}

#[allow(dead_code, reason = "it is open as long")]
enum Held {
    Nothing,
    Redis(Arc<RedisLedger>),
    Postgres(Arc<PostgresLedger>),
}

impl Opened {
    fn of(source: &Source) -> Result<Self, BoxError> {
        let config = match (&source.from_file, &source.config) {
            (Some(file), _) => return Self::file(file),
            (None, Some(config)) => drill::read(config, false)?,
            (None, None) => return Err("either --config or --from-file is needed".into()),
        };
        match &config.audit {
            config::Audit::File(file) => Self::file(file),
            _ => Self::store(&config),
        }
    }

    fn file(path: &Path) -> Result<Self, BoxError> {
        let wrong = |error| format!("{}: {error}", path.display());
        let audit = Arc::new(JsonLinesAudit::read_only(path).map_err(wrong)?);
        Ok(Self { audit, _store: Held::Nothing })
    }

    fn store(config: &Config) -> Result<Self, BoxError> {
        Ok(match config.store.clone() {
            Store::Sqlite(path) => {
                let audit = SqliteAudit::read_only(&path).map_err(said)?;
                Self { audit: Arc::new(audit), _store: Held::Nothing }
            }
            Store::Redis(mut redis) => {
                // It belongs to the gateway.
                redis.journal = None;
                let (ledger, _worker) = connect(&redis)?;
                Self { audit: Arc::new(RedisAudit::new(&ledger)), _store: Held::Redis(ledger) }
            }
            Store::Postgres(mut postgres) => {
                postgres.journal = None;
                let (ledger, _worker) = connect_postgres(&postgres)?;
                Self { audit: Arc::new(PostgresAudit::new(&ledger)), _store: Held::Postgres(ledger) }
            }
            _ => return Err("the audit is in the memory of the gateway; `audit list` shows it".into()),
        })
    }
}

fn said(error: bartizan::Error) -> BoxError {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}").into(),
        None => error.into(),
    }
}
