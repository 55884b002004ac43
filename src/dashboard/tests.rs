use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use super::DashboardLayer;
use crate::{
    BoxFuture, Error, Kind, lock,
    logs::{Entry, Filter, Line, Logs, Place, Question, Sum, Used},
    secret::Secret,
    testing::{MustBeReady, Script, Step, is_shared},
};

const ADMIN: &str = "the-key-of-the-administrators";

/// As many records as it is told, and what it was asked.
#[derive(Debug, Default)]
struct Kept {
    lines: u64,
    sums: Vec<Sum>,
    asked: Mutex<Vec<Filter>>,
}

impl Logs for Kept {
    fn find<'a>(
        &'a self,
        filter: &'a Filter,
        place: Option<Place>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Line>, Error>> {
        lock(&self.asked).push(filter.clone());
        let newest = place.map_or(self.lines, |place| place.0.saturating_sub(1));
        let oldest = filter.after.map_or(0, |place| place.0);
        let places = (oldest + 1..=newest).rev().take(limit);
        Box::pin(std::future::ready(Ok(places.map(line).collect())))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        let entry = Entry {
            record: serde_json::value::to_raw_value(&json!({ "id": id })).unwrap(),
            request: Some("{}".into()),
            answer: None,
            pieces: vec![(5, 10)],
            is_cut: false,
        };
        Box::pin(std::future::ready(Ok((id == "req /1").then_some(entry))))
    }

    fn sums<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Vec<Sum>, Error>> {
        lock(&self.asked).push(question.filter.clone());
        Box::pin(std::future::ready(Ok(self.sums.clone())))
    }
}

fn line(place: u64) -> Line {
    Line {
        place: Place(place),
        id: format!("=req_{place}").into(),
        arrived_ms: 1_000 * place,
        duration_ms: 12.5,
        first_event_ms: None,
        overhead_us: Some(70),
        status: Some(200),
        end: "complete".into(),
        error: None,
        key: Some("app".into()),
        team: None,
        model: Some("chat".into()),
        target: Some("demo/echo".into()),
        attempts: 1,
        input: 3,
        output: 4,
        cost: 1_500_000,
        estimated: false,
        stream: true,
    }
}

struct Page {
    layer: DashboardLayer,
    session: Option<String>,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Page {
    fn of(logs: Kept) -> Self {
        let layer = DashboardLayer::new(|| Some(Secret::new(ADMIN)))
            .logs(Arc::new(logs))
            .health(|| r#"{"status":"ok"}"#.to_owned());
        Self { layer, session: None }
    }

    async fn logged_in(logs: Kept) -> Self {
        let mut page = Self::of(logs);
        let answer = page.log_in(ADMIN).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        page.session = cookie.split(';').next().map(str::to_owned);
        page
    }

    async fn log_in(&self, key: &str) -> Answer {
        let body = json!({ "key": key }).to_string();
        self.send("POST /logs/api/session", &[("x-bartizan-csrf", "1")], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], String::new()).await
    }

    async fn send(&self, line: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let mut req = Request::builder().method(method).uri(path).header("host", "here");
        for (name, value) in headers {
            req = req.header(*name, *value);
        }
        if let Some(session) = &self.session {
            req = req.header("cookie", session);
        }
        let inner = async |_: Request<Full<Bytes>>| {
            Ok::<_, std::convert::Infallible>(Response::new(Script::new([Step::Data("inner")])))
        };
        let service = self.layer.layer(MustBeReady::new(inner));
        is_shared(&service);
        let answer = service.oneshot(req.body(Full::from(body)).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.into()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }
}

#[tokio::test]
async fn other_paths_go_inwards() {
    let page = Page::of(Kept::default());

    for path in ["/", "/v1/models", "/logsx", "/admin/v1/keys", "/x/logs"] {
        assert_eq!(page.get(path).await.text, "inner", "{path}");
    }
}

#[tokio::test]
async fn every_answer_says_what_a_page_may_do() {
    let page = Page::of(Kept::default());

    for path in ["/logs", "/logs/requests/x", "/logs/assets/app.js", "/logs/api/requests", "/logs/nothing"] {
        let answer = page.get(path).await;

        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert!(answer.headers.contains_key("cache-control"));
    }
}

#[tokio::test]
async fn pages_are_there_and_nothing_else() {
    let page = Page::of(Kept::default());
    let status = async |path: &str| page.get(path).await.status;

    for path in
        ["/logs", "/logs/", "/logs/requests", "/logs/requests/a%2Fb", "/logs/keys", "/logs/assets/style.css"]
    {
        assert_eq!(status(path).await, 200, "{path}");
    }
    for path in [
        "/logs/x",
        "/logs/logs",
        "/logs/assets",
        "/logs/assets/",
        "/logs/assets/../Cargo.toml",
        "/logs/assets/%2e%2e/mod.rs",
        "/logs/assets/index.html/x",
        "/logs/api",
        "/logs/keys/x",
    ] {
        assert_eq!(status(path).await, 404, "{path}");
    }
    assert_eq!(page.send("POST /logs", &[], String::new()).await.status, 405);
}

#[tokio::test]
async fn data_is_shown_to_those_who_are_logged_in() {
    let out = Page::of(Kept::default());
    let paths = ["requests", "requests/req_1", "requests.csv", "sums", "drift.json", "health", "nothing"];
    for path in paths {
        let refused = out.get(&format!("/logs/api/{path}")).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["kind"]),
            (401, &json!("unauthenticated")),
            "{path}"
        );
    }
    assert_eq!(out.get("/logs/api/session").await.json()["state"], "out");

    let page = Page::logged_in(Kept::default()).await;

    assert_eq!(page.get("/logs/api/session").await.json()["state"], "in");
    for path in &paths[..1] {
        assert_eq!(page.get(&format!("/logs/api/{path}")).await.status, 200);
    }
    assert_eq!(page.get("/logs/api/health").await.text, r#"{"status":"ok"}"#);
    assert_eq!(page.get("/logs/api/nothing").await.status, 404);
    assert_eq!(
        page.send("POST /logs/api/requests", &[("x-bartizan-csrf", "1")], String::new()).await.status,
        405
    );
}

#[tokio::test]
async fn nobody_is_let_in_where_there_is_no_key() {
    let page = Page { layer: DashboardLayer::new(|| None), session: None };

    assert_eq!(page.get("/logs/api/session").await.json()["state"], "no_key");
    assert_eq!(page.log_in("").await.json()["state"], "no_key");
    assert_eq!(page.get("/logs/api/requests").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_tried_ten_times_a_minute_and_hold_up_nobody_who_is_in() {
    let page = Page::logged_in(Kept::default()).await;
    for _ in 0..10 {
        assert_eq!(page.log_in("a-wrong-key").await.status, 401);
    }

    let refused = page.log_in(ADMIN).await;
    let shown = page.get("/logs/api/requests").await;
    tokio::time::advance(Duration::from_secs(60)).await;

    assert_eq!((refused.status, &refused.headers[header::RETRY_AFTER]), (429, &"60".parse().unwrap()));
    assert_eq!(shown.status, 200);
    assert_eq!(page.log_in(ADMIN).await.status, 204);
}

#[tokio::test]
async fn other_sites_log_nobody_in_or_out() {
    let page = Page::logged_in(Kept::default()).await;
    let body = json!({ "key": ADMIN }).to_string();

    for headers in [
        &[] as &[_],
        &[("x-bartizan-csrf", "1"), ("origin", "https://evil.example")],
        &[("x-bartizan-csrf", "1"), ("sec-fetch-site", "cross-site")],
    ] {
        for method in ["POST", "DELETE"] {
            let answer = page.send(&format!("{method} /logs/api/session"), headers, body.clone()).await;
            assert_eq!(answer.status, 403, "{headers:?}");
            assert!(!answer.headers.contains_key(header::SET_COOKIE));
        }
    }
    let out = page.send("DELETE /logs/api/session", &[("x-bartizan-csrf", "1")], String::new()).await;
    assert!(out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn what_is_sent_to_log_in_is_small_and_json() {
    let page = Page::of(Kept::default());
    let send =
        async |body: String| page.send("POST /logs/api/session", &[("x-bartizan-csrf", "1")], body).await;

    assert_eq!(send("x".repeat(5_000)).await.status, 413);
    let refused = send(format!("key={ADMIN}")).await;
    assert_eq!(refused.status, 400);
    assert!(!refused.text.contains(ADMIN));
}

#[tokio::test]
async fn a_list_says_where_to_go_on() {
    let page = Page::logged_in(Kept { lines: 5, ..Kept::default() }).await;
    let places = async |query: &str| {
        let list = page.get(&format!("/logs/api/requests?{query}")).await.json();
        let places = list["lines"].as_array().unwrap().iter().map(|line| line["place"].clone());
        (places.collect::<Value>(), list["next"].clone())
    };

    assert_eq!(places("limit=2").await, (json!([5, 4]), json!(4)));
    assert_eq!(places("limit=9&before=4").await, (json!([3, 2, 1]), json!(null)));
    assert_eq!(places("after=3").await, (json!([5, 4]), json!(null)));
    let wrong = page.get("/logs/api/requests?limit=501").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("limit")));
    assert_eq!(page.get("/logs/api/requests?before=x").await.status, 400);
    assert_eq!(page.get("/logs/api/requests?teem=x").await.status, 400);
}

#[tokio::test]
async fn one_record_is_found_by_its_id() {
    let page = Page::logged_in(Kept::default()).await;

    let found = page.get("/logs/api/requests/req%20%2F1").await;

    assert_eq!(found.json()["record"]["id"], "req /1");
    assert_eq!(found.json()["pieces"], json!([[5, 10]]));
    assert_eq!(found.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(page.get("/logs/api/requests/req_2").await.status, 404);
}

#[tokio::test]
async fn all_that_is_found_is_exported_page_by_page() {
    let page = Page::logged_in(Kept { lines: 2_500, ..Kept::default() }).await;

    let csv = page.get("/logs/api/requests.csv?team=a").await;
    let json = page.get("/logs/api/requests.json").await;

    assert_eq!(csv.text.lines().count(), 2_501);
    let first = csv.text.lines().nth(1).unwrap();
    assert!(first.starts_with("1970-01-01T00:41:40.000Z,\"'=req_2500\",200,complete,,app,"), "{first}");
    assert!(first.ends_with(",3,4,0.0015,false,12.5,,70"), "{first}");
    let named = csv.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert_eq!(named, "attachment; filename=\"bartizan-requests.csv\"");
    assert_eq!(json.json().as_array().unwrap().len(), 2_500);
}

#[tokio::test]
async fn an_export_of_nothing_is_a_whole_file_too() {
    let page = Page::logged_in(Kept::default()).await;

    assert_eq!(page.get("/logs/api/requests.json").await.json(), json!([]));
    assert_eq!(page.get("/logs/api/requests.csv").await.text.lines().count(), 1);
}

#[tokio::test]
async fn sums_have_quantiles_and_not_buckets() {
    let mut used = Used { requests: 4, cost: 7, ..Used::default() };
    for millis in [10, 20, 30, 1_000] {
        used.latency.count(millis * 1_000);
    }
    let sums = vec![Sum { at_ms: 60_000, name: Some("=a".into()), used }];
    let page = Page::logged_in(Kept { sums, ..Kept::default() }).await;

    let answer = page.get("/logs/api/sums?span=1h&step=60&by=team").await.json();
    let csv = page.get("/logs/api/sums.csv?span=1h&by=team").await.text;

    let sum = &answer["sums"][0];
    assert_eq!((&sum["name"], &sum["requests"]), (&json!("=a"), &json!(4)));
    let [p50, p99] = ["p50", "p99"].map(|name| sum["latency_ms"][name].as_f64().unwrap());
    assert!((18.0..22.0).contains(&p50) && (900.0..1_100.0).contains(&p99), "{p50} {p99}");
    assert_eq!(sum["first_event_ms"], Value::Null);
    assert!(csv.lines().nth(1).unwrap().starts_with("1970-01-01T00:01:00.000Z,\"'=a\",4,0,"), "{csv}");
    assert_eq!(page.get("/logs/api/sums?by=colour").await.status, 400);
    assert_eq!(page.get("/logs/api/sums?step=0").await.status, 400);
    for filter in ["text=a", "cost_above=1", "latency_above=1"] {
        let refusal = page.get(&format!("/logs/api/sums?{filter}")).await;
        assert!(
            refusal.status == 400 && refusal.text.contains("told apart by this"),
            "{filter}: {}",
            refusal.text
        );
    }
}

#[tokio::test]
async fn drift_compares_with_the_time_before() {
    let used = Used { requests: 4, input: 9, cost: 20_000_000, ..Used::default() };
    let sums = vec![Sum { at_ms: 0, name: None, used }];
    let page = Page::logged_in(Kept { sums, ..Kept::default() }).await;

    let answer = page.get("/logs/api/drift?span=7d&by=team&share=0.2").await.json();

    let drift = &answer["drift"][0];
    assert_eq!(
        (&drift["share"], &drift["flagged"], &drift["cause"]),
        (&json!(0.0), &json!(false), &json!("nothing"))
    );
    assert_eq!(answer["share"], 0.2);
    assert_eq!(page.get("/logs/api/drift?share=0").await.status, 400);
    assert!(page.get("/logs/api/drift.csv").await.text.starts_with("cause,name,"));
}

#[tokio::test]
async fn without_records_the_rest_is_there() {
    let key = || Some(Secret::new(ADMIN));
    let mut page = Page { layer: DashboardLayer::new(key), session: None };
    let cookie = page.log_in(ADMIN).await.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    page.session = Some(cookie);

    let refused = page.get("/logs/api/requests").await;

    assert_eq!(refused.status, 404);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("log.records"));
}

/// A store that is away.
#[derive(Debug)]
struct Away;

impl Logs for Away {
    fn find<'a>(
        &'a self,
        _: &'a Filter,
        _: Option<Place>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Line>, Error>> {
        Box::pin(std::future::ready(Err(
            Error::new(Kind::Unreachable, "the store is away").with_source("secret")
        )))
    }

    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Entry>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn sums<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Vec<Sum>, Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_an_export_breaks_rather_than_to_look_whole() {
    let mut page = Page::logged_in(Kept::default()).await;
    page.layer = page.layer.logs(Arc::new(Away));

    let refused = page.get("/logs/api/requests").await;
    let req = Request::get("/logs/api/requests.csv").header("cookie", page.session.as_ref().unwrap());
    let export =
        page.layer.into_service().oneshot(req.body(Full::<Bytes>::default()).unwrap()).await.unwrap();

    assert_eq!((refused.status, &refused.json()["error"]["message"]), (503, &json!("the store is away")));
    assert!(!refused.text.contains("secret"));
    assert_eq!(export.status(), StatusCode::OK);
    assert!(export.into_body().collect().await.is_err());
}
