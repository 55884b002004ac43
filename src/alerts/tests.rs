use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::*;
use crate::{
    Error, Exchange, Payload, Target,
    auth::VirtualKey,
    budget::{BudgetLayer, Prices},
    exchange::Outcome,
    ledger::{Measure, MemoryLedger, Period, Quota, Scope},
    lock,
    price::{NanoUsd, Rates},
    provider_budget::ProviderBudgetLayer,
    testing::{MustBeReady, ask, is_shared},
    tokens::Tokens,
};

/// Remembers what it is told.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Arc<Alert>>>);

impl Tell for Kept {
    fn tell(&self, alert: &Arc<Alert>) {
        lock(&self.0).push(alert.clone());
    }
}

impl Kept {
    /// The thresholds that were told since the last call, with their accounts and percentages.
    fn thresholds(&self) -> Vec<(String, u16, u64)> {
        let of = |alert: Arc<Alert>| match &alert.what {
            What::Threshold(crossed) => {
                (crossed.scope.account.to_string(), crossed.threshold, crossed.percent())
            }
            other => panic!("{other:?}"),
        };
        std::mem::take(&mut *lock(&self.0)).into_iter().map(of).collect()
    }
}

#[derive(Debug)]
struct OneDollar;

impl Prices for OneDollar {
    fn worst_case(&self, _: &Payload) -> Option<NanoUsd> {
        Some(NanoUsd::from_usd(1))
    }
}

/// Answers, and costs so many cents.
async fn cents(req: Request<Payload>, cents: u64) -> Result<http::Response<Full<bytes::Bytes>>, Error> {
    let price = Rates::flat(NanoUsd(10_000_000 * 1_000_000), NanoUsd::default());
    let target = Arc::new(Target::new("p", "m").price(Some(price.into())));
    let attempt = Exchange::of(&req).begin(&target);
    attempt.report(Tokens { input: cents, ..Tokens::default() });
    attempt.finish(Outcome::Answered);
    Ok(http::Response::new(Full::from("answer")))
}

struct Gateway {
    ledger: Arc<MemoryLedger>,
    alerts: Alerts,
    kept: Arc<Kept>,
}

impl Gateway {
    fn new(ledger: Arc<MemoryLedger>, settings: Settings) -> Self {
        let kept = Arc::new(Kept::default());
        let (alerts, task) = Alerts::new(ledger.clone(), settings.tell(kept.clone()));
        tokio::spawn(task);
        Self { ledger, alerts, kept }
    }

    /// Asks with a key, for so many cents.
    async fn ask(&self, key: VirtualKey, spent: u64) -> Result<(), Error> {
        let budget = BudgetLayer::new(self.ledger.clone(), Arc::new(OneDollar));
        let service = budget.layer(MustBeReady::new(move |req| cents(req, spent)));
        let service = AlertsLayer::new(self.alerts.clone()).layer(service);
        is_shared(&service);
        let answer = service.oneshot(ask("m", Some(key))).await?;
        answer.into_body().collect().await.unwrap();
        Ok(())
    }
}

fn key() -> VirtualKey {
    VirtualKey::new("a").quota(Quota::usd(NanoUsd::from_usd(10), Period::Month))
}

fn told(threshold: u16, percent: u64) -> Vec<(String, u16, u64)> {
    vec![("key:a".to_owned(), threshold, percent)]
}

const SECONDS: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn each_threshold_is_told_once_and_the_highest_of_several() {
    let gateway = Gateway::new(Arc::default(), Settings::default());

    for (spent, expected) in
        [(490, vec![]), (10, told(50, 50)), (50, vec![]), (200, vec![]), (100, told(80, 85)), (100, vec![])]
    {
        gateway.ask(key(), spent).await.unwrap();
        sleep(SECONDS).await;
        assert_eq!(gateway.kept.thresholds(), expected, "{spent}");
    }
    let other = VirtualKey::new("b").quota(Quota::usd(NanoUsd::from_usd(1), Period::Month));
    gateway.ask(other, 100).await.unwrap();
    sleep(SECONDS).await;
    assert_eq!(gateway.kept.thresholds(), [("key:b".to_owned(), 100, 100)]);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_is_told_when_what_is_left_does_not_suffice() {
    let gateway = Gateway::new(Arc::default(), Settings::default());
    gateway.ask(key(), 950).await.unwrap();
    sleep(SECONDS).await;
    assert_eq!(gateway.kept.thresholds(), told(80, 95));

    gateway.ask(key(), 1).await.unwrap_err();
    gateway.ask(key(), 1).await.unwrap_err();
    sleep(SECONDS).await;

    assert_eq!(gateway.kept.thresholds(), told(100, 95));
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_too_large_tells_nothing_of_a_budget_that_is_not_used() {
    let gateway = Gateway::new(Arc::default(), Settings::default());
    let small = VirtualKey::new("a").quota(Quota::usd(NanoUsd(10_000_000), Period::Month));

    gateway.ask(small, 1).await.unwrap_err();
    sleep(SECONDS).await;

    assert_eq!(gateway.kept.thresholds(), []);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_share_a_ledger_tell_once_and_again_in_the_next_period() {
    let now = Arc::new(Mutex::new(std::time::SystemTime::now()));
    let clock = now.clone();
    let ledger = Arc::new(MemoryLedger::with_clock(move || *lock(&clock)));
    let nodes = [(); 2].map(|()| Gateway::new(ledger.clone(), Settings::default()));
    let count = |nodes: &[Gateway; 2]| nodes.iter().map(|node| node.kept.thresholds().len()).sum::<usize>();

    for node in &nodes {
        node.ask(key(), 300).await.unwrap();
    }
    sleep(SECONDS).await;
    assert_eq!(count(&nodes), 1);

    *lock(&now) += Duration::from_secs(40 * 86_400);
    for node in &nodes {
        node.ask(key(), 300).await.unwrap();
    }
    sleep(SECONDS).await;
    assert_eq!(count(&nodes), 1);
}

#[tokio::test(start_paused = true)]
async fn a_quota_may_have_thresholds_of_its_own_or_none() {
    let gateway = Gateway::new(Arc::default(), Settings::default());
    let quota = Quota::usd(NanoUsd::from_usd(10), Period::Rolling(86_400));
    let with = |at: &[u16]| {
        let mut key = VirtualKey::new("a");
        key.scopes = vec![Scope { alert_at: Some(at.into()), ..Scope::new("key:a", quota) }];
        key
    };

    gateway.ask(with(&[]), 600).await.unwrap();
    sleep(SECONDS).await;
    assert_eq!(gateway.kept.thresholds(), []);
    gateway.ask(with(&[10, 60]), 1).await.unwrap();
    sleep(SECONDS).await;
    assert_eq!(gateway.kept.thresholds(), told(60, 60));
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_provider_is_told_of_too() {
    let gateway = Gateway::new(Arc::default(), Settings::default());
    let quota = Quota::usd(NanoUsd::from_usd(1), Period::Day);
    let target = Arc::new(Target::new("p", "m").price(Some(Rates::flat(NanoUsd(1), NanoUsd(1)).into())));
    let provider =
        ProviderBudgetLayer::new(gateway.ledger.clone(), target, [Scope::new("provider:p", quota)]);
    let service = provider.layer(MustBeReady::new(|req| cents(req, 60)));
    let service = AlertsLayer::new(gateway.alerts.clone()).layer(service);

    let answer = service.oneshot(ask("m", Some(VirtualKey::new("a")))).await.unwrap();
    answer.into_body().collect().await.unwrap();
    sleep(SECONDS).await;

    assert_eq!(gateway.kept.thresholds(), [("provider:p".to_owned(), 50, 60)]);
}

#[tokio::test(start_paused = true)]
async fn limits_by_the_minute_are_nobodys_business() {
    let gateway = Gateway::new(Arc::default(), Settings::default());
    let key = VirtualKey::new("a")
        .quota(Quota::new(Measure::Requests, 1, Period::Minute))
        .quota(Quota::concurrent(1));

    gateway.ask(key, 1).await.unwrap();
    sleep(SECONDS).await;

    assert_eq!(gateway.kept.thresholds(), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_last_is_told_when_nobody_notes_any_more() {
    let Gateway { alerts, ledger, .. } = Gateway::new(Arc::default(), Settings::default());
    drop(alerts);
    let kept = Arc::new(Kept::default());
    let (alerts, task) = Alerts::new(ledger.clone(), Settings::default().tell(kept.clone()));
    let gateway = Gateway { ledger, alerts, kept };

    gateway.ask(key(), 500).await.unwrap();
    let kept = gateway.kept.clone();
    drop(gateway);
    task.await;

    assert_eq!(kept.thresholds(), told(50, 50));
}

#[tokio::test(start_paused = true)]
async fn unusual_spend_is_told_of_every_account_by_one_node() {
    let hour = Duration::from_secs(3_600);
    let unusual = Unusual::new(5, hour / 12, hour * 24);
    let settings = Settings::default().at([]).velocity(unusual.at_least(NanoUsd::from_usd(1)));
    let gateway = Gateway::new(Arc::default(), settings.clone());
    let key = || VirtualKey::new("a").scope(Scope::counted("team:b"));
    // Another node of the same ledger sees as much.
    let other = Gateway::new(gateway.ledger.clone(), settings);
    gateway.ask(key(), 1).await.unwrap();
    other.ask(key(), 1).await.unwrap();
    sleep(hour).await;

    gateway.ask(key(), 200).await.unwrap();
    sleep(SECONDS).await;
    other.ask(key(), 200).await.unwrap();
    sleep(SECONDS).await;

    assert!(lock(&other.kept.0).is_empty());
    let alerts = lock(&gateway.kept.0);
    let texts: Vec<String> = alerts.iter().map(|alert| alert.text()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("key:a has spent 2 usd in 5m, where 0.0009"), "{texts:?}");
    assert!(texts[1].starts_with("team:b has spent 2 usd in 5m"), "{texts:?}");
}
