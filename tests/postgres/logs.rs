//! Records in Postgres, with real servers.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bartizan::{
    dashboard::DashboardLayer,
    logs::{
        Dimension, Filter, Logs, PostgresLogs, PostgresLogsOptions, Question, Span,
        conformance::{self, sample},
    },
    record::{ContentRules, Keep, Kept, QueueOptions, Record, Sink},
    secret::Secret,
};
use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt};

use crate::server::{self, Server};

const DAY: Duration = Duration::from_secs(86_400);

fn options(server: &Server) -> PostgresLogsOptions {
    PostgresLogsOptions::new(server.url())
}

fn open(options: PostgresLogsOptions) -> PostgresLogs {
    PostgresLogs::new(options).unwrap()
}

fn kept(records: impl IntoIterator<Item = Record>) -> Vec<Arc<Kept>> {
    records.into_iter().map(|record| Arc::new(Kept::new(record, &ContentRules::default()))).collect()
}

async fn ids(logs: &impl Logs) -> Vec<Box<str>> {
    let found = logs.find(&Filter::default(), None, 100_000).await.unwrap();
    found.lines.into_iter().map(|line| line.id).collect()
}

async fn requests(logs: &impl Logs) -> u64 {
    let now = SystemTime::now();
    let sums = logs.sums(&Question::new(Span { from: now - 90 * DAY, until: now + DAY })).await.unwrap();
    sums.iter().map(|sum| sum.used.requests).sum()
}

#[tokio::test]
async fn it_finds_what_is_in_it() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();

    conformance::all(open(options(&server))).await;
}

#[tokio::test]
async fn two_gateways_that_write_at_the_same_time_keep_every_record_once_and_show_those_of_both() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let now = SystemTime::now();
    let same_moment = |number| {
        let mut record = sample(number, now);
        record.duration = Duration::from_millis(5);
        record
    };
    let mut nodes = [open(options(&server)), open(options(&server))];
    let batches = [kept((0..300).map(same_moment)), kept((300..600).map(same_moment))];

    let [first, second] = &mut nodes;
    let (one, other) = tokio::join!(first.keep(&batches[0]), second.keep(&batches[1]));
    // One that waits for the other may be told to try again, as a queue does.
    for (node, (batch, result)) in nodes.iter_mut().zip(batches.iter().zip([one, other])) {
        if result.is_err() {
            node.keep(batch).await.unwrap();
        }
        node.keep(&batch[..50]).await.unwrap();
        let backwards: Vec<_> = batch.iter().rev().cloned().collect();
        node.keep(&backwards).await.unwrap();
    }

    for node in &nodes {
        let mut found = ids(node).await;
        found.sort_unstable();
        found.dedup();
        assert_eq!((found.len(), requests(node).await), (600, 600));
    }
}

#[tokio::test]
async fn what_clients_send_is_kept_even_with_zeros_in_it() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let mut logs = open(options(&server));
    let mut record = sample(3, SystemTime::now());
    record.model = Some("a\0b".into());
    record.labels.user = Some("\0".into());
    record.labels.tags = vec![("a".into(), "\0".into())];
    record.message = Some("\0".into());

    logs.keep(&kept([record.clone()])).await.unwrap();

    let filter = |model: &str| {
        let mut filter = Filter::default();
        filter.model = Some(model.into());
        filter
    };
    let found = logs.find(&filter("a\0b"), None, 10).await.unwrap().lines;
    assert_eq!((found.len(), found[0].model.as_deref()), (1, Some("a\u{fffd}b")));
    let entry = logs.get(record.id.as_str()).await.unwrap().unwrap();
    assert!(entry.record.get().contains(r#""model":"a\u0000b""#), "{}", entry.record);
}

#[tokio::test]
async fn what_is_too_old_is_forgotten() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let mut logs = open(options(&server).age(2 * DAY + DAY / 2));
    let old = SystemTime::now() - 3 * DAY;
    let records = (0..12_000).map(|number| sample(number, old + DAY * (number / 6_000) as u32));
    logs.keep(&kept(records)).await.unwrap();
    assert_eq!(requests(&logs).await, 12_000);

    let begun = Instant::now();
    while ids(&logs).await.len() > 6_000 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        logs.tidy().await;
    }

    assert_eq!((requests(&logs).await, ids(&logs).await.len()), (12_000, 6_000));
    assert_eq!(server.sql("SELECT count(*) FROM bartizan_logs.details"), "6000");
}

#[tokio::test]
async fn sums_of_what_is_long_ago_are_told_apart_by_less_and_forgotten_at_last() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let mut logs = open(options(&server));
    for days in [1, 10, 100, 402] {
        logs.keep(&kept((0..10).map(|number| sample(number, noon() - days * DAY)))).await.unwrap();
    }

    logs.tidy().await;

    // Minutes, hours and days.
    let days = "SELECT count(DISTINCT at / 86400) FROM bartizan_logs.sums GROUP BY step ORDER BY step";
    assert_eq!(server.sql(days), "1\n2\n3");
    let users = "SELECT DISTINCT step FROM bartizan_logs.sums WHERE level = 5 ORDER BY step";
    assert_eq!(server.sql(users), "1\n2");
    assert_eq!(requests(&logs).await, 20);
    let groups = || server.sql("SELECT count(*) > 0 FROM bartizan_logs.groups");
    assert_eq!(groups(), "t");
    server.sql("UPDATE bartizan_logs.groups SET day = day - 405");
    drop(logs);
    open(options(&server)).tidy().await;
    assert_eq!(groups(), "f");
}

#[tokio::test]
async fn what_came_before_there_were_sums_is_summed_up_too() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let records =
        |first: u64, days: u32| kept((first..first + 50).map(|number| sample(number, noon() - days * DAY)));
    open(options(&server)).keep(&records(0, 4)).await.unwrap();
    server.sql(
        "SET search_path TO bartizan_logs; DROP TABLE sums, groups; UPDATE version SET version = 1;
         ALTER TABLE version DROP COLUMN sums_since",
    );

    let mut logs = open(options(&server));
    logs.keep(&records(50, 0)).await.unwrap();

    assert_eq!(requests(&logs).await, 100);
    drop(logs);
    // Later there are sums only of what came since.
    server.sql("UPDATE bartizan_logs.version SET sums_since = extract(epoch FROM current_date - 2)");
    let logs = open(options(&server));
    for by in [None, Some(Dimension::Key), Some(Dimension::User), Some(Dimension::Feature)] {
        let mut question = Question::new(Span { from: noon() - 90 * DAY, until: noon() + DAY });
        (question.by, question.step) = (by, Some(DAY));
        let sums = logs.sums(&question).await.unwrap();
        assert_eq!(sums.iter().map(|sum| sum.used.requests).sum::<u64>(), 100, "{by:?}");
        assert_eq!(sums.last().unwrap().at_ms - sums[0].at_ms, 4 * 86_400_000);
    }
    assert_eq!(server.sql("SELECT sum(requests) FROM bartizan_logs.sums WHERE level = 3 AND step = 2"), "50");
}

#[tokio::test]
async fn how_long_requests_took_needs_no_more_room_however_many_batches_there_are() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let now = SystemTime::now();
    let mut logs = open(options(&server));
    for batch in 0..60 {
        logs.keep(&kept((0..40).map(|number| sample(batch * 40 + number, now)))).await.unwrap();
    }

    let sums = logs.sums(&Question::new(Span { from: now - DAY, until: now + DAY })).await.unwrap();

    let failed = sums[0].used.failed;
    for (histogram, number) in [
        (&sums[0].used.latency, 2_400),
        (&sums[0].used.first_event, 2_400 - failed),
        (&sums[0].used.overhead, 2_400),
    ] {
        assert_eq!(histogram.buckets().map(|(_, number)| number).sum::<u64>(), number);
    }
    let longest = server.sql("SELECT max(octet_length(latency)) FROM bartizan_logs.sums");
    assert!((1..=500).contains(&longest.parse().unwrap()), "{longest}");
}

/// The dashboard, and the cookie of somebody who is logged in.
async fn dashboard(logs: PostgresLogs) -> (DashboardLayer, String) {
    let layer =
        DashboardLayer::new(|| Some(Secret::new("the-key-of-the-administrators"))).logs(Arc::new(logs));
    let body = r#"{ "key": "the-key-of-the-administrators" }"#;
    let req = Request::post("/logs/api/session").header("host", "here").header("x-bartizan-csrf", "1");
    let answer = send(&layer, req, body).await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    (layer, cookie)
}

async fn send(layer: &DashboardLayer, req: request::Builder, body: &'static str) -> Response<Bytes> {
    let inner = tower::service_fn(async |_| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let answer = layer.layer(inner).oneshot(req.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_the_dashboard_says_what_to_do_and_when_it_is_back_it_shows_records() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let mut logs = open(options(&server).timeout(Duration::from_secs(2)));
    logs.keep(&kept((0..20).map(|number| sample(number, SystemTime::now())))).await.unwrap();
    let (layer, cookie) = dashboard(logs).await;
    let asks = ["requests", "requests/req_1", "sums", "drift"];
    let ask = async |what: &str| {
        let req = Request::get(format!("/logs/api/{what}")).header("host", "here").header("cookie", &cookie);
        send(&layer, req, "").await
    };
    let says = async |words: &str| {
        for what in asks {
            let answer = ask(what).await;
            let text = String::from_utf8_lossy(answer.body());
            assert!(answer.status() == 503 && text.contains(words), "{what}: {} {text}", answer.status());
            assert!(answer.headers().contains_key("retry-after"), "{what}");
        }
    };
    let answers = async || {
        let begun = Instant::now();
        while ask("requests").await.status() != 200 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!([ask("sums").await.status(), ask("drift").await.status()], [200, 200]);
    };
    answers().await;

    server.kill();
    says("postgres, where the records are, can't be reached; see whether it runs").await;
    server.run();
    answers().await;
    server.signal("STOP");
    says("postgres, where the records are, did not answer in time; see whether").await;
    server.signal("CONT");
    answers().await;
}

/// The middle of this day, so that what ends some seconds later does so on the same one.
fn noon() -> SystemTime {
    let days = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / DAY.as_secs();
    SystemTime::UNIX_EPOCH + DAY * days as u32 + DAY / 2
}

/// Functions with the names and parameters of TimescaleDB's, which is not among Debian's packages: they note how
/// they are called.
const TIMESCALE: &str = "
    SET allow_system_table_mods = on;
    CREATE SCHEMA \"of Timescale\";
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        SELECT 99999, 'timescaledb', 10, oid, false, '2.17.0' FROM pg_namespace WHERE nspname = 'of Timescale';
    CREATE TABLE public.calls (number serial, call text);
    CREATE FUNCTION \"of Timescale\".create_hypertable(relation regclass, time_column_name name,
        chunk_time_interval interval, create_default_indexes boolean, if_not_exists boolean)
        RETURNS void LANGUAGE sql AS $$ INSERT INTO public.calls (call)
        VALUES (concat_ws(' ', 'make', relation, time_column_name, chunk_time_interval, if_not_exists)) $$;
    CREATE FUNCTION \"of Timescale\".drop_chunks(relation regclass, older_than timestamptz)
        RETURNS SETOF text LANGUAGE sql AS $$ INSERT INTO public.calls (call)
        VALUES (concat_ws(' ', 'drop', relation, older_than < now() - interval '47 hours')) RETURNING call $$;
";

#[tokio::test]
async fn where_timescale_is_its_functions_make_hypertables_and_forget() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    server.sql(TIMESCALE);
    let mut logs = open(options(&server).schema("l").age(2 * DAY));

    logs.keep(&kept((0..10).map(|number| sample(number, SystemTime::now() - 3 * DAY)))).await.unwrap();
    logs.tidy().await;

    let calls = server.sql("SELECT string_agg(call, ', ' ORDER BY number) FROM public.calls");
    let made = "make records ended 1 day t, make details ended 1 day t";
    assert_eq!(calls, format!("{made}, drop records t, drop details t"));
    // What a whole chunk is of is not deleted one by one.
    assert_eq!(requests(&logs).await, 10);
    drop(logs);
    let logs = open(options(&server).schema("l"));
    assert_eq!(
        (requests(&logs).await, server.sql("SELECT count(*) FROM public.calls")),
        (10, "4".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_records_are_counted_as_lost_and_when_it_is_back_they_are_kept() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let logs = open(options(&server).timeout(Duration::from_secs(2)));
    let (queue, worker) = QueueOptions::new(50).keeper(logs.clone()).start();
    let worker = tokio::spawn(worker);
    let record = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            queue.record(sample(number, SystemTime::now()));
        }
    };
    let has = async |number: usize| {
        let begun = Instant::now();
        while ids(&logs).await.len() != number {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", ids(&logs).await.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    record(0..20);
    has(20).await;

    server.kill();
    record(20..40);
    let begun = Instant::now();
    while queue.missed().all(|(_, missed)| missed == 0) {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.missed().collect::<Vec<_>>(), [("postgres", 20)]);
    server.run();
    record(40..60);
    has(40).await;

    assert_eq!(queue.dropped(), 0);
    drop(queue);
    worker.await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_left_alone() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    open(options(&server)).keep(&kept([sample(1, SystemTime::now())])).await.unwrap();
    server.sql("INSERT INTO bartizan_logs.version VALUES (3, false)");

    let error = open(options(&server)).keep(&kept([sample(2, SystemTime::now())])).await.unwrap_err();

    assert!(error.to_string().contains("bartizan_logs is of version 3"), "{error}");
    let error = PostgresLogs::new(options(&server).schema("A; DROP")).unwrap_err();
    assert!(error.to_string().contains("the schema in postgres"), "{error}");
}
