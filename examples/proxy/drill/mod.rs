//! `proxy drill`: makes each target of each route fail, and looks at what a client sees of it.
//!
//! Requests go through the real stack, in this process. If nobody asks for the real providers, the built-in demo
//! answers in their place, in their dialects, and the clock jumps to the next thing that happens, so that a target
//! that hangs for a minute takes no time.

mod ask;
mod plan;
mod report;
mod way;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use bartizan::{
    BoxError,
    config::{Builder, Config, FaultRule},
    fault::Fault,
};

pub use self::plan::read;
use self::{
    ask::{Asked, ask},
    plan::{Case, cases, prepared},
    report::Report,
};
use super::{arguments::Drill, stack::Gateway};

/// How often a request is sent at most until a target is asked that isn't always: the demo's cost nothing.
const TRIES: [usize; 2] = [50, 5];

pub fn run(drill: &Drill) -> ExitCode {
    match drilled(drill) {
        Ok(report) => {
            let text = if drill.json { report.json() } else { report.text() };
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            if report.survives() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::from(2)
        }
    }
}

fn drilled(drill: &Drill) -> Result<Report, BoxError> {
    let config = prepared(read(&drill.config, drill.real)?, drill.real);
    let cases = cases(&config, &drill.route)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(!drill.real).build()?.block_on(async {
        let mut report = Report::new(drill.real);
        for (done, case) in cases.iter().enumerate() {
            progress(done, &cases);
            let asked = played(&config, case, drill.real).await?;
            report.add(case, asked);
        }
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        Ok(report)
    })
}

/// One line that changes, for people; one for each target, for logs.
fn progress(done: usize, cases: &[Case]) {
    let Case { route, who, fault, .. } = &cases[done];
    let all = cases.len();
    if std::io::stderr().is_terminal() {
        let fault = fault.map(|fault| fault.to_string()).unwrap_or_default();
        eprint!("\r\x1b[K{done}/{all} {route}: {who} {fault}");
    } else if done == 0 || cases[done - 1].who != *who {
        eprintln!("{done}/{all} {route}: {who}");
    }
}

/// What a client sees of one fault: of the first request that it strikes.
async fn played(config: &Config, case: &Case, real: bool) -> Result<Asked, BoxError> {
    let mut config = case.way.only(config);
    config.faults.rules.extend(case.rules());
    let builder = if real { Builder::default() } else { Builder::default().rehearsed() };
    let gateway = Gateway::with(&config, builder).await?;
    let service = gateway.service(&config);
    let mut asked = ask(service.clone(), case).await;
    for _ in 1..TRIES[usize::from(real)] {
        if case.fault.is_none() || asked.struck || !asked.seen.is_answer() {
            break;
        }
        asked = ask(service.clone(), case).await;
    }
    drop(service);
    gateway.close(std::time::Duration::ZERO).await;
    Ok(asked)
}

impl Case {
    fn rules(&self) -> impl Iterator<Item = FaultRule> {
        let rule = |fault| self.failing.iter().map(move |target| FaultRule::new(fault, target));
        self.fault.into_iter().flat_map(rule)
    }

    /// Whether a client can be told only that its answer broke off: what it has got can't be taken back.
    fn is_midway(&self) -> bool {
        self.stream && matches!(self.fault, Some(Fault::Cut { .. }))
    }
}
