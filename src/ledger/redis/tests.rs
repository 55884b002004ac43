//! What the public side can't reach: clients whose clocks are wrong while the server's counts, answers that
//! are lost. The rest is in `tests/redis`.

use std::time::{Duration, SystemTime};

use super::*;
use crate::{
    breaker::{Board, Notice},
    ledger::Quota,
    price::NanoUsd,
};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/redis/server.rs"]
mod server;

use server::Server;

const DAY: Duration = Duration::from_secs(86_400);

fn scopes() -> [Scope; 1] {
    [Scope::new("key:a", Quota::usd(NanoUsd(100), Period::Day))]
}

async fn reserve(ledger: &RedisLedger, id: HoldId, amount: u64, now: SystemTime) -> Option<Reserved> {
    let holds = wire::holds(&scopes(), NanoUsd(amount).into());
    let call =
        wire::reserve(&ledger.shared.keys, id, &scopes(), &holds, (now, None), ledger.shared.options.lease);
    wire::reserved(ledger.shared.ask(&call).await.unwrap(), id, &scopes(), holds)
}

fn ledger(server: &Server) -> RedisLedger {
    let (ledger, worker) = RedisLedger::connect(RedisOptions::new(server.url())).unwrap();
    tokio::spawn(worker);
    ledger
}

#[tokio::test]
async fn the_window_is_that_of_the_server_whatever_the_client_believes() {
    if !server::is_installed() {
        return;
    }
    let (server, now) = (Server::start(), SystemTime::now());
    let ledger = ledger(&server);
    let today = Period::Day.window(now).0;

    for (number, believed) in [now - DAY, now, now + DAY].into_iter().enumerate() {
        let id = HoldId { node: 1, number: number as u64 };
        let Some(Reserved::Granted(ticket)) = reserve(&ledger, id, 10, believed).await else { panic!() };
        assert_eq!(ticket.holds[0].window, today);
    }

    let balance = ledger.balance("key:a", Measure::Usd, Period::Day).await.unwrap();
    assert_eq!(balance, Some(Balance { posted: 0, held: 30, window: today }));
}

#[tokio::test]
async fn a_reservation_that_is_sent_twice_holds_once() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let ledger = ledger(&server);
    let id = HoldId { node: 1, number: 1 };

    for _ in 0..3 {
        let answer = reserve(&ledger, id, 60, SystemTime::now()).await;
        assert!(matches!(answer, Some(Reserved::Granted(_))));
    }

    let balance = ledger.balance("key:a", Measure::Usd, Period::Day).await.unwrap();
    assert_eq!(balance.map(|balance| balance.held), Some(60));
}

#[tokio::test]
async fn a_reservation_that_comes_after_it_was_cancelled_holds_nothing() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let ledger = ledger(&server);
    let id = HoldId { node: 1, number: 1 };
    let errand = Errand::new(id, Deed::Cancel, wire::holds(&scopes(), NanoUsd(60).into()));

    ledger.shared.ask(&errand.call(&ledger.shared.keys)).await.unwrap();

    assert!(matches!(reserve(&ledger, id, 60, SystemTime::now()).await, Some(Reserved::Gone)));
    assert_eq!(ledger.balance("key:a", Measure::Usd, Period::Day).await.unwrap(), None);
}

#[tokio::test]
async fn where_nothing_more_is_kept_what_was_taken_up_unheard_is_charged_as_it_was_held() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let ledger = ledger(&server);
    let keys = &ledger.shared.keys;
    let ticket = ledger.reserve(&scopes(), NanoUsd(60).into()).await.unwrap();
    ledger.keep(ticket, "job");
    let taken_up = async || {
        let id = ledger.next();
        let call = Call::new(&RESUME)
            .key(keys.nodes())
            .key(keys.holds(id.node))
            .key(keys.mark(id))
            .key(keys.kept())
            .arg(id.node)
            .arg(id.number)
            .arg(30_000)
            .arg("job");
        let answer: Option<String> = from_redis_value(ledger.shared.ask(&call).await.unwrap()).unwrap();
        answer.map(|_| id)
    };
    // Nobody hears of it.
    let id = loop {
        if let Some(id) = taken_up().await {
            break id;
        }
    };
    let mut fill = redis::cmd("EVAL");
    fill.arg("for i = 1, 100000 do redis.call('HSET', KEYS[1], i, '[]') end")
        .arg(1)
        .arg(keys.kept().to_string());
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    fill.exec(&mut connection).unwrap();

    ledger.queue.send(Errand::new(id, Deed::Keep { name: "job".into() }, Vec::new())).unwrap();

    let balance = loop {
        let balance = ledger.balance("key:a", Measure::Usd, Period::Day).await.unwrap().unwrap();
        if balance.held == 0 {
            break balance;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(balance.posted, 60);
    assert!(ledger.resume("job").await.unwrap().is_none());
}

#[tokio::test]
async fn what_one_gateway_notes_of_a_target_all_of_them_read() {
    if !server::is_installed() {
        return;
    }
    let server = Server::start();
    let (one, other) = (ledger(&server).board(), ledger(&server).board());
    let notice = |seconds| Notice {
        target: "a/b c".into(),
        open_for: Duration::from_secs(seconds),
        why: Kind::RateLimited,
    };

    assert_eq!(one.exchange(&[]).await.unwrap(), []);
    one.exchange(&[notice(60)]).await.unwrap();
    let open = other.exchange(&[]).await.unwrap();
    let closed = other.exchange(&[notice(0)]).await.unwrap();

    assert_eq!((&*open[0].target, open[0].why, open.len()), ("a/b c", Kind::RateLimited, 1));
    assert!((58..=60).contains(&open[0].open_for.as_secs()), "{open:?}");
    assert_eq!(closed, [notice(0)]);
    assert_eq!(one.exchange(&[]).await.unwrap(), [notice(0)]);
}
