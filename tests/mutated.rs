//! What clients and providers really send, damaged in every way: it is read or refused, and nothing
//! panics.
//!
//! `PROPTEST_CASES` says how many inputs each test makes; it is short without it.

#[allow(dead_code, reason = "streams are all that is made up here")]
mod random;

use std::sync::LazyLock;

use bartizan::{
    Exchange, Kind, Payload, Target, Tokens,
    body::sse::{Event, Splitter},
    dialect::{ANTHROPIC, ChatCodec, Codec, Dialect, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES},
    payload::Head,
};
use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*, sample::Index};
use random::Tape;
use serde_json::Value;

const ALL: [&dyn Dialect; 4] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &ANTHROPIC, &GEMINI];

fn codec(dialect: &'static dyn Dialect) -> &'static dyn ChatCodec {
    dialect.codec().and_then(Codec::chat).unwrap()
}

/// A request of which only the head is known.
fn asked(head: Head) -> Payload {
    Payload::new(&OPENAI_CHAT, head, Bytes::new(), Exchange::default())
}

/// The inputs and the expected outputs of the translation cases of one kind.
fn of_kind(kind: &str) -> Vec<Vec<u8>> {
    let file: Value = serde_json::from_str(include_str!("cases/translation.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind);
    let bytes = |value: &Value| match value.as_str() {
        Some(stream) => stream.as_bytes().to_vec(),
        None => value.to_string().into_bytes(),
    };
    let both = |case: &Value| match kind {
        "stream" => vec![bytes(&case["input"])],
        _ => vec![bytes(&case["input"]), bytes(&case["expect"])],
    };
    cases.flat_map(both).collect()
}

static REQUESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| of_kind("request"));
static ANSWERS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ["response", "error"].into_iter().flat_map(of_kind).collect());

/// Those of the cases, and some of each dialect.
static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut streams = of_kind("stream");
    for (dialect, seed) in ALL.into_iter().flat_map(|dialect| (0..4).map(move |seed| (dialect, seed))) {
        let bytes: Vec<u8> = (0..120u8).map(|at| at.wrapping_mul(31).wrapping_add(seed * 57)).collect();
        let (mut encoder, mut out) = (codec(dialect).encoder(&asked(Head::default())), BytesMut::new());
        for event in Tape::new(&bytes, 0).stream(false) {
            encoder.event(event, &mut out);
        }
        streams.push(out.to_vec());
    }
    streams
});

/// What is put into the middle of something.
const TOKENS: [&[u8]; 24] = [
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\\ud800\"",
    b"[[[[[[[[",
    b"}]}",
    b",",
    b"\"type\":",
    b"\"index\":9999999999,",
    b"\"role\":\"tool\",",
    b"\\",
    b"\"",
    b"\r",
    b"\n",
    b"\n\n",
    b"\n\ndata: ",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
];

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index, u8),
    Repeat(Index, u8),
    Insert(Index, usize),
    /// The rest is another input's.
    Splice(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, with)| Damage::Flip(at, with)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (any::<Index>(), 0..TOKENS.len()).prop_map(|(at, token)| Damage::Insert(at, token)),
        (any::<Index>(), any::<Index>(), any::<Index>())
            .prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
    ]
}

fn damaged(inputs: &[Vec<u8>], which: Index, damages: Vec<Damage>) -> Vec<u8> {
    let mut bytes = which.get(inputs).clone();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        let end = |at: usize, more: u8| (at + usize::from(more)).min(length);
        match damage {
            Damage::Flip(at, with) => bytes[at.index(length)] = with,
            Damage::Cut(at, more) => {
                let at = at.index(length);
                bytes.drain(at..end(at, more));
            }
            Damage::Repeat(at, more) => {
                let at = at.index(length);
                let piece = bytes[at..end(at, more)].to_vec();
                bytes.splice(at..at, piece);
            }
            Damage::Insert(at, token) => {
                let at = at.index(length);
                bytes.splice(at..at, TOKENS[token].iter().copied());
            }
            Damage::Splice(at, other, from) => {
                let other = other.get(inputs);
                bytes.truncate(at.index(length));
                bytes.extend_from_slice(&other[from.index(other.len())..]);
            }
        }
    }
    bytes
}

/// Reads a client's request of any dialect, and writes it for all of them.
fn request(body: &[u8]) {
    for from in ALL {
        let request = match codec(from).decode_request(body) {
            Ok(request) => request,
            Err(error) => {
                assert_eq!(error.kind(), Kind::InvalidRequest, "{error:?}");
                continue;
            }
        };
        for to in ALL {
            match codec(to).encode_request(&request, &Target::new("provider", "model")) {
                Ok(encoded) => drop(serde_json::from_slice::<serde::de::IgnoredAny>(&encoded.body).unwrap()),
                Err(error) => assert_eq!(error.kind(), Kind::InvalidRequest, "{error:?}"),
            }
        }
    }
}

/// Reads a provider's answer of any dialect, and writes it for clients of all of them.
fn answer(body: &Bytes) {
    for from in ALL {
        let _ = from.error_in_answer(body);
        let _ = from.read_usage(body, &mut Tokens::default());
        let Ok(answer) = codec(from).decode_answer(body) else { continue };
        for to in ALL {
            let written = codec(to).encode_answer(&answer, &asked(Head::default()));
            assert!(codec(to).decode_answer(&written).is_ok(), "{written:?}");
        }
    }
}

/// Reads a provider's stream of any dialect, and writes it for clients of all of them.
fn stream(pieces: &[&[u8]]) {
    for from in ALL {
        for to in ALL {
            let head = Head { stream: true, include_usage: true, ..Head::default() };
            let (mut decoder, mut encoder) = (codec(from).decoder(), codec(to).encoder(&asked(head)));
            let (mut splitter, mut out) = (Splitter::default(), BytesMut::new());
            let mut read = |event: &Event| {
                look(from, event);
                decoder.event(event, &mut |event| encoder.event(event, &mut out)).is_ok()
            };
            let mut is_fine = true;
            for piece in pieces {
                is_fine &= splitter.push(Bytes::copy_from_slice(piece)).is_ok();
                while let Some(event) = splitter.next_event().filter(|_| is_fine) {
                    is_fine = read(&event);
                }
            }
            if let Some(event) = splitter.finish().filter(|_| is_fine) {
                read(&event);
            }
            let _ = decoder.finish(&mut |event| encoder.event(event, &mut out));
            let written = std::str::from_utf8(&out).unwrap();
            assert!(written.is_empty() || written.ends_with("\n\n"), "{written}");
        }
    }
}

/// All that is asked of an event that is not translated.
fn look(dialect: &dyn Dialect, event: &Event) {
    let _ = dialect.is_content(event);
    let _ = dialect.closing(event);
    let _ = dialect.output_bytes(event);
    let _ = dialect.read_usage(&event.data, &mut Tokens::default());
    let _ = dialect.without_usage(event);
}

fn cut<'b>(bytes: &'b [u8], cuts: &[Index]) -> Vec<&'b [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

/// `PROPTEST_CASES` of them, or 256.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_that_are_damaged_are_read_or_refused(which in any::<Index>(), damages in vec(damage(), 0..6)) {
        request(&damaged(&REQUESTS, which, damages));
    }

    #[test]
    fn answers_that_are_damaged_are_read_or_refused(which in any::<Index>(), damages in vec(damage(), 0..6)) {
        answer(&damaged(&ANSWERS, which, damages).into());
    }

    /// C99, C100, C101
    #[test]
    fn streams_that_are_damaged_are_read_or_refused(
        which in any::<Index>(), damages in vec(damage(), 0..6), cuts in vec(any::<Index>(), 0..6),
    ) {
        let bytes = damaged(&STREAMS, which, damages);
        stream(&cut(&bytes, &cuts));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<Index>(), 0..6)) {
        request(&bytes);
        answer(&bytes.clone().into());
        stream(&cut(&bytes, &cuts));
    }
}
