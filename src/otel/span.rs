use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};

use super::{
    Providers,
    attributes::{Attributes, nanos},
    collector::{Collector, SCHEMA, scope},
    messages,
    names::*,
};
use crate::{
    BoxError, BoxFuture, Tokens,
    exchange::TraceParent,
    record::{AttemptRecord, Keep, Kept, Record},
};

/// The most records that are sent at once: they are some kilobytes each, and collectors take some megabytes.
const MOST: usize = 512;

/// Keeps records as traces: made by [`OtelOptions`](super::OtelOptions).
#[derive(Debug)]
pub struct Spans {
    collector: Collector,
    providers: Providers,
    content: bool,
}

impl Spans {
    pub(super) fn new(collector: Collector, providers: Providers, content: bool) -> Self {
        Self { collector, providers, content }
    }

    async fn send(&self, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
        let most = if self.content { 1.max(MOST / 64) } else { MOST };
        for part in batch.chunks(most) {
            let spans: Vec<_> =
                part.iter().flat_map(|kept| spans(kept, &self.providers, self.content)).collect();
            if spans.is_empty() {
                continue;
            }
            let scope_spans = vec![ScopeSpans { scope: scope(), spans, schema_url: SCHEMA.to_owned() }];
            let resource_spans = vec![ResourceSpans {
                resource: self.collector.resource(),
                scope_spans,
                schema_url: SCHEMA.to_owned(),
            }];
            self.collector.send("traces", &ExportTraceServiceRequest { resource_spans }).await?;
        }
        Ok(())
    }
}

impl Keep for Spans {
    fn name(&self) -> &str {
        "otlp-traces"
    }

    fn keeps_content(&self) -> bool {
        self.content
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(self.send(batch))
    }
}

/// The span of a request, and behind it those of its attempts; none if it isn't recorded.
fn spans(kept: &Kept, providers: &Providers, content: bool) -> Vec<Span> {
    let record = kept.record();
    let Some(span) = record.span.filter(|span| span.is_sampled) else { return Vec::new() };
    let answering = record.answering();
    let attempts = record.attempts.iter().enumerate().map(|(index, attempt)| {
        let answers = answering.is_some_and(|answering| std::ptr::eq(answering, attempt));
        of_attempt(span, index, attempt, record, answers, providers)
    });
    let mut spans: Vec<_> = [of_request(span, record)].into_iter().chain(attempts).collect();
    if let Some(said) = kept.said().filter(|_| content && record.log_content) {
        // Whoever answers has been asked it all.
        let at = record.attempts.iter().position(|one| answering.is_some_and(|it| std::ptr::eq(it, one)));
        let mut attributes = Attributes::default();
        messages::add(&mut attributes, &said.request, said.answer.as_deref());
        if let Some(span) = spans.get_mut(at.map_or(0, |at| at + 1)) {
            span.attributes.extend(attributes.into_inner());
        }
    }
    spans
}

fn of_request(span: TraceParent, record: &Record) -> Span {
    let mut attributes = Attributes::default();
    let operation = operation(record.dialect);
    attributes.text(OPERATION, operation);
    attributes.maybe(REQUEST_MODEL, record.model.as_deref());
    attributes.maybe(RESPONSE_MODEL, record.answering().map(model));
    attributes.text(REQUEST_ID, record.id.as_str());
    attributes.maybe(MIRRORS, record.mirrors.as_ref().map(|original| original.as_str()));
    attributes.maybe(KEY, record.key.as_deref());
    attributes.maybe(TEAM, record.team.as_deref());
    attributes.maybe(CUSTOMER, record.customer.as_deref());
    attributes.maybe(USER, record.labels.user.as_deref());
    attributes.maybe(CONVERSATION, record.labels.session.as_deref());
    for (name, value) in record.labels.tags.iter() {
        attributes.text(&format!("{TAG}{name}"), &**value);
    }
    attributes.maybe(CLIENT_ADDRESS, record.client.map(|client| client.to_string()));
    attributes.maybe(ROUTE, record.route.map(|route| route.strategy.as_str()));
    if let Some(status) = record.status {
        attributes.number(STATUS, status.into());
    }
    if let Some(overhead) = record.overhead {
        attributes.real(OVERHEAD, overhead.as_secs_f64());
    }
    attributes.flag(REQUEST_STREAM, record.stream);
    attributes.real(COST, record.cost.as_usd());
    attributes.maybe(ERROR_TYPE, record.error.map(|kind| kind.as_str()));
    let parent = record.trace.filter(|trace| trace.span != span.span);
    Span {
        name: named(operation, record.model.as_deref()),
        // Nobody has sent a copy here.
        kind: if record.mirrors.is_none() { SpanKind::Server } else { SpanKind::Internal }.into(),
        parent_span_id: parent.map(|parent| parent.span.to_be_bytes().to_vec()).unwrap_or_default(),
        start_time_unix_nano: nanos(record.arrived),
        end_time_unix_nano: nanos(record.arrived + record.duration),
        attributes: attributes.into_inner(),
        status: record.error.map(|_| failed(record.message.as_deref())),
        ..begun(span, record)
    }
}

fn of_attempt(
    request: TraceParent,
    index: usize,
    attempt: &AttemptRecord,
    record: &Record,
    answers: bool,
    providers: &Providers,
) -> Span {
    let mut attributes = Attributes::default();
    let operation = operation_of(attempt.role, record.dialect);
    let is_stream = record.stream && attempt.role.answers();
    attributes.text(OPERATION, operation);
    let provider = providers.of(&attempt.target);
    attributes.text(PROVIDER, provider.name);
    if let Some((host, port)) = provider.address {
        attributes.text(SERVER_ADDRESS, host);
        attributes.number(SERVER_PORT, port.into());
    }
    attributes.text(REQUEST_MODEL, model(attempt));
    attributes.maybe(RESPONSE_MODEL, answers.then(|| model(attempt)));
    attributes.flag(REQUEST_STREAM, is_stream);
    let first = attempt.first_byte.and_then(|first| first.checked_sub(attempt.started));
    if let Some(first) = first.filter(|_| is_stream) {
        attributes.real(TIME_TO_FIRST_CHUNK, first.as_secs_f64());
    }
    if let Some(finish) = record.finish_reason.as_deref().filter(|_| answers) {
        attributes.list(FINISH_REASONS, finish);
    }
    used(&mut attributes, attempt);
    if let Some(status) = attempt.status {
        attributes.number(STATUS, status.into());
    }
    attributes.text(ROLE, attempt.role.as_str());
    attributes.maybe(PROVIDER_KEY, attempt.key.as_deref());
    let error = error(attempt);
    attributes.maybe(ERROR_TYPE, error);
    let end = attempt.ended.unwrap_or(record.duration);
    Span {
        name: named(operation, Some(model(attempt))),
        kind: SpanKind::Client.into(),
        parent_span_id: request.span.to_be_bytes().to_vec(),
        start_time_unix_nano: nanos(record.arrived + attempt.started),
        end_time_unix_nano: nanos(record.arrived + end),
        attributes: attributes.into_inner(),
        status: error.map(|kind| failed(Some(kind))),
        ..begun(request.attempt(index), record)
    }
}

fn used(attributes: &mut Attributes, attempt: &AttemptRecord) {
    let Tokens { input, cached, cache_write, cache_write_1h, output, reasoning, .. } = attempt.tokens;
    attributes.number(INPUT_TOKENS, input);
    attributes.number(OUTPUT_TOKENS, output);
    attributes.number(CACHE_READ_TOKENS, cached);
    attributes.number(CACHE_CREATION_TOKENS, cache_write.saturating_add(cache_write_1h));
    attributes.number(REASONING_TOKENS, reasoning);
    if attempt.estimated {
        attributes.flag(ESTIMATED, true);
    }
    if let Some(cost) = attempt.cost {
        attributes.real(COST, cost.as_usd());
    }
}

/// The kind of error, if it has failed.
pub(super) fn error(attempt: &AttemptRecord) -> Option<&str> {
    Some(&*attempt.outcome).filter(|outcome| !["answered", "aborted", "running"].contains(outcome))
}

/// The provider's name of the model.
pub(super) fn model(attempt: &AttemptRecord) -> &str {
    attempt.target.split_once('/').map_or(&*attempt.target, |(_, model)| model)
}

fn named(operation: &str, model: Option<&str>) -> String {
    model.map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}"))
}

fn failed(message: Option<&str>) -> Status {
    Status { message: message.unwrap_or_default().to_owned(), code: StatusCode::Error.into() }
}

fn begun(span: TraceParent, record: &Record) -> Span {
    Span {
        trace_state: record.trace_state.as_deref().unwrap_or_default().to_owned(),
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.span.to_be_bytes().to_vec(),
        flags: 1,
        ..Span::default()
    }
}
