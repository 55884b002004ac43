use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::HealthTells;
use crate::{
    Kind,
    breaker::{Breaker, Standing},
    sign::{KeyPool, KeyStanding},
};

/// How the targets of a configuration stand: what `/health` tells. Clones are the same.
///
/// It is looked at and nobody is asked, so that it costs as little when everything is down. It has no address, no key
/// and nothing that a provider or a client has said.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    known: Arc<ArcSwap<Vec<Known>>>,
}

/// A target, and who knows how it stands.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) breaker: Breaker,
    pub(super) pool: Option<KeyPool>,
}

/// How all of them stand.
#[derive(Debug, Serialize)]
struct Report {
    status: &'static str,
    answering: usize,
    passed_over: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<Target>>,
}

/// How one of them stands.
#[derive(Debug, Serialize)]
struct Target {
    target: Box<str>,
    state: &'static str,
    since: Option<String>,
    /// The class of the last failure, which may be long ago.
    last_failure: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over_for_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
}

/// How one of several keys of its provider stands.
#[derive(Debug, Serialize)]
struct Key {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_for_seconds: Option<u64>,
}

impl Standings {
    pub(super) fn replace(&self, known: Vec<Known>) {
        self.known.store(Arc::new(known));
    }

    /// As a JSON object: `status` is `ok`, `degraded` if a target is passed over, and `failing` if all are.
    pub fn json(&self, tells: HealthTells) -> String {
        let targets: Vec<_> = self.known.load().iter().map(target).collect();
        let answering = targets.iter().filter(|target| is_asked(target)).count();
        let status = match (answering, targets.len()) {
            (answering, all) if answering == all => "ok",
            (0, _) => "failing",
            _ => "degraded",
        };
        let passed_over = targets.len() - answering;
        let targets = (tells == HealthTells::Targets).then_some(targets);
        let report = Report { status, answering, passed_over, targets };
        serde_json::to_string(&report).unwrap_or_default()
    }
}

fn is_asked(target: &Target) -> bool {
    matches!(target.state, "answering" | "recovering")
}

fn target(known: &Known) -> Target {
    let Standing { open_for, last_failure, lasts, share, .. } = known.breaker.standing();
    let keys: Vec<_> = known.pool.iter().flat_map(KeyPool::standings).collect();
    let without_key = keys.iter().map(|key| key.out_for).min().flatten();
    let state = match open_for {
        Some(Duration::ZERO) => "probing",
        Some(_) => "passed_over",
        None if without_key.is_some() => "without_key",
        None if share.is_some() => "recovering",
        None => "answering",
    };
    Target {
        target: known.breaker.name().into(),
        state,
        since: SystemTime::now().checked_sub(lasts).and_then(written),
        last_failure,
        passed_over_for_seconds: open_for.or(without_key).map(seconds),
        share: share.map(|share| (share * 100.0).round() / 100.0),
        keys: keys.iter().map(key).collect(),
    }
}

fn key(standing: &KeyStanding) -> Key {
    let KeyStanding { out_for, why, .. } = *standing;
    let state = if out_for.is_some() { "out" } else { "in" };
    Key { state, why: why.filter(|_| out_for.is_some()), out_for_seconds: out_for.map(seconds) }
}

/// Whole ones, so that something that is left isn't nothing.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn written(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use serde_json::{Value, json};
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Error,
        breaker::{BreakerLayer, Rules},
        config::{Builder, Config},
        testing::{MustBeReady, Script},
    };

    fn read(standings: &Standings, tells: HealthTells) -> Value {
        let mut report: Value = serde_json::from_str(&standings.json(tells)).unwrap();
        for target in report.get_mut("targets").and_then(Value::as_array_mut).into_iter().flatten() {
            assert!(target["since"].take().as_str().unwrap().ends_with('Z'));
        }
        report
    }

    #[tokio::test(start_paused = true)]
    async fn each_target_tells_how_it_stands_and_why() {
        let rules = Rules { in_a_row: 1, ..Rules::default() };
        let well = Known { breaker: Breaker::new("a/well", rules), pool: None };
        let failing = Known { breaker: Breaker::new("b/failing", rules), pool: None };
        let service =
            BreakerLayer::new(failing.breaker.clone()).layer(MustBeReady::new(async |_: Request<()>| {
                Err::<Response<Script>, _>(Error::new(Kind::Timeout, "https://secret.example is late"))
            }));
        let standings = Standings::default();
        standings.replace(vec![well, failing]);
        assert_eq!(
            read(&standings, HealthTells::Counts),
            json!({ "status": "ok", "answering": 2, "passed_over": 0 })
        );

        assert!(service.oneshot(Request::new(())).await.is_err());

        let expected = json!({ "status": "degraded", "answering": 1, "passed_over": 1, "targets": [
            { "target": "a/well", "state": "answering", "since": null, "last_failure": null },
            { "target": "b/failing", "state": "passed_over", "since": null, "last_failure": "timeout",
              "passed_over_for_seconds": 2 },
        ] });
        assert_eq!(read(&standings, HealthTells::Targets), expected);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(read(&standings, HealthTells::Targets)["targets"][1]["state"], "probing");
    }

    #[test]
    fn the_targets_are_those_of_the_configuration_that_is_in_force() {
        let mut builder = Builder::default();
        let standings = builder.standings();
        let mut build = |models: &str| {
            let text = format!(
                "auth: open\nproviders: {{ d: {{ kind: demo }}, o: {{ kind: openai, api_keys: [ {{ key: sk-hidden }} ] }} }}\n\
                 models: {models}"
            );
            builder.table(&Config::read(&text, "f", &|_| None).unwrap()).unwrap();
            standings.json(HealthTells::Targets)
        };

        let two =
            build("{ a: { targets: [ { use: d/x }, { use: o/y } ] }, b: { targets: [ { use: d/x } ] } }");
        let one = build("{ b: { targets: [ { use: d/z } ] } }");

        let two: Value = serde_json::from_str(&two).unwrap();
        assert_eq!(two["answering"], 2);
        assert_eq!(two["targets"][1]["keys"], json!([ { "state": "in" } ]));
        assert!(!two.to_string().contains("hidden"));
        assert!(one.contains("d/z") && !one.contains("d/x"), "{one}");
    }
}
