use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use http_body::Body;
use tower::Service;

use super::{IngestLayer, collect::collect, deployment};
use crate::{
    BoxError, BoxFuture, Error, Exchange, Kind, Payload,
    dialect::{Dialect, json},
    exchange::Asked,
    payload::Head,
};

/// Middleware of [`IngestLayer`].
#[derive(Clone, Debug)]
pub struct Ingest<S> {
    inner: S,
    config: Arc<IngestLayer>,
}

impl<S> Ingest<S> {
    pub(super) fn new(inner: S, config: IngestLayer) -> Self {
        Self { inner, config: Arc::new(config) }
    }
}

impl<S, B, R> Service<Request<B>> for Ingest<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<S::Response, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        // The clone is not ready; the service that was polled is the one to call.
        let not_ready = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, not_ready);
        let config = self.config.clone();
        Box::pin(async move {
            let req = ingest(req, &config).await?;
            ready.call(req).await.map_err(Into::into)
        })
    }
}

async fn ingest<B>(req: Request<B>, config: &IngestLayer) -> Result<Request<Payload>, Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let exchange = Exchange::of(&req);
    let (mut parts, body) = req.into_parts();
    let dialect = config.dialects.detect(&parts)?;
    let form = accept(&parts.headers, dialect)?;
    let (bytes, place) = collect(body, config).await?;
    let payload = read(dialect, &parts, form, bytes, exchange)?.occupying(place);
    // The body's length is its own from now on.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    Ok(Request::from_parts(parts, payload))
}

/// The type of the body, if it is a form.
fn accept(headers: &HeaderMap, dialect: &dyn Dialect) -> Result<Option<HeaderValue>, Error> {
    let unsupported = |message| Err(Error::new(Kind::UnsupportedMediaType, message));
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if value(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return unsupported("content-encoding: compressed requests are not accepted");
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    let essence = content_type.map_or(&b"application/json"[..], |value| {
        value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
    });
    if dialect.takes_forms() && essence.eq_ignore_ascii_case(b"multipart/form-data") {
        Ok(content_type.cloned())
    } else if dialect.takes_json() && essence.eq_ignore_ascii_case(b"application/json") {
        Ok(None)
    } else if dialect.takes_json() {
        unsupported("content-type: expected application/json")
    } else {
        unsupported("content-type: expected multipart/form-data")
    }
}

fn read(
    dialect: &'static dyn Dialect,
    parts: &Parts,
    form: Option<HeaderValue>,
    bytes: Bytes,
    exchange: Exchange,
) -> Result<Payload, Error> {
    let there = exchange.elapsed();
    let bytes = deployment::named(parts.uri.path(), dialect, form.as_ref(), bytes)?;
    let head = match form {
        Some(content_type) => dialect.peek_form(&content_type, &bytes)?,
        None => read_json(dialect, parts, &bytes)?,
    };
    exchange.learn(|learnt| {
        learnt.asked = Some(Asked { dialect: dialect.id(), model: head.model.clone(), stream: head.stream });
        learnt.read = Some(there);
        let is_kept = learnt.caller.as_ref().is_some_and(|caller| caller.log_content);
        learnt.content = (is_kept && head.content_type.is_none()).then(|| bytes.clone());
    });
    Ok(Payload::new(dialect, head, bytes, exchange))
}

fn read_json(dialect: &dyn Dialect, parts: &Parts, bytes: &[u8]) -> Result<Head, Error> {
    let invalid = |message| Error::new(Kind::InvalidRequest, message);
    // Checked once, so that what follows may skip it: half the price of a shallow read.
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("the body is not valid UTF-8"))?;
    if json::is_too_deep(text.as_bytes()) {
        return Err(invalid("the body is nested deeper than 128 levels"));
    }
    dialect.peek(parts, text)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::StatusCode;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::dialect::Dialects;

    const PATH: &str = "/v1/chat/completions";

    fn layer() -> IngestLayer {
        IngestLayer::new(Dialects::default())
    }

    async fn model(layer: &IngestLayer, req: Request<Full<Bytes>>) -> Result<String, Error> {
        let svc = layer.layer(service_fn(async |req: Request<Payload>| {
            Ok::<_, Error>(Response::new(req.body().model().to_owned()))
        }));
        svc.oneshot(req).await.map(Response::into_body)
    }

    fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post(PATH).body(Full::new(body.into())).unwrap()
    }

    async fn refused(req: Request<Full<Bytes>>) -> (Kind, String) {
        let error = model(&layer().limit(1 << 20), req).await.unwrap_err();
        (error.kind(), error.message().to_owned())
    }

    #[tokio::test]
    async fn a_request_is_read_and_noted() {
        let mut req = post(r#"{"model":"gpt-4o","stream":true}"#);
        req.headers_mut().insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
        let exchange = Exchange::open(&mut req);

        assert_eq!(model(&layer(), req).await.unwrap(), "gpt-4o");

        let asked = exchange.learn(|learnt| learnt.asked.clone()).unwrap();
        assert_eq!(asked, Asked { dialect: "openai-chat", model: "gpt-4o".into(), stream: true });
    }

    #[tokio::test]
    async fn each_fault_is_refused_with_its_kind() {
        let with = |name: &'static str, value: &'static str| {
            let mut req = post("{}");
            req.headers_mut().insert(name, value.parse().unwrap());
            req
        };
        let elsewhere = Request::post("/v1/nowhere").body(Full::default()).unwrap();
        let get = Request::get(PATH).body(Full::default()).unwrap();
        let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(200), "]".repeat(200));

        assert_eq!(refused(elsewhere).await.0, Kind::NotFound);
        assert_eq!(refused(get).await.0, Kind::MethodNotAllowed);
        assert_eq!(refused(with("content-type", "text/plain")).await.0, Kind::UnsupportedMediaType);
        assert_eq!(refused(with("content-encoding", "gzip")).await.0, Kind::UnsupportedMediaType);
        assert_eq!(refused(post(vec![b' '; (1 << 20) + 1])).await.0, Kind::TooLarge);
        assert_eq!(refused(post(deep)).await.1, "the body is nested deeper than 128 levels");
        assert_eq!(refused(post(vec![b'"', 0xff])).await.1, "the body is not valid UTF-8");
        assert_eq!(refused(post("")).await.0, Kind::InvalidRequest);
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_joined_and_still_limited() {
        let pieces = |count: usize| {
            let first = std::iter::once(Bytes::from(r#"{"model":"m","x":""#));
            let middle = std::iter::repeat_n(Bytes::from("0123456789"), count);
            let frames = first.chain(middle).chain([Bytes::from("\"}")]);
            let frames = frames.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            Request::post(PATH).body(StreamBody::new(futures_util::stream::iter(frames))).unwrap()
        };
        let svc = layer().limit(1000).layer(service_fn(async |req: Request<Payload>| {
            Ok::<_, Error>(Response::new(req.body().source().len()))
        }));

        let read = svc.clone().oneshot(pieces(3)).await.unwrap().into_body();
        let too_large = svc.oneshot(pieces(100)).await.unwrap_err();

        assert_eq!(read, 18 + 30 + 2);
        assert_eq!(too_large.kind(), Kind::TooLarge);
    }

    #[tokio::test]
    async fn a_place_in_memory_is_held_as_long_as_the_payload() {
        let svc = layer()
            .memory(2048)
            .layer(service_fn(async |req: Request<Payload>| Ok::<_, Error>(Response::new(req.into_body()))));
        let body = format!(r#"{{"model":"m","x":"{}"}}"#, "x".repeat(1500));

        let held = svc.clone().oneshot(post(body.clone())).await.unwrap();
        let refused = svc.clone().oneshot(post(body.clone())).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Overloaded);

        drop(held);
        assert!(svc.oneshot(post(body)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_dawdles_is_cut_off() {
        let svc = layer()
            .within(Duration::from_secs(5))
            .layer(service_fn(async |_: Request<Payload>| Ok::<_, Error>(Response::new(StatusCode::OK))));
        let never = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());

        let error = svc.oneshot(Request::post(PATH).body(never).unwrap()).await.unwrap_err();

        assert_eq!(error.kind(), Kind::RequestTimeout);
    }
}
