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
/// Routes, providers, prices and keys are exchanged; requests under way keep what they began with. The
/// listener, the log and the limits of the server take a restart.
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

/// Puts in force what the file says now.
async fn replace(gateway: &Reloading, file: &Path) -> Result<Config, Refused> {
    let mut config = Config::from_file(file)?;
    // It takes a restart to change, and may have been set on the command line.
    config.server.listen = gateway.settings.file().server.listen;
    if config.auth != gateway.auth {
        let why = "auth: takes a restart to change".to_owned();
        return Err(Refused { told: why.clone(), noted: why });
    }
    if (&config.alerts, &config.loops) != (&gateway.alerts, &gateway.loops) {
        tracing::warn!("alerts and loops stay as they were: they take a restart to change");
    }
    if config.otel != gateway.otel {
        tracing::warn!("otel stays as it was: it takes a restart to change");
    }
    // What was set by the API may need what the file doesn't have any more.
    gateway.settings.replace(config.clone()).await?;
    Ok(config)
}
