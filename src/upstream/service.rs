use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service;

use super::{Address, HttpClient, ProviderBody};
use crate::{
    BoxError, BoxFuture, Dialect, Error, Kind, Payload, error::Reply, exchange::Deadline, patience::Patience,
};

/// The most that is read of what a provider says instead of success.
const MAX_ERROR: usize = 64 << 10;

/// Calls a provider; see the [module](super).
#[derive(Clone, Debug)]
pub struct Upstream {
    client: HttpClient,
    address: Address,
    first_byte: Patience,
    idle: Duration,
}

impl Upstream {
    /// Calls the provider at `base`, such as `https://api.openai.com/v1`; the dialect of a request adds
    /// its path.
    ///
    /// # Errors
    ///
    /// If `base` has no scheme or no host.
    pub fn new(client: HttpClient, base: &str) -> Result<Self, BoxError> {
        Ok(Self::at(client, Address::new(base)?))
    }

    /// Calls the provider at `address`.
    pub fn at(client: HttpClient, address: Address) -> Self {
        Self { client, address, first_byte: Patience::default(), idle: Duration::from_secs(60) }
    }

    /// Sets how long the provider may take until the head of its answer. A whole answer comes with its
    /// head, so this has to be longer than the longest answer that isn't streamed. If it isn't set: ten minutes, and
    /// where another target [could be asked](crate::Payload::has_others), half of what is left of them or of the
    /// request's [own time](Deadline), so that a provider that hangs leaves the next one as much.
    #[must_use]
    pub fn first_byte(self, time: Duration) -> Self {
        Self { first_byte: Patience::always(time), ..self }
    }

    /// Sets how long the provider may be silent inside of its answer.
    #[must_use]
    pub fn idle(self, time: Duration) -> Self {
        Self { idle: time, ..self }
    }
}

impl Service<Request<Payload>> for Upstream {
    type Response = Response<ProviderBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request<Payload>) -> Self::Future {
        let dialect = req.body().dialect();
        let uri = match self.address.of(req.body()) {
            Ok(uri) => uri,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let deadline = req.extensions().get::<Deadline>().map(|deadline| deadline.0);
        *req.uri_mut() = uri;
        let resource = req.body().head().resource.as_ref();
        let method = resource.map_or(Method::POST, |resource| resource.method.clone());
        *req.method_mut() = method;
        *req.version_mut() = Version::HTTP_11;
        let is_opaque = req.body().head().is_opaque;
        let (first_byte, idle) = (self.first_byte.with(&req), self.idle);
        let answer = self.client.request(req);
        Box::pin(async move {
            let patience = Instant::now() + first_byte;
            let by = deadline.map_or(patience, |deadline| deadline.min(patience));
            let late = |_| match by < patience {
                true => Error::new(Kind::Timeout, "the deadline of the request passed"),
                false => {
                    Error::new(Kind::Timeout, format!("the provider did not answer within {first_byte:?}"))
                }
            };
            let res = tokio::time::timeout_at(by, answer).await.map_err(late)?.map_err(unreachable)?;
            if !res.status().is_success() {
                let refusal = tokio::time::timeout_at(by, refusal(res, dialect)).await;
                return Err(refusal.unwrap_or_else(|elapsed| late(elapsed).with_nothing_begun()));
            }
            let (mut parts, body) = res.into_parts();
            parts.headers = for_clients(parts.headers);
            if !is_opaque {
                let json = HeaderValue::from_static("application/json");
                parts.headers.entry(header::CONTENT_TYPE).or_insert(json);
            }
            parts.version = Version::HTTP_11;
            parts.extensions.clear();
            Ok(Response::from_parts(parts, ProviderBody::new(body, idle, deadline)))
        })
    }
}

fn unreachable(error: hyper_util::client::legacy::Error) -> Error {
    if error.is_connect() {
        let error = Error::new(Kind::Unreachable, "the provider could not be reached").with_source(error);
        return error.with_nothing_begun();
    }
    Error::new(Kind::Unreachable, "the provider's connection broke").with_source(error)
}

/// What the provider says instead of success.
async fn refusal(res: Response<Incoming>, dialect: &'static dyn Dialect) -> Error {
    let (parts, mut body) = res.into_parts();
    if parts.status.is_redirection() || parts.status.is_informational() {
        return Error::new(Kind::Upstream, format!("the provider answered {}", parts.status));
    }
    let mut said = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            said.extend_from_slice(&data[..data.len().min(MAX_ERROR - said.len())]);
        }
        if said.len() == MAX_ERROR {
            break;
        }
    }
    let body = Bytes::from(said);
    dialect.read_error(Reply { status: parts.status, headers: parts.headers, body, dialect: dialect.id() })
}

/// The headers of a provider that its clients read.
fn for_clients(headers: HeaderMap) -> HeaderMap {
    // With room for what the layers add, so that it need not grow.
    let mut passed = HeaderMap::with_capacity(12);
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        if name.is_some() {
            last = name;
        }
        if let Some(name) = last.as_ref().filter(|name| is_for_clients(name)) {
            passed.append(name.clone(), value);
        }
    }
    passed
}

/// Whether a client of a provider reads this header of an answer or refusal.
pub(crate) fn is_for_clients(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "content-type"
        || name.starts_with("x-ratelimit-")
        || name.starts_with("anthropic-ratelimit-")
        || matches!(name, "openai-processing-ms" | "openai-version" | "x-should-retry")
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use http_body::Body;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Exchange,
        dialect::OPENAI_CHAT,
        lock,
        payload::{Head, ModelName},
        testing::is_shared,
    };

    /// A provider that says what it is told to, and keeps what it was asked.
    #[derive(Clone, Default)]
    struct Provider {
        asked: Arc<Mutex<Vec<String>>>,
        connections: Arc<AtomicUsize>,
    }

    impl Provider {
        /// Says `said` to every request, and then hangs up unless it `stays`.
        async fn start(&self, said: impl Into<Vec<u8>>, stays: bool) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (this, said) = (self.clone(), said.into());
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    this.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(this.clone().serve(socket, said.clone(), stays));
                }
            });
            address
        }

        async fn serve(self, mut socket: TcpStream, said: Vec<u8>, stays: bool) {
            let mut text = Vec::new();
            while socket.read_buf(&mut text).await.is_ok_and(|read| read > 0) {
                // All bodies here end so.
                if text.ends_with(b"}") {
                    lock(&self.asked).push(String::from_utf8(std::mem::take(&mut text)).unwrap());
                    socket.write_all(&said).await.unwrap();
                    if !stays {
                        return;
                    }
                }
            }
        }
    }

    fn request() -> Request<Payload> {
        let source = r#"{"model":"alias","messages":[]}"#;
        let head = Head { model: "alias".into(), model_at: Some(9..16), ..Head::default() };
        let payload = Payload::new(&OPENAI_CHAT, head, source.into(), Exchange::default());
        let mut req = Request::new(payload.with_model(&ModelName::new("m")));
        req.headers_mut().insert("x-signed", HeaderValue::from_static("yes"));
        req
    }

    fn upstream(base: &str) -> Upstream {
        Upstream::new(HttpClient::new(Duration::from_secs(2)), base).unwrap()
    }

    async fn said(said: impl Into<Vec<u8>>, stays: bool) -> Result<Response<ProviderBody>, Error> {
        let address = Provider::default().start(said, stays).await;
        let service = upstream(&format!("http://{address}/v1"));
        service
            .first_byte(Duration::from_millis(300))
            .idle(Duration::from_millis(200))
            .oneshot(request())
            .await
    }

    /// What comes until the end, and why it ended if not well.
    async fn read(res: Response<ProviderBody>) -> (String, Option<Kind>) {
        let mut body = res.into_body();
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
                Err(error) => return (String::from_utf8(all).unwrap(), Some(Error::from(error).kind())),
            }
        }
        (String::from_utf8(all).unwrap(), None)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn the_path_is_joined_to_the_address_with_or_without_a_slash() {
        for (base, path) in [("", ""), ("/", ""), ("/v1", "/v1"), ("/v1/", "/v1"), ("/a/b//", "/a/b")] {
            let provider = Provider::default();
            let address = provider.start(OK, true).await;
            let service = upstream(&format!("http://{address}{base}"));
            is_shared(&service);

            service.oneshot(request()).await.unwrap();

            let asked = lock(&provider.asked).pop().unwrap();
            assert!(asked.starts_with(&format!("POST {path}/chat/completions HTTP/1.1\r\n")), "{asked}");
            assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
            assert!(
                asked.contains("content-length: 27\r\n") && asked.contains("x-signed: yes\r\n"),
                "{asked}"
            );
            assert!(asked.ends_with(r#"{"model":"m","messages":[]}"#), "{asked}");
        }
    }

    #[test]
    fn an_address_needs_a_scheme_and_a_host() {
        for base in ["", "localhost", "ftp://x", "/v1", "http://", "file:///etc/passwd", "http://a b"] {
            assert!(Upstream::new(HttpClient::new(Duration::from_secs(1)), base).is_err(), "{base}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_again_when_its_answer_was_read() {
        let provider = Provider::default();
        let service = upstream(&format!("http://{}", provider.start(OK, true).await));

        for _ in 0..5 {
            let answer = service.clone().oneshot(request()).await.unwrap();
            assert_eq!(read(answer).await, ("{}".into(), None));
            // The connection goes back to the pool behind the back of the answer.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        assert_eq!(lock(&provider.asked).len(), 5);
        assert_eq!(provider.connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn only_headers_for_clients_come_back() {
        let text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nset-cookie: a=b\r\nserver: x\r\n\
                    x-ratelimit-remaining-requests: 7\r\nanthropic-ratelimit-x: 8\r\nlocation: /x\r\n\
                    content-length: 0\r\n\r\n";

        let res = said(text, true).await.unwrap();

        let mut names: Vec<_> = res.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["anthropic-ratelimit-x", "content-type", "x-ratelimit-remaining-requests"]);
    }

    #[tokio::test]
    async fn no_connection_and_a_connection_that_breaks_are_unreachable() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = upstream(&format!("http://{closed}")).oneshot(request()).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.message()),
            (Kind::Unreachable, "the provider could not be reached")
        );
        assert!(refused.has_begun_nothing() && !refused.is_lost_answer());

        for broken in ["", "HTTP/1.1 200", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n"] {
            let error = said(broken, false).await.unwrap_err();
            assert_eq!((error.kind(), error.is_lost_answer()), (Kind::Unreachable, true), "{broken}");
        }
    }

    #[tokio::test]
    async fn every_silence_has_a_limit() {
        for (silent, is_lost) in [
            ("", true),
            ("HTTP/1.1 200 OK\r\n", true),
            ("HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nha", false),
        ] {
            let error = said(silent, true).await.unwrap_err();
            assert_eq!((error.kind(), error.is_lost_answer()), (Kind::Timeout, is_lost), "{silent}");
            assert_eq!(error.message(), "the provider did not answer within 300ms");
        }
        let begun = said("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", true).await.unwrap();
        assert_eq!(read(begun).await, ("half".into(), Some(Kind::Timeout)));
        let cut = said("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", false).await.unwrap();
        assert_eq!(read(cut).await, ("half".into(), Some(Kind::Unreachable)));
    }

    #[tokio::test]
    async fn the_deadline_of_the_request_ends_its_answer() {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        for (text, has_head) in [(half, true), ("", false)] {
            let address = Provider::default().start(text, true).await;
            let mut req = request();
            req.extensions_mut().insert(Deadline(Instant::now() + Duration::from_millis(200)));

            let begun = Instant::now();
            let answer = upstream(&format!("http://{address}")).oneshot(req).await;

            assert_eq!(answer.is_ok(), has_head);
            match answer {
                Ok(answer) => assert_eq!(read(answer).await, ("half".into(), Some(Kind::Timeout))),
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Timeout);
                    // The provider had more time than was left of the route's.
                    assert_eq!(error.message(), "the deadline of the request passed");
                    assert!(error.is_lost_answer());
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = Provider::default();
        let other = elsewhere.start(OK, true).await;
        for status in [301, 302, 307, 308] {
            let redirect =
                format!("HTTP/1.1 {status} X\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");

            let error = said(redirect, true).await.unwrap_err();

            assert_eq!(error.kind(), Kind::Upstream);
            assert!(!error.message().contains("location") && error.reply().is_none());
        }
        assert!(lock(&elsewhere.asked).is_empty());
    }

    #[tokio::test]
    async fn a_refusal_is_kept_up_to_a_limit() {
        let long = "x".repeat(1 << 20);
        let text =
            format!("HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: {}\r\n\r\n{long}", long.len());

        let error = said(text, true).await.unwrap_err();

        assert_eq!((error.kind(), error.retry_after()), (Kind::RateLimited, Some(Duration::from_secs(3))));
        let reply = error.reply().unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.len(), reply.dialect), (429, MAX_ERROR, "openai-chat"));
        assert!(error.message().len() < 1000);
    }

    #[tokio::test]
    async fn an_answer_says_when_it_is_over() {
        let res = said(OK, true).await.unwrap();
        assert_eq!(res.body().size_hint().exact(), Some(2));
        let mut body = res.into_body();

        body.frame().await.unwrap().unwrap();

        assert!(body.is_end_stream());
    }
}
