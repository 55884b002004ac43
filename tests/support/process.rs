//! The proxy as a process, and the other end of the line written by hand.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

pub const KEY: &str = "vk-of-the-app-0123456789";
pub const PROVIDER_KEY: &str = "provider-key-0123456789";

/// A proxy that runs; it is killed at the end of the test.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    /// What it printed when it began to listen.
    pub greeting: String,
    pub file: PathBuf,
}

/// The program, without the keys of whoever runs the tests.
pub fn command() -> Command {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let mut command = Command::new(target.join("examples/proxy"));
    command.env_clear().env("PROVIDER_KEY", PROVIDER_KEY).env("RUST_BACKTRACE", "1");
    command
}

/// Writes a file with a name of its own.
pub fn file(text: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{count}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("gateway.yaml");
    fs::write(&file, text).unwrap();
    file
}

impl Proxy {
    pub fn start(config: &str) -> Self {
        Self::at(file(config))
    }

    /// With a configuration that is there already, and the database beside it if there is one.
    pub fn at(file: PathBuf) -> Self {
        let mut command = command();
        command.arg("--config").arg(&file);
        Self::run(command, file)
    }

    pub fn without_configuration() -> Self {
        Self::run(command(), file(""))
    }

    fn run(mut command: Command, file: PathBuf) -> Self {
        let log = fs::File::create(file.with_extension("log")).unwrap();
        // Its database gets a directory of its own.
        command.current_dir(file.parent().unwrap());
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("cargo test builds the examples");
        let mut greeting = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !greeting.contains("ANTHROPIC_BASE_URL") {
            assert!(out.read_line(&mut greeting).unwrap() > 0, "{greeting}");
        }
        let (_, address) = greeting.split_once("http://").unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        // The rest is read so that the proxy never waits for a reader.
        thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Self { child, address, greeting, file }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.file.with_extension("log")).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        eventually(within, || self.child.try_wait().unwrap())
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is something.
pub fn eventually<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || begun.elapsed() > within {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// A request for a chat, with everything in its head that belongs there.
pub fn chat(model: &str, stream: bool, text: &str) -> String {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#
    );
    post(&format!("content-length: {}\r\n", body.len())) + &body
}

/// The head of a request for a chat, with these headers besides the usual ones.
pub fn post(headers: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         authorization: Bearer {KEY}\r\n{headers}\r\n"
    )
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Sends bytes, says that there are no more requests, and reads until the connection is closed.
pub fn exchange(mut socket: TcpStream, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let closing = String::from_utf8_lossy(request).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    // What is refused early may not be read to its end.
    let _ = socket.write_all(closing.as_bytes());
    parse(&rest(socket))
}

/// Everything that is left on a connection.
pub fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn parse(text: &str) -> Response {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.contains("transfer-encoding: chunked") { dechunked(body) } else { body.to_owned() };
    Response { status, head: head.to_owned(), body }
}

/// The text of chunks; a mark follows if the last one, which is empty, is missing.
fn dechunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        let Some(chunk) = rest.get(..size) else { break };
        whole.push_str(chunk);
        text = rest.get(size + 2..).unwrap_or_default();
    }
    whole + "(cut off)"
}

/// Reads one head, byte by byte, so that what follows stays where it is.
pub fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A provider whose answers are written by hand.
pub struct Upstream {
    pub address: SocketAddr,
}

impl Upstream {
    /// `serve` gets each connection, after the head and body of its first request.
    pub fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                let serve = serve.clone();
                thread::spawn(move || {
                    let head = head(&mut socket).to_lowercase();
                    let length = head
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.split_once("\r\n").unwrap().0.parse().unwrap());
                    socket.read_exact(&mut vec![0; length]).unwrap();
                    serve(socket);
                });
            }
        });
        Self { address }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}
