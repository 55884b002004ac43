//! The program `examples/proxy`, started as its users start it.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Output,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use process::{
    KEY, PROVIDER_KEY, Proxy, Upstream, chat, command, connect, eventually, exchange, file, head, post, rest,
};

/// One key, the demo, and a provider at `upstream`.
fn config(upstream: &str) -> String {
    format!(
        r#"
server: {{ header_timeout: 1s, max_body: 10kB, drain_timeout: 10s }}
log: {{ level: debug }}
providers:
  demo: {{ kind: demo }}
  local: {{ kind: openai-compatible, base_url: "{upstream}", api_key: "${{PROVIDER_KEY}}" }}
models:
  chat: {{ targets: [ {{ use: demo/echo }} ] }}
  far: {{ targets: [ {{ use: local/m }} ], retry: {{ attempts: 1 }} }}
unknown_price: allow
keys:
  - {{ name: app, sha256: 79975333c745fa0971b1ea001284da4555fb9023f7e851fd30905d0fdeec2dd9 }}
"#
    )
}

fn proxy() -> Proxy {
    Proxy::start(&config("http://127.0.0.1:1/v1"))
}

/// A stream that takes the demo about three seconds.
fn long() -> String {
    chat("chat", true, &"word ".repeat(200))
}

/// Asks for a long stream, and waits for its beginning.
fn streaming(proxy: &Proxy) -> TcpStream {
    let mut socket = proxy.connect();
    let request = long().replacen("\r\n", "\r\nconnection: close\r\n", 1);
    socket.write_all(request.as_bytes()).unwrap();
    assert!(head(&mut socket).starts_with("HTTP/1.1 200"));
    socket
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn without_configuration_it_prints_a_line_that_works() {
    let proxy = Proxy::without_configuration();
    let line = proxy.greeting.lines().find(|line| line.trim().starts_with("curl ")).unwrap();
    let words: Vec<&str> = line.split(['\'', '"']).collect();
    let header = |name: &str| words.iter().find(|word| word.starts_with(name)).unwrap();
    let (_, body) = line.split_once("-d '").unwrap();
    let body = body.trim_end().trim_end_matches('\'');
    let url = line.split_whitespace().nth(1).unwrap();
    let path = url.strip_prefix(&format!("http://{}", proxy.address)).unwrap();

    let answer = exchange(
        proxy.connect(),
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\n{}\r\n{}\r\ncontent-length: {}\r\n\r\n{body}",
            header("content-type"),
            header("authorization"),
            body.len()
        ),
    );

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("You said: Hello!"), "{answer:?}");
    let key = header("authorization").trim_start_matches("authorization: Bearer ");
    assert!(key.len() >= 16 && !proxy.log().contains(key), "{}", proxy.log());
}

#[test]
fn a_configuration_can_be_checked_without_starting() {
    let good = file(&config("http://127.0.0.1:1/v1"));
    let bad = file(&config("http://127.0.0.1:1/v1").replace("max_body", "max_boddy"));

    let (code, out, _) = run(&["--check", "--config", good.to_str().unwrap()]);
    assert_eq!((code, out.trim()), (0, "the configuration can be used"));

    let (code, _, errors) = run(&["--check", "--config", bad.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(errors.contains("gateway.yaml:2:"), "{errors}");
    assert!(errors.contains("did you mean `max_body`?"), "{errors}");

    let wrong = file(&config("http://127.0.0.1:1/v1").replace("level: debug", "level: \"a=b=c\""));
    let (code, _, errors) = run(&["--check", "--config", wrong.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(errors.contains("log.level: `a=b=c`"), "{errors}");

    let (code, _, errors) = run(&["--check", "--config", "/nowhere/gateway.yaml"]);
    assert_eq!(code, 1);
    assert!(errors.contains("/nowhere/gateway.yaml"), "{errors}");
}

#[test]
fn the_clouds_of_the_readme_can_be_used() {
    let readme = include_str!("../README.md");
    let yaml = readme.split("```yaml\n").find(|block| block.contains("kind: vertex")).unwrap();
    let (yaml, _) = yaml.split_once("```").unwrap();
    let config = file(&format!("auth: open\n{yaml}"));
    let login = r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    let login = file(login);
    let check = |login: &str| {
        let mut command = command();
        command.args(["--check", "--config", config.to_str().unwrap()]).env("GOOGLE_KEY_FILE", login);
        for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"] {
            command.env(name, "x");
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = [stdout, stderr].concat();
        (status.code(), String::from_utf8(said).unwrap())
    };

    let (code, said) = check(login.to_str().unwrap());
    assert_eq!((code, said.trim()), (Some(0), "the configuration can be used"));

    let (code, said) = check("/nowhere/key.json");
    assert!(code == Some(1) && said.contains("providers.vertex: /nowhere/key.json"), "{said}");
}

#[test]
fn every_answer_says_where_the_time_has_gone() {
    let proxy = proxy();
    for path in ["healthz", "readyz", "health", "metrics", "logs", "v1/models", "admin/v1/keys", "nowhere"] {
        let answer = exchange(proxy.connect(), format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));

        assert!(answer.head.contains("\r\nserver-timing: gateway;dur="), "{path}: {}", answer.head);
    }
    let answer = exchange(proxy.connect(), chat("chat", false, "hello"));
    assert!(answer.head.contains(", provider;dur=") && answer.status == 200, "{}", answer.head);
}

#[test]
fn it_explains_itself() {
    let (code, help, _) = run(&["--help"]);
    let (_, schema, _) = run(&["--schema"]);
    let (wrong, _, errors) = run(&["--no-such-option"]);

    assert_eq!(code, 0);
    for option in ["--config", "--listen", "--check", "--schema", "SIGTERM"] {
        assert!(help.contains(option), "{help}");
    }
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["properties"]["providers"].is_object());
    assert!(wrong != 0 && errors.contains("--no-such-option"), "{errors}");
}

#[test]
fn a_stream_that_is_open_may_finish_when_it_has_to_stop() {
    let mut proxy = proxy();
    let stream = streaming(&proxy);
    let idle = proxy.connect();

    proxy.signal("TERM");
    let refused = eventually(Duration::from_secs(5), || TcpStream::connect(proxy.address).err());
    let answer = rest(stream);
    let status = proxy.ended(Duration::from_secs(5));

    assert!(refused.is_some());
    assert!(is_whole(&answer), "{answer}");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!(proxy.log().contains("\"status\":200"), "{}", proxy.log());
    drop(idle);
}

/// Whether the rest of a stream has its end, and the connection its own.
fn is_whole(rest: &str) -> bool {
    rest.contains("data: [DONE]") && rest.ends_with("\r\n0\r\n\r\n")
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let records = file("");
    let text = format!("log: {{ records: {{ file: {:?} }} }}", records.to_str().unwrap());
    let mut proxy = Proxy::start(&config("http://127.0.0.1:1/v1").replace("log: { level: debug }", &text));
    let stream = streaming(&proxy);

    proxy.signal("TERM");
    eventually(Duration::from_secs(5), || TcpStream::connect(proxy.address).err()).unwrap();
    let begun = Instant::now();
    proxy.signal("TERM");
    let status = proxy.ended(Duration::from_secs(8));

    assert!(status.is_some());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!is_whole(&rest(stream)));
    let written = fs::read_to_string(records).unwrap();
    assert!(written.contains("\"end\":\"aborted\""), "{written}{}", proxy.log());
}

#[test]
fn a_new_configuration_is_used_and_a_bad_one_is_not() {
    let proxy = proxy();
    let stream = streaming(&proxy);
    let status = |model: &str| exchange(proxy.connect(), chat(model, false, "Hi")).status;
    let becomes = |model, wanted: u16| {
        eventually(Duration::from_secs(10), || (status(model) == wanted).then_some(())).is_some()
    };
    let text = fs::read_to_string(&proxy.file).unwrap();
    assert_eq!(status("new"), 404);

    fs::write(&proxy.file, text.replace("  chat:", "  new: { targets: [ { use: demo/echo } ] }\n  chat:"))
        .unwrap();
    assert!(becomes("new", 200), "{}", proxy.log());

    fs::write(&proxy.file, text.replace("targets", "target")).unwrap();
    let told = || proxy.log().contains("the configuration was not changed").then_some(());
    assert!(eventually(Duration::from_secs(10), told).is_some());
    proxy.signal("HUP");
    assert_eq!((status("new"), status("chat")), (200, 200));

    let other = text.replace("sha256: 7997", "disabled: true, sha256: 7997");
    fs::write(&proxy.file, other).unwrap();
    proxy.signal("HUP");
    assert!(becomes("chat", 401));

    assert!(is_whole(&rest(stream)));
}

#[test]
fn requests_that_run_notice_nothing_of_a_reload() {
    let proxy = proxy();
    let address = proxy.address;
    let (stop, stopped) = mpsc::channel::<()>();
    let asking = thread::spawn(move || {
        let mut statuses = Vec::new();
        while stopped.try_recv().is_err() {
            statuses.push(exchange(connect(address), chat("chat", false, "Hi")).status);
        }
        statuses
    });

    for _ in 0..5 {
        proxy.signal("HUP");
        thread::sleep(Duration::from_millis(50));
    }
    let told = || proxy.log().contains("configuration reloaded").then_some(());
    let reloaded = eventually(Duration::from_secs(10), told);
    stop.send(()).unwrap();
    let statuses = asking.join().unwrap();

    assert!(statuses.len() > 5 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(reloaded.is_some(), "{}", proxy.log());
}

#[test]
fn a_client_that_is_slow_with_its_head_is_cut_off() {
    let proxy = proxy();
    let begun = Instant::now();

    // Not even the version of the protocol can be told from the first two.
    for said in ["", "P", "PRI * HTTP/2.0\r\n", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut socket = proxy.connect();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(said.as_bytes()).unwrap();

        let mut answer = Vec::new();
        let closed = socket.read_to_end(&mut answer);

        let is_closed =
            closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(is_closed, "{said:?} after {:?}", begun.elapsed());
    }
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert_eq!(exchange(proxy.connect(), chat("chat", false, "Hi")).status, 200);
}

#[test]
fn a_connection_is_kept_between_requests_for_longer_than_a_head_may_take() {
    let proxy =
        Proxy::start(&config("http://127.0.0.1:1/v1").replace("max_body", "idle_timeout: 3s, max_body"));
    let mut socket = proxy.connect();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let healthz = |socket: &mut TcpStream| {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        head(socket)
    };

    assert!(healthz(&mut socket).contains("HTTP/1.1 200"));
    thread::sleep(Duration::from_millis(1500));
    assert!(healthz(&mut socket).contains("HTTP/1.1 200"));
    let idle = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new());

    assert!((2.0..8.0).contains(&idle.elapsed().as_secs_f64()), "{:?}", idle.elapsed());
}

#[test]
fn what_is_too_large_is_refused_by_its_name() {
    let proxy = proxy();
    let long = format!("x-long: {}\r\n", "x".repeat(100_000));
    let many: String = (0..150).map(|number| format!("x-{number}: x\r\n")).collect();
    let body = "x".repeat(20_000);
    let announced = post("content-length: 20000\r\n") + &body;
    let chunked = post("transfer-encoding: chunked\r\n") + &format!("4e20\r\n{body}\r\n0\r\n\r\n");

    let status = |request: String| exchange(proxy.connect(), request).status;

    assert_eq!(status(post(&long)), 431);
    assert_eq!(status(post(&many)), 431);
    assert_eq!(status(announced), 413);
    assert_eq!(status(chunked), 413);
    assert_eq!(status(chat("chat", false, "Hi")), 200);
}

#[test]
fn a_request_can_not_be_smuggled_behind_another() {
    let proxy = proxy();
    let behind = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let shapes = [
        ("both lengths", post("content-length: 5\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n"),
        ("two lengths", post("content-length: 5\r\ncontent-length: 6\r\n") + "hello"),
        ("a list of lengths", post("content-length: 5, 6\r\n") + "hello"),
        ("a signed length", post("content-length: +5\r\n") + "hello"),
        ("an endless length", post("content-length: 99999999999999999999\r\n") + "hello"),
        ("an unknown coding", post("transfer-encoding: xchunked\r\n") + "0\r\n\r\n"),
        ("chunked is not last", post("transfer-encoding: chunked, gzip\r\n") + "0\r\n\r\n"),
        ("a bad chunk", post("transfer-encoding: chunked\r\n") + "zz\r\nhello\r\n0\r\n\r\n"),
        ("a huge chunk", post("transfer-encoding: chunked\r\n") + "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        (
            "an old version",
            post("transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n",
        ),
        ("a space before the colon", post("transfer-encoding : chunked\r\n") + "0\r\n\r\n"),
        ("a folded header", post("x: a\r\n transfer-encoding: chunked\r\n") + "0\r\n\r\n"),
    ];
    for (name, shape) in shapes {
        let mut socket = proxy.connect();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let _ = socket.write_all((shape + behind).as_bytes());
        let mut answers = Vec::new();
        let _ = socket.read_to_end(&mut answers);
        let answers = String::from_utf8_lossy(&answers);

        assert!(!answers.contains("HTTP/1.1 200"), "{name}: {answers}");
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{name}: {answers}");
    }
    assert_eq!(exchange(proxy.connect(), chat("chat", false, "Hi")).status, 200);
}

#[test]
fn a_provider_is_left_as_soon_as_the_client_leaves() {
    let (tell, told) = mpsc::channel();
    let upstream = Upstream::start(move |mut socket| {
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all((head.to_owned() + &chunk).as_bytes()).unwrap();
        // There is nothing to read until the connection is closed.
        let _ = socket.read(&mut [0]);
        tell.send(Instant::now()).unwrap();
    });
    let proxy = Proxy::start(&config(&upstream.url()));
    for _ in 0..5 {
        let mut socket = proxy.connect();
        socket.write_all(chat("far", true, "Hi").as_bytes()).unwrap();
        head(&mut socket);
        assert!(told.try_recv().is_err());

        let left = Instant::now();
        drop(socket);

        let closed = told.recv_timeout(Duration::from_secs(5)).expect("the provider is left");
        assert!(closed - left < Duration::from_secs(2), "{:?}", closed - left);
    }
    let records = || (proxy.log().matches("\"end\":\"aborted\"").count() == 5).then_some(());
    assert!(eventually(Duration::from_secs(2), records).is_some(), "{}", proxy.log());
}

#[test]
fn what_a_provider_does_wrong_has_a_status_and_shows_no_key() {
    let shapes = [
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":", 502),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            502,
        ),
        ("nonsense\r\n\r\n", 502),
        ("", 502),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 30\r\n\r\nbad: Bearer provider-key-0123456789", 502),
        ("HTTP/1.1 400 Bad\r\ncontent-length: 35\r\n\r\nbad: Bearer provider-key-0123456789", 400),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 502),
    ];
    for (said, status) in shapes {
        let upstream = Upstream::start(move |mut socket| socket.write_all(said.as_bytes()).unwrap());
        let proxy = Proxy::start(&config(&upstream.url()));

        let answer = exchange(proxy.connect(), chat("far", false, "Hi"));

        assert_eq!(answer.status, status, "{said:?}: {answer:?}");
        let seen = format!("{answer:?} {}", proxy.log());
        assert!(!seen.contains(PROVIDER_KEY) && !seen.contains(KEY), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_once_are_answered() {
    let proxy = proxy();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let socket = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let connecting = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
        let (send, connection) = connecting.await.unwrap();
        tokio::spawn(connection);
        for number in 0..200 {
            let mut send = send.clone();
            let stream = number % 2 == 0;
            let body = format!(
                r#"{{"model":"chat","stream":{stream},"messages":[{{"role":"user","content":"Hi {number}"}}]}}"#
            );
            let req = http::Request::post("http://localhost/v1/chat/completions");
            let req = req.header("authorization", format!("Bearer {KEY}")).body(Full::<Bytes>::from(body));
            asking.spawn(async move {
                send.ready().await.unwrap();
                let (parts, body) = send.send_request(req.unwrap()).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = String::from_utf8_lossy(&body).into_owned();
                let is_right =
                    if stream { body.contains("[DONE]") } else { body.contains(&format!("Hi {number}\"")) };
                (parts.status.as_u16(), is_right)
            });
        }
    }

    let answers = asking.join_all().await;

    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(|answer| *answer == (200, true)), "{answers:?}");
}
