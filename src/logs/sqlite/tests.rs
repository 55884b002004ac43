use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    logs::{
        Dimension, Span,
        conformance::{self, sample},
        row::micros_at,
    },
    record::{ContentRules, Record},
};

/// A file that is gone at the end.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("bartizan-logs-{}-{}.db", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, retention: Retention) -> SqliteLogs {
        SqliteLogsOptions::new(&self.0).retention(retention).open().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

async fn keep(logs: &mut SqliteLogs, records: impl IntoIterator<Item = Record>) {
    let batch: Vec<_> =
        records.into_iter().map(|record| Arc::new(Kept::new(record, &ContentRules::default()))).collect();
    logs.keep(&batch).await.unwrap();
}

async fn found(logs: &SqliteLogs) -> usize {
    logs.find(&Filter::default(), None, 100_000).await.unwrap().lines.len()
}

async fn requests(logs: &SqliteLogs) -> u64 {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    let sums = logs.sums(&Question::new(Span { from: now - 90 * day, until: now + day })).await.unwrap();
    sums.iter().map(|sum| sum.used.requests).sum()
}

#[tokio::test]
async fn a_file_and_memory_find_what_is_in_them() {
    let file = File::new();

    conformance::all(file.open(Retention::USUAL)).await;
    conformance::all(SqliteLogsOptions::in_memory(1_000).open().unwrap()).await;
}

#[tokio::test]
async fn what_was_kept_is_there_when_the_file_is_opened_again() {
    let file = File::new();
    let now = SystemTime::now();
    let mut logs = file.open(Retention::USUAL);
    keep(&mut logs, (0..100).map(|number| sample(number, now))).await;
    assert_eq!(found(&logs).await, 100);
    drop(logs);

    let mut logs = file.open(Retention::USUAL);
    keep(&mut logs, (100..150).map(|number| sample(number, now))).await;

    assert_eq!((found(&logs).await, requests(&logs).await), (150, 150));
}

#[tokio::test]
async fn in_a_file_of_an_earlier_version_texts_are_found_too() {
    let file = File::new();
    let text = |text: &str| Filter { text: Some(text.into()), ..Filter::default() };
    let mut logs = file.open(Retention::USUAL);
    keep(&mut logs, (0..100).map(|number| sample(number, SystemTime::now()))).await;
    let ids = async |logs: &SqliteLogs, filter: Filter| -> Vec<_> {
        logs.find(&filter, None, 100).await.unwrap().lines.into_iter().map(|line| line.id).collect()
    };
    let (failed, asked) = (ids(&logs, text("no <capacity>")).await, ids(&logs, text("größe")).await);
    assert!(!failed.is_empty() && !asked.is_empty());
    drop(logs);
    let earlier = "DELETE FROM contents WHERE request IS NULL; ALTER TABLE contents DROP COLUMN message;
                   PRAGMA user_version = 2";
    rusqlite::Connection::open(&file.0).unwrap().execute_batch(earlier).unwrap();

    let logs = file.open(Retention::USUAL);

    assert_eq!(ids(&logs, text("no <capacity>")).await, failed);
    assert_eq!(ids(&logs, text("größe")).await, asked);
    let narrowed = Filter { status: Some(crate::logs::Status::Code(503)), ..text("no <capacity>") };
    assert_eq!(ids(&logs, narrowed).await, failed);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_forgotten_but_for_its_sums() {
    let day = Duration::from_secs(86_400);
    let old = SystemTime::now() - 3 * day;
    let records = || (0..3_000).map(|number| sample(number, old + day * (number / 1_000) as u32));
    for (retention, left) in [
        (Retention { age: Some(2 * day + day / 2), size: None, records: None }, 2_000..=2_000),
        (Retention { age: None, size: None, records: Some(700) }, 200..=700),
        (Retention { age: None, size: Some(2 << 20), records: None }, 10..=2_000),
    ] {
        let file = File::new();
        let mut logs = file.open(retention);
        keep(&mut logs, records()).await;

        for _ in 0..20 {
            logs.tidy().await;
        }

        let found = found(&logs).await;
        assert!(left.contains(&found), "{found} left of {retention:?}");
        assert_eq!(requests(&logs).await, 3_000);
    }
}

#[tokio::test]
async fn a_file_of_before_failures_were_counted_tells_them_by_their_kinds() {
    let file = File::new();
    let old = rusqlite::Connection::open(&file.0).unwrap();
    old.execute_batch(database::MIGRATIONS[0]).unwrap();
    old.pragma_update(None, "application_id", database::APPLICATION_ID).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    let minute = micros_at(SystemTime::now()) / 60_000_000 * 60;
    for (id, (status, error)) in
        [(200, None), (502, None), (400, Some("invalid_request")), (429, Some("rate_limited"))]
            .into_iter()
            .chain([(503, Some("overloaded"))])
            .enumerate()
    {
        for (level, target) in [(2, Some("p/m")), (3, None)] {
            let id = 10 * level + id as i64;
            let group = "INSERT INTO groups (id, level, target, status, error) VALUES (?1, ?2, ?3, ?4, ?5)";
            old.execute(group, (id, level, target, status, error)).unwrap();
            let sum = "INSERT INTO rollups VALUES (?1, 0, ?2, ?3, 1, 1, 0, 0, 0, 0, 0, 0, '', '', '')";
            old.execute(&sum.replace("''", "x''"), (level, minute as i64, id)).unwrap();
        }
    }
    drop(old);

    let logs = file.open(Retention::USUAL);

    let mut question = Question::new(Span::last(Duration::from_secs(120)));
    question.span.until += Duration::from_secs(120);
    for (by, failed) in [(None, 2), (Some(Dimension::Target), 3)] {
        question.by = by;
        let sums = logs.sums(&question).await.unwrap();
        assert_eq!((sums[0].used.requests, sums[0].used.errors, sums[0].used.failed), (5, 4, failed));
    }
}

#[tokio::test]
async fn what_is_not_its_own_is_not_touched() {
    let file = File::new();
    std::fs::write(&file.0, "no database").unwrap();
    let error = SqliteLogsOptions::new(&file.0).open().unwrap_err();
    assert!(error.to_string().contains("bartizan-logs"), "{error}");

    std::fs::remove_file(&file.0).unwrap();
    rusqlite::Connection::open(&file.0).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = SqliteLogsOptions::new(&file.0).open().unwrap_err();
    assert!(error.to_string().contains("is a database of another program"), "{error}");
}
