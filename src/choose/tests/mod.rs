mod bounds;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::Request;
use tower::{Layer, ServiceExt};

use super::*;
use crate::{
    Dialect, Error, Exchange, Kind, Payload, Target,
    access::Pattern,
    auth::{Caller, VirtualKey},
    dialect::OPENAI_CHAT,
    dispatch::{Candidate, Conversations, Dispatch, Route, Strategy, Table},
    exchange::{Outcome, Role},
    ledger::{Amounts, Ledger, MemoryLedger, Period, Quota},
    lock,
    price::{NanoUsd, Rates},
    testing::{Ending, is_shared},
};

/// What reached which target.
type Seen = Arc<Mutex<Vec<String>>>;

fn target(name: &str, usd: u64) -> Target {
    let (provider, model) = name.split_once('/').unwrap();
    let price = Rates::flat(NanoUsd::from_usd(usd), NanoUsd::from_usd(usd));
    Target::new(provider, model).price(Some(price.into()))
}

fn candidate_of(seen: &Seen, target: Target, fails: bool) -> Candidate {
    let (seen, name) = (seen.clone(), target.name().clone());
    let service = tower::service_fn(move |req: Request<Payload>| {
        let body = String::from_utf8(req.body().to_bytes().into()).unwrap();
        lock(&seen).push(format!("{name} {body}"));
        async move {
            if fails { Err(Error::new(Kind::Upstream, "down")) } else { Ending::Complete.answer().await }
        }
    });
    Candidate::new(Arc::new(target), service)
}

fn candidate(seen: &Seen, name: &str) -> Candidate {
    candidate_of(seen, target(name, 1), false)
}

fn failing(seen: &Seen, name: &str) -> Candidate {
    candidate_of(seen, target(name, 1), true)
}

fn ask(body: &str, key: Option<VirtualKey>) -> Request<Payload> {
    let mut req = Request::new(());
    if let Some(key) = key {
        req.extensions_mut().insert(Caller::new(key));
    }
    let exchange = Exchange::open(&mut req);
    let (parts, ()) = req.into_parts();
    let head = OPENAI_CHAT.peek(&parts, body).unwrap();
    Request::from_parts(parts, Payload::new(&OPENAI_CHAT, head, body.to_owned().into(), exchange))
}

/// Which target answers, and what its answer says of it.
async fn answered(dispatch: &Dispatch, req: Request<Payload>) -> Result<(String, http::HeaderMap), Error> {
    let service = ChooseLayer::new(dispatch.clone()).layer(dispatch.clone());
    is_shared(&service);
    let res = service.oneshot(req).await?;
    let text = |name: &str| res.headers()[name].to_str().unwrap().to_owned();
    Ok((format!("{}/{}", text("x-bartizan-provider"), text("x-bartizan-model")), res.headers().clone()))
}

async fn who(dispatch: &Dispatch, body: &str) -> String {
    match answered(dispatch, ask(body, None)).await {
        Ok((target, _)) => target,
        Err(error) => error.message().to_owned(),
    }
}

#[derive(Debug)]
struct If(fn(&Facts<'_>) -> bool, bool);

impl Condition for If {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.0(facts)
    }

    fn reads_spend(&self) -> bool {
        self.1
    }
}

fn table<const N: usize>(routes: [Route; N]) -> Dispatch {
    Dispatch::new(routes.into_iter().fold(Table::default(), Table::route))
}

#[tokio::test]
async fn the_first_rule_that_holds_leads_and_its_own_rules_lead_on() {
    let seen = Seen::default();
    let route = |name: &str| Route::new(name, [candidate(&seen, &format!("p/{name}"))]);
    let inner = route("streamed").rule(Rule::new(
        "hot",
        If(|facts| !facts.parameters().is_empty(), false),
        route("hot"),
    ));
    let chat = route("chat")
        .rule(Rule::new("streams", If(|facts| facts.stream(), false), inner))
        .rule(Rule::new("always", If(|facts| facts.text() == "x", false), route("x")));
    let dispatch = table([chat]);

    assert_eq!(who(&dispatch, r#"{"model":"chat"}"#).await, "p/chat");
    assert_eq!(who(&dispatch, r#"{"model":"chat","messages":[{"role":"user","content":"x"}]}"#).await, "p/x");
    let (target, headers) =
        answered(&dispatch, ask(r#"{"model":"chat","stream":true,"top_p":1}"#, None)).await.unwrap();
    assert_eq!((target.as_str(), &headers["x-bartizan-rule"]), ("p/hot", &"hot".parse().unwrap()));
}

#[tokio::test]
async fn what_is_used_of_budgets_is_asked_for_where_a_rule_wants_to_know() {
    let seen = Seen::default();
    let cheap = Route::new("cheap", [candidate(&seen, "p/cheap")]);
    let low = Rule::new("low", If(|facts| facts.share().budget > 0.8, true), cheap);
    let dispatch = table([Route::new("chat", [candidate(&seen, "p/dear")]).rule(low)]);
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
    let key = VirtualKey::new("k").quota(Quota::usd(NanoUsd::from_usd(10), Period::Month));
    let layer = ChooseLayer::new(dispatch.clone()).ledger(ledger.clone());
    let who = async || {
        let res = layer.layer(dispatch.clone()).oneshot(ask(r#"{"model":"chat"}"#, Some(key.clone()))).await;
        res.unwrap().headers()["x-bartizan-model"].to_str().unwrap().to_owned()
    };
    assert_eq!(who().await, "dear");

    let spent = Amounts { cost: NanoUsd::from_usd(9), ..Amounts::default() };
    let ticket = ledger.reserve(&key.scopes, spent).await.unwrap();
    ledger.settle(ticket, spent);

    assert_eq!(who().await, "cheap");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_name_other_models_and_what_is_the_gateways_goes_no_further() {
    let seen = Seen::default();
    let dispatch = table([
        Route::new("a", [failing(&seen, "p/a")]),
        Route::new("b", [candidate(&seen, "q/b")]),
        Route::new("c", [candidate(&seen, "q/c")]),
    ]);

    let body = r#"{"model":"a","models":["a","b","c"],"provider":{"sort":"price"},"n":1}"#;
    assert_eq!(who(&dispatch, body).await, "q/b");

    let bodies = lock(&seen).clone();
    assert!(bodies.iter().all(|body| !body.contains("models") && !body.contains("provider")), "{bodies:?}");
    assert_eq!(bodies.last().unwrap(), r#"q/b {"model":"b","n":1}"#);
    let key = VirtualKey::new("k").allow([Pattern::new("a"), Pattern::new("b")]);
    let error = answered(&dispatch, ask(body, Some(key))).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Forbidden, "this key may not use the model `c`"));
    assert!(who(&dispatch, r#"{"model":"a","models":["none"]}"#).await.contains("`none` does not exist"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_names_several_models_and_no_single_one_asks_for_the_first() {
    let seen = Seen::default();
    let dispatch =
        table([Route::new("a", [failing(&seen, "p/a")]), Route::new("b", [candidate(&seen, "q/b")])]);

    for body in [r#"{"models":["a","b"],"n":1}"#, r#"{"model":null,"models":["a","b"],"n":1}"#] {
        lock(&seen).clear();

        assert_eq!(who(&dispatch, body).await, "q/b");

        let bodies = lock(&seen).clone();
        assert_eq!(bodies.last().unwrap(), r#"q/b {"model":"b","n":1}"#);
        assert_eq!(bodies[0], r#"p/a {"model":"a","n":1}"#);
    }
    assert_eq!(who(&dispatch, r#"{"models":["b"]}"#).await, "q/b");
    assert_eq!(lock(&seen).last().unwrap(), r#"q/b {"model":"b"}"#);

    lock(&seen).clear();
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers.insert("x-bartizan-choose", r#"{"models":["a","b"]}"#.parse().unwrap());
    let body = r#"{"n":1}"#;
    let head = OPENAI_CHAT.peek(&parts, body).unwrap();
    let payload = Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default());
    let (target, _) = answered(&dispatch, Request::from_parts(parts, payload)).await.unwrap();
    assert_eq!((&*target, lock(&seen).last().unwrap().as_str()), ("q/b", r#"q/b {"model":"b","n":1}"#));
}

#[tokio::test(start_paused = true)]
async fn what_led_to_the_model_that_answers_is_what_is_said_of_it() {
    let seen = Seen::default();
    let ending = |at| Life::default().deprecated(SystemTime::UNIX_EPOCH + Duration::from_secs(at));
    let led = |name: &str, to: Candidate| {
        Rule::new(&format!("rule-of-{name}"), If(|_| true, false), Route::new(name, [to]))
    };
    let dispatch = table([
        Route::new("down", []).ending(ending(1)).rule(led("down", failing(&seen, "p/down"))),
        Route::new("up", []).ending(ending(2)).rule(led("up", candidate(&seen, "p/up"))),
        Route::new("plain", [candidate(&seen, "p/plain")]),
    ]);
    let asked = async |models: &str| {
        let req = ask(&format!(r#"{{"model":"down","models":{models}}}"#), None);
        let exchange = req.body().exchange().clone();
        let (target, headers) = answered(&dispatch, req).await.unwrap();
        let said = |name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        let (rules, deprecations): (Vec<_>, Vec<_>) = (said("x-bartizan-rule"), said("deprecation"));
        (target, rules.join(","), deprecations.join(","), exchange.learn(|learnt| learnt.rule.clone()))
    };

    let by_rule = asked(r#"["up","plain"]"#).await;
    let plainly = asked(r#"["plain","up"]"#).await;

    assert_eq!(by_rule, ("p/up".into(), "rule-of-up".into(), "@2".into(), Some("rule-of-up".into())));
    assert_eq!(plainly, ("p/plain".into(), String::new(), String::new(), None));
}

#[tokio::test(start_paused = true)]
async fn a_client_may_say_which_providers_are_asked() {
    let seen = Seen::default();
    let candidates = || {
        let of = |name, usd| candidate_of(&seen, target(name, usd), false);
        [of("dear/m", 9), of("middle/m", 5), of("cheap/m", 1)]
    };
    let dispatch = table([Route::new("chat", candidates())]);

    for (provider, expected) in [
        (r#"{}"#, "dear/m"),
        (r#"{"order":["cheap","dear"]}"#, "cheap/m"),
        (r#"{"only":["Middle"]}"#, "middle/m"),
        (r#"{"ignore":["dear"]}"#, "middle/m"),
        (r#"{"sort":"price"}"#, "cheap/m"),
        (r#"{"sort":{"by":"price"},"ignore":["cheap"]}"#, "middle/m"),
        (r#"{"max_price":{"prompt":5,"completion":"6"}}"#, "middle/m"),
        (r#"{"max_price":{"prompt":0.5}}"#, "provider: no target of `chat` is as it is asked for"),
        (r#"{"only":["none"]}"#, "provider: no target of `chat` is as it is asked for"),
        (r#"{"order":["cheap"],"allow_fallbacks":false,"data_collection":"deny"}"#, "cheap/m"),
        (r#"{"only":5}"#, "provider: not of the form that is expected, at column 9"),
        (
            r#"{"max_price":{"prompt":"-1"}}"#,
            "provider.max_price.prompt: expected an amount of dollars such as 0.05",
        ),
    ] {
        let body = format!(r#"{{"model":"chat","provider":{provider}}}"#);
        assert_eq!(who(&dispatch, &body).await, expected, "{provider}");

        let mut req = ask(r#"{"model":"chat"}"#, None);
        let header = format!(r#"{{"provider":{provider}}}"#);
        req.headers_mut().insert("x-bartizan-choose", header.parse().unwrap());
        let by_header = answered(&dispatch, req).await;
        if expected.ends_with("/m") {
            assert_eq!(by_header.unwrap().0, expected, "{provider}");
        } else {
            assert_eq!(by_header.unwrap_err().kind(), Kind::InvalidRequest);
        }
    }
    let mut req = ask(r#"{"model":"chat"}"#, None);
    req.headers_mut().insert("x-bartizan-choose", r#"{"max_cost":0.02}"#.parse().unwrap());
    assert_eq!(answered(&dispatch, req).await.unwrap().0, "cheap/m");
}

#[tokio::test(start_paused = true)]
async fn what_openrouter_is_told_it_alone_is_told() {
    let seen = Seen::default();
    let other = failing(&seen, "plain/m");
    let router = candidate(&seen, "router/m").preferences(true);
    let dispatch = table([Route::new("chat", [other, router])]);

    let theirs = r#"{"model":"chat","models":["chat"],"provider":{"sort":"price","quantizations":["fp8"]}}"#;
    assert_eq!(who(&dispatch, theirs).await, "router/m");
    let expected = r#"router/m {"model":"m","provider":{"sort":"price","quantizations":["fp8"]}}"#;
    let bodies = lock(&seen).clone();
    assert!(bodies.contains(&expected.to_owned()), "{bodies:?}");
    assert!(bodies.iter().filter(|body| body.starts_with("plain")).all(|body| !body.contains("provider")));

    lock(&seen).clear();
    assert_eq!(who(&dispatch, r#"{"model":"chat","provider":{"only":["deepinfra"]}}"#).await, "router/m");
    assert_eq!(*lock(&seen), [r#"router/m {"model":"m","provider":{"only":["deepinfra"]}}"#]);

    // Nobody but the gateway knows these.
    lock(&seen).clear();
    let ours = r#"{"model":"chat","provider":{"sort":"price","objective":{"p95":"5s"}}}"#;
    assert_eq!(who(&dispatch, ours).await, "router/m");
    assert!(lock(&seen).iter().all(|body| !body.contains("provider")), "{seen:?}");

    lock(&seen).clear();
    assert_eq!(who(&dispatch, r#"{"model":"chat","provider":{"only":["router"]}}"#).await, "router/m");
    assert_eq!(*lock(&seen), [r#"router/m {"model":"m"}"#]);
}

#[tokio::test]
async fn regions_hold_wherever_a_request_is_led() {
    let seen = Seen::default();
    let at = |name, region| candidate_of(&seen, target(name, 1).region(Some(region)), false);
    let then = Route::new("then", [at("us/m", "us"), at("eu/m", "eu")]);
    let rule = Rule::new("always", If(|_| true, false), then);
    let chat = Route::new("chat", [at("eu/a", "eu")]).regions([Pattern::new("eu")]).rule(rule);
    let only_us = Route::new("us", [at("us/only", "us")]);
    let stays = Route::new("stays", [failing(&seen, "eu/none")]).regions([Pattern::new("eu")]);
    let dispatch = table([chat, only_us, stays]);

    assert_eq!(who(&dispatch, r#"{"model":"chat"}"#).await, "eu/m");
    let refused = who(&dispatch, r#"{"model":"stays","models":["us"]}"#).await;
    assert!(refused.contains("only answered in eu"), "{refused}");
    assert!(!lock(&seen).iter().any(|body| body.starts_with("us/")));
}

#[tokio::test]
async fn a_name_that_ends_says_so_and_is_served_by_its_successor_then() {
    let seen = Seen::default();
    let now = SystemTime::now();
    let new = Route::new("new", [candidate(&seen, "p/new")]);
    let life = |sunset: SystemTime| {
        let begun = Life::default().deprecated(SystemTime::UNIX_EPOCH + Duration::from_secs(1_688_169_599));
        begun.sunset(sunset).link("https://docs.example.com/old").successor(new.clone())
    };
    let old = |name: &str, sunset| Route::new(name, [candidate(&seen, "p/old")]).ending(life(sunset));
    let hour = Duration::from_secs(3_600);
    let dispatch = table([old("ends", now + hour), old("ended", now - hour), new.clone()]);

    let (target, headers) = answered(&dispatch, ask(r#"{"model":"ends"}"#, None)).await.unwrap();
    assert_eq!((target.as_str(), &headers["deprecation"]), ("p/old", &"@1688169599".parse().unwrap()));
    assert!(headers["sunset"].to_str().unwrap().ends_with(" GMT"));
    let links: Vec<_> = headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let expected = [
        "<https://docs.example.com/old>; rel=\"deprecation\"; type=\"text/html\"",
        "</v1/models/new>; rel=\"successor-version\"",
    ];
    assert_eq!(links, expected);
    let (target, headers) = answered(&dispatch, ask(r#"{"model":"ended"}"#, None)).await.unwrap();
    assert_eq!((target.as_str(), headers.contains_key("deprecation")), ("p/new", true));
}

/// Writes down what is logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn requests_for_a_name_that_ends_are_counted_and_its_end_is_told_once() {
    let (seen, logged) = (Seen::default(), Logged::default());
    let counted = crate::testing::Counted::default();
    let _counting = ::metrics::set_default_local_recorder(&counted);
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let life =
        |sunset| Life::default().sunset(sunset).successor(Route::new("new", [candidate(&seen, "p/new")]));
    let old = |name, sunset| Route::new(name, [candidate(&seen, "p/old")]).ending(life(sunset));
    let hour = Duration::from_secs(3_600);
    let other = Route::new("other", [candidate(&seen, "q/m")]);
    let dispatch =
        table([old("ends", SystemTime::now() + hour), old("ended", SystemTime::now() - hour), other]);

    // Who asks for others that answer has not been served by the successor.
    for spared in [
        r#"{"model":"other","models":["ended"]}"#,
        r#"{"model":"ended","models":["other"],"provider":{"only":["q"]}}"#,
    ] {
        assert_eq!(who(&dispatch, spared).await, "q/m");
    }
    assert!(counted.lines().is_empty(), "{:?}", counted.lines());
    assert!(!String::from_utf8_lossy(&lock(&logged.0)).contains("bartizan::audit"));
    for model in ["ends", "ended", "ended"] {
        who(&dispatch, &format!(r#"{{"model":"{model}"}}"#)).await;
    }
    dispatch.explain(None, ask(r#"{"model":"ended"}"#, None)).await.unwrap();

    let ended = "bartizan_deprecated_requests_total model=ended,served_by=successor";
    let expected = ["bartizan_deprecated_requests_total model=ends,served_by=itself", ended, ended];
    assert_eq!(counted.lines(), expected);
    let log = String::from_utf8(lock(&logged.0).clone()).unwrap();
    let audited: Vec<_> = log.lines().filter(|line| line.contains("bartizan::audit")).collect();
    assert!(audited.len() == 1 && audited[0].contains("ended"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_keeps_its_target_until_that_fails() {
    let seen = Seen::default();
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flaky = |name: &str| {
        let fails = fails.clone();
        let mut rates = Rates::flat(NanoUsd(10), NanoUsd(10));
        rates.cached = NanoUsd(1);
        let (provider, model) = name.split_once('/').unwrap();
        let target = Target::new(provider, model).price(Some(rates.into()));
        let is_a = model == "a";
        let service = tower::service_fn(move |_: Request<Payload>| {
            let fails = is_a && fails.load(std::sync::atomic::Ordering::Relaxed);
            async move {
                if fails {
                    Err(Error::new(Kind::UpstreamAuth, "no"))
                } else {
                    Ending::Complete.answer().await
                }
            }
        });
        Candidate::new(Arc::new(target), service)
    };
    let candidates = [flaky("p/a"), flaky("p/b"), flaky("p/c"), flaky("p/d")];
    let route = Route::new("chat", candidates).strategy(Strategy::Weighted);
    let dispatch = table([route.conversations(Conversations::new(Duration::from_secs(600)))]);
    let say = |session: &str| {
        let req = ask(r#"{"model":"chat"}"#, None);
        req.body().exchange().learn(|learnt| learnt.labels.session = Some(session.into()));
        req
    };
    let mut at_a = None;
    for session in 0..40 {
        let session = session.to_string();
        let (first, _) = answered(&dispatch, say(&session)).await.unwrap();
        for _ in 0..5 {
            assert_eq!(answered(&dispatch, say(&session)).await.unwrap().0, first);
        }
        at_a = at_a.or(Some(session).filter(|_| first == "p/a"));
    }
    let session = at_a.unwrap();

    fails.store(true, std::sync::atomic::Ordering::Relaxed);
    let (next, _) = answered(&dispatch, say(&session)).await.unwrap();
    fails.store(false, std::sync::atomic::Ordering::Relaxed);

    assert_ne!(next, "p/a");
    assert_eq!(answered(&dispatch, say(&session)).await.unwrap().0, next);
    drop(seen);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_keep_its_time_is_asked_after_the_others() {
    let slow = tower::service_fn(async |_: Request<Payload>| {
        tokio::time::sleep(Duration::from_millis(800)).await;
        Ending::Complete.answer().await
    });
    let quick = tower::service_fn(|_: Request<Payload>| Ending::Complete.answer());
    let slow = Candidate::new(Arc::new(Target::new("p", "slow")), slow);
    let quick = Candidate::new(Arc::new(Target::new("p", "quick")), quick);
    let dispatch = table([Route::new("chat", [slow, quick]).objective(Duration::from_millis(500))]);
    let mut answers = Vec::new();

    for _ in 0..10 {
        answers.push(who(&dispatch, r#"{"model":"chat"}"#).await);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    answers.push(who(&dispatch, r#"{"model":"chat"}"#).await);

    // After two slow answers it is passed over by chance, and after three for certain.
    let slow = answers[..10].iter().filter(|target| *target == "p/slow").count();
    assert!(answers[0] == "p/slow" && slow <= 3, "{answers:?}");
    assert_eq!(answers[10], "p/slow");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_say_in_which_time_answers_have_to_begin() {
    let taking = |name: &str, milliseconds| {
        let service = tower::service_fn(move |_: Request<Payload>| async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ending::Complete.answer().await
        });
        Candidate::new(Arc::new(Target::new("p", name)), service)
    };
    let dispatch = table([
        Route::new("chat", [taking("slow", 800), taking("quick", 10)]),
        Route::new("strict", [taking("slow", 800), taking("quick", 10)])
            .objective(Duration::from_millis(500)),
    ]);
    let first = async |model: &str, wishes: &str| {
        let mut answers = Vec::new();
        for _ in 0..10 {
            let mut req = ask(&format!(r#"{{"model":"{model}"}}"#), None);
            req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());
            answers.push(answered(&dispatch, req).await.unwrap().0);
        }
        answers.iter().filter(|target| *target == "p/slow").count()
    };

    assert_eq!(first("chat", r#"{"objective":{"p95":"1s"}}"#).await, 10);
    // After two slow answers it is passed over by chance, and after three for certain, whichever way it was said.
    let by_header = first("chat", r#"{"objective":{"p95":"500ms"}}"#).await;
    let by_provider = first("chat", r#"{"provider":{"objective":{"p95":"500ms"}}}"#).await;
    assert!((1..=3).contains(&(by_header + by_provider)), "{by_header} {by_provider}");
    assert_eq!(first("chat", "{}").await, 10);
    // What the model says already goes before what is more.
    let kept = first("strict", r#"{"objective":{"p95":"10m"}}"#).await;
    assert!((1..=3).contains(&kept), "{kept}");
    for wrong in [r#"{"objective":{"p95":"soon"}}"#, r#"{"objective":{"p99":"1s"}}"#] {
        let mut req = ask(r#"{"model":"chat"}"#, None);
        req.headers_mut().insert("x-bartizan-choose", wrong.parse().unwrap());
        assert_eq!(answered(&dispatch, req).await.unwrap_err().kind(), Kind::InvalidRequest, "{wrong}");
    }
}

#[derive(Debug)]
struct ByLength;

impl Classify for ByLength {
    fn classify<'a>(&'a self, facts: &'a Facts<'_>) -> crate::BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(async { (facts.text().len() > 3).then(|| "long".into()) })
    }
}

#[tokio::test]
async fn a_task_leads_to_its_route_where_no_rule_holds() {
    let seen = Seen::default();
    let tasks = Tasks::new(ByLength, [("long".into(), Route::new("long", [candidate(&seen, "p/long")]))]);
    let streams =
        Rule::new("streams", If(|facts| facts.stream(), false), Route::new("s", [candidate(&seen, "p/s")]));
    let dispatch = table([Route::new("auto", [candidate(&seen, "p/usual")]).rule(streams).classify(tasks)]);
    let body = |text: &str, more: &str| {
        format!(r#"{{"model":"auto"{more},"messages":[{{"role":"user","content":"{text}"}}]}}"#)
    };

    assert_eq!(who(&dispatch, &body("hi", "")).await, "p/usual");
    assert_eq!(who(&dispatch, &body("hello", "")).await, "p/long");
    assert_eq!(who(&dispatch, &body("hello", r#","stream":true"#)).await, "p/s");
}

#[tokio::test]
async fn a_dispatch_that_stands_alone_goes_by_rules_too() {
    let seen = Seen::default();
    let rule = Rule::new("always", If(|_| true, false), Route::new("x", [candidate(&seen, "p/x")]));
    let dispatch = table([Route::new("chat", [candidate(&seen, "p/usual")]).rule(rule)]);

    let res = dispatch.oneshot(ask(r#"{"model":"chat","provider":{}}"#, None)).await.unwrap();

    assert_eq!(res.headers()["x-bartizan-rule"], "always");
    assert_eq!(*lock(&seen), [r#"p/x {"model":"x"}"#]);
}

/// Begins an attempt, and answers with `body`.
fn attempting(name: &str, body: &'static str) -> Candidate {
    let target = Arc::new(target(name, 1));
    let own = target.clone();
    let service = tower::service_fn(move |req: Request<Payload>| {
        let attempt = req.body().begin(&own);
        async move {
            attempt.finish(Outcome::Answered);
            Ok::<_, Error>(http::Response::new(http_body_util::Full::from(body)))
        }
    });
    Candidate::new(target, service)
}

#[tokio::test]
async fn what_is_asked_to_choose_is_no_attempt_to_answer() {
    let embedder = ProviderEmbeddings::new(attempting("p/e", r#"{"data":[{"index":0,"embedding":[1]}]}"#));
    let nearest = Nearest::new(Arc::new(embedder), 0.5).example("task", "an example");
    let tasks = Tasks::new(nearest, [("task".into(), Route::new("task", [attempting("p/m", "{}")]))]);
    let dispatch = table([Route::new("auto", []).classify(tasks)]);
    let req = ask(r#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#, None);
    let exchange = req.body().exchange().clone();

    let (target, headers) = answered(&dispatch, req).await.unwrap();

    assert_eq!((&*target, &headers["x-bartizan-attempts"]), ("p/m", &"1".parse().unwrap()));
    let record = crate::record::Record::new(&exchange, Default::default(), None, crate::body::End::Complete);
    let roles: Vec<_> = record.attempts.iter().map(|attempt| attempt.role).collect();
    assert_eq!(roles, [Role::Embedding, Role::Embedding, Role::Answer]);
    assert_eq!(record.answering().map(|attempt| &*attempt.target), Some("p/m"));
    assert_eq!(record.answers().count(), 1);
}
