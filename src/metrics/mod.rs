//! Measurements of the gateway, through the facade [`metrics`](https://docs.rs/metrics): whoever has installed a
//! recorder gets them, and where there is none they cost next to nothing.
//!
//! [`ALL`] lists them with what they say and the bounds of the histograms, so that a recorder can be told with
//! [`describe`] and a few lines of its own. [`MetricsLayer`] serves what a recorder shows.
//!
//! # Requests
//!
//! They are made of the [records](crate::record) of what has ended, by [`Measured`]:
//!
//! | name | | labels |
//! |---|---|---|
//! | [`REQUESTS`] | counter | `model`, `target`, `key`, `team`; `outcome` is `answered`, `failed` or `left`, `status` such as `2xx` |
//! | [`ERRORS`] | counter | `model`, `target`, `key`, `team`; `kind` of [`Kind`](crate::Kind) |
//! | [`LIMIT_REFUSALS`] | counter | the same |
//! | [`TOKENS`] | counter | `model`, `target`, `key`, `team`; `kind` is `input`, `cached_input`, `cache_write`, `output` or `reasoning`, which don't overlap |
//! | [`COST`] | histogram | `model`, `target`, `key`, `team` |
//! | [`PROMPT_CACHE`] | counter | `model`, `target`, `key`, `team`; `result` is `hit` or `miss` |
//! | [`DURATION`], [`FIRST_EVENT`], [`PER_TOKEN`], [`OVERHEAD`] | histograms | `model`, `target` |
//! | [`ATTEMPTS`] | counter | `target`; `outcome` is `answered`, `aborted` or the kind of its failure, `role` what it was for: `answer`, `hedge`, `resume` or `embedding` |
//! | [`RETRIES`] | counter | `target` |
//! | [`FAILOVERS`] | counter | `from` and `target`, to which it went |
//! | [`OVERFLOW`] | counter | |
//!
//! What routes do besides is counted as it happens:
//!
//! | name | | labels |
//! |---|---|---|
//! | [`HEDGES`] | counter | `target` of a model with `hedge`; `outcome` is `sent`, `won`, or `refused` where there was no second attempt |
//! | [`RESUMES`] | counter | `target` whose stream broke, of a model with `on_break: resume`; `outcome` is `done` or `impossible` |
//! | [`MIRRORS`] | counter | `target` of a `mirror`; `outcome` is `sent`, `skipped` where too many are under way, or the kind of what has refused it before it was sent, such as `billing` |
//!
//! A `model` is what the client asks for, a `target` is `provider/model`; both are `none` where there is none.
//!
//! # The gateway
//!
//! What holds at the moment is asked for when somebody looks, by `config::Gauges`:
//!
//! | name | | labels |
//! |---|---|---|
//! | [`IN_FLIGHT`] | gauge | |
//! | [`BREAKER_STATE`] | gauge | `target` |
//! | [`BUDGET_LIMIT`], [`BUDGET_LEFT`] | gauges | `account`, such as `team:search`, and `per`, such as `month` |
//! | [`BUILD_INFO`] | gauge | `version` |
//!
//! Records are counted where they [wait](crate::record::Queue):
//!
//! | name | | of each place, `to`: the `queue`, and each keeper by its name |
//! |---|---|---|
//! | [`RECORDS_WAITING`] | gauge | how many wait there |
//! | [`RECORDS_LOST`] | counter | how many found it full, or could not be kept |
//!
//! [`CONTENT_LEFT_OUT`] counts those that are kept without their content, because too much of it waited.
//!
//! # Stores
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
#![cfg_attr(not(feature = "metrics"), doc = "\n[`Measured`]: crate#features\n[`describe`]: crate#features")]

#[cfg(feature = "metrics")]
mod measured;
mod names;
mod routing;
#[cfg(feature = "metrics")]
mod series;
mod serve;
mod table;

use std::sync::Arc;
#[cfg(any(feature = "redis", feature = "postgres", feature = "sqlite"))]
use std::time::Duration;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::measured::Measured;
pub(crate) use self::routing::{Hedged, Mirrored, hedged, mirrored, resumed};
pub use self::{
    names::Names,
    routing::{HEDGES, MIRRORS, RESUMES},
    serve::{Access, Metrics, MetricsLayer},
    table::{ALL, Form, Metric},
};

/// How many requests have ended.
pub const REQUESTS: &str = "bartizan_requests_total";
/// How many of them have failed.
pub const ERRORS: &str = "bartizan_errors_total";
/// How many of them a limit or a budget of the gateway has refused.
pub const LIMIT_REFUSALS: &str = "bartizan_limit_refusals_total";
/// How many tokens they used.
pub const TOKENS: &str = "bartizan_tokens_total";
/// What attempts cost, in US dollars.
pub const COST: &str = "bartizan_cost_usd";
/// How many answers came of a prompt in the provider's cache.
pub const PROMPT_CACHE: &str = "bartizan_prompt_cache_requests_total";
/// How long a request takes.
pub const DURATION: &str = "bartizan_request_duration_seconds";
/// How long it takes until the provider's answer begins.
pub const FIRST_EVENT: &str = "bartizan_time_to_first_event_seconds";
/// How long each token of output takes behind the first.
pub const PER_TOKEN: &str = "bartizan_time_per_output_token_seconds";
/// How long the gateway itself is at a request.
pub const OVERHEAD: &str = "bartizan_overhead_seconds";
/// How often targets were asked.
pub const ATTEMPTS: &str = "bartizan_attempts_total";
/// How often one was asked again.
pub const RETRIES: &str = "bartizan_retries_total";
/// How often another one was asked instead.
pub const FAILOVERS: &str = "bartizan_failovers_total";
/// How often a measurement found no room for a series of its own.
pub const OVERFLOW: &str = "bartizan_metrics_overflow_total";
/// How many requests are served at the moment.
pub const IN_FLIGHT: &str = "bartizan_requests_in_flight";
/// Whether a target is passed over.
pub const BREAKER_STATE: &str = "bartizan_breaker_state";
/// What a budget is.
pub const BUDGET_LIMIT: &str = "bartizan_budget_limit_usd";
/// What is left of it.
pub const BUDGET_LEFT: &str = "bartizan_budget_left_usd";
/// How many records wait to be kept.
pub const RECORDS_WAITING: &str = "bartizan_records_waiting";
/// How many found no room, or could not be.
pub const RECORDS_LOST: &str = "bartizan_records_lost_total";
/// How many were kept without their content.
pub const CONTENT_LEFT_OUT: &str = "bartizan_records_without_content_total";
/// Which version runs.
pub const BUILD_INFO: &str = "bartizan_build_info";
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
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    for Metric { name, help, form } in ALL {
        let unit = if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match form {
            Form::Counter => describe_counter!(*name, unit, *help),
            Form::Gauge => describe_gauge!(*name, unit, *help),
            Form::Histogram(_) => describe_histogram!(*name, unit, *help),
        }
    }
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

/// Notes that records for `to` are lost.
pub(crate) fn records_lost(to: &Arc<str>, records: u64) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!(RECORDS_LOST, "to" => to.clone()).increment(records);
    #[cfg(not(feature = "metrics"))]
    let _ = (to, records);
}

/// Notes that records are kept without their content.
pub(crate) fn content_left_out(records: u64) {
    #[cfg(feature = "metrics")]
    ::metrics::counter!(CONTENT_LEFT_OUT).increment(records);
    #[cfg(not(feature = "metrics"))]
    let _ = records;
}

/// Notes how many records wait for `to`.
pub(crate) fn records_waiting(to: &Arc<str>, records: usize) {
    #[cfg(feature = "metrics")]
    ::metrics::gauge!(RECORDS_WAITING, "to" => to.clone()).set(records as f64);
    #[cfg(not(feature = "metrics"))]
    let _ = (to, records);
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
