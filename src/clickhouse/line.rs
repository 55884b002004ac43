use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};

use crate::{
    logs::row::{Row, micros, provider},
    price::NanoUsd,
    record::{AttemptRecord, Kept},
};

/// A record as the table has it. What it has none of is empty, but for numbers, which are missing.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    id: &'a str,
    #[serde(serialize_with = "moment")]
    ended: SystemTime,
    #[serde(serialize_with = "moment")]
    arrived: SystemTime,
    duration_us: u64,
    first_event_us: Option<u64>,
    overhead_us: Option<u64>,
    status: Option<u16>,
    ending: &'a str,
    error: &'a str,
    message: &'a str,
    key: &'a str,
    team: &'a str,
    customer: &'a str,
    end_user: &'a str,
    session: &'a str,
    tags: BTreeMap<&'a str, &'a str>,
    trace: String,
    dialect: &'a str,
    model: &'a str,
    target: &'a str,
    provider: &'a str,
    stream: bool,
    finish_reason: &'a str,
    tool_calls: u32,
    bytes: u64,
    input: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
    cost: NanoUsd,
    estimated: bool,
    #[serde(flatten)]
    attempts: Attempts<'a>,
    record: &'a str,
    request: &'a str,
    answer: &'a str,
    is_cut: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(kept: &'a Kept) -> Self {
        let (record, said) = (kept.record(), kept.said());
        let row = Row::of(record);
        let tags = record.labels.tags.iter().map(|(name, value)| (&**name, &**value));
        Self {
            id: row.id,
            ended: record.arrived + record.duration,
            arrived: record.arrived,
            duration_us: row.duration,
            first_event_us: row.first_event,
            overhead_us: row.overhead,
            status: row.status,
            ending: row.end,
            error: row.error.unwrap_or_default(),
            message: record.message.as_deref().unwrap_or_default(),
            key: row.key.unwrap_or_default(),
            team: row.team.unwrap_or_default(),
            customer: row.customer.unwrap_or_default(),
            end_user: row.user().unwrap_or_default(),
            session: row.session().unwrap_or_default(),
            tags: tags.collect(),
            dialect: record.dialect.unwrap_or_default(),
            model: row.model.unwrap_or_default(),
            target: row.target.unwrap_or_default(),
            provider: row.target.map(provider).unwrap_or_default(),
            stream: row.stream,
            finish_reason: row.finish.unwrap_or_default(),
            tool_calls: record.tool_calls,
            bytes: record.bytes,
            input: row.tokens.input,
            cached: row.tokens.cached,
            output: row.tokens.output,
            reasoning: row.tokens.reasoning,
            cost: record.cost,
            estimated: row.estimated,
            attempts: Attempts::new(&record.attempts),
            record: kept.json(),
            request: said.map(|said| &*said.request).unwrap_or_default(),
            answer: said.and_then(|said| said.answer.as_deref()).unwrap_or_default(),
            is_cut: said.is_some_and(|said| said.is_cut),
            trace: row.trace.unwrap_or_default(),
        }
    }
}

/// What is nested in a table is an array for each of its columns.
#[derive(Serialize)]
struct Attempts<'a> {
    #[serde(rename = "attempts.target")]
    target: Vec<&'a str>,
    #[serde(rename = "attempts.role")]
    role: Vec<&'a str>,
    #[serde(rename = "attempts.key")]
    key: Vec<&'a str>,
    #[serde(rename = "attempts.outcome")]
    outcome: Vec<&'a str>,
    #[serde(rename = "attempts.status")]
    status: Vec<Option<u16>>,
    #[serde(rename = "attempts.started_us")]
    started: Vec<u64>,
    #[serde(rename = "attempts.first_byte_us")]
    first_byte: Vec<Option<u64>>,
    #[serde(rename = "attempts.ended_us")]
    ended: Vec<Option<u64>>,
    #[serde(rename = "attempts.input")]
    input: Vec<u64>,
    #[serde(rename = "attempts.output")]
    output: Vec<u64>,
    #[serde(rename = "attempts.cost")]
    cost: Vec<Option<NanoUsd>>,
}

impl<'a> Attempts<'a> {
    fn new(attempts: &'a [AttemptRecord]) -> Self {
        fn each<'a, T>(attempts: &'a [AttemptRecord], column: impl Fn(&'a AttemptRecord) -> T) -> Vec<T> {
            attempts.iter().map(column).collect()
        }
        let maybe = |time: Option<Duration>| time.map(micros);
        Self {
            target: each(attempts, |attempt| &*attempt.target),
            role: each(attempts, |attempt| attempt.role.as_str()),
            key: each(attempts, |attempt| attempt.key.as_deref().unwrap_or_default()),
            outcome: each(attempts, |attempt| &*attempt.outcome),
            status: each(attempts, |attempt| attempt.status),
            started: each(attempts, |attempt| micros(attempt.started)),
            first_byte: each(attempts, |attempt| maybe(attempt.first_byte)),
            ended: each(attempts, |attempt| maybe(attempt.ended)),
            input: each(attempts, |attempt| attempt.tokens.input),
            output: each(attempts, |attempt| attempt.tokens.output),
            cost: each(attempts, |attempt| attempt.cost),
        }
    }
}

/// As ClickHouse reads it with all of its settings: `2026-11-22 11:41:19.876297`, in UTC.
fn moment<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::try_from(*at) {
        Ok(at) => serializer.collect_str(&at.strftime("%Y-%m-%d %H:%M:%S%.6f")),
        Err(_) => serializer.serialize_str("1970-01-01 00:00:00"),
    }
}
