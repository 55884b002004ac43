//! Real servers of Redis, each with a directory and a port of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A server that ends with the test.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    directory: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Usual,
    /// It says of nothing that it is done before it is on the disk.
    Durable,
    /// It is to be made part of a cluster.
    Cluster,
    /// It speaks nothing but TLS.
    Tls,
}

/// `None`, with a loud word, where there is no `redis-server`. Where nothing may be left out, the test fails.
pub fn is_installed() -> bool {
    let installed = Command::new("redis-server").arg("--version").output().is_ok();
    if !installed {
        assert!(std::env::var_os("BARTIZAN_LEAVE_NOTHING_OUT").is_none(), "redis-server is missing");
        eprintln!("LEFT OUT: redis-server is missing. To run this test: apt-get install redis-server");
    }
    installed
}

impl Server {
    pub fn start() -> Self {
        Self::new(Kind::Usual)
    }

    pub fn start_durable() -> Self {
        Self::new(Kind::Durable)
    }

    /// The server, and whose certificates a client has to trust.
    pub fn start_with_tls() -> (Self, Vec<u8>) {
        let server = Self::new(Kind::Tls);
        let authority = std::fs::read(server.path("cert.pem")).unwrap();
        (server, authority)
    }

    fn new(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("bartizan-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut server = Self { child: None, port: free_port(kind == Kind::Cluster), directory, kind };
        if kind == Kind::Tls {
            server.certify();
        }
        server.run();
        server
    }

    /// Writes `key.pem` and `cert.pem`.
    fn certify(&self) {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=redis"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(&self.directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts it, or starts it again with what it had written.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        let fsync = if self.kind == Kind::Durable { "always" } else { "everysec" };
        command
            .current_dir(&self.directory)
            .args(["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", fsync, "--save", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match self.kind {
            Kind::Tls => command
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
                .args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]),
            _ => command.args(["--port", &port]),
        };
        if self.kind == Kind::Cluster {
            command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        }
        self.child = Some(command.spawn().unwrap());
        until("redis answers", || self.cli(&["ping"]).trim() == "PONG");
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it where it is, or lets it go on: it is there and does not answer.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        let scheme = if self.kind == Kind::Tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let tls: &[_] = if self.kind == Kind::Tls { &["--tls", "--insecure"] } else { &[] };
        let output =
            Command::new("redis-cli").args(["-p", &port]).args(tls).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How often a command was sent or run by a script.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["info", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(Path::new(&self.directory));
    }
}

/// Three servers that share the slots.
pub fn cluster() -> Vec<Server> {
    let servers: Vec<_> = (0..3).map(|_| Server::new(Kind::Cluster)).collect();
    let addresses: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let output = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let is_whole = |server: &Server| server.cli(&["cluster", "info"]).contains("cluster_state:ok");
    until("the cluster is whole", || servers.iter().all(is_whole));
    servers
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Servers of a cluster talk to each other on a port that is 10,000 higher.
fn free_port(cluster: bool) -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = if cluster { 10_000 + port % 20_000 } else { port };
        if is_free(port) && (!cluster || is_free(port + 10_000)) {
            return port;
        }
    }
}
