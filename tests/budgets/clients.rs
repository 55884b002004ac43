//! Many clients at once, of which some leave.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use crate::process::KEY;

/// How many requests share a connection.
const STREAMS: usize = 100;

/// What a client does about its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It reads a whole answer.
    Whole,
    /// It reads a stream to its end.
    Stream,
    /// It leaves when the stream has begun.
    Leave,
}

/// Whole answers, streams, and clients that leave, in a mixture that is another one on each connection.
pub fn mixed(number: usize) -> Way {
    [Way::Whole, Way::Stream, Way::Leave, Way::Stream, Way::Whole][number / 7 % 5]
}

/// What clients have seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub asked: AtomicU64,
    /// Answers that were read to their end.
    pub whole: AtomicU64,
    /// Streams that a client has left.
    pub left: AtomicU64,
    /// Refusals by a budget or a limit.
    pub refused: AtomicU64,
    /// Refusals because the store is away.
    pub away: AtomicU64,
    /// Connections that broke.
    pub broken: AtomicU64,
}

impl Seen {
    pub fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::SeqCst)
    }

    /// Adds what was seen later.
    pub fn add(&self, later: &Self) {
        for (sum, count) in self.counts().into_iter().zip(later.counts()) {
            sum.fetch_add(Self::of(count), Ordering::SeqCst);
        }
    }

    fn counts(&self) -> [&AtomicU64; 6] {
        [&self.asked, &self.whole, &self.left, &self.refused, &self.away, &self.broken]
    }

    pub fn granted(&self) -> u64 {
        Self::of(&self.whole) + Self::of(&self.left)
    }
}

/// Sends requests to all of `proxies`, so many at once, until `more` says no or nobody answers any more.
pub async fn load(
    proxies: &[SocketAddr],
    at_once: usize,
    way: fn(usize) -> Way,
    more: impl Fn(usize) -> bool + Clone + Send + 'static,
) -> Seen {
    let seen = std::sync::Arc::<Seen>::default();
    let next = std::sync::Arc::<AtomicUsize>::default();
    let mut connections = Vec::new();
    for number in 0..at_once.div_ceil(STREAMS).max(proxies.len()) {
        connections.push(connect(proxies[number % proxies.len()]).await);
    }
    let mut clients = JoinSet::new();
    for number in 0..at_once {
        let mut send = connections[number % connections.len()].clone();
        let (seen, next, more) = (seen.clone(), next.clone(), more.clone());
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if !more(number) {
                    return;
                }
                seen.asked.fetch_add(1, Ordering::SeqCst);
                match ask(&mut send, way(number)).await {
                    Outcome::Whole => &seen.whole,
                    Outcome::Left => &seen.left,
                    Outcome::Refused => &seen.refused,
                    Outcome::Away => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        &seen.away
                    }
                    Outcome::Broken => {
                        seen.broken.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                .fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    clients.join_all().await;
    std::sync::Arc::into_inner(seen).unwrap()
}

async fn connect(proxy: SocketAddr) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(proxy).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    send
}

enum Outcome {
    Whole,
    Left,
    Refused,
    Away,
    Broken,
}

async fn ask(send: &mut SendRequest<Full<Bytes>>, way: Way) -> Outcome {
    let req = Request::post("http://localhost/v1/chat/completions");
    let req = req.header("authorization", format!("Bearer {KEY}"));
    let req = req.body(Full::from(body(way != Way::Whole))).unwrap();
    if send.ready().await.is_err() {
        return Outcome::Broken;
    }
    let Ok(answer) = send.send_request(req).await else { return Outcome::Broken };
    let (status, mut body) = (answer.status(), answer.into_body());
    if status == StatusCode::OK && way == Way::Leave {
        let _ = body.frame().await;
        return Outcome::Left;
    }
    let Ok(body) = body.collect().await else { return Outcome::Broken };
    let body = String::from_utf8(body.to_bytes().into()).unwrap();
    let end = if way == Way::Whole { "\"finish_reason\":\"stop\"" } else { "data: [DONE]" };
    match status {
        StatusCode::OK if body.contains(end) => Outcome::Whole,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Refused,
        StatusCode::INTERNAL_SERVER_ERROR => Outcome::Away,
        other => panic!("{other}: {body}"),
    }
}

/// A request as long as any other, so that all of them cost the same.
pub fn body(stream: bool) -> String {
    format!(
        r#"{{"model":"chat","max_tokens":64,"stream":{stream:<5},"messages":[{{"role":"user","content":"Hello!"}}]}}"#
    )
}
