use std::collections::{BTreeMap, HashMap};

use super::{
    super::{Histogram, Question, Sum, Used},
    plan::{seconds, step_of},
};

/// How the records of a group came out.
#[derive(Debug)]
pub(in crate::logs) struct Outcome {
    pub(in crate::logs) is_error: bool,
    pub(in crate::logs) failed: bool,
    pub(in crate::logs) error: Option<Box<str>>,
    pub(in crate::logs) finish: Option<Box<str>>,
}

impl Outcome {
    /// Counts requests that came out so.
    pub(in crate::logs) fn note(&self, requests: u64, used: &mut Used) {
        if self.is_error {
            used.errors += requests;
        }
        if self.failed {
            used.failed += requests;
        }
        if let Some(error) = &self.error {
            *used.error_kinds.entry(error.clone()).or_default() += requests;
        }
        if let Some(finish) = &self.finish {
            *used.finish_reasons.entry(finish.clone()).or_default() += requests;
        }
    }
}

/// What a question is answered with, while it is put together.
#[derive(Debug)]
pub(in crate::logs) struct Answer {
    /// In seconds.
    step: Option<u64>,
    from: u64,
    /// Numbers of names, which are quicker to look up.
    numbers: HashMap<Option<Box<str>>, usize>,
    /// By the beginning of their step, and by the number of their name.
    sums: BTreeMap<u64, HashMap<usize, Used>>,
}

impl Answer {
    pub(in crate::logs) fn new(question: &Question) -> Self {
        Self {
            step: step_of(question),
            from: seconds(question.span.from),
            numbers: HashMap::new(),
            sums: BTreeMap::new(),
        }
    }

    /// The number of a name.
    pub(in crate::logs) fn number(&mut self, name: Option<Box<str>>) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name).or_insert(next)
    }

    /// The sum to which a second belongs, of the name with this number.
    pub(in crate::logs) fn at(&mut self, second: u64, name: usize) -> &mut Used {
        let at = self.step.map_or(self.from, |step| second - second % step);
        self.sums.entry(at).or_default().entry(name).or_default()
    }

    /// Adds what has no name: what is left of `all` without those that have one.
    pub(in crate::logs) fn add_nameless(&mut self, all: Self, is_timeless: bool) {
        let none = self.number(None);
        for (at, whole) in all.sums {
            let mut rest = whole.into_values().fold(Used::default(), |mut sum, used| {
                sum.merge(&used);
                sum
            });
            if is_timeless {
                (rest.latency, rest.first_event, rest.overhead) = Default::default();
            }
            let sums = self.sums.entry(at).or_default();
            sums.remove(&none);
            sums.values().for_each(|named| take_away(&mut rest, named));
            if rest.requests > 0 {
                sums.insert(none, rest);
            }
        }
    }

    pub(in crate::logs) fn finish(self) -> Vec<Sum> {
        let mut names: Vec<_> = self.numbers.into_iter().collect();
        names.sort_unstable();
        let mut sums = Vec::new();
        for (at, mut of) in self.sums {
            let named = names.iter().filter_map(|(name, number)| Some((name, of.remove(number)?)));
            sums.extend(named.map(|(name, used)| Sum { at_ms: at * 1000, name: name.clone(), used }));
        }
        sums
    }
}

/// Takes a part away from what it is a part of.
fn take_away(from: &mut Used, part: &Used) {
    for (number, less) in [
        (&mut from.requests, part.requests),
        (&mut from.errors, part.errors),
        (&mut from.failed, part.failed),
        (&mut from.attempts, part.attempts),
        (&mut from.input, part.input),
        (&mut from.cached, part.cached),
        (&mut from.output, part.output),
        (&mut from.reasoning, part.reasoning),
        (&mut from.cost, part.cost),
        (&mut from.writing_ms, part.writing_ms),
    ] {
        *number = number.saturating_sub(less);
    }
    for (histogram, less) in [
        (&mut from.latency, &part.latency),
        (&mut from.first_event, &part.first_event),
        (&mut from.overhead, &part.overhead),
    ] {
        let less: HashMap<u8, u64> = less.buckets().collect();
        let mut rest = Histogram::default();
        for (bucket, number) in histogram.buckets() {
            let number = number.saturating_sub(less.get(&bucket).copied().unwrap_or_default());
            if number > 0 {
                rest.add(bucket, number);
            }
        }
        *histogram = rest;
    }
    for (names, less) in
        [(&mut from.error_kinds, &part.error_kinds), (&mut from.finish_reasons, &part.finish_reasons)]
    {
        for (name, number) in names.iter_mut() {
            *number = number.saturating_sub(less.get(name).copied().unwrap_or_default());
        }
        names.retain(|_, number| *number > 0);
    }
}
