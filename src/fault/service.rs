use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{Fault, FaultLayer, Faulted};
use crate::{
    BoxError, BoxFuture, Dialect, Error, Exchange, Kind, Payload,
    body::Framing,
    dialect::{Sent, status},
    error::Reply,
};

/// Middleware of [`FaultLayer`].
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    layer: FaultLayer,
}

impl<S> Faulty<S> {
    pub(super) fn new(inner: S, layer: FaultLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, R> Service<Request<Payload>> for Faulty<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Faulted<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let Some(fault) = self.layer.strikes(&req) else {
            return ResponseFuture { state: State::Called { inner: self.inner.call(req) } };
        };
        let target = self.layer.target().name();
        tracing::warn!(id = %req.body().exchange().id(), %target, %fault, "fails on purpose");
        req.body().exchange().learn(|learnt| learnt.faults.push(format!("{fault} at {target}").into()));
        let not_ready = self.inner.clone();
        let ready = mem::replace(&mut self.inner, not_ready);
        let answer = Box::pin(fails(ready, self.layer.clone(), fault, req));
        ResponseFuture { state: State::Struck { answer } }
    }
}

async fn fails<S, R>(
    mut inner: S,
    layer: FaultLayer,
    fault: Fault,
    req: Request<Payload>,
) -> Result<Response<Faulted<R>>, Error>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    let (dialect, stream) = (req.body().dialect(), req.body().head().stream);
    let patience = layer.patience(&req);
    match fault {
        Fault::Refuse => Err(Error::new(Kind::Unreachable, "the provider could not be reached, on purpose")
            .with_nothing_begun()),
        Fault::Reset => Err(Error::new(Kind::Unreachable, "the provider's connection broke, on purpose")),
        Fault::Hang => Err(late(patience).await),
        Fault::Delay(time) if time >= patience => Err(late(patience).await),
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            inner.call(req).await.map(|answer| answer.map(Faulted::passes)).map_err(Into::into)
        }
        Fault::Status(status) => Err(refusal(dialect, status, req.body().exchange())),
        Fault::Malformed => Ok(said(dialect, stream, "<html>this is no answer, on purpose</html>".into())),
        Fault::Empty => Ok(said(dialect, stream, Bytes::new())),
        Fault::Error => Ok(said(dialect, stream, error(dialect, stream, req.body().exchange()))),
        Fault::Cut { events } => {
            let answer = inner.call(req).await.map_err(Into::into)?;
            // A whole answer has no events.
            let events = if stream { events } else { 0 };
            Ok(answer.map(|body| Faulted::cut(body, dialect.framing(), events)))
        }
    }
}

async fn late(patience: Duration) -> Error {
    tokio::time::sleep(patience).await;
    Error::new(Kind::Timeout, format!("the provider did not answer within {patience:?}, on purpose"))
}

/// What a provider says with a status of failure.
fn refusal(dialect: &'static dyn Dialect, status: StatusCode, exchange: &Exchange) -> Error {
    let kind = match status::kind_of(status.as_u16()) {
        // As the provider sees it, whose client the gateway is.
        Kind::UpstreamAuth => Kind::Unauthenticated,
        Kind::Billing => Kind::BudgetExhausted,
        other => other,
    };
    let error = Error::new(kind, format!("{}, on purpose", status.as_u16()));
    let (_, body) = dialect.render_error(&error, exchange.id());
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))]);
    dialect.read_error(Reply { status, headers, body, dialect: dialect.id() })
}

const JSON: &str = "application/json";

/// An error with a status of success.
fn error(dialect: &'static dyn Dialect, stream: bool, exchange: &Exchange) -> Bytes {
    let error = Error::new(Kind::Overloaded, "the provider is overloaded, on purpose");
    match stream {
        true => dialect.error_event(&error, exchange.id(), &Sent::default()),
        false => dialect.render_error(&error, exchange.id()).1,
    }
}

fn said<R>(dialect: &'static dyn Dialect, stream: bool, text: Bytes) -> Response<Faulted<R>> {
    let mut answer = Response::new(Faulted::says(text));
    let is = match (stream, dialect.framing()) {
        (false, _) => JSON,
        (true, Framing::Sse) => "text/event-stream",
        (true, Framing::EventStream) => "application/vnd.amazon.eventstream",
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(is));
    answer
}

pin_project! {
    /// Response future of [`Faulty`].
    pub struct ResponseFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Called { #[pin] inner: F },
        Struck { answer: BoxFuture<'static, Result<Response<Faulted<R>>, Error>> },
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Error>,
{
    type Output = Result<Response<Faulted<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Called { inner } => {
                let answer = ready!(inner.poll(cx)).map_err(Into::into)?;
                Poll::Ready(Ok(answer.map(Faulted::passes)))
            }
            StateProj::Struck { answer } => answer.as_mut().poll(cx),
        }
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Target,
        dialect::{ANTHROPIC, BEDROCK, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
        first_event::FirstEventLayer,
        payload::Head,
        testing::{ENDINGS, Ending, MustBeReady, Script, Step, is_shared},
    };

    fn layer() -> FaultLayer {
        FaultLayer::new(Arc::new(Target::new("a", "b"))).first_byte(Duration::from_secs(20))
    }

    fn request(dialect: &'static dyn Dialect, stream: bool) -> Request<Payload> {
        let head = Head { stream, ..Head::default() };
        Request::new(Payload::new(dialect, head, Bytes::new(), Exchange::default()))
    }

    /// What the gateway makes of a fault at a provider that is well.
    async fn through(fault: Fault, dialect: &'static dyn Dialect, stream: bool) -> Result<Bytes, Error> {
        const EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
        let well = MustBeReady::new(move |_: Request<Payload>| async move {
            let steps =
                if stream { vec![Step::Data(EVENT), Step::Data(EVENT)] } else { vec![Step::Data("{}")] };
            Ok::<_, Error>(Response::new(Script::new(steps)))
        });
        let service = layer().rule(fault, 1.0).layer(well);
        let service = FirstEventLayer::new(Duration::from_secs(60)).layer(service);
        let answer = service.oneshot(request(dialect, stream)).await?;
        Ok(answer.into_body().collect().await.map_err(Into::<Error>::into)?.to_bytes())
    }

    #[tokio::test]
    async fn without_a_rule_everything_passes_and_ends_as_it_did() {
        for ending in ENDINGS {
            let service = layer().layer(MustBeReady::new(move |_: Request<Payload>| ending.answer()));
            is_shared(&service);

            ending.play(service.oneshot(request(&OPENAI_CHAT, true)), || {}, || {}).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_is_what_a_provider_would_do_in_its_dialect() {
        let dialects: [&'static dyn Dialect; 4] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI];
        for (dialect, stream) in dialects.into_iter().flat_map(|dialect| [(dialect, true), (dialect, false)])
        {
            for (fault, kinds) in [
                ("401", &[Kind::UpstreamAuth][..]),
                ("429", &[Kind::RateLimited]),
                ("500", &[Kind::Upstream]),
                ("503", &[Kind::Overloaded]),
                ("529", &[Kind::Overloaded]),
                ("refuse", &[Kind::Unreachable]),
                ("reset", &[Kind::Unreachable]),
                ("hang", &[Kind::Timeout]),
                ("delay 30s", &[Kind::Timeout]),
                ("malformed", &[Kind::Upstream]),
                ("empty", &[Kind::Upstream]),
                ("error", &[Kind::Overloaded, Kind::Upstream]),
                ("cut 0", &[Kind::Upstream, Kind::Unreachable]),
            ] {
                let error = through(fault.parse().unwrap(), dialect, stream).await.unwrap_err();

                assert!(kinds.contains(&error.kind()), "{fault} {} {stream}: {error:?}", dialect.id());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_bedrock_fails_too() {
        for fault in ["503", "malformed", "empty", "error", "cut 0"] {
            for stream in [true, false] {
                assert!(through(fault.parse().unwrap(), &BEDROCK, stream).await.is_err(), "{fault} {stream}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_waited_for_and_then_answered() {
        let begun = tokio::time::Instant::now();

        assert_eq!(through(Fault::Delay(Duration::from_secs(2)), &OPENAI_CHAT, false).await.unwrap(), "{}");

        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_share_strikes_about_so_many_and_says_each_time_that_it_did() {
        let service = layer()
            .rule(Fault::Reset, 0.25)
            .layer(MustBeReady::new(move |_: Request<Payload>| Ending::KnownLength.answer()));
        let mut struck = 0;
        for _ in 0..2_000 {
            let req = request(&OPENAI_CHAT, false);
            let exchange = req.body().exchange().clone();

            let failed = service.clone().oneshot(req).await.is_err();

            let said = exchange.learn(|learnt| learnt.faults.clone());
            assert_eq!(said, if failed { vec![Box::from("reset at a/b")] } else { Vec::new() });
            struck += u32::from(failed);
        }
        assert!((400..600).contains(&struck), "{struck}");
    }
}
