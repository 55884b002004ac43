//! The stack as the proxy composes it, in front of two providers that answer what they are told to.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use bartizan::{
    BoxBody, BoxError, Dialect, Error, Payload, Target,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, KeyDigest, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    dialect::{Dialects, OPENAI_BATCHES, OPENAI_FILES, endpoints},
    dispatch::{Candidate, Dispatch, Retry, Route, Table},
    error::Reply,
    first_event::FirstEventLayer,
    ingest::IngestLayer,
    ledger::{Ledger, Measure, MemoryLedger, Period, Quota},
    meter::MeterLayer,
    own_ids::OwnIdsLayer,
    price::{NanoUsd, Price},
    record::{Record, RecordLayer, Sink},
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    secret::Secret,
    sign::{Credential, SignLayer},
    translate::TranslateLayer,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tower::{
    ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, MapResponse},
};

/// The key of the app.
pub const KEY: &str = "vk-of-the-app-0123456789";

const BOUNDARY: &str = "bound-0123456789";

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub content_type: String,
    pub body: Bytes,
}

pub fn json(body: &str) -> Asked {
    Asked { content_type: "application/json".to_owned(), body: body.to_owned().into() }
}

pub fn form(fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> Asked {
    let mut body = Vec::new();
    let head = |name: &str, more: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n")
    };
    for (name, value) in fields {
        body.extend_from_slice(format!("{}{value}\r\n", head(name, "")).as_bytes());
    }
    for (name, content) in files {
        body.extend_from_slice(head(name, "; filename=\"x.bin\"").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Asked { content_type: format!("multipart/form-data; boundary={BOUNDARY}"), body: body.into() }
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub struct Answered {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Proper,
    Break,
    Hang,
    /// There isn't even a head.
    Never,
}

impl Answered {
    pub fn bytes(content_type: &'static str, body: &[u8]) -> Self {
        Self { status: 200, content_type, body: Bytes::copy_from_slice(body), end: End::Proper }
    }

    pub fn json(body: &str) -> Self {
        Self::bytes("application/json", body.as_bytes())
    }

    pub fn events(body: &str) -> Self {
        Self::bytes("text/event-stream", body.as_bytes())
    }

    pub fn refusal(status: u16, body: &str) -> Self {
        Self { status, ..Self::json(body) }
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self { end: End::Never, ..Self::json("") }
    }

    pub fn that_breaks(self) -> Self {
        Self { end: End::Break, ..self }
    }

    pub fn that_hangs(self) -> Self {
        Self { end: End::Hang, ..self }
    }
}

/// What a provider was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: Method,
    pub path: String,
    pub content_type: String,
    pub authorization: Vec<u8>,
    pub body: Bytes,
}

/// A provider in the place of the terminal service.
#[derive(Clone, Debug, Default)]
pub struct Provider(Arc<Mutex<(VecDeque<Answered>, Vec<Sent>)>>);

impl Provider {
    /// What it answers next.
    pub fn will(&self, answer: Answered) {
        self.0.lock().unwrap().0.push_back(answer);
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.0.lock().unwrap().1.clone()
    }

    async fn answer(self, req: Request<Payload>) -> Result<Response<BoxBody>, Error> {
        let dialect = req.body().dialect();
        let header = |name| req.headers().get(name).map_or(Vec::new(), |value| value.as_bytes().to_vec());
        let sent = Sent {
            method: req.body().head().resource.as_ref().map_or(Method::POST, |kept| kept.method.clone()),
            path: dialect.path(req.body()).into_owned(),
            content_type: String::from_utf8(header(header::CONTENT_TYPE)).unwrap(),
            authorization: header(header::AUTHORIZATION),
            body: req.body().to_bytes(),
        };
        let answer = {
            let mut inner = self.0.lock().unwrap();
            inner.1.push(sent);
            inner.0.pop_front()
        };
        let answer = answer.unwrap_or_else(|| Answered::refusal(503, r#"{"error":{"message":"nothing"}}"#));
        let status = StatusCode::from_u16(answer.status).unwrap();
        if !status.is_success() {
            let (headers, body) = (HeaderMap::new(), answer.body);
            return Err(dialect.read_error(Reply { status, headers, body, dialect: dialect.id() }));
        }
        if matches!(answer.end, End::Never) {
            return pending().await;
        }
        let pieces: Vec<_> = answer.body.chunks(7).map(Bytes::copy_from_slice).collect();
        let frames = stream::iter(pieces).map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
        let rest = match answer.end {
            End::Proper | End::Never => stream::empty().boxed(),
            End::Break => stream::iter([Err("the connection broke".into())]).boxed(),
            End::Hang => stream::pending().boxed(),
        };
        let res = Response::builder().header(header::CONTENT_TYPE, answer.content_type);
        Ok(res.body(StreamBody::new(frames.chain(rest)).boxed_unsync()).unwrap())
    }
}

/// What was recorded.
#[derive(Clone, Debug, Default)]
pub struct Records(Arc<Mutex<Vec<Record>>>);

impl Sink for Records {
    fn record(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }
}

impl Records {
    pub fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    pub fn last(&self) -> Record {
        self.0.lock().unwrap().last().cloned().expect("nothing was recorded")
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub broke: bool,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn content_type(&self) -> &str {
        self.headers[header::CONTENT_TYPE].to_str().unwrap()
    }
}

type Stack = BoxCloneSyncService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>;

/// The gateway: `m` and the usual models are at `first`, and at `second` if that fails.
pub struct Gateway {
    pub first: Provider,
    pub second: Provider,
    pub records: Records,
    ledger: Arc<MemoryLedger>,
    stack: Stack,
}

impl Gateway {
    pub fn new(price: Price) -> Self {
        let (first, second) = (Provider::default(), Provider::default());
        let candidates = || {
            [
                candidate("first", "model-a", &first, price.clone()),
                candidate("second", "model-b", &second, price.clone()),
            ]
        };
        let table =
            ["m", "omni-moderation-latest", "other"].into_iter().fold(Table::default(), |table, name| {
                let route = Route::new(name, candidates()).retry(Retry::never());
                table.route(route.total(Duration::from_secs(30)))
            });
        let (ledger, records) = (Arc::<MemoryLedger>::default(), Records::default());
        let stack = stack(Dispatch::new(table), &ledger, &records);
        Self { first, second, records, ledger, stack }
    }

    async fn begin(&self, key: &str, method: Method, path: &str, asked: Asked) -> Response<BoxBody> {
        let req = Request::builder().method(method).uri(path);
        let req = req.header("authorization", format!("Bearer {key}"));
        let req = req.header("content-type", asked.content_type).body(Full::new(asked.body)).unwrap();
        self.stack.clone().oneshot(req).await.unwrap()
    }

    /// Asks, and reads the answer to its end.
    pub async fn ask(&self, key: &str, method: Method, path: &str, asked: Asked) -> Got {
        let (parts, mut body) = self.begin(key, method, path, asked).await.into_parts();
        let (mut all, mut broke) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => {
                    broke = true;
                    break;
                }
            }
        }
        Got { status: parts.status, headers: parts.headers, body: all.into(), broke }
    }

    /// The first piece of an answer; then the client leaves.
    pub async fn first_chunk(&self, key: &str, method: Method, path: &str, asked: Asked) -> Bytes {
        let mut body = self.begin(key, method, path, asked).await.into_body();
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    /// What is held while a request is under way.
    pub async fn held_for(&self, method: Method, path: &str, asked: Asked) -> NanoUsd {
        let answer = self.begin(KEY, method, path, asked).await;
        assert_eq!(answer.status(), StatusCode::OK);
        self.balance("key:app").0
    }

    /// What is held and what was spent.
    pub fn balance(&self, account: &str) -> (NanoUsd, NanoUsd) {
        self.ledger
            .balance(account, Measure::Usd, Period::Total)
            .map(|balance| (NanoUsd(balance.held), NanoUsd(balance.posted)))
            .unwrap_or_default()
    }
}

fn candidate(owner: &str, model: &str, provider: &Provider, price: Price) -> Candidate {
    let target = Arc::new(Target::new(owner, model).price(Some(price)));
    let sign = SignLayer::new(Credential::Bearer(Secret::new("sk-provider-0123456789"))).unwrap();
    let batches: [&'static dyn Dialect; 2] = [&OPENAI_FILES, &OPENAI_BATCHES];
    let natives: Vec<&'static dyn Dialect> = endpoints().chain(batches).collect();
    let provider = provider.clone();
    let stack = ServiceBuilder::new()
        .layer(sign.scrub())
        .layer(OwnIdsLayer::new(target.clone()).secret(b"of the gateway"))
        .layer(TranslateLayer::new(target.clone(), natives))
        .layer(FirstEventLayer::new(Duration::from_secs(20)))
        .layer(MeterLayer::new(target.clone()))
        .layer(sign)
        .service(service_fn(move |req| provider.clone().answer(req)));
    Candidate::new(target, stack)
}

fn stack(dispatch: Dispatch, ledger: &Arc<MemoryLedger>, records: &Records) -> Stack {
    let dialects = Dialects::default();
    let ledger: Arc<dyn Ledger> = ledger.clone();
    let stack = ServiceBuilder::new()
        .layer(RecordLayer::new(Arc::new(records.clone())))
        .layer(RenderErrorsLayer::new(dialects.clone()))
        .layer(AuthLayer::new(Arc::new(keys())))
        .layer(RequestLimitLayer::new())
        .layer(IngestLayer::new(dialects))
        .layer(AccessLayer::new())
        .layer(BudgetLayer::new(ledger, Arc::new(dispatch.clone())))
        .service(dispatch);
    BoxCloneSyncService::new(MapResponse::new(stack, |res: Response<_>| boxed(res)))
}

fn boxed<R>(res: Response<R>) -> Response<BoxBody>
where
    R: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    res.map(BodyExt::boxed_unsync)
}

fn keys() -> MemoryKeys {
    let budget = |limit| Quota::usd(limit, Period::Total);
    let rich = budget(NanoUsd::from_usd(100));
    let keys = [
        (KEY, VirtualKey::new("app").quota(rich)),
        ("vk-other", VirtualKey::new("another").quota(rich)),
        ("vk-narrow", VirtualKey::new("narrow").allow([Pattern::new("other")]).quota(rich)),
        ("vk-poor", VirtualKey::new("poor").quota(budget(NanoUsd(1)))),
        ("vk-slow", VirtualKey::new("slow").requests("1/hour".parse().unwrap())),
    ];
    keys.map(|(key, known)| (KeyDigest::of(key), known)).into_iter().collect()
}

/// A price from dollars for a million of each.
pub fn price(text: &str) -> Price {
    let mut price = Price::default();
    for (name, usd) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let usd: NanoUsd = usd.parse().unwrap();
        let (rates, units) = (&mut price.scale.rates, &mut price.units);
        match name {
            "in" => (rates.input, rates.cached) = (usd, usd),
            "out" => (rates.output, rates.reasoning) = (usd, usd),
            "media_in" => rates.media_input = Some(usd),
            "media_out" => rates.media_output = Some(usd),
            "image" => units.image = usd,
            "search" => units.search = usd,
            "character" => units.character = usd,
            "audio" => units.audio = usd,
            "video" => units.video = [usd; 4],
            other => panic!("there is no {other}"),
        }
    }
    price
}
