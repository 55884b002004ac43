use std::{convert::Infallible, fs::OpenOptions, io, sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    about_key::AboutKeyLayer,
    access::AccessLayer,
    admin::{AdminLayer, Settings},
    auth::{AuthLayer, Caller, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    config::{AuthMode, Away, Builder, Config, Records},
    dialect::Dialects,
    dispatch::Dispatch,
    drain::DrainLayer,
    health::{HealthLayer, Ready},
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    labels::LabelsLayer,
    ledger::Ledger,
    models::ModelsLayer,
    record::{JsonLines, Record, RecordLayer, Sink, Tracing},
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{sync::Mutex, task::JoinHandle};
use tower::{Service, ServiceBuilder};

use super::store::Budgets;

/// The most answers that are read on at the same time for clients that have left.
const MAX_DRAINED: u32 = 1000;
/// The most records that wait to be written.
const MAX_RECORDS: usize = 10_000;

/// How long writing may take at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What outlives every request and every configuration.
pub struct Gateway {
    pub ready: Ready,
    dispatch: Dispatch,
    keys: Arc<MemoryKeys>,
    settings: Arc<Settings>,
    labels: LabelsLayer,
    builder: Builder,
    ledger: Arc<dyn Ledger>,
    budgets: Budgets,
    drain: DrainLayer,
    records: Arc<dyn Sink>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// What a new configuration changes.
pub struct Reloading {
    pub dispatch: Dispatch,
    pub settings: Arc<Settings>,
    pub labels: LabelsLayer,
    pub builder: Builder,
    /// What can't be changed: whether keys are asked for at all.
    pub auth: AuthMode,
}

impl Gateway {
    pub async fn new(config: &Config) -> Result<Self, BoxError> {
        let budgets = Budgets::open(config).await?;
        let mut builder = Builder::default().ledger(budgets.ledger());
        let dispatch = Dispatch::new(builder.table(config)?);
        let keys = Arc::new(MemoryKeys::default());
        let settings = settings(config, &budgets, &keys).await?;
        let (records, writer) = records(&config.log.records)?;
        Ok(Self {
            ready: Ready::default(),
            dispatch,
            keys,
            settings,
            labels: LabelsLayer::new(config.label_rules()),
            builder,
            ledger: budgets.ledger(),
            budgets,
            drain: DrainLayer::new(MAX_DRAINED),
            records,
            writer: Mutex::new(writer),
        })
    }

    pub fn reloading(&self, config: &Config) -> Reloading {
        Reloading {
            dispatch: self.dispatch.clone(),
            settings: self.settings.clone(),
            labels: self.labels.clone(),
            builder: self.builder.clone(),
            auth: config.auth,
        }
    }

    /// Puts in force what other nodes have set, until it is dropped.
    pub fn following(&self) -> impl Future<Output = ()> + use<> {
        self.settings.clone().follow()
    }

    /// The stack, from the client inwards.
    pub fn service(
        &self,
        config: &Config,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<impl http_body::Body<Data = bytes::Bytes, Error = BoxError> + Send + use<>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<> {
        let dialects = Dialects::default();
        let server = &config.server;
        let auth = match config.auth {
            AuthMode::Open => AuthLayer::open(Caller::new(VirtualKey::new("everybody"))),
            _ => AuthLayer::new(self.keys.clone()),
        };
        let budget = BudgetLayer::new(self.ledger.clone(), Arc::new(self.dispatch.clone()))
            .unknown_price(config.unknown_price.into())
            .store_away(config.store_away.budgets.into());
        ServiceBuilder::new()
            // Outside of everything, so that an answer which is read on for a client that has left is
            // charged and recorded as if the client were there.
            .layer(self.drain.clone())
            // Probes need no key, and leave no record.
            .layer(self.health(config))
            // Sees every outcome, also what is refused further in.
            .layer(RecordLayer::new(self.records.clone()))
            // Outside of all that fails, inside of the record, which has to know the status.
            .layer(RenderErrorsLayer::new(dialects.clone()))
            // Has a key of its own, and is there also when the gateway is full.
            .layer(AdminLayer::new(self.settings.clone(), self.ledger.clone()))
            // Before any work is done for a request; counts it until its answer has ended.
            .layer(InFlightLayer::new(server.max_in_flight.get()))
            // Before a byte of the body is read.
            .layer(auth)
            // Needs only the caller, so it too refuses before the body is read.
            .layer(RequestLimitLayer::new())
            // Lists what the caller may use: needs the caller, but no body.
            .layer(ModelsLayer::new(Arc::new(self.dispatch.clone())))
            // Says what is left to the caller: needs no body either.
            .layer(AboutKeyLayer::new(self.ledger.clone()))
            // From here on the model is known.
            .layer(
                IngestLayer::new(dialects)
                    .limit(server.max_body.bytes())
                    .memory(server.max_in_flight_bytes.bytes()),
            )
            // The first that needs the model: nothing is reserved for what isn't allowed.
            .layer(AccessLayer::new())
            // Knows whom and what the request is for, and charges their accounts too.
            .layer(self.labels.clone())
            // Last before the call: what is held is held as shortly as possible.
            .layer(budget)
            .service(self.dispatch.clone())
    }

    fn health(&self, config: &Config) -> HealthLayer {
        let health = HealthLayer::new(self.ready.clone());
        match (self.budgets.away(), config.store_away.budgets) {
            // Other nodes may still reach it.
            (Some(is_away), Away::Refuse) => health.needs("store_away", move || !is_away()),
            _ => health,
        }
    }

    /// Waits for what was begun for clients that have left, for what was spent to be written, and for the
    /// records.
    pub async fn close(self, within: Duration) {
        let _ = tokio::time::timeout(within, self.drain.finished()).await;
        let Self { records, writer, budgets, ledger, .. } = self;
        drop(ledger);
        budgets.close(PATIENCE).await;
        // The writer ends when the last sender of records is gone.
        drop(records);
        if let Some(writer) = writer.into_inner() {
            match tokio::time::timeout(PATIENCE, writer).await {
                Ok(Ok(Ok(()))) => {}
                other => tracing::error!(?other, "records are missing"),
            }
        }
    }
}

/// What is set while the gateway runs, beside the budgets.
async fn settings(
    config: &Config,
    budgets: &Budgets,
    keys: &Arc<MemoryKeys>,
) -> Result<Arc<Settings>, BoxError> {
    let (config, directory, keys) = (config.clone(), budgets.directory(), keys.clone());
    Ok(Arc::new(match budgets.away() {
        Some(is_away) if is_away() => Settings::without(config, directory, keys)?,
        _ => Settings::open(config, directory, keys).await?,
    }))
}

#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn record(&self, _: Record) {}
}

/// Where records go, and who writes them there.
type Written = (Arc<dyn Sink>, Option<JoinHandle<io::Result<()>>>);

fn records(to: &Records) -> Result<Written, BoxError> {
    Ok(match to {
        Records::Tracing => (Arc::new(Tracing), None),
        Records::File(path) => {
            let open = OpenOptions::new().create(true).append(true).open(path);
            let file = open.map_err(|error| format!("log.records.file: {}: {error}", path.display()))?;
            let (records, worker) = JsonLines::new(file, MAX_RECORDS);
            (Arc::new(records), Some(tokio::spawn(worker)))
        }
        _ => (Arc::new(Nowhere), None),
    })
}
