//! An LLM gateway made of tower layers.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations, missing_docs, rust_2018_idioms, unreachable_pub)]
#![cfg_attr(not(test), warn(clippy::panic, clippy::unwrap_used))]

pub mod access;
pub mod auth;
pub mod body;
pub mod budget;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
pub mod demo;
pub mod dialect;
pub mod dispatch;
pub mod drain;
pub mod error;
pub mod exchange;
pub mod first_event;
pub mod future;
pub mod headers;
pub mod health;
pub mod in_flight;
pub mod ingest;
pub mod ledger;
pub mod meter;
pub mod models;
pub mod payload;
pub mod price;
pub mod record;
pub mod render_errors;
pub mod request_limit;
pub mod secret;
pub mod sign;
pub mod target;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod translate;
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
};

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A future with its type forgotten.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A poisoned lock is still readable; settling runs in `Drop`, where a panic would abort.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
