//! A configuration that changes again and again while the proxy is asked.
#![cfg(unix)]

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use process::{KEY, Proxy, chat, eventually, exchange};

const RELOADS: usize = 50;
const CLIENTS: usize = 16;

/// Each version has other routes, providers, prices and keys besides those that are asked for.
fn config(version: usize) -> String {
    let (first, second) = if version.is_multiple_of(2) { ("a/m", "b/m") } else { ("b/m", "a/m") };
    format!(
        "unknown_price: allow\nstore: memory\nlog: {{ records: none }}\n\
         providers: {{ a: {{ kind: demo }}, b: {{ kind: demo }}, p{version}: {{ kind: demo }} }}\n\
         models:\n  chat: {{ targets: [ {{ use: {first} }}, {{ use: {second} }} ] }}\n  \
         v{version}: {{ targets: [ {{ use: p{version}/m }} ] }}\n\
         prices: {{ \"a/m\": {{ input: {version}, output: 1 }} }}\n\
         keys:\n  - {{ name: app, key: {KEY} }}\n  - {{ name: k{version}, key: key-of-the-version-{version} }}\n"
    )
}

#[test]
fn fifty_reloads_under_load_fail_no_request_and_break_no_stream() {
    let proxy = Proxy::start(&config(0));
    let (stop, whole, streams) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let client = |number: usize| {
        while !stop.load(Ordering::Relaxed) {
            let is_stream = number.is_multiple_of(2);
            let answer = exchange(proxy.connect(), chat("chat", is_stream, "Hi there, and a few words more"));
            assert_eq!(answer.status, 200, "{answer:?}");
            if is_stream {
                let is_whole = answer.body.contains("data: [DONE]") && !answer.body.contains("(cut off)");
                assert!(is_whole && !answer.body.contains("\"error\""), "{answer:?}");
                streams.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(answer.body.contains("You said: Hi there"), "{answer:?}");
                whole.fetch_add(1, Ordering::Relaxed);
            }
        }
    };

    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        for version in 1..=RELOADS {
            fs::write(&proxy.file, config(version)).unwrap();
            proxy.signal("HUP");
            let is_in_force = || {
                (exchange(proxy.connect(), chat(&format!("v{version}"), false, "Hi")).status == 200)
                    .then_some(())
            };
            let in_force = eventually(Duration::from_secs(10), is_in_force);
            if in_force.is_none() {
                stop.store(true, Ordering::Relaxed);
            }
            assert!(in_force.is_some(), "version {version} is not in force: {}", proxy.log());
        }
        stop.store(true, Ordering::Relaxed);
        // One that has failed has panicked.
        clients.into_iter().for_each(|client| client.join().unwrap());
    });

    let (whole, streams) = (whole.into_inner(), streams.into_inner());
    println!("{RELOADS} reloads, {CLIENTS} clients: {whole} requests, 0 failed; {streams} streams, 0 broken");
    assert!(whole > RELOADS && streams > RELOADS);
}
