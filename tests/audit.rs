//! The program `examples/proxy` enters who changed what and when, and notices whoever changes that.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code, reason = "this test uses a part of it")]
mod process;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Output,
    thread,
    time::Duration,
};

use process::{Proxy, command, eventually, exchange, file};
use serde_json::Value;

const ADMIN: &str = "the-key-of-the-administrators";

fn config(rest: &str) -> String {
    format!(
        "admin: {{ key: {ADMIN} }}\nproviders: {{ demo: {{ kind: demo }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: demo/echo }} ] }} }}\n{rest}\n"
    )
}

/// A command beside the configuration: its code, and what it printed.
fn run(file: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = command();
    command.current_dir(file.parent().unwrap()).args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A command for the proxy.
fn tell(proxy: &Proxy, arguments: &[&str]) -> (i32, String) {
    let mut command = command();
    command.env("BARTIZAN_ADMIN_KEY", ADMIN).env("BARTIZAN_URL", format!("http://{}", proxy.address));
    let Output { status, stdout, stderr } = command.args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn verify(file: &Path, more: &[&str]) -> (i32, String) {
    run(file, &[&["audit", "verify", "--config", "gateway.yaml"], more].concat())
}

/// Makes a team, and returns the status, or 0 if there is no answer.
fn make(address: SocketAddr, name: &str) -> u16 {
    let body = format!(r#"{{"name":"{name}"}}"#);
    let request = format!(
        "POST /admin/v1/teams HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    TcpStream::connect(address).map_or(0, |socket| exchange(socket, request).status)
}

/// What was entered, oldest first.
fn entries(file: &Path) -> Vec<Value> {
    let lines = file.with_file_name("audit.jsonl");
    let source = if lines.exists() { ["--from-file", "audit.jsonl"] } else { ["--config", "gateway.yaml"] };
    let (code, text) = run(file, &["audit", "export", source[0], source[1]]);
    assert_eq!(code, 0, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn whats(file: &Path) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    entries(file).iter().map(|entry| format!("{}: {}", text(entry, "who"), text(entry, "what"))).collect()
}

#[test]
fn whoever_changes_what_was_entered_is_noticed() {
    let mut proxy = Proxy::start(&config(""));
    let file = proxy.file.clone();
    let (code, made) = tell(&proxy, &["keys", "create", "--name", "app"]);
    assert_eq!(code, 0, "{made}");
    let key = made.lines().next().unwrap().to_owned();
    for arguments in [["keys", "disable", "app"], ["keys", "rotate", "app"], ["keys", "delete", "app"]] {
        assert_eq!(tell(&proxy, &arguments).0, 0);
    }
    let (_, list) = tell(&proxy, &["audit", "list", "--kind", "key", "--since", "1h", "--limit", "2"]);
    assert!(list.starts_with("NUMBER  AT") && list.contains("deleted the key `app`"), "{list}");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert_eq!(tell(&proxy, &["audit", "list", "--kind", "keys"]).0, 1);

    // Also while the proxy runs.
    assert_eq!(verify(&file, &[]), (0, "all 5 entries fit\n".to_owned()));
    proxy.signal("TERM");
    proxy.ended(Duration::from_secs(10)).unwrap();

    let who = "the administrators' key, on the command line";
    let expected =
        ["made", "disabled", "rotated", "deleted"].map(|what| format!("{who}: {what} the key `app`"));
    let said = whats(&file);
    assert_eq!(
        (said[0].as_str(), &said[1..5], said[5].as_str()),
        ("the gateway: has started", &expected[..], "the gateway: stops")
    );
    let all = entries(&file);
    assert_eq!(all[1]["from"], "127.0.0.1");
    assert_eq!(all[2]["details"]["changes"]["disabled"], serde_json::json!({ "from": false, "to": true }));
    let text = all.iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains(&key) && !text.contains(&key[..10]) && !text.contains("sha256"), "{text}");
    noticed(&file);
}

/// Changes an export in all ways.
fn noticed(file: &Path) {
    let (_, export) = run(file, &["audit", "export", "--config", "gateway.yaml"]);
    let (_, head) = run(file, &["audit", "head", "--config", "gateway.yaml"]);
    let lines: Vec<&str> = export.lines().collect();
    let check = |lines: &[&str], more: &[&str]| {
        fs::write(file.with_file_name("export.jsonl"), lines.join("\n") + "\n").unwrap();
        run(file, &[&["audit", "verify", "--from-file", "export.jsonl"], more].concat())
    };
    let changed = lines[3].replace("rotated", "created");
    let with = |other: &[usize]| other.iter().map(|index| lines[*index]).collect::<Vec<_>>();

    assert_eq!(check(&lines, &["--head", head.trim()]).0, 0);
    let (code, said) = check(&[&lines[..3], &[&*changed], &lines[4..]].concat(), &[]);
    assert!(code == 1 && said.starts_with("entry 4 was changed"), "{said}");
    let (code, said) = check(&with(&[0, 1, 3, 4, 5]), &[]);
    assert!(code == 1 && said.starts_with("entry 3 is missing"), "{said}");
    let (code, said) = check(&with(&[0, 2, 1, 3, 4, 5]), &[]);
    assert!(code == 1 && said.starts_with("entry 2 "), "{said}");
    assert_eq!(check(&with(&[0, 1, 2]), &[]).0, 0);
    let (code, said) = check(&with(&[0, 1, 2]), &["--head", head.trim()]);
    assert!(code == 1 && said.starts_with("entry 4 is missing: the end of the chain was cut"), "{said}");
    assert_eq!(run(file, &["audit", "verify", "--from-file", "nowhere.jsonl"]).0, 2);
}

#[test]
fn a_reload_is_entered_with_what_it_changed_or_why_it_was_refused() {
    let proxy = Proxy::start(&config("audit: { file: audit.jsonl }\nteams: { a: {} }"));
    let file = proxy.file.clone();
    let entered = |text: &str| {
        let found = || entries(&file).into_iter().find(|entry| entry["what"] == text);
        eventually(Duration::from_secs(10), found).unwrap()
    };

    let other = config("audit: { file: audit.jsonl }\nteams: { a: { budget: { usd: 1, per: day } }, b: {} }");
    fs::write(&file, &other).unwrap();
    let accepted = entered("the configuration was reloaded");
    fs::write(&file, other.replace("usd", "udd")).unwrap();
    let refused = entered("a configuration was refused");

    assert_eq!(accepted["who"], "the configuration's file");
    assert_eq!(accepted["details"]["changed"], serde_json::json!(["teams.a: budget", "teams.b: made"]));
    let why = refused["details"]["why"].as_str().unwrap();
    assert!(why.contains("unknown field `udd`"), "{why}");
    // What stands in the file would stay in the chain for ever.
    assert!(!why.contains("per: day"), "{why}");
    fs::write(&file, &other).unwrap();
    proxy.signal("HUP");
    let by_signal = || entries(&file).into_iter().find(|entry| entry["who"] == "SIGHUP");
    assert!(eventually(Duration::from_secs(10), by_signal).is_some());

    // What takes a restart is told, and is no change.
    fs::write(
        &file,
        format!("{other}\nstore_away: {{ budgets: allow }}\nteams: {{ a: {{}} }}")
            .replace("teams: { a: { budget: { usd: 1, per: day } }, b: {} }\n", ""),
    )
    .unwrap();
    let changed = |entry: &serde_json::Value| {
        entry["details"]["changed"] == serde_json::json!(["teams.a: budget", "teams.b: taken away"])
    };
    assert!(eventually(Duration::from_secs(10), || entries(&file).into_iter().find(changed)).is_some());
    assert!(proxy.log().contains("stays as it was"), "{}", proxy.log());
}

#[test]
fn two_gateways_that_share_a_file_have_one_chain() {
    let shared = file("").with_file_name("audit.jsonl");
    let place = format!("store: memory\naudit: {{ file: '{}' }}", shared.display());
    let proxies = [(); 2].map(|()| Proxy::start(&config(&place)));

    thread::scope(|scope| {
        for (node, proxy) in proxies.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..20 {
                    assert_eq!(make(proxy.address, &format!("t-{node}-{number}")), 201);
                }
            });
        }
    });

    assert_eq!(verify(&proxies[0].file, &[]), (0, "all 42 entries fit\n".to_owned()));
}

#[test]
fn a_kill_leaves_a_chain_that_fits_and_has_all_that_was_answered() {
    for place in ["store: { sqlite: gateway.db }", "store: memory\naudit: { file: audit.jsonl }"] {
        let mut proxy = Proxy::start(&config(place));
        let file = proxy.file.clone();
        let address = proxy.address;

        let made = thread::spawn(move || {
            let names = (0..).map(|number| format!("t-{number}-"));
            names.take_while(|name| make(address, name) == 201).collect::<Vec<_>>()
        });
        thread::sleep(Duration::from_millis(300));
        proxy.signal("KILL");
        let answered = made.join().unwrap();
        proxy.ended(Duration::from_secs(10)).unwrap();

        let (code, said) = verify(&file, &[]);
        assert_eq!(code, 0, "{said}");
        let text = whats(&file).join("\n");
        assert!(!answered.is_empty());
        assert!(answered.iter().all(|name| text.contains(&format!("made the team `{name}`"))), "{text}");
        // And it goes on.
        let proxy = Proxy::at(file.clone());
        assert_eq!(make(proxy.address, "afterwards"), 201);
        assert_eq!(verify(&file, &[]).0, 0);
    }
}
