//! Which version of HTTP providers are spoken to in.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bartizan::{
    Exchange, Payload,
    dialect::OPENAI_CHAT,
    payload::Head,
    upstream::{HttpClient, Upstream},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tower::ServiceExt;

/// A provider that answers with the version it was asked in.
async fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let echo = service_fn(async |req: Request<Incoming>| {
                let answer = format!("{{\"version\":\"{:?}\"}}", req.version());
                req.into_body().collect().await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer)))
            });
            tokio::spawn(async move {
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), echo).await
            });
        }
    });
    address
}

async fn version(client: HttpClient) -> Bytes {
    let upstream = Upstream::new(client, &format!("http://{}/v1", provider().await)).unwrap();
    let payload = Payload::new(&OPENAI_CHAT, Head::default(), "{}".into(), Exchange::default());

    let answer = upstream.oneshot(Request::new(payload)).await.unwrap();

    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn http_1_is_the_usual_and_http_2_the_choice() {
    let connect = Duration::from_secs(5);

    assert_eq!(version(HttpClient::new(connect)).await, r#"{"version":"HTTP/1.1"}"#);
    assert_eq!(version(HttpClient::http2(connect)).await, r#"{"version":"HTTP/1.1"}"#);
    assert_eq!(version(HttpClient::http2_prior_knowledge(connect)).await, r#"{"version":"HTTP/2.0"}"#);
}
