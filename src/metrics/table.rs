use super::{
    ATTEMPTS, BREAKER_STATE, BUDGET_LEFT, BUDGET_LIMIT, BUILD_INFO, CONTENT_LEFT_OUT, COST, DEPRECATED,
    DURATION, ERRORS, FAILOVERS, FIRST_EVENT, HEDGES, IN_FLIGHT, LIMIT_REFUSALS, MIRRORS, OVERFLOW, OVERHEAD,
    PER_TOKEN, PROMPT_CACHE, RECORDS_LOST, RECORDS_WAITING, REQUESTS, RESUMES, RETRIES, STORE_AWAY,
    STORE_OUTAGES, STORE_SECONDS, STORE_WAITING, TOKENS,
};

/// What is known of one measurement before anything is measured.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it says, for people.
    pub help: &'static str,
    /// What it is.
    pub form: Form,
}

/// What a measurement is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// Grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Is spread over these upper bounds, in the unit of the name.
    Histogram(&'static [f64]),
}

/// Bounds of OpenTelemetry's `gen_ai.client.operation.duration`, in seconds.
const DURATIONS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Bounds of its `gen_ai.server.time_to_first_token`, in seconds.
const FIRST_TOKENS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds of its `gen_ai.server.time_per_output_token`, in seconds.
const TOKEN_TIMES: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// From ten microseconds to a tenth of a second.
const OVERHEADS: &[f64] =
    &[0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];

/// From a hundredth of a cent to ten dollars.
const COSTS: &[f64] = &[0.0001, 0.001, 0.01, 0.1, 1.0, 10.0];

/// From a hundred microseconds to ten seconds.
const STORE_TIMES: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// All that is measured.
pub const ALL: &[Metric] = &[
    counter(REQUESTS, "Requests that have ended, by how and with which class of status."),
    counter(ERRORS, "Requests that have failed, by the kind of error."),
    counter(
        LIMIT_REFUSALS,
        "Requests that a limit or a budget of the gateway has refused, also that of what is in flight, by the kind of error.",
    ),
    counter(TOKENS, "Tokens of all attempts; the kinds don't overlap, so that their sum is the total."),
    histogram(COST, "What attempts cost in US dollars; the sum is what was spent.", COSTS),
    counter(PROMPT_CACHE, "Answers, by whether their prompt was at least in part in the provider's cache."),
    histogram(DURATION, "How long requests took until their answer had ended.", DURATIONS),
    histogram(
        FIRST_EVENT,
        "How long it took until the provider's answer began, from the arrival of the request.",
        FIRST_TOKENS,
    ),
    histogram(PER_TOKEN, "How long streams took for each token of output behind the first.", TOKEN_TIMES),
    histogram(OVERHEAD, "How long the gateway itself was at a request until its answer began.", OVERHEADS),
    counter(ATTEMPTS, "Attempts at targets, by what they were for and how they came out."),
    counter(RETRIES, "Attempts at the target that had just failed."),
    counter(FAILOVERS, "Attempts at another target than the one that had just failed."),
    counter(HEDGES, "Second attempts beside one that took long to answer, by what came of them."),
    counter(RESUMES, "Streams that broke in the middle and were to be gone on with, by what came of them."),
    counter(MIRRORS, "Copies of requests whose answers nobody sees, by what came of them."),
    counter(OVERFLOW, "Measurements that were counted as `other` because there were too many series."),
    gauge(IN_FLIGHT, "Requests whose answers have not ended."),
    gauge(
        BREAKER_STATE,
        "Whether the target is passed over: 0 it is asked, 1 it is tried, 2 it is passed over.",
    ),
    gauge(BUDGET_LIMIT, "What the account may spend in each period, in US dollars."),
    gauge(BUDGET_LEFT, "What is left of that in the current period, in US dollars."),
    gauge(RECORDS_WAITING, "Records that wait to be kept."),
    counter(RECORDS_LOST, "Records that were not kept, because too many waited or the keeper has failed."),
    counter(CONTENT_LEFT_OUT, "Records that were kept without their content, because too much of it waited."),
    gauge(BUILD_INFO, "1; the label is the version of the gateway."),
    counter(DEPRECATED, "Requests for a model that is deprecated, by who has served them."),
    gauge(STORE_AWAY, "1 while the store does not answer, or can't be written."),
    counter(STORE_OUTAGES, "How often the store stopped to answer."),
    histogram(STORE_SECONDS, "How long those who asked the store have waited.", STORE_TIMES),
    gauge(STORE_WAITING, "Settlements that the store has not been told yet."),
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, form: Form::Counter }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, form: Form::Gauge }
}

const fn histogram(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Metric {
    Metric { name, help, form: Form::Histogram(bounds) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_there_once_and_says_its_unit() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();

        assert_eq!(names.len(), ALL.len());
        for Metric { name, form, .. } in ALL {
            assert!(name.starts_with("bartizan_"), "{name}");
            assert_eq!(*form == Form::Counter, name.ends_with("_total"), "{name}");
            let has_unit = name.ends_with("_seconds") || name.ends_with("_usd");
            assert!(!matches!(form, Form::Histogram(_)) || has_unit, "{name}");
        }
    }

    #[test]
    fn the_bounds_of_histograms_rise() {
        for Metric { name, form, .. } in ALL {
            let Form::Histogram(bounds) = form else { continue };
            assert!(bounds.is_sorted_by(|one, next| one < next), "{name}");
        }
    }
}
