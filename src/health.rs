//! Whether the gateway lives, and whether it wants more requests.
//!
//! [`HealthLayer`] answers probes by itself and never asks a provider:
//!
//! - `/healthz`, `/livez` and `/health` with 200
//! - `/readyz` with 200, or with 503 once [`Ready::drain`] was called
//! - `/` with 200 and the name of the service, which Claude Code asks for before it begins
//!
//! Only `GET` and `HEAD` are answered; everything else goes inwards. It reads no headers, and needs
//! no caller: it stands outside of auth.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bartizan::health::{HealthLayer, Ready};
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ready = Ready::default();
//! let service = ServiceBuilder::new().layer(HealthLayer::new(ready.clone())).service(service_fn(
//!     async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
//! ));
//!
//! let probe = Request::get("/readyz").body(())?;
//! assert_eq!(service.clone().oneshot(probe.clone()).await?.status(), StatusCode::OK);
//!
//! ready.drain();
//! assert_eq!(service.oneshot(probe).await?.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # Ok(())
//! # }
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tower::{Layer, Service};

use crate::future::Answering;

/// Whether the gateway wants more requests. Clones say the same.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    draining: Arc<AtomicBool>,
}

impl Ready {
    /// From here on, the gateway wants no more requests; those under way go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it wants more.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }
}

/// Answers the probes of load balancers and clients.
#[derive(Clone, Debug)]
pub struct HealthLayer {
    ready: Ready,
}

impl HealthLayer {
    /// Says of `/readyz` what `ready` says.
    pub fn new(ready: Ready) -> Self {
        Self { ready }
    }
}

impl<S> Layer<S> for HealthLayer {
    type Service = Health<S>;

    fn layer(&self, inner: S) -> Health<S> {
        Health { inner, ready: self.ready.clone() }
    }
}

/// Answers probes; see the [module](self).
#[derive(Clone, Debug)]
pub struct Health<S> {
    inner: S,
    ready: Ready,
}

impl<S, B, R> Service<Request<B>> for Health<S>
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
        match (req.method(), self.answer(req.uri().path())) {
            (&Method::GET, Some((status, text))) => Answering::json(status, text),
            (&Method::HEAD, Some((status, _))) => Answering::json(status, Bytes::new()),
            _ => Answering::called(self.inner.call(req)),
        }
    }
}

impl<S> Health<S> {
    fn answer(&self, path: &str) -> Option<(StatusCode, &'static str)> {
        const OK: &str = r#"{"status":"ok"}"#;
        Some(match path {
            "/healthz" | "/livez" | "/health" => (StatusCode::OK, OK),
            "/readyz" if self.ready.is_ready() => (StatusCode::OK, OK),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#),
            "/" => (StatusCode::OK, r#"{"service":"bartizan"}"#),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::{MustBeReady, Script, Step, is_shared};

    async fn ask(ready: &Ready, method: Method, path: &str) -> (u16, String) {
        let inner =
            async |_: Request<()>| Ok::<_, Infallible>(Response::new(Script::new([Step::Data("inner")])));
        let service = HealthLayer::new(ready.clone()).layer(MustBeReady::new(inner));
        is_shared(&service);
        let req = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = service.oneshot(req).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn a_gateway_that_drains_lives_but_is_not_ready() {
        let ready = Ready::default();
        assert_eq!(ask(&ready, Method::GET, "/readyz").await, (200, r#"{"status":"ok"}"#.into()));

        ready.drain();

        assert_eq!(ask(&ready, Method::GET, "/readyz").await, (503, r#"{"status":"draining"}"#.into()));
        assert_eq!(ask(&ready, Method::HEAD, "/readyz").await, (503, String::new()));
        for path in ["/healthz", "/livez", "/health"] {
            assert_eq!(ask(&ready, Method::GET, path).await, (200, r#"{"status":"ok"}"#.into()));
        }
    }

    #[tokio::test]
    async fn claude_code_finds_somebody_at_the_root() {
        let ready = Ready::default();

        assert_eq!(ask(&ready, Method::HEAD, "/").await, (200, String::new()));
        assert_eq!(ask(&ready, Method::GET, "/").await, (200, r#"{"service":"bartizan"}"#.into()));
    }

    #[tokio::test]
    async fn everything_else_goes_inwards() {
        let ready = Ready::default();

        for (method, path) in [
            (Method::POST, "/healthz"),
            (Method::POST, "/"),
            (Method::GET, "/healthz/x"),
            (Method::GET, "/v1"),
        ] {
            assert_eq!(ask(&ready, method, path).await, (200, "inner".into()));
        }
    }
}
