use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::HeaderMap;

use super::*;
use crate::{
    auth::{Caller, VirtualKey},
    choose::Used,
    labels::Labels,
};

fn mistake(source: &str) -> String {
    Expression::new(source).unwrap_err().to_string()
}

/// Whether a condition holds for a request that says a little of everything.
fn holds(source: &str) -> bool {
    let body = r#"{"model":"m","temperature":0.5,"n":2,"tools":[{"name":"search"},{"name":"run"}],
        "messages":[{"role":"user","content":"Please sum this up"}]}"#;
    let head = Head { model: "m".into(), stream: true, max_output: Some(7), ..Head::default() };
    let payload = Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default());
    payload.exchange().learn(|learnt| {
        let tags = vec![("env".into(), "prod".into()), ("feature".into(), "search".into())];
        learnt.labels = Labels { user: Some("ann".into()), session: None, tags };
    });
    let mut headers = HeaderMap::new();
    headers.insert("x-region", "eu".parse().unwrap());
    headers.insert("authorization", "Bearer secret".parse().unwrap());
    let caller = Caller::new(VirtualKey::new("main").team("engineering"));
    let mut used = Used::default();
    (used.budget, used.tokens) = (0.9, 0.25);
    // A Sunday.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_200);
    let facts = Facts::new(&payload, &headers).caller(Some(&caller)).used(used).at(now);
    Expression::new(source).unwrap().zone("Europe/Berlin".parse().ok()).holds(&facts)
}

#[test]
fn all_that_is_known_of_a_request_can_be_asked_for() {
    for source in [
        r#"request.model == "m" && request.dialect == "openai-chat" && request.stream"#,
        "request.tokens > 10 && request.tokens < 100 && request.max_output == 7",
        r#""search" in request.tools && size(request.tools) == 2"#,
        r#"request.tools.exists(tool, tool.startsWith("ru"))"#,
        r#"request.text.matches("(?i)\\bSUM\\b.*up") && request.text.contains("this")"#,
        "request.parameters.temperature < 1 && request.parameters.n == 2",
        r#"request.parameters["temperature"] == 0.5 && !has(request.parameters.top_p)"#,
        r#"request.user == "ann" && request.session == """#,
        r#"key == "main" && team == "engineering" && customer == """#,
        r#"tags.feature == "search" && has(tags.env) && !("other" in tags)"#,
        r#"headers["x-region"] == "eu" && !("authorization" in headers)"#,
        "budget.used > 0.8 && limits.tokens == 0.25 && limits.requests == 0.0",
        r#"time.weekday == 7 && time.hour == 12 && time.minute == 0 && time.date == "2026-11-22""#,
        "time.unix == 1795345200",
        "budget.used > 0.8 && !(has(tags.priority) && tags.priority == \"critical\")",
    ] {
        assert!(holds(source), "{source}");
    }
}

#[test]
fn a_condition_that_can_not_be_evaluated_does_not_hold() {
    for source in [
        r#"tags.other == "x""#,
        r#"tags.other != "x""#,
        r#"headers["x-other"] == "x""#,
        "1 / size(tags.x) == 1",
    ] {
        assert!(!holds(source), "{source}");
    }
    assert!(holds(r#"tags.other == "x" || request.stream"#));
}

#[test]
fn a_mistake_is_told_with_its_place() {
    for (source, expected) in [
        ("request.stream &&", "line 1, column 18: "),
        (
            "request.stream &&\n  budgt.used > 1",
            "line 2, column 3: unknown name `budgt`, did you mean `budget`?",
        ),
        ("request.strem", "line 1, column 1: unknown member of `request` `strem`, did you mean `stream`?"),
        ("request == 1", "line 1, column 1: `request` needs a member: one of model, "),
        ("has(request.model)", "`request.model` is always there"),
        (r#"request.text.macthes("x")"#, "unknown function `macthes`, did you mean `matches`?"),
        (r#"request.text.matches("(")"#, "line 1, column 22: not a pattern: unclosed group"),
        ("request.text.matches(tags.pattern)", "the pattern of `matches` has to be written out"),
        ("request.tokens", "line 1, column 1: no condition: it is of the type int"),
        (r#"request.tokens > "many""#, "line 1, column 1: "),
        ("other.f(1)", "unknown function `f`"),
    ] {
        assert!(mistake(source).contains(expected), "{source}\n{}", mistake(source));
    }
}

#[test]
fn what_could_take_long_is_refused() {
    let nested = r#"request.tools.all(a, request.tools.all(b, request.tools.exists(c, c == a + b)))"#;
    assert!(mistake(nested).contains("a loop can't stand in another one"), "{}", mistake(nested));
    assert!(Expression::new("request.tools.all(a, a != '') && request.tools.all(b, b != '')").is_ok());

    assert!(mistake(&"!".repeat(5_000)).contains("longer than 4096 bytes"));
    assert!(Expression::new(&format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000))).is_err());
    assert!(mistake(&format!("1{} > 0", " + 1".repeat(50))).contains("nested deeper than 24 levels"));
    assert!(Expression::new(&format!("1{} > 0", " + 1".repeat(20))).is_ok());
    let large = r#"request.text.matches("((a{100}){100}){100}")"#;
    assert!(mistake(large).contains("not a pattern"), "{}", mistake(large));
}

/// A request of a megabyte that has as much as possible of all that conditions can go over.
fn hostile() -> (Payload, HeaderMap) {
    let tools: Vec<_> = (0..2_000).map(|tool| format!(r#"{{"name":"{}{tool}"}}"#, "a".repeat(250))).collect();
    let numbers: String = (0..5_000).map(|number| format!(r#""n{number}":1,"#)).collect();
    let text = "\\u0061a".repeat(80 << 10);
    let body = format!(
        r#"{{"model":"m",{numbers}"tools":[{}],"messages":[{{"role":"user","content":"{text}"}}]}}"#,
        tools.join(",")
    );
    assert!(body.len() > 1 << 20);
    let head = Head { model: "m".into(), ..Head::default() };
    let payload = Payload::new(&OPENAI_CHAT, head, body.into(), Exchange::default());
    payload.exchange().learn(|learnt| {
        let tag = |number: usize| (format!("tag-{number}").into(), "a".repeat(512).into());
        learnt.labels.tags = (0..16).map(tag).collect();
    });
    let header = |number: usize| {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        (name, "a".repeat(600).try_into().unwrap())
    };
    (payload, (0..100).map(header).collect())
}

#[test]
fn the_text_is_read_once_for_all_conditions_of_a_request_also_in_loops() {
    const ASKING: [&str; 6] = [
        "tags.all(tag, request.text.contains(tag) || true)",
        "headers.all(name, size(request.text) > 0 && !request.text.contains(headers[name]))",
        "request.tools.exists(tool, request.text.startsWith(tool))",
        r#"request.tools.filter(tool, request.text.matches("(a|b)*c" ) || request.text.endsWith(tool)).size() > 0"#,
        r#"request.parameters.all(name, request.text.matches("^a+b$"))"#,
        r#"request.tools.map(tool, tool + request.text).exists(all, all.contains("b"))"#,
    ];
    let (payload, headers) = hostile();
    let facts = Facts::new(&payload, &headers);
    let before = crate::choose::READ.get();

    for source in ASKING.map(Expression::new) {
        let (source, begun) = (source.unwrap(), std::time::Instant::now());
        source.holds(&facts);
        println!(
            "{} µs for a request of {} bytes: {source:?}",
            begun.elapsed().as_micros(),
            payload.source().len()
        );
    }

    assert_eq!(crate::choose::READ.get() - before, 1);
    assert_eq!((facts.text().len(), facts.tools().len(), facts.parameters().len()), (16 << 10, 128, 64));
}

#[test]
fn only_who_asks_for_what_is_used_has_it_looked_up() {
    assert!(Expression::new("request.stream || budget.used > 0.5").unwrap().reads_spend());
    assert!(Expression::new("limits.tokens > 0.5").unwrap().reads_spend());
    assert!(!Expression::new("request.stream").unwrap().reads_spend());
}

#[test]
fn an_expression_is_shared_by_threads() {
    fn is_shared<T: Send + Sync>(_: &T) {}

    is_shared(&Arc::new(Expression::new("true").unwrap()));
}
