//! Real servers of Postgres, each with a directory and a port of its own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// A server that ends with the test.
pub struct Server {
    pub port: u16,
    directory: PathBuf,
    tls: bool,
}

/// `false`, with a loud word, where there is no Postgres. Where nothing may be left out, the test fails.
pub fn is_installed() -> bool {
    let installed = program("initdb").is_some();
    if !installed {
        assert!(std::env::var_os("BARTIZAN_LEAVE_NOTHING_OUT").is_none(), "postgresql is missing");
        eprintln!("LEFT OUT: postgresql is missing. To run this test: apt-get install postgresql");
    }
    installed
}

/// Where a program of Postgres is; distributions keep them off the path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let known = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = std::env::split_paths(&path).chain(known).collect();
    path.into_iter().map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// A command of Postgres, which doesn't work for root.
fn command(name: &str) -> Command {
    let program = program(name).unwrap();
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "nobody", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Server {
    pub fn start() -> Self {
        Self::new(false)
    }

    /// The server, and whose certificates a client has to trust.
    pub fn start_with_tls() -> (Self, Vec<u8>) {
        let server = Self::new(true);
        let authority = std::fs::read(server.path("data/server.crt")).unwrap();
        (server, authority)
    }

    fn new(tls: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("bartizan-postgres-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        if is_root() {
            succeeds(Command::new("chown").arg("nobody").arg(&directory));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { port, directory, tls };
        let data = server.path("data");
        succeeds(command("initdb").arg("-D").arg(data).args([
            "-A",
            "trust",
            "-U",
            "gateway",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        ]));
        if tls {
            server.certify();
        }
        server.run();
        server
    }

    /// Writes `server.key` and `server.crt`.
    fn certify(&self) {
        let data = self.path("data");
        succeeds(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
                .args(["-keyout", "server.key", "-out", "server.crt", "-days", "2", "-subj", "/CN=postgres"])
                .args([
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-addext",
                    "basicConstraints=critical,CA:FALSE",
                ])
                .current_dir(&data),
        );
        if is_root() {
            succeeds(
                Command::new("chown").arg("nobody").args([data.join("server.key"), data.join("server.crt")]),
            );
        }
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all all trust\n").unwrap();
    }

    /// Starts it, or starts it again with what it had written.
    pub fn run(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=30 \
             -c shared_buffers=16MB -c ssl={}",
            self.port,
            if self.tls { "on" } else { "off" }
        );
        succeeds(
            command("pg_ctl")
                .args(["start", "-w", "-t", "60", "-s", "-D"])
                .arg(self.path("data"))
                .args(["-l"])
                .arg(self.path("log"))
                .args(["-o", &options]),
        );
    }

    /// Ends it without a warning, as a crash does.
    pub fn kill(&self) {
        let stopped = command("pg_ctl")
            .args(["stop", "-w", "-s", "-m", "immediate", "-D"])
            .arg(self.path("data"))
            .status();
        assert!(stopped.is_ok());
    }

    /// Stops all of its processes where they are, or lets them go on: it is there and does not answer.
    pub fn signal(&self, name: &str) {
        let pids = std::fs::read_to_string(self.path("data/postmaster.pid")).unwrap();
        let postmaster = pids.lines().next().unwrap();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", postmaster]).output().unwrap().stdout;
        let children = String::from_utf8(children).unwrap();
        let pids = std::iter::once(postmaster).chain(children.split_whitespace());
        assert!(Command::new("kill").arg(format!("-{name}")).args(pids).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        let mode = if self.tls { "require" } else { "disable" };
        format!("postgres://gateway@127.0.0.1:{}/postgres?sslmode={mode}", self.port)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What a statement gives, a line for each row.
    pub fn sql(&self, text: &str) -> String {
        let output = succeeds(command("psql").arg(self.url()).args(["-X", "-A", "-t", "-q", "-c", text]));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(Path::new(&self.directory));
    }
}
