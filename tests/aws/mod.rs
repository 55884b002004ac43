//! A server that is Bedrock to those who ask it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, body::to_bytes, extract::Request as AxumRequest};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// The secret of the key with which requests have to be signed.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A frame of an event stream.
fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut written = Vec::new();
    for (name, value) in headers {
        written.push(u8::try_from(name.len()).unwrap());
        written.extend_from_slice(name.as_bytes());
        written.push(7);
        written.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        written.extend_from_slice(value.as_bytes());
    }
    let length = u32::try_from(written.len() + payload.len() + 16).unwrap();
    let mut frame = [length.to_be_bytes(), u32::try_from(written.len()).unwrap().to_be_bytes()].concat();
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame.extend_from_slice(&written);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32(&frame).to_be_bytes());
    frame
}

/// The checksum of Ethernet, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

pub fn event(name: &str, payload: Value) -> Vec<u8> {
    let json = (":content-type", "application/json");
    frame(&[(":event-type", name), json, (":message-type", "event")], &payload)
}

pub fn exception(name: &str, payload: Value) -> Vec<u8> {
    let json = (":content-type", "application/json");
    frame(&[(":exception-type", name), json, (":message-type", "exception")], &payload)
}

/// What Bedrock says.
#[derive(Clone, Debug)]
pub enum Says {
    Whole(Value),
    /// Frames, in pieces of so many bytes.
    Stream(Vec<u8>, usize),
    Refusal(u16, &'static str, Value),
}

/// What Bedrock was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// Whether the signature is that of the request as it came.
    pub is_signed: bool,
}

/// A server that says one thing after the other.
#[derive(Clone, Default)]
pub struct Bedrock {
    says: Arc<Mutex<Vec<Says>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Body = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

impl Bedrock {
    /// Starts it; the address comes back.
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this = self.clone();
        let app = Router::new().fallback(move |req: AxumRequest| this.clone().answer(req));
        tokio::spawn(async { axum::serve(listener, app).await });
        url
    }

    /// Has it say this to the next request that isn't answered yet.
    pub fn say(&self, says: Says) {
        self.says.lock().unwrap().insert(0, says);
    }

    /// What it was asked, the first first.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    async fn answer(self, req: AxumRequest) -> Response<axum::body::Body> {
        let (parts, body) = req.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        self.asked.lock().unwrap().push(Asked {
            path: parts.uri.path().to_owned(),
            is_signed: is_signed(&parts, &body),
            body: serde_json::from_slice(&body).unwrap(),
            headers: parts.headers,
        });
        let says = self.says.lock().unwrap().pop().expect("nothing more to say");
        let (status, kind, error, chunks) = match says {
            Says::Whole(body) => (200, "application/json", "", vec![body.to_string().into()]),
            Says::Stream(bytes, size) => {
                let chunks = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
                (200, "application/vnd.amazon.eventstream", "", chunks)
            }
            Says::Refusal(status, error, body) => {
                (status, "application/json", error, vec![Bytes::from(body.to_string())])
            }
        };
        let frames: Vec<_> = chunks.into_iter().map(|chunk| Ok(Frame::data(chunk))).collect();
        let body: Body = StreamBody::new(stream::iter(frames));
        let mut res = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
        if !error.is_empty() {
            res = res.header("x-amzn-errortype", error);
        }
        res.body(axum::body::Body::new(body)).unwrap()
    }
}

/// Signs the request once more, from what came over the wire, and compares.
fn is_signed(parts: &Parts, body: &[u8]) -> bool {
    let Some(proof) = parts.headers.get("authorization").and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let field = |name: &str| proof.split_once(name)?.1.split(',').next();
    let (Some(credential), Some(names), Some(signature)) =
        (field("Credential="), field("SignedHeaders="), field("Signature="))
    else {
        return false;
    };
    let scope = credential.split_once('/').unwrap().1;
    // Every segment that stands on the wire is encoded once more.
    let path = parts.uri.path().replace('%', "%25");
    let headers: String =
        names.split(';').map(|name| format!("{name}:{}\n", parts.headers[name].to_str().unwrap())).collect();
    let canonical = format!("POST\n{path}\n\n{headers}\n{names}\n{}", hex(&Sha256::digest(body)));
    let time = parts.headers["x-amz-date"].to_str().unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{SECRET}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| hmac(&key, part.as_bytes()));
    hex(&hmac(&key, text.as_bytes())) == signature
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded =
        |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or_default() ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36), text].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
