//! Layers around the routes of an axum app, and a gateway beside them: `cargo run --example axum`.
//!
//! The app has a route of its own. The layers that need no model stand around it as they stand around
//! the gateway, so that one set of keys opens both and the requests of a key are counted together.

use std::{env, sync::Arc};

use axum::{Extension, Router, routing::get};
use bartizan::{
    BoxError, Dialect, Target,
    access::{AccessLayer, Pattern},
    auth::{AuthLayer, Caller, KeyDigest, MemoryKeys, VirtualKey},
    budget::BudgetLayer,
    demo::Demo,
    dialect::{Dialects, OPENAI_CHAT},
    dispatch::{Candidate, Dispatch, Route, Table},
    ingest::IngestLayer,
    ledger::MemoryLedger,
    meter::MeterLayer,
    price::Price,
    render_errors::RenderErrorsLayer,
    request_limit::RequestLimitLayer,
    translate::TranslateLayer,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let app = app()?;
    let listener = TcpListener::bind(&address).await.map_err(|error| format!("{address}: {error}"))?;
    let address = listener.local_addr()?;
    println!(
        "Listening on http://{address}\n\n  curl http://{address}/whoami -H 'authorization: Bearer vk-example'\n\n  \
         curl http://{address}/v1/chat/completions -H 'authorization: Bearer vk-example' \
         -H 'content-type: application/json' \
         -d '{{\"model\": \"chat\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'"
    );
    axum::serve(listener, app).await?;
    Ok(())
}

/// The app: a route of its own, and the gateway at the paths that clients of models know.
pub fn app() -> Result<Router, BoxError> {
    let dialects = Dialects::default();
    let front = ServiceBuilder::new()
        // Outside of all that may refuse: axum wants services that never fail.
        .layer(RenderErrorsLayer::new(dialects.clone()))
        // Puts the caller into the request's extensions.
        .layer(AuthLayer::new(Arc::new(keys()?)))
        // Behind auth, because every key has a rate of its own.
        .layer(RequestLimitLayer::new());

    let dispatch = dispatch();
    let ledger = Arc::new(MemoryLedger::default());
    let gateway = front
        .clone()
        // From here on the model is known.
        .layer(IngestLayer::new(dialects))
        // Nothing is reserved for what isn't allowed.
        .layer(AccessLayer::new())
        // Reserves the most that the request may cost, and settles when the answer has ended.
        .layer(BudgetLayer::new(ledger, Arc::new(dispatch.clone())))
        .service(dispatch);

    Ok(Router::new()
        .route("/whoami", get(whoami))
        // Only around the routes above: the gateway has these layers already.
        .route_layer(front)
        .route_service("/v1/chat/completions", gateway.clone())
        .route_service("/v1/messages", gateway))
}

/// A handler of the app. Nobody reaches it without a key.
async fn whoami(Extension(caller): Extension<Caller>) -> String {
    format!("you are {}\n", caller.name)
}

/// The keys of the app's clients, by their digests; a [`KeyStore`](bartizan::auth::KeyStore) of your own
/// may ask a database.
fn keys() -> Result<MemoryKeys, BoxError> {
    let example = VirtualKey::new("example").requests("5/minute".parse()?).allow([Pattern::new("chat")]);
    Ok(MemoryKeys::from_iter([(KeyDigest::of("vk-example"), example)]))
}

/// One model, answered by the provider that needs no account.
fn dispatch() -> Dispatch {
    let target = Arc::new(Target::new("demo", "echo").price(Some(Price::default())));
    let provider = ServiceBuilder::new()
        .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
        .layer(MeterLayer::new(target.clone()))
        .service(Demo::default());
    Dispatch::new(Table::default().route(Route::new("chat", [Candidate::new(target, provider)])))
}
