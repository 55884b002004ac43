//! What the example `own_layer` logs. It is alone in its program: what another test logs first, without
//! anybody listening, may stay unheard.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use bartizan::{BoxError, body::End};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

#[allow(dead_code)]
#[path = "../examples/own_layer.rs"]
mod own_layer;

const CHAT: &str = "/v1/chat/completions";
const HELLO: &str = r#"{"model":"chat","max_tokens":50,"messages":[{"role":"user","content":"Hello!"}]}"#;
const STREAM: &str =
    r#"{"model":"chat","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;

fn ask(path: &str, body: &'static str) -> Request<Body> {
    let req = Request::post(path).header("content-type", "application/json");
    req.header("authorization", "Bearer vk-example").body(body.into()).unwrap()
}

async fn read<S, R>(service: S, req: Request<Body>) -> (StatusCode, HeaderMap, String)
where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let Ok(res) = service.oneshot(req).await;
    let (head, body) = res.into_parts();
    let body = body.collect().await.map_err(Into::into).unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.into()).unwrap())
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn own_layers_learn_how_each_answer_ended() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = own_layer::app();

    read(app.clone(), ask(CHAT, HELLO)).await;
    let Ok(left) = app.clone().oneshot(ask(CHAT, STREAM)).await;
    let mut left = left.into_body();
    while left.frame().await.is_some_and(|frame| !contains(&frame.unwrap(), "demo")) {}
    drop(left);
    read(app, ask(CHAT, r#"{"model":"none"}"#)).await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let used: Vec<_> = log.lines().filter(|line| line.contains("used")).collect();
    assert_eq!(used.len(), 3, "{log}");
    for (line, end) in used.iter().zip([End::Complete, End::Aborted, End::Failed]) {
        assert!(line.contains(&format!("end=\"{}\"", end.as_str())), "{log}");
        assert_eq!(line.contains("output=0"), end == End::Failed, "{log}");
    }
}

fn contains(frame: &http_body::Frame<Bytes>, text: &str) -> bool {
    frame.data_ref().is_some_and(|data| String::from_utf8_lossy(data).contains(text))
}
