//! The proxy against a bare reverse proxy, both in the same run: `cargo bench --bench proxy`.
//!
//! The bare proxy is hyper's server and hyper-util's client with nothing between: what any proxy made
//! of them costs at least. Both run on one worker, in turns, with the same provider and the same
//! clients. Where there are two cores, the proxy has core 0 and everything else has core 1. What
//! counts are ratios within one run; on a busy machine more rounds help (`--help`).
//!
//! The proxy is `examples/proxy`, from `BARTIZAN_PROXY` or built by cargo as it is now. All that it can
//! do is switched on: keys, a limit, three budgets, allowed models, records. What records cost is told apart: the proxy
//! that keeps them in SQLite against one that keeps none.

#![allow(missing_docs)]

mod bare;
mod clients;
mod measure;
mod process;
mod provider;
mod records;
mod scenario;
#[path = "../stack/wire.rs"]
mod wire;

use std::{error::Error, net::SocketAddr};

use clap::Parser;

#[derive(Clone, Debug, Parser)]
#[command(about = "The proxy against a bare reverse proxy of hyper and hyper-util.")]
pub struct Arguments {
    /// How often each proxy is measured in each scenario, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// How many connections send requests, one after the other.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How many streams are open while events are measured.
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// How many streams are open while memory is measured.
    #[arg(long, default_value_t = 1000)]
    open_streams: usize,
    /// Measures only the scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// What this process is; the others are started by the first.
    #[arg(long, hide = true)]
    role: Option<Role>,
    #[arg(long, hide = true)]
    upstream: Option<SocketAddr>,
    // Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    Bare,
    Provider,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // One worker each, of the kind that the proxy has when it is told to use one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (arguments.role, arguments.upstream) {
        (Some(Role::Bare), Some(upstream)) => runtime.block_on(bare::serve(upstream)),
        (Some(Role::Provider), _) => runtime.block_on(provider::serve()),
        _ => runtime.block_on(measure::all(&arguments)),
    }
}
