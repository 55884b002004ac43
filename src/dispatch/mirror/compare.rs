//! What came of copies and of their originals: [`Compared`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Serialize, Serializer};

use super::super::tail::Tail;
use crate::{Exchange, Target, exchange::Outcome, lock, price::NanoUsd};

/// More pairs of a route and a target are not told apart: the configuration has changed very often then.
const MOST: usize = 1_000;

/// What came of all requests that one target has answered, as a mirror of a route or as its original.
///
/// As JSON, times are milliseconds, and money is a decimal string in dollars.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Compared {
    /// The route.
    pub model: Arc<str>,
    /// `provider/model`.
    pub target: Arc<str>,
    /// Whether these were copies.
    #[serde(rename = "mirror")]
    pub is_mirror: bool,
    /// How many there were.
    pub requests: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many were not copied, because too many copies were under way, or the target's budget, its breaker or its
    /// limit refused them.
    pub skipped: u64,
    /// The tokens that were read.
    pub input: u64,
    /// The tokens that were written.
    pub output: u64,
    /// What they have cost, as far as prices are known.
    #[serde(rename = "usd")]
    pub cost: NanoUsd,
    /// How many have no known price.
    pub unpriced: u64,
    /// How long half of the last 256 answers took until their first byte, at the most; `None` if there were fewer
    /// than twenty.
    #[serde(rename = "first_p50_ms", serialize_with = "as_milliseconds")]
    pub first_p50: Option<Duration>,
    /// The same for 95 of a hundred.
    #[serde(rename = "first_p95_ms", serialize_with = "as_milliseconds")]
    pub first_p95: Option<Duration>,
    /// How long half of them took until their end.
    #[serde(rename = "p50_ms", serialize_with = "as_milliseconds")]
    pub p50: Option<Duration>,
    /// The same for 95 of a hundred.
    #[serde(rename = "p95_ms", serialize_with = "as_milliseconds")]
    pub p95: Option<Duration>,
}

fn as_milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| (time.as_micros() as f64) / 1000.0).serialize(serializer)
}

/// Which of the two an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Original,
    Mirror,
}

/// What is known of each pair of a route and a target.
#[derive(Debug, Default)]
pub(super) struct Comparison(Mutex<BTreeMap<Pair, Figures>>);

/// The route and the target, and what the target answered there.
type Pair = (Arc<str>, Side, Arc<str>);

#[derive(Debug, Default)]
struct Figures {
    requests: u64,
    failed: u64,
    skipped: u64,
    input: u64,
    output: u64,
    cost: NanoUsd,
    unpriced: u64,
    first: Tail,
    whole: Tail,
}

impl Comparison {
    /// Notes how an exchange has come out. One in which nobody was asked says nothing.
    pub(super) fn told(&self, route: &Arc<str>, side: Side, exchange: &Exchange) {
        let Some(attempt) = exchange.learn(|learnt| learnt.answering().cloned()) else { return };
        self.change(route, side, &attempt.target, |figures| {
            figures.requests += 1;
            figures.input += attempt.tokens.input;
            figures.output += attempt.tokens.output;
            match attempt.cost() {
                Some(cost) => figures.cost = figures.cost + cost,
                None => figures.unpriced += 1,
            }
            if attempt.outcome != Outcome::Answered {
                figures.failed += 1;
                return;
            }
            for (tail, at) in [(&figures.first, attempt.first_byte), (&figures.whole, attempt.ended)] {
                if let Some(at) = at {
                    tail.told(at.saturating_sub(attempt.started));
                }
            }
        });
    }

    /// Notes that a copy was not sent.
    pub(super) fn skipped(&self, route: &Arc<str>, target: &Target) {
        self.change(route, Side::Mirror, target, |figures| figures.skipped += 1);
    }

    fn change(&self, route: &Arc<str>, side: Side, target: &Target, change: impl FnOnce(&mut Figures)) {
        let mut all = lock(&self.0);
        let key = (route.clone(), side, target.name().clone());
        if all.len() < MOST || all.contains_key(&key) {
            change(all.entry(key).or_default());
        }
    }

    pub(super) fn report(&self) -> Vec<Compared> {
        let all = lock(&self.0);
        let row = |((model, side, target), figures): (&(Arc<str>, Side, Arc<str>), &Figures)| Compared {
            model: model.clone(),
            target: target.clone(),
            is_mirror: *side == Side::Mirror,
            requests: figures.requests,
            failed: figures.failed,
            skipped: figures.skipped,
            input: figures.input,
            output: figures.output,
            cost: figures.cost,
            unpriced: figures.unpriced,
            first_p50: figures.first.percentile(50),
            first_p95: figures.first.percentile(95),
            p50: figures.whole.percentile(50),
            p95: figures.whole.percentile(95),
        };
        all.iter().map(row).collect()
    }
}
