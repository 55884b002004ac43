use std::{sync::Arc, time::SystemTime};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::any_value::Value,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
};

use super::{
    attributes::{Attributes, any, nanos},
    collector::{Collector, SCHEMA, scope},
    names::*,
};
use crate::{
    BoxError, BoxFuture,
    record::{Keep, Kept},
};

/// The most records that are sent at once.
const MOST: usize = 1024;

/// Keeps records as lines of a log: made by [`OtelOptions`](super::OtelOptions). The body of each is the record as
/// JSON, which has nothing of what was said.
#[derive(Debug)]
pub struct Logs {
    collector: Collector,
}

impl Logs {
    pub(super) fn new(collector: Collector) -> Self {
        Self { collector }
    }

    async fn send(&self, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
        let now = nanos(SystemTime::now());
        for part in batch.chunks(MOST) {
            let log_records = part.iter().map(|kept| line(kept, now)).collect();
            let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: SCHEMA.to_owned() }];
            let resource_logs = vec![ResourceLogs {
                resource: self.collector.resource(),
                scope_logs,
                schema_url: SCHEMA.to_owned(),
            }];
            self.collector.send("logs", &ExportLogsServiceRequest { resource_logs }).await?;
        }
        Ok(())
    }
}

impl Keep for Logs {
    fn name(&self) -> &str {
        "otlp-logs"
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.send(batch))
    }
}

fn line(kept: &Kept, now: u64) -> LogRecord {
    let record = kept.record();
    let mut attributes = Attributes::default();
    attributes.text(OPERATION, operation(record.dialect));
    attributes.text(REQUEST_ID, record.id.as_str());
    attributes.maybe(REQUEST_MODEL, record.model.as_deref());
    attributes.maybe(KEY, record.key.as_deref());
    attributes.maybe(TEAM, record.team.as_deref());
    attributes.maybe(ERROR_TYPE, record.error.map(|kind| kind.as_str()));
    let severity = if record.error.is_some() { SeverityNumber::Warn } else { SeverityNumber::Info };
    let trace = record.span.or(record.trace);
    LogRecord {
        time_unix_nano: nanos(record.arrived + record.duration),
        observed_time_unix_nano: now,
        severity_number: severity.into(),
        severity_text: if record.error.is_some() { "WARN" } else { "INFO" }.to_owned(),
        body: Some(any(Value::StringValue(kept.json().to_owned()))),
        attributes: attributes.into_inner(),
        flags: trace.map_or(0, |trace| u32::from(trace.is_sampled)),
        trace_id: trace.map(|trace| trace.trace.to_be_bytes().to_vec()).unwrap_or_default(),
        span_id: trace.map(|trace| trace.span.to_be_bytes().to_vec()).unwrap_or_default(),
        event_name: "bartizan.exchange".to_owned(),
        ..LogRecord::default()
    }
}
