//! `proxy drill`, and faults that administrators ask for, as their users see them.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::{process::Output, time::Duration};

use process::{KEY, Proxy, chat, command, eventually, exchange, file};
use serde_json::Value;

fn drill(config: &str) -> (Option<i32>, Value, String) {
    drilled(config, &[])
}

fn drilled(config: &str, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let config = file(config);
    let mut command = command();
    command.args(["drill", "--json", "--config", config.to_str().unwrap()]).args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
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
    let models = "models: { lonely: { targets: [ { use: a/m } ] },
        late: { targets: [ { use: a/m }, { use: b/m } ], timeouts: { first_byte: 10m, total: 10m } } }";

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
    assert!(
        failures("late").contains("hang, whole") && failures("late").contains("timeouts.first_byte"),
        "{}",
        failures("late")
    );
    assert!(!failures("late").contains("503, "), "{}", failures("late"));
}

/// Most of what a model may lead to.
const LEADING: &str = r#"
models:
  chat:
    targets: [ { use: a/m }, { use: b/m } ]
    timeouts: { first_byte: 30s }
    rules:
      - { name: long, when: request.tokens > 50000, targets: [ { use: c/long }, { use: a/long } ] }
      - { when: request.stream && tags.team == "x", model: spare }
  spare: { targets: [ { use: c/m }, { use: b/m } ], timeouts: { first_byte: 30s } }
  "auto:cheap": { targets: [ { use: b/small }, { use: a/small } ] }
  auto:
    alias: chat
    tasks: { kinds: [ { name: sums, model: "auto:cheap", patterns: [ summar ] } ] }
  old: { targets: [ { use: a/old } ], sunset: 2020-01-01T00:00:00Z, successor: chat }
  ending: { alias: spare, sunset: 2999-01-01T00:00:00Z, successor: auto }
"#;

#[test]
fn every_way_of_a_route_is_drilled_whatever_its_rules_tasks_aliases_and_successors_lead_to() {
    let only = ["auto", "chat", "ending", "old"].map(|route| ["--route", route]).concat();
    let (code, report, errors) = drilled(&format!("{PROVIDERS}{LEADING}"), &only);

    assert_eq!((code, &report["survives"]), (Some(0), &Value::Bool(true)), "{errors}{:#}", report["routes"]);
    let routes = report["routes"].as_array().unwrap().iter().map(|route| route["route"].as_str().unwrap());
    assert_eq!(
        routes.collect::<Vec<_>>(),
        [
            "auto",
            "auto, task sums",
            "chat",
            "chat, rule long",
            "chat, rule 2",
            "ending",
            "ending, successor",
            "old, successor",
        ]
    );
    let cases = report["cases"].as_array().unwrap();
    let answered = |route: &str, who: &str, fault: &str| {
        let is_it = |case: &&Value| case["route"] == route && case["fails"] == who && case["fault"] == fault;
        let case = cases.iter().find(is_it).unwrap_or_else(|| panic!("{route}, {who}, {fault}"));
        assert_eq!(case["struck"], true, "{case}");
        case["answered_by"].as_str().unwrap()
    };
    assert_eq!(answered("chat, rule long", "c/long", "503"), "a/long");
    assert_eq!(answered("chat, rule 2", "c/m", "503"), "b/m");
    assert_eq!(answered("auto", "a/m", "503"), "b/m");
    assert_eq!(answered("auto, task sums", "b/small", "503"), "a/small");
    assert_eq!(answered("ending", "c/m", "503"), "b/m");
    assert_eq!(answered("ending, successor", "a/m", "503"), "b/m");
    assert_eq!(answered("old, successor", "a/m", "503"), "b/m");
}

#[test]
fn a_route_that_stays_in_a_region_is_not_drilled_with_targets_outside_of_it() {
    let models = "models: { eu: { targets: [ { use: c/m }, { use: a/m }, { use: c/n } ], regions: [ eu-* ],
        timeouts: { first_byte: 30s } }, stays: { alias: all, regions: [ eu-* ] },
        all: { targets: [ { use: a/m }, { use: c/m } ], timeouts: { first_byte: 30s } } }";

    let (code, report, errors) = drill(&format!("{PROVIDERS}{models}"));

    assert_eq!(code, Some(1), "{errors}{report:#}");
    let cases = report["cases"].as_array().unwrap();
    let of = |route: &'static str| cases.iter().filter(move |case| case["route"] == route);
    assert!(of("eu").all(|case| case["survives"] == true && case["fails"] != "a/m"), "{report:#}");
    assert!(of("stays").all(|case| case["fails"] != "a/m" && case["answered_by"] != "a/m"), "{report:#}");
    assert!(
        of("stays").any(|case| case["survives"] == false) && of("all").all(|case| case["survives"] == true)
    );
}

#[test]
fn an_alias_of_the_example_and_its_successor_survive() {
    let (code, report, errors) = drilled(bartizan::config::EXAMPLE, &["--route", "old-chat"]);

    assert_eq!(code, Some(0), "{errors}{:#}", report["routes"]);
    let routes = report["routes"].as_array().unwrap().iter().map(|route| route["route"].as_str().unwrap());
    assert_eq!(routes.collect::<Vec<_>>(), ["old-chat", "old-chat, successor"]);
}

#[test]
fn a_hang_is_survived_with_no_times_configured_and_half_of_the_time_is_left_for_the_next_target() {
    let models = "models: { both: { targets: [ { use: a/m }, { use: b/m } ] } }";

    let (code, report, _) = drill(&format!("{PROVIDERS}{models}"));

    assert_eq!(code, Some(0), "{:#}", report["routes"]);
    let hung = |form: &str| {
        let is_it = |case: &&Value| case["fails"] == "a/m" && case["fault"] == "hang" && case["form"] == form;
        let case = report["cases"].as_array().unwrap().iter().find(is_it).unwrap();
        (case["answered_by"].as_str(), case["ms"].as_u64().map(|ms| ms / 1000))
    };
    assert_eq!(hung("whole"), (Some("b/m"), Some(300)));
    assert_eq!(hung("stream"), (Some("b/m"), Some(60)));
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
