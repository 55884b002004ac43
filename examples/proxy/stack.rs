use std::{
    convert::Infallible,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bartizan::{
    BoxError,
    about_key::AboutKeyLayer,
    access::AccessLayer,
    admin::{AdminLayer, Settings},
    alerts::AlertsLayer,
    audit::{Event, EventKind, Trail},
    auth::{AuthLayer, Caller, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    choose::ChooseLayer,
    config::{AuthMode, Away, Builder, Config, Gauges, HealthTells, Standings},
    dashboard::DashboardLayer,
    dialect::Dialects,
    dispatch::{Dispatch, Mirrors, Table},
    drain::DrainLayer,
    fault::TellFaultsLayer,
    health::{HealthLayer, Ready},
    in_flight::InFlightLayer,
    ingest::IngestLayer,
    keep_alive::KeepAliveLayer,
    labels::LabelsLayer,
    ledger::Ledger,
    loops::LoopLayer,
    metrics::MetricsLayer,
    models::ModelsLayer,
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    server_timing::ServerTimingLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::task::JoinHandle;
use tower::{Service, ServiceBuilder};

use super::{
    alerts::Telling,
    measure::Measurements,
    observe::{Known, Observers},
    store::Budgets,
};

/// The most answers that are read on at the same time for clients that have left.
const MAX_DRAINED: u32 = 1000;
/// The most copies of requests that are under way at the same time.
const MAX_MIRRORED: u32 = 100;

/// How long writing may take at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What outlives every request and every configuration.
pub struct Gateway {
    pub ready: Ready,
    dispatch: Dispatch,
    keys: Arc<MemoryKeys>,
    settings: Arc<Settings>,
    labels: LabelsLayer,
    faults: TellFaultsLayer,
    standings: Standings,
    ledger: Arc<dyn Ledger>,
    budgets: Budgets,
    telling: Telling,
    trail: Trail,
    /// Who enters in the audit what nobody waits for.
    entering: JoinHandle<()>,
    loops: LoopLayer,
    /// Who tells other gateways of loops.
    sharing: Option<JoinHandle<()>>,
    /// Who tells them of targets that are passed over, and who asks providers whether they are there.
    watching: Vec<JoinHandle<()>>,
    drain: DrainLayer,
    mirrors: Mirrors,
    observers: Observers,
    measurements: Measurements,
}

/// What a new configuration changes.
pub struct Reloading {
    pub settings: Arc<Settings>,
    pub trail: Trail,
    /// What the program has begun with, of which some takes a restart.
    pub begun: Config,
}

impl Gateway {
    pub async fn new(config: &Config) -> Result<Self, BoxError> {
        Self::with(config, Builder::default()).await
    }

    /// With routes that `builder` makes.
    pub async fn with(config: &Config, builder: Builder) -> Result<Self, BoxError> {
        // Before anything is measured.
        let measurements = Measurements::begin()?;
        let budgets = Budgets::open(config).await?;
        let dispatch = Dispatch::new(Table::default());
        let labels = LabelsLayer::new(config.label_rules());
        let faults = TellFaultsLayer::default();
        let keys = Arc::new(MemoryKeys::default());
        let observers = Observers::begin(config)?;
        let mirrors = Mirrors::new(MAX_MIRRORED).records(observers.records.clone());
        let telling = Telling::begin(config, budgets.ledger())?;
        let (trail, entering) = Trail::new(budgets.audit(&config.audit)?, budgets.ledger());
        let entering = tokio::spawn(entering);
        let builder = builder.ledger(budgets.ledger()).alerts(telling.alerts()).mirrors(mirrors.clone());
        let builder = builder.audit(trail.clone());
        let standings = builder.standings();
        let passing_on = budgets.board().map(|board| tokio::spawn(builder.sharing(board)));
        let upkeep = tokio::spawn(measurements.upkeep());
        let rules = tokio::spawn(observers.telling(telling.alerts(), standings.clone()));
        let watching =
            passing_on.into_iter().chain([rules, tokio::spawn(builder.probing()), upkeep]).collect();
        let settings = settings(config, &budgets, &keys).await?.audit(trail.clone());
        let settings = Arc::new(settings.apply(apply(
            builder,
            dispatch.clone(),
            labels.clone(),
            faults.clone(),
            observers.known.clone(),
        ))?);
        let (loops, sharing) = loops(config, &budgets, &telling);
        trail.note(about_itself("has started"));
        Ok(Self {
            ready: Ready::default(),
            dispatch,
            keys,
            settings,
            labels,
            faults,
            standings,
            telling,
            trail,
            entering,
            loops,
            sharing,
            watching,
            ledger: budgets.ledger(),
            budgets,
            drain: DrainLayer::new(MAX_DRAINED),
            mirrors,
            observers,
            measurements,
        })
    }

    pub fn reloading(&self, config: &Config) -> Reloading {
        Reloading { settings: self.settings.clone(), trail: self.trail.clone(), begun: config.clone() }
    }

    /// Puts in force what other nodes have set, until it is dropped.
    pub fn following(&self) -> impl Future<Output = ()> + use<> {
        self.settings.clone().follow()
    }

    /// The stack, from the client inwards.
    pub fn service<B>(
        &self,
        config: &Config,
    ) -> impl Service<
        Request<B>,
        Response = Response<impl Body<Data = Bytes, Error = BoxError> + Send + use<B>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let dialects = Dialects::default();
        let server = &config.server;
        let auth = match config.auth {
            AuthMode::Open => AuthLayer::open(Caller::new(VirtualKey::new("everybody"))),
            _ => AuthLayer::new(self.keys.clone()),
        };
        let budget = BudgetLayer::new(self.ledger.clone(), Arc::new(self.dispatch.clone()))
            .unknown_price(config.unknown_price.into())
            .store_away(config.store_away.budgets.into());
        let in_flight = InFlightLayer::new(server.max_in_flight.get());
        ServiceBuilder::new()
            // Outside of everything, so that an answer which is read on for a client that has left is
            // charged and recorded as if the client were there.
            .layer(self.drain.clone())
            // Outside of all that answers.
            .layer(ServerTimingLayer::default())
            // Probes need no key, and leave no record.
            .layer(self.health(config))
            // Has sessions of its own, and leaves no records of those who look at records.
            .layer(self.dashboard())
            // Shows what is measured, and is not measured itself.
            .layer(self.metrics(config, &in_flight))
            // Sees every outcome, also what is refused further in.
            .layer(self.observers.layer())
            // Outside of all that fails, inside of the record, which has to know the status.
            .layer(RenderErrorsLayer::new(dialects.clone()))
            // Has a key of its own, and is there also when the gateway is full.
            .layer(
                AdminLayer::new(self.settings.clone(), self.ledger.clone())
                    .explain(self.dispatch.clone())
                    .mirrors(self.mirrors.clone()),
            )
            // Before any work is done for a request; counts it until its answer has ended.
            .layer(in_flight)
            // Says what was made to fail on purpose, also where somebody else than administrators asks for it.
            .layer(self.faults.clone())
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
            // Outside of all that may take long.
            .layer(KeepAliveLayer::new(server.comment_every.map(|every| *every)))
            // The first that needs the model: nothing is reserved for what isn't allowed.
            .layer(AccessLayer::new())
            // Knows whom and what the request is for, and charges their accounts too.
            .layer(self.labels.clone())
            // Knows the session. Nothing is reserved for what runs away.
            .layer(self.loops.clone())
            // Before anything is reserved, which depends on the targets; knows the labels.
            .layer(ChooseLayer::new(self.dispatch.clone()).ledger(self.ledger.clone()))
            // Outside of the budget, so that what it looks at is settled.
            .layer(AlertsLayer::new(self.telling.alerts()))
            // Last before the call: what is held is held as shortly as possible.
            .layer(budget)
            .service(self.dispatch.clone())
    }

    fn dashboard(&self) -> DashboardLayer {
        let (settings, standings) = (self.settings.clone(), self.standings.clone());
        let dashboard = DashboardLayer::new(move || settings.config().admin.key.clone())
            .audit(self.trail.clone())
            .health(move || standings.json(HealthTells::Targets));
        match &self.observers.logs {
            Some(logs) => dashboard.logs(logs.clone()),
            None => dashboard,
        }
    }

    fn metrics(&self, config: &Config, in_flight: &InFlightLayer) -> MetricsLayer {
        let (settings, listen) = (self.settings.clone(), *config.server.listen);
        let in_force = settings.clone();
        let gauges = Gauges::new(self.standings.clone(), self.ledger.clone(), in_flight.clone(), move || {
            in_force.config()
        });
        self.measurements.layer(Arc::new(gauges)).access(move || settings.config().metrics_access(listen))
    }

    fn health(&self, config: &Config) -> HealthLayer {
        let (standings, tells) = (self.standings.clone(), config.server.health);
        let health = HealthLayer::new(self.ready.clone()).report(move || standings.json(tells));
        match (self.budgets.away(), config.store_away.budgets) {
            // Other nodes may still reach it.
            (Some(is_away), Away::Refuse) => health.needs("store_away", move || !is_away()),
            _ => health,
        }
    }

    /// Waits for what was begun for clients that have left, for what was spent to be written, and for the
    /// records.
    pub async fn close(self, within: Duration) {
        let rest = async { tokio::join!(self.drain.finished(), self.mirrors.finished()) };
        if tokio::time::timeout(within, rest).await.is_err() {
            tracing::warn!("answers are no longer read for clients that have left, and charged by estimate");
            tokio::join!(self.drain.stop(), self.mirrors.stop());
        }
        let Self {
            mirrors,
            observers: Observers { records, writer, queue, .. },
            budgets,
            ledger,
            telling,
            trail,
            mut entering,
            dispatch,
            settings,
            standings,
            loops,
            sharing,
            watching,
            ..
        } = self;
        drop(loops);
        // Nobody waits for what it tells.
        watching.iter().for_each(JoinHandle::abort);
        if let Some(mut sharing) = sharing
            && tokio::time::timeout(PATIENCE, &mut sharing).await.is_err()
        {
            // It holds the ledger.
            sharing.abort();
        }
        // Routes and breakers tell of what happens to them and charge budgets, and settings make routes.
        drop((dispatch, settings, standings));
        // Asks the ledger a last time.
        telling.close(PATIENCE).await;
        trail.note(about_itself("stops"));
        drop(trail);
        if tokio::time::timeout(PATIENCE, &mut entering).await.is_err() {
            // It holds the ledger.
            entering.abort();
            tracing::error!("the end of the audit is missing");
        }
        drop((ledger, mirrors));
        budgets.close(PATIENCE).await;
        // The writer ends when the last sender of records is gone.
        drop((records, queue));
        match tokio::time::timeout(PATIENCE, writer).await {
            Ok(Ok(())) => {}
            other => tracing::error!(?other, "records are missing"),
        }
    }
}

fn about_itself(what: &str) -> Event {
    Event::new(EventKind::Config, "the gateway", what).detail("version", env!("CARGO_PKG_VERSION"))
}

/// What stops loops, on all gateways together if others use the same store, and who tells them then.
fn loops(config: &Config, budgets: &Budgets, telling: &Telling) -> (LoopLayer, Option<JoinHandle<()>>) {
    let loops = LoopLayer::new(config.loop_rules()).alerts(telling.alerts());
    if budgets.away().is_none() {
        return (loops, None);
    }
    let (loops, task) = loops.shared(budgets.ledger());
    (loops, Some(tokio::spawn(task)))
}

/// What is set while the gateway runs, beside the budgets.
async fn settings(config: &Config, budgets: &Budgets, keys: &Arc<MemoryKeys>) -> Result<Settings, BoxError> {
    let (config, directory, keys) = (config.clone(), budgets.directory(), keys.clone());
    Ok(match budgets.away() {
        Some(is_away) if is_away() => Settings::without(config, directory, keys)?,
        _ => Settings::open(config, directory, keys).await?,
    })
}

/// Makes what requests go by of each configuration. The builder stays, because connections outlive it.
fn apply(
    builder: Builder,
    dispatch: Dispatch,
    labels: LabelsLayer,
    faults: TellFaultsLayer,
    known: Known,
) -> impl Fn(&Config) -> Result<(), BoxError> + Send + Sync + 'static {
    let builder = std::sync::Mutex::new(builder);
    move |config| {
        let table = builder.lock().unwrap_or_else(PoisonError::into_inner).table(config)?;
        dispatch.reload(table);
        labels.replace(config.label_rules());
        known.replace(config);
        config.announce_faults(&faults);
        Ok(())
    }
}
