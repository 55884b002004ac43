//! Two proxies that share one Redis or Postgres, and what becomes of the books when one of the three dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bartizan::price::NanoUsd;

use crate::{
    Way, alone, are_recorded, block_on,
    clients::{Seen, load, mixed},
    config, cost, get, postgres,
    process::{KEY, Proxy, chat, command, eventually, exchange, file},
    server::{self, Server},
    spent,
};

const BUDGET: &str = "budget: { usd: 1000000, per: month }";

/// A server that proxies share.
trait Shared {
    fn store(&self, options: &str) -> String;
    fn kill(&mut self);
    fn run(&mut self);
}

impl Shared for Server {
    fn store(&self, options: &str) -> String {
        store(self, options)
    }

    fn kill(&mut self) {
        self.kill();
    }

    fn run(&mut self) {
        self.run();
    }
}

impl Shared for postgres::Server {
    fn store(&self, options: &str) -> String {
        format!("{{ postgres: {{ url: \"{}\"{options} }} }}", self.url())
    }

    fn kill(&mut self) {
        postgres::Server::kill(self);
    }

    fn run(&mut self) {
        postgres::Server::run(self);
    }
}

fn store(server: &Server, options: &str) -> String {
    format!("{{ redis: {{ url: \"{}\"{options} }} }}", server.url())
}

/// Loads all of `proxies` in the background until it is told to stop.
fn begin(proxies: &[&Proxy], way: fn(usize) -> Way) -> (Arc<AtomicBool>, thread::JoinHandle<Seen>) {
    let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.address).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let more = move |_| !stopped.load(Ordering::SeqCst);
    (stop, thread::spawn(move || block_on(load(&addresses, 64, way, more))))
}

fn is_ready(proxy: &Proxy) -> bool {
    get(proxy, "/readyz").status == 200
}

#[test]
fn a_limit_per_minute_is_one_limit_for_two_proxies() {
    const LIMIT: u64 = 20;
    if !server::is_installed() {
        return;
    }
    let _alone = alone();
    let server = Server::start();
    let config =
        config(&store(&server, ", timeout: 10s"), &format!("limits: {{ requests: {LIMIT}/minute }}"));
    let proxies = [(); 2].map(|()| Proxy::at(file(&config)));
    let begun = Instant::now();

    let seen =
        block_on(load(&proxies.each_ref().map(|proxy| proxy.address), 200, |_| Way::Whole, |n| n < 1_000));

    let (passed, took) = (seen.granted(), begun.elapsed());
    println!("{passed} of 1000 requests to two proxies passed a limit of {LIMIT} per minute in {took:.1?}");
    let given_back = took.as_secs() * LIMIT / 60 + 1;
    assert!((LIMIT - 1..=LIMIT + given_back).contains(&passed), "{seen:?}");
    assert_eq!(Seen::of(&seen.refused) + passed, 1_000, "{seen:?}");
}

#[test]
fn whatever_was_answered_before_a_kill_is_in_the_spend_of_all() {
    if server::is_installed() {
        a_proxy_is_killed(&Server::start());
    }
    if postgres::is_installed() {
        a_proxy_is_killed(&postgres::Server::start());
    }
}

fn a_proxy_is_killed(server: &dyn Shared) {
    let _alone = alone();
    let (cost, worst) = cost();
    let config = config(&server.store(", lease: 2s"), BUDGET);
    let [mut killed, other] = [(); 2].map(|()| Proxy::at(file(&config)));
    let stream_or_whole = |number| if number % 2 == 0 { Way::Whole } else { Way::Stream };
    let (stop, clients) = begin(&[&killed, &other], stream_or_whole);

    thread::sleep(Duration::from_secs(1));
    killed.signal("KILL");
    killed.ended(Duration::from_secs(5)).expect("the proxy is killed");
    let again = Proxy::at(killed.file.clone());
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::SeqCst);
    let seen = clients.join().unwrap();

    let spent = spent(&other).0;
    let lost = || {
        let gone = |proxy: &Proxy| proxy.log().matches("the node of a hold is gone").count();
        let lost = (gone(&other) + gone(&again)) as u64;
        // A line comes later than the charge.
        (lost > 0 && (spent - lost * worst.0).is_multiple_of(cost.0)).then_some(lost)
    };
    let lost = eventually(Duration::from_secs(5), lost).expect("the charges of a dead node are whole");
    let charged = (spent - lost * worst.0) / cost.0 + lost;
    let (asked, whole) = (Seen::of(&seen.asked), Seen::of(&seen.whole));
    println!(
        "{whole} of {asked} requests were answered to the end before and after a kill; {} are charged as they were \
         used, {lost} as they were held",
        charged - lost
    );
    assert!(whole <= charged && charged <= asked, "{charged} {seen:?}");
    assert!(Seen::of(&seen.broken) > 0, "the proxy was not killed at work: {seen:?}");
    assert_eq!(crate::spent(&again), NanoUsd(spent));
}

#[test]
fn the_books_are_right_after_the_store_died_under_load() {
    if server::is_installed() {
        the_store_dies("redis", &mut Server::start_durable());
    }
    if postgres::is_installed() {
        the_store_dies("postgres", &mut postgres::Server::start());
    }
}

fn the_store_dies(name: &str, server: &mut dyn Shared) {
    let _alone = alone();
    let config = config(&server.store(", lease: 30s"), BUDGET);
    let proxies = [(); 2].map(|()| Proxy::at(file(&config)));
    let (stop, clients) = begin(&proxies.each_ref(), mixed);

    thread::sleep(Duration::from_secs(1));
    server.kill();
    let told = eventually(Duration::from_secs(3), || (!is_ready(&proxies[0])).then_some(()));
    thread::sleep(Duration::from_secs(1));
    server.run();
    let back = Instant::now();
    let ready = eventually(Duration::from_secs(5), || proxies.iter().all(is_ready).then_some(back.elapsed()));
    thread::sleep(Duration::from_secs(1));
    stop.store(true, Ordering::SeqCst);
    let seen = clients.join().unwrap();

    let spent = spent(&proxies[0]);
    are_recorded(&proxies, spent);
    println!(
        "{name} died under load: {} requests were granted, {} refused while it was away, ${spent} is spent and recorded; \
         ready again after {:.1?}",
        seen.granted(),
        Seen::of(&seen.away),
        ready.expect("it is ready again"),
    );
    assert!(told.is_some(), "it never said that it is not ready");
    assert!(seen.granted() > 0 && Seen::of(&seen.away) > 0, "{seen:?}");
    assert_eq!(Seen::of(&seen.broken) + Seen::of(&seen.refused), 0, "{seen:?}");
}

#[test]
fn gateways_that_go_on_without_their_store_tell_it_all_later() {
    if server::is_installed() {
        the_store_is_not_missed("redis", &mut Server::start_durable());
    }
    if postgres::is_installed() {
        the_store_is_not_missed("postgres", &mut postgres::Server::start());
    }
}

fn the_store_is_not_missed(name: &str, server: &mut dyn Shared) {
    let _alone = alone();
    let text = config(&server.store(", lease: 30s"), BUDGET);
    let config = format!("{text}store_away: {{ budgets: allow }}\n");
    let proxies = [(); 2].map(|()| Proxy::at(file(&config)));
    let (stop, clients) = begin(&proxies.each_ref(), mixed);

    thread::sleep(Duration::from_secs(1));
    server.kill();
    thread::sleep(Duration::from_secs(2));
    let is_ready = proxies.iter().all(is_ready);
    stop.store(true, Ordering::SeqCst);
    let seen = clients.join().unwrap();
    // What is served while there is no store at all.
    let alone = block_on(load(&proxies.each_ref().map(|proxy| proxy.address), 64, mixed, |n| n < 500));
    server.run();

    let back = Instant::now();
    let recorded = || crate::recorded(&proxies);
    let is_told = || (crate::standing(&proxies[0]) == Some((recorded(), NanoUsd(0)))).then(|| back.elapsed());
    let told = eventually(Duration::from_secs(60), is_told);
    println!(
        "{name} died under load and was not missed: {} requests were granted meanwhile and {} after that, {} were \
         not; ${} is spent and recorded, {told:.1?} after it was back",
        seen.granted(),
        alone.granted(),
        Seen::of(&seen.away),
        recorded(),
    );
    assert!(told.is_some(), "{} is recorded, {:?} spent and held", recorded(), crate::standing(&proxies[0]));
    assert!(is_ready && seen.granted() > 0, "{seen:?}");
    assert_eq!((alone.granted(), Seen::of(&alone.away)), (500, 0), "{alone:?}");
    assert_eq!(Seen::of(&seen.broken) + Seen::of(&seen.refused), 0, "{seen:?}");
}

#[test]
fn a_proxy_starts_without_redis_and_says_so() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start();
    server.kill();
    let text = config(&store(&server, ", prefix: own"), BUDGET);
    let refusing = Proxy::start(&text);
    let allowing = Proxy::start(&format!("{text}store_away: {{ budgets: allow }}\n"));
    let ask = |proxy: &Proxy| {
        let seen = block_on(load(&[proxy.address], 1, |_| Way::Whole, |number| number < 1));
        (seen.granted(), Seen::of(&seen.away))
    };

    assert_eq!((is_ready(&refusing), ask(&refusing)), (false, (0, 1)));
    assert_eq!((is_ready(&allowing), ask(&allowing)), (true, (1, 0)));
    assert!(refusing.log().contains("until it answers, requests that it counts are refused"));
    assert!(allowing.log().contains("until it answers, each gateway counts by itself"));
    assert!(refusing.greeting.contains("budgets        in redis, under {own}"), "{}", refusing.greeting);

    server.run();
    let both = || (is_ready(&refusing) && ask(&refusing) == (1, 0)).then_some(());
    eventually(Duration::from_secs(5), both).expect("it finds redis");
    // One request of each: that which was served without redis is counted too.
    let cost = cost().0;
    let is_told = || (spent(&refusing) == NanoUsd(2 * cost.0)).then_some(());
    assert!(eventually(Duration::from_secs(5), is_told).is_some(), "{} is spent", spent(&refusing));
}

const ADMIN: &str = "the-key-of-the-administrators";

/// Runs a command of the program against a proxy, and gives the first line that it prints.
fn administer(proxy: &Proxy, arguments: &[&str]) -> String {
    let mut command = command();
    command.env("BARTIZAN_ADMIN_KEY", ADMIN).env("BARTIZAN_URL", format!("http://{}", proxy.address));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap_or_default().to_owned()
}

fn status(proxy: &Proxy, key: &str) -> u16 {
    exchange(proxy.connect(), chat("chat", false, "Hello!").replace(KEY, key)).status
}

#[test]
fn a_key_that_is_set_on_one_proxy_is_in_force_on_all_within_two_seconds() {
    if !server::is_installed() {
        return;
    }
    let mut server = Server::start_durable();
    let text = format!("{}admin: {{ key: {ADMIN} }}\n", config(&store(&server, ""), BUDGET));
    let [one, other] = [(); 2].map(|()| Proxy::start(&text));
    let becomes = |proxy: &Proxy, key: &str, expected| {
        let begun = Instant::now();
        let is_so = || (status(proxy, key) == expected).then(|| begun.elapsed());
        eventually(Duration::from_secs(10), is_so).expect("it is heard of")
    };

    let key = administer(&one, &["keys", "create", "--name", "made", "--budget", "5usd/month"]);
    assert_eq!(status(&one, &key), 200);
    let made = becomes(&other, &key, 200);
    administer(&other, &["keys", "disable", "made"]);
    let disabled = becomes(&one, &key, 401);
    println!("a key was in force on another proxy after {made:.1?}, and out of force after {disabled:.1?}");
    assert!(made < Duration::from_secs(2) && disabled < Duration::from_secs(2), "{made:?} {disabled:?}");

    administer(&other, &["keys", "enable", "made"]);
    server.kill();
    let late = Proxy::start(&text);
    assert_eq!([status(&late, KEY), status(&late, &key)], [500, 401]);
    server.run();
    becomes(&late, &key, 200);
    becomes(&late, KEY, 200);
}

#[test]
fn a_proxy_that_is_stopped_leaves_nothing_held() {
    if !server::is_installed() {
        return;
    }
    let _alone = alone();
    let server = Server::start();
    let config = config(&store(&server, ""), BUDGET);
    let [mut stopped, other] = [(); 2].map(|()| Proxy::at(file(&config)));
    let (stop, clients) = begin(&[&stopped], |_| Way::Stream);

    thread::sleep(Duration::from_millis(700));
    stop.store(true, Ordering::SeqCst);
    stopped.signal("TERM");
    assert!(stopped.ended(Duration::from_secs(10)).expect("it ends").success());
    let seen = clients.join().unwrap();

    assert!(!stopped.log().contains("is charged as it was held"), "{}", stopped.log());
    let (used, held) = crate::standing(&other).unwrap();
    assert_eq!((used.0, held.0), (cost().0.0 * seen.granted(), 0), "{seen:?} {}", stopped.log());
    assert!(seen.granted() > 0);
}
