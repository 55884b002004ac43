use std::{net::SocketAddr, path::PathBuf};

use bartizan::config::LogFormat;
use clap::{Args, Parser, Subcommand};

/// One endpoint for many model providers: keys, limits, budgets, failover, translation, records.
///
/// Without a configuration, providers are found by their keys in the environment (OPENAI_API_KEY,
/// ANTHROPIC_API_KEY), and a demo provider that needs no account is always there.
#[derive(Debug, Parser)]
#[command(
    name = "proxy",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Signals: SIGTERM and SIGINT let open answers finish and stop; SIGHUP reads the configuration again."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,

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

/// What is asked of a proxy that runs, whose configuration has to have `admin.key`; or of this program alone.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, list, change and delete keys.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Show what the gateway has used, or a key, a team, a customer, an end user, a session, a tag or a provider.
    Usage(Usage),
    /// Let each target of each route fail in each way, and show what a client sees. Exits with 0 if all routes
    /// survive, with 1 if one doesn't, with 2 if the drill can't be held.
    Drill(Drill),
    /// Show where a request would go, and why: every target with its price. Nothing is sent.
    Explain(Explain),
    /// Show who changed what and when, and whether nobody has changed that.
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Compare what came of copies of requests (`mirror` of a model) with what came of their originals.
    Compare {
        /// Of this model only.
        #[arg(long)]
        model: Option<String>,
        #[command(flatten)]
        proxy: Proxy,
    },
}

/// Who changed what and when. All but `list` look where it is kept, whether the proxy runs or not.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Look whether an entry was changed, taken away or put elsewhere since. Exits with 0 if all of them fit, with 1 if
    /// one doesn't, and tells its number, with 2 if they can't be looked at.
    Verify {
        #[command(flatten)]
        source: Source,
        /// The end of the chain as `audit head` has printed it, so that one that was cut or made anew is noticed.
        #[arg(long, value_name = "NUMBER:HASH")]
        head: Option<String>,
    },
    /// Print all entries, one JSON object a line.
    Export {
        #[command(flatten)]
        source: Source,
    },
    /// Print the number and the hash of the last entry, to be kept elsewhere.
    Head {
        #[command(flatten)]
        source: Source,
    },
    /// List entries of a proxy that runs, newest first.
    List(Listed),
}

#[derive(Debug, Args)]
pub struct Source {
    /// The configuration, YAML or JSON.
    #[arg(short, long, value_name = "FILE", env = "BARTIZAN_CONFIG")]
    pub config: Option<PathBuf>,
    /// An export, instead of what the configuration says.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Listed {
    /// About this only: change, key, config, model, breaker, login or audit.
    #[arg(long)]
    pub kind: Option<String>,
    /// Of those only in whose name this is.
    #[arg(long)]
    pub who: Option<String>,
    /// From this moment on, such as 2026-11-01, 2026-11-01T12:00:00Z or 12h ago as in 12h.
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Until this moment, in the same form.
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    #[command(flatten)]
    pub proxy: Proxy,
}

/// Requests go through the real stack, in this process: no proxy has to run, and no port is opened. The built-in
/// demo answers in place of the providers, so that nothing is paid and no keys are needed; variables of the
/// configuration that aren't set are made up. Times are those of a clock that doesn't wait: a target that hangs for a
/// minute is shown with a minute, and takes none. Budgets, limits and keys of the configuration are left out.
///
/// A route survives if every request is answered, whatever fails. A stream that breaks in the middle is excused if
/// the client is told.
#[derive(Debug, Args)]
pub struct Drill {
    /// The configuration, YAML or JSON.
    #[arg(short, long, value_name = "FILE", env = "BARTIZAN_CONFIG")]
    pub config: PathBuf,
    /// Only this route, by its name under `models`; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub route: Vec<String>,
    /// Ask the real providers, which costs money and time: those targets that don't fail on purpose answer by
    /// themselves.
    #[arg(long)]
    pub real: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key, which is shown this once.
    Create(Create),
    /// List keys by name.
    List {
        /// Of this team only.
        #[arg(long)]
        team: Option<String>,
        /// Of this customer only.
        #[arg(long)]
        customer: Option<String>,
        #[command(flatten)]
        proxy: Proxy,
    },
    /// Refuse a key from now on.
    Disable(Named),
    /// Accept a disabled key again.
    Enable(Named),
    /// Delete a key for good.
    Delete(Named),
    /// Put another key in the place of one, and show it this once.
    Rotate {
        #[command(flatten)]
        key: Named,
        /// How long the old key still works, such as 1h.
        #[arg(long, default_value = "0s")]
        grace: String,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// The name in logs and records; unique.
    #[arg(long)]
    pub name: String,
    /// The team that it belongs to.
    #[arg(long)]
    pub team: Option<String>,
    /// The customer that it belongs to; the team's if it isn't given.
    #[arg(long)]
    pub customer: Option<String>,
    /// What it may spend, such as 200usd/month or 5Mtokens/day; may be given several times.
    #[arg(long, value_name = "AMOUNT/PERIOD")]
    pub budget: Vec<String>,
    /// How many requests it may make, such as 600/minute; may be given several times.
    #[arg(long, value_name = "COUNT/PERIOD")]
    pub requests: Vec<String>,
    /// The models that it may ask for, with * for any run of characters; may be given several times.
    #[arg(long, value_name = "MODEL")]
    pub allow: Vec<String>,
    /// The models that it may not ask for; may be given several times.
    #[arg(long, value_name = "MODEL")]
    pub deny: Vec<String>,
    /// Allow that what its requests and answers say is kept, by what keeps records.
    #[arg(long)]
    pub log_content: bool,
    /// When it stops being accepted, such as 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    #[command(flatten)]
    pub proxy: Proxy,
}

#[derive(Debug, Args)]
pub struct Named {
    /// The key's name.
    pub name: String,
    #[command(flatten)]
    pub proxy: Proxy,
}

#[derive(Debug, Args)]
#[group(id = "account", multiple = false, args = ["key", "team", "user", "session", "tag", "provider"])]
pub struct Usage {
    /// Of this key.
    #[arg(long)]
    pub key: Option<String>,
    /// Of all keys of this team.
    #[arg(long)]
    pub team: Option<String>,
    /// Of all keys of this customer, or of its end user or session.
    #[arg(long, conflicts_with_all = ["key", "team", "tag", "provider"])]
    pub customer: Option<String>,
    /// Of this end user.
    #[arg(long)]
    pub user: Option<String>,
    /// Of this session.
    #[arg(long)]
    pub session: Option<String>,
    /// Of all requests with this tag, such as feature=search.
    #[arg(long, value_name = "NAME=VALUE")]
    pub tag: Option<String>,
    /// Of this provider.
    #[arg(long)]
    pub provider: Option<String>,
    /// Day by day from this one on, such as 2026-11-01, or as many days ago as in 30d. Days are those of UTC,
    /// whatever time zone budgets have.
    #[arg(long, value_name = "DAY")]
    pub since: Option<String>,
    /// Day by day until this one, in the same form.
    #[arg(long, value_name = "DAY")]
    pub until: Option<String>,
    #[command(flatten)]
    pub proxy: Proxy,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The model that is asked for; the request's own if it isn't given.
    #[arg(long)]
    pub model: Option<String>,
    /// The request, JSON as it would be sent; a short question if it isn't given.
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// Where it would be sent.
    #[arg(long, default_value = "/v1/chat/completions")]
    pub path: String,
    /// The name of the key that would be presented; one that may do everything if it isn't given.
    #[arg(long)]
    pub key: Option<String>,
    /// A header of the request, such as x-bartizan-tags:feature=search; may be given several times.
    #[arg(long, value_name = "NAME:VALUE")]
    pub header: Vec<String>,
    #[command(flatten)]
    pub proxy: Proxy,
}

/// Where the proxy is. Its administrators' key is read from BARTIZAN_ADMIN_KEY.
#[derive(Debug, Args)]
pub struct Proxy {
    /// The address of the proxy.
    #[arg(long, env = "BARTIZAN_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}
