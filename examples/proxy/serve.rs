use std::{
    convert::Infallible,
    io,
    pin::Pin,
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
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
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
    let builder = builder(idle);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    // Connections that outlive this function are cut, so that what they were doing is recorded.
    let (_serving, until) = watch::channel(());
    loop {
        let (socket, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            },
        };
        let _ = socket.set_nodelay(true);
        let asked = Arc::new(AtomicBool::new(false));
        let asks = asked.clone();
        let service = MapRequest::new(service.clone(), move |mut req: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            let client = ClientAddress::behind(proxies, peer.ip(), req.headers());
            req.extensions_mut().insert(client);
            Unread::of(req)
        });
        let service = TowerToHyperService::new(service);
        let (builder, watcher, mut until) = (builder.clone(), graceful.watcher(), until.clone());
        tokio::spawn(async move {
            // Made where it stays: a future that is moved into another one takes its place twice.
            let socket = TokioIo::new(Patient::new(socket, PATIENCE));
            let connection = builder.serve_connection(socket, service).into_owned();
            let connection = std::pin::pin!(watcher.watch(connection));
            tokio::select! {
                () = follow(connection, head, asked) => {}
                _ = until.changed() => {}
            }
        });
    }
    drop(listener);
    timeout(drain, graceful.shutdown()).await.is_ok()
}

/// Sees a connection to its end, which comes soon if nothing is asked.
async fn follow<E: std::fmt::Display>(
    mut connection: Pin<&mut impl Future<Output = Result<(), E>>>,
    head: Duration,
    asked: Arc<AtomicBool>,
) {
    let ended = match timeout(head, &mut connection).await {
        Ok(ended) => ended,
        // hyper's own timer is for connections that are kept, and begins only when the version of the
        // protocol is known.
        Err(_) if !asked.load(Ordering::Relaxed) => return,
        Err(_) => connection.await,
    };
    // A connection that breaks is the client's affair; what it was doing has been recorded.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection closed");
    }
}

fn builder(idle: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(200)
        .keep_alive_interval(Duration::from_secs(30))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100);
    builder
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
