use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Filter, Span};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::{Error, Kind};

/// What is to be summed up, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Question {
    /// From when until when.
    pub span: Span,
    /// Which records; its own span is not looked at. Costs, latencies, texts and places
    /// can't be filtered by here.
    pub filter: Filter,
    /// One sum for each step of time, in whole minutes; one for the whole span, if it isn't set. Steps begin where
    /// they would if they were counted from the beginning of Unix time, and what is long ago is no longer told apart
    /// by minutes or hours.
    pub step: Option<Duration>,
    /// One sum for each of these; one of all, if it isn't set.
    pub by: Option<Dimension>,
}

impl Question {
    /// The most steps of one question.
    pub const MOST_STEPS: usize = 1_000;

    /// One sum of all records of a span.
    pub fn new(span: Span) -> Self {
        Self { span, filter: Filter::default(), step: None, by: None }
    }

    /// Refuses what has too many steps.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(step) = self.step else { return Ok(()) };
        let whole = self.span.until.duration_since(self.span.from).unwrap_or_default();
        // One may begin before the span.
        if whole.as_secs() / step.as_secs().max(60) > Self::MOST_STEPS as u64 {
            let message = format!("the span has more than {} steps", Self::MOST_STEPS);
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        Ok(())
    }
}

/// By what records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dimension {
    /// The name of the key.
    Key,
    /// The team.
    Team,
    /// The customer.
    Customer,
    /// The end user. Stores need not tell how long their requests took.
    User,
    /// The value of the tag `feature`.
    Feature,
    /// The model that was asked for.
    Model,
    /// Who answered, or was asked last: `provider/model`.
    Target,
    /// The provider of that target.
    Provider,
}

/// What some records sum up to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Sum {
    /// The beginning of the step, in milliseconds of Unix time; that of the span, if there are no steps.
    pub at_ms: u64,
    /// Of whom; `None` where it isn't told apart, or for records that have none.
    pub name: Option<Box<str>>,
    /// What they used.
    #[serde(flatten)]
    pub used: Used,
}

/// What some requests used, and how they fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Used {
    /// How many there were.
    pub requests: u64,
    /// How many of them ended with an error.
    pub errors: u64,
    /// How many of those because something doesn't work: neither for what was asked nor for a limit of the caller. As
    /// [`Record::has_failed`](crate::record::Record::has_failed) has it.
    pub failed: u64,
    /// How many attempts they took.
    pub attempts: u64,
    /// What models read, in tokens.
    pub input: u64,
    /// What of that providers had in their caches.
    pub cached: u64,
    /// What models wrote.
    pub output: u64,
    /// What of that was reasoning.
    pub reasoning: u64,
    /// What it cost, in billionths of a dollar.
    pub cost: u64,
    /// How long models were writing, in milliseconds: from the first event of a stream to its end, and all of the time
    /// of other answers.
    pub writing_ms: u64,
    /// How long requests took until their answers had ended.
    pub latency: Histogram,
    /// How long until their answers began.
    pub first_event: Histogram,
    /// How long the gateway itself was at it.
    pub overhead: Histogram,
    /// How many there were of each kind of error.
    pub error_kinds: BTreeMap<Box<str>, u64>,
    /// How many ended for each reason, as their dialects call it.
    pub finish_reasons: BTreeMap<Box<str>, u64>,
}

impl Used {
    /// What is only added up, in the order in which stores have it.
    pub(crate) fn numbers(&self) -> [u64; 8] {
        let Self { requests, attempts, input, cached, output, reasoning, cost, writing_ms, .. } = *self;
        [requests, attempts, input, cached, output, reasoning, cost, writing_ms]
    }

    /// Adds such numbers. A provider may say that it was any number.
    pub(crate) fn add(&mut self, numbers: [u64; 8]) {
        let mine = [
            &mut self.requests,
            &mut self.attempts,
            &mut self.input,
            &mut self.cached,
            &mut self.output,
            &mut self.reasoning,
            &mut self.cost,
            &mut self.writing_ms,
        ];
        for (mine, more) in mine.into_iter().zip(numbers) {
            *mine = mine.saturating_add(more);
        }
    }

    /// Adds what others used.
    pub fn merge(&mut self, other: &Self) {
        self.errors += other.errors;
        self.failed += other.failed;
        self.add(other.numbers());
        self.latency.merge(&other.latency);
        self.first_event.merge(&other.first_event);
        self.overhead.merge(&other.overhead);
        for (mine, others) in
            [(&mut self.error_kinds, &other.error_kinds), (&mut self.finish_reasons, &other.finish_reasons)]
        {
            for (name, number) in others {
                *mine.entry(name.clone()).or_default() += number;
            }
        }
    }
}

/// How many durations there were of about each length. Each bucket is a fifth longer than the one before, so that a
/// quantile is off by a tenth at the most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Histogram(BTreeMap<u8, u64>);

/// By how much a bucket is longer than the one before.
const RATIO: f64 = 1.2;

impl Histogram {
    /// Counts one more, in microseconds.
    pub fn count(&mut self, micros: u64) {
        self.add(bucket(micros), 1);
    }

    /// Counts `number` more in a bucket.
    pub fn add(&mut self, bucket: u8, number: u64) {
        *self.0.entry(bucket).or_default() += number;
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &number) in &other.0 {
            self.add(bucket, number);
        }
    }

    /// Each bucket that has any, and how many: what a store keeps of it.
    pub fn buckets(&self) -> impl Iterator<Item = (u8, u64)> {
        self.0.iter().map(|(bucket, number)| (*bucket, *number))
    }

    /// How long `share` of all took at the most, in microseconds; `None` if there are none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.values().sum();
        let rank = ((all as f64) * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().find(|(_, number)| {
            seen += **number;
            seen >= rank
        });
        bucket.map(|(&bucket, _)| middle(bucket))
    }
}

/// The bucket of a duration in microseconds.
pub(crate) fn bucket(micros: u64) -> u8 {
    (micros.max(1) as f64).log(RATIO) as u8
}

/// About how long those in a bucket are, in microseconds.
fn middle(bucket: u8) -> f64 {
    RATIO.powf(f64::from(bucket) + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_off_by_a_tenth_at_the_most() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.count(micros * 100);
        }

        for share in [0.5, 0.95, 0.99] {
            let exact = 1_000_000.0 * share;
            let quantile = histogram.quantile(share).unwrap();
            assert!((quantile / exact - 1.0).abs() < 0.1, "{share}: {quantile}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
