//! Clients that leave in the middle of a stream, of the program `examples/proxy`.
#![cfg(unix)]
#![allow(dead_code, reason = "the other suites of the proxy need more of it")]

#[path = "support/process.rs"]
mod process;

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use bartizan::price::NanoUsd;
use process::{KEY, Proxy, chat, eventually, exchange, head};
use serde_json::Value;

const CLIENTS: usize = 100;
/// A token, as all are reckoned that no provider has counted: four letters.
const WORD: &str = "word";
/// What a token of the output costs, in billionths of a dollar; one of the input costs a tenth of it.
const OUTPUT: u64 = 10_000;

fn config(provider: SocketAddr) -> String {
    format!(
        "log: {{ level: warn, records: {{ file: records.jsonl }} }}\n\
         store: memory\n\
         providers: {{ far: {{ kind: openai-compatible, base_url: \"http://{provider}/v1\", \
           prices: {{ m: {{ input: 1, output: 10 }} }} }} }}\n\
         models: {{ chat: {{ targets: [ {{ use: far/m }} ], retry: {{ attempts: 1 }} }} }}\n\
         keys: [ {{ name: app, sha256: 79975333c745fa0971b1ea001284da4555fb9023f7e851fd30905d0fdeec2dd9, \
           budget: {{ usd: 100, per: day }} }} ]\n"
    )
}

/// How a provider's stream ended.
struct Closed {
    client: usize,
    at: Instant,
    /// How many words were sent before.
    words: u64,
}

/// A provider whose streams don't end by themselves, and which tells when the other side has left.
fn provider() -> (SocketAddr, Receiver<Closed>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let tell = tell.clone();
            thread::spawn(move || write_on(socket.unwrap(), &tell));
        }
    });
    (address, told)
}

/// Writes a word every 20 milliseconds until somebody has left.
fn write_on(mut socket: TcpStream, tell: &Sender<Closed>) {
    let asked = head(&mut socket).to_lowercase();
    let length = asked.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
    let mut body = vec![0; length.parse().unwrap()];
    socket.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let client = body["messages"][0]["content"].as_str().unwrap().trim().parse().unwrap();
    let _ = socket.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for words in 1.. {
        let chunk = format!(
            "data: {{\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\"{WORD}\"}},\"finish_reason\":null}}]}}\n\n"
        );
        let written = socket.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
        let is_open = match socket.read(&mut [0]) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        if written.is_err() || !is_open {
            let _ = tell.send(Closed { client, at: Instant::now(), words });
            return;
        }
    }
}

/// Reads until so many words have come, and leaves.
fn read_and_leave(proxy: SocketAddr, client: usize, words: usize) -> (u64, Instant) {
    let mut socket = process::connect(proxy);
    socket.write_all(chat("chat", true, &format!("{client:4}")).as_bytes()).unwrap();
    let mut text = Vec::new();
    let seen = |text: &[u8]| String::from_utf8_lossy(text).matches(WORD).count();
    while seen(&text) < words {
        let mut more = [0; 4096];
        let read = socket.read(&mut more).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&more[..read]);
    }
    let seen = seen(&text) as u64;
    drop(socket);
    (seen, Instant::now())
}

fn records(proxy: &Proxy) -> Vec<Value> {
    let text = fs::read_to_string(proxy.file.with_file_name("records.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn usage(proxy: &Proxy) -> (NanoUsd, NanoUsd) {
    let request = format!("GET /v1/key HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n");
    let about: Value = serde_json::from_str(&exchange(proxy.connect(), request).body).unwrap();
    let usage = &about["usage"][0];
    ["used", "held"].map(|field| usage[field].as_str().unwrap().parse().unwrap()).into()
}

#[test]
fn clients_that_leave_are_charged_for_what_had_passed_and_their_provider_is_left_too() {
    let (address, told) = provider();
    let proxy = Proxy::start(&config(address));

    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let proxy = proxy.address;
            thread::spawn(move || read_and_leave(proxy, client, 1 + client % 20))
        })
        .collect();
    let left: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let closed: Vec<_> =
        left.iter().map(|_| told.recv_timeout(Duration::from_secs(10)).expect("it is left")).collect();
    let all = || Some(records(&proxy)).filter(|records| records.len() == CLIENTS);
    let records = eventually(Duration::from_secs(10), all).expect("each has a record");

    let late = closed.iter().map(|closed| closed.at.saturating_duration_since(left[closed.client].1));
    let latest = late.max().unwrap();
    let cost = |record: &Value| record["cost"].as_str().unwrap().parse::<NanoUsd>().unwrap();
    let recorded = NanoUsd(records.iter().map(|record| cost(record).0).sum());
    let (read, sent) = (
        left.iter().map(|(words, _)| words).sum::<u64>(),
        closed.iter().map(|closed| closed.words).sum::<u64>(),
    );
    let counted: u64 = records.iter().map(|record| record["tokens"]["output"].as_u64().unwrap()).sum();
    let (used, held) = usage(&proxy);
    println!(
        "{CLIENTS} clients left in the middle of a stream: {read} words were read, {sent} were sent, {counted} output \
         tokens are charged, ${used} in all; the provider was left {latest:.0?} later at the latest"
    );
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    for record in &records {
        assert_eq!((&record["end"], &record["estimated"]), (&"aborted".into(), &true.into()), "{record}");
        let tokens = |name: &str| record["tokens"][name].as_u64().unwrap();
        assert!(tokens("input") > 0 && tokens("output") > 0, "{record}");
        assert_eq!(cost(record).0, tokens("input") * OUTPUT / 10 + tokens("output") * OUTPUT, "{record}");
    }
    assert!(read <= counted && counted <= sent, "{read} {counted} {sent}");
    assert_eq!((used, held), (recorded, NanoUsd(0)));
}
