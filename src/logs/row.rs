use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Histogram, Used};
use crate::{Tokens, labels::Labels, record::Record};

/// Names are cut after so many bytes: clients choose models and users as they like.
const LONGEST_NAME: usize = 200;

/// The facts of a record that are listed, filtered and summed up by: what a store has in columns.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Where it stands: the microsecond of its end.
    // Records come when they end. By their arrival, long ones would come between those that have been seen.
    pub(crate) place: u64,
    pub(crate) id: &'a str,
    pub(crate) duration: u64,
    pub(crate) first_event: Option<u64>,
    pub(crate) overhead: Option<u64>,
    pub(crate) status: Option<u16>,
    pub(crate) end: &'static str,
    pub(crate) error: Option<&'static str>,
    /// Whether something doesn't work; see [`Record::has_failed`].
    pub(crate) failed: bool,
    pub(crate) key: Option<&'a str>,
    pub(crate) team: Option<&'a str>,
    pub(crate) customer: Option<&'a str>,
    pub(crate) labels: &'a Labels,
    pub(crate) trace: Option<String>,
    pub(crate) model: Option<&'a str>,
    pub(crate) target: Option<&'a str>,
    pub(crate) finish: Option<&'a str>,
    pub(crate) attempts: u32,
    pub(crate) tokens: Tokens,
    pub(crate) cost: u64,
    pub(crate) estimated: bool,
    pub(crate) stream: bool,
    /// Whether somebody was told why it failed.
    pub(crate) has_message: bool,
}

impl<'a> Row<'a> {
    pub(crate) fn of(record: &'a Record) -> Self {
        Self {
            place: micros_at(record.arrived).saturating_add(micros(record.duration)),
            id: record.id.as_str(),
            duration: micros(record.duration),
            first_event: record.first_event.map(micros),
            overhead: record.overhead.map(micros),
            status: record.status,
            end: record.end.as_str(),
            error: record.error.map(|kind| kind.as_str()),
            failed: record.has_failed(),
            key: name(record.key.as_deref()),
            team: name(record.team.as_deref()),
            customer: name(record.customer.as_deref()),
            labels: &record.labels,
            trace: record.trace.map(|parent| format!("{:032x}", parent.trace)),
            model: name(record.model.as_deref()),
            target: name(record.answering().map(|attempt| &*attempt.target)),
            finish: name(record.finish_reason.as_deref()),
            attempts: record.answers().count() as u32,
            tokens: record.tokens,
            cost: record.cost.0,
            estimated: record.estimated,
            stream: record.stream,
            has_message: record.message.is_some(),
        }
    }

    pub(crate) fn user(&self) -> Option<&'a str> {
        name(self.labels.user.as_deref())
    }

    pub(crate) fn session(&self) -> Option<&'a str> {
        name(self.labels.session.as_deref())
    }

    pub(crate) fn feature(&self) -> Option<&'a str> {
        name(self.labels.tag("feature"))
    }

    /// See [`writing_ms`].
    fn writing_ms(&self) -> u64 {
        writing_ms(self.tokens.output, self.stream, self.duration, self.first_event)
    }

    /// Adds it to what others used.
    pub(crate) fn add_to(&self, used: &mut Used) {
        let Tokens { input, cached, output, reasoning, .. } = self.tokens;
        let attempts = u64::from(self.attempts);
        used.add([1, attempts, input, cached, output, reasoning, self.cost, self.writing_ms()]);
        used.latency.count(self.duration);
        count(&mut used.first_event, self.first_event);
        count(&mut used.overhead, self.overhead);
    }
}

fn count(histogram: &mut Histogram, micros: Option<u64>) {
    if let Some(micros) = micros {
        histogram.count(micros);
    }
}

/// How long a model was writing, in milliseconds: from the first event of a stream to its end, and all of the time where
/// there is no telling when it began.
pub(crate) fn writing_ms(output: u64, stream: bool, duration: u64, first_event: Option<u64>) -> u64 {
    match first_event {
        _ if output == 0 => 0,
        Some(first) if stream => duration.saturating_sub(first) / 1000,
        _ => duration / 1000,
    }
}

/// Whether a request with this status and kind of error was answered with an error.
pub(crate) fn is_error(status: Option<u16>, error: Option<&str>) -> bool {
    error.is_some() || status.is_some_and(|status| status >= 400)
}

/// The provider of a target.
pub(crate) fn provider(target: &str) -> &str {
    target.split_once('/').map_or(target, |(provider, _)| provider)
}

/// The microsecond of Unix time.
pub(crate) fn micros_at(time: SystemTime) -> u64 {
    micros(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn name(name: Option<&str>) -> Option<&str> {
    name.map(|name| {
        let end = (0..=name.len().min(LONGEST_NAME)).rev().find(|end| name.is_char_boundary(*end));
        &name[..end.unwrap_or_default()]
    })
}
