//! What a key may do and what is left of it, for its owner: `GET /v1/key`.
//!
//! [`AboutKeyLayer`] answers with the caller's quotas: of each the account, the limit, what is used, held
//! and left, and when it begins anew. It stands behind auth, and needs no body.
//!
//! - reads the extension [`Caller`]; a request without one is refused
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//!
//! use bartizan::{
//!     about_key::AboutKeyLayer,
//!     auth::{Caller, VirtualKey},
//!     ledger::{MemoryLedger, Period, Quota},
//!     price::NanoUsd,
//! };
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let layer = AboutKeyLayer::new(Arc::new(MemoryLedger::default()));
//! let service = ServiceBuilder::new().layer(layer).service(service_fn(
//!     async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
//! ));
//!
//! let key = VirtualKey::new("search").quota(Quota::usd(NanoUsd::from_usd(50), Period::Total));
//! let req = Request::get("/v1/key").extension(Caller::new(key)).body(())?;
//! let body = service.oneshot(req).await?.into_body().collect().await?.to_bytes();
//! assert_eq!(
//!     body,
//!     r#"{"name":"search","usage":[{"account":"key:search","measure":"usd","per":"total","limit":"50","used":"0","held":"0","left":"50"}]}"#
//! );
//! # Ok(())
//! # }
//! ```

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use jiff::Timestamp;
use serde::Serialize;
use tower::{Layer, Service};

use crate::{
    Error, Kind,
    access::Pattern,
    auth::Caller,
    future::{Answering, json},
    ledger::{Ledger, Usage, usage},
};

/// Where a key's owner asks.
const PATH: &str = "/v1/key";

/// Answers what a key may do and what is left of it; see the [module](self).
#[derive(Clone, Debug)]
pub struct AboutKeyLayer {
    ledger: Arc<dyn Ledger>,
}

impl AboutKeyLayer {
    /// Says what stands in `ledger`.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }
}

impl<S> Layer<S> for AboutKeyLayer {
    type Service = AboutKey<S>;

    fn layer(&self, inner: S) -> AboutKey<S> {
        AboutKey { inner, ledger: self.ledger.clone() }
    }
}

/// Middleware of [`AboutKeyLayer`].
#[derive(Clone, Debug)]
pub struct AboutKey<S> {
    inner: S,
    ledger: Arc<dyn Ledger>,
}

impl<S, B, R> Service<Request<B>> for AboutKey<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = Error;
    type Future = Answering<S::Future, Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        if req.uri().path() != PATH {
            return Answering::called(self.inner.call(req));
        }
        if req.method() != Method::GET {
            return Answering::refused(Error::other_method(&[Method::GET]));
        }
        match Caller::of(&req) {
            Ok(caller) => Answering::waiting(Box::pin(about(caller.clone(), self.ledger.clone()))),
            Err(error) => Answering::refused(error),
        }
    }
}

#[derive(Serialize)]
struct About<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required_tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// How many requests may be made in a time; `x-ratelimit-…` of every answer say what is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rates: Vec<Rate<'a>>,
    usage: Vec<Usage>,
}

#[derive(Serialize)]
struct Rate<'a> {
    account: &'a str,
    requests: String,
}

async fn about(caller: Caller, ledger: Arc<dyn Ledger>) -> Result<Response<Full<Bytes>>, Error> {
    let names = |patterns: &Vec<Pattern>| patterns.iter().map(ToString::to_string).collect();
    let time = |at: SystemTime| Timestamp::try_from(at).ok().map(|at| at.to_string());
    let about = About {
        name: &caller.name,
        team: caller.team.as_deref(),
        customer: caller.customer.as_deref(),
        allow: caller.allow.as_ref().map(names),
        deny: names(&caller.deny),
        required_tags: caller.required_tags.iter().map(|tag| &**tag).collect(),
        expires: caller.expires.and_then(time),
        rates: caller
            .rates
            .iter()
            .map(|(account, rate)| Rate { account, requests: rate.to_string() })
            .collect(),
        usage: usage(&*ledger, &caller.scopes).await?,
    };
    let text = serde_json::to_vec(&about)
        .map_err(|error| Error::new(Kind::Internal, "the key can't be written").with_source(error))?;
    Ok(json(StatusCode::OK, text))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::{
        auth::VirtualKey,
        ledger::{MemoryLedger, Period, Quota, Scope},
        price::NanoUsd,
        testing::{MustBeReady, Script, Step, is_shared},
    };

    async fn ask(ledger: &Arc<MemoryLedger>, req: Request<()>) -> Result<String, Error> {
        let inner =
            async |_: Request<()>| Ok::<_, Infallible>(Response::new(Script::new([Step::Data("inner")])));
        let service = AboutKeyLayer::new(ledger.clone()).layer(MustBeReady::new(inner));
        is_shared(&service);
        let body = service.oneshot(req).await?.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn an_owner_is_told_what_is_left_on_every_account() {
        let ledger = Arc::new(MemoryLedger::default());
        let team = Scope::new("team:t", Quota::usd(NanoUsd::from_usd(9), Period::Total));
        let key = VirtualKey::new("a").team("t").requests("5/minute".parse().unwrap()).scope(team);
        let ticket = ledger.reserve(&key.scopes, NanoUsd::from_usd(3).into()).await.unwrap();
        ledger.settle(ticket, NanoUsd::from_usd(2).into());

        let req = Request::get("/v1/key").extension(Caller::new(key)).body(()).unwrap();
        let told: Value = serde_json::from_str(&ask(&ledger, req).await.unwrap()).unwrap();

        assert_eq!([&told["name"], &told["team"]], ["a", "t"]);
        assert_eq!(told["rates"], json!([{ "account": "key:a", "requests": "5/minute" }]));
        assert_eq!([&told["usage"][0]["account"], &told["usage"][0]["used"]], ["key:a", "2"]);
        assert_eq!([&told["usage"][1]["account"], &told["usage"][1]["left"]], ["team:t", "7"]);
    }

    #[tokio::test]
    async fn everything_else_goes_inwards_or_is_refused() {
        let ledger = Arc::new(MemoryLedger::default());
        let kind = async |req| ask(&ledger, req).await.unwrap_err().kind();

        assert_eq!(ask(&ledger, Request::get("/v1/keys").body(()).unwrap()).await.unwrap(), "inner");
        assert_eq!(kind(Request::get("/v1/key").body(()).unwrap()).await, Kind::Unauthenticated);
        assert_eq!(kind(Request::post("/v1/key").body(()).unwrap()).await, Kind::MethodNotAllowed);
    }
}
