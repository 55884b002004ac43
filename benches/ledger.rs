//! What the ledgers can do: `cargo bench --bench ledger`, with the names of cases behind it, or all of them.
//!
//! `memory` looks a key up by its digest and holds money, requests and tokens on it, its team and the
//! gateway, with 10,000 keys in 1,000 teams. `checks` is all that a request of them passes before it is let in: its key
//! in the header, hashed and looked up, the rates of the key, its team and the gateway, and the reservation of money and
//! tokens on all three; it has to take 3 µs at the most. `sqlite` has 64 tasks that hold and settle on a key, its team and
//! the gateway, of 1,000 keys, and says how many settlements a second are in the file when the last one is.

#![allow(missing_docs)]

use std::{
    error::Error,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bartizan::{
    auth::{AuthLayer, Caller, KeyDigest, KeyStore, Lookup, MemoryKeys, VirtualKey},
    ledger::{Amounts, Ledger, Measure, MemoryLedger, Period, Quota, Scope, SqliteLedger, Ticket},
    price::NanoUsd,
    request_limit::RequestLimitLayer,
};
use futures_util::FutureExt;
use http::Request;
use tower::{Service, ServiceBuilder, service_fn};

const WORST: Amounts = Amounts { cost: NanoUsd(5_000), input: 1_000, output: 500 };
const ACTUAL: Amounts = Amounts { cost: NanoUsd(2_000), input: 900, output: 100 };
const TASKS: u64 = 64;
/// Settlements of each task.
const EACH: u64 = 5_000;

/// What lookup, limits and reservation may take together.
const MOST: Duration = Duration::from_micros(3);

fn main() -> Result<(), Box<dyn Error>> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |case: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == case);
    if is_wanted("memory") {
        memory();
    }
    if is_wanted("checks") {
        checks()?;
    }
    if is_wanted("sqlite") {
        sqlite()?;
    }
    Ok(())
}

fn memory() {
    let accounts = accounts(1_000);
    let keys: Vec<_> = (0..10_000).map(|number| key(number, &accounts)).collect();
    let digests: Vec<_> = keys.iter().map(|key| KeyDigest::of(&*key.name)).collect();
    let store = MemoryKeys::from_iter(digests.iter().copied().zip(keys));
    let ledger = MemoryLedger::default();
    let (mut held, mut settled) = (Vec::new(), Vec::new());
    // The first round makes the accounts.
    for round in 0..20 {
        for index in 0..digests.len() {
            let digest = &digests[index * 7_919 % digests.len()];
            let begin = Instant::now();
            let Lookup::Known(Some(key)) = store.find(black_box(digest)) else { continue };
            let Some(Ok(ticket)) = ledger.try_reserve(&key.scopes, black_box(WORST)) else { continue };
            let after = Instant::now();
            ledger.settle(ticket, ACTUAL);
            if round > 0 {
                held.push(after - begin);
                settled.push(after.elapsed());
            }
        }
    }
    println!("memory: {} requests, 10,000 keys, 1,000 teams, 9 quotas each", held.len());
    println!("memory: key and reservation {:?}, settlement {:?}", median(held), median(settled));
}

/// What stands between a request's head and its way to a provider, beside reading its body.
fn checks() -> Result<(), Box<dyn Error>> {
    let accounts = accounts(1_000);
    let keys: Vec<_> = (0..10_000).map(|number| rated(number, &accounts)).collect();
    let digests = keys.iter().map(|key| KeyDigest::of(&*key.name));
    let store = Arc::new(MemoryKeys::from_iter(digests.zip(keys.iter().cloned())));
    let ledger = Arc::new(MemoryLedger::default());
    let held = ledger.clone();
    let mut gate = ServiceBuilder::new()
        .layer(AuthLayer::new(store))
        .layer(RequestLimitLayer::new())
        .service(service_fn(move |req: Request<()>| {
            let reserved = Caller::of(&req)
                .and_then(|caller| held.try_reserve(&caller.scopes_for("m"), WORST).transpose())
                .map(Option::<Ticket>::unwrap);
            std::future::ready(reserved)
        }));
    let mut took = Vec::new();
    for round in 0..20 {
        for index in 0..keys.len() {
            let name = &keys[index * 7_919 % keys.len()].name;
            let req = Request::post("/").header("authorization", format!("Bearer {name}")).body(())?;
            let begin = Instant::now();
            let ticket = gate.call(black_box(req)).now_or_never().ok_or("memory doesn't wait")??;
            if round > 0 {
                took.push(begin.elapsed());
            }
            ledger.settle(ticket, ACTUAL);
        }
    }
    let requests = took.len();
    took.sort_unstable();
    let slowest = took.get(requests * 99 / 100).copied().unwrap_or_default();
    let median = median(took);
    let verdict = if median <= MOST { "within" } else { "MORE THAN" };
    println!("checks: {requests} requests, 10,000 keys, 1,000 teams, 3 rates and 6 quotas each");
    println!("checks: key, limits and reservation {median:?} (99 %: {slowest:?}), {verdict} {MOST:?}");
    Ok(())
}

/// A key with rates, and quotas of money and tokens, on itself, on its team and on the gateway.
fn rated(number: usize, accounts: &[Arc<str>]) -> VirtualKey {
    let mut key = key(number, accounts);
    let of_requests = |scope: &Scope| scope.quota.is_some_and(|quota| quota.measure == Measure::Requests);
    let requests = key.scopes.iter().filter(|scope| of_requests(scope));
    let rate = "1000000000/minute".parse().expect("a rate");
    key.rates = requests.map(|scope| (scope.account.clone(), rate)).collect();
    key.scopes.retain(|scope| !of_requests(scope));
    key
}

/// What other programs take of the core is not counted.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Those of the gateway and its teams; a configuration has the name of each once, too.
fn accounts(teams: usize) -> Vec<Arc<str>> {
    std::iter::once("gateway".into()).chain((0..teams).map(|team| format!("team:{team}").into())).collect()
}

/// A key with quotas of money, requests and tokens on itself, on its team and on the gateway.
fn key(number: usize, accounts: &[Arc<str>]) -> VirtualKey {
    let quotas = [
        Quota::usd(NanoUsd::from_usd(1_000_000), Period::Month),
        Quota::new(Measure::Requests, 1_000_000_000, Period::Minute),
        Quota::new(Measure::Tokens, 1_000_000_000_000, Period::Minute),
    ];
    let key = quotas.iter().fold(VirtualKey::new(&format!("key-{number}")), |key, quota| key.quota(*quota));
    let (gateway, teams) = accounts.split_first().expect("the gateway has an account");
    [&teams[number % teams.len()], gateway]
        .into_iter()
        .flat_map(|account| quotas.map(|quota| (account, quota)))
        .fold(key, |key, (account, quota)| key.scope(Scope::new(account.clone(), quota)))
}

fn sqlite() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("bartizan-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let file = directory.join("ledger.db");
    let took = tokio::runtime::Runtime::new()?.block_on(settle(Arc::new(SqliteLedger::open(&file)?)))?;

    let spent = SqliteLedger::open(&file)?.balance("gateway", Measure::Usd, Period::Month);
    let expected = TASKS * EACH * ACTUAL.cost.0;
    if spent.map(|balance| balance.posted) != Some(expected) {
        return Err(format!("spent {expected}, and the file has {spent:?}").into());
    }
    let rate = (TASKS * EACH) as f64 / took.as_secs_f64();
    println!("sqlite: {} settlements of 3 accounts, {TASKS} at a time: {rate:.0} per second", TASKS * EACH);
    Ok(std::fs::remove_dir_all(directory)?)
}

async fn settle(ledger: Arc<SqliteLedger>) -> Result<Duration, Box<dyn Error>> {
    let budget = Quota::usd(NanoUsd::from_usd(1_000_000), Period::Month);
    let begin = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let key = (task * EACH + number) * 7_919 % 1_000;
                    let scopes = [format!("key:{key}"), format!("team:{}", key % 50), "gateway".to_owned()]
                        .map(|account| Scope::new(account, budget));
                    let ticket = ledger.reserve(&scopes, WORST).await?;
                    ledger.settle(ticket, ACTUAL);
                }
                Ok::<_, bartizan::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    ledger.written().await?;
    Ok(begin.elapsed())
}
