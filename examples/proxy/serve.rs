use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bartizan::{BoxError, exchange::ClientAddress};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tower::{Service, util::MapRequest};

use super::{patience::Patient, unread::Unread};

/// The most and the longest headers of a request.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 << 10;
/// How long a client may take nothing of its answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// How many proxies they come through.
    pub proxies: usize,
    /// For the head of their first request.
    pub head: Duration,
    /// From one request to the end of the head of the next one.
    pub idle: Duration,
    /// For open answers when the program ends.
    pub drain: Duration,
}

/// Accepts connections until `stop` is ready, and then waits for open answers, but not for longer than is
/// set. Returns whether all of them came to their end.
pub async fn serve<S, R>(
    listener: TcpListener,
    service: S,
    clients: Clients,
    stop: impl Future<Output = ()>,
) -> bool
where
    S: Service<Request<Unread>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let Clients { proxies, head, idle, drain } = clients;
    let (http1, http2) = (http1(idle), http2());
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    // Connections that outlive this function are cut, so that what they were doing is recorded.
    let (serving, until) = watch::channel(true);
    loop {
        let (socket, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted(&listener) => accepted,
        };
        let asked = Arc::new(AtomicBool::new(false));
        let asks = asked.clone();
        let service = MapRequest::new(service.clone(), move |mut req: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            let client = ClientAddress::behind(proxies, peer.ip(), req.headers());
            req.extensions_mut().insert(client);
            Unread::of(req)
        });
        let service = TowerToHyperService::new(service);
        let (http1, http2, watcher, mut until) =
            (http1.clone(), http2.clone(), graceful.watcher(), until.clone());
        tokio::spawn(async move {
            let by = Instant::now() + head;
            let begins = tokio::select! {
                begins = timeout_at(by, begins_with_http2(&socket)) => begins,
                _ = until.wait_for(|is_serving| !is_serving) => return,
            };
            let Ok(Ok(begins_with_http2)) = begins else { return };
            let socket = TokioIo::new(Patient::new(socket, PATIENCE));
            let serving = async {
                if begins_with_http2 {
                    // In a box, because few connections have to bear its size.
                    let connection = Box::pin(watcher.watch(http2.serve_connection(socket, service)));
                    follow(connection, by, asked).await;
                } else {
                    // Made where it stays: a future that is moved into another one takes its place twice.
                    let connection = std::pin::pin!(watcher.watch(http1.serve_connection(socket, service)));
                    follow(connection, by, asked).await;
                }
            };
            tokio::select! {
                () = serving => {}
                // Until there is nobody who could change it.
                _ = until.wait_for(|_| false) => {}
            }
        });
    }
    drop(listener);
    serving.send_replace(false);
    timeout(drain, graceful.shutdown()).await.is_ok()
}

/// Whether a client speaks HTTP/2 without having asked (RFC 9113, section 3.3).
///
/// hyper-util's `auto` finds out by reading the first bytes and putting them back, after which hyper makes the buffer of
/// an HTTP/1 connection twice as large: 8 KiB for each that is open.
async fn begins_with_http2(socket: &TcpStream) -> io::Result<bool> {
    /// No method of HTTP/1 begins so.
    const PREFACE: &[u8] = b"PRI ";
    const FIRST_PAUSE: Duration = Duration::from_millis(5);

    let (mut first, mut pause) = ([0; PREFACE.len()], FIRST_PAUSE);
    loop {
        let seen = socket.peek(&mut first).await?;
        let (is_all, may_be) = (seen == PREFACE.len(), PREFACE.starts_with(&first[..seen]));
        if is_all || !may_be || seen == 0 {
            return Ok(is_all && may_be);
        }
        // What was seen is seen again until there is more, which a client may never send.
        sleep(pause).await;
        pause *= 2;
    }
}

/// Sees a connection to its end, which comes soon if nothing is asked.
async fn follow<E: std::fmt::Display>(
    mut connection: impl Future<Output = Result<(), E>> + Unpin,
    by: Instant,
    asked: Arc<AtomicBool>,
) {
    let ended = match timeout_at(by, &mut connection).await {
        Ok(ended) => ended,
        // hyper's own timer is for connections that are kept.
        Err(_) if !asked.load(Ordering::Relaxed) => return,
        Err(_) => connection.await,
    };
    // A connection that breaks is the client's affair; what it was doing has been recorded.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection closed");
    }
}

fn http1(idle: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(MAX_HEAD)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(200)
        .keep_alive_interval(Duration::from_secs(30))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100);
    builder
}

/// The next connection.
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let _ = socket.set_nodelay(true);
                return (socket, peer);
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Out of descriptors: accepting again at once would fail again at once.
async fn pause(error: &io::Error) {
    let connection_is_gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !connection_is_gone {
        tracing::warn!(%error, "can't accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
