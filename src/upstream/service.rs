use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::Service;

use super::{HttpClient, ProviderBody};
use crate::{BoxError, BoxFuture, Dialect, Error, Kind, Payload, error::Reply, exchange::Deadline};

/// The most that is read of what a provider says instead of success.
const MAX_ERROR: usize = 64 << 10;

/// Calls a provider; see the [module](super).
#[derive(Clone, Debug)]
pub struct Upstream {
    client: HttpClient,
    base: Arc<Base>,
    first_byte: Duration,
    idle: Duration,
}

#[derive(Debug)]
struct Base {
    uri: Uri,
    /// The address of the path that was asked for first, which is nearly always the only one.
    known: OnceLock<(Cow<'static, str>, Uri)>,
}

impl Upstream {
    /// Calls the provider at `base`, such as `https://api.openai.com/v1`; the dialect of a request adds
    /// its path.
    ///
    /// # Errors
    ///
    /// If `base` has no scheme or no host.
    pub fn new(client: HttpClient, base: &str) -> Result<Self, BoxError> {
        let uri: Uri = base.trim_end_matches('/').parse()?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
            return Err("expected an address that begins with http:// or https://".into());
        }
        let base = Arc::new(Base { uri, known: OnceLock::new() });
        Ok(Self { client, base, first_byte: Duration::from_secs(120), idle: Duration::from_secs(60) })
    }

    /// Sets how long the provider may take until the head of its answer. A whole answer comes with its
    /// head, so this has to be longer than the longest answer that isn't streamed.
    #[must_use]
    pub fn first_byte(self, time: Duration) -> Self {
        Self { first_byte: time, ..self }
    }

    /// Sets how long the provider may be silent inside of its answer.
    #[must_use]
    pub fn idle(self, time: Duration) -> Self {
        Self { idle: time, ..self }
    }
}

impl Base {
    fn uri(&self, path: Cow<'static, str>) -> Result<Uri, Error> {
        if let Some((known, uri)) = self.known.get()
            && *known == path
        {
            return Ok(uri.clone());
        }
        let invalid = |error: BoxError| {
            Error::new(Kind::InvalidRequest, "model: not usable in an address")
                .with_param("model")
                .with_source(error)
        };
        let prefix = self.uri.path().trim_end_matches('/');
        let mut parts = self.uri.clone().into_parts();
        let path_and_query =
            PathAndQuery::try_from(format!("{prefix}{path}")).map_err(|e| invalid(e.into()))?;
        parts.path_and_query = Some(path_and_query);
        let uri = Uri::from_parts(parts).map_err(|e| invalid(e.into()))?;
        // Only what is the same for every request is worth keeping.
        if matches!(path, Cow::Borrowed(_)) {
            let _ = self.known.set((path, uri.clone()));
        }
        Ok(uri)
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
        let uri = match self.base.uri(dialect.path(req.body())) {
            Ok(uri) => uri,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let deadline = req.extensions().get::<Deadline>().map(|deadline| deadline.0);
        *req.uri_mut() = uri;
        *req.method_mut() = Method::POST;
        *req.version_mut() = Version::HTTP_11;
        let Self { first_byte, idle, .. } = *self;
        let answer = self.client.request(req);
        Box::pin(async move {
            let by = Instant::now() + first_byte;
            let by = deadline.map_or(by, |deadline| deadline.min(by));
            let late =
                |_| Error::new(Kind::Timeout, format!("the provider did not answer within {first_byte:?}"));
            let res = tokio::time::timeout_at(by, answer).await.map_err(late)?.map_err(unreachable)?;
            if !res.status().is_success() {
                return Err(tokio::time::timeout_at(by, refusal(res, dialect)).await.map_err(late)?);
            }
            let (mut parts, body) = res.into_parts();
            parts.headers = for_clients(parts.headers);
            parts.version = Version::HTTP_11;
            parts.extensions.clear();
            Ok(Response::from_parts(parts, ProviderBody::new(body, idle, deadline)))
        })
    }
}

fn unreachable(error: hyper_util::client::legacy::Error) -> Error {
    let message = if error.is_connect() {
        "the provider could not be reached"
    } else {
        "the provider's connection broke"
    };
    Error::new(Kind::Unreachable, message).with_source(error)
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
    let mut passed = HeaderMap::with_capacity(4);
    let mut last: Option<HeaderName> = None;
    for (name, value) in headers {
        if name.is_some() {
            last = name;
        }
        if let Some(name) = last.as_ref().filter(|name| is_for_clients(name)) {
            passed.append(name.clone(), value);
        }
    }
    passed.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
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
