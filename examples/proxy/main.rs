//! The whole stack as one program: `cargo run --release --example proxy`.
//!
//! `build` has the stack, layer by layer, with the reason why each stands where it stands.

mod administer;
mod alerts;
mod arguments;
mod audit;
mod client;
mod drill;
mod greeting;
mod measure;
mod observe;
mod patience;
mod records;
mod reload;
mod serve;
mod stack;
mod start;
mod store;
mod unread;

use std::{io::Write, process::ExitCode, time::Duration};

use bartizan::{BoxError, config};
use clap::Parser;
use tokio::net::TcpListener;

use self::{
    arguments::{Arguments, Command},
    start::Start,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.schema {
        println!("{}", config::json_schema());
        return ExitCode::SUCCESS;
    }
    match &arguments.command {
        Some(Command::Drill(drill)) => return drill::run(drill),
        Some(Command::Audit { command }) if !matches!(command, arguments::Audit::List(_)) => {
            return audit::run(command);
        }
        Some(command) => return administer::run(command),
        None => {}
    }
    let start = match Start::new(&arguments) {
        Ok(start) => start,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        println!("the configuration can be used");
        return ExitCode::SUCCESS;
    }
    start.log(&arguments);
    match start.runtime().map_err(BoxError::from).and_then(|runtime| runtime.block_on(run(start))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(start: Start) -> Result<(), BoxError> {
    let Start { config, listen, .. } = &start;
    let listener =
        TcpListener::bind(listen).await.map_err(|error| format!("can't listen on {listen}: {error}"))?;
    let gateway = stack::Gateway::new(config).await?;
    let service = gateway.service(config);
    let reload = tokio::spawn(reload::reload(gateway.reloading(config), start.file.clone()));
    let following = tokio::spawn(gateway.following());
    print(&start.greeting(listener.local_addr()?));

    let ready = gateway.ready.clone();
    let drain_delay = *config.server.drain_delay;
    let stop = async move {
        stop_signal().await;
        // Load balancers are told before the listener closes.
        ready.drain();
        tracing::info!("stopping: open answers may finish");
        tokio::time::sleep(drain_delay).await;
    };
    let server = &config.server;
    let (head, idle, drain) = (*server.header_timeout, *server.idle_timeout, *server.drain_timeout);
    let clients = serve::Clients { proxies: server.proxies, head, idle, drain };
    let finished = tokio::select! {
        finished = serve::serve(listener, service, clients, stop) => finished,
        () = second_signal() => false,
    };
    if !finished {
        tracing::warn!("stopped although answers were open");
    }
    for task in [reload, following] {
        task.abort();
        let _ = task.await;
    }
    // Whoever did not want to wait for open answers does not want to wait for those of clients that have
    // left.
    gateway.close(if finished { drain } else { Duration::ZERO }).await;
    Ok(())
}

/// Closed standard output, as under some supervisors, is no reason not to run.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Whoever asks twice does not want to wait.
async fn second_signal() {
    stop_signal().await;
    stop_signal().await;
}
