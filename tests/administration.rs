//! The program `examples/proxy`, administered by itself.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;

use std::{
    fs,
    process::Output,
    time::{Duration, Instant},
};

use process::{KEY, Proxy, chat, command, exchange};
use serde_json::Value;

const ADMIN: &str = "the-key-of-the-administrators";

const CONFIG: &str = r#"
admin: { key: the-key-of-the-administrators }
providers: { demo: { kind: demo } }
models: { chat: { targets: [ { use: demo/echo } ] } }
teams: { search: { budget: { usd: 100, per: month } } }
"#;

/// Runs a command against the proxy: its code, and what it printed.
fn run(proxy: &Proxy, arguments: &[&str]) -> (i32, String) {
    let mut command = command();
    command.env("BARTIZAN_ADMIN_KEY", ADMIN).env("BARTIZAN_URL", format!("http://{}", proxy.address));
    let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// The status of a chat with a key.
fn status(proxy: &Proxy, key: &str) -> u16 {
    exchange(proxy.connect(), chat("chat", false, "Hello!").replace(KEY, key)).status
}

fn made(proxy: &Proxy, arguments: &[&str]) -> String {
    let (code, text) = run(proxy, arguments);
    assert_eq!(code, 0, "{text}");
    text.lines().next().unwrap().to_owned()
}

#[test]
fn a_key_is_made_used_disabled_rotated_and_deleted() {
    let proxy = Proxy::start(CONFIG);

    let create = ["keys", "create", "--name", "app", "--team", "search", "--budget", "200usd/month"];
    let key = made(&proxy, &create);
    assert_eq!(status(&proxy, &key), 200);
    let (code, again) = run(&proxy, &create);
    assert!(code == 0 && !again.contains("bz-") && again.contains("was there already"), "{again}");

    let disabled = Instant::now();
    assert_eq!(run(&proxy, &["keys", "disable", "app"]), (0, "the key `app` is disabled\n".to_owned()));
    assert_eq!(status(&proxy, &key), 401);
    assert!(disabled.elapsed() < Duration::from_secs(1), "{:?}", disabled.elapsed());
    assert_eq!(run(&proxy, &["keys", "enable", "app"]).0, 0);
    assert_eq!(status(&proxy, &key), 200);

    let other = made(&proxy, &["keys", "rotate", "app", "--grace", "1h"]);
    assert_eq!([status(&proxy, &key), status(&proxy, &other)], [200, 200]);
    let third = made(&proxy, &["keys", "rotate", "app"]);
    assert_eq!([status(&proxy, &key), status(&proxy, &other), status(&proxy, &third)], [200, 401, 200]);

    let (_, list) = run(&proxy, &["keys", "list"]);
    assert!(list.starts_with("NAME  PREFIX") && list.contains(&third[..10]), "{list}");
    let (_, list) = run(&proxy, &["keys", "list", "--json", "--team", "search"]);
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap()[0]["budget"]["usd"], "200");
    assert_eq!(run(&proxy, &["keys", "delete", "app"]).0, 0);
    assert_eq!(status(&proxy, &third), 401);

    let log = proxy.log();
    assert!(
        log.contains("set by the API") && [&key, &other, &third, ADMIN].iter().all(|key| !log.contains(*key)),
        "{log}"
    );
}

#[test]
fn where_a_request_would_go_is_explained() {
    let tasks = "models: { tasks: { targets: [ { use: demo/echo } ], tasks: { embeddings: demo/embed, \
        kinds: [ { name: code, model: chat, examples: [ fix it ] } ] } },";
    let config = CONFIG.replace("models: {", tasks);
    let proxy = Proxy::start(&config.replace("use: demo/echo", "use: demo/echo }, { use: demo/other"));

    let (code, text) = run(&proxy, &["explain", "--model", "chat"]);
    let (_, json) = run(&proxy, &["explain", "--model", "chat", "--json"]);
    let (wrong, error) = run(&proxy, &["explain", "--model", "chat", "--key", "nobody"]);

    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("model chat, route chat, rule -, strategy priority, about "), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.contains("demo/")).collect();
    assert!(
        lines[0].starts_with("1 ") && lines[0].ends_with("chosen: the first one that is listed"),
        "{text}"
    );
    assert!(lines[1].starts_with("2 ") && lines[1].ends_with("asked if those before it fail"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["candidates"][1]["target"], "demo/other");
    let ignored = r#"x-bartizan-choose: {"provider":{"ignore":["demo"]}}"#;
    let (code, text) = run(&proxy, &["explain", "--model", "chat", "--header", ignored]);
    let struck =
        text.lines().filter(|line| line.starts_with("- ") && line.ends_with("among `provider.ignore`"));
    assert_eq!((code, struck.count()), (0, 2), "{text}");
    let (code, text) = run(&proxy, &["explain", "--model", "tasks"]);
    let open = "\nopen: `demo/embed` is asked what kind of task it is, but not for an explanation: the request may go elsewhere\n";
    assert!(code == 0 && text.contains(open), "{text}");
    assert!(wrong != 0 && error.contains("nobody"), "{error}");
}

#[test]
fn usage_and_the_owners_view_agree() {
    let proxy = Proxy::start(CONFIG);
    let key = made(&proxy, &["keys", "create", "--name", "app", "--team", "search"]);
    assert_eq!(status(&proxy, &key), 200);

    let (code, usage) = run(&proxy, &["usage", "--team", "search", "--json"]);
    let request = format!("GET /v1/key HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
    let own: Value = serde_json::from_str(&exchange(proxy.connect(), request).body).unwrap();

    let usage: Value = serde_json::from_str(&usage).unwrap();
    assert_eq!((code, &usage["usage"][0]["limit"]), (0, &Value::from("100")));
    let team = own["usage"].as_array().unwrap().iter().find(|one| one["account"] == "team:search").unwrap();
    assert_eq!(*team, usage["usage"][0]);
    let (code, table) = run(&proxy, &["usage", "--team", "search"]);
    assert!(code == 0 && table.starts_with("ACCOUNT") && table.contains("team:search"), "{table}");
    let (code, days) = run(&proxy, &["usage", "--team", "search", "--since", "7d"]);
    assert!(code == 0 && days.starts_with("DAY") && days.contains("\ntotal       1 "), "{days}");
}

#[test]
fn usage_of_sessions_tags_and_providers_is_told_and_a_key_may_allow_that_content_is_kept() {
    let rules =
        "sessions: { budget: { usd: 1, per: day } }\ntags: { feature: { budget: { usd: 1, per: day } } }\n";
    let proxy = Proxy::start(&format!("{CONFIG}\n{rules}"));
    made(&proxy, &["keys", "create", "--name", "kept", "--log-content"]);
    made(&proxy, &["keys", "create", "--name", "other"]);

    let keys: Value = serde_json::from_str(&run(&proxy, &["keys", "list", "--json"]).1).unwrap();
    let log_content = |name: &str| {
        let key = keys.as_array().unwrap().iter().find(|key| key["name"] == name).unwrap();
        key["log_content"].clone()
    };
    assert_eq!([log_content("kept"), log_content("other")], [true, false]);
    for (flag, name, account) in
        [("--session", "s1", "session:s1"), ("--tag", "feature=search", "tag:feature=search")]
    {
        let (code, table) = run(&proxy, &["usage", flag, name]);
        assert!(code == 0 && table.contains(account), "{table}");
    }
    assert_ne!(run(&proxy, &["usage", "--provider", "nobody"]).0, 0);
    let (_, help) = run(&proxy, &["usage", "--help"]);
    assert!(help.contains("--session") && help.contains("Days are those of UTC"), "{help}");
}

#[test]
fn what_was_set_survives_a_reload_and_a_file_that_contradicts_it_is_refused() {
    let proxy = Proxy::start(CONFIG);
    let key = made(&proxy, &["keys", "create", "--name", "app", "--team", "search"]);
    let logged = |text: &str| {
        process::eventually(Duration::from_secs(10), || proxy.log().contains(text).then_some(())).unwrap();
    };

    fs::write(&proxy.file, CONFIG.replace("search", "other")).unwrap();
    logged("unknown team");
    assert_eq!(status(&proxy, &key), 200);
    fs::write(&proxy.file, CONFIG.replace("usd: 100", "usd: 101")).unwrap();
    logged("configuration reloaded");

    assert_eq!(status(&proxy, &key), 200);
    assert!(run(&proxy, &["usage", "--team", "search"]).1.contains("101"));
}

#[test]
fn a_key_whose_team_is_gone_stops_no_start_and_is_out_of_force() {
    let mut proxy = Proxy::start(CONFIG);
    let key = made(&proxy, &["keys", "create", "--name", "app", "--team", "search"]);
    let free = made(&proxy, &["keys", "create", "--name", "free"]);
    proxy.signal("TERM");
    assert!(proxy.ended(Duration::from_secs(5)).unwrap().success());
    fs::write(&proxy.file, CONFIG.replace("search", "other")).unwrap();

    let proxy = Proxy::at(proxy.file.clone());

    assert_eq!([status(&proxy, &key), status(&proxy, &free)], [401, 200]);
    assert!(proxy.log().contains("out of force"), "{}", proxy.log());
    let (_, list) = run(&proxy, &["keys", "list"]);
    let why = "team: unknown team `search`, expected one of other";
    assert!(list.contains("OUT_OF_FORCE") && list.contains(why), "{list}");
    assert!(!list.contains("sha256"), "{list}");
    let (code, again) = run(&proxy, &["keys", "create", "--name", "app", "--team", "other"]);
    assert!(code != 0 && again.contains("is there already"), "{again}");
    assert_eq!(run(&proxy, &["keys", "delete", "app"]).0, 0);
}

#[test]
fn an_error_says_what_to_do() {
    let proxy = Proxy::start(CONFIG);
    let without = Proxy::start("{ auth: open, providers: { demo: { kind: demo } } }");
    let made_up = Proxy::without_configuration();

    for (arguments, proxy, expected) in [
        (&["keys", "disable", "nobody"][..], &proxy, "there is no key `nobody`"),
        (&["keys", "create", "--name", "a", "--team", "nobody"], &proxy, "team: unknown team `nobody`"),
        (&["keys", "create", "--name", "a", "--budget", "200/month"], &proxy, "such as 200usd/month"),
        (&["usage", "--team", "a", "--key", "b"], &proxy, "cannot be used with"),
        (&["usage", "--since", "yesterday"], &proxy, "since: expected a day such as 2026-11-01"),
        (&["keys", "list"], &without, "add `admin: { key: … }`"),
        (&["keys", "list"], &made_up, "BARTIZAN_ADMIN_KEY has to be `admin.key`"),
        (&["keys", "list", "--url", "http://127.0.0.1:1"], &proxy, "is the proxy running?"),
    ] {
        let (code, text) = run(proxy, arguments);
        assert!(code != 0 && text.contains(expected), "{arguments:?} {text}");
    }
    let output = command().args(["keys", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("BARTIZAN_ADMIN_KEY is not set"));
}
