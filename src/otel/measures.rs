use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Histogram as Points, HistogramDataPoint, Metric, ResourceMetrics,
        ScopeMetrics, metric::Data,
    },
};
use tokio::time::Instant;

use super::{
    Providers,
    attributes::{Attributes, nanos},
    collector::{Collector, SCHEMA, scope},
    histogram::Histogram,
    names::*,
    span::error,
};
use crate::{
    BoxError, BoxFuture,
    metrics::Names,
    record::{AttemptRecord, Keep, Kept, Record},
};

/// The most series that are made; further ones are of the model `other`.
const MOST: usize = 2_000;

/// Bounds of times, in seconds, as the conventions have them.
const TIMES: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Bounds of tokens, likewise.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// What is measured: its name, its unit and its bounds.
const KNOWN: [(&str, &str, &[f64]); 3] =
    [(DURATION, "s", TIMES), (TOKEN_USAGE, "{token}", TOKENS), (FIRST_CHUNK, "s", TIMES)];

/// Keeps what records sum up to, and sends it now and then: made by [`OtelOptions`](super::OtelOptions).
#[derive(Debug)]
pub struct Measures {
    collector: Collector,
    providers: Providers,
    names: Names,
    interval: Duration,
    since: SystemTime,
    sent: Instant,
    /// Whether something has come since.
    is_new: bool,
    series: BTreeMap<Labels, Histogram>,
}

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    metric: usize,
    operation: &'static str,
    target: Box<str>,
    error: Option<Box<str>>,
    token: Option<&'static str>,
}

impl Measures {
    pub(super) fn new(collector: Collector, providers: Providers, names: Names, interval: Duration) -> Self {
        Self {
            collector,
            providers,
            names,
            interval,
            since: SystemTime::now(),
            sent: Instant::now(),
            is_new: false,
            series: BTreeMap::new(),
        }
    }

    fn note(&mut self, record: &Record, attempt: &AttemptRecord) {
        let operation = operation_of(attempt.role, record.dialect);
        let target: Box<str> = self.names.target(&attempt.target).into();
        let failure: Option<Box<str>> = error(attempt).map(Into::into);
        let labels = |metric, token| Labels {
            metric,
            operation,
            target: target.clone(),
            error: failure.clone().filter(|_| metric == 0),
            token,
        };
        let since_start = |at: Option<Duration>| at.and_then(|at| at.checked_sub(attempt.started));
        let mut values = Vec::with_capacity(4);
        if let Some(took) = since_start(attempt.ended) {
            values.push((labels(0, None), took.as_secs_f64()));
        }
        if let Some(first) =
            since_start(attempt.first_byte).filter(|_| record.stream && attempt.role.answers())
        {
            values.push((labels(2, None), first.as_secs_f64()));
        }
        // What was never counted is no usage of zero; nor is an estimate a count.
        if !attempt.estimated && !attempt.tokens.is_zero() {
            values.push((labels(1, Some("input")), attempt.tokens.input as f64));
            values.push((labels(1, Some("output")), attempt.tokens.output as f64));
        }
        for (labels, value) in values {
            self.add(labels, value);
        }
    }

    fn add(&mut self, mut labels: Labels, value: f64) {
        if self.series.len() >= MOST && !self.series.contains_key(&labels) {
            labels.target = "other/other".into();
        }
        let bounds = KNOWN.get(labels.metric).map_or(TIMES, |(_, _, bounds)| *bounds);
        self.series.entry(labels).or_insert_with(|| Histogram::new(bounds)).note(value);
        self.is_new = true;
    }

    fn point(&self, labels: &Labels, histogram: &Histogram, now: u64) -> HistogramDataPoint {
        let mut attributes = Attributes::default();
        let provider = self.providers.of(&labels.target);
        let model = labels.target.split_once('/').map_or(&*labels.target, |(_, model)| model);
        attributes.text(OPERATION, labels.operation);
        attributes.text(PROVIDER, provider.name);
        attributes.text(REQUEST_MODEL, model);
        if let Some((host, port)) = provider.address {
            attributes.text(SERVER_ADDRESS, host);
            attributes.number(SERVER_PORT, port.into());
        }
        attributes.maybe(ERROR_TYPE, labels.error.as_deref());
        attributes.maybe(TOKEN_TYPE, labels.token);
        HistogramDataPoint {
            attributes: attributes.into_inner(),
            start_time_unix_nano: nanos(self.since),
            time_unix_nano: now,
            ..histogram.point()
        }
    }

    async fn send(&mut self) -> Result<(), BoxError> {
        self.sent = Instant::now();
        if !self.is_new {
            return Ok(());
        }
        let now = nanos(SystemTime::now());
        let metrics = KNOWN.iter().enumerate().map(|(index, (name, unit, _))| {
            let of_metric = self.series.iter().filter(|(labels, _)| labels.metric == index);
            let data_points =
                of_metric.map(|(labels, histogram)| self.point(labels, histogram, now)).collect();
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            let data = Some(Data::Histogram(Points { data_points, aggregation_temporality }));
            Metric { name: (*name).to_owned(), unit: (*unit).to_owned(), data, ..Metric::default() }
        });
        let scope_metrics =
            vec![ScopeMetrics { scope: scope(), metrics: metrics.collect(), schema_url: SCHEMA.to_owned() }];
        let resource_metrics = vec![ResourceMetrics {
            resource: self.collector.resource(),
            scope_metrics,
            schema_url: SCHEMA.to_owned(),
        }];
        self.collector.send("metrics", &ExportMetricsServiceRequest { resource_metrics }).await?;
        self.is_new = false;
        Ok(())
    }

    /// Sends it, and says so if it can't be: the next time it will be in there too.
    async fn flush(&mut self) {
        if let Err(error) = self.send().await {
            tracing::warn!(%error, "measurements could not be sent");
        }
    }
}

impl Keep for Measures {
    fn name(&self) -> &str {
        "otlp-metrics"
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        for record in batch.iter().map(|kept| kept.record()) {
            record.attempts.iter().for_each(|attempt| self.note(record, attempt));
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.sent.elapsed() >= self.interval {
                self.flush().await;
            }
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.flush())
    }
}
