//! Why a request goes where it goes: [`Explanation`].

use std::{sync::Arc, time::Duration};

use http::Request;
use serde::Serialize;
use tokio::time::Instant;

use super::{Candidate, Dispatch, Route, Strategy, needs::Needs, recovery::precedence};
use crate::{
    Error, Kind, Payload,
    auth::Caller,
    choose,
    ledger::Ledger,
    price::{NanoUsd, likely_cost},
    sign::KeyPool,
};

/// Where a request would go, and why.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The model that is asked for.
    pub model: Box<str>,
    /// The model whose route it goes by: the same, or where a rule, a task or a successor leads.
    pub route: Arc<str>,
    /// The rule or the task that led there.
    pub rule: Option<Arc<str>>,
    /// By what the first target is chosen. Where that is left to chance, the next request may have another one.
    pub strategy: Strategy,
    /// About how many tokens of input it has.
    pub input: u64,
    /// The targets: first those that are asked, in their order, then those that are not.
    pub candidates: Vec<Explained>,
    /// What stays open, because somebody isn't asked who would know; left out of the JSON if nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

/// What becomes of a target.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// `provider/model`.
    pub target: Arc<str>,
    /// When it is asked, counted from one; `None` if it isn't.
    pub place: Option<usize>,
    /// Why.
    pub why: String,
    /// What the request would probably cost there, in dollars; `None` if the price isn't known.
    pub usd: Option<NanoUsd>,
    /// Where it answers, if that is known.
    pub region: Option<Box<str>>,
    /// How long it takes until its answers begin, in milliseconds, if there were any.
    pub latency_ms: Option<u64>,
    /// How many requests are under way there.
    pub in_flight: u32,
    /// The model that it is of, where that is another one of those that are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// The rule or the task that leads to it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
}

impl Dispatch {
    /// Where a request would go, and why; nothing is sent, so that a task that only a provider could tell is none, which
    /// [is said](Explanation::undecided). The caller is the extension of the request.
    ///
    /// # Errors
    ///
    /// Those of a request that can't be served by any route.
    pub async fn explain(
        &self,
        ledger: Option<&Arc<dyn Ledger>>,
        mut req: Request<Payload>,
    ) -> Result<Explanation, Error> {
        let model: Box<str> = req.body().model().into();
        if req.extensions().get::<Caller>().is_some_and(|caller| !caller.may_use(&model)) {
            let message = format!("this key may not use the model `{model}`");
            return Err(Error::new(Kind::Forbidden, message).with_param("model"));
        }
        let rehearsal = choose::Rehearsal::default();
        req.extensions_mut().insert(rehearsal.clone());
        let route = self.route(&model).ok_or_else(|| {
            let message = format!("the model `{model}` does not exist, or this gateway has no route for it");
            Error::new(Kind::NoRoute, message).with_param("model")
        })?;
        let req = choose::chosen(self, ledger, route.clone(), req).await?;
        let route = req.body().chosen().map_or(route, |chosen| chosen.route.clone());
        let noted = rehearsal.noted();
        let mut candidates = candidates(&route, &req).await;
        candidates.extend(
            noted.struck.iter().map(|(struck, why)| explained(&route, struck, &req, None, why.clone())),
        );
        Ok(Explanation {
            model,
            rule: req.body().exchange().learn(|learnt| learnt.rule.clone()),
            strategy: route.strategy,
            input: req.body().input().likely(),
            candidates,
            undecided: noted.undecided,
            route: route.name.clone(),
        })
    }
}

async fn candidates(route: &Route, req: &Request<Payload>) -> Vec<Explained> {
    let (head, payload) = (req.body().head(), req.body());
    let caller = req.extensions().get::<Caller>();
    let permit = |candidate: &Candidate| route.permit(candidate, caller, payload);
    let needs = route.differences.needs(payload);
    let may_be_asked = || route.candidates_for(head).filter(|candidate| permit(candidate).is_ok());
    let is_met = |candidate: &Candidate| needs.are_met_by(candidate.target().known_facts());
    let are_all_lacking = !may_be_asked().any(is_met);
    let eligible = may_be_asked().filter(|candidate| are_all_lacking || is_met(candidate));
    let mut order: Vec<&Candidate> = route.order(eligible, payload, &needs).collect();
    if order.iter().any(|candidate| candidate.recovered() <= 0.0) {
        order.sort_by_cached_key(|candidate| precedence(candidate, &needs));
    }
    let (mut asked, mut passed_over) = (Vec::new(), Vec::new());
    for candidate in order {
        if let Some(why) = passed_over_for(candidate, route, payload).await {
            passed_over.push(explained(route, candidate, req, None, format!("passed over: {why}")));
        } else {
            asked.push(candidate);
        }
    }
    let asked = Asked { route, payload, needs: &needs, order: &asked };
    let mut told = asked.told(req);
    told.append(&mut passed_over);
    for candidate in &route.candidates {
        if let Err(error) = permit(candidate) {
            told.push(explained(route, candidate, req, None, error.message().to_owned()));
        } else if !are_all_lacking && !is_met(candidate) {
            told.push(explained(route, candidate, req, None, lacks(&needs, candidate)));
        }
    }
    told
}

/// Why a target that may be asked refuses by itself at the moment, if it does.
async fn passed_over_for(candidate: &Candidate, route: &Route, payload: &Payload) -> Option<String> {
    let seconds = |left: Duration| left.as_secs().max(1);
    let open_for = candidate.known_breaker().and_then(|breaker| breaker.standing().open_for);
    if let Some(left) = open_for.filter(|left| !left.is_zero()) {
        return Some(format!("it has failed, for {} s more", seconds(left)));
    }
    let keys = candidate.known_keys().map(KeyPool::standings).unwrap_or_default();
    if let Some(left) = keys.iter().map(|key| key.out_for).min().flatten() {
        return Some(format!("all keys of its provider are out, for {} s more", seconds(left)));
    }
    let lacking = candidate.known_budget()?.lacking(payload, route.assume_output).await?;
    Some(lacking.message().to_owned())
}

fn lacks(needs: &Needs, candidate: &Candidate) -> String {
    format!(
        "does not take what the request needs: {}",
        needs.lacking(candidate.target().known_facts()).join(", ")
    )
}

/// How long a target wants to be left alone.
fn limited_for(candidate: &Candidate) -> Option<Duration> {
    candidate.known_breaker().and_then(|breaker| breaker.standing().limited_for)
}

/// Whether a target doesn't keep the time in which answers have to begin, for requests that are out of luck.
fn is_slow(candidate: &Candidate) -> bool {
    candidate.known_pace().is_some_and(|pace| pace.is_too_slow(Instant::now(), 0.0))
}

/// The targets that are asked for a request, in their order.
struct Asked<'a> {
    route: &'a Route,
    payload: &'a Payload,
    needs: &'a Needs,
    order: &'a [&'a Candidate],
}

impl Asked<'_> {
    fn told(&self, req: &Request<Payload>) -> Vec<Explained> {
        let told = |(index, candidate): (usize, &&Candidate)| {
            let (before, after) = (&self.order[..index], &self.order[index + 1..]);
            let why = self.behind(before, candidate).unwrap_or_else(|| match before {
                [] => self.chosen(candidate, after),
                _ => "asked if those before it fail".to_owned(),
            });
            explained(self.route, candidate, req, Some(index + 1), why)
        };
        self.order.iter().enumerate().map(told).collect()
    }

    /// What is found out of a target that puts it behind one of those `before` it, which has the same rank.
    fn behind(&self, before: &[&Candidate], candidate: &Candidate) -> Option<String> {
        let is_behind = |has: &dyn Fn(&Candidate) -> bool| {
            has(candidate) && before.iter().any(|other| other.rank() == candidate.rank() && !has(other))
        };
        if is_behind(&|one| limited_for(one).is_some()) {
            let left = limited_for(candidate).map_or(1, |left| left.as_secs().max(1));
            return Some(format!("asked last: it wants to be left alone, for {left} s more"));
        }
        if is_behind(&|one| self.needs.leave_doubt_of(one)) {
            let what = self.needs.unknown(candidate.target().known_facts()).join(", ");
            return Some(format!("asked late: it isn't known to take what the request needs: {what}"));
        }
        is_behind(&is_slow)
            .then(|| "asked late: it does not keep the time in which answers have to begin".to_owned())
    }

    /// Why the first one is asked before those `after` it.
    fn chosen(&self, candidate: &Candidate, after: &[&Candidate]) -> String {
        let route = self.route;
        if route.is_kept_at(candidate, self.payload) {
            return "chosen: the conversation was there before".to_owned();
        }
        let why = match route.strategy {
            Strategy::Priority => "the first one that is listed",
            Strategy::Weighted if route.sticky.is_some() => "drawn by its weight for what sticks to it",
            Strategy::Weighted => "drawn by its weight",
            Strategy::LeastBusy => "the fewest requests under way for its weight",
            Strategy::Latency => "the quicker of two that were drawn, or not measured yet",
            Strategy::Cheapest => "the lowest price",
            Strategy::Throughput => "the most tokens per second, or not measured yet",
        };
        let is_ordered =
            after.iter().any(|other| other.group() == candidate.group() && other.rank() > candidate.rank());
        let is_doubtful = |one: &Candidate| self.needs.leave_doubt_of(one);
        let is_known = !is_doubtful(candidate)
            && after.iter().any(|other| other.rank() == candidate.rank() && is_doubtful(other));
        let among = match (is_ordered, is_known) {
            (false, false) => "",
            (true, false) => " of those that are first in the client's `order`",
            (false, true) => " of those known to take what the request needs",
            (true, true) => {
                " of those that are first in the client's `order` and known to take what the request needs"
            }
        };
        format!("chosen: {why}{among}")
    }
}

fn explained(
    route: &Route,
    candidate: &Candidate,
    req: &Request<Payload>,
    place: Option<usize>,
    why: String,
) -> Explained {
    let (target, load) = (candidate.target(), candidate.known_load());
    let standing = candidate.known_breaker().and_then(|breaker| breaker.standing().open_for);
    let is_probed = standing.is_some_and(|left| left.is_zero());
    let led = req.body().chosen().and_then(|chosen| chosen.led_to(candidate));
    let led = led.filter(|_| candidate.group() > 0);
    Explained {
        target: target.name().clone(),
        place,
        why: if is_probed { format!("{why}; it has failed and is being probed") } else { why },
        usd: likely_cost(target, req.body(), route.assume_output),
        region: target.known_region().map(Into::into),
        latency_ms: load.latency().map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        in_flight: load.in_flight(),
        model: led.map(|led| led.model.clone()),
        rule: led.and_then(|led| led.rule.clone()),
    }
}

impl Route {
    /// Whether a target may be asked for a request at all: by who asks, and by what the route is kept within.
    pub(super) fn permit(
        &self,
        candidate: &Candidate,
        caller: Option<&Caller>,
        payload: &Payload,
    ) -> Result<(), Error> {
        if let Some(caller) = caller {
            caller.may_be_answered_by(candidate.target())?;
        }
        self.admits(candidate, payload)
    }
}

#[cfg(test)]
mod tests {
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Target,
        access::Pattern,
        auth::{Providers, VirtualKey},
        breaker::{Breaker, BreakerLayer, Rules},
        choose::{Condition, Facts, Rule},
        dispatch::Table,
        error::Reply,
        ledger::{MemoryLedger, Period, Quota, Scope},
        price::Rates,
        provider_budget::ProviderBudgetLayer,
        secret::Secret,
        sign::{KeyForm, SignLayer},
        testing::{Ending, MustBeReady, Script, ask},
    };

    fn candidate(provider: &str, model: &str, usd: Option<u64>) -> Candidate {
        let price = usd.map(|usd| Rates::flat(NanoUsd::from_usd(usd), NanoUsd::from_usd(usd)).into());
        let target = Target::new(provider, model).price(price);
        Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
    }

    #[derive(Debug)]
    struct Always;

    impl Condition for Always {
        fn holds(&self, _: &Facts<'_>) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn every_candidate_is_told_with_its_place_its_price_and_why() {
        let candidates = [
            candidate("a", "dear", Some(9)),
            candidate("b", "cheap", Some(1)),
            candidate("c", "x", None),
            candidate("d", "x", Some(500)),
        ];
        let then =
            Route::new("other", candidates).strategy(Strategy::Cheapest).max_cost(NanoUsd::from_usd(1));
        let route =
            Route::new("chat", [candidate("a", "usual", None)]).rule(Rule::new("always", Always, then));
        let dispatch = Dispatch::new(Table::default().route(route));
        let mut key = VirtualKey::new("k");
        key.providers = Providers { allow: None, deny: vec![Pattern::new("c")] };

        let told = dispatch.explain(None, ask("chat", Some(key))).await.unwrap();

        assert_eq!((&*told.model, &*told.route, told.rule.as_deref()), ("chat", "other", Some("always")));
        let lines: Vec<_> = told.candidates.iter().map(|one| (&*one.target, one.place)).collect();
        assert_eq!(lines, [("b/cheap", Some(1)), ("a/dear", Some(2)), ("c/x", None), ("d/x", None)]);
        let whys: Vec<_> = told.candidates.iter().map(|one| &*one.why).collect();
        assert_eq!(whys[..2], ["chosen: the lowest price", "asked if those before it fail"]);
        assert!(
            whys[2].contains("may not use any of the providers") && whys[3].contains("may cost $1"),
            "{whys:?}"
        );
        assert!(told.candidates[0].usd.is_some() && told.candidates[2].usd.is_none());
        let error = dispatch.explain(None, ask("nothing", None)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoRoute);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_refuse_by_itself_is_told_as_passed_over() {
        let keys =
            KeyPool::new("a", KeyForm::Bearer, [crate::sign::PoolKey::new("1", Secret::new("sk"))]).unwrap();
        let refusing =
            SignLayer::with_pool(keys.clone()).layer(MustBeReady::new(async |_: Request<Payload>| {
                let reply = Reply {
                    status: http::StatusCode::UNAUTHORIZED,
                    headers: http::HeaderMap::new(),
                    body: "{}".into(),
                    dialect: "openai-chat",
                };
                Err::<http::Response<Script>, _>(Error::new(Kind::UpstreamAuth, "no").with_reply(reply))
            }));
        refusing.oneshot(ask("m", None)).await.unwrap_err();
        let breaker = Breaker::new("c/failed", Rules { in_a_row: 1, ..Rules::default() });
        let failing = BreakerLayer::new(breaker.clone())
            .layer(MustBeReady::new(|_: Request<()>| Ending::Refused.answer()));
        failing.oneshot(Request::new(())).await.unwrap_err();
        let ledger = Arc::new(MemoryLedger::default());
        let spent = candidate("b", "spent", Some(1));
        let of = |account: &str, usd| Scope::new(account, Quota::usd(NanoUsd::from_usd(usd), Period::Month));
        let budget = |account, usd| {
            ProviderBudgetLayer::new(ledger.clone(), spent.target().clone(), [of(account, usd)])
        };
        let all = crate::ledger::Amounts::from(NanoUsd::from_usd(1));
        let ticket = ledger.reserve(&[of("provider:b", 1)], all).await.unwrap();
        ledger.settle(ticket, all);
        let route = Route::new(
            "chat",
            [
                candidate("a", "keyless", None).keys(Some(keys)),
                spent.clone().budget(budget("provider:b", 1)),
                candidate("c", "failed", None).breaker(breaker),
                spent.clone().budget(budget("provider:other", 1)),
            ],
        );

        let told =
            Dispatch::new(Table::default().route(route)).explain(None, ask("chat", None)).await.unwrap();

        let lines: Vec<_> = told.candidates.iter().map(|one| (&*one.target, one.place, &*one.why)).collect();
        let expected = [
            ("b/spent", Some(1), "chosen: the first one that is listed"),
            ("a/keyless", None, "passed over: all keys of its provider are out, for 600 s more"),
            ("b/spent", None, "passed over: what is left to `provider:b` doesn't bear the request"),
            ("c/failed", None, "passed over: it has failed, for 2 s more"),
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn what_the_client_or_another_model_rules_out_is_told_with_why() {
        let own = [candidate("a", "m", Some(1)), candidate("b", "m", Some(9)), candidate("c", "m", None)];
        let other =
            Route::new("other", [candidate("a", "dear", Some(500)), candidate("a", "cheap", Some(1))]);
        let table =
            Table::default().route(Route::new("chat", own)).route(other.max_cost(NanoUsd::from_usd(1)));
        let dispatch = Dispatch::new(table);
        let told = async |wishes: &str| {
            let mut req = ask("chat", None);
            req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());
            let told = dispatch.explain(None, req).await.unwrap().candidates;
            let line = |one: Explained| (one.target.to_string(), one.place, one.why, one.model);
            told.into_iter().map(line).collect::<Vec<_>>()
        };

        let lines =
            told(r#"{"models":["other"],"provider":{"ignore":["b"],"max_price":{"prompt":5}}}"#).await;
        let nobody = told(r#"{"provider":{"only":["none"]},"regions":"eu"}"#).await;

        let places: Vec<_> = lines.iter().map(|(target, place, ..)| (target.as_str(), *place)).collect();
        let expected =
            [("a/m", Some(1)), ("a/cheap", Some(2)), ("a/dear", None), ("b/m", None), ("c/m", None)];
        assert_eq!(places, expected);
        assert!(lines[2].2.contains("may cost $1") && lines[2].3.as_deref() == Some("other"), "{lines:?}");
        assert_eq!(
            [&*lines[3].2, &*lines[4].2],
            ["among `provider.ignore`", "dearer than `provider.max_price`, or its price is not known"]
        );
        assert_eq!(nobody.len(), 3);
        assert!(
            nobody.iter().all(|(_, place, why, _)| place.is_none() && why == "not among `provider.only`")
        );
    }

    #[tokio::test]
    async fn whoever_is_first_by_the_order_of_the_client_is_told_so_and_not_that_it_is_late() {
        let of = |provider: &str, has: &[&'static str]| {
            let facts = crate::target::ModelFacts::new(has.iter().copied(), []);
            let target = Target::new(provider, "m").facts(facts);
            Candidate::new(Arc::new(target), tower::service_fn(|_| Ending::Complete.answer()))
        };
        let route = Route::new("chat", [of("known", &["vision"]), of("unknown", &[])]);
        let dispatch = Dispatch::new(Table::default().route(route));
        let told = async |wishes: &str| {
            let body = r#"{"model":"chat","messages":[{"content":[{"type":"image_url"}]}]}"#;
            let mut req = ask("chat", None).map(|payload| {
                let (head, exchange) = (payload.head().clone(), payload.exchange().clone());
                Payload::new(payload.dialect(), head, body.into(), exchange)
            });
            req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());
            let told = dispatch.explain(None, req).await.unwrap().candidates;
            told.into_iter().map(|one| (one.target.to_string(), one.why)).collect::<Vec<_>>()
        };
        let line = |target: &str, why: &str| (target.to_owned(), why.to_owned());

        let expected = [
            line(
                "unknown/m",
                "chosen: the first one that is listed of those that are first in the client's `order`",
            ),
            line("known/m", "asked if those before it fail"),
        ];
        assert_eq!(told(r#"{"provider":{"order":["unknown"]}}"#).await, expected);
        let expected = [
            line(
                "known/m",
                "chosen: the first one that is listed of those known to take what the request needs",
            ),
            line("unknown/m", "asked late: it isn't known to take what the request needs: images"),
        ];
        assert_eq!(told("{}").await, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_is_told_to_be_asked_late_only_where_another_is_asked_before() {
        let objective = Duration::from_millis(500);
        let told = async |models: &[&str]| {
            let candidates = models.iter().map(|model| candidate("a", model, None));
            let route = Route::new("chat", candidates).objective(objective);
            let slow = route.candidates.iter().find(|one| one.target().model() == "slow").unwrap();
            (0..100).for_each(|_| slow.known_pace().unwrap().told(Duration::from_secs(1)));
            let dispatch = Dispatch::new(Table::default().route(route));
            let told = dispatch.explain(None, ask("chat", None)).await.unwrap().candidates;
            told.into_iter().map(|one| one.why).collect::<Vec<_>>()
        };

        assert_eq!(told(&["slow"]).await, ["chosen: the first one that is listed"]);
        let late = "asked late: it does not keep the time in which answers have to begin";
        assert_eq!(told(&["slow", "quick"]).await, ["chosen: the first one that is listed", late]);
    }

    #[tokio::test]
    async fn targets_of_other_models_are_told_with_what_leads_to_them() {
        let then = Route::new("other", [candidate("b", "m", None)]);
        let other = Route::new("other", []).rule(Rule::new("always", Always, then));
        let table = Table::default().route(Route::new("chat", [candidate("a", "m", None)])).route(other);
        let mut req = ask("chat", None);
        req.headers_mut().insert("x-bartizan-choose", r#"{"models":["other"]}"#.parse().unwrap());

        let told = Dispatch::new(table).explain(None, req).await.unwrap();

        let led: Vec<_> = told
            .candidates
            .iter()
            .map(|one| (&*one.target, one.model.as_deref(), one.rule.as_deref()))
            .collect();
        assert_eq!(led, [("a/m", None, None), ("b/m", Some("other"), Some("always"))]);
    }
}
