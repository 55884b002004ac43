//! Measurements of the gateway, through the facade [`metrics`](https://docs.rs/metrics): whoever has installed a
//! recorder gets them, and where there is none they cost next to nothing.
//!
//! | name | | unit | of each `store` |
//! |---|---|---|---|
//! | [`STORE_AWAY`] | gauge | | 1 while it does not answer, or can't be written; otherwise 0 |
//! | [`STORE_OUTAGES`] | counter | | how often it stopped to |
//! | [`STORE_SECONDS`] | histogram | seconds | how long those who asked it have waited, also in vain |
//! | [`STORE_WAITING`] | gauge | settlements | what it has not been told yet |
//!
//! A `store` is one of `redis`, `postgres` and `sqlite`, so there are twelve series at the most. A store in memory is
//! never away.
//!
//! | name | | of each `model` of the configuration that is deprecated |
//! |---|---|---|
//! | [`DEPRECATED`] | counter | how many requests were for it; `served_by` is `itself` or `successor` |

#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
use std::time::Duration;

/// How many requests were for a model that is deprecated.
pub const DEPRECATED: &str = "bartizan_deprecated_requests_total";
/// Whether a store does not answer.
pub const STORE_AWAY: &str = "bartizan_store_away";
/// How often a store stopped to answer.
pub const STORE_OUTAGES: &str = "bartizan_store_outages_total";
/// How long a store takes to answer.
pub const STORE_SECONDS: &str = "bartizan_store_seconds";
/// How many settlements wait for a store.
pub const STORE_WAITING: &str = "bartizan_store_waiting";

/// Tells the recorder that is installed what the names mean.
#[cfg(feature = "metrics")]
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!(DEPRECATED, Unit::Count, "how many requests were for a model that is deprecated");
    describe_gauge!(STORE_AWAY, "1 while the store does not answer, or can't be written");
    describe_counter!(STORE_OUTAGES, Unit::Count, "how often the store stopped to answer");
    describe_histogram!(STORE_SECONDS, Unit::Seconds, "how long those who asked the store have waited");
    describe_gauge!(STORE_WAITING, Unit::Count, "settlements that the store has not been told yet");
}

/// Notes a request for a model that is deprecated.
pub(crate) fn deprecated(model: &str, has_ended: bool) {
    #[cfg(feature = "metrics")]
    {
        let served_by = if has_ended { "successor" } else { "itself" };
        ::metrics::counter!(DEPRECATED, "model" => model.to_owned(), "served_by" => served_by).increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (model, has_ended);
}

/// Notes whether `store` is away, when that has changed or begins.
#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
pub(crate) fn store_away(store: &'static str, is_away: bool) {
    #[cfg(feature = "metrics")]
    {
        ::metrics::gauge!(STORE_AWAY, "store" => store).set(f64::from(u8::from(is_away)));
        ::metrics::counter!(STORE_OUTAGES, "store" => store).increment(u64::from(is_away));
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (store, is_away);
}

/// Notes how long somebody has waited for `store`.
#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
pub(crate) fn store_asked(store: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    ::metrics::histogram!(STORE_SECONDS, "store" => store).record(took);
    #[cfg(not(feature = "metrics"))]
    let _ = (store, took);
}

/// Notes how many settlements wait for `store`.
#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
pub(crate) fn store_waiting(store: &'static str, settlements: usize) {
    #[cfg(feature = "metrics")]
    ::metrics::gauge!(STORE_WAITING, "store" => store).set(settlements as f64);
    #[cfg(not(feature = "metrics"))]
    let _ = (store, settlements);
}
