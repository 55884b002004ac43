//! What is kept in Postgres, with real servers: the ledger and [`logs`], what all of their kind promise, and what only many
//! gateways can break.

mod logs;
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bartizan::{
    Error, Kind,
    audit::{self, PostgresAudit},
    directory::{self, Change, Directory, PostgresDirectory, Revision, Section},
    ledger::{
        Amounts, Autonomous, Balance, Day, Later, Ledger, Measure, Period, PostgresLedger, PostgresOptions,
        Quota, Scope, Ticket,
        conformance::{self, HandClock},
    },
    price::NanoUsd,
};
use futures_util::{FutureExt, StreamExt, stream};
use server::Server;
use tokio::task::JoinHandle;

/// A node: its ledger and its worker.
struct Node {
    ledger: Arc<PostgresLedger>,
    worker: JoinHandle<()>,
}

impl Node {
    fn new(options: PostgresOptions) -> Self {
        let (ledger, worker) = PostgresLedger::connect(options).unwrap();
        Self { ledger: Arc::new(ledger), worker: tokio::spawn(worker) }
    }

    /// One that is patient with a machine that has other things to do.
    fn of(server: &Server) -> Self {
        Self::new(patient(server))
    }

    /// Shuts it down; all is settled then.
    async fn stop(self) {
        drop(self.ledger);
        self.worker.await.unwrap();
    }

    /// What is used and held; `None` while the store is away.
    async fn balance(&self, account: &str, quota: Quota) -> Option<(u64, u64)> {
        let balance = self.ledger.balance(account, quota.measure, quota.period).await.ok()?;
        Some(balance.map_or((0, 0), |Balance { posted, held, .. }| (posted, held)))
    }

    async fn has(&self, account: &str, quota: Quota, expected: (u64, u64)) {
        let start = Instant::now();
        while self.balance(account, quota).await != Some(expected) {
            let balance = self.balance(account, quota).await;
            assert!(start.elapsed() < Duration::from_secs(10), "{account}: {balance:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn patient(server: &Server) -> PostgresOptions {
    PostgresOptions::new(server.url()).timeout(Duration::from_secs(10))
}

fn scope(account: &str, quota: Quota) -> Scope {
    Scope::new(account, quota)
}

fn daily(limit: u64) -> Quota {
    Quota::usd(NanoUsd(limit), Period::Day)
}

fn usd(amount: u64) -> Amounts {
    NanoUsd(amount).into()
}

fn with_clock(options: PostgresOptions, now: &str) -> (PostgresOptions, HandClock) {
    let clock = HandClock::new(now.parse::<jiff::Timestamp>().unwrap().into());
    let hand = clock.clone();
    (options.clock(move || hand.now()), clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_every_ledger_promises() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (options, clock) = with_clock(patient(&server), "2026-11-21T12:00:00Z");
    let node = Node::new(options);

    conformance::all(node.ledger.clone(), &clock).await;
    conformance::days(&*node.ledger, &clock).await;

    node.stop().await;
    assert_eq!(server.sql("SELECT count(*) FROM bartizan.holds WHERE kept_as IS NOT NULL"), "0");
}

#[tokio::test]
async fn all_nodes_have_one_chain_of_entries_that_the_database_does_not_change() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (number, nodes) = (AtomicU64::default(), std::sync::Mutex::new(Vec::new()));
    let new = async || {
        let schema = format!("s{}", number.fetch_add(1, Ordering::Relaxed));
        let node = Node::new(patient(&server).schema(schema));
        let audit = Arc::new(PostgresAudit::new(&node.ledger));
        nodes.lock().unwrap().push(node);
        audit
    };

    audit::conformance::audit(new).await;
    let nodes = [(); 2].map(|()| Node::of(&server));
    let audits = nodes.each_ref().map(|node| Arc::new(PostgresAudit::new(&node.ledger)));
    audit::conformance::shared(&audits).await;

    for wrong in
        ["UPDATE bartizan.audit SET hash = ''", "DELETE FROM bartizan.audit", "TRUNCATE bartizan.audit"]
    {
        server.sql(&format!("DO $$ BEGIN {wrong}; EXCEPTION WHEN raise_exception THEN NULL; END $$"));
    }
    assert_eq!(server.sql("SELECT count(*) FROM bartizan.audit WHERE hash <> ''"), "80");
    // A schema of a version without the audit gets it.
    server.sql("DROP TABLE bartizan.audit; DROP FUNCTION bartizan.audit_refuse");
    let node = Node::of(&server);
    audit::conformance::shared(&[Arc::new(PostgresAudit::new(&node.ledger))]).await;
}

#[tokio::test]
async fn what_is_set_on_one_node_is_read_on_all() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (number, nodes) = (AtomicU64::default(), std::sync::Mutex::new(Vec::new()));
    let directory = async || {
        let schema = format!("s{}", number.fetch_add(1, Ordering::Relaxed));
        let node = Node::new(patient(&server).schema(schema));
        let directory = Arc::new(PostgresDirectory::new(&node.ledger));
        nodes.lock().unwrap().push(node);
        directory
    };
    directory::conformance::directory(directory).await;
    let [one, other] = [Node::of(&server), Node::of(&server)];
    let [first, second] = [&one, &other].map(|node| PostgresDirectory::new(&node.ledger));

    let made = first.write(Revision(0), Change::put(Section::Keys, "a", "{}")).await.unwrap().unwrap();

    assert_eq!(second.read(None).await.unwrap().unwrap().documents[0].version, made);
    assert!(second.read(Some(made)).await.unwrap().is_none());
    server.kill();
    assert_eq!(second.read(Some(made)).await.unwrap_err().kind(), Kind::Internal);
}

#[tokio::test]
async fn it_speaks_tls_to_a_server_of_an_authority_that_is_trusted() {
    if !server::is_installed() {
        return;
    }
    let (server, authority) = Server::start_with_tls();
    let scopes = [scope("key:a", daily(100))];

    let trusting = Node::new(patient(&server).authority(authority));
    let ticket = trusting.ledger.reserve(&scopes, usd(60)).await.unwrap();
    let refused = Node::of(&server).ledger.reserve(&scopes, usd(1)).await.unwrap_err();

    assert_eq!(refused.kind(), Kind::Internal);
    trusting.ledger.settle(ticket, usd(25));
    trusting.has("key:a", daily(100), (25, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_for_a_hundred_grants_a_hundred_over_two_nodes() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let nodes = [Node::of(&server), Node::of(&server)];
    let (key, team) = (daily(1_000), Quota::usd(NanoUsd(5_000), Period::Month));
    let forwards = [scope("key:a", key), scope("team:b", team)];
    let backwards = [scope("team:b", team), scope("key:a", key)];
    let begun = Instant::now();

    let granted = stream::iter(0..5_000)
        .map(|i| nodes[i % 2].ledger.reserve([&forwards, &backwards][i / 2 % 2], usd(10)))
        .buffer_unordered(1_000)
        .filter_map(async |answer| match answer {
            Ok(ticket) => Some(ticket),
            Err(error) if error.kind() == Kind::BudgetExhausted => None,
            Err(error) => panic!("{error:?}"),
        })
        .collect::<Vec<Ticket>>()
        .await;

    println!("5000 reservations over two nodes took {:?}", begun.elapsed());
    assert_eq!(granted.len(), 100);
    assert_eq!(nodes[0].balance("team:b", team).await, Some((0, 1_000)));
    granted.into_iter().for_each(|ticket| nodes[0].ledger.settle(ticket, usd(7)));
    nodes[1].has("key:a", key, (700, 0)).await;
    nodes[1].has("team:b", team, (700, 0)).await;
    let shown = "SELECT used, held, measure, period FROM bartizan.accounts WHERE account = 'key:a'";
    assert_eq!(server.sql(shown), "700|0|usd|day");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_gives_its_hold_back() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::of(&server);
    let scopes = [scope("key:a", daily(1_000))];
    let first = node.ledger.reserve(&scopes, usd(10)).await.unwrap();

    for i in 0..100 {
        let mut waiting = node.ledger.reserve(&scopes, usd(10));
        assert!((&mut waiting).now_or_never().is_none());
        tokio::time::sleep(Duration::from_micros(i * 40)).await;
    }

    node.has("key:a", daily(1_000), (0, 10)).await;
    node.ledger.settle(first, usd(1));
    node.has("key:a", daily(1_000), (1, 0)).await;
    assert_eq!(server.sql("SELECT count(*) FROM bartizan.holds"), "0");
}

/// Money, requests, tokens and places.
fn all_measures() -> [Scope; 4] {
    [
        scope("key:a", daily(1_000)),
        scope("key:a", Quota::new(Measure::Requests, 10, Period::Day)),
        scope("key:a", Quota::new(Measure::Tokens, 100, Period::Rolling(86_400))),
        scope("key:a", Quota::concurrent(5)),
    ]
}

/// The requests of today, and what they used. A test that runs over midnight sees two days.
async fn today(node: &Node, account: &str) -> (u64, Amounts) {
    let Day { window, .. } = Day::of(SystemTime::now() - Duration::from_secs(3_600));
    let days = node.ledger.days(account, window..=Day::of(SystemTime::now()).window).await.unwrap();
    let mut sum = Day::default();
    days.iter().for_each(|day| sum.add(day));
    (sum.requests, sum.used)
}

async fn stands(node: &Node, expected: [(u64, u64); 4]) {
    for (scope, expected) in all_measures().iter().zip(expected) {
        node.has("key:a", scope.quota.unwrap(), expected).await;
    }
}

#[tokio::test]
async fn what_a_dead_node_held_is_charged_once_and_corrected_if_it_comes_back() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let options = || patient(&server).lease(Duration::from_millis(600));
    let (frozen, worker) = PostgresLedger::connect(options()).unwrap();
    let mut worker = Box::pin(worker);
    let amounts = Amounts { cost: NanoUsd(60), input: 10, output: 20 };
    let reserved = async {
        let ticket = frozen.reserve(&all_measures(), amounts).await.unwrap();
        let kept = frozen.reserve(&all_measures(), amounts).await.unwrap();
        frozen.keep(kept, "job\0");
        while server.sql("SELECT count(kept_as) FROM bartizan.holds") != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ticket
    };
    let ticket = tokio::select! { ticket = reserved => ticket, () = &mut worker => panic!() };
    // Its worker is not polled any more.
    let others = [Node::new(options()), Node::new(options())];

    stands(&others[0], [(60, 60), (1, 1), (0, 30), (0, 1)]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stands(&others[0], [(60, 60), (1, 1), (0, 30), (0, 1)]).await;
    frozen.settle(ticket, Amounts { cost: NanoUsd(25), input: 10, output: 7 });
    drop(frozen);
    worker.await;

    stands(&others[1], [(25, 60), (1, 1), (17, 30), (0, 1)]).await;
    let kept = others[1].ledger.resume("job\0").await.unwrap().unwrap();
    others[1].ledger.settle(kept, Amounts { cost: NanoUsd(5), input: 0, output: 0 });
    stands(&others[0], [(30, 0), (2, 0), (17, 0), (0, 0)]).await;
    let used = Amounts { cost: NanoUsd(30), input: 10, output: 7 };
    assert_eq!(today(&others[0], "key:a").await, (2, used));
}

#[tokio::test]
async fn nodes_that_lost_their_leases_with_the_server_keep_their_holds() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let options = || {
        let options = PostgresOptions::new(server.url()).lease(Duration::from_millis(1_500));
        options.timeout(Duration::from_millis(300))
    };
    let nodes = [Node::new(options()), Node::new(options())];
    let mut held = Vec::new();
    for node in &nodes {
        held.push(node.ledger.reserve(&all_measures(), usd(60)).await.unwrap());
    }

    server.signal("STOP");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    server.signal("CONT");
    tokio::time::sleep(Duration::from_millis(2_500)).await;

    stands(&nodes[0], [(0, 120), (0, 2), (0, 0), (0, 2)]).await;
    assert_eq!(server.sql("SELECT count(charged) FROM bartizan.holds"), "0");
    for (node, ticket) in nodes.iter().zip(held) {
        node.ledger.settle(ticket, usd(25));
    }
    stands(&nodes[1], [(50, 0), (2, 0), (0, 0), (0, 0)]).await;
}

#[tokio::test]
async fn a_settlement_that_is_told_twice_counts_once() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let directory = std::env::temp_dir();
    let [first, copy] =
        ["journal", "copy"].map(|name| directory.join(format!("bartizan-{name}-{}", server.port)));
    let options = |journal| PostgresOptions::new(server.url()).journal(journal);
    let node = Node::new(options(&first));
    let ticket = node.ledger.reserve(&all_measures(), usd(60)).await.unwrap();
    server.signal("STOP");
    node.ledger.charge(ticket.holds.clone(), usd(5));
    node.ledger.settle(ticket, usd(25));
    while std::fs::read(&first).unwrap().iter().filter(|byte| **byte == b'\n').count() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    std::fs::copy(&first, &copy).unwrap();

    // The process dies, and so does its twin; both come back.
    node.worker.abort();
    let _ = node.worker.await;
    server.signal("CONT");
    for journal in [&first, &copy] {
        Node::new(options(journal)).stop().await;
        assert!(std::fs::read(journal).unwrap().is_empty());
        std::fs::remove_file(journal).unwrap();
    }

    let node = Node::of(&server);
    stands(&node, [(30, 0), (2, 0), (0, 0), (0, 0)]).await;
    assert_eq!(today(&node, "key:a").await, (2, usd(30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_in_while_the_server_was_away_is_counted_when_it_is_back() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::new(PostgresOptions::new(server.url()));
    let alone = Autonomous::new(node.ledger.clone());
    // Nobody has heard of the second account before the server is away.
    let scopes = [scope("key:a", daily(100)), scope("team:b", daily(100))];
    alone.settle(alone.reserve(&scopes[..1], usd(60)).await.unwrap(), usd(25));
    node.has("key:a", daily(0), (25, 0)).await;
    server.kill();

    let ticket = alone.reserve(&scopes, usd(60)).await.unwrap();
    let refused = alone.reserve(&scopes, usd(60)).await.unwrap_err();
    alone.settle(ticket, Amounts { cost: NanoUsd(40), input: 3, output: 2 });
    tokio::task::block_in_place(|| server.run());

    assert_eq!(refused.kind(), Kind::BudgetExhausted);
    node.has("key:a", daily(0), (65, 0)).await;
    node.has("team:b", daily(0), (40, 0)).await;
    let used = |cost| Amounts { cost: NanoUsd(cost), input: 3, output: 2 };
    assert_eq!(today(&node, "key:a").await, (2, used(65)));
    assert_eq!(today(&node, "team:b").await, (1, used(40)));
    drop(alone);
    node.stop().await;
}

#[tokio::test]
async fn of_two_nodes_one_may_do_what_is_done_once_until_its_time_is_over() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (options, clock) = with_clock(patient(&server), "2026-11-21T12:00:00Z");
    let [one, other] = [Node::new(options.clone()), Node::new(options)];
    let minute = Duration::from_secs(60);

    let (first, second) =
        tokio::join!(one.ledger.mark_once("told\0", minute), other.ledger.mark_once("told\0", minute));

    assert!(first.unwrap() != second.unwrap());
    assert!(one.ledger.mark_once("else", Duration::MAX).await.unwrap());
    clock.set(clock.now() + minute);
    assert!(other.ledger.mark_once("told\0", minute).await.unwrap());
    assert!(!other.ledger.mark_once("else", minute).await.unwrap());
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_and_only_so_long() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::new(PostgresOptions::new(server.url()));
    let scopes = [scope("key:a", daily(100))];
    let held = node.ledger.reserve(&scopes, usd(10)).await.unwrap();
    let refusal = async || {
        let start = Instant::now();
        let error: Error = node.ledger.reserve(&scopes, usd(10)).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Internal, "the ledger can't be asked"));
        start.elapsed()
    };

    server.signal("STOP");
    node.ledger.settle(held, usd(7));
    let first = refusal().await;
    let second = refusal().await;

    assert!(first < Duration::from_millis(1_500), "{first:?}");
    assert!(second < Duration::from_millis(250), "{second:?}");
    let error = node.ledger.balances(&scopes).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.message(), "the ledger can't be asked");
    server.signal("CONT");
    // What was asked for in vain is not held.
    node.has("key:a", daily(100), (7, 0)).await;
    drop(node.ledger.reserve(&scopes, usd(93)).await.unwrap());
}

/// Reserves and settles until `end`; says how many were granted and refused because the store was away.
async fn load(node: &Node, scopes: &[Scope], end: Instant, spent: &AtomicU64) -> (u64, u64) {
    let (mut granted, mut away) = (0, 0);
    while Instant::now() < end {
        match node.ledger.reserve(scopes, usd(1_000)).await {
            Ok(ticket) => {
                let cost = 1 + ticket.id.number % 997;
                tokio::time::sleep(Duration::from_millis(ticket.id.number % 7)).await;
                spent.fetch_add(cost, Ordering::Relaxed);
                node.ledger.settle(ticket, usd(cost));
                granted += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Internal, "{error:?}");
                away += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    (granted, away)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_load_and_comes_back_has_the_right_sum() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let nodes = [(); 2].map(|()| Node::new(PostgresOptions::new(server.url())));
    let scopes = [scope("key:a", daily(u64::MAX)), Scope::counted("gateway")];
    let (spent, end) = (AtomicU64::default(), Instant::now() + Duration::from_secs(6));

    let outages = async {
        for how in ["terminate", "kill", "terminate"] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if how == "kill" {
                server.kill();
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.run();
            } else {
                server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bartizan'");
            }
        }
    };
    let clients = stream::iter(0..60)
        .map(|i| load(&nodes[i % 2], &scopes, end, &spent))
        .buffer_unordered(60)
        .fold((0, 0), async |(granted, away), more| (granted + more.0, away + more.1));
    let ((), (granted, away)) = tokio::join!(outages, clients);

    println!("{granted} were granted and {away} refused");
    let expected = (spent.into_inner(), 0);
    nodes[0].has("key:a", daily(u64::MAX), expected).await;
    nodes[1].has("gateway", Quota::usd(NanoUsd(0), Period::Total), expected).await;
    assert!(granted > 100 && away > 0, "{granted} {away}");
    for node in nodes {
        node.stop().await;
    }
    assert_eq!(server.sql("SELECT count(*) FROM bartizan.holds"), "0");
}

#[tokio::test]
async fn a_gateway_starts_without_postgres_and_finds_it_later() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    server.kill();
    let node = Node::new(PostgresOptions::new(server.url()));
    let scopes = [scope("key:a", daily(100))];

    assert_eq!(node.ledger.reserve(&scopes, usd(1)).await.unwrap_err().kind(), Kind::Internal);
    server.run();

    node.has("key:a", daily(100), (0, 0)).await;
    let ticket = node.ledger.reserve(&scopes, usd(100)).await.unwrap();
    node.ledger.settle(ticket, usd(100));
    node.has("key:a", daily(100), (100, 0)).await;
}

#[tokio::test]
async fn many_nodes_that_begin_at_once_make_one_schema_and_a_newer_one_is_left_alone() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let scopes = [scope("key:a", daily(100))];
    let nodes: Vec<_> = (0..8).map(|_| Node::of(&server)).collect();
    for node in &nodes {
        let ticket = node.ledger.reserve(&scopes, usd(1)).await.unwrap();
        node.ledger.settle(ticket, usd(1));
    }
    nodes[0].has("key:a", daily(100), (8, 0)).await;

    server.sql("UPDATE bartizan.version SET version = 9");
    let late = Node::of(&server).ledger.reserve(&scopes, usd(1)).await.unwrap_err();

    let source = std::error::Error::source(&late).unwrap().to_string();
    assert!(source.contains("the schema bartizan is of version 9; this program knows 1 at most"), "{source}");
}

#[tokio::test]
async fn what_the_store_does_not_understand_hurts_nobody_else() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::of(&server);
    let long = "x".repeat(20_000);
    let good = [scope("key:a", daily(100)), scope("user:\0'", daily(100)), scope(&long, daily(100))];
    let bad = [scope("key:broken", daily(100))];
    let [ticket, lost] = [&good[..], &bad].map(|scopes| node.ledger.reserve(scopes, usd(10)));
    let (ticket, lost) = tokio::try_join!(ticket, lost).unwrap();
    server.sql("UPDATE bartizan.accounts SET state = '?' WHERE account = 'key:broken'");

    node.ledger.settle(lost, usd(10));
    node.ledger.settle(ticket, usd(5));
    let (refused, granted) =
        tokio::join!(node.ledger.reserve(&bad, usd(1)), node.ledger.reserve(&good, usd(2)));

    assert_eq!(refused.unwrap_err().message(), "the ledger does not understand postgres");
    node.ledger.settle(granted.unwrap(), usd(2));
    for scope in &good {
        node.has(&scope.account, daily(100), (7, 0)).await;
    }
    assert!(!node.ledger.is_away());
}

#[test]
fn what_can_not_be_connected_to_is_said_at_once() {
    let options = || PostgresOptions::new("postgres://gateway:hunter2@host/database");
    for (options, message) in [
        (PostgresOptions::new("mysql://host"), "the address of postgres or its authority is not understood"),
        (options().authority("-----BEGIN CERTIFICATE-----\nx"), "the address of postgres or its authority"),
        (options().schema("a; DROP"), "the schema in postgres has up to 63 letters"),
        (options().timeout(Duration::ZERO), "the timeout of postgres is more than nothing"),
        (options().journal("/nowhere/journal"), "the journal of the ledger can't be opened"),
    ] {
        let error = PostgresLedger::connect(options.clone()).map(|_| ()).unwrap_err();
        assert!(error.message().starts_with(message), "{error:?}");
        assert!(!format!("{error:?} {options:?}").contains("hunter2"));
    }
}
