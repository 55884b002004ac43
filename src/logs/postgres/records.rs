use tokio_postgres::{Client, Row as Found};

use super::{
    super::{
        Dimension, Filter, Histogram, Question, Used,
        filter::in_sql,
        rollup::{Answer, step_of},
    },
    condition::{Condition, ERROR},
    sums::column,
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

/// Adds what the records of a span sum up to, which takes the longer the more they are.
pub(super) async fn add(answer: &mut Answer, client: &Client, question: &Question) -> Result<(), BoxError> {
    let asked = Asked::new(question);
    for row in client.query(&asked.summed(), &asked.condition.values()).await? {
        sum(&row, place(answer, &row)?)?;
    }
    for row in client.query(&asked.counted(), &asked.condition.values()).await? {
        count(&row, place(answer, &row)?)?;
    }
    Ok(())
}

/// The sum to which a row belongs.
fn place<'a>(answer: &'a mut Answer, row: &Found) -> Result<&'a mut Used, BoxError> {
    let minute = u64::from(row.try_get::<_, i32>(0)?.unsigned_abs());
    let name = answer.number(row.try_get::<_, Option<&str>>(1)?.map(Box::from));
    Ok(answer.at(minute * 60, name))
}

struct Asked {
    condition: Condition,
    /// In minutes, if there are steps.
    step: Option<u64>,
    name: String,
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
            step: step_of(question).map(|step| (step / 60).min(i32::MAX as u64)),
            name: question.by.map_or("NULL::text".to_owned(), |by| format!("r.{}", column(by))),
            has_times: question.by != Some(Dimension::User),
        }
    }

    /// What tells sums apart.
    fn place(&self) -> (String, &str) {
        (self.step.map_or_else(|| "0".to_owned(), |step| format!("r.minute / {step} * {step}")), &self.name)
    }

    fn summed(&self) -> String {
        let sums = SUMS.map(|sum| format!("least(coalesce(sum({sum}), 0), {})::bigint", i64::MAX)).join(", ");
        let (at, name) = self.place();
        let (failed, _) = in_sql("r.error", "r.status", "r.target");
        format!(
            "SELECT at, name, count(*), count(*) FILTER (WHERE {ERROR}), count(*) FILTER (WHERE {failed}), {sums}
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
}

fn sum(row: &Found, used: &mut Used) -> Result<(), BoxError> {
    let number = |column: usize| row.try_get(column).map(unsigned);
    used.errors += number(3)?;
    used.failed += number(4)?;
    used.add([
        number(2)?,
        number(5)?,
        number(6)?,
        number(7)?,
        number(8)?,
        number(9)?,
        number(10)?,
        number(11)?,
    ]);
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
