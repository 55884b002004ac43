//! What records in SQLite and Postgres can do: `cargo bench --bench logs`, with a number of records behind it, or a
//! million. SQLite is in a file; `-- postgres://gateway@127.0.0.1/empty` does the same with an empty database.
//!
//! It keeps that many records of thirty days, as a queue hands them over, and says how many a second are in the file; then
//! it asks what the dashboard asks, and says how long each answer takes. 5,000 a second have to be kept, and each answer
//! has to come within 300 ms. Before all that it says how fast secrets are looked for in what was said.

#![allow(missing_docs)]

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bartizan::{
    logs::{
        Dimension, Filter, Logs, PostgresLogs, PostgresLogsOptions, Question, Retention, Span,
        SqliteLogsOptions, Status, conformance::sample,
    },
    record::{ContentRules, Keep, Kept, Mask},
};

const BATCH: u64 = 1_000;
const LEAST: f64 = 5_000.0;
const MOST: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::main]
async fn main() -> Result<(), bartizan::BoxError> {
    let records = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    if let Some(address) = std::env::args().find(|argument| argument.starts_with("postgres")) {
        return measure(PostgresLogs::new(PostgresLogsOptions::new(address).timeout(HOUR))?, records).await;
    }
    let path = std::env::temp_dir().join(format!("bartizan-bench-{}.db", std::process::id()));
    mask();
    measure(SqliteLogsOptions::new(&path).retention(Retention::new(None, None, None)).open()?, records)
        .await?;
    println!("size: {} bytes a record", std::fs::metadata(&path)?.len() / records);
    remove(&path);
    Ok(())
}

/// Keeps records, and asks for them.
async fn measure(mut logs: impl Logs + Keep, records: u64) -> Result<(), bartizan::BoxError> {
    let past = SystemTime::now() - 30 * DAY;
    keep("records of thirty days", &mut logs, 0..records, past, (30 * DAY).div_f64(records as f64)).await?;
    let now = records..records + records.min(200_000);
    keep("5,000 a second", &mut logs, now, SystemTime::now() - HOUR, Duration::from_micros(200)).await?;
    find(&logs).await?;
    sums(&logs).await
}

/// Looks for secrets in prose that has none, but words that stand before some.
fn mask() {
    let prose =
        "The quick brown fox jumps over the lazy dog; it asks for a token of trust, and nothing else.\\n";
    let text = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, prose.repeat(20_000));
    let (mask, began) = (Mask::default(), Instant::now());
    let is_untouched = (0..20).all(|_| mask.apply(&text) == text);
    assert!(is_untouched, "prose was masked");
    println!("mask: {:.0} MB a second", 20.0 * text.len() as f64 / 1e6 / began.elapsed().as_secs_f64());
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

async fn keep(
    name: &str,
    logs: &mut impl Keep,
    records: Range<u64>,
    begin: SystemTime,
    every: Duration,
) -> Result<(), bartizan::BoxError> {
    let (mut took, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for first in records.clone().step_by(BATCH as usize) {
        let record = |number: u64| sample(number, begin + every.mul_f64((number - records.start) as f64));
        let kept = |number| Arc::new(Kept::new(record(number), &ContentRules::default()));
        let batch: Vec<_> = (first..(first + BATCH).min(records.end)).map(kept).collect();
        let begun = Instant::now();
        logs.keep(&batch).await?;
        let one = begun.elapsed();
        (took, slowest) = (took + one, slowest.max(one));
    }
    let rate = (records.end - records.start) as f64 / took.as_secs_f64();
    println!("keep {name}: {rate:.0} a second, a batch of {BATCH} at most {slowest:?}{}", mark(rate < LEAST));
    Ok(())
}

fn mark(is_missed: bool) -> &'static str {
    if is_missed { "  MISSED" } else { "" }
}

fn text(text: &str) -> Option<Box<str>> {
    Some(text.into())
}

async fn find(logs: &impl Logs) -> Result<(), bartizan::BoxError> {
    let all = Filter::default;
    let with = |change: fn(&mut Filter)| {
        let mut filter = all();
        change(&mut filter);
        filter
    };
    for (name, filter) in [
        ("all", all()),
        ("key", with(|f| f.key = text("key-3"))),
        ("key and model", with(|f| (f.key, f.model) = (text("key-3"), text("model-1")))),
        ("key that is not there", with(|f| f.key = text("nobody"))),
        ("failed", with(|f| f.status = Some(Status::Failed))),
        ("failed of a team", with(|f| (f.status, f.team) = (Some(Status::Failed), text("team-1")))),
        ("provider", with(|f| f.provider = text("openai"))),
        ("user", with(|f| f.user = text("user-7"))),
        ("user that is not there", with(|f| f.user = text("nobody"))),
        ("session", with(|f| f.session = text("session-5"))),
        ("tag", with(|f| f.tag = Some(("feature".into(), "chat".into())))),
        ("tag and key", with(|f| (f.tag, f.key) = (Some(("env".into(), "prod".into())), text("key-3")))),
        ("slow", with(|f| f.latency_above = Some(Duration::from_secs(10)))),
        ("slow, none", with(|f| f.latency_above = Some(Duration::from_secs(100)))),
        ("slow, none, of a key", with(|f| (f.latency_above, f.key) = (Some(HOUR), text("key-3")))),
        ("dear, none", with(|f| f.cost_above = Some(1_000_000_000))),
        (
            "a day ago",
            with(|f| {
                f.span = Some(Span { from: SystemTime::now() - 2 * DAY, until: SystemTime::now() - DAY })
            }),
        ),
        ("text", with(|f| f.text = text("capacity"))),
        ("text, none", with(|f| f.text = text("nobody says this"))),
        (
            "text, none, of a day",
            with(|f| (f.text, f.span) = (text("nobody says this"), Some(Span::last(DAY)))),
        ),
    ] {
        let (took, found) = timed(|| logs.find(&filter, None, 100)).await?;
        println!("find {name}: {} in {took:?}{}", found.lines.len(), mark(took > MOST));
    }
    Ok(())
}

async fn sums(logs: &impl Logs) -> Result<(), bartizan::BoxError> {
    for (name, past, step) in [
        ("15 minutes", HOUR / 4, HOUR / 60),
        ("day", DAY, HOUR / 4),
        ("week", 7 * DAY, HOUR),
        ("month", 30 * DAY, DAY / 4),
        ("year", 365 * DAY, DAY),
    ] {
        for by in [None, Some(Dimension::Key), Some(Dimension::Model), Some(Dimension::User)] {
            let mut question = Question::new(Span::last(past));
            (question.step, question.by) = (Some(step), by);
            let (took, sums) = timed(|| logs.sums(&question)).await?;
            println!("sums of a {name} by {by:?}: {} in {took:?}{}", sums.len(), mark(took > MOST));
        }
    }
    let mut question = Question::new(Span::last(30 * DAY));
    (question.filter.key, question.by) = (text("key-3"), Some(Dimension::Target));
    let (took, sums) = timed(|| logs.sums(&question)).await?;
    println!("sums of a month of a key by target: {} in {took:?}{}", sums.len(), mark(took > MOST));
    question.filter.user = text("user-7");
    let (took, sums) = timed(|| logs.sums(&question)).await?;
    println!("the same of a user, from records: {} in {took:?}{}", sums.len(), mark(took > MOST));
    Ok(())
}

/// How long the slower one of two answers takes, and the answer.
async fn timed<T, F: Future<Output = Result<T, bartizan::Error>>>(
    ask: impl Fn() -> F,
) -> Result<(Duration, T), bartizan::Error> {
    let begun = Instant::now();
    ask().await?;
    let first = begun.elapsed();
    let begun = Instant::now();
    let answer = ask().await?;
    Ok((first.max(begun.elapsed()), answer))
}
