//! Writes down every exchange, also the refused ones: [`RecordLayer`].
//!
//! The layer stands outside of all others. When the response has ended – completed, failed, or left by
//! the client – it makes one [`Record`] and hands it to a [`Sink`], which doesn't wait. The sink for all that
//! has to is a [`Queue`]: bounded, with a worker that hands records in batches to those who [`Keep`] them, such as
//! [`JsonLines`], and counts what it must drop.
//! Money is kept apart, in the [ledger](crate::ledger): a lost record never loses spend.

mod across;
mod content;
mod entry;
mod jsonl;
mod keep;
mod layer;
mod mask;
mod queue;
mod said;
mod service;
mod whole;

#[cfg(feature = "config")]
pub(crate) use self::content::LONGEST as LONGEST_CONTENT;
pub(crate) use self::service::Passing;
pub use self::{
    content::{Answered, Content},
    entry::{AttemptRecord, Record},
    jsonl::{JsonLines, Writer},
    keep::{Keep, Kept},
    layer::RecordLayer,
    mask::{KnownSecrets, Mask},
    queue::{Queue, QueueOptions},
    said::{ContentRules, Said},
    service::{Finish, Recorded, ResponseFuture},
};

use std::{fmt, sync::Arc};

use crate::{BoxError, BoxFuture};

/// Takes records.
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Takes one record. May not wait: it is called when a response ends, possibly in `Drop`.
    fn record(&self, record: Record);
}

/// Every record is a `tracing` event: `info` for answers, `warn` for failures. Behind a [`Queue`] it is one of those who
/// keep them; as a sink of its own it masks [secrets](Mask) itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Sink for Tracing {
    fn record(&self, mut record: Record) {
        record.mask(&Mask::default());
        Self::log(&record);
    }
}

impl Keep for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn keeps_content(&self) -> bool {
        false
    }

    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>> {
        batch.iter().for_each(|kept| Self::log(kept.record()));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Tracing {
    fn log(record: &Record) {
        let Record { id, status, .. } = record;
        let (key, model) = (record.key.as_deref().unwrap_or("-"), record.model.as_deref().unwrap_or("-"));
        let target = record.answering().map_or("-", |attempt| &*attempt.target);
        let (input, output, cost) = (record.tokens.input, record.tokens.output, record.cost);
        let (attempts, ms) = (record.answers().count(), record.duration.as_millis() as u64);
        let end = record.end.as_str();
        match &record.error {
            None => {
                tracing::info!(%id, status, end, key, model, target, attempts, input, output, %cost, ms, "answered");
            }
            Some(kind) => {
                let reason = record.message.as_deref();
                tracing::warn!(
                    %id, status, end, key, model, target, attempts, input, output, %cost, ms, %kind, reason, "failed"
                );
            }
        }
    }
}
