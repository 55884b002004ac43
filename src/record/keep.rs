use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{ContentRules, Record, Said};
use crate::{BoxError, BoxFuture, dialect::json_writer};

/// Keeps records for good: a file, a database. A [`Queue`](super::Queue) hands them over in batches.
///
/// A keeper may wait, for as long as it takes: records that come meanwhile wait in the queue, up to its bounds, and
/// neither requests nor other keepers wait for it.
pub trait Keep: Send + 'static {
    /// Names it in log lines and measurements.
    fn name(&self) -> &str;

    /// Whether it keeps what was asked and answered; where no keeper does, it isn't prepared.
    fn keeps_content(&self) -> bool {
        true
    }

    /// Keeps all of `batch`, or fails and is asked again with the same batch.
    ///
    /// # Errors
    ///
    /// If it could not be kept; the message names no address and no secret.
    fn keep<'a>(&'a mut self, batch: &'a [Arc<Kept>]) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Forgets what need not be kept any longer. Called every few seconds, also when there are no records; should
    /// do a small part at a time, because records wait meanwhile.
    fn tidy(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Does what is left to do when there will be no more records.
    fn finish(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl fmt::Debug for dyn Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keep").field(&self.name()).finish()
    }
}

/// A record as it is kept.
#[derive(Debug)]
pub struct Kept {
    record: Record,
    said: Option<Said>,
    json: OnceLock<Box<str>>,
    _charge: Option<Charge>,
}

impl Kept {
    /// A record without secrets, and of what was said as much as the rules let be kept. That may take some work.
    pub fn new(record: Record, rules: &ContentRules) -> Self {
        Self::charged(record, rules, None)
    }

    pub(super) fn charged(mut record: Record, rules: &ContentRules, mut charge: Option<Charge>) -> Self {
        let said = record.content.take().map(|content| Said::new(&content, record.dialect, rules));
        record.mask(rules.secrets());
        if let (Some(charge), Some(said)) = (&mut charge, &said) {
            charge.shrink(said.size());
        }
        Self { record, said, json: OnceLock::new(), _charge: charge }
    }

    /// The record; its content is in [`said`](Self::said).
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What was asked and answered, where the key allows that it is kept.
    pub fn said(&self) -> Option<&Said> {
        self.said.as_ref()
    }

    /// The record as one line of JSON, without a line feed and without content. It is made once for all keepers.
    pub fn json(&self) -> &str {
        self.json.get_or_init(|| {
            // Its members are texts and numbers.
            String::from_utf8(json_writer::to_vec(&self.record)).unwrap_or_default().into()
        })
    }
}

/// The bytes of content that may wait at the same time.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Takes some of it, if there is so much left.
    pub(super) fn take(&self, bytes: usize) -> Option<Charge> {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, |left| left.checked_sub(bytes)).ok()?;
        Some(Charge { room: self.clone(), bytes })
    }
}

/// A part of the room, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    room: Room,
    bytes: usize,
}

impl Charge {
    /// Takes more, if there is so much left.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let more = self.room.take(bytes);
        // What was taken belongs to this one now.
        more.map(|mut more| self.bytes += std::mem::take(&mut more.bytes)).is_some()
    }

    fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.room.0.fetch_add(self.bytes - bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
