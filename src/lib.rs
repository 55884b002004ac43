//! An LLM gateway made of tower layers.
//!
//! Applications ask one address in the API they know, OpenAI's, Anthropic's or Google's; the gateway checks
//! their keys, limits and budgets, asks one provider or the next, translates where they speak different APIs,
//! streams the answer back and writes down what it cost. Every one of these steps is a
//! [`tower::Layer`] of its own, to be used together or one by one: in axum, in hyper, around a service
//! of one's own. The example `proxy` is all of them as one program.
//!
//! ```text
//!    FRONT: once per request                   BACK: once per attempt, one stack per target
//!
//!    axum, hyper
//!       │  Request<B>
//!    drain ─ health ─ record ─ render errors
//!       │
//!    in flight ─ auth ─ request limit ─ models
//!       │
//!    INGEST   B ──► Payload
//!       │  Request<Payload>
//!    access ─ budget ─ DISPATCH ──┬── in flight ─ translate ─ first event ─ meter ─ sign ─ upstream
//!                                 └── any other Service<Request<Payload>>
//! ```
//!
//! # Four sentences
//!
//! 1. **What flows is the type of the body.** A request is `Request<B>` until ingest and
//!    <code>Request<[Payload]></code> after it; a layer that reads the model asks for a body that is
//!    [`Ingested`], so that a forgotten [`IngestLayer`] does not compile.
//! 2. **Everything that is not a success is an [`Error`], until one layer renders it.** The stack of a
//!    target turns a provider's failures into errors, [`Dispatch`] goes by nothing else, and
//!    [`RenderErrorsLayer`] writes them in the client's dialect.
//! 3. **A response ends once, and whoever cares holds a guard that travels with it**, from the response
//!    future into the response body: [`OnEnd`](body::OnEnd).
//! 4. **Inner layers write what they learn into the [`Exchange`], outer layers read it when the response
//!    ends.** Usage is written as it passes, so that an answer that breaks off has been counted too.
//!
//! # A gateway
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     Dialect, Target,
//!     auth::{AuthLayer, Caller, VirtualKey},
//!     demo::Demo,
//!     dialect::{Dialects, OPENAI_CHAT},
//!     dispatch::{Candidate, Dispatch, Route, Table},
//!     ingest::IngestLayer,
//!     meter::MeterLayer,
//!     record::{RecordLayer, Tracing},
//!     render_errors::RenderErrorsLayer,
//!     translate::TranslateLayer,
//! };
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::BoxError> {
//! let target = Arc::new(Target::new("demo", "echo"));
//! let provider = ServiceBuilder::new()
//!     .layer(TranslateLayer::new(target.clone(), [&OPENAI_CHAT as &dyn Dialect]))
//!     .layer(MeterLayer::new(target.clone()))
//!     .service(Demo::default());
//! let route = Route::new("chat", [Candidate::new(target, provider)]);
//! let gateway = ServiceBuilder::new()
//!     .layer(RecordLayer::new(Arc::new(Tracing)))
//!     .layer(RenderErrorsLayer::new(Dialects::default()))
//!     .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
//!     .layer(IngestLayer::new(Dialects::default()))
//!     .service(Dispatch::new(Table::default().route(route)));
//!
//! // A client of Anthropic's messages; the provider speaks OpenAI's chat completions.
//! let question = r#"{"model": "chat", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi!"}]}"#;
//! let answer = gateway.oneshot(Request::post("/v1/messages").body(Full::from(question))?).await?;
//!
//! assert_eq!(answer.headers()["x-bartizan-provider"], "demo");
//! let body = String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?;
//! assert!(body.contains(r#""type":"message""#) && body.contains("You said: Hi!"), "{body}");
//! # Ok(())
//! # }
//! ```
//!
//! # The layers, in their order
//!
//! Around all targets, from the client inwards:
//!
//! | | what it does | what it needs | what it makes, or refuses with |
//! |---|---|---|---|
//! | [`DrainLayer`] | reads answers to their end for clients that have left, where the route wants it | nothing | |
//! | [`ServerTimingLayer`] | says where the time has gone | nothing | `server-timing` |
//! | [`HealthLayer`] | answers `/healthz`, `/readyz` and the like | the path | |
//! | [`DashboardLayer`] | the pages at `/logs` | the administrators' key | |
//! | [`MetricsLayer`] | answers `GET /metrics` with what a recorder shows | the path | |
//! | [`RecordLayer`] | one [`Record`](record::Record) per exchange into a [`Sink`](record::Sink) | nothing | the extension [`Exchange`] |
//! | [`RenderErrorsLayer`] | writes errors in the client's dialect | the path | `x-request-id`; never fails |
//! | [`AdminLayer`] | customers, teams and keys that are set while the gateway runs | the administrators' key | [`Unauthenticated`](Kind::Unauthenticated), [`Conflict`](Kind::Conflict), … |
//! | [`InFlightLayer`] | bounds how many answers are under way | nothing | [`Overloaded`](Kind::Overloaded) |
//! | [`TellFaultsLayer`] | says what was made to fail on purpose, lets administrators ask for it | | [`Forbidden`](Kind::Forbidden) |
//! | [`AuthLayer`] | takes the client's key out and looks it up in a [`KeyStore`](auth::KeyStore) | a key in the headers | the extension [`Caller`](auth::Caller); [`Unauthenticated`](Kind::Unauthenticated) |
//! | [`RequestLimitLayer`] | requests per window and key | the caller | [`RateLimited`](Kind::RateLimited) |
//! | [`ModelsLayer`] | answers `GET /v1/models` with what the key may use | the caller | |
//! | [`AboutKeyLayer`] | answers `GET /v1/key` with what is left to the key | the caller | |
//! | [`IngestLayer`] | reads the body once, within limits, and looks into it | POST, JSON or a form, a known path | the body [`Payload`]; [`InvalidRequest`](Kind::InvalidRequest), [`TooLarge`](Kind::TooLarge), … |
//! | [`KeepAliveLayer`] | sends comments while the first event of a stream is waited for | the payload | the head of an answer, before there is one |
//! | [`AccessLayer`] | which models a key may ask for | the caller, the payload | [`Forbidden`](Kind::Forbidden) |
//! | [`LabelsLayer`] | reads end user, session and tags, and lets their quotas be charged too | the caller, the payload | scopes of the caller; [`InvalidRequest`](Kind::InvalidRequest) |
//! | [`LoopLayer`] | stops the same request again and again, and sessions that spend very much | the caller, the payload | [`RunawayLoop`](Kind::RunawayLoop) |
//! | [`ChooseLayer`] | decides by rules, tasks and the client's wishes by which route a request goes | the caller, the payload, the labels | the route; [`InvalidRequest`](Kind::InvalidRequest), [`NoRoute`](Kind::NoRoute) |
//! | [`AlertsLayer`] | notes whose accounts are used, so that people are told | the caller, the payload | [`Alerts`](alerts::Alerts) |
//! | [`BudgetLayer`] | holds the worst case in a [`Ledger`](ledger::Ledger), settles at the end | the caller, the payload | [`BudgetExhausted`](Kind::BudgetExhausted), [`RateLimited`](Kind::RateLimited), [`TooExpensive`](Kind::TooExpensive) |
//! | [`Dispatch`] | asks the targets of a route, again or one after the other | the payload | `x-bartizan-*`; [`NoRoute`](Kind::NoRoute) |
//!
//! Around one target:
//!
//! | | what it does | what it needs | what it makes, or refuses with |
//! |---|---|---|---|
//! | [`BreakerLayer`] | passes over a target that fails | nothing | [`Overloaded`](Kind::Overloaded), so the next target is asked |
//! | [`InFlightLayer`] | bounds what one provider is sent | nothing | [`Overloaded`](Kind::Overloaded), so the next target is asked |
//! | [`ProviderBudgetLayer`] | holds the worst case of an attempt on the provider's own accounts | the payload | [`Billing`](Kind::Billing), [`RateLimited`](Kind::RateLimited), so the next target is asked |
//! | [`TranslateLayer`] | speaks the provider's dialect inwards, the client's outwards | the payload | what was lost; in strict mode [`InvalidRequest`](Kind::InvalidRequest) |
//! | [`OwnIdsLayer`] | seals the ids of what a provider keeps with the client's key | the caller, the payload | ids that lead back to the target |
//! | [`FirstEventLayer`] | holds an answer back until it has content | the payload | [`Timeout`](Kind::Timeout), errors inside of a success |
//! | [`MeterLayer`] | reads the usage out of what passes | the payload | an [`Attempt`](exchange::Attempt) of the exchange |
//! | [`SignLayer`] | the provider's credential, and only the headers it may see | | |
//! | [`FaultLayer`] | fails on purpose, where it is told to | the payload | what a provider would |
//! | [`Upstream`] | the HTTP call | the payload | what the provider refused with, as an [`Error`] |
//!
//! The reasons for the order:
//!
//! - What refuses for less stands further out: a key is checked before a byte of the body is read, a
//!   model before money is reserved for it.
//! - Recording is outside of rendering, because a record has the status; both are outside of all that
//!   may refuse, because refusals are recorded too. Draining is outside of both, so that an answer which
//!   is read on counts as if the client were there.
//! - Budgets are last before the call: what is held is held as shortly as possible.
//! - The meter is inside of translation, because it reads what the provider really sent; the first
//!   event is judged outside of the meter, because an answer that is thrown away has been paid for.
//! - The signature is last: the credential passes through no other layer, except one that fails on purpose, which is
//!   where the provider would be.
//!
//! Layers of tower and tower-http may stand anywhere: an [`Error`] that has passed through a
//! [`BoxError`] comes out as it was.
//!
//! # One's own
//!
//! - **A layer** that looks at headers is generic over the body and keeps its `S::Error`. One that reads
//!   the request asks for `B: `[`Ingested`] and refuses with an [`Error`];
//!   [`Admission`](future::Admission) is its future. One that wants to know how it ended observes
//!   ([`Observe`](body::Observe)); [`Watched`](future::Watched) is its future. The example `own_layer`
//!   has one of each.
//! - **A provider** is a <code>Service<Request<[Payload]>></code> behind a
//!   [`Candidate`](dispatch::Candidate); one that speaks a known dialect at some address is [`Upstream`]
//!   with a [`SignLayer`]. The example `own_provider` has both. Routes for names that can't be listed
//!   are found by a [`Resolve`](dispatch::Resolve).
//! - **A store** implements a trait of a few methods: [`KeyStore`](auth::KeyStore) for keys,
//!   [`Ledger`](ledger::Ledger) for money, [`Directory`](directory::Directory) for what is set meanwhile, [`Audit`](audit::Audit) for who did,
//!   [`Sink`](record::Sink) for records,
//!   [`Prices`](budget::Prices) for the worst case, [`Catalog`](models::Catalog) for the list of models.
//!   A ledger has to pass the `ledger::conformance` suite of the feature `test-util`.
//! - **A dialect** implements [`Dialect`], and gives a [`Codec`](dialect::Codec) if it is to be translated. A
//!   provider that deviates from a dialect has a [`preset`]. [`extending`] describes both, with examples.
//!
//! # Features
//!
//! | | |
//! |---|---|
//! | none | all layers but `Upstream`: no sockets, no TLS, no C (the default) |
//! | `client` | `upstream`, the HTTP client, HTTP/1.1 and HTTP/2 |
//! | `tls` | TLS for it: rustls with ring and the roots of Mozilla; webhooks for [`alerts`] |
//! | `vertex` | credentials of Google Cloud, in [`sign`] |
//! | `bedrock` | signatures of AWS, in [`sign`] |
//! | `config` | [`config`]: one YAML or JSON file becomes keys, routes and stacks |
//! | `redis` | `ledger::RedisLedger` and `directory::RedisDirectory`, in which many gateways share budgets, limits and keys |
//! | `metrics` | what the gateway measures, for a recorder of the facade `metrics`: see [`metrics`] |
//! | `otel` | [`otel`]: traces, measurements and logs for OpenTelemetry, by OTLP over HTTP |
//! | `postgres` | `ledger::PostgresLedger` and `directory::PostgresDirectory`, for the same; `logs::PostgresLogs`, records of many gateways |
//! | `clickhouse` | [`clickhouse`]: records in ClickHouse |
//! | `reload` | watches that file, and SIGHUP |
//! | `sqlite` | a ledger in a file, so that budgets survive the process, and records that can be found again: SQLite, bundled |
//! | `dashboard` | the pages at `/logs` |
//! | `proxy` | what the example `proxy` needs: `config`, `dashboard`, `metrics`, `otel`, `reload`, `redis`, `postgres`, `clickhouse` and `sqlite` |
//! | `full` | everything above |
//! | `test-util` | the suites that stores have to pass |
//!
//! # What is not here
//!
//! Caches of answers. Files are stored for [batches](batch) only, and what is stored at a provider can't be
//! listed.
//!
//! [`AboutKeyLayer`]: about_key::AboutKeyLayer
//! [`AccessLayer`]: access::AccessLayer
//! [`AlertsLayer`]: alerts::AlertsLayer
//! [`ChooseLayer`]: choose::ChooseLayer
//! [`AuthLayer`]: auth::AuthLayer
//! [`BreakerLayer`]: breaker::BreakerLayer
//! [`BudgetLayer`]: budget::BudgetLayer
//! [`Dispatch`]: dispatch::Dispatch
//! [`DrainLayer`]: drain::DrainLayer
//! [`FaultLayer`]: fault::FaultLayer
//! [`FirstEventLayer`]: first_event::FirstEventLayer
//! [`HealthLayer`]: health::HealthLayer
//! [`InFlightLayer`]: in_flight::InFlightLayer
//! [`LabelsLayer`]: labels::LabelsLayer
//! [`LoopLayer`]: loops::LoopLayer
//! [`KeepAliveLayer`]: keep_alive::KeepAliveLayer
//! [`IngestLayer`]: ingest::IngestLayer
//! [`MeterLayer`]: meter::MeterLayer
//! [`MetricsLayer`]: metrics::MetricsLayer
//! [`ModelsLayer`]: models::ModelsLayer
//! [`OwnIdsLayer`]: own_ids::OwnIdsLayer
//! [`ProviderBudgetLayer`]: provider_budget::ProviderBudgetLayer
//! [`RecordLayer`]: record::RecordLayer
//! [`RenderErrorsLayer`]: render_errors::RenderErrorsLayer
//! [`RequestLimitLayer`]: request_limit::RequestLimitLayer
//! [`ServerTimingLayer`]: server_timing::ServerTimingLayer
//! [`SignLayer`]: sign::SignLayer
//! [`TellFaultsLayer`]: fault::TellFaultsLayer
//! [`TranslateLayer`]: translate::TranslateLayer
#![cfg_attr(feature = "client", doc = "[`Upstream`]: upstream::Upstream")]
#![cfg_attr(not(feature = "client"), doc = "[`Upstream`]: crate#features")]
#![cfg_attr(not(feature = "config"), doc = "[`config`]: crate#features")]
#![cfg_attr(feature = "dashboard", doc = "[`DashboardLayer`]: dashboard::DashboardLayer")]
#![cfg_attr(not(feature = "dashboard"), doc = "[`DashboardLayer`]: crate#features")]
#![cfg_attr(not(feature = "otel"), doc = "[`otel`]: crate#features")]
#![cfg_attr(not(feature = "clickhouse"), doc = "[`clickhouse`]: crate#features")]
#![cfg_attr(feature = "config", doc = "[`AdminLayer`]: admin::AdminLayer")]
#![cfg_attr(not(feature = "config"), doc = "[`AdminLayer`]: crate#features")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations, missing_docs, rust_2018_idioms, unreachable_pub)]
#![cfg_attr(not(test), warn(clippy::panic, clippy::unwrap_used))]

pub mod about_key;
pub mod access;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod admin;
pub mod alerts;
pub mod audit;
pub mod auth;
pub mod batch;
pub mod body;
pub mod breaker;
pub mod budget;
pub mod choose;
#[cfg(feature = "clickhouse")]
#[cfg_attr(docsrs, doc(cfg(feature = "clickhouse")))]
pub mod clickhouse;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
#[cfg(feature = "dashboard")]
#[cfg_attr(docsrs, doc(cfg(feature = "dashboard")))]
pub mod dashboard;
pub mod demo;
pub mod dialect;
pub mod directory;
pub mod dispatch;
pub mod drain;
pub mod error;
pub mod exchange;
#[cfg(feature = "cel")]
#[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
pub mod expression;
pub mod extending;
pub mod fault;
pub mod first_event;
pub mod future;
mod hashing;
pub mod headers;
pub mod health;
pub mod in_flight;
pub mod ingest;
pub mod keep_alive;
pub mod labels;
pub mod ledger;
pub mod logs;
pub mod loops;
pub mod meter;
pub mod metrics;
pub mod models;
#[cfg(feature = "otel")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel")))]
pub mod otel;
pub mod own_ids;
mod patience;
pub mod payload;
mod percent;
#[cfg(feature = "postgres")]
mod postgres;
pub mod preset;
pub mod price;
pub mod provider_budget;
#[cfg(any(feature = "config", feature = "dashboard"))]
mod query;
pub mod record;
pub mod render_errors;
pub mod request_limit;
mod scaled;
pub mod secret;
pub mod server_timing;
#[cfg(any(feature = "config", feature = "dashboard"))]
mod session;
pub mod sign;
#[cfg(feature = "cel")]
mod suggest;
pub mod target;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod translate;
pub mod units;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod upstream;

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use self::{
    body::BoxBody,
    dialect::Dialect,
    error::{Error, Kind},
    exchange::Exchange,
    payload::{Ingested, Payload},
    target::Target,
    tokens::Tokens,
    units::{Units, Work},
};

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A future with its type forgotten.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A poisoned lock is still readable; settling runs in `Drop`, where a panic would abort.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
