use std::sync::Arc;

use bartizan::{
    BoxError,
    alerts::{Alerts, Others, Rules},
    config::{Config, Records, Standings},
    logs::Logs,
    metrics::{Measured, Names},
    otel::{OtelOptions, Providers},
    record::{KnownSecrets, Queue, QueueOptions, RecordLayer, Sink, Tracing},
};
use tokio::task::JoinHandle;

use super::records::kept;

/// The most records that wait to be kept.
const MAX_RECORDS: usize = 10_000;

/// Who gets to know of requests that have ended.
pub struct Observers {
    pub records: Arc<dyn Sink>,
    /// Where records are found again.
    pub logs: Option<Arc<dyn Logs>>,
    /// Ends when the last sender of records is gone.
    pub writer: JoinHandle<()>,
    pub known: Known,
    /// Watch what is worth telling.
    rules: Rules,
    pub queue: Queue,
    /// Which share of traces is recorded, if there are any.
    traces: Option<f64>,
}

/// What measurements, traces and records go by of each configuration. Clones are the same.
#[derive(Clone)]
pub struct Known {
    names: Names,
    providers: Providers,
    secrets: KnownSecrets,
}

impl Known {
    pub fn replace(&self, config: &Config) {
        self.names.replace(&config.names());
        self.providers.replace(&config.otel_providers());
        self.secrets.replace(config.secrets());
    }
}

impl Observers {
    pub fn begin(config: &Config) -> Result<Self, BoxError> {
        let secrets = KnownSecrets::new(config.secrets());
        let known = Known { names: config.names(), providers: config.otel_providers(), secrets };
        let queue = QueueOptions::new(MAX_RECORDS).rules(config.log.content_rules(known.secrets.clone()));
        let (queue, logs) = kept(config, queue.keeper(Measured::new(known.names.clone())))?;
        let queue =
            if config.log.records.contains(&Records::Tracing) { queue.keeper(Tracing) } else { queue };
        let rules = config.alerts.rules()?;
        let queue = if rules.is_empty() { queue } else { queue.keeper(rules.clone()) };
        let (queue, worker) = otel(config, &known, queue)?.start();
        let counts = queue.clone();
        let records = Arc::new(queue);
        let traces = config.otel.as_ref().filter(|otel| otel.traces).map(|otel| otel.sample);
        Ok(Self { records, logs, writer: tokio::spawn(worker), known, rules, queue: counts, traces })
    }

    /// Tells `alerts` of what is worth it, until it is dropped.
    pub fn telling(&self, alerts: Alerts, standings: Standings) -> impl Future<Output = ()> + use<> {
        let queue = self.queue.clone();
        let lost = move || queue.dropped() + queue.missed().map(|(_, count)| count).sum::<u64>();
        let passed_over = Arc::new(move || standings.passed_over());
        self.rules.run(alerts, Others { passed_over, lost: Arc::new(lost) })
    }

    pub fn layer(&self) -> RecordLayer {
        let layer = RecordLayer::new(self.records.clone());
        match self.traces {
            Some(share) => layer.traces(share),
            None => layer,
        }
    }
}

/// Adds what OpenTelemetry wants to know.
fn otel(config: &Config, known: &Known, mut options: QueueOptions) -> Result<QueueOptions, BoxError> {
    let Some(otel) = &config.otel else { return Ok(options) };
    let to: OtelOptions = otel.options(&|name| std::env::var(name).ok())?;
    let to = to.names(known.names.clone()).providers(known.providers.clone());
    if otel.traces {
        options = options.keeper(to.spans());
    }
    if otel.metrics {
        options = options.keeper(to.measures());
    }
    if otel.logs {
        options = options.keeper(to.logs());
    }
    Ok(options)
}
