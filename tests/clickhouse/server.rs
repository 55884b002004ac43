//! ClickHouse's own engine behind its HTTP interface: `server.py`, which needs the package `chdb-core` of PyPI.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bartizan::{clickhouse::ClickHouseOptions, secret::Secret, upstream::SmallClient};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

pub const USER: &str = "gateway";
pub const PASSWORD: &str = "hunter2";

/// A server that ends with the test.
pub struct Server {
    child: Child,
    port: u16,
    directory: PathBuf,
    client: SmallClient,
}

/// `false`, with a loud word, where the engine is missing. Where nothing may be left out, the test fails.
pub fn is_installed() -> bool {
    let is_installed = python().is_some();
    if !is_installed {
        assert!(std::env::var_os("BARTIZAN_LEAVE_NOTHING_OUT").is_none(), "chdb-core is missing");
        eprintln!(
            "LEFT OUT: chdb is missing. To run this test: python3 -m venv .ci/venv && .ci/venv/bin/pip install --no-deps \
             --requirement tests/clickhouse/requirements.txt"
        );
    }
    is_installed
}

/// A Python that has the engine: that of the CI, or the usual one.
fn python() -> Option<&'static PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let has_engine = |python: &PathBuf| {
        let found = Command::new(python).args(["-c", "import chdb"]).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    PYTHON
        .get_or_init(|| [root.join(".ci/venv/bin/python"), "python3".into()].into_iter().find(has_engine))
        .as_ref()
}

impl Server {
    pub fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("bartizan-clickhouse-{}-{number}", std::process::id()));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = run(port, &directory);
        Self { child, port, directory, client: SmallClient::new(Duration::from_secs(10)) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn options(&self) -> ClickHouseOptions {
        ClickHouseOptions::new(&self.url()).unwrap().user(USER).password(Secret::new(PASSWORD))
    }

    /// Ends it without a warning.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again with what it had written.
    pub fn run(&mut self) {
        self.child = run(self.port, &self.directory);
    }

    /// Has the next insert carried out and not answered.
    pub async fn lose(&self) {
        self.post("/lose", "").await;
    }

    /// What a statement gives, a line for each row.
    pub async fn sql(&self, text: &str) -> String {
        self.post("/", text).await.trim().to_owned()
    }

    async fn post(&self, path: &str, body: &str) -> String {
        let req = Request::post(format!("{}{path}", self.url()))
            .header("x-clickhouse-user", USER)
            .header("x-clickhouse-key", PASSWORD)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = self.client.send(req, Duration::from_secs(30)).await.unwrap();
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        assert!(answer.status().is_success(), "{body}: {text}");
        text
    }
}

fn run(port: u16, directory: &PathBuf) -> Child {
    let mut child = Command::new(python().unwrap())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clickhouse/server.py"))
        .arg(port.to_string())
        .arg(directory)
        .args([USER, PASSWORD])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");
    child
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
