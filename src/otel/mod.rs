//! Traces, measurements and logs for OpenTelemetry, by OTLP over HTTP.
//!
//! All of it is made of finished [records](crate::record): [`Spans`], [`Logs`] and [`Measures`] keep them like a
//! database does, each with its place in a [`Queue`](crate::record::Queue). A collector that is away or slow costs
//! requests nothing; what it misses is counted as [lost](crate::metrics::RECORDS_LOST).
//!
//! A request is a span of the kind `SERVER`, below the one that the client's
//! [`traceparent`](https://www.w3.org/TR/trace-context/) names, and each attempt at a target is one of the kind `CLIENT`
//! below it, with the attributes of the [conventions for generative AI](names). Tokens stand at attempts only, so that
//! who adds them up counts none twice. Providers are told the span of the attempt in `traceparent`, if
//! [`RecordLayer::traces`](crate::record::RecordLayer::traces) makes spans; without it there are none.
//!
//! What was asked and answered is sent only if [it is wanted](OtelOptions::content) and the key of the request allows
//! it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     otel::OtelOptions,
//!     record::{QueueOptions, RecordLayer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let otel = OtelOptions::new("http://127.0.0.1:4318")?.service("my-gateway");
//! let (records, worker) = QueueOptions::new(10_000).keeper(otel.spans()).keeper(otel.measures()).start();
//! let worker = tokio::spawn(worker);
//! let layer = RecordLayer::new(Arc::new(records)).traces(0.1);
//! // … and at the end:
//! drop(layer);
//! worker.await?;
//! # Ok(())
//! # }
//! ```

mod attributes;
mod collector;
mod histogram;
mod log;
mod measures;
mod messages;
pub mod names;
mod options;
mod providers;
mod span;

pub use self::{
    log::Logs,
    measures::Measures,
    options::OtelOptions,
    providers::{Provider, Providers},
    span::Spans,
};
