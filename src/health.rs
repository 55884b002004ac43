//! Whether the gateway lives, and whether it wants more requests.
//!
//! [`HealthLayer`] answers probes by itself and never asks a provider:
//!
//! - `/healthz` and `/livez` with 200
//! - `/health` with 200 and how the targets stand, or whatever else it is [told](HealthLayer::report) to say
//! - `/readyz` with 200, or with 503 once [`Ready::drain`] was called, or while something is away that is
//!   [needed](HealthLayer::needs)
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
    fmt,
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
    needs: Vec<Need>,
    report: Option<Report>,
}

/// What `/health` says.
#[derive(Clone)]
struct Report(Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

/// Something without which requests are refused.
#[derive(Clone)]
struct Need {
    away: &'static str,
    is_there: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.away)
    }
}

impl HealthLayer {
    /// Says of `/readyz` what `ready` says.
    pub fn new(ready: Ready) -> Self {
        Self { ready, needs: Vec::new(), report: None }
    }

    /// Sets what `/health` says, in JSON: `{"status":"ok"}`, if it isn't called. Whatever it is, the status is 200, so
    /// that no gateway is restarted because of its providers. `report` is asked for each probe and must not wait;
    /// everybody may read what it says.
    #[must_use]
    pub fn report(mut self, report: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.report = Some(Report(Arc::new(report)));
        self
    }

    /// Lets `/readyz` say no while `is_there` does, with the status `away`, such as `store_away`.
    /// `is_there` is asked for each probe and must not wait.
    #[must_use]
    pub fn needs(mut self, away: &'static str, is_there: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.needs.push(Need { away, is_there: Arc::new(is_there) });
        self
    }
}

impl<S> Layer<S> for HealthLayer {
    type Service = Health<S>;

    fn layer(&self, inner: S) -> Health<S> {
        Health { inner, settings: self.clone() }
    }
}

/// Answers probes; see the [module](self).
#[derive(Clone, Debug)]
pub struct Health<S> {
    inner: S,
    settings: HealthLayer,
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
    fn answer(&self, path: &str) -> Option<(StatusCode, Bytes)> {
        const OK: Bytes = Bytes::from_static(br#"{"status":"ok"}"#);
        Some(match path {
            "/health" => {
                (StatusCode::OK, self.settings.report.as_ref().map_or(OK, |report| (report.0)().into()))
            }
            "/healthz" | "/livez" => (StatusCode::OK, OK),
            "/readyz" => match self.settings.obstacle() {
                None => (StatusCode::OK, OK),
                Some(status) => {
                    (StatusCode::SERVICE_UNAVAILABLE, format!(r#"{{"status":"{status}"}}"#).into())
                }
            },
            "/" => (StatusCode::OK, Bytes::from_static(br#"{"service":"bartizan"}"#)),
            _ => return None,
        })
    }
}

impl HealthLayer {
    /// Why the gateway wants no more requests.
    fn obstacle(&self) -> Option<&'static str> {
        if !self.ready.is_ready() {
            return Some("draining");
        }
        self.needs.iter().find(|need| !(need.is_there)()).map(|need| need.away)
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
        send(HealthLayer::new(ready.clone()), method, path).await
    }

    async fn send(layer: HealthLayer, method: Method, path: &str) -> (u16, String) {
        let inner =
            async |_: Request<()>| Ok::<_, Infallible>(Response::new(Script::new([Step::Data("inner")])));
        let service = layer.layer(MustBeReady::new(inner));
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
    async fn a_gateway_is_not_ready_while_something_is_away_that_it_needs() {
        let is_there = Arc::new(AtomicBool::new(true));
        let asked = is_there.clone();
        let layer = HealthLayer::new(Ready::default())
            .needs("never_away", || true)
            .needs("store_away", move || asked.load(Ordering::Relaxed));
        assert_eq!(send(layer.clone(), Method::GET, "/readyz").await.0, 200);

        is_there.store(false, Ordering::Relaxed);

        let away = (503, r#"{"status":"store_away"}"#.into());
        assert_eq!(send(layer.clone(), Method::GET, "/readyz").await, away);
        assert_eq!(send(layer, Method::GET, "/healthz").await.0, 200);
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

    #[tokio::test]
    async fn a_report_is_made_when_somebody_asks() {
        let asked = Arc::new(AtomicBool::new(false));
        let asks = asked.clone();
        let layer = HealthLayer::new(Ready::default()).report(move || {
            asks.store(true, Ordering::Relaxed);
            r#"{"status":"degraded"}"#.to_owned()
        });

        assert_eq!(send(layer.clone(), Method::GET, "/healthz").await.1, r#"{"status":"ok"}"#);
        assert!(!asked.load(Ordering::Relaxed));
        assert_eq!(send(layer, Method::GET, "/health").await, (200, r#"{"status":"degraded"}"#.into()));
    }
}
