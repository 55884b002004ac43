use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use tower::{Layer, Service};

use crate::{
    BoxFuture,
    auth::{KeyDigest, digest_of},
    future::Answering,
};

/// Answers `GET /metrics` with what a recorder shows, in the text format of Prometheus.
///
/// It stands outside of the layers that record, so that being looked at is not measured. Which recorder there is, and
/// what else is looked up before it is shown, is up to the program.
///
/// ```
/// use std::convert::Infallible;
///
/// use bartizan::metrics::{Access, MetricsLayer};
/// use http::{Request, Response, StatusCode};
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = MetricsLayer::new(|| Box::pin(async { "up 1\n".to_owned() })).access(|| Access::Open);
/// let service = ServiceBuilder::new().layer(metrics).service(service_fn(
///     async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default())),
/// ));
///
/// let answer = service.oneshot(Request::get("/metrics").body(())?).await?;
/// assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MetricsLayer {
    look: Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>,
    access: Arc<dyn Fn() -> Access + Send + Sync>,
}

/// Who may look at measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever presents this key, as clients present theirs.
    Key(KeyDigest),
    /// Nobody: the request goes inwards.
    Off,
}

impl MetricsLayer {
    /// Shows what `look` says. Nobody may look before it is [said who](Self::access).
    pub fn new(look: impl Fn() -> BoxFuture<'static, String> + Send + Sync + 'static) -> Self {
        Self { look: Arc::new(look), access: Arc::new(|| Access::Off) }
    }

    /// Sets who may look, which is asked each time.
    #[must_use]
    pub fn access(self, access: impl Fn() -> Access + Send + Sync + 'static) -> Self {
        Self { access: Arc::new(access), ..self }
    }
}

impl fmt::Debug for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics { inner, settings: self.clone() }
    }
}

/// Middleware of [`MetricsLayer`].
#[derive(Clone, Debug)]
pub struct Metrics<S> {
    inner: S,
    settings: MetricsLayer,
}

impl<S, B, R> Service<Request<B>> for Metrics<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = S::Error;
    type Future = Answering<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let is_asked = req.uri().path() == "/metrics" && [Method::GET, Method::HEAD].contains(req.method());
        let access = if is_asked { (self.settings.access)() } else { Access::Off };
        if access == Access::Off {
            return Answering::called(self.inner.call(req));
        }
        if !may_look(access, req.headers()) {
            return Answering::waiting(Box::pin(async { Ok(refused()) }));
        }
        let look = (self.settings.look)();
        Answering::waiting(Box::pin(async { Ok(text(StatusCode::OK, look.await)) }))
    }
}

fn may_look(access: Access, headers: &HeaderMap) -> bool {
    match access {
        Access::Open => true,
        Access::Key(key) => digest_of(headers, &Uri::default()).is_ok_and(|presented| presented == Some(key)),
        Access::Off => false,
    }
}

fn refused() -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::UNAUTHORIZED, "the key of the administrators is needed\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, FORMAT);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::MustBeReady;

    async fn ask(access: Access, method: Method, path: &str, key: Option<&str>) -> (StatusCode, String) {
        let layer = MetricsLayer::new(|| Box::pin(async { "up 1\n".to_owned() })).access(move || access);
        let inner = MustBeReady::new(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::builder().status(404).body(Full::from("inside")).unwrap())
        });
        let mut req = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            req = req.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }

        let answer = layer.layer(inner).oneshot(req.body(()).unwrap()).await.unwrap();

        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
    }

    #[tokio::test]
    async fn only_who_may_look_sees_what_is_measured() {
        let key = Access::Key(KeyDigest::of("sk-of-the-administrators"));
        let shown = (StatusCode::OK, "up 1\n".to_owned());

        assert_eq!(ask(Access::Open, Method::GET, "/metrics", None).await, shown);
        assert_eq!(ask(key, Method::GET, "/metrics", Some("sk-of-the-administrators")).await, shown);
        for wrong in [None, Some("sk-of-somebody")] {
            let (status, text) = ask(key, Method::GET, "/metrics", wrong).await;
            assert_eq!((status, text.contains("up")), (StatusCode::UNAUTHORIZED, false));
        }
    }

    #[tokio::test]
    async fn everything_else_goes_inwards() {
        let inside = (StatusCode::NOT_FOUND, "inside".to_owned());

        assert_eq!(ask(Access::Off, Method::GET, "/metrics", None).await, inside);
        assert_eq!(ask(Access::Open, Method::POST, "/metrics", None).await, inside);
        assert_eq!(ask(Access::Open, Method::GET, "/metrics/x", None).await, inside);
    }
}
