//! The ledger in Redis, with real servers: what all ledgers promise, and what only many gateways can break.

mod recorder;
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
    audit::{self, RedisAudit},
    directory::{self, Change, Directory, RedisDirectory, Revision, Section},
    ledger::{
        Amounts, Autonomous, Balance, Day, Ledger, Measure, MemoryLedger, Period, Quota, RedisLedger,
        RedisOptions, Scope, Standing, Standings, Ticket,
        conformance::{self, HandClock},
    },
    metrics::{STORE_AWAY, STORE_OUTAGES, STORE_SECONDS, STORE_WAITING},
    price::NanoUsd,
};
use futures_util::{FutureExt, StreamExt, stream};
use recorder::Kept;
use server::Server;
use tokio::task::JoinHandle;

/// A node: its ledger and its worker.
struct Node {
    ledger: Arc<RedisLedger>,
    worker: JoinHandle<()>,
}

impl Node {
    fn new(options: RedisOptions) -> Self {
        let (ledger, worker) = RedisLedger::connect(options).unwrap();
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

    async fn balance(&self, account: &str, quota: Quota) -> (u64, u64) {
        let balance = self.ledger.balance(account, quota.measure, quota.period).await.unwrap();
        balance.map_or((0, 0), |Balance { posted, held, .. }| (posted, held))
    }

    async fn has(&self, account: &str, quota: Quota, expected: (u64, u64)) {
        let start = Instant::now();
        while self.balance(account, quota).await != expected {
            let balance = self.balance(account, quota).await;
            assert!(start.elapsed() < Duration::from_secs(10), "{account}: {balance:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn patient(server: &Server) -> RedisOptions {
    RedisOptions::new(server.url()).timeout(Duration::from_secs(10))
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

fn hand_clock(now: &str) -> HandClock {
    HandClock::new(now.parse::<jiff::Timestamp>().unwrap().into())
}

fn with_clock(options: RedisOptions, clock: &HandClock) -> RedisOptions {
    let hand = clock.clone();
    options.clock(move || hand.now())
}

#[tokio::test]
async fn all_nodes_have_one_chain_of_entries() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (number, nodes) = (AtomicU64::default(), std::sync::Mutex::new(Vec::new()));
    let new = async || {
        let prefix = format!("p{}", number.fetch_add(1, Ordering::Relaxed));
        let node = Node::new(patient(&server).prefix(prefix));
        let audit = Arc::new(RedisAudit::new(&node.ledger));
        nodes.lock().unwrap().push(node);
        audit
    };

    audit::conformance::audit(new).await;
    let nodes = [(); 2].map(|()| Node::of(&server));
    audit::conformance::shared(&nodes.each_ref().map(|node| Arc::new(RedisAudit::new(&node.ledger)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_what_every_ledger_promises() {
    if !server::is_installed() {
        return;
    }
    let (server, clock) = (Server::start(), hand_clock("2026-11-21T12:00:00Z"));
    let node = Node::new(with_clock(patient(&server), &clock));

    conformance::all(node.ledger.clone(), &clock).await;
    conformance::days(&*node.ledger, &clock).await;

    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_same_promises() {
    if !server::is_installed() {
        return;
    }
    let (servers, clock) = (server::cluster(), hand_clock("2026-11-21T12:00:00Z"));
    let options = RedisOptions::cluster(servers.iter().map(Server::url))
        .prefix("elsewhere")
        .timeout(Duration::from_secs(10));
    let node = Node::new(with_clock(options, &clock));

    conformance::all(node.ledger.clone(), &clock).await;
    conformance::days(&*node.ledger, &clock).await;

    node.stop().await;
}

#[tokio::test]
async fn what_is_set_on_one_node_is_read_on_all() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start();
    let number = AtomicU64::default();
    let options =
        || RedisOptions::new(server.url()).prefix(format!("p{}", number.fetch_add(1, Ordering::Relaxed)));
    let directory = async || Arc::new(RedisDirectory::new(&RedisLedger::connect(options()).unwrap().0));
    directory::conformance::directory(directory).await;
    let node = || RedisDirectory::new(&RedisLedger::connect(RedisOptions::new(server.url())).unwrap().0);
    let [one, other] = [node(), node()];

    let first = one.write(Revision(0), Change::put(Section::Keys, "a", "{}")).await.unwrap().unwrap();
    assert_eq!(other.read(None).await.unwrap().unwrap().documents[0].version, first);
    server.cli(&["flushall"]);
    let lost = other.read(Some(first)).await.unwrap().unwrap();
    let again = one.write(lost.revision, Change::put(Section::Keys, "b", "{}")).await.unwrap().unwrap();

    assert_eq!((lost.revision, lost.documents), (Revision(0), Vec::new()));
    assert!(again > first, "a revision that is known has other documents now");
    server.kill();
    assert_eq!(other.read(Some(again)).await.unwrap_err().kind(), Kind::Internal);
}

#[tokio::test]
async fn it_speaks_tls_to_a_server_of_an_authority_that_is_trusted() {
    if !server::is_installed() {
        return;
    }
    let (server, authority) = Server::start_with_tls();
    let scopes = [scope("key:a", daily(100))];
    let options = || RedisOptions::new(server.url());

    let trusting = Node::new(options().authority(authority));
    let ticket = trusting.ledger.reserve(&scopes, usd(60)).await.unwrap();
    let refused = Node::new(options()).ledger.reserve(&scopes, usd(1)).await.unwrap_err();

    assert_eq!(refused.kind(), Kind::Internal);
    trusting.ledger.settle(ticket, usd(25));
    trusting.has("key:a", daily(100), (25, 0)).await;
    let plain = RedisOptions::new("redis://127.0.0.1").authority("");
    assert!(RedisLedger::connect(plain).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_for_a_hundred_grants_a_hundred_over_two_nodes() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let nodes = [Node::of(&server), Node::of(&server)];
    let (key, team) = (daily(1_000), Quota::usd(NanoUsd(5_000), Period::Month));
    let scopes = [scope("key:a", key), scope("team:b", team)];

    let granted = stream::iter(0..5_000)
        .map(|i| nodes[i % 2].ledger.reserve(&scopes, usd(10)))
        .buffer_unordered(1_000)
        .filter_map(async |answer| match answer {
            Ok(ticket) => Some(ticket),
            Err(error) if error.kind() == Kind::BudgetExhausted => None,
            Err(error) => panic!("{error:?}"),
        })
        .collect::<Vec<Ticket>>()
        .await;

    assert_eq!(granted.len(), 100);
    assert_eq!(nodes[0].balance("team:b", team).await, (0, 1_000));
    granted.into_iter().for_each(|ticket| nodes[0].ledger.settle(ticket, usd(7)));
    nodes[1].has("key:a", key, (700, 0)).await;
    nodes[1].has("team:b", team, (700, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_per_minute_is_one_limit_for_two_nodes() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let nodes = [Node::of(&server), Node::of(&server)];
    let scopes = [scope("key:a", Quota::new(Measure::Requests, 120, Period::Minute))];
    let start = Instant::now();

    let passed = stream::iter(0..1_200)
        .map(|i| nodes[i % 2].ledger.reserve(&scopes, Amounts::default()))
        .buffer_unordered(1_000)
        .filter_map(async |answer| answer.map_err(|error| assert_eq!(error.kind(), Kind::RateLimited)).ok())
        .map(|ticket| nodes[0].ledger.settle(ticket, Amounts::default()))
        .count()
        .await;

    let given_back = start.elapsed().as_secs() as usize * 2 + 1;
    println!("{passed} of 1200 requests passed a limit of 120 per minute in {:?}", start.elapsed());
    assert!((120..=120 + given_back).contains(&passed), "{passed}");
}

#[tokio::test]
async fn an_old_window_is_not_opened_again_by_a_clock_that_is_behind() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let [ahead, behind] = ["2026-11-22T00:00:10Z", "2026-11-21T23:59:50Z"]
        .map(|now| Node::new(with_clock(RedisOptions::new(server.url()), &hand_clock(now))));
    let scopes = [scope("key:a", daily(100))];

    let _held = ahead.ledger.reserve(&scopes, usd(80)).await.unwrap();

    let refused = behind.ledger.reserve(&scopes, usd(80)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::BudgetExhausted);
    let late = behind.ledger.reserve(&scopes, usd(20)).await.unwrap();
    behind.ledger.settle(late, usd(5));
    ahead.has("key:a", daily(100), (5, 80)).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_gives_its_hold_back() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::of(&server);
    let scopes = [scope("key:a", daily(100))];
    let first = node.ledger.reserve(&scopes, usd(10)).await.unwrap();

    server.cli(&["config", "resetstat"]);
    for _ in 0..100 {
        assert!(node.ledger.reserve(&scopes, usd(10)).now_or_never().is_none());
    }

    // Each was asked for and taken back.
    while server.calls("evalsha") < 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.has("key:a", daily(100), (0, 10)).await;
    node.ledger.settle(first, usd(1));
    node.has("key:a", daily(100), (1, 0)).await;
}

/// Money, requests, tokens and places.
fn all_measures() -> [Scope; 4] {
    [
        scope("key:a", daily(1_000)),
        scope("key:a", Quota::new(Measure::Requests, 10, Period::Day)),
        scope("key:a", Quota::new(Measure::Tokens, 100, Period::Day)),
        scope("key:a", Quota::concurrent(5)),
    ]
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
    let options = || RedisOptions::new(server.url()).lease(Duration::from_millis(600));
    let (frozen, worker) = RedisLedger::connect(options()).unwrap();
    let mut worker = Box::pin(worker);
    let amounts = Amounts { cost: NanoUsd(60), input: 10, output: 20 };
    let ticket = frozen.reserve(&all_measures(), amounts).await.unwrap();
    let kept = frozen.reserve(&all_measures(), amounts).await.unwrap();
    frozen.keep(kept, "job");
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut worker).await.is_err());
    let others = [Node::new(options()), Node::new(options())];

    stands(&others[0], [(60, 60), (1, 1), (0, 30), (0, 1)]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stands(&others[0], [(60, 60), (1, 1), (0, 30), (0, 1)]).await;
    frozen.settle(ticket, Amounts { cost: NanoUsd(25), input: 10, output: 7 });
    drop(frozen);
    worker.await;

    stands(&others[1], [(25, 60), (1, 1), (17, 30), (0, 1)]).await;
    let kept = others[1].ledger.resume("job").await.unwrap().unwrap();
    others[1].ledger.settle(kept, Amounts { cost: NanoUsd(5), input: 0, output: 0 });
    stands(&others[0], [(30, 0), (2, 0), (17, 0), (0, 0)]).await;
}

#[tokio::test]
async fn nodes_that_lost_their_leases_with_the_server_keep_their_holds() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let options = || {
        let options = RedisOptions::new(server.url()).lease(Duration::from_millis(1_500));
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
    assert!(!server.cli(&["keys", "*"]).contains("mark"));
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
    let [first, copy] = ["journal", "copy"].map(|name| server.path(name));
    let options = |journal| RedisOptions::new(server.url()).journal(journal);
    let node = Node::new(options(&first));
    let ticket = node.ledger.reserve(&all_measures(), usd(60)).await.unwrap();
    server.signal("STOP");
    node.ledger.settle(ticket, usd(25));
    while std::fs::read(&first).unwrap().is_empty() {
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
    }

    stands(&Node::of(&server), [(25, 0), (1, 0), (0, 0), (0, 0)]).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_and_only_so_long() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::new(RedisOptions::new(server.url()));
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
    node.has_after_outage("key:a", (7, 0)).await;
    drop(node.ledger.reserve(&scopes, usd(93)).await.unwrap());
}

impl Node {
    /// The same when the store may still be away.
    async fn has_after_outage(&self, account: &str, expected: (u64, u64)) {
        let start = Instant::now();
        while self.ledger.balance(account, Measure::Usd, Period::Day).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "redis does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.has(account, daily(0), expected).await;
    }
}

/// Reserves and settles until `end`; says how many were granted and refused because the store was away.
async fn load(node: &Node, scopes: &[Scope], end: Instant, spent: &AtomicU64) -> (u64, u64) {
    let (mut granted, mut away) = (0, 0);
    while Instant::now() < end {
        let start = Instant::now();
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
                assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
                away += 1;
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
    let mut server = Server::start_durable();
    let quota = Quota::usd(NanoUsd(1 << 50), Period::Day);
    let scopes = [scope("key:a", quota), scope("team:b", quota)];
    let options = |name| RedisOptions::new(server.url()).journal(server.path(name));
    let nodes = [Node::new(options("one")), Node::new(options("two"))];
    let (spent, end) = (AtomicU64::new(0), Instant::now() + Duration::from_millis(3_500));

    let outage = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        tokio::task::block_in_place(|| server.run());
    };
    let users = (0..64).map(|i| load(&nodes[i % 2], &scopes, end, &spent));
    let ((), counts) = tokio::join!(outage, futures_util::future::join_all(users));

    let sum = |which: fn(&(u64, u64)) -> u64| counts.iter().map(which).sum::<u64>();
    let (granted, away) = (sum(|count| count.0), sum(|count| count.1));
    println!(
        "{granted} granted, {away} refused while redis was away, {} spent",
        NanoUsd(spent.load(Ordering::Relaxed))
    );
    assert!(granted > 100 && away > 100, "{granted} {away}");
    for node in nodes {
        node.stop().await;
    }
    let node = Node::of(&server);
    for account in ["key:a", "team:b"] {
        assert_eq!(node.balance(account, quota).await, (spent.load(Ordering::Relaxed), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_in_while_the_server_was_away_is_counted_when_it_is_back() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start_durable();
    let path = server.path("journal");
    let node = Node::new(RedisOptions::new(server.url()).journal(&path));
    let alone = Autonomous::new(node.ledger.clone());
    let scopes = [scope("key:a", daily(100)), scope("key:a", Quota::new(Measure::Requests, 9, Period::Day))];
    alone.settle(alone.reserve(&scopes, usd(60)).await.unwrap(), usd(25));
    node.has("key:a", daily(0), (25, 0)).await;
    server.kill();

    let ticket = alone.reserve(&scopes, usd(60)).await.unwrap();
    let refused = alone.reserve(&scopes, usd(60)).await.unwrap_err();
    alone.settle(ticket, Amounts { cost: NanoUsd(40), input: 3, output: 2 });
    while std::fs::read(&path).unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::task::block_in_place(|| server.run());

    assert_eq!(refused.kind(), Kind::BudgetExhausted);
    node.has_after_outage("key:a", (65, 0)).await;
    let today = Day::of(SystemTime::now()).window;
    let days = node.ledger.days("key:a", today..=today).await.unwrap();
    assert_eq!((days[0].requests, days[0].used.cost, days[0].used.input), (2, NanoUsd(65), 3));
    drop(alone);
    node.stop().await;
}

#[tokio::test]
async fn a_gateway_starts_without_redis_and_finds_it_later() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start();
    server.kill();
    let node = Node::new(RedisOptions::new(server.url()));
    let scopes = [scope("key:a", daily(100))];
    assert_eq!(node.ledger.reserve(&scopes, usd(1)).await.unwrap_err().kind(), Kind::Internal);

    server.run();

    node.has_after_outage("key:a", (0, 0)).await;
    drop(node.ledger.reserve(&scopes, usd(1)).await.unwrap());
}

#[tokio::test]
async fn a_request_costs_one_round_trip() {
    if !server::is_installed() {
        return;
    }
    const REQUESTS: u64 = 2_000;
    let server = Server::start();
    let node = Node::of(&server);
    let mut times = Vec::new();
    node.ledger.settle(node.ledger.reserve(&all_of_the_gateway(), usd(1)).await.unwrap(), usd(1));
    node.has("gateway", daily(0), (1, 0)).await;
    server.cli(&["config", "resetstat"]);

    for _ in 0..REQUESTS {
        let start = Instant::now();
        let ticket = node.ledger.reserve(&all_of_the_gateway(), usd(1)).await.unwrap();
        times.push(start.elapsed());
        drop(ticket);
    }

    // Besides them there is a sign of life now and then.
    let calls = server.calls("evalsha");
    let seconds = times.iter().sum::<Duration>().as_secs();
    assert!((REQUESTS..=REQUESTS + 2 + seconds).contains(&calls), "{calls}");
    assert_eq!(server.calls("eval"), 0);
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    println!("a reservation on 4 accounts: {:?} in the middle, {:?} for 99 of 100", at(50), at(99));
}

fn all_of_the_gateway() -> [Scope; 4] {
    let tokens = Quota::new(Measure::Tokens, 1_000_000, Period::Minute);
    [
        scope("key:a", daily(1 << 40)),
        scope("key:a", tokens),
        scope("team:b", Quota::usd(NanoUsd(1 << 40), Period::Rolling(86_400))),
        scope("gateway", daily(1 << 40)),
    ]
}

#[tokio::test]
async fn what_is_done_with_is_forgotten() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let node = Node::of(&server);
    let quota = |period| scope("key:a", Quota::usd(NanoUsd(100), period));
    let scopes = [
        quota(Period::Second),
        quota(Period::Day),
        quota(Period::Rolling(60)),
        scope("key:a", Quota::concurrent(2)),
    ];

    let ticket = node.ledger.reserve(&scopes, usd(5)).await.unwrap();
    node.ledger.settle(ticket, usd(5));
    node.stop().await;

    let keys = server.cli(&["keys", "*"]);
    let left: Vec<_> = keys.lines().filter(|key| server.cli(&["ttl", key]).trim() == "-1").collect();
    assert_eq!(left, ["{bartizan}:nodes"], "{keys}");
    // The accounts, and the days of the key.
    assert_eq!(keys.lines().count(), 5, "{keys}");
}

/// Numbers that look like chance, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// All that an answer says, but times to the millisecond: scripts count in microseconds.
fn told(answer: &Result<Ticket, Error>) -> String {
    let millis = |time: Duration| (time.as_micros() + 500) / 1_000;
    match answer {
        Ok(Ticket { holds, standings, shadowed, .. }) => {
            let standing = |s: &Standing| (s.measure, s.limit, s.left, s.resets_in.map(millis));
            // A ledger may tell of more than the tightest.
            let mut tightest = Standings::default();
            standings.iter().for_each(|standing| tightest.note(*standing));
            let measures = [Measure::Requests, Measure::Tokens, Measure::Input, Measure::Output];
            let standings = measures.map(|measure| tightest.of(measure).map(standing));
            format!("{holds:?} {standings:?} {:?}", shadowed.iter().map(refused).collect::<Vec<_>>())
        }
        Err(error) => format!("{} {:?}", refused(error), error.retry_after().map(millis)),
    }
}

fn refused(error: &Error) -> String {
    let message = error.message().split("given back").next().unwrap();
    format!("{}: {message}", error.kind())
}

#[tokio::test]
async fn whatever_happens_it_says_what_a_ledger_in_memory_says() {
    if !server::is_installed() {
        return;
    }
    let (server, clock) = (Server::start(), hand_clock("2026-12-30T21:17:31Z"));
    let (node, hand) = (Node::new(with_clock(patient(&server), &clock)), clock.clone());
    let memory = MemoryLedger::with_clock(move || hand.now());
    let mut quotas = Vec::new();
    for period in
        ["second", "minute", "hour", "day", "week", "month", "quarter", "year", "total", "90s", "24h"]
    {
        let period: Period = period.parse().unwrap();
        quotas.extend([Quota::usd(NanoUsd(700), period), Quota::new(Measure::Tokens, 70, period)]);
        quotas.push(Quota::new(Measure::Requests, 7, period).shadow(true));
    }
    quotas.push(Quota::concurrent(4));
    let (mut dice, mut held, mut granted, mut refused) = (Dice(7), Vec::new(), 0, 0);

    for _ in 0..3_000 {
        let scopes: Vec<_> = (0..=dice.roll(3))
            .map(|_| {
                let quota = quotas[usize::try_from(dice.roll(quotas.len() as u64)).unwrap()];
                scope(["key:a", "team:b"][usize::from(dice.roll(2) == 0)], quota)
            })
            .collect();
        let mut amounts = |most| Amounts {
            cost: NanoUsd(dice.roll(most * 10)),
            input: dice.roll(most),
            output: dice.roll(most),
        };
        let (worst, actual) = (amounts(30), amounts(40));
        let (ours, theirs) =
            (node.ledger.reserve(&scopes, worst).await, memory.reserve(&scopes, worst).await);
        assert_eq!(told(&ours), told(&theirs), "{scopes:?} at {:?}", clock.now());
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                granted += 1;
                held.push((ours, theirs, actual, scopes));
            }
            _ => refused += 1,
        }
        if !held.is_empty() && dice.roll(3) > 0 {
            let at = usize::try_from(dice.roll(held.len() as u64)).unwrap();
            let (ours, theirs, actual, scopes) = held.swap_remove(at);
            node.ledger.settle(ours, actual);
            memory.settle(theirs, actual);
            for Scope { account, quota, .. } in &scopes {
                let quota = quota.unwrap();
                let expected = memory.balance(account, quota.measure, quota.period);
                node.has(account, quota, expected.map_or((0, 0), |b| (b.posted, b.held))).await;
            }
            let (ours, theirs) = (node.ledger.balances(&scopes).await, memory.balances(&scopes).await);
            assert_eq!(ours.unwrap(), theirs.unwrap(), "{scopes:?} at {:?}", clock.now());
        }
        let micros = [0, 1_234, 250_000, 1_000_000, 9_000_000, 77_000_000, 4_000_000_000, 90_000_000_000];
        let next = micros[usize::try_from(dice.roll(8).min(dice.roll(9))).unwrap()];
        clock.set(clock.now() + Duration::from_micros(next));
    }

    println!("{granted} granted, {refused} refused, as in memory");
    assert!(granted > 500 && refused > 500, "{granted} {refused}");
}

#[tokio::test]
async fn what_can_not_be_connected_to_is_said_at_once() {
    let wrong = |options: RedisOptions| RedisLedger::connect(options).map(|_| ()).unwrap_err();

    let address = wrong(RedisOptions::new("http://user:hunter2@host"));
    assert_eq!(address.message(), "the address of redis is not understood");
    assert!(!format!("{:?}", RedisOptions::new("redis://user:hunter2@host")).contains("hunter2"));
    assert_eq!(
        wrong(RedisOptions::new("redis://host").prefix("{a}")).message(),
        "the prefix of keys in redis has at least one character and no braces"
    );
    let missing = wrong(RedisOptions::new("redis://host").journal("/nowhere/at/all"));
    assert_eq!(missing.message(), "the journal of the ledger can't be opened");
}

#[tokio::test]
async fn a_store_that_is_away_is_measured() {
    if !server::is_installed() {
        return;
    }
    let kept = Kept::default();
    let _installed = ::metrics::set_default_local_recorder(&kept);
    bartizan::metrics::describe();
    let mut server = Server::start_durable();
    let (ledger, worker) = RedisLedger::connect(RedisOptions::new(server.url())).unwrap();
    tokio::spawn(worker);
    let scopes = [Scope::new("key:a", daily(100))];
    let until = async |wanted: f64, has: &dyn Fn(f64) -> bool| {
        for _ in 0..1_000 {
            if kept.gauge(STORE_AWAY) == wanted && has(kept.gauge(STORE_WAITING)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{wanted}: {} {}", kept.gauge(STORE_AWAY), kept.gauge(STORE_WAITING));
    };

    let ticket = ledger.reserve(&scopes, usd(1)).await.unwrap();
    until(0.0, &|waiting| waiting == 0.0).await;
    assert_eq!((kept.count(STORE_OUTAGES), kept.count(STORE_SECONDS)), (0, 1));
    server.kill();
    ledger.reserve(&scopes, usd(1)).await.unwrap_err();
    ledger.settle(ticket, usd(1));
    until(1.0, &|waiting| waiting >= 1.0).await;
    server.run();
    until(0.0, &|waiting| waiting == 0.0).await;

    assert_eq!((kept.count(STORE_OUTAGES), kept.count(STORE_SECONDS)), (1, 2));
    assert_eq!(kept.unit(STORE_SECONDS), Some(::metrics::Unit::Seconds));
}
