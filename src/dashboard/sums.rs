//! What records sum up to, as charts and tables show it.

use std::{collections::BTreeMap, time::Duration};

use http::Response;
use serde::Serialize;
use serde_json::json;

use super::{
    export::{Form, Row, attached, dollars, table, time},
    respond,
    wanted::{wanted, wrong},
};
use crate::{
    BoxBody, Error,
    logs::{Dimension, Filter, Histogram, Logs, Question, Span, Sum, Used},
    query::Query,
};

/// What is shown if no span is said.
const USUAL: Duration = Duration::from_secs(3_600);
/// How many names are shown, unless it is said; the others are shown as one.
const NAMES: usize = 12;
const MOST_NAMES: usize = 1_000;
/// The seconds of a year.
const LONGEST_STEP: u64 = 366 * 86_400;

/// What some requests used, with how long they took in place of how many took how long.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'u> {
    requests: u64,
    errors: u64,
    /// Those of the errors that aren't refusals of what was asked.
    failed: u64,
    attempts: u64,
    input: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
    /// In billionths of a dollar.
    #[serde(rename = "cost_nano_usd")]
    cost: u64,
    writing_ms: u64,
    latency_ms: Option<Quantiles>,
    first_event_ms: Option<Quantiles>,
    overhead_ms: Option<Quantiles>,
    error_kinds: &'u BTreeMap<Box<str>, u64>,
    finish_reasons: &'u BTreeMap<Box<str>, u64>,
}

/// In milliseconds.
#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram) -> Option<Self> {
        let quantile = |share| Some((histogram.quantile(share)? / 10.0).round() / 100.0);
        Some(Self { p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
    }
}

impl<'u> From<&'u Used> for Shown<'u> {
    fn from(used: &'u Used) -> Self {
        Self {
            requests: used.requests,
            errors: used.errors,
            failed: used.failed,
            attempts: used.attempts,
            input: used.input,
            cached: used.cached,
            output: used.output,
            reasoning: used.reasoning,
            cost: used.cost,
            writing_ms: used.writing_ms,
            latency_ms: Quantiles::of(&used.latency),
            first_event_ms: Quantiles::of(&used.first_event),
            overhead_ms: Quantiles::of(&used.overhead),
            error_kinds: &used.error_kinds,
            finish_reasons: &used.finish_reasons,
        }
    }
}

impl Shown<'_> {
    /// In billionths of a dollar.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests
    }
}

/// The sums of one step or of one name.
#[derive(Debug, Serialize)]
struct Point<'u> {
    at_ms: u64,
    name: Option<&'u str>,
    /// Whether it is all those that have no row of their own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rest: bool,
    #[serde(flatten)]
    used: Shown<'u>,
}

/// Some sums, and whether each is of all those that have no row of their own.
type Rows = Vec<(Sum, bool)>;

/// Answers `span`, `step` in seconds, `by` and `top`, of the records that pass the filter.
pub(super) async fn answer(logs: &dyn Logs, query: &Query, form: Form) -> Result<Response<BoxBody>, Error> {
    let filter = wanted(query, &["step", "by", "top"])?;
    // They are of single records.
    if let Some(name) = ["text", "cost_above", "latency_above"]
        .into_iter()
        .find(|name| query.get(name).is_some_and(|text| !text.is_empty()))
    {
        return Err(wrong(name, "sums can't be told apart by this"));
    }
    let span = filter.span.unwrap_or_else(|| Span::last(USUAL));
    let step = match query.get("step").filter(|step| !step.is_empty()) {
        None => None,
        Some(step) => {
            let seconds = step.parse().ok().filter(|seconds| (1..=LONGEST_STEP).contains(seconds));
            let message = "expected a number of seconds, at most those of a year";
            Some(Duration::from_secs(seconds.ok_or_else(|| wrong("step", message))?))
        }
    };
    let by = query.get("by").filter(|by| !by.is_empty()).map(dimension).transpose()?;
    let top = query.number("top", NAMES, MOST_NAMES)?;
    let rows = shortened(ask(logs, span, filter, step, by).await?, top);
    match form {
        Form::Csv => table("sums", csv(&rows)),
        _ => {
            let points: Vec<_> = rows.iter().map(|(sum, rest)| point(sum, *rest)).collect();
            let answer =
                respond::json(&json!({ "step": step.map(|step| step.as_secs()), "by": by, "sums": points }))?;
            Ok(if form == Form::Json { attached(answer, "sums", "json") } else { answer })
        }
    }
}

pub(super) async fn ask(
    logs: &dyn Logs,
    span: Span,
    filter: Filter,
    step: Option<Duration>,
    by: Option<Dimension>,
) -> Result<Vec<Sum>, Error> {
    logs.sums(&Question { span, filter, step, by }).await
}

/// By what sums are told apart, by its name.
pub(super) fn dimension(name: &str) -> Result<Dimension, Error> {
    Ok(match name {
        "key" => Dimension::Key,
        "team" => Dimension::Team,
        "customer" => Dimension::Customer,
        "user" => Dimension::User,
        "feature" => Dimension::Feature,
        "model" => Dimension::Model,
        "target" => Dimension::Target,
        "provider" => Dimension::Provider,
        _ => {
            let message = "expected key, team, customer, user, feature, model, target or provider";
            return Err(wrong("by", message));
        }
    })
}

/// The `top` names that cost most, or were asked for most where nothing costs anything; one row for all others.
fn shortened(sums: Vec<Sum>, top: usize) -> Rows {
    let mut totals = BTreeMap::<Option<&str>, (u64, u64)>::new();
    for Sum { name, used, .. } in &sums {
        let total = totals.entry(name.as_deref()).or_default();
        *total = (total.0.saturating_add(used.cost), total.1.saturating_add(used.requests));
    }
    if totals.len() <= top {
        return sums.into_iter().map(|sum| (sum, false)).collect();
    }
    let mut ranked: Vec<_> = totals.into_iter().collect();
    ranked.sort_by(|(_, one), (_, other)| other.cmp(one));
    let shown: Vec<Option<Box<str>>> = ranked[..top].iter().map(|(name, _)| name.map(Box::from)).collect();
    let (mut rows, mut rest) = (Rows::new(), BTreeMap::<u64, Used>::new());
    for sum in sums {
        if shown.contains(&sum.name) {
            rows.push((sum, false));
        } else {
            rest.entry(sum.at_ms).or_default().merge(&sum.used);
        }
    }
    rows.extend(rest.into_iter().map(|(at_ms, used)| (Sum { at_ms, name: None, used }, true)));
    rows
}

fn point(sum: &Sum, rest: bool) -> Point<'_> {
    Point { at_ms: sum.at_ms, name: sum.name.as_deref(), rest, used: Shown::from(&sum.used) }
}

const COLUMNS: &str = "at,name,requests,errors,failed,attempts,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd,\
                       latency_p50_ms,latency_p95_ms,latency_p99_ms,first_event_p50_ms,first_event_p95_ms\r\n";

fn csv(rows: &Rows) -> String {
    let mut text = COLUMNS.to_owned();
    for (Sum { at_ms, name, used }, rest) in rows {
        let name = if *rest { "(others)" } else { name.as_deref().unwrap_or_default() };
        let millis = |histogram: &Histogram, share| Some(histogram.quantile(share)?.round() / 1000.0);
        let row = Row::default()
            .text(&time(*at_ms))
            .text(name)
            .number(Some(used.requests))
            .number(Some(used.errors))
            .number(Some(used.failed))
            .number(Some(used.attempts))
            .number(Some(used.input))
            .number(Some(used.cached))
            .number(Some(used.output))
            .number(Some(used.reasoning))
            .number(Some(dollars(used.cost)))
            .number(millis(&used.latency, 0.5))
            .number(millis(&used.latency, 0.95))
            .number(millis(&used.latency, 0.99))
            .number(millis(&used.first_event, 0.5))
            .number(millis(&used.first_event, 0.95));
        text.push_str(&row.end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(at_ms: u64, name: &str, cost: u64) -> Sum {
        Sum { at_ms, name: Some(name.into()), used: Used { requests: 1, cost, ..Used::default() } }
    }

    #[test]
    fn those_who_cost_least_are_shown_as_one() {
        let sums = vec![sum(0, "a", 1), sum(0, "b", 9), sum(0, "c", 2), sum(60, "a", 1), sum(60, "d", 4)];

        let rows = shortened(sums.clone(), 2);

        let shown: Vec<_> =
            rows.iter().map(|(sum, rest)| (sum.at_ms, sum.name.as_deref(), sum.used.cost, *rest)).collect();
        assert_eq!(
            shown,
            [(0, Some("b"), 9, false), (60, Some("d"), 4, false), (0, None, 3, true), (60, None, 1, true)]
        );
        assert_eq!(shortened(sums, 4).len(), 5);
    }
}
