use std::{net::SocketAddr, path::PathBuf};

use bartizan::config::LogFormat;
use clap::Parser;

/// One endpoint for many model providers: keys, limits, budgets, failover, translation, records.
///
/// Without a configuration, providers are found by their keys in the environment (OPENAI_API_KEY,
/// ANTHROPIC_API_KEY), and a demo provider that needs no account is always there.
#[derive(Debug, Parser)]
#[command(
    name = "proxy",
    version,
    after_help = "Signals: SIGTERM and SIGINT let open answers finish and stop; SIGHUP reads the configuration again."
)]
pub struct Arguments {
    /// The configuration, YAML or JSON; read again when it changes.
    #[arg(short, long, value_name = "FILE", env = "BARTIZAN_CONFIG")]
    pub config: Option<PathBuf>,

    /// The address to listen on, instead of the configuration's.
    #[arg(short, long, value_name = "ADDRESS", env = "BARTIZAN_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// Check the configuration and exit: 0 if it can be used, 1 if not.
    #[arg(long)]
    pub check: bool,

    /// Print the JSON Schema of the configuration and exit.
    #[arg(long)]
    pub schema: bool,

    /// How log lines look, instead of the configuration's choice: text, json or auto.
    #[arg(long, value_name = "FORMAT", env = "BARTIZAN_LOG_FORMAT", value_parser = log_format)]
    pub log_format: Option<LogFormat>,

    /// What is logged, instead of the configuration's choice, such as `debug` or `info,bartizan=debug`.
    #[arg(long, value_name = "FILTER", env = "BARTIZAN_LOG")]
    pub log_level: Option<String>,
}

fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "auto" => Ok(LogFormat::Auto),
        _ => Err("expected text, json or auto"),
    }
}
