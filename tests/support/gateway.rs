use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bartizan::{
    BoxBody, Dialect, Target,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, KeyDigest, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    dialect::{ANTHROPIC, Dialects, OPENAI_CHAT, OPENAI_EMBEDDINGS},
    dispatch::{Candidate, Dispatch, Retry, Route, Table},
    drain::DrainLayer,
    first_event::FirstEventLayer,
    health::{HealthLayer, Ready},
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    ledger::{Measure, MemoryLedger, Period, Quota, Scope},
    meter::MeterLayer,
    models::ModelsLayer,
    price::{NanoUsd, Price, Rates},
    record::{Record, RecordLayer, Sink},
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    sign::{Credential, SignLayer},
    translate::TranslateLayer,
};
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use super::{
    KEY, answers,
    client::{Client, Sending},
    provider::Provider,
};

/// The keys of the gateway at its providers.
pub const OPENAI_KEY: &str = "sk-provider-of-openai-0123456789";
pub const CLAUDE_KEY: &str = "sk-ant-provider-of-claude-0123456789";

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

    /// The last of them.
    pub fn last(&self) -> Record {
        self.all().pop().expect("nothing was recorded")
    }
}

/// What a test sets otherwise than usual.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Places in front of all.
    pub in_flight: usize,
    /// Places at each target.
    pub places: usize,
    pub strict: bool,
    pub body_limit: usize,
    pub attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { in_flight: 1, places: 1, strict: false, body_limit: 1 << 20, attempts: 1 }
    }
}

/// The stack as the proxy composes it, with everything in sight. It has one place for a request, so
/// that one that is never given back is noticed with the next request.
pub struct Gateway {
    pub openai: Provider,
    pub claude: Provider,
    pub ledger: Arc<MemoryLedger>,
    pub records: Records,
    pub drain: DrainLayer,
    pub dispatch: Dispatch,
    service: Sending,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl Gateway {
    pub fn new(settings: Settings) -> Self {
        let (openai, claude) = (Provider::new(answers::openai), Provider::new(answers::claude));
        let dispatch = Dispatch::new(table(&openai, &claude, settings));
        let ledger = Arc::new(MemoryLedger::default());
        let records = Records::default();
        let drain = DrainLayer::new(10);
        let service = service(settings, &dispatch, &ledger, &records, &drain);
        Self { openai, claude, ledger, records, drain, dispatch, service }
    }

    pub fn client(&self) -> Client {
        Client::new(self.service.clone())
    }

    /// What is held and what was spent on each account.
    pub fn balances(&self) -> [(NanoUsd, NanoUsd); 3] {
        ["key:app", "team:apps", "gateway"].map(|account| {
            self.ledger
                .balance(account, Measure::Usd, Period::Total)
                .map(|balance| (NanoUsd(balance.held), NanoUsd(balance.posted)))
                .unwrap_or_default()
        })
    }
}

/// `gpt` and `claude` have one target each, `gpt-claude` and `claude-gpt` two; `drained-…` are read on
/// when the client leaves.
fn table(openai: &Provider, claude: &Provider, settings: Settings) -> Table {
    let places = [(); 2].map(|()| InFlightLayer::new(settings.places));
    let gpt = || candidate("openai/gpt-a", openai, &places[0], settings);
    let sonnet = || candidate("anthropic/claude-a", claude, &places[1], settings);
    let route = |name: &str, candidates: Vec<Candidate>| {
        let retry = Retry { attempts: settings.attempts, ..Retry::default() };
        Route::new(name, candidates).retry(retry).total(Duration::from_secs(300))
    };
    Table::default()
        .route(route("gpt", vec![gpt()]))
        .route(route("claude", vec![sonnet()]))
        .route(route("gpt-claude", vec![gpt(), sonnet()]))
        .route(route("claude-gpt", vec![sonnet(), gpt()]))
        .route(route("drained-gpt", vec![gpt()]).drain(true))
        .route(route("drained-claude", vec![sonnet()]).drain(true))
}

/// As `config::Builder` stacks it.
fn candidate(name: &str, provider: &Provider, in_flight: &InFlightLayer, settings: Settings) -> Candidate {
    let (owner, model) = name.split_once('/').unwrap();
    let target = Arc::new(Target::new(owner, model).price(Some(price())));
    let (natives, credential): (Vec<&'static dyn Dialect>, _) = match owner {
        "openai" => (vec![&OPENAI_CHAT, &OPENAI_EMBEDDINGS], Credential::Bearer(secret(OPENAI_KEY))),
        _ => {
            let name = HeaderName::from_static("x-api-key");
            (vec![&ANTHROPIC], Credential::Header(name, secret(CLAUDE_KEY)))
        }
    };
    let sign = SignLayer::new(credential).unwrap();
    let stack = ServiceBuilder::new()
        .layer(in_flight.clone())
        .layer(sign.scrub())
        .layer(TranslateLayer::new(target.clone(), natives).strict(settings.strict))
        .layer(FirstEventLayer::new(Duration::from_secs(20)))
        .layer(MeterLayer::new(target.clone()))
        .layer(sign)
        .service(provider.clone());
    Candidate::new(target, stack)
}

fn secret(text: &str) -> bartizan::secret::Secret {
    bartizan::secret::Secret::new(text)
}

/// In dollars for a million tokens: 2 in, 0.50 cached, 2.50 written to the cache, 10 out, 12 thought.
pub fn price() -> Price {
    let usd = NanoUsd::from_usd;
    Price::from(Rates {
        input: usd(2),
        cached: NanoUsd(500_000_000),
        cache_write: NanoUsd(2_500_000_000),
        cache_write_1h: usd(4),
        output: usd(10),
        reasoning: usd(12),
        ..Rates::default()
    })
}

fn keys() -> MemoryKeys {
    let scope = |account: &str| Scope::new(account, Quota::usd(NanoUsd::from_usd(100), Period::Total));
    let app = VirtualKey::new("app")
        .team("apps")
        .quota(Quota::usd(NanoUsd::from_usd(100), Period::Total))
        .scope(scope("team:apps"))
        .scope(scope("gateway"));
    let narrow = VirtualKey::new("narrow").allow([Pattern::new("claude")]);
    let poor = VirtualKey::new("poor").quota(Quota::usd(NanoUsd(1), Period::Total)).scope(scope("gateway"));
    let slow = VirtualKey::new("slow").requests("1/hour".parse().unwrap());
    let old = VirtualKey::new("old").disabled(true);
    [(KEY, app), ("vk-narrow", narrow), ("vk-poor", poor), ("vk-slow", slow), ("vk-disabled", old)]
        .map(|(key, known)| (KeyDigest::of(key), known))
        .into_iter()
        .collect()
}

/// As the proxy stacks it.
fn service(
    settings: Settings,
    dispatch: &Dispatch,
    ledger: &Arc<MemoryLedger>,
    records: &Records,
    drain: &DrainLayer,
) -> Sending {
    let dialects = Dialects::default();
    let stack = ServiceBuilder::new()
        .layer(drain.clone())
        .layer(HealthLayer::new(Ready::default()))
        .layer(RecordLayer::new(Arc::new(records.clone())))
        .layer(RenderErrorsLayer::new(dialects.clone()))
        .layer(InFlightLayer::new(settings.in_flight))
        .layer(AuthLayer::new(Arc::new(keys())))
        .layer(RequestLimitLayer::new())
        .layer(ModelsLayer::new(Arc::new(dispatch.clone())))
        .layer(IngestLayer::new(dialects).limit(settings.body_limit))
        .layer(AccessLayer::new())
        .layer(BudgetLayer::new(ledger.clone(), Arc::new(dispatch.clone())))
        .service(dispatch.clone());
    let boxed = tower::util::MapResponse::new(stack, |res: Response<_>| boxed(res));
    BoxCloneSyncService::new(boxed)
}

fn boxed<R>(res: Response<R>) -> Response<BoxBody>
where
    R: http_body::Body<Data = bytes::Bytes, Error = bartizan::BoxError> + Send + 'static,
{
    res.map(BodyExt::boxed_unsync)
}
