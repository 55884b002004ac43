use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use tower::Service;

use super::{answer::answer, audited::By, layer::Office, operation::is_ours};
use crate::{
    BoxError, Error, Exchange, Kind,
    auth::{KeyDigest, digest_of},
    future::Answering,
    session,
};

/// The largest body of a request, but for one that is to be explained, which may have this beside it.
const MAX_BODY: usize = 64 << 10;
/// How long a client may take for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Middleware of [`AdminLayer`](super::AdminLayer).
#[derive(Clone, Debug)]
pub struct Administration<S> {
    pub(super) inner: S,
    pub(super) office: Arc<Office>,
}

impl<S, B, R> Service<Request<B>> for Administration<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = Error;
    type Future = Answering<S::Future, Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let path = req.uri().path();
        if !is_ours(path) {
            return Answering::called(self.inner.call(req));
        }
        // What administrators ask is no exchange, and neither is what is refused to those who are none.
        Exchange::of(&req).learn(|learnt| learnt.unrecorded = true);
        let admitted = match admit(&self.office, &req) {
            // What describes the rest is for everybody.
            Err(error) if path == "/openapi.json" && error.kind() == Kind::Unauthenticated => {
                Ok(By::key(&req))
            }
            other => other,
        };
        let by = match admitted {
            Ok(by) => by,
            Err(error) => return Answering::refused(error),
        };
        let office = self.office.clone();
        let (parts, body) = req.into_parts();
        Answering::waiting(Box::pin(async move {
            let body = collect(&parts, body, largest(&office, &parts)).await?;
            answer(&office, &parts, &body, &by).await
        }))
    }
}

/// Refuses whoever doesn't present the key of the administrators.
fn admit<B>(office: &Office, req: &Request<B>) -> Result<By, Error> {
    let config = office.settings.config();
    let Some(key) = &config.admin.key else {
        return Err(Error::new(Kind::NotFound, "there is no such endpoint"));
    };
    let denied = |message| Error::new(Kind::Unauthenticated, message);
    // In the address, `key` names the key that is asked about.
    let presented = digest_of(req.headers(), &Uri::default())?;
    let Some(presented) = presented else {
        // Somebody at the dashboard.
        return match session::admits(key, req)? {
            true => Ok(By::session(req)),
            false => Err(denied("the key of the administrators is missing")),
        };
    };
    if presented == KeyDigest::of(key.expose()) {
        return Ok(By::key(req));
    }
    tracing::warn!(path = req.uri().path(), "refused: not the key of the administrators");
    Err(denied("that is not the key of the administrators"))
}

/// The largest body: what is to be explained may be as large as what is served.
fn largest(office: &Office, parts: &Parts) -> usize {
    match parts.uri.path() {
        "/admin/v1/explain" => office.settings.config().server.max_body.bytes().saturating_add(MAX_BODY),
        _ => MAX_BODY,
    }
}

async fn collect<B>(parts: &Parts, body: B, largest: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let limited = pin!(Limited::new(body, largest));
    let collected = tokio::time::timeout(PATIENCE, limited.collect())
        .await
        .map_err(|_| Error::new(Kind::RequestTimeout, "the request's body did not arrive in time"))?;
    let bytes = collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::new(Kind::TooLarge, format!("the request's body is larger than {largest} bytes"))
        } else {
            Error::new(Kind::InvalidRequest, "the request's body broke off").with_source(error)
        }
    })?;
    if !bytes.is_empty() && !crate::headers::is_json(&parts.headers) {
        return Err(Error::new(Kind::UnsupportedMediaType, "content-type: expected application/json"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        admin::{AdminLayer, Settings},
        auth::MemoryKeys,
        config::{Builder, Config},
        directory::MemoryDirectory,
        dispatch::Dispatch,
        ledger::MemoryLedger,
        testing::{MustBeReady, Script},
    };

    const FILE: &str = "admin: { key: the-key-of-the-administrators }\n\
        server: { max_body: 100KiB }\n\
        providers: { d: { kind: demo } }\n\
        models: { chat: { targets: [ { use: d/m } ] } }\n";

    async fn explained(layer: &AdminLayer, body: &Value) -> Result<(), Kind> {
        let inner =
            async |_: Request<Full<Bytes>>| Err::<Response<Script>, _>(Error::new(Kind::Internal, "inner"));
        let req = Request::post("/admin/v1/explain")
            .header("authorization", "Bearer the-key-of-the-administrators")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = layer.layer(MustBeReady::new(inner)).oneshot(req).await;
        answer.map(|res| assert_eq!(res.status(), 200)).map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn what_is_to_be_explained_may_be_as_large_as_what_is_served() {
        let config = || Config::read(FILE, "f", &|_| None).unwrap();
        let settings =
            Settings::open(config(), Arc::new(MemoryDirectory::default()), Arc::new(MemoryKeys::default()));
        let dispatch = Dispatch::new(Builder::default().table(&config()).unwrap());
        let settings = Arc::new(settings.await.unwrap());
        let layer = AdminLayer::new(settings, Arc::new(MemoryLedger::default())).explain(dispatch);
        let of = |bytes: usize| {
            let empty = json!({ "model": "chat", "messages": [ { "role": "user", "content": "" } ] });
            let content = "x".repeat(bytes - empty.to_string().len());
            json!({ "model": "chat", "messages": [ { "role": "user", "content": content } ] })
        };

        for (bytes, expected) in
            [(100 << 10, Ok(())), ((100 << 10) + 1, Err(Kind::TooLarge)), (200 << 10, Err(Kind::TooLarge))]
        {
            let asked = json!({ "path": "/v1/chat/completions", "body": of(bytes) });
            assert_eq!(explained(&layer, &asked).await, expected, "{bytes}");
        }
    }
}
