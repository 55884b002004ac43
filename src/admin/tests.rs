use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use super::{AdminLayer, Settings, operation::OPERATIONS};
use crate::{
    audit::{MemoryAudit, Trail},
    auth::{KeyDigest, KeyStore, Lookup, MemoryKeys, VirtualKey},
    config::{Builder, Config},
    dialect::Dialects,
    directory::{Directory, MemoryDirectory},
    dispatch::Dispatch,
    ledger::{Amounts, Ledger, MemoryLedger, Period, Quota, Scope},
    price::NanoUsd,
    render_errors::RenderErrorsLayer,
    testing::{MustBeReady, Script, Step, is_shared},
};

const ADMIN: &str = "the-key-of-the-administrators";

const FILE: &str = "admin: { key: the-key-of-the-administrators }\n\
    teams: { filed: { budget: { usd: 7, per: month } } }\n\
    keys: [ { name: filed, key: a-key-that-is-in-the-file, team: filed } ]\n";

struct Gateway {
    layer: AdminLayer,
    keys: Arc<MemoryKeys>,
    ledger: Arc<MemoryLedger>,
    directory: Arc<MemoryDirectory>,
}

impl Gateway {
    async fn new(file: &str) -> Self {
        Self::over(Arc::default(), file).await
    }

    /// Another node of the same directory.
    async fn beside(other: &Self, file: &str) -> Self {
        Self::over(other.directory.clone(), file).await
    }

    async fn over(directory: Arc<MemoryDirectory>, file: &str) -> Self {
        let keys = Arc::new(MemoryKeys::default());
        let ledger = Arc::new(MemoryLedger::default());
        let file = Config::read(file, "f", &|_| None).unwrap();
        let settings = Settings::open(file, directory.clone(), keys.clone()).await.unwrap();
        let settings = settings.audit(Trail::new(Arc::new(MemoryAudit::default()), ledger.clone()).0);
        let layer = AdminLayer::new(Arc::new(settings), ledger.clone());
        Self { layer, keys, ledger, directory }
    }

    async fn send(&self, req: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let inner = async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Script::new([Step::Data("\"inner\"")])))
        };
        let service =
            RenderErrorsLayer::new(Dialects::default()).layer(self.layer.layer(MustBeReady::new(inner)));
        is_shared(&self.layer.layer(MustBeReady::new(inner)));
        let answer = service.oneshot(req).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn ask(&self, line: &str, body: Value) -> (u16, Value) {
        let (status, value) = self.send(request(line, &body)).await;
        (status.as_u16(), value)
    }

    /// The message of a refusal.
    async fn refused(&self, line: &str, body: Value) -> (u16, String) {
        let (status, value) = self.ask(line, body).await;
        (status, value["error"]["message"].as_str().unwrap_or_default().to_owned())
    }

    fn finds(&self, key: &Value) -> Option<Arc<VirtualKey>> {
        match self.keys.find(&KeyDigest::of(key.as_str().unwrap())) {
            Lookup::Known(found) => found,
            Lookup::Waiting(_) => None,
        }
    }
}

fn request(line: &str, body: &Value) -> Request<Full<Bytes>> {
    let (method, path) = line.split_once(' ').unwrap();
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

#[tokio::test]
async fn only_the_key_of_the_administrators_opens_and_other_paths_go_inwards() {
    let gateway = Gateway::new(FILE).await;
    let with = async |key: &str| {
        let mut req = request("GET /admin/v1/keys", &Value::Null);
        req.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        gateway.send(req).await.0
    };

    assert_eq!(with(ADMIN).await, StatusCode::OK);
    assert_eq!(with("a-key-that-is-in-the-file").await, StatusCode::UNAUTHORIZED);
    assert_eq!(with("").await, StatusCode::UNAUTHORIZED);
    assert_eq!(gateway.ask("GET /administrators", Value::Null).await.1, "inner");
    assert_eq!(gateway.ask("GET /admin/v1/nothing", Value::Null).await.0, 404);
    assert_eq!(gateway.ask("PUT /admin/v1/keys", Value::Null).await.0, 405);
}

#[tokio::test]
async fn neither_what_administrators_ask_nor_what_others_are_refused_is_recorded() {
    let gateway = Gateway::new(FILE).await;
    for (key, path, is_recorded) in [
        (ADMIN, "/admin/v1/keys", false),
        ("a-key-that-is-wrong", "/admin/v1/keys", false),
        (ADMIN, "/v1/models", true),
    ] {
        let mut req = request(&format!("GET {path}"), &Value::Null);
        req.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        let exchange = crate::Exchange::open(&mut req);

        gateway.send(req).await;

        assert_eq!(!exchange.learn(|learnt| learnt.unrecorded), is_recorded, "{key} {path}");
    }
}

#[tokio::test]
async fn who_is_logged_in_to_the_dashboard_needs_no_key_but_changes_nothing_from_elsewhere() {
    let gateway = Gateway::new(FILE).await;
    let cookie = crate::session::cookie(&crate::secret::Secret::new(ADMIN), &Request::new(())).unwrap();
    let session = cookie.split(';').next().unwrap();
    let ask = async |line: &str, headers: &[(&'static str, &str)]| {
        let mut req = request(line, &Value::Null);
        req.headers_mut().remove("authorization");
        for (name, value) in headers {
            req.headers_mut().insert(*name, value.parse().unwrap());
        }
        gateway.send(req).await.0.as_u16()
    };

    assert_eq!(ask("GET /admin/v1/keys", &[]).await, 401);
    assert_eq!(ask("GET /admin/v1/keys", &[("cookie", session)]).await, 200);
    assert_eq!(ask("POST /admin/v1/keys", &[("cookie", session)]).await, 403);
    let foreign = [("cookie", session), ("x-bartizan-csrf", "1"), ("sec-fetch-site", "cross-site")];
    assert_eq!(ask("DELETE /admin/v1/keys/filed", &foreign).await, 403);
    assert_eq!(ask("DELETE /admin/v1/keys/x", &[("cookie", session), ("x-bartizan-csrf", "1")]).await, 404);
    // Whoever presents a key is meant to be that one.
    assert_eq!(ask("GET /admin/v1/keys", &[("cookie", session), ("x-api-key", "wrong")]).await, 401);
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets() {
    let digest = KeyDigest::of("a-hashed-key");
    let file = format!(
        "{FILE}providers: {{ o: {{ kind: openai, api_key: sk-secret-1, headers: {{ x-a: sk-secret-2 }} }} }}\n"
    );
    let file = file.replace("keys: [", &format!("keys: [ {{ name: hashed, sha256: \"{digest}\" }},"));
    let gateway = Gateway::new(&file).await;
    gateway.ask("POST /admin/v1/keys", json!({ "name": "set" })).await;

    let (status, shown) = gateway.ask("GET /admin/v1/config", Value::Null).await;

    assert_eq!(status, 200);
    assert!(shown["loaded"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown["config"]["admin"]["key"], "***");
    assert_eq!(shown["config"]["teams"]["filed"]["budget"]["usd"], "7");
    assert_eq!(shown["config"]["keys"].as_array().unwrap().len(), 3);
    let text = shown.to_string();
    for secret in ["sk-secret", ADMIN, "a-key-that-is-in-the-file", &digest.to_string()] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn without_a_key_in_the_configuration_the_paths_are_not_there() {
    let gateway = Gateway::new("auth: open").await;

    for line in ["GET /admin/v1/keys", "GET /openapi.json", "POST /key/generate"] {
        assert_eq!(gateway.ask(line, Value::Null).await.0, 404, "{line}");
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_works_until_it_is_disabled_or_deleted() {
    let gateway = Gateway::new(FILE).await;
    let wanted = json!({ "name": "app", "team": "filed", "budget": { "usd": 2.5, "per": "month" },
        "deny": ["*-big"], "metadata": { "owner": "x" } });

    let (status, made) = gateway.ask("POST /admin/v1/keys", wanted).await;

    let key = &made["key"];
    assert_eq!((status, key.as_str().unwrap().len()), (201, 46), "{made}");
    assert_eq!(made["prefix"], key.as_str().unwrap()[..10]);
    assert!(!gateway.finds(key).unwrap().may_use("gpt-big"));
    let (_, shown) = gateway.ask("GET /admin/v1/keys/app", Value::Null).await;
    assert_eq!([&shown["source"], &shown["budget"]["usd"], &shown["metadata"]["owner"]], ["api", "2.5", "x"]);
    let digest = KeyDigest::of(key.as_str().unwrap()).to_string();
    let told = shown.to_string() + &gateway.ask("GET /admin/v1/keys", Value::Null).await.1.to_string();
    assert!(!told.contains(key.as_str().unwrap()) && !told.contains(&digest), "{told}");
    let stored = gateway.directory.read(None).await.unwrap().unwrap().documents;
    assert!(stored[0].content.contains(&digest) && !stored[0].content.contains(key.as_str().unwrap()));

    let (status, changed) =
        gateway.ask("PATCH /admin/v1/keys/app", json!({ "disabled": true, "metadata": null })).await;
    assert_eq!((status, &changed["disabled"], &changed["metadata"]), (200, &json!(true), &Value::Null));
    assert!(gateway.finds(key).unwrap().disabled);
    assert_eq!(gateway.ask("DELETE /admin/v1/keys/app", Value::Null).await.0, 200);
    assert!(gateway.finds(key).is_none());
    assert_eq!(gateway.ask("GET /admin/v1/keys/app", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_rotated_key_works_beside_the_new_one_for_the_grace() {
    let gateway = Gateway::new(FILE).await;
    let (_, made) = gateway.ask("POST /admin/v1/keys", json!({ "name": "app" })).await;

    let (_, second) = gateway.ask("POST /admin/v1/keys/app/rotate", json!({ "grace": "1h" })).await;

    assert!(gateway.finds(&second["key"]).unwrap().expires.is_none());
    let end = gateway.finds(&made["key"]).unwrap().expires.unwrap();
    let left = end.duration_since(std::time::SystemTime::now()).unwrap().as_secs();
    assert!((3_590..=3_600).contains(&left), "{left}");

    let (_, third) = gateway.ask("POST /admin/v1/keys/app/rotate", Value::Null).await;
    assert!(gateway.finds(&second["key"]).is_none() && gateway.finds(&third["key"]).is_some());
    assert!(gateway.finds(&made["key"]).is_some());
    for wrong in [json!({ "grace": "31d" }), json!({ "grace": 5 }), json!({ "garce": "1h" })] {
        assert_eq!(gateway.ask("POST /admin/v1/keys/app/rotate", wrong).await.0, 400);
    }
}

#[tokio::test]
async fn what_the_file_sets_is_shown_and_not_changed() {
    let gateway = Gateway::new(FILE).await;

    assert_eq!(gateway.ask("GET /admin/v1/teams/filed", Value::Null).await.1["source"], "file");
    for (line, body) in [
        ("PATCH /admin/v1/teams/filed", json!({})),
        ("DELETE /admin/v1/keys/filed", Value::Null),
        ("POST /admin/v1/keys/filed/rotate", Value::Null),
        ("POST /admin/v1/teams", json!({ "name": "filed" })),
    ] {
        let (status, message) = gateway.refused(line, body).await;
        assert_eq!(status, 409, "{line}");
        assert!(message.contains("is set in the configuration's file; change it there"), "{message}");
    }
}

#[tokio::test]
async fn the_same_wish_twice_is_one_entry() {
    let gateway = Gateway::new(FILE).await;
    let team = json!({ "name": "t", "budget": { "usd": 5, "per": "day" } });

    assert_eq!(gateway.ask("POST /admin/v1/teams", team.clone()).await.0, 201);
    assert_eq!(gateway.ask("POST /admin/v1/teams", team).await.0, 200);
    assert_eq!(gateway.ask("POST /admin/v1/teams", json!({ "name": "t" })).await.0, 409);

    let key = || {
        let mut req = request("POST /admin/v1/keys", &json!({ "name": "k" }));
        req.headers_mut().insert("idempotency-key", "one".parse().unwrap());
        req
    };
    let (first, again) = (gateway.send(key()).await, gateway.send(key()).await);
    assert!(first.1["key"].is_string());
    assert_eq!(first, again);
    let (status, without) = gateway.ask("POST /admin/v1/keys", json!({ "name": "k" })).await;
    assert_eq!((status, &without["key"]), (200, &Value::Null));
    let other = key().map(|_| Full::new(Bytes::from_static(br#"{"name":"other"}"#)));
    assert_eq!(gateway.send(other).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_wish_that_is_sent_to_another_node_again_has_the_same_answer() {
    let one = Gateway::new(FILE).await;
    let other = || Gateway::beside(&one, FILE);
    let wish = |body: Value| {
        let mut req = request("POST /admin/v1/keys", &body);
        req.headers_mut().insert("idempotency-key", "one".parse().unwrap());
        req
    };
    let key = || wish(json!({ "name": "k", "team": "filed" }));
    // It has not seen what is made now.
    let (late, stranger) = (other().await, other().await);

    let first = one.send(key()).await;
    let again = late.send(key()).await;

    assert_eq!((first.0, again.0), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.1, again.1);
    assert!(one.finds(&first.1["key"]).is_some() && late.finds(&first.1["key"]).is_some());
    let shown = one.ask("GET /admin/v1/keys/k", Value::Null).await.1;
    assert_eq!((&shown["key"], &shown["seed"]), (&Value::Null, &Value::Null));
    // Nobody else makes the key again.
    let mut guessed = key();
    guessed.headers_mut().insert("idempotency-key", "two".parse().unwrap());
    assert_eq!(stranger.send(guessed).await.1["key"], Value::Null);
    // Nor is one that was replaced told again.
    one.ask("POST /admin/v1/keys/k/rotate", json!({})).await;
    assert_eq!(other().await.send(key()).await.1["key"], Value::Null);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_place() {
    let gateway = Gateway::new(FILE).await;

    for (line, body, expected) in [
        ("POST /admin/v1/keys", json!({ "name": "a", "team": "nobody" }), "team: unknown team `nobody`"),
        (
            "POST /admin/v1/keys",
            json!({ "name": "a", "buget": 1 }),
            "unknown field `buget`, did you mean `budget`?",
        ),
        (
            "POST /admin/v1/keys",
            json!({ "name": "a", "budget": { "usd": "x", "per": "day" } }),
            "budget.usd: expected an amount",
        ),
        (
            "POST /admin/v1/keys",
            json!({ "name": "a", "budget": { "per": "day" } }),
            "budget: has neither `usd` nor `tokens`",
        ),
        ("POST /admin/v1/keys", json!({ "name": "" }), "name: has from 1 to 256 bytes"),
        ("POST /admin/v1/keys", json!({ "name": "a", "previous": [] }), "previous: is set by the gateway"),
        (
            "POST /admin/v1/keys",
            json!({ "name": "a", "key": "a-key-that-is-in-the-file" }),
            "is the same key as keys[0]",
        ),
        ("POST /admin/v1/teams", json!({ "name": "a", "customer": "nobody" }), "customer: unknown customer"),
        ("POST /admin/v1/teams", json!([]), "the body is not a JSON object"),
        ("GET /admin/v1/keys?limit=0", Value::Null, "limit: expected a number from 1 to 1000"),
        ("GET /admin/v1/keys?taem=x", Value::Null, "unknown parameter `taem`"),
        ("GET /admin/v1/usage?key=a&team=b", Value::Null, "say whose usage"),
        ("GET /admin/v1/usage?tag=a", Value::Null, "tag: expected a tag such as feature=search"),
        ("GET /admin/v1/usage?since=yesterday", Value::Null, "since: expected a day such as"),
        ("GET /admin/v1/usage?since=401d", Value::Null, "since: is longer ago than the 400 days"),
        ("GET /admin/v1/usage?since=1d&until=2d", Value::Null, "until: is before `since`"),
    ] {
        let (status, message) = gateway.refused(line, body).await;
        assert_eq!(status, 400, "{line} {message}");
        assert!(message.contains(expected), "{line} {message}");
    }
    let large = request("POST /admin/v1/keys", &json!({ "name": "x".repeat(70_000) }));
    assert_eq!(gateway.send(large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let mut form = request("POST /admin/v1/keys", &json!({ "name": "x" }));
    form.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(gateway.send(form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_team_that_is_needed_stays() {
    let gateway = Gateway::new(FILE).await;
    gateway.ask("POST /admin/v1/customers", json!({ "name": "c" })).await;
    gateway.ask("POST /admin/v1/teams", json!({ "name": "t", "customer": "c" })).await;
    gateway.ask("POST /admin/v1/keys", json!({ "name": "k", "team": "t" })).await;

    let (status, message) = gateway.refused("DELETE /admin/v1/teams/t", Value::Null).await;

    assert_eq!((status, &*message), (409, "the team `t` is still needed by key `k`"));
    assert_eq!(gateway.ask("DELETE /admin/v1/customers/c", Value::Null).await.0, 409);
    for path in ["keys/k", "teams/t", "customers/c"] {
        assert_eq!(gateway.ask(&format!("DELETE /admin/v1/{path}"), Value::Null).await.0, 200);
    }
}

#[tokio::test]
async fn a_change_of_another_version_is_refused() {
    let gateway = Gateway::new(FILE).await;
    let (_, made) = gateway.ask("POST /admin/v1/teams", json!({ "name": "t" })).await;
    let patch = || {
        let mut req = request("PATCH /admin/v1/teams/t", &json!({ "limits": { "concurrent": 5 } }));
        req.headers_mut().insert("if-match", made["version"].to_string().parse().unwrap());
        req
    };

    assert_eq!(gateway.send(patch()).await.0, StatusCode::OK);
    assert_eq!(gateway.send(patch()).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let gateway = Gateway::new(FILE).await;
    for name in ["b/1", "b 2", "a"] {
        gateway.ask("POST /admin/v1/keys", json!({ "name": name, "team": "filed" })).await;
    }
    gateway.ask("POST /admin/v1/keys", json!({ "name": "alone" })).await;
    let names = async |query: &str| {
        let (_, page) = gateway.ask(&format!("GET /admin/v1/keys{query}"), Value::Null).await;
        let names =
            page["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };

    assert_eq!(names("").await.0, ["a", "alone", "b 2", "b/1", "filed"]);
    assert_eq!(names("?limit=2").await, (vec!["a".into(), "alone".into()], Some("alone".into())));
    assert_eq!(names("?limit=2&after=b%202").await, (vec!["b/1".into(), "filed".into()], None));
    assert_eq!(names("?team=filed&prefix=b").await.0, ["b 2", "b/1"]);
    assert_eq!(gateway.ask("GET /admin/v1/keys/b%2F1", Value::Null).await.1["name"], "b/1");
}

#[tokio::test]
async fn usage_is_what_the_ledger_has() {
    let gateway = Gateway::new(FILE).await;
    let scopes = gateway.finds(&json!("a-key-that-is-in-the-file")).unwrap().scopes.clone();
    let ticket = gateway.ledger.reserve(&scopes, NanoUsd::from_usd(3).into()).await.unwrap();
    gateway.ledger.settle(ticket, NanoUsd::from_usd(2).into());

    let (_, team) = gateway.ask("GET /admin/v1/usage?team=filed", Value::Null).await;

    let usage = &team["usage"][0];
    assert_eq!([&usage["account"], &usage["used"], &usage["left"]], ["team:filed", "2", "5"]);
    assert_eq!(gateway.ask("GET /admin/v1/usage?key=nobody", Value::Null).await.0, 404);
}

#[tokio::test]
async fn usage_is_told_of_providers_too() {
    let providers =
        "providers: { demo: { kind: demo, limits: { requests: 5/day } }, free: { kind: demo } }\n";
    let gateway = Gateway::new(&format!("{FILE}{providers}")).await;

    let (_, demo) = gateway.ask("GET /admin/v1/usage?provider=demo", Value::Null).await;
    let (_, free) = gateway.ask("GET /admin/v1/usage?provider=free", Value::Null).await;

    let accounts = demo["usage"].as_array().unwrap();
    assert!(accounts.iter().all(|usage| usage["account"] == "provider:demo"), "{demo}");
    assert!(accounts.iter().any(|usage| usage["left"] == 5), "{demo}");
    assert_eq!(free["usage"], json!([]));
    assert_eq!(gateway.ask("GET /admin/v1/usage?provider=nobody", Value::Null).await.0, 404);
}

#[tokio::test]
async fn the_tools_of_litellm_find_what_they_know() {
    let gateway = Gateway::new(FILE).await;
    let wanted = json!({ "key_alias": "app", "team_id": "filed", "models": ["gpt-a"], "max_budget": 1.5,
        "budget_duration": "30d", "duration": "1d", "rpm_limit": 60, "tpm_limit": 1000,
        "max_parallel_requests": 2, "metadata": { "a": 1 }, "aliases": {}, "user_id": null });

    let (status, made) = gateway.ask("POST /key/generate", wanted).await;

    assert_eq!((status, &made["max_budget"], &made["rpm_limit"]), (200, &json!(1.5), &json!(60)), "{made}");
    let known = gateway.finds(&made["key"]).unwrap();
    assert!(known.may_use("gpt-a") && !known.may_use("gpt-b") && known.expires.is_some());
    let key = made["key"].as_str().unwrap();
    for text in [key, made["token"].as_str().unwrap(), "app"] {
        let (_, told) = gateway.ask(&format!("GET /key/info?key={text}"), Value::Null).await;
        assert_eq!((&told["info"]["key_alias"], &told["info"]["spend"]), (&json!("app"), &json!(0.0)));
        assert!(!told.to_string().contains(key));
    }
    let (status, changed) =
        gateway.ask("POST /key/update", json!({ "key": key, "max_budget": 9, "rpm_limit": null })).await;
    assert_eq!(
        (status, &changed["budget_duration"], &changed["max_budget"]),
        (200, &json!("30d"), &json!(9.0)),
        "{changed}"
    );
    assert_eq!((&changed["rpm_limit"], &changed["tpm_limit"]), (&Value::Null, &json!(1000)));
    assert_eq!(gateway.ask("GET /key/list", Value::Null).await.1["total_count"], 2);
    assert_eq!(gateway.ask("POST /key/delete", json!({ "keys": [key] })).await.0, 200);
    assert!(gateway.finds(&made["key"]).is_none());
    let (status, message) = gateway.refused("POST /key/generate", json!({ "soft_budget": 5 })).await;
    assert_eq!(status, 400);
    assert!(message.starts_with("soft_budget: can't be held to here"), "{message}");
    assert_eq!(gateway.ask("GET /key/info?key=sk-nobody", Value::Null).await.0, 404);
}

/// As `KeysManagementClient` of LiteLLM's own client sends it.
#[tokio::test]
async fn the_client_of_litellm_is_understood() {
    let gateway = Gateway::new(FILE).await;
    let brought = "sk-that-the-client-brings";
    let wanted = json!({ "api_key": brought, "models": ["gpt-a"], "aliases": {}, "spend": 0.0, "duration": "24h",
        "key_alias": "app", "team_id": "filed", "user_id": "u-1", "budget_id": null, "config": {},
        "key_type": "llm_api", "metadata": { "a": 1 } });

    let (status, made) = gateway.ask("POST /key/generate", wanted).await;

    assert_eq!((status, &made["key"], &made["user_id"]), (200, &json!(brought), &json!("u-1")), "{made}");
    assert_eq!(made["metadata"], json!({ "a": 1, "user_id": "u-1" }));
    assert!(gateway.finds(&json!(brought)).is_some());
    let list = async |filter: &str| {
        let line = format!("GET /key/list?page=1&size=5&include_team_keys=true&{filter}");
        gateway.ask(&line, Value::Null).await.1["total_count"].clone()
    };
    assert_eq!(
        [list("user_id=u-1").await, list("user_id=u-2").await, list("team_id=filed").await],
        [1, 0, 2]
    );
    assert_eq!(gateway.refused("POST /key/generate", json!({ "key_type": "management" })).await.0, 400);
    let gone = json!({ "keys": null, "key_aliases": ["app"] });
    assert_eq!(gateway.ask("POST /key/delete", gone.clone()).await.0, 200);
    assert!(gateway.finds(&json!(brought)).is_none());
    assert_eq!(gateway.ask("POST /key/delete", gone).await.0, 404);
}

#[tokio::test]
async fn every_path_is_described_and_what_is_described_is_there() {
    let gateway = Gateway::new(FILE).await;
    let without_key = Request::get("/openapi.json").body(Full::default()).unwrap();

    let (status, document) = gateway.send(without_key).await;

    assert_eq!(status, StatusCode::OK);
    let paths = document["paths"].as_object().unwrap();
    for operation in &OPERATIONS {
        let described = &paths[operation.path][operation.method.as_str().to_lowercase()];
        assert_eq!(described["summary"], operation.summary);
    }
    for (path, methods) in paths.iter().filter(|(path, _)| *path != "/v1/key") {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{name}", "filed").replace("{model}", "openai/gpt-x");
            let line = format!("{} {path}", method.to_uppercase());
            let (status, answer) = gateway.ask(&line, json!({})).await;
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(status != 405 && !message.contains("no such endpoint"), "{line}: {answer}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

const PRICED: &str = "admin: { key: the-key-of-the-administrators }\n\
    providers: { openai: { kind: openai, api_key: k } }\n\
    prices: { openai/gpt-4o: { input: 2, output: 3 } }\n";

#[tokio::test]
async fn a_price_is_set_shown_and_taken_back_and_the_file_wins() {
    let gateway = Gateway::new(PRICED).await;
    let of = async |model: &str| {
        let (_, page) = gateway.ask(&format!("GET /admin/v1/prices?model={model}"), Value::Null).await;
        let row = &page["data"][0];
        [&row["source"], &row["set_for"], &row["input"]].map(|value| value.as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(of("openai/gpt-4o-mini").await, ["list", "-", "0.15"]);

    let (status, set) =
        gateway.ask("PUT /admin/v1/prices/openai/gpt-4o*", json!({ "input": 1, "output": "4" })).await;

    assert_eq!((status, &set["source"], &set["version"]), (200, &json!("api"), &json!(1)));
    assert_eq!(of("openai/gpt-4o-mini").await, ["api", "openai/gpt-4o*", "1"]);
    assert_eq!(of("openai/gpt-4o").await, ["file", "openai/gpt-4o", "2"]);
    assert_eq!(of("openai/none").await, ["unknown", "-", "-"]);
    let (_, set) = gateway.ask("GET /admin/v1/prices?set=true", Value::Null).await;
    assert_eq!([&set["data"][0]["source"], &set["data"][1]["name"]], ["file", "openai/gpt-4o*"]);
    let (_, page) = gateway.ask("GET /admin/v1/prices?source=api&limit=2", Value::Null).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["next"]), (2, &page["data"][1]["model"]));
    for (line, body, status, expected) in [
        (
            "PUT /admin/v1/prices/openai%2Fgpt-4o",
            json!({ "input": 1, "output": 1 }),
            409,
            "set in the config",
        ),
        ("PUT /admin/v1/prices/gpt-4o", json!({ "input": 1, "output": 1 }), 400, "is matched with"),
        ("PUT /admin/v1/prices/openai/x", json!({ "input": 1 }), 400, "needs input and output"),
        ("PUT /admin/v1/prices/openai/x", json!({ "inptu": 1 }), 400, "did you mean `input`?"),
        ("DELETE /admin/v1/prices/openai/gpt-4o", Value::Null, 409, "set in the config"),
        ("GET /admin/v1/prices?source=x", Value::Null, 400, "source: expected one of"),
    ] {
        let (told, message) = gateway.refused(line, body).await;
        assert!(told == status && message.contains(expected), "{line} {told} {message}");
    }
    assert_eq!(gateway.ask("DELETE /admin/v1/prices/openai/gpt-4o*", Value::Null).await.0, 200);
    assert_eq!(of("openai/gpt-4o-mini").await, ["list", "-", "0.15"]);
}

#[tokio::test]
async fn what_stands_on_budgets_and_limits_is_shown_of_all_or_some() {
    let gateway = Gateway::new(FILE).await;
    let wanted = json!({ "name": "app", "budget": [{ "usd": 2, "per": "day" }, { "tokens": 9, "per": "day" }],
        "limits": { "requests": ["5/minute", "9/day"], "shadow": false, "models": { "a*": { "tokens": "3/day" } } } });
    gateway.ask("POST /admin/v1/keys", wanted).await;
    gateway.ask("POST /admin/v1/keys", json!({ "name": "without" })).await;
    let scopes = gateway.finds(&json!("a-key-that-is-in-the-file")).unwrap().scopes.clone();
    let _held = gateway.ledger.reserve(&scopes, NanoUsd::from_usd(3).into()).await.unwrap();
    let rows = async |line: &str| {
        let (_, page) = gateway.ask(&format!("GET /admin/v1/{line}"), Value::Null).await;
        let text = |row: &Value, field: &str| row[field].to_string().replace('"', "");
        let shown = |row: &Value| {
            ["account", "measure", "per", "limit", "left"].map(|field| text(row, field)).join(" ")
        };
        (page["data"].as_array().unwrap().iter().map(shown).collect::<Vec<_>>(), page["next"].clone())
    };

    let all = ["key:app usd day 2 2", "key:app tokens day 9 9", "team:filed usd month 7 4"];
    assert_eq!(rows("budgets").await, (all.map(str::to_owned).to_vec(), Value::Null));
    assert_eq!(
        rows("budgets?limit=1").await,
        (all[..2].iter().map(|row| (*row).to_owned()).collect(), json!("key:app"))
    );
    assert_eq!(rows("budgets?after=key:app").await.0, all[2..]);
    assert_eq!(rows("budgets?scope=team&name=filed").await.0, all[2..]);
    assert!(rows("budgets?scope=team&name=app").await.0.is_empty());
    assert_eq!(
        rows("limits").await.0,
        ["key:app requests day 9 9", "key:app a* tokens day 3 3", "key:app requests minute 5 null"]
    );
    let (_, page) = gateway.ask("GET /admin/v1/budgets?scope=key", Value::Null).await;
    let row = &page["data"][0];
    assert_eq!([&row["scope"], &row["name"], &row["source"], &row["held"]], ["key", "app", "api", "0"]);
    assert_eq!(gateway.refused("GET /admin/v1/limits?scope=keys", Value::Null).await.0, 400);
}

#[tokio::test]
async fn what_each_user_session_tag_and_provider_is_held_to_is_shown_too() {
    let gateway = Gateway::new(
        "admin: { key: the-key-of-the-administrators }\n\
         users: { budget: { usd: 1, per: day }, limits: { models: { \"a*\": { requests: 3/minute } } } }\n\
         tags: { feature: { budget: { usd: 5, per: day } }, \"feature=big\": { limits: { requests: 7/hour } } }\n\
         providers: { demo: { kind: demo, budget: { tokens: 9, per: day }, limits: { requests: 2/minute } } }\n",
    )
    .await;
    let bob = [Scope::new("user:bob", Quota::usd(NanoUsd::from_usd(1), Period::Day))];
    let ticket = gateway.ledger.reserve(&bob, NanoUsd::default().into()).await.unwrap();
    gateway.ledger.settle(ticket, NanoUsd(250_000_000).into());
    let rows = async |line: &str| {
        let (_, page) = gateway.ask(&format!("GET /admin/v1/{line}"), Value::Null).await;
        let text = |row: &Value, field: &str| row[field].to_string().replace('"', "");
        let fields = ["account", "measure", "per", "limit", "left", "each"];
        let shown = |row: &Value| fields.map(|field| text(row, field)).join(" ");
        page["data"].as_array().unwrap().iter().map(shown).collect::<Vec<_>>()
    };

    assert_eq!(
        rows("budgets").await,
        [
            "provider:demo tokens day 9 9 null",
            "tag:feature=* usd day 5 null true",
            "user:* usd day 1 null true"
        ]
    );
    assert_eq!(
        rows("limits").await,
        [
            "provider:demo requests minute 2 2 null",
            "tag:feature=big requests hour 7 7 null",
            "user:* a* requests minute 3 null true"
        ]
    );
    assert_eq!(rows("budgets?scope=user&name=bob").await, ["user:bob usd day 1 0.75 null"]);
    let of_acme = rows("budgets?scope=user&name=bob&customer=acme").await;
    assert_eq!(of_acme, ["customer:acme/user:bob usd day 1 1 null"]);
    assert_eq!(gateway.refused("GET /admin/v1/budgets?customer=acme", Value::Null).await.0, 400);
    assert_eq!(rows("budgets?scope=tag&name=feature=small").await, ["tag:feature=small usd day 5 5 null"]);
    assert_eq!(rows("limits?scope=tag&name=feature=big").await, ["tag:feature=big requests hour 7 7 null"]);
    assert_eq!(rows("budgets?scope=tag&limit=1").await, ["tag:feature=* usd day 5 null true"]);
    assert!(rows("budgets?scope=session").await.is_empty());
}

#[tokio::test]
async fn usage_of_past_days_is_told_of_what_is_gone_too() {
    let gateway = Gateway::new(FILE).await;
    let (_, made) = gateway.ask("POST /admin/v1/keys", json!({ "name": "app", "team": "filed" })).await;
    let scopes = gateway.finds(&made["key"]).unwrap().scopes.clone();
    let ticket = gateway.ledger.reserve(&scopes, NanoUsd::from_usd(3).into()).await.unwrap();
    gateway.ledger.settle(ticket, Amounts { cost: NanoUsd::from_usd(2), input: 5, output: 6 });
    gateway.ask("DELETE /admin/v1/keys/app", Value::Null).await;

    for account in ["key=app&", "team=filed&", ""] {
        let (status, usage) =
            gateway.ask(&format!("GET /admin/v1/usage?{account}since=1d"), Value::Null).await;

        let day = &usage["days"][0];
        assert_eq!((status, &usage["until"]), (200, &day["day"]), "{account}");
        assert_eq!([&day["requests"], &day["input"], &day["output"]], [1, 5, 6]);
        assert_eq!(usage["total"], json!({ "requests": 1, "input": 5, "output": 6, "usd": "2" }));
    }
    let (_, before) = gateway.ask("GET /admin/v1/usage?key=app&since=9d&until=2d", Value::Null).await;
    assert_eq!((&before["days"], &before["total"]["requests"]), (&json!([]), &json!(0)));
    assert_eq!(gateway.ask("GET /admin/v1/usage?key=app", Value::Null).await.0, 404);
    let (_, all) = gateway.ask("GET /admin/v1/usage", Value::Null).await;
    assert_eq!(all["usage"][0]["account"], "gateway");
}

#[tokio::test]
async fn copies_are_compared_with_their_originals() {
    use crate::dispatch::{Candidate, Dispatch, Mirror, Mirrors, Route, Table};

    let mirrors = Mirrors::default();
    let candidate = |name: &str| {
        let service = async |req: Request<crate::Payload>| {
            let target = Arc::new(crate::Target::new("demo", req.body().model()));
            let attempt = req.body().exchange().begin(&target);
            attempt.finish(crate::exchange::Outcome::Answered);
            Ok::<_, crate::Error>(Response::new(Script::new([])))
        };
        Candidate::new(Arc::new(crate::Target::new("demo", name)), MustBeReady::new(service))
    };
    let route =
        |name: &str| Route::new(name, [candidate("own")]).mirror(Mirror::new(candidate("other"), &mirrors));
    let dispatch = Dispatch::new(Table::default().route(route("chat")).route(route("code")));
    for model in ["chat", "code"] {
        let answer = dispatch.clone().oneshot(crate::testing::ask(model, None)).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    mirrors.finished().await;
    let mut gateway = Gateway::new(FILE).await;
    gateway.layer = gateway.layer.mirrors(mirrors);

    let (status, all) = gateway.ask("GET /admin/v1/mirrors", Value::Null).await;
    let (_, one) = gateway.ask("GET /admin/v1/mirrors?model=code", Value::Null).await;

    let rows = |value: &Value| {
        let rows = value["data"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {} {}", row["model"], row["target"], row["mirror"])).collect::<Vec<_>>()
    };
    assert_eq!((status, rows(&all).len()), (200, 4), "{all}");
    assert_eq!(rows(&one), [r#""code" "demo/own" false"#, r#""code" "demo/other" true"#]);
    assert_eq!((&one["data"][0]["requests"], &one["data"][0]["usd"]), (&json!(1), &json!("0")), "{one}");
    assert_eq!(gateway.ask("GET /admin/v1/mirrors?key=a", Value::Null).await.0, 400);
}

#[tokio::test]
async fn the_usage_of_a_user_is_that_at_its_customer_and_its_days_are_those_of_utc() {
    let gateway = Gateway::new(
        "admin: { key: the-key-of-the-administrators }\n\
         timezone: Pacific/Kiritimati\n\
         users: { budget: { usd: 1, per: day } }\n",
    )
    .await;
    let day: Period = "day in Pacific/Kiritimati".parse().unwrap();
    let bob = [Scope::new("customer:acme/user:bob", Quota::usd(NanoUsd::from_usd(1), day))];
    let ticket = gateway.ledger.reserve(&bob, NanoUsd::default().into()).await.unwrap();
    gateway.ledger.settle(ticket, NanoUsd(250_000_000).into());
    let asked = async |query: &str| gateway.ask(&format!("GET /admin/v1/usage?{query}"), Value::Null).await.1;

    let of_acme = asked("user=bob&customer=acme&since=1d").await;
    let of_none = asked("user=bob&since=1d").await;

    let used = |answer: &Value| [answer["usage"][0]["used"].clone(), answer["total"]["usd"].clone()];
    assert_eq!((used(&of_acme), used(&of_none)), ([json!("0.25"), json!("0.25")], [json!("0"), json!("0")]));
    assert_eq!(of_acme["usage"][0]["account"], "customer:acme/user:bob");
    assert_eq!((&of_acme["timezone"], of_acme["customer"].as_str()), (&json!("UTC"), Some("acme")));
    let today = json!(crate::ledger::Day::of(std::time::SystemTime::now()))["day"].clone();
    assert_eq!(of_acme["until"], today);
}

#[tokio::test]
async fn who_changed_what_is_listed_newest_first_and_without_secrets() {
    let gateway = Gateway::new(FILE).await;
    let team = json!({ "name": "t", "budget": { "usd": 5, "per": "day" } });
    assert_eq!(gateway.ask("POST /admin/v1/teams", team).await.0, 201);
    let (_, made) =
        gateway.ask("POST /admin/v1/keys", json!({ "name": "k", "metadata": { "owner": "x" } })).await;
    let patch = json!({ "team": "t", "metadata": { "owner": "y" } });
    assert_eq!(gateway.ask("PATCH /admin/v1/keys/k", patch).await.0, 200);
    assert_eq!(gateway.ask("DELETE /admin/v1/teams/t", Value::Null).await.0, 409);

    let (_, page) = gateway.ask("GET /admin/v1/audit?limit=2", Value::Null).await;
    let (_, rest) = gateway.ask("GET /admin/v1/audit?limit=2&before=2&since=1h", Value::Null).await;

    let what = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["what"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (what(&page), &page["next"], &page["has_more"]),
        (vec!["changed the key `k`".into(), "made the key `k`".into()], &json!(2), &json!(true))
    );
    assert_eq!((what(&rest), &rest["has_more"]), (vec!["made the team `t`".into()], &json!(false)));
    let newest = &page["data"][0];
    assert_eq!((&newest["who"], &page["head"]["hash"]), (&json!("the administrators' key"), &newest["hash"]));
    assert_eq!(newest["details"]["fields"], json!(["metadata", "team"]));
    assert_eq!(newest["details"]["changes"], json!({ "team": { "from": null, "to": "t" } }));
    let key = made["key"].as_str().unwrap();
    let text = page.to_string();
    assert!(!text.contains(&KeyDigest::of(key).to_string()) && !text.contains(&key[..10]), "{text}");
    for wrong in ["kind=keys", "since=then", "before=x", "sinse=1h", "limit=0"] {
        assert_eq!(gateway.ask(&format!("GET /admin/v1/audit?{wrong}"), Value::Null).await.0, 400, "{wrong}");
    }
    let (_, keys) = gateway.ask("GET /admin/v1/audit?kind=key&until=1h", Value::Null).await;
    assert_eq!(keys["data"], json!([]));
}

#[tokio::test]
async fn where_a_request_would_go_is_explained_for_a_key_and_nothing_is_asked() {
    let file = "admin: { key: the-key-of-the-administrators }\n\
        providers: { d: { kind: demo }, e: { kind: demo } }\n\
        models: { chat: { targets: [ { use: d/first }, { use: e/second } ],\
            rules: [ { name: search, when: 'tags.feature == \"search\"', strategy: throughput } ] } }\n\
        keys: [ { name: app, key: a-key-that-is-in-the-file, allow: [ chat ], providers: [ e ] } ]\n";
    let mut gateway = Gateway::new(file).await;
    let table = Builder::default().table(&Config::read(file, "f", &|_| None).unwrap()).unwrap();
    gateway.layer = gateway.layer.explain(Dispatch::new(table));
    let asked = |key: &str, model: &str| {
        let headers = json!({ "x-bartizan-tags": "feature=search" });
        json!({ "key": key, "headers": headers, "body": { "model": model, "messages": [] } })
    };

    let (status, told) = gateway.ask("POST /admin/v1/explain", asked("app", "chat")).await;

    assert_eq!(
        (status, &told["rule"], &told["strategy"]),
        (200, &json!("search"), &json!("throughput")),
        "{told}"
    );
    let places: Vec<_> = told["candidates"].as_array().unwrap().iter().map(|one| &one["place"]).collect();
    assert_eq!(places, [&json!(1), &Value::Null]);
    assert_eq!(told["candidates"][0]["target"], "e/second");
    assert_eq!(told["candidates"][0]["in_flight"], 0);
    let denied = gateway.refused("POST /admin/v1/explain", asked("app", "d/first")).await;
    assert_eq!(denied, (403, "this key may not use the model `d/first`".to_owned()));
    let unknown = gateway.refused("POST /admin/v1/explain", asked("nobody", "chat")).await;
    assert!(unknown.0 == 404 && unknown.1.contains("nobody"), "{unknown:?}");
    let wrong = gateway.refused("POST /admin/v1/explain", json!({ "kye": "app" })).await;
    assert!(wrong.0 == 400 && wrong.1.contains("`body`"), "{wrong:?}");
}

#[tokio::test]
async fn an_explanation_knows_what_the_key_its_team_and_its_tags_have_used() {
    let file = "admin: { key: the-key-of-the-administrators }\n\
        providers: { d: { kind: demo } }\n\
        tags: { feature: { budget: { usd: 10, per: month } } }\n\
        teams: { search: { budget: { usd: 10, per: month } } }\n\
        models: { chat: { targets: [ { use: d/dear } ],\
            rules: [ { name: low, when: 'budget.used > 0.8', targets: [ { use: d/cheap } ] } ] } }\n\
        keys: [ { name: app, key: a-key-that-is-in-the-file, team: search },\
            { name: free, key: another-key-that-is-in-the-file } ]\n";
    let mut gateway = Gateway::new(file).await;
    let table = Builder::default().table(&Config::read(file, "f", &|_| None).unwrap()).unwrap();
    gateway.layer = gateway.layer.explain(Dispatch::new(table));
    let told = async |key: &str, tags: &str| {
        let asked = json!({ "key": key, "headers": { "x-bartizan-tags": tags }, "body": { "model": "chat", "messages": [] } });
        gateway.ask("POST /admin/v1/explain", asked).await.1["rule"].clone()
    };
    let used = async |account: &str| {
        let scopes = [Scope::new(account, Quota::usd(NanoUsd::from_usd(10), Period::Month))];
        let ticket = gateway.ledger.reserve(&scopes, NanoUsd::from_usd(9).into()).await.unwrap();
        gateway.ledger.settle(ticket, NanoUsd::from_usd(9).into());
    };
    assert_eq!(told("app", "feature=chat").await, Value::Null);

    used("team:search").await;
    used("tag:feature=other").await;

    assert_eq!(told("app", "feature=chat").await, json!("low"));
    assert_eq!((told("free", "feature=chat").await, told("free", "").await), (Value::Null, Value::Null));
    assert_eq!(told("free", "feature=other").await, json!("low"));
}
