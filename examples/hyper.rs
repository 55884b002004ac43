//! The gateway as a service of hyper, without a web framework: `cargo run --example hyper`.
//!
//! A real server also has timeouts for its clients and an end that lets open answers finish; the
//! `proxy` example has both.

use std::{convert::Infallible, env, sync::Arc};

use bartizan::{
    BoxError, Dialect, Target,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, KeyDigest, MemoryKeys, VirtualKey},
    demo::Demo,
    dialect::{Dialects, OPENAI_CHAT},
    dispatch::{Candidate, Dispatch, Route, Table},
    ingest::IngestLayer,
    meter::MeterLayer,
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    translate::TranslateLayer,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let address = listener.local_addr()?;
    println!(
        "Listening on http://{address}\n\n  curl -N http://{address}/v1/messages -H 'x-api-key: vk-example' \
         -H 'content-type: application/json' -d '{{\"model\": \"chat\", \"max_tokens\": 100, \
         \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'"
    );
    let gateway = gateway()?;
    loop {
        let (socket, _) = listener.accept().await?;
        let service = TowerToHyperService::new(gateway.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(socket), service).await {
                eprintln!("connection closed: {error}");
            }
        });
    }
}

/// The gateway, for requests with any body: hyper's `Incoming`, or a `Full` in a test.
pub fn gateway<B>() -> Result<
    impl Service<
        Request<B>,
        Response = Response<impl Body<Data = Bytes, Error = BoxError> + Send>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send,
    BoxError,
>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let dialects = Dialects::default();
    let example = VirtualKey::new("example").requests("60/minute".parse()?).allow([Pattern::new("chat")]);
    let keys = MemoryKeys::from_iter([(KeyDigest::of("vk-example"), example)]);
    Ok(ServiceBuilder::new()
        // Outside of all that may refuse: hyper closes the connection of a service that fails.
        .layer(RenderErrorsLayer::new(dialects.clone()))
        // Before a byte of the body is read.
        .layer(AuthLayer::new(Arc::new(keys)))
        // Behind auth, because every key has a rate of its own.
        .layer(RequestLimitLayer::new())
        // From here on the model is known.
        .layer(IngestLayer::new(dialects))
        .layer(AccessLayer::new())
        .service(dispatch()))
}

/// One model, answered by the provider that needs no account.
fn dispatch() -> Dispatch {
    let target = Arc::new(Target::new("demo", "echo"));
    let provider = ServiceBuilder::new()
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        .layer(MeterLayer::new(target.clone()))
        .service(Demo::default());
    Dispatch::new(Table::default().route(Route::new("chat", [Candidate::new(target, provider)])))
}
