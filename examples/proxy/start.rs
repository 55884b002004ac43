use std::{fmt, io, io::IsTerminal, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use bartizan::config::{Config, ConfigError, Found, LogFormat, MetricsAre, Written};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use super::{arguments::Arguments, greeting::greeting};

/// Everything that is known before anything runs.
pub struct Start {
    pub config: Config,
    pub file: Option<PathBuf>,
    pub listen: SocketAddr,
    found: Found,
}

/// Why the proxy can't start.
pub enum CantStart {
    Config(ConfigError),
    Build(String),
}

impl fmt::Display for CantStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Build(error) => f.write_str(error),
        }
    }
}

impl Start {
    pub fn new(arguments: &Arguments) -> Result<Self, CantStart> {
        let (mut config, found) = match &arguments.config {
            Some(file) => (Config::from_file(file).map_err(CantStart::Config)?, Found::default()),
            None => Config::from_environment(),
        };
        let listen = arguments.listen.unwrap_or(*config.server.listen);
        if arguments.config.is_none() {
            // The address that clients are given for the gateway is found in the same variables.
            config.providers.retain(|_, provider| !is_here(provider.base_url.as_deref(), listen));
        }
        if let Some((name, _)) = config.providers.iter().find(|(_, p)| is_here(p.base_url.as_deref(), listen))
        {
            let error = format!("providers.{name}.base_url: is the address of the gateway itself");
            return Err(CantStart::Build(error));
        }
        // Who may look at measurements depends on who reaches the address.
        config.server.listen = Written::new(listen);
        if found.admin_key.is_some() && listen.ip().is_loopback() {
            // Nobody has chosen a key, and nobody else reaches this address.
            config.server.metrics.get_or_insert(MetricsAre::Open);
        }
        let level = arguments.log_level.as_ref().unwrap_or(&config.log.level);
        let filter = EnvFilter::try_new(level);
        filter.map_err(|error| CantStart::Build(format!("log.level: `{level}` is no filter: {error}")))?;
        // What can't be built is found before anything listens.
        let table = bartizan::config::Builder::default().table(&config);
        table.map_err(|error| CantStart::Build(error.to_string()))?;
        Ok(Self { config, file: arguments.config.clone(), listen, found })
    }

    pub fn greeting(&self, listen: SocketAddr) -> String {
        greeting(&self.config, self.file.as_deref(), listen, &self.found)
    }

    pub fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = match self.config.server.workers.map(NonZeroUsize::get) {
            // One thread needs no scheduler of many: a tenth of the time less for each request.
            Some(1) => Builder::new_current_thread(),
            workers => {
                let mut builder = Builder::new_multi_thread();
                workers.map(|workers| builder.worker_threads(workers));
                builder
            }
        };
        builder.enable_all().build()
    }

    pub fn log(&self, arguments: &Arguments) {
        let level = arguments.log_level.as_ref().unwrap_or(&self.config.log.level);
        let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
        let log =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
        let terminal = io::stderr().is_terminal();
        match arguments.log_format.unwrap_or(self.config.log.format) {
            LogFormat::Auto if !terminal => log.json().init(),
            LogFormat::Json => log.json().init(),
            _ => log.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).init(),
        }
    }
}

/// Whether a provider's address is where the gateway listens.
fn is_here(base_url: Option<&str>, listen: SocketAddr) -> bool {
    let Some(uri) = base_url.and_then(|url| url.parse::<http::Uri>().ok()) else { return false };
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = match host.parse::<std::net::IpAddr>() {
        Ok(ip) => {
            ip == listen.ip()
                || (ip.is_loopback() && (listen.ip().is_loopback() || listen.ip().is_unspecified()))
        }
        Err(_) => host == "localhost",
    };
    is_local && uri.port_u16().unwrap_or(usual) == listen.port()
}
