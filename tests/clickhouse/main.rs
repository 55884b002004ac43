//! Records in ClickHouse: its own engine behind its HTTP interface.

mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bartizan::{
    exchange::Role,
    logs::conformance::sample,
    record::{ContentRules, Keep, Kept, QueueOptions, Record, Sink},
    secret::Secret,
};
use server::Server;

fn kept(records: impl IntoIterator<Item = Record>) -> Vec<Arc<Kept>> {
    records.into_iter().map(|record| Arc::new(Kept::new(record, &ContentRules::default()))).collect()
}

/// Waits until there are so many.
async fn has(server: &Server, number: usize) {
    let begun = Instant::now();
    loop {
        let count = server.sql("SELECT count() FROM bartizan_records").await;
        if count == number.to_string() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{count}, not {number}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_record_is_there_once_with_all_that_is_known_of_it() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let now = SystemTime::now();
    let records: Vec<_> = (0..400).map(|number| sample(number, now)).collect();
    let mut clickhouse = server.options().open().unwrap();
    clickhouse.tidy().await;
    assert_eq!(server.sql("SELECT count() FROM bartizan_records").await, "0");
    // With it no insert is like another one, and only their token tells that they are the same.
    server.sql("ALTER TABLE bartizan_records ADD COLUMN came DateTime64(9) DEFAULT now64(9)").await;
    let (queue, worker) = QueueOptions::new(1_000).keeper(clickhouse).start();
    let worker = tokio::spawn(worker);

    // Tried again, because nobody has answered.
    server.lose().await;
    records.iter().for_each(|record| queue.record(record.clone()));
    drop(queue);
    worker.await.unwrap();

    assert_eq!(server.sql("SELECT count(), uniqExact(id) FROM bartizan_records").await, "400\t400");
    let nanos: u64 = records.iter().map(|record| record.cost.0).sum();
    let sums = "SELECT toUInt64(sum(cost) * 1000000000), sum(input), countIf(error != ''), sum(length(attempts.target))
                FROM bartizan_records";
    let input: u64 = records.iter().map(|record| record.tokens.input).sum();
    let failed = records.iter().filter(|record| record.error.is_some()).count();
    assert_eq!(server.sql(sums).await, format!("{nanos}\t{input}\t{failed}\t400"));
    let with_content = records.iter().find(|record| record.content.is_some()).unwrap();
    let select = |what: &str| format!("SELECT {what} FROM bartizan_records WHERE id = '{}'", with_content.id);
    let whole: serde_json::Value =
        serde_json::from_str(&server.sql(&format!("{} FORMAT TSVRaw", select("record"))).await).unwrap();
    assert_eq!(whole, serde_json::to_value(with_content).unwrap());
    assert!(server.sql(&select("request")).await.contains("Größe"));
    let micros = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let times =
        "toUnixTimestamp64Micro(arrived), toUnixTimestamp64Micro(ended) - toUnixTimestamp64Micro(arrived)";
    let took = with_content.duration.as_micros();
    assert_eq!(server.sql(&select(times)).await, format!("{micros}\t{took}"));
    let (key, team) = (with_content.key.as_deref().unwrap(), with_content.team.as_deref().unwrap());
    let names =
        "key, team, end_user, attempts.target[1], attempts.role[1], attempts.outcome[1], finish_reason";
    let user = with_content.labels.user.as_deref().unwrap_or_default();
    let (attempt, finish) =
        (&with_content.attempts[0], with_content.finish_reason.as_deref().unwrap_or_default());
    let expected =
        format!("{key}\t{team}\t{user}\t{}\tanswer\t{}\t{finish}", attempt.target, attempt.outcome);
    assert_eq!(server.sql(&select(names)).await, expected.trim());
}

#[tokio::test]
async fn while_it_is_away_records_are_counted_as_lost_and_when_it_is_back_they_are_kept() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start();
    let clickhouse = server.options().timeout(Duration::from_secs(5)).open().unwrap();
    let (queue, worker) = QueueOptions::new(50).keeper(clickhouse).start();
    let worker = tokio::spawn(worker);
    let record = |numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| queue.record(sample(number, SystemTime::now())));
    };
    record(0..20);
    let begun = Instant::now();
    while server.sql("EXISTS TABLE bartizan_records").await != "1" {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    has(&server, 20).await;

    server.kill();
    record(20..40);
    let begun = Instant::now();
    while queue.missed().all(|(_, missed)| missed == 0) {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.missed().collect::<Vec<_>>(), [("clickhouse", 20)]);
    server.run();
    record(40..60);

    has(&server, 40).await;
    drop(queue);
    worker.await.unwrap();
}

#[tokio::test]
async fn retention_is_that_of_the_last_start() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let engine = "SELECT engine_full FROM system.tables WHERE name = 'bartizan_records'";
    for (age, ttl) in
        [(Some(86_400), "toIntervalSecond(86400)"), (Some(3_600), "toIntervalSecond(3600)"), (None, "")]
    {
        let options = server.options();
        let options = match age {
            Some(seconds) => options.age(Duration::from_secs(seconds)),
            None => options,
        };
        let mut clickhouse = options.open().unwrap();

        clickhouse.keep(&kept([sample(age.unwrap_or_default(), SystemTime::now())])).await.unwrap();

        let engine = server.sql(engine).await;
        assert_eq!((engine.contains(" TTL "), engine.contains(ttl)), (age.is_some(), true), "{engine}");
    }
    server.options().age(Duration::from_secs(60)).open().unwrap().tidy().await;
    let old = SystemTime::now() - Duration::from_secs(3_600);
    server
        .options()
        .age(Duration::from_secs(60))
        .open()
        .unwrap()
        .keep(&kept([sample(1, old)]))
        .await
        .unwrap();
    server.sql("OPTIMIZE TABLE bartizan_records FINAL").await;
    assert_eq!(server.sql("SELECT count() FROM bartizan_records").await, "3");
}

#[tokio::test]
async fn a_table_of_an_earlier_version_gets_the_columns_that_it_lacks() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let record = |number| sample(number, SystemTime::now());
    server.options().open().unwrap().keep(&kept([record(1)])).await.unwrap();
    for column in ["role", "key"] {
        server.sql(&format!("ALTER TABLE bartizan_records DROP COLUMN `attempts.{column}`")).await;
    }
    let mut latest = record(2);
    latest.attempts[0].role = Role::Hedge;
    latest.attempts[0].key = Some("spare".into());

    server.options().open().unwrap().keep(&kept([latest])).await.unwrap();

    let select = "SELECT attempts.role[1], attempts.key[1] FROM bartizan_records ORDER BY attempts.key[1]";
    assert_eq!(server.sql(select).await.trim(), "hedge\tspare");
    assert_eq!(server.sql("SELECT min(length(attempts.key)) FROM bartizan_records").await, "1");
}

#[tokio::test]
async fn a_table_of_ones_own_is_written_as_far_as_it_goes() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    server
        .sql(
            "CREATE TABLE default.mine (id String, team String, cost Float64) ENGINE = MergeTree ORDER BY id",
        )
        .await;
    let mut clickhouse = server.options().table("mine").age(Duration::from_secs(60)).open().unwrap();

    clickhouse.keep(&kept((0..10).map(|number| sample(number, SystemTime::now())))).await.unwrap();

    assert_eq!(server.sql("SELECT count(), countIf(cost > 0 AND team != '') FROM mine").await, "10\t10");
}

#[tokio::test]
async fn what_is_refused_is_told_without_what_was_sent() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let batch = kept([sample(3, SystemTime::now())]);
    let mut stranger = server.options().password(Secret::new("wrong")).open().unwrap();
    let error = stranger.keep(&batch).await.unwrap_err().to_string();
    assert!(error.contains("403 Forbidden, code 516") && !error.contains("wrong"), "{error}");
    server.sql("CREATE TABLE default.odd (id UInt8) ENGINE = MergeTree ORDER BY id").await;

    let mut odd = server.options().table("odd").age(Duration::from_secs(60)).open().unwrap();
    let error = odd.keep(&batch).await.unwrap_err().to_string();

    assert!(error.starts_with("clickhouse answers 500"), "{error}");
    assert!(!error.contains("req_") && !error.contains("Größe"), "{error}");
}
