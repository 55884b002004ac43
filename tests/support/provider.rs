use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bartizan::{BoxError, BoxFuture, Error, Kind, Payload, error::Reply};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tower::Service;

/// How long a provider may be silent, before its head and inside of its answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a provider does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// It answers with success, and a body of these steps.
    Whole(Vec<Step>),
    /// The same as a stream of events.
    Stream(Vec<Step>),
    /// It refuses.
    Refuse(u16, Vec<(&'static str, String)>, Bytes),
    /// The connection breaks before there is a head.
    Reset,
    /// It never answers.
    Hang,
    /// It makes something of the credential that it was sent.
    Echo(Echo),
}

#[derive(Clone)]
pub struct Echo(Arc<dyn Fn(&str) -> Act + Send + Sync>);

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo")
    }
}

/// What the body of an answer does next.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Bytes),
    /// The connection breaks.
    Break,
    /// Nothing comes any more.
    Silence,
    /// Nothing comes for so long.
    Pause(Duration),
}

impl Act {
    pub fn whole(body: impl Into<Bytes>) -> Self {
        Self::Whole(vec![Step::Data(body.into())])
    }

    pub fn stream(body: impl Into<Bytes>) -> Self {
        Self::Stream(vec![Step::Data(body.into())])
    }

    pub fn echo(what: impl Fn(&str) -> Self + Send + Sync + 'static) -> Self {
        Self::Echo(Echo(Arc::new(what)))
    }

    pub fn refuse(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Refuse(status, Vec::new(), body.into())
    }
}

/// What a provider was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A provider that follows a script; without one, it does `usual`. Stands in the place of the
/// terminal service, and turns refusals into errors as that does.
#[derive(Clone, Debug)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    script: Mutex<VecDeque<Act>>,
    usual: fn(stream: bool) -> Act,
    sent: Mutex<Vec<Sent>>,
    open: AtomicUsize,
}

impl Provider {
    pub fn new(usual: fn(stream: bool) -> Act) -> Self {
        let inner = Inner { script: Mutex::default(), usual, sent: Mutex::default(), open: 0.into() };
        Self(Arc::new(inner))
    }

    /// What it does with the next requests.
    pub fn will(&self, acts: impl IntoIterator<Item = Act>) {
        self.0.script.lock().unwrap().extend(acts);
    }

    /// What it was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.0.sent.lock().unwrap().clone()
    }

    /// How many of its answers are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }
}

impl Service<Request<Payload>> for Provider {
    type Response = Response<Played>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Played>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let sent = Sent { headers: req.headers().clone(), body: req.body().to_bytes() };
        self.0.sent.lock().unwrap().push(sent.clone());
        let next = self.0.script.lock().unwrap().pop_front();
        let mut act = next.unwrap_or_else(|| (self.0.usual)(req.body().head().stream));
        if let Act::Echo(Echo(what)) = act {
            act = what(&credential(&sent.headers));
        }
        let open = Open::new(self.0.clone());
        Box::pin(async move {
            let reply = |status: u16, headers: Vec<(&'static str, String)>, body: Bytes| {
                let headers = headers.into_iter().map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())
                });
                let dialect = req.body().dialect();
                let status = StatusCode::from_u16(status).unwrap();
                Err(dialect.read_error(Reply {
                    status,
                    headers: headers.collect(),
                    body,
                    dialect: dialect.id(),
                }))
            };
            match act {
                Act::Whole(steps) => Ok(respond("application/json", steps, open)),
                Act::Stream(steps) => Ok(respond("text/event-stream; charset=utf-8", steps, open)),
                Act::Refuse(status, headers, body) => reply(status, headers, body),
                Act::Reset => Err(Error::new(Kind::Unreachable, "the provider's connection broke")),
                Act::Hang => {
                    tokio::time::sleep(PATIENCE).await;
                    Err(Error::new(Kind::Timeout, format!("the provider did not answer within {PATIENCE:?}")))
                }
                Act::Echo(_) => unreachable!("what is made of a credential is something else"),
            }
        })
    }
}

fn credential(headers: &HeaderMap) -> String {
    let value = headers.get("authorization").or(headers.get("x-api-key")).expect("a signed request");
    value.to_str().unwrap().trim_start_matches("Bearer ").to_owned()
}

fn respond(content_type: &'static str, steps: Vec<Step>, open: Open) -> Response<Played> {
    let mut res = Response::new(Played { steps: steps.into(), alarm: None, _open: open });
    res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    res
}

#[derive(Debug)]
struct Open(Arc<Inner>);

impl Open {
    fn new(inner: Arc<Inner>) -> Self {
        inner.open.fetch_add(1, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Played {
    steps: VecDeque<Step>,
    alarm: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

impl Body for Played {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let error = |kind, message: &str| Poll::Ready(Some(Err(Error::new(kind, message).into())));
        loop {
            let wait = match self.steps.front() {
                Some(Step::Silence) => PATIENCE,
                Some(Step::Pause(time)) => *time,
                _ => Duration::ZERO,
            };
            if !wait.is_zero() {
                let alarm = self
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + wait)));
                ready!(alarm.as_mut().poll(cx));
                self.alarm = None;
            }
            return match self.steps.pop_front() {
                Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Break) => error(Kind::Unreachable, "the provider's answer broke off"),
                Some(Step::Silence) => error(Kind::Timeout, "the provider was silent for 30s"),
                Some(Step::Pause(_)) => continue,
                None => Poll::Ready(None),
            };
        }
    }
}
