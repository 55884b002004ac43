//! Who may get to see a request, what it may cost and who pays for that, wherever it is led.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::*;
use crate::{
    BoxFuture, Tokens,
    auth::{ProviderKey, Providers},
    budget::BudgetLayer,
    dispatch::{Mirror, Mirrors},
    ledger::{Measure, Scope},
    payload::{Head, Resource},
    secret::Secret,
    testing::Remote,
};

/// Reads texts at a provider in the region `us`, and takes all of them for the same.
#[derive(Clone, Debug)]
struct Elsewhere {
    target: Arc<Target>,
    asked: Arc<AtomicU32>,
}

impl Elsewhere {
    fn new() -> Self {
        let target = target("reader/embeddings", 1).region(Some("us"));
        Self { target: Arc::new(target), asked: Arc::default() }
    }

    /// How often it was asked since it was asked for this the last time.
    fn asked(&self) -> u32 {
        self.asked.swap(0, Relaxed)
    }
}

impl Embed for Elsewhere {
    fn name(&self) -> &str {
        self.target.name()
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        exchange: &'a Exchange,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        self.asked.fetch_add(1, Relaxed);
        exchange.begin_as(Role::Embedding, &self.target).report(Tokens { input: 1_000, ..Tokens::default() });
        Box::pin(async { Ok(vec![vec![1.0]; texts.len()]) })
    }
}

/// A model whose requests are of the one task there is, if somebody reads them.
fn read_by(embedder: &Elsewhere, seen: &Seen) -> Route {
    let nearest = Nearest::new(Arc::new(embedder.clone()), 0.5).example("task", "an example");
    let at = |name| candidate_of(seen, target(name, 1).region(Some("us")), false);
    let tasks = Tasks::new(nearest, [("task".into(), Route::new("task", [at("p/task")]))]);
    Route::new("auto", [at("p/usual")]).classify(tasks)
}

const ASKS: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn an_embedder_is_not_asked_where_the_key_forbids_its_provider() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let without = |name: &str| {
        let deny = vec![Pattern::new(name)];
        VirtualKey::new("k").providers(Providers { allow: None, deny })
    };

    for (key, expected) in [(without("other"), "p/task"), (without("reader"), "p/usual")] {
        let (target, _) = answered(&dispatch, ask(ASKS, Some(key))).await.unwrap();

        assert_eq!((&*target, embedder.asked() > 0), (expected, expected == "p/task"));
    }
}

#[tokio::test]
async fn an_embedder_is_not_asked_outside_of_the_regions_of_the_route() {
    for (region, expected) in [("us", "p/task"), ("eu", "nobody")] {
        let (embedder, seen) = (Elsewhere::new(), Seen::default());
        let dispatch = table([read_by(&embedder, &seen).regions([Pattern::new(region)])]);

        let target = answered(&dispatch, ask(ASKS, None)).await.map_or("nobody".to_owned(), |(it, _)| it);

        assert_eq!((&*target, embedder.asked() > 0), (expected, region == "us"));
    }
}

#[tokio::test]
async fn regions_of_the_model_that_was_asked_for_hold_for_the_embedder_of_the_one_it_leads_to() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let rule = Rule::new("always", If(|_| true, false), read_by(&embedder, &seen));
    let dispatch = table([Route::new("chat", []).regions([Pattern::new("eu")]).rule(rule)]);

    assert!(answered(&dispatch, ask(&ASKS.replace("auto", "chat"), None)).await.is_err());

    assert_eq!((embedder.asked(), lock(&seen).len()), (0, 0));
}

#[tokio::test]
async fn regions_of_the_first_model_hold_for_the_embedder_of_another_that_is_named() {
    for (region, is_read) in [("us", true), ("eu", false)] {
        let (embedder, seen) = (Elsewhere::new(), Seen::default());
        let first = Route::new("chat", []).regions([Pattern::new(region)]);
        let dispatch = table([first, read_by(&embedder, &seen)]);
        let body = ASKS.replacen("\"auto\"", "\"chat\",\"models\":[\"chat\",\"auto\"]", 1);

        let _ = answered(&dispatch, ask(&body, None)).await;

        assert_eq!(embedder.asked() > 0, is_read, "{region}");
    }
}

#[tokio::test]
async fn nobody_is_asked_for_an_explanation_which_says_so() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen), Route::new("none", [candidate(&seen, "p/m")])]);
    let ruled_out = ASKS.replacen('{', r#"{"provider":{"ignore":["reader"]},"#, 1);

    let told = dispatch.explain(None, ask(ASKS, None)).await.unwrap();
    let without = dispatch.explain(None, ask(&ruled_out, None)).await.unwrap();
    let other = dispatch.explain(None, ask(&ASKS.replace("auto", "none"), None)).await.unwrap();

    assert_eq!((&*told.route, told.rule), ("auto", None));
    assert_eq!((embedder.asked(), lock(&seen).len()), (0, 0));
    let might = "`reader/embeddings` is asked what kind of task it is, but not for an explanation: the request may go elsewhere";
    let never =
        "`reader/embeddings` is not asked what kind of task it is, so it is of none: among `provider.ignore`";
    assert_eq!((told.undecided, without.undecided), (vec![might.to_owned()], vec![never.to_owned()]));
    assert!(other.undecided.is_empty());
}

#[tokio::test]
async fn what_the_client_rules_out_for_the_answer_does_not_read_the_request_on_the_way_either() {
    for (wishes, expected) in [
        (r#"{"provider":{"ignore":["none"]}}"#, "p/task"),
        (r#"{"provider":{"only":["p","reader"]}}"#, "p/task"),
        (r#"{"provider":{"only":["p"]}}"#, "p/usual"),
        (r#"{"provider":{"ignore":["Reader"]}}"#, "p/usual"),
        (r#"{"provider":{"order":["p"]}}"#, "p/task"),
        (r#"{"provider":{"order":["p"],"allow_fallbacks":false}}"#, "p/usual"),
        (r#"{"regions":"us"}"#, "p/task"),
        (r#"{"regions":["eu-*"]}"#, "nobody"),
        (r#"{"provider":{"regions":"eu-*"}}"#, "nobody"),
    ] {
        let (embedder, seen) = (Elsewhere::new(), Seen::default());
        let dispatch = table([read_by(&embedder, &seen)]);
        let mut req = ask(ASKS, None);
        req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());

        let target = answered(&dispatch, req).await.map_or("nobody".to_owned(), |(it, _)| it);

        assert_eq!((&*target, embedder.asked() > 0), (expected, expected == "p/task"), "{wishes}");
    }
}

#[tokio::test]
async fn nobody_is_paid_on_the_way_more_than_the_answer_may_cost() {
    // An answer of about 16,384 tokens costs as many millionths of a dollar, and a reading about five.
    for (wishes, route, expected) in [
        (r#"{"max_cost":0.02}"#, None, "p/task"),
        (r#"{"max_cost":0.000001}"#, None, "nobody"),
        ("{}", Some(NanoUsd(20_000_000)), "p/task"),
        ("{}", Some(NanoUsd(1_000)), "nobody"),
        (r#"{"provider":{"max_price":{"prompt":1}}}"#, None, "p/task"),
        (r#"{"provider":{"max_price":{"prompt":0.5}}}"#, None, "nobody"),
    ] {
        let (embedder, seen) = (Elsewhere::new(), Seen::default());
        let auto = route.map_or(read_by(&embedder, &seen), |most| read_by(&embedder, &seen).max_cost(most));
        let dispatch = table([auto]);
        let mut req = ask(ASKS, None);
        req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());

        let target = answered(&dispatch, req).await.map_or("nobody".to_owned(), |(it, _)| it);

        assert_eq!((&*target, embedder.asked() > 0), (expected, expected == "p/task"), "{wishes}");
    }
}

#[tokio::test]
async fn regions_that_a_client_asks_for_narrow_those_of_the_key_and_the_model() {
    let seen = Seen::default();
    let at = |name, region| candidate_of(&seen, target(name, 1).region(Some(region)), false);
    let everywhere = || [at("p/us", "us-east-1"), at("p/eu", "eu-west-1"), at("p/de", "eu-central-1")];
    let dispatch = table([
        Route::new("chat", everywhere()),
        Route::new("bound", everywhere()).regions([Pattern::new("us-*"), Pattern::new("eu-central-*")]),
    ]);
    let key = |region| Some(VirtualKey::new("k").regions([Pattern::new(region)]));
    let nobody = |model: &str, field: &str, regions: &str| {
        format!("{field}: none of those who may answer `{model}` is known to be in {regions}")
    };
    for (model, wishes, key, expected) in [
        ("chat", r#"{"regions":"eu-*"}"#, None, "p/eu".to_owned()),
        ("chat", r#"{"regions":["eu-central-*","none"]}"#, None, "p/de".to_owned()),
        ("chat", r#"{"regions":"eu-*","provider":{"regions":["eu-central-*"]}}"#, None, "p/de".to_owned()),
        ("bound", r#"{"regions":"eu-*"}"#, None, "p/de".to_owned()),
        ("bound", r#"{"regions":"eu-west-*"}"#, None, nobody("bound", "regions", "eu-west-*")),
        ("chat", r#"{"regions":"eu-*"}"#, key("eu-central-*"), "p/de".to_owned()),
        ("chat", r#"{"regions":"eu-*"}"#, key("us-*"), nobody("chat", "regions", "eu-*")),
        ("chat", r#"{"provider":{"regions":["mars"]}}"#, None, nobody("chat", "provider.regions", "mars")),
        ("chat", r#"{"regions":[]}"#, None, "regions: names no region".to_owned()),
    ] {
        let mut req = ask(&format!(r#"{{"model":"{model}"}}"#), key);
        req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());

        let told = answered(&dispatch, req).await.map_or_else(|error| error.message().to_owned(), |it| it.0);

        assert_eq!(told, expected, "{model} {wishes}");
    }
    let body = r#"{"model":"chat","provider":{"regions":"eu-*"}}"#;
    assert_eq!(who(&dispatch, body).await, "p/eu");
    assert_eq!(lock(&seen).last().unwrap(), r#"p/eu {"model":"eu"}"#);
}

#[tokio::test]
async fn what_only_one_target_keeps_is_refused_where_the_client_rules_that_one_out() {
    let seen = Seen::default();
    let at = |name, region| candidate_of(&seen, target(name, 1).region(Some(region)), false);
    let dispatch = table([Route::new("films", [at("p/us", "us"), at("p/eu", "eu")])]);
    for (wishes, expected) in [
        (r#"{"regions":"us"}"#, "p/us"),
        (
            r#"{"regions":"eu"}"#,
            "x-bartizan-choose: only `p/us` can be asked for this, which is not known to be in eu, as `regions` wants it",
        ),
        (
            r#"{"provider":{"only":["q"]}}"#,
            "x-bartizan-choose: only `p/us` can be asked for this, which is not among `provider.only`",
        ),
    ] {
        let mut req = ask(r#"{"model":"films"}"#, None).map(|payload| {
            let resource = Resource { method: http::Method::POST, path: "/videos".into(), target: None };
            let head = Head { resource: Some(resource), ..payload.head().clone() };
            let source = payload.source().clone();
            payload.rewritten(head, source)
        });
        req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());

        let told = answered(&dispatch, req).await.map_or_else(|error| error.message().to_owned(), |it| it.0);

        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_mirror_that_the_client_rules_out_gets_no_copy() {
    for (wishes, expected) in [
        ("{}", 1),
        (r#"{"provider":{"ignore":["copy"]}}"#, 0),
        (r#"{"provider":{"only":["p"]}}"#, 0),
        (r#"{"provider":{"only":["p","copy"]}}"#, 1),
        (r#"{"regions":"us"}"#, 0),
        (r#"{"max_cost":1}"#, 1),
    ] {
        let seen = Seen::default();
        let at = |name, region| candidate_of(&seen, target(name, 1).region(Some(region)), false);
        let mirrors = Mirrors::default();
        let mirror = Mirror::new(at("copy/m", "eu"), &mirrors);
        let dispatch = table([Route::new("chat", [at("p/m", "us")]).mirror(mirror)]);
        let mut req = ask(r#"{"model":"chat"}"#, None);
        req.headers_mut().insert("x-bartizan-choose", wishes.parse().unwrap());

        answered(&dispatch, req).await.unwrap();
        mirrors.finished().await;

        let copies = lock(&seen).iter().filter(|body| body.starts_with("copy/")).count();
        assert_eq!(copies, expected, "{wishes}");
    }
}

#[tokio::test]
async fn a_model_that_the_key_may_not_use_is_not_explained() {
    let seen = Seen::default();
    let dispatch = table([Route::new("chat", [candidate(&seen, "p/m")])]);
    let key = VirtualKey::new("k").allow([Pattern::new("other")]);

    let error = dispatch.explain(None, ask(r#"{"model":"chat"}"#, Some(key))).await.unwrap_err();

    assert_eq!((error.kind(), error.param()), (Kind::Forbidden, Some("model")));
}

#[tokio::test]
async fn another_model_with_limits_of_its_own_is_asked_for_alone() {
    let seen = Seen::default();
    let dispatch = table(["chat", "opus"].map(|name| Route::new(name, [candidate(&seen, "p/m")])));
    let quota = Quota::usd(NanoUsd::from_usd(1), Period::Day);
    let limited = Scope { models: Some(Pattern::new("*opus*")), ..Scope::new("key:k", quota) };
    let asked = async |key: VirtualKey| {
        answered(&dispatch, ask(r#"{"model":"chat","models":["chat","opus"]}"#, Some(key))).await
    };

    let free = asked(VirtualKey::new("k").quota(quota)).await;
    let refused = asked(VirtualKey::new("k").scope(limited)).await.unwrap_err();

    assert!(free.is_ok());
    assert_eq!((refused.kind(), refused.param()), (Kind::Forbidden, Some("models")));
    assert!(refused.message().contains("`opus`"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_another_model_may_cost_its_targets_may() {
    let seen = Seen::default();
    // An answer of about 16,384 tokens costs as many millionths of so many dollars.
    let other =
        [("p/dear", 100), ("p/cheap", 1)].map(|(name, usd)| candidate_of(&seen, target(name, usd), false));
    let dispatch = table([
        Route::new("chat", [failing(&seen, "p/down")]),
        Route::new("other", other).max_cost(NanoUsd::from_usd(1)),
    ]);

    assert_eq!(who(&dispatch, r#"{"model":"chat","models":["other"]}"#).await, "p/cheap");

    assert!(!lock(&seen).iter().any(|body| body.starts_with("p/dear")));
}

#[tokio::test]
async fn where_all_models_that_are_named_are_too_dear_the_client_is_told_the_figures() {
    let seen = Seen::default();
    let dear = |name| Route::new(name, [candidate(&seen, "p/m")]).max_cost(NanoUsd(1_000));
    let dispatch = table([dear("chat"), dear("other")]);

    let refused = answered(&dispatch, ask(r#"{"model":"chat","models":["other"]}"#, None)).await.unwrap_err();

    assert_eq!(refused.kind(), Kind::TooExpensive);
    assert!(refused.message().contains("cost $0.016") && refused.message().contains("may cost $0.000001"));
}

/// What was charged for two readings.
const READ_TWICE: NanoUsd = NanoUsd(2_000_000);

fn spent(ledger: &MemoryLedger) -> NanoUsd {
    NanoUsd(ledger.balance("key:k", Measure::Usd, Period::Month).map_or(0, |balance| balance.posted))
}

/// A key with such a budget for the month, and who knows what of it is used.
fn with_budget(budget: NanoUsd) -> (VirtualKey, Arc<MemoryLedger>) {
    (VirtualKey::new("k").quota(Quota::usd(budget, Period::Month)), Arc::default())
}

/// Asks through the budget, as the proxy does.
async fn charged(
    dispatch: &Dispatch,
    ledger: &Arc<MemoryLedger>,
    req: Request<Payload>,
) -> Result<(), Error> {
    let ledger: Arc<dyn Ledger> = ledger.clone();
    let budget = BudgetLayer::new(ledger.clone(), Arc::new(dispatch.clone())).layer(dispatch.clone());
    let answer = ChooseLayer::new(dispatch.clone()).ledger(ledger).layer(budget).oneshot(req).await?;
    http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn what_was_read_for_a_request_that_is_refused_is_charged_all_the_same() {
    let nobody = r#"{"provider":{"ignore":["p"]},"#;
    for (body, kind) in
        [(ASKS.to_owned(), Kind::BudgetExhausted), (ASKS.replacen('{', nobody, 1), Kind::InvalidRequest)]
    {
        let (embedder, seen) = (Elsewhere::new(), Seen::default());
        let dispatch = table([read_by(&embedder, &seen)]);
        // An answer is about sixteen times as dear.
        let (key, ledger) = with_budget(NanoUsd(3_000_000));
        let req = ask(&body, Some(key));
        let exchange = req.body().exchange().clone();

        let refused = charged(&dispatch, &ledger, req).await.unwrap_err();

        assert_eq!((refused.kind(), lock(&seen).len()), (kind, 0));
        assert_eq!((spent(&ledger), exchange.cost()), (READ_TWICE, READ_TWICE), "{body}");
    }
}

#[tokio::test]
async fn what_was_read_for_a_request_that_is_answered_is_charged_once_and_held_with_it() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let (key, ledger) = with_budget(NanoUsd::from_usd(1));
    let worst = ask(ASKS, Some(key.clone()));
    let worst = crate::budget::Prices::worst_case(&dispatch, worst.body()).unwrap();
    let req = ask(ASKS, Some(key));
    let exchange = req.body().exchange().clone();

    charged(&dispatch, &ledger, req).await.unwrap();

    assert_eq!(spent(&ledger), READ_TWICE);
    let reserved = exchange.learn(|learnt| learnt.reserved);
    assert!(reserved >= Some(worst + READ_TWICE), "{reserved:?}, {worst}");
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_pays_for_what_was_read() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let (key, ledger) = with_budget(NanoUsd::from_usd(1));
    let never = tower::service_fn(|_: Request<Payload>| Ending::DroppedBeforeHead.answer());
    let layer = ChooseLayer::new(dispatch).ledger(ledger.clone());

    let mut waiting = Box::pin(layer.layer(never).oneshot(ask(ASKS, Some(key))));
    assert!(crate::testing::poll_once(&mut waiting).is_pending());
    assert_eq!(spent(&ledger), NanoUsd(0));
    drop(waiting);

    assert_eq!(spent(&ledger), READ_TWICE);
}

#[tokio::test]
async fn a_client_that_leaves_pays_also_where_the_ledger_takes_its_time() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let (key, ledger) = with_budget(NanoUsd::from_usd(1));
    let never = tower::service_fn(|_: Request<Payload>| Ending::DroppedBeforeHead.answer());
    let layer = ChooseLayer::new(dispatch).ledger(Arc::new(Remote(ledger.clone())));

    let mut waiting = Box::pin(layer.layer(never).oneshot(ask(ASKS, Some(key))));
    assert!(crate::testing::poll_once(&mut waiting).is_pending());
    drop(waiting);
    while spent(&ledger) == NanoUsd(0) {
        tokio::task::yield_now().await;
    }

    assert_eq!(spent(&ledger), READ_TWICE);
}

#[tokio::test]
async fn nobody_is_asked_for_whom_the_caller_can_not_pay() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let (key, ledger) = with_budget(NanoUsd(1_000_000));
    let all = Amounts { cost: NanoUsd(1_000_000), ..Amounts::default() };
    let ticket = ledger.reserve(&key.scopes, all).await.unwrap();
    ledger.settle(ticket, all);

    let refused = charged(&dispatch, &ledger, ask(ASKS, Some(key))).await.unwrap_err();

    assert_eq!((refused.kind(), embedder.asked()), (Kind::BudgetExhausted, 0));
}

#[tokio::test]
async fn nobody_is_asked_where_the_caller_pays_its_provider_itself() {
    let (embedder, seen) = (Elsewhere::new(), Seen::default());
    let dispatch = table([read_by(&embedder, &seen)]);
    let mut req = ask(ASKS, None);
    req.extensions_mut().insert(ProviderKey(Secret::new("sk-own")));
    req.body().exchange().learn(|learnt| learnt.own_key = true);

    let (target, _) = answered(&dispatch, req).await.unwrap();

    assert_eq!((&*target, embedder.asked()), ("p/usual", 0));
}
