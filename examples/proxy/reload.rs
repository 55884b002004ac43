use std::path::{Path, PathBuf};

use bartizan::config::{Config, Watch};

use super::stack::Reloading;

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
        watch.changed().await;
        let config = match Config::from_file(file) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the configuration was not changed: {error}");
                continue;
            }
        };
        if config.auth != gateway.auth {
            tracing::error!("the configuration was not changed: auth: takes a restart to change");
            continue;
        }
        if (&config.alerts, &config.loops) != (&gateway.alerts, &gateway.loops) {
            tracing::warn!("alerts and loops stay as they were: they take a restart to change");
        }
        let (models, keys) = (config.models.len(), config.keys.len());
        // What was set by the API may need what the file doesn't have any more.
        match gateway.settings.replace(config).await {
            Ok(()) => tracing::info!(models, keys, "configuration reloaded"),
            Err(error) => tracing::error!("the configuration was not changed: {error}"),
        }
    }
}
