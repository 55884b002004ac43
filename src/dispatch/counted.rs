//! What is counted of requests that somebody else answers than was asked first.

use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Dispatch, Mirrors};
use crate::{
    Payload,
    config::{Builder, Config},
    testing::{Counted, ask},
};

const CONFIG: &str = r#"
auth: open
providers: { d: { kind: demo } }
faults:
  rules:
    - { fault: delay 2s, targets: d/late, percent: 100 }
    - { fault: cut 2, targets: d/cut, percent: 100 }
models:
  hedged: { targets: [ { use: d/late }, { use: d/up } ], hedge: { after: 100ms, percent: 100 } }
  spared: { targets: [ { use: d/late }, { use: d/up } ], hedge: { after: 100ms, percent: 5 } }
  resumed: { targets: [ { use: d/cut }, { use: d/up } ], on_break: resume }
  copied: { targets: [ { use: d/up } ], mirror: { use: d/copy } }
  poor: { targets: [ { use: d/up } ], mirror: { use: d/copy, budget: { tokens: 1, per: day } } }
"#;

/// What is counted for one request with these members, where there is room for so many copies.
async fn counted(model: &str, members: &str, copies: u32) -> Vec<String> {
    let counted = Counted::default();
    let _guard = metrics::set_default_local_recorder(&counted);
    let mirrors = Mirrors::new(copies);
    let mut builder = Builder::default().mirrors(mirrors.clone());
    let dispatch = Dispatch::new(builder.table(&Config::from_text(CONFIG).unwrap()).unwrap());
    let body = format!(r#"{{"model":"{model}",{members}"messages":[{{"role":"user","content":"say it"}}]}}"#);
    let req = ask(model, None);
    let (parts, payload) = req.into_parts();
    let head = payload.dialect().peek(&parts, &body).unwrap();
    let payload = Payload::new(payload.dialect(), head, body.into(), payload.exchange().clone());
    let answer = dispatch.oneshot(http::Request::from_parts(parts, payload)).await.unwrap();
    let _ = answer.into_body().collect().await;
    mirrors.finished().await;
    counted.lines()
}

#[tokio::test(start_paused = true)]
async fn hedges_are_counted_with_what_came_of_them() {
    let sent = "bartizan_hedges_total target=d/up,outcome=sent";
    let won = "bartizan_hedges_total target=d/up,outcome=won";

    assert_eq!(counted("hedged", "", 0).await, [sent, won]);
    assert_eq!(counted("spared", "", 0).await, ["bartizan_hedges_total target=d/late,outcome=refused"]);
}

#[tokio::test(start_paused = true)]
async fn streams_that_break_are_counted_with_whether_somebody_goes_on() {
    let done = counted("resumed", r#""stream":true,"#, 0).await;
    let impossible =
        counted("resumed", r#""stream":true,"response_format":{"type":"json_object"},"#, 0).await;

    assert_eq!(done, ["bartizan_resumes_total target=d/cut,outcome=done"]);
    assert_eq!(impossible, ["bartizan_resumes_total target=d/cut,outcome=impossible"]);
}

#[tokio::test(start_paused = true)]
async fn copies_are_counted_when_they_are_sent_and_otherwise_by_what_has_kept_them() {
    assert_eq!(counted("copied", "", 1).await, ["bartizan_mirrors_total target=d/copy,outcome=sent"]);
    assert_eq!(counted("copied", "", 0).await, ["bartizan_mirrors_total target=d/copy,outcome=skipped"]);
    assert_eq!(counted("poor", "", 1).await, ["bartizan_mirrors_total target=d/copy,outcome=rate_limited"]);
}
