use std::{error::Error, net::SocketAddr, path::Path, time::Duration};

use super::{
    Arguments,
    clients::{self, Window},
    process::{self, Process},
    records,
    scenario::{self, Scenario},
};

const STARTS: usize = 7;

/// How to start the two that are compared.
pub(super) struct Candidates<'a> {
    program: &'a Path,
    bare: Vec<&'a str>,
    proxy: &'a Path,
    folder: &'a Path,
    upstream: SocketAddr,
    core: Option<usize>,
}

impl Candidates<'_> {
    fn bare(&self) -> Result<Process, Box<dyn Error>> {
        Process::start(self.program, &self.bare, self.core)
    }

    fn proxy(&self) -> Result<Process, Box<dyn Error>> {
        let records = self.folder.join("records.jsonl");
        self.proxy_with("proxy", &format!("{{ file: \"{}\" }}", records.display()), false)
    }

    /// A proxy with such records, which has files of its own by this name.
    pub(super) fn proxy_with(
        &self,
        name: &str,
        records: &str,
        content: bool,
    ) -> Result<Process, Box<dyn Error>> {
        let config = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&config, scenario::config(self.upstream, records, content))?;
        Process::start(
            self.proxy,
            &["--config", config.to_str().ok_or("a folder whose name is text")?],
            self.core,
        )
    }

    /// Where there is room for files.
    pub(super) fn folder(&self) -> &Path {
        self.folder
    }
}

/// Measures everything and prints the tables.
pub async fn all(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let cores = process::cores();
    match cores {
        Some(_) => println!("the proxy has core 0, provider and clients have core 1"),
        None => println!("one core, or no taskset: everything shares what there is, and ratios are blurred"),
    }
    let (program, proxy) = (std::env::current_exe()?, process::proxy()?);
    let other_core = cores.map(|(_, other)| other);
    let provider = Process::start(&program, &["--role", "provider"], other_core)?;
    other_core.into_iter().for_each(process::move_to);

    let folder = std::env::temp_dir().join(format!("bartizan-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let upstream = provider.address.to_string();
    let candidates = Candidates {
        program: &program,
        bare: vec!["--role", "bare", "--upstream", &upstream],
        proxy: &proxy,
        folder: &folder,
        upstream: provider.address,
        core: cores.map(|(first, _)| first),
    };
    let measured = tables(arguments, &candidates).await;
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

async fn tables(arguments: &Arguments, candidates: &Candidates<'_>) -> Result<(), Box<dyn Error>> {
    let wanted = |scenario: &&Scenario| scenario.name.contains(&arguments.only);
    costs(arguments, candidates, scenario::ALL.iter().filter(wanted)).await?;
    records::costs(arguments, candidates).await?;
    println!("\n{:<28} {:>14} {:>14} {:>9} {:>9}", "memory, KiB", "bare", "proxy", "ratio", "target");
    for scenario in scenario::OPEN.iter().filter(wanted) {
        let bare = memory(arguments, &candidates.bare()?, scenario).await?;
        let proxy = memory(arguments, &candidates.proxy()?, scenario).await?;
        println!("{:<28} {bare:>14.1} {proxy:>14.1} {:>9.2} {:>9}", scenario.name, proxy / bare, "48 KiB");
    }
    starts(candidates)
}

/// CPU time of a request or an event, in turns.
async fn costs<'a>(
    arguments: &Arguments,
    candidates: &Candidates<'_>,
    scenarios: impl Iterator<Item = &'a Scenario>,
) -> Result<(), Box<dyn Error>> {
    let (bare, proxy) = (candidates.bare()?, candidates.proxy()?);
    println!("{} rounds of {} s; medians [range]", arguments.rounds, arguments.seconds);
    println!(
        "\n{:<28} {:>22} {:>22} {:>7} {:>7}   {:>17} {:>15} {:>15}",
        "CPU µs each", "bare", "proxy", "ratio", "target", "a second", "p50 µs", "p99 µs"
    );
    for scenario in scenarios {
        let (mut of_bare, mut of_proxy) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            of_bare.push(window(arguments, &bare, scenario).await?);
            of_proxy.push(window(arguments, &proxy, scenario).await?);
        }
        row(scenario, &of_bare, &of_proxy);
    }
    Ok(())
}

pub(super) async fn window(
    arguments: &Arguments,
    proxy: &Process,
    scenario: &Scenario,
) -> Result<Window, Box<dyn Error>> {
    let (request, time) = (scenario.request(), Duration::from_secs_f64(arguments.seconds));
    Ok(match scenario.pace {
        None => clients::ask(proxy, &request, arguments.connections, time).await?,
        Some(_) => clients::listen(proxy, &request, arguments.streams, time).await?,
    })
}

fn row(scenario: &Scenario, bare: &[Window], proxy: &[Window]) {
    let cost = |windows: &[Window]| {
        let (median, least, most) = spread(windows, Window::micros_each);
        (median, format!("{median:.1} [{least:.1}–{most:.1}]"))
    };
    let both = |figure: &dyn Fn(&Window) -> f64| {
        format!("{:.0}/{:.0}", spread(bare, figure).0, spread(proxy, figure).0)
    };
    let ((bare_cost, bare_text), (proxy_cost, proxy_text)) = (cost(bare), cost(proxy));
    let target = scenario.target.map_or_else(String::new, |target| target.to_string());
    let is_whole = scenario.pace.is_none();
    let latency =
        |quantile: f64| if is_whole { both(&|window| window.latency(quantile)) } else { String::new() };
    println!(
        "{:<28} {bare_text:>22} {proxy_text:>22} {:>7.2} {target:>7}   {:>17} {:>15} {:>15}",
        scenario.name,
        proxy_cost / bare_cost,
        both(&Window::rate),
        latency(0.5),
        latency(0.99),
    );
}

/// The median, the least and the most.
pub(super) fn spread<T>(of: &[T], figure: impl Fn(&T) -> f64) -> (f64, f64, f64) {
    let mut figures: Vec<f64> = of.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    (at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

/// The memory of one open stream, in KiB.
async fn memory(arguments: &Arguments, proxy: &Process, scenario: &Scenario) -> Result<f64, Box<dyn Error>> {
    let request = scenario.request();
    // What is made once is not the streams'.
    clients::hold(proxy.address, &request, 10, || ()).await?;
    let before = proxy.resident();
    let open = clients::hold(proxy.address, &request, arguments.open_streams, || proxy.resident()).await?;
    Ok((open - before) / arguments.open_streams as f64)
}

/// From the start of the process until it says that it listens.
fn starts(candidates: &Candidates<'_>) -> Result<(), Box<dyn Error>> {
    let (mut bare, mut proxy) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        bare.push(candidates.bare()?.ready_after);
        proxy.push(candidates.proxy()?.ready_after);
    }
    let median = |times: &[Duration]| spread(times, |time| time.as_secs_f64() * 1e3).0;
    println!("\n{:<28} {:>14} {:>14} {:>9} {:>9}", "start until ready, ms", "bare", "proxy", "", "target");
    let name = format!("median of {STARTS}");
    println!("{name:<28} {:>14.1} {:>14.1} {:>9} {:>9}", median(&bare), median(&proxy), "", "50 ms");
    Ok(())
}
