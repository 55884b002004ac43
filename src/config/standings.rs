use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::{HealthTells, breaker::Breakers};
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
    in_force: Arc<ArcSwap<InForce>>,
}

/// What is looked at while a configuration is in force.
#[derive(Debug, Default)]
struct InForce {
    /// The targets that it names, each once.
    known: Vec<Known>,
    /// Those that clients have named are among these.
    breakers: Breakers,
    /// The providers, with the keys of those that have several.
    pools: HashMap<Box<str>, Option<KeyPool>>,
}

/// So many targets are told of at most that the configuration doesn't name.
const MOST_OTHERS: usize = 100;

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
    /// Those that are asked; one that is limited is asked too, after the others.
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
    /// For how long it is asked after others.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_for_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
}

/// How one of several keys of its provider stands.
#[derive(Debug, Serialize)]
struct Key {
    name: Arc<str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_for_seconds: Option<u64>,
}

impl Standings {
    pub(super) fn replace(
        &self,
        known: Vec<Known>,
        breakers: Breakers,
        pools: HashMap<Box<str>, Option<KeyPool>>,
    ) {
        self.in_force.store(Arc::new(InForce { known, breakers, pools }));
    }

    /// Whether each target is asked: 0 it is, also where it is limited and others come before it, 1 it is tried, 2 it
    /// is passed over.
    #[cfg(feature = "metrics")]
    pub(super) fn states(&self) -> Vec<(String, f64)> {
        let state = |known: &Known| match target(known).state {
            "passed_over" | "without_key" => 2.0,
            "probing" => 1.0,
            _ => 0.0,
        };
        self.in_force
            .load()
            .known
            .iter()
            .map(|known| (known.breaker.name().to_owned(), state(known)))
            .collect()
    }

    /// The targets that are passed over at the moment, sorted; also those that the configuration doesn't name.
    pub fn passed_over(&self) -> Vec<Box<str>> {
        let breakers = self.in_force.load().breakers.all();
        let open = breakers.iter().filter(|breaker| breaker.standing().open_for.is_some());
        let mut names: Vec<Box<str>> = open.map(|breaker| breaker.name().into()).collect();
        names.sort_unstable();
        names
    }

    /// As a JSON object: `status` is `ok`, `degraded` if a target is passed over or limited, and `failing` if all are
    /// passed over.
    pub fn json(&self, tells: HealthTells) -> String {
        let in_force = self.in_force.load();
        let mut targets: Vec<_> = in_force.known.iter().map(target).collect();
        targets.extend(in_force.others());
        let answering = targets.iter().filter(|target| is_asked(target)).count();
        let status = match answering {
            _ if targets.iter().all(is_well) => "ok",
            0 => "failing",
            _ => "degraded",
        };
        let passed_over = targets.len() - answering;
        let targets = (tells == HealthTells::Targets).then_some(targets);
        let report = Report { status, answering, passed_over, targets };
        serde_json::to_string(&report).unwrap_or_default()
    }
}

impl InForce {
    /// The targets that were asked and aren't named: those that are passed over first, then those that are limited.
    fn others(&self) -> Vec<Target> {
        let named: HashSet<&str> = self.known.iter().map(|known| known.breaker.name()).collect();
        let asked = self.breakers.all().into_iter();
        let others = asked.filter(|breaker| breaker.was_asked() && !named.contains(breaker.name()));
        let of_provider = |breaker: Breaker| {
            let pool = self.pools.get(breaker.name().split_once('/')?.0)?.clone();
            Some(target(&Known { breaker, pool }))
        };
        let mut others: Vec<_> = others.filter_map(of_provider).collect();
        let place = |target: &Target| (is_asked(target), is_well(target));
        others
            .sort_by(|one, other| place(one).cmp(&place(other)).then_with(|| one.target.cmp(&other.target)));
        others.truncate(MOST_OTHERS);
        others
    }
}

fn is_asked(target: &Target) -> bool {
    is_well(target) || target.state == "limited"
}

fn is_well(target: &Target) -> bool {
    matches!(target.state, "answering" | "recovering")
}

fn target(known: &Known) -> Target {
    let Standing { open_for, limited_for, last_failure, lasts, share, .. } = known.breaker.standing();
    let keys: Vec<_> = known.pool.iter().flat_map(KeyPool::standings).collect();
    let without_key = keys.iter().map(|key| key.out_for).min().flatten();
    let state = match open_for {
        Some(Duration::ZERO) => "probing",
        Some(_) => "passed_over",
        None if without_key.is_some() => "without_key",
        None if limited_for.is_some() => "limited",
        None if share.is_some() => "recovering",
        None => "answering",
    };
    // Without a key it is since the last one went out, and for that one's reason.
    let last_out = keys.iter().filter(|_| state == "without_key").min_by_key(|key| key.taken_out);
    let (lasts, last_failure) =
        last_out.map_or((lasts, last_failure), |key| (key.taken_out.unwrap_or(lasts), key.why));
    Target {
        target: known.breaker.name().into(),
        state,
        since: SystemTime::now().checked_sub(lasts).and_then(written),
        last_failure,
        passed_over_for_seconds: open_for.or(without_key).map(seconds),
        limited_for_seconds: limited_for.filter(|_| state == "limited").map(seconds),
        share: share.map(|share| (share * 100.0).round() / 100.0),
        keys: keys.iter().map(key).collect(),
    }
}

fn key(standing: &KeyStanding) -> Key {
    let KeyStanding { name, out_for, why, .. } = standing;
    let (name, out_for) = (name.clone(), *out_for);
    let state = if out_for.is_some() { "out" } else { "in" };
    Key { name, state, why: why.filter(|_| out_for.is_some()), out_for_seconds: out_for.map(seconds) }
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
        standings.replace(vec![well, failing], Breakers::default(), HashMap::new());
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

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_limited_counts_as_asked() {
        let limited = Known { breaker: Breaker::new("a/limited", Rules::default()), pool: None };
        let service =
            BreakerLayer::new(limited.breaker.clone()).layer(MustBeReady::new(async |_: Request<()>| {
                let (status, headers) = (http::StatusCode::TOO_MANY_REQUESTS, http::HeaderMap::new());
                let reply =
                    crate::error::Reply { status, headers, body: "{}".into(), dialect: "openai-chat" };
                let error = Error::new(Kind::RateLimited, "slow down").with_reply(reply);
                Err::<Response<Script>, _>(error.with_retry_after(Duration::from_secs(30)))
            }));
        assert!(service.oneshot(Request::new(())).await.is_err());
        let standings = Standings::default();
        standings.replace(vec![limited], Breakers::default(), HashMap::new());

        let expected = json!({ "status": "degraded", "answering": 1, "passed_over": 0, "targets": [
            { "target": "a/limited", "state": "limited", "since": null, "last_failure": "rate_limited",
              "limited_for_seconds": 30 },
        ] });
        assert_eq!(read(&standings, HealthTells::Targets), expected);
        #[cfg(feature = "metrics")]
        assert_eq!(standings.states(), [("a/limited".to_owned(), 0.0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_without_keys_tells_since_when_and_why_the_last_one_is_out() {
        let keys =
            ["sk-0", "sk-1"].map(|key| crate::sign::PoolKey::new(key, crate::secret::Secret::new(key)));
        let pool = KeyPool::new("p", crate::sign::KeyForm::Bearer, keys).unwrap();
        let refusing = crate::sign::SignLayer::with_pool(pool.clone()).layer(MustBeReady::new(
            async |_: Request<crate::Payload>| {
                let (status, headers) = (http::StatusCode::UNAUTHORIZED, http::HeaderMap::new());
                let reply =
                    crate::error::Reply { status, headers, body: "{}".into(), dialect: "openai-chat" };
                Err::<Response<Script>, _>(Error::new(Kind::UpstreamAuth, "no").with_reply(reply))
            },
        ));
        let known = Known { breaker: Breaker::new("p/m", Rules::default()), pool: Some(pool) };
        tokio::time::advance(Duration::from_secs(3_600)).await;

        refusing.oneshot(crate::testing::ask("m", None)).await.unwrap_err();
        tokio::time::advance(Duration::from_secs(60)).await;

        let told = target(&known);
        assert_eq!((told.state, told.last_failure), ("without_key", Some(Kind::UpstreamAuth)));
        let since: jiff::Timestamp = told.since.unwrap().parse().unwrap();
        let ago = jiff::Timestamp::now().duration_since(since).as_secs();
        assert!((59..=62).contains(&ago), "{ago}");
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
        assert_eq!(two["targets"][1]["keys"], json!([ { "name": "1", "state": "in" } ]));
        assert!(!two.to_string().contains("hidden"));
        assert!(one.contains("d/z") && !one.contains("d/x"), "{one}");
    }

    #[tokio::test]
    async fn a_target_that_only_clients_name_is_told_of_once_it_was_asked() {
        let mut builder = Builder::default();
        let standings = builder.standings();
        let text =
            "auth: open\nproviders: { d: { kind: demo } }\nmodels: { a: { targets: [ { use: d/named } ] } }";
        let config = |text: &str| Config::read(text, "f", &|_| None).unwrap();
        let dispatch = crate::dispatch::Dispatch::new(builder.table(&config(text)).unwrap());
        let targets = || {
            let told = read(&standings, HealthTells::Targets);
            let names = told["targets"].as_array().unwrap().iter();
            names.map(|target| target["target"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };

        dispatch.route("d/never").unwrap();
        let before = targets();
        for n in 0..2 * MOST_OTHERS {
            let _ = dispatch.clone().oneshot(crate::testing::ask(&format!("d/{n:03}"), None)).await;
        }
        let after = targets();
        builder.table(&config(&text.replace("{ d:", "{ e:").replace("d/", "e/"))).unwrap();

        assert_eq!(before, ["d/named"]);
        assert_eq!((after.len(), &*after[0], &*after[1]), (1 + MOST_OTHERS, "d/named", "d/000"));
        assert_eq!(targets(), ["e/named"]);
    }
}
