//! `proxy drill`, and faults that administrators ask for, as their users see them.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::{process::Output, time::Duration};

use process::{KEY, Proxy, chat, command, eventually, exchange, file};
use serde_json::Value;

fn drill(config: &str) -> (Option<i32>, Value, String) {
    let config = file(config);
    let Output { status, stdout, stderr } =
        command().args(["drill", "--json", "--config", config.to_str().unwrap()]).output().unwrap();
    let report = serde_json::from_slice(&stdout).unwrap_or_default();
    (status.code(), report, String::from_utf8(stderr).unwrap())
}

const PROVIDERS: &str = r#"
providers:
  a: { kind: anthropic, api_key: "${NOBODY_SETS_THIS}" }
  b: { kind: gemini, api_key: "${NOR_THIS}" }
  c: { kind: bedrock, region: eu-central-1 }
auth: open
"#;

#[test]
fn a_route_with_another_target_survives_every_fault_of_one_and_of_all_but_one() {
    let models = "models: { both: { targets: [ { use: a/m }, { use: b/m }, { use: c/m } ],
        timeouts: { first_byte: 30s } } }";

    let (code, report, progress) = drill(&format!("{PROVIDERS}{models}"));

    assert_eq!((code, &report["survives"]), (Some(0), &Value::Bool(true)), "{:#}", report["routes"]);
    let cases = report["cases"].as_array().unwrap();
    // Fourteen faults of one, and of two, whole and as streams, and none of any.
    assert_eq!(cases.len(), 14 * 2 * 6 + 2);
    let case = |who: &str, fault: &str, form: &str| {
        let is_it = |case: &&Value| case["fails"] == who && case["fault"] == fault && case["form"] == form;
        cases.iter().find(is_it).unwrap()
    };
    let hung = case("a/m", "hang", "whole");
    assert_eq!((hung["answered_by"].as_str(), hung["ms"].as_u64()), (Some("b/m"), Some(30_000)));
    let last = case("all but c/m", "503", "stream");
    assert_eq!((last["answered_by"].as_str(), &last["struck"]), (Some("c/m"), &Value::Bool(true)));
    assert_eq!(case("a/m", "cut 3", "stream")["seen"], "a part, and that it broke off");
    assert!(progress.contains("both: all but c/m"), "{progress}");
}

#[test]
fn a_stream_that_breaks_has_to_be_gone_on_with_where_that_is_configured() {
    let models = "models: { resumes: { targets: [ { use: a/m }, { use: b/m } ], on_break: resume,
        timeouts: { first_byte: 30s } } }";

    let (code, report, _) = drill(&format!("{PROVIDERS}{models}"));

    assert_eq!(code, Some(0), "{:#}", report["routes"]);
    let cases = report["cases"].as_array().unwrap();
    let cut = |case: &&Value| case["fault"] == "cut 3" && case["form"] == "stream";
    let seen: Vec<_> = cases.iter().filter(cut).map(|case| (&case["seen"], &case["survives"])).collect();
    assert_eq!(seen, [(&Value::from("an answer"), &Value::Bool(true)); 2]);
}

#[test]
fn a_route_without_another_target_does_not_and_the_exit_status_says_so() {
    let models = "models: { lonely: { targets: [ { use: a/m } ] }, late: { targets: [ { use: a/m }, { use: b/m } ] } }";

    let (code, report, _) = drill(&format!("{PROVIDERS}{models}"));

    assert_eq!((code, &report["survives"]), (Some(1), &Value::Bool(false)));
    let failures = |route: &str| {
        let routes = report["routes"].as_array().unwrap();
        let route = routes.iter().find(|found| found["route"] == route).unwrap();
        serde_json::to_string(&route["failures"]).unwrap()
    };
    assert!(
        failures("lonely").contains("a/m, 503, stream: 503: 503, on purpose; there is no other target"),
        "{}",
        failures("lonely")
    );
    // Without times of its own a target may take as long as all of them together.
    assert!(
        failures("late").contains("hang, whole") && failures("late").contains("timeouts.first_byte"),
        "{}",
        failures("late")
    );
    assert!(!failures("late").contains("503, "), "{}", failures("late"));
}

#[test]
fn what_cannot_be_drilled_is_an_error_of_its_own() {
    let (code, _, errors) = drill("auth: open");
    assert!(code == Some(2) && errors.contains("no `models`"), "{errors}");

    let (code, _, errors) = drill("auth: opne");
    assert!(code == Some(2) && errors.contains("did you mean `open`?"), "{errors}");
}

#[test]
fn administrators_ask_for_faults_and_nobody_can_miss_them() {
    const ADMIN: &str = "admin-key-0123456789";
    let proxy = Proxy::start(&format!(
        "admin: {{ key: {ADMIN} }}\nfaults: {{ by_header: true, rules: [ {{ fault: error, targets: b/*, percent: 100 }} ] }}\n\
         unknown_price: allow\nlog: {{ records: {{ file: records.jsonl }} }}\n\
         providers: {{ a: {{ kind: demo }}, b: {{ kind: demo }}, c: {{ kind: demo }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: a/m }}, {{ use: b/m }}, {{ use: c/m }} ], retry: {{ attempts: 1 }} }} }}\n\
         keys: [ {{ name: app, key: {KEY} }} ]\n"
    ));
    let asking = |headers: &str| chat("chat", false, "Hi").replacen("\r\n", &format!("\r\n{headers}"), 1);

    let struck = exchange(
        proxy.connect(),
        asking(&format!("x-bartizan-fault: 503 at a/*\r\nx-bartizan-admin-key: {ADMIN}\r\n")),
    );
    let refused = exchange(
        proxy.connect(),
        asking("x-bartizan-fault: 503\r\nx-bartizan-admin-key: guessed-0123456789\r\n"),
    );
    let all = exchange(
        proxy.connect(),
        asking(&format!("x-bartizan-fault: 503\r\nx-bartizan-admin-key: {ADMIN}\r\n")),
    );
    let calm = exchange(proxy.connect(), asking(""));

    assert_eq!(struck.status, 200, "{struck:?}");
    assert!(struck.head.contains("x-bartizan-fault: 503 at a/m, error at b/m"), "{struck:?}");
    assert!(struck.head.contains("x-bartizan-provider: c"), "{struck:?}");
    assert!(refused.status == 403 && refused.body.contains("administrators"), "{refused:?}");
    assert!(
        all.status == 503 && all.head.contains("x-bartizan-fault: 503 at a/m, 503 at b/m, 503 at c/m"),
        "{all:?}"
    );
    assert!(calm.status == 200 && !calm.head.contains("x-bartizan-fault"), "{calm:?}");
    let log = proxy.log();
    assert!(log.contains("FAULTS ARE ON") && log.contains("fails on purpose"), "{log}");
    let records = proxy.file.with_file_name("records.jsonl");
    let written = || std::fs::read_to_string(&records).ok().filter(|text| text.lines().count() == 4);
    let written = eventually(Duration::from_secs(5), written).unwrap();
    assert!(written.contains(r#""faults":["503 at a/m","error at b/m"]"#), "{written}");
    assert!(proxy.greeting.contains("WARNING: faults are on"), "{}", proxy.greeting);
}
