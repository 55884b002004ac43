use std::path::{Path, PathBuf};

use bartizan::{
    audit::{Event, EventKind},
    config::{Cause, Config, ConfigError, Watch},
};

use super::stack::Reloading;

/// The most characters of what is wrong with a configuration that are entered in the audit.
const MOST: usize = 2_000;

/// Puts every new version of the configuration into force, as long as it can be used.
///
/// Routes, providers, prices and keys are exchanged; requests under way keep what they began with. What takes a
/// restart stays as it was, and is told.
///
/// Watches from the call on, and not from the first poll: until then SIGHUP would end the process.
pub fn reload(gateway: Reloading, file: Option<PathBuf>) -> impl Future<Output = ()> + Send {
    let watched = file.and_then(|file| match Watch::new(&file) {
        Ok(watch) => Some((watch, file)),
        Err(error) => {
            tracing::error!(%error, "the configuration can't be watched; changes take a restart");
            None
        }
    });
    async move {
        if let Some((watch, file)) = watched {
            follow(gateway, watch, &file).await;
        }
    }
}

async fn follow(gateway: Reloading, mut watch: Watch, file: &Path) {
    loop {
        let cause = watch.changed().await;
        let before = gateway.settings.file();
        let replaced = replace(&gateway, file).await;
        let (who, what) = match (cause, &replaced) {
            (Cause::File, Ok(_)) => ("the configuration's file", "the configuration was reloaded"),
            (Cause::File, Err(_)) => ("the configuration's file", "a configuration was refused"),
            (Cause::Signal, Ok(_)) => ("SIGHUP", "the configuration was reloaded"),
            (Cause::Signal, Err(_)) => ("SIGHUP", "a configuration was refused"),
        };
        let event = Event::new(EventKind::Config, who, what).detail("file", file.display().to_string());
        let event = match replaced {
            Ok(config) => {
                tracing::info!(
                    models = config.models.len(),
                    keys = config.keys.len(),
                    "configuration reloaded"
                );
                event.detail("action", "accepted").detail("changed", before.differences(&config))
            }
            Err(Refused { told, noted }) => {
                tracing::error!("the configuration was not changed: {told}");
                event.detail("action", "refused").detail("why", noted.chars().take(MOST).collect::<String>())
            }
        };
        // Whoever can write the file needs nobody's leave, and it may be what brings the audit's store back.
        gateway.trail.note(event);
    }
}

/// Why a configuration isn't put in force.
struct Refused {
    /// As the log has it.
    told: String,
    /// As the audit keeps it, without what stands in the file: nothing can be taken out of it again.
    noted: String,
}

impl From<ConfigError> for Refused {
    fn from(error: ConfigError) -> Self {
        Self { told: error.to_string(), noted: error.without_excerpts() }
    }
}

/// Gives `config` what takes a restart to change as the program has begun with it; says what it had otherwise.
fn keep(config: &mut Config, begun: &Config) -> Vec<&'static str> {
    fn kept<T: Clone + PartialEq>(one: &mut T, begun: &T, name: &'static str) -> Option<&'static str> {
        let is_other = one != begun;
        one.clone_from(begun);
        is_other.then_some(name)
    }
    let kept = [
        kept(&mut config.server, &begun.server, "server"),
        kept(&mut config.log, &begun.log, "log"),
        kept(&mut config.otel, &begun.otel, "otel"),
        kept(&mut config.audit, &begun.audit, "audit"),
        kept(&mut config.unknown_price, &begun.unknown_price, "unknown_price"),
        kept(&mut config.store, &begun.store, "store"),
        kept(&mut config.store_away, &begun.store_away, "store_away"),
        kept(&mut config.alerts, &begun.alerts, "alerts"),
        kept(&mut config.loops, &begun.loops, "loops"),
    ];
    kept.into_iter().flatten().collect()
}

/// Puts in force what the file says now.
async fn replace(gateway: &Reloading, file: &Path) -> Result<Config, Refused> {
    let mut config = Config::from_file(file)?;
    if config.auth != gateway.begun.auth {
        let why = "auth: takes a restart to change".to_owned();
        return Err(Refused { told: why.clone(), noted: why });
    }
    // May have been set on the command line.
    config.server.listen = gateway.begun.server.listen;
    let kept = keep(&mut config, &gateway.begun);
    if !kept.is_empty() {
        tracing::warn!(sections = kept.join(", "), "what takes a restart to change stays as it was");
    }
    // What was set by the API may need what the file doesn't have any more.
    gateway.settings.replace(config.clone()).await?;
    Ok(config)
}
