use std::{cell::Cell, future::pending, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinSet, LocalSet},
    time::Instant,
};

use super::process::{Cpu, Process};

/// What a window of time has seen.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Requests answered, or events received.
    pub count: u64,
    pub cpu: Cpu,
    pub seconds: f64,
    /// How long answers took, sorted; in microseconds.
    pub latencies: Vec<u32>,
}

impl Window {
    pub fn micros_each(&self) -> f64 {
        self.cpu.all.as_secs_f64() * 1e6 / self.count as f64
    }

    /// What the worker alone needed.
    pub fn worker_micros_each(&self) -> f64 {
        self.cpu.worker.as_secs_f64() * 1e6 / self.count as f64
    }

    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    pub fn latency(&self, quantile: f64) -> f64 {
        let index = ((self.latencies.len() as f64 - 1.0) * quantile) as usize;
        self.latencies.get(index).map_or(f64::NAN, |micros| f64::from(*micros))
    }
}

/// What the connections have counted together.
#[derive(Default)]
struct Counters {
    count: Cell<u64>,
    latencies: Cell<Vec<u32>>,
}

impl Counters {
    fn add(&self, count: u64) {
        self.count.set(self.count.get() + count);
    }

    fn answered(&self, after: Duration) {
        self.add(1);
        let mut latencies = self.latencies.take();
        latencies.push(after.as_micros() as u32);
        self.latencies.set(latencies);
    }
}

/// Keeps so many connections busy for a while, each with one request at a time, and measures after a
/// fifth of that time.
pub async fn ask(proxy: &Process, request: &[u8], connections: usize, time: Duration) -> io::Result<Window> {
    measured(proxy, connections, time, async |counters| {
        let mut socket = connect(proxy.address).await?;
        let mut buffer = Vec::with_capacity(16 << 10);
        loop {
            let begin = Instant::now();
            socket.write_all(request).await?;
            whole(&mut socket, &mut buffer).await?;
            counters.answered(begin.elapsed());
        }
    })
    .await
}

/// Keeps so many streams open for a while, and counts their events.
pub async fn listen(proxy: &Process, request: &[u8], streams: usize, time: Duration) -> io::Result<Window> {
    measured(proxy, streams, time, async |counters| {
        events(proxy.address, request, |count| counters.add(count)).await
    })
    .await
}

async fn measured(
    proxy: &Process,
    connections: usize,
    time: Duration,
    connection: impl AsyncFn(Rc<Counters>) -> io::Result<()>,
) -> io::Result<Window> {
    let counters = Rc::new(Counters::default());
    let work = (0..connections).map(|_| connection(counters.clone()));
    let work = futures_util::future::try_join_all(work);
    let watch = async {
        tokio::time::sleep(time / 5).await;
        let (begin, cpu) = (Instant::now(), proxy.cpu());
        counters.count.set(0);
        counters.latencies.take();
        tokio::time::sleep(time).await;
        let (after, seconds) = (proxy.cpu(), begin.elapsed().as_secs_f64());
        let cpu = Cpu { all: after.all - cpu.all, worker: after.worker - cpu.worker };
        let mut latencies = counters.latencies.take();
        latencies.sort_unstable();
        Window { count: counters.count.get(), cpu, seconds, latencies }
    };
    tokio::select! {
        broken = work => Err(broken.err().unwrap_or_else(|| io::Error::other("the connections have ended"))),
        window = watch => Ok(window),
    }
}

/// Opens so many streams and calls `then` when each has brought two events.
pub async fn hold<T>(
    address: SocketAddr,
    request: &[u8],
    streams: usize,
    then: impl FnOnce() -> T,
) -> io::Result<T> {
    let open = Rc::new(Cell::new(0));
    let local = LocalSet::new();
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let (open, request) = (open.clone(), request.to_vec());
        let stream = async move {
            let mut seen = 0;
            let count = |count| {
                if seen < 2 && seen + count >= 2 {
                    open.set(open.get() + 1);
                }
                seen += count;
            };
            events(address, &request, count).await
        };
        tasks.spawn_local_on(stream, &local);
    }
    let all_open = async {
        while open.get() < streams {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    local
        .run_until(async {
            tokio::select! {
                Some(broken) = tasks.join_next() => {
                    Err(broken?.err().unwrap_or_else(|| io::Error::other("a stream has ended")))
                }
                () = all_open => Ok(then()),
            }
        })
        .await
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Reads one whole answer of known length.
async fn whole(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let head = read_head(socket, buffer).await?;
    let lengths = memchr::memmem::find(&buffer[..head], b"content-length: ").map(|at| &buffer[at + 16..head]);
    let digits = lengths.into_iter().flatten().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    if length < 500 {
        return Err(io::Error::other(String::from_utf8_lossy(buffer).into_owned()));
    }
    while buffer.len() < head + length {
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads the head of an answer, which has to be a good one.
async fn read_head(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            if !buffer.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other(String::from_utf8_lossy(buffer).into_owned()));
            }
            return Ok(at + 4);
        }
    }
}

/// Reads a stream without an end, telling `seen` how many more events have come.
async fn events(address: SocketAddr, request: &[u8], mut seen: impl FnMut(u64)) -> io::Result<()> {
    let mut socket = connect(address).await?;
    socket.write_all(request).await?;
    let mut buffer = Vec::with_capacity(4 << 10);
    let mut from = read_head(&mut socket, &mut buffer).await?;
    loop {
        seen(memchr::memmem::find_iter(&buffer[from..], b"\n\n").count() as u64);
        // An event's end may be cut in two.
        let cut = buffer.ends_with(b"\n") && !buffer.ends_with(b"\n\n");
        buffer.clear();
        buffer.extend(cut.then_some(b'\n'));
        from = 0;
        if socket.read_buf(&mut buffer).await? == 0 {
            return pending().await;
        }
    }
}
