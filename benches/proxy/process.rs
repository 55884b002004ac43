use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A process under measurement; it ends with this value.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// From its start until it said that it listens.
    pub ready_after: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time on a core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Of all threads.
    pub all: Duration,
    /// Of the first one, which is the only worker.
    pub worker: Duration,
}

fn on_a_core(thread: &Path) -> Duration {
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

impl Process {
    /// Starts `program` on a core, if there are several, and waits for the line that says where it
    /// listens.
    pub fn start(program: &Path, arguments: &[&str], core: Option<usize>) -> Result<Self, Box<dyn Error>> {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        let begin = Instant::now();
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let address = loop {
            let line = lines.next().ok_or("the process ended before it listened")??;
            if let Some((_, address)) = line.split_once("listens on http://") {
                break address.trim().parse()?;
            }
        };
        let ready_after = begin.elapsed();
        // Nobody reads on, but what it still writes has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address, ready_after })
    }

    /// The time on a core that it has had so far.
    pub fn cpu(&self) -> Cpu {
        let tasks = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(&tasks).into_iter().flatten().flatten();
        let first = Path::new(&tasks).join(self.child.id().to_string());
        Cpu { all: threads.map(|thread| on_a_core(&thread.path())).sum(), worker: on_a_core(&first) }
    }

    /// Its memory, in KiB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(f64::NAN)
    }
}

/// The core of the proxy and that of everything else, if there are two and a way to choose.
pub fn cores() -> Option<(usize, usize)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chooses =
        Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    (cores > 1 && chooses.is_ok()).then_some((0, 1))
}

/// Moves this process to a core.
pub fn move_to(core: usize) {
    let _ = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
}

/// The example, built anew if it is older than its sources.
pub fn proxy() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::var_os("BARTIZAN_PROXY") {
        return Ok(path.into());
    }
    // This program is in `release/deps`.
    let release =
        std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no target folder")?.to_owned();
    let path = release.join("examples").join("proxy");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "--example", "proxy"]).status()?;
    if !built.success() {
        return Err("the proxy could not be built".into());
    }
    Ok(path)
}
