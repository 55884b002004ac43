use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio_postgres::{Client, Row as Found};

use super::{
    super::{Dimension, Filter, Histogram, Question, Sum, Used},
    condition::{Condition, FAILED},
    unsigned,
};
use crate::BoxError;

/// What is summed up. A sum of `bigint` is of no fixed size.
const SUMS: [&str; 7] =
    ["r.attempts", "r.input", "r.cached", "r.output", "r.reasoning", "r.cost", WRITING_MS];

/// As `row::writing_ms` has it.
const WRITING_MS: &str = "CASE WHEN r.output = 0 THEN 0 \
    WHEN r.stream AND r.first_event IS NOT NULL THEN greatest(r.duration - r.first_event, 0) ELSE r.duration END / 1000";

/// What is counted by, and how a row says which one it is of: all others are grouped together.
const COUNTED: [&str; 5] =
    ["r.duration_bucket", "r.first_event_bucket", "r.overhead_bucket", "r.error", "r.finish"];

/// So many of them are times.
const TIMES: usize = 3;

/// By the beginning of their step, and by their name.
type Sums = BTreeMap<(u64, Option<Box<str>>), Used>;

pub(super) async fn sums(client: &Client, question: &Question) -> Result<Vec<Sum>, BoxError> {
    let asked = Asked::new(question);
    let mut sums = Sums::new();
    for row in client.query(&asked.summed(), &asked.condition.values()).await? {
        add(&row, sums.entry(asked.key(&row)?).or_default())?;
    }
    for row in client.query(&asked.counted(), &asked.condition.values()).await? {
        // What came between the two questions.
        let Some(used) = sums.get_mut(&asked.key(&row)?) else { continue };
        count(&row, used)?;
    }
    Ok(sums.into_iter().map(|((at, name), used)| Sum { at_ms: at * 1000, name, used }).collect())
}

struct Asked {
    condition: Condition,
    /// In minutes, if there are steps.
    step: Option<u64>,
    from: u64,
    name: &'static str,
    /// Of end users, who are many, only what they used is of interest, and not how long it took.
    has_times: bool,
}

impl Asked {
    fn new(question: &Question) -> Self {
        let filter = Filter { cost_above: None, latency_above: None, ..question.filter.clone() };
        let mut condition = Condition::of(&filter);
        condition.within(Some(question.span));
        Self {
            condition,
            step: question.step.map(|step| step.as_secs().div_ceil(60).clamp(1, i32::MAX as u64)),
            from: seconds(question.span.from),
            name: column(question.by),
            has_times: question.by != Some(Dimension::User),
        }
    }

    /// What tells sums apart.
    fn place(&self) -> (String, &str) {
        (self.step.map_or_else(|| "0".to_owned(), |step| format!("r.minute / {step} * {step}")), self.name)
    }

    fn summed(&self) -> String {
        let sums = SUMS.map(|sum| format!("least(coalesce(sum({sum}), 0), {})::bigint", i64::MAX)).join(", ");
        let (at, name) = self.place();
        format!(
            "SELECT at, name, count(*), count(*) FILTER (WHERE {FAILED}), {sums}
             FROM (SELECT {at} AS at, {name} AS name, r.* FROM records r WHERE {}) r GROUP BY at, name",
            self.condition.sql()
        )
    }

    fn counted(&self) -> String {
        let (at, name) = self.place();
        // Of what isn't counted by, there is nothing.
        let left_out = if self.has_times { 0 } else { TIMES };
        let counted = &COUNTED[left_out..];
        let columns = counted.join(", ");
        let others = (1 << COUNTED.len()) - (1 << counted.len());
        let nothing = "NULL::smallint, ".repeat(left_out);
        let sets: Vec<_> = counted.iter().map(|column| format!("(at, name, {column})")).collect();
        format!(
            "SELECT at, name, count(*), {others} + grouping({columns}), {nothing}{columns}
             FROM (SELECT {at} AS at, {name} AS name, r.* FROM records r WHERE {}) r
             GROUP BY GROUPING SETS ({})",
            self.condition.sql(),
            sets.join(", ")
        )
    }

    fn key(&self, row: &Found) -> Result<(u64, Option<Box<str>>), BoxError> {
        let minute = u64::from(row.try_get::<_, i32>(0)?.unsigned_abs());
        let at = if self.step.is_some() { minute * 60 } else { self.from };
        Ok((at, row.try_get::<_, Option<&str>>(1)?.map(Box::from)))
    }
}

fn column(by: Option<Dimension>) -> &'static str {
    match by {
        None => "NULL::text",
        Some(Dimension::Key) => "r.key",
        Some(Dimension::Team) => "r.team",
        Some(Dimension::Customer) => "r.customer",
        Some(Dimension::User) => "r.end_user",
        Some(Dimension::Feature) => "r.feature",
        Some(Dimension::Model) => "r.model",
        Some(Dimension::Target) => "r.target",
        Some(Dimension::Provider) => "r.provider",
    }
}

fn add(row: &Found, used: &mut Used) -> Result<(), BoxError> {
    let number = |column: usize| row.try_get(column).map(unsigned);
    used.requests = number(2)?;
    used.errors = number(3)?;
    used.attempts = number(4)?;
    used.input = number(5)?;
    used.cached = number(6)?;
    used.output = number(7)?;
    used.reasoning = number(8)?;
    used.cost = number(9)?;
    used.writing_ms = number(10)?;
    Ok(())
}

/// Adds how many there were of what one row is of.
fn count(row: &Found, used: &mut Used) -> Result<(), BoxError> {
    let number = unsigned(row.try_get(2)?);
    let others: i32 = row.try_get(3)?;
    let is_of = |column: usize| others & (1 << (COUNTED.len() - 1 - column)) == 0;
    let histograms: [&mut Histogram; 3] = [&mut used.latency, &mut used.first_event, &mut used.overhead];
    for (column, histogram) in histograms.into_iter().enumerate() {
        if is_of(column)
            && let Some(bucket) = row.try_get::<_, Option<i16>>(4 + column)?
        {
            histogram.add(u8::try_from(bucket)?, number);
        }
    }
    for (column, names) in [(3, &mut used.error_kinds), (4, &mut used.finish_reasons)] {
        if is_of(column)
            && let Some(name) = row.try_get::<_, Option<&str>>(4 + column)?
        {
            *names.entry(name.into()).or_default() += number;
        }
    }
    Ok(())
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
