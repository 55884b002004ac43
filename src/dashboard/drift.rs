//! What changed against the span before, and what it comes from.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::try_join;
use http::Response;
use serde::Serialize;
use serde_json::json;

use super::{
    export::{Form, Row, attached, table},
    respond,
    sums::{Shown, ask, dimension},
    wanted::{wanted, wrong},
};
use crate::{
    BoxBody, Error,
    logs::{Logs, Span, Sum, Used},
    query::Query,
};

/// What is compared if no span is said.
const USUAL: Duration = Duration::from_secs(7 * 86_400);
/// From what share on a change is flagged, unless it is said.
const SHARE: f64 = 0.4;
/// What nobody needs to look at: a cent.
const LITTLE: u64 = 10_000_000;
/// How many names are shown, unless it is said.
const NAMES: usize = 50;
const MOST_NAMES: usize = 1_000;

/// What somebody cost now and before.
#[derive(Debug, Serialize)]
struct Drift<'u> {
    name: Option<&'u str>,
    now: Shown<'u>,
    before: Shown<'u>,
    /// By how much it grew, as a share of what it was; `None` if there was nothing.
    share: Option<f64>,
    flagged: bool,
    #[serde(rename = "because_nano_usd")]
    because: Because,
    cause: Cause,
}

/// How much of a change comes from what, in billionths of a dollar. They add up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Because {
    /// More requests.
    requests: i64,
    /// More tokens in each.
    length: i64,
    /// More money for each token: another model, or another price.
    price: i64,
}

/// What most of a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cause {
    New,
    Gone,
    MoreRequests,
    FewerRequests,
    LongerPrompts,
    ShorterPrompts,
    LongerAnswers,
    ShorterAnswers,
    DearerModel,
    CheaperModel,
    Nothing,
}

/// Answers `span`, `by`, `share` and `top`, of the records that pass the filter.
pub(super) async fn answer(logs: &dyn Logs, query: &Query, form: Form) -> Result<Response<BoxBody>, Error> {
    let filter = wanted(query, &["by", "share", "top"])?;
    let now = filter.span.unwrap_or_else(|| Span::last(USUAL));
    let before = before(now).ok_or_else(|| wrong("span", "there is no such time before it"))?;
    let by = query.get("by").filter(|by| !by.is_empty()).map(dimension).transpose()?;
    let share = match query.get("share").filter(|share| !share.is_empty()) {
        None => SHARE,
        Some(text) => {
            let share = text.parse().ok().filter(|share: &f64| share.is_finite() && *share > 0.0);
            share.ok_or_else(|| wrong("share", "expected a share such as 0.4"))?
        }
    };
    let top = query.number("top", NAMES, MOST_NAMES)?;
    let now = ask(logs, now, filter.clone(), None, by);
    let before = ask(logs, before, filter.clone(), None, by);
    let (now, before) = try_join(now, before).await?;
    let nothing = Used::default();
    let mut drifts = drifts(&now, &before, share, &nothing);
    let others = drifts.len().saturating_sub(top);
    drifts.truncate(top);
    match form {
        Form::Csv => table("drift", csv(&drifts)),
        _ => {
            let answer =
                respond::json(&json!({ "share": share, "by": by, "drift": drifts, "others": others }))?;
            Ok(if form == Form::Json { attached(answer, "drift", "json") } else { answer })
        }
    }
}

/// As long a time before it.
fn before(span: Span) -> Option<Span> {
    let length = span.until.duration_since(span.from).ok()?;
    Some(Span { from: span.from.checked_sub(length)?, until: span.from })
}

/// All names of either span, those with the largest cost first.
fn drifts<'u>(now: &'u [Sum], before: &'u [Sum], share: f64, nothing: &'u Used) -> Vec<Drift<'u>> {
    let mut both = BTreeMap::<Option<&str>, (&Used, &Used)>::new();
    for Sum { name, used, .. } in now {
        both.entry(name.as_deref()).or_insert((nothing, nothing)).0 = used;
    }
    for Sum { name, used, .. } in before {
        both.entry(name.as_deref()).or_insert((nothing, nothing)).1 = used;
    }
    let mut drifts: Vec<_> =
        both.into_iter().map(|(name, (now, before))| drift(name, now, before, share)).collect();
    drifts.sort_by_key(|drift| std::cmp::Reverse(drift.now.cost().max(drift.before.cost())));
    drifts
}

fn drift<'u>(name: Option<&'u str>, now: &'u Used, before: &'u Used, flag: f64) -> Drift<'u> {
    let change = now.cost as f64 - before.cost as f64;
    let share = (before.cost > 0).then(|| change / before.cost as f64);
    let is_much = now.cost.abs_diff(before.cost) >= LITTLE;
    let because = because(now, before);
    Drift {
        name,
        now: now.into(),
        before: before.into(),
        share,
        flagged: is_much && share.is_none_or(|share| share.abs() > flag),
        because,
        cause: cause(because, now, before),
    }
}

/// Splits a change of cost = requests × tokens per request × cost per token into what each factor contributes: its
/// logarithm's share, by which the parts add up to the whole, whatever the order (the "logarithmic mean Divisia
/// index" of economists).
fn because(now: &Used, before: &Used) -> Because {
    let factors = |used: &Used| {
        let (requests, tokens, cost) =
            (used.requests as f64, (used.input.saturating_add(used.output)) as f64, used.cost as f64);
        let is_some = requests > 0.0 && tokens > 0.0 && cost > 0.0;
        is_some.then(|| (cost, [requests, tokens / requests, cost / tokens]))
    };
    let signed = |cost: u64| i64::try_from(cost).unwrap_or(i64::MAX);
    let whole = signed(now.cost).saturating_sub(signed(before.cost));
    let (Some((cost_now, now)), Some((cost_before, before))) = (factors(now), factors(before)) else {
        return Because { requests: whole, ..Because::default() };
    };
    let ratio = (cost_now / cost_before).ln();
    let mean = if ratio.abs() < 1e-12 { cost_now } else { (cost_now - cost_before) / ratio };
    let part = |factor: usize| (mean * (now[factor] / before[factor]).ln()).round() as i64;
    let (requests, length) = (part(0), part(1));
    Because { requests, length, price: whole.saturating_sub(requests).saturating_sub(length) }
}

fn cause(because: Because, now: &Used, before: &Used) -> Cause {
    let Because { requests, length, price } = because;
    if before.cost == 0 && now.cost > 0 {
        return Cause::New;
    }
    if now.cost == 0 && before.cost > 0 {
        return Cause::Gone;
    }
    let grown = now.cost >= before.cost;
    // What pulls the other way is no cause of it.
    let [by_requests, by_length, by_price] =
        [requests, length, price].map(|part| if grown { part } else { -part });
    let most = by_requests.max(by_length).max(by_price);
    if most <= 0 {
        return Cause::Nothing;
    }
    if most == by_requests {
        return if grown { Cause::MoreRequests } else { Cause::FewerRequests };
    }
    if most == by_price {
        return if grown { Cause::DearerModel } else { Cause::CheaperModel };
    }
    let each = |tokens: u64, used: &Used| tokens as f64 / used.requests.max(1) as f64;
    let prompts = each(now.input, now) - each(before.input, before);
    let answers = each(now.output, now) - each(before.output, before);
    match (grown, prompts.abs() >= answers.abs()) {
        (true, true) => Cause::LongerPrompts,
        (true, false) => Cause::LongerAnswers,
        (false, true) => Cause::ShorterPrompts,
        (false, false) => Cause::ShorterAnswers,
    }
}

const COLUMNS: &str = "cause,name,cost_usd,cost_before_usd,change_percent,flagged,because_requests_usd,because_length_usd,\
                       because_price_usd,requests,requests_before\r\n";

fn csv(drifts: &[Drift<'_>]) -> String {
    let mut text = COLUMNS.to_owned();
    let dollars = |nano: i64| nano as f64 / 1e9;
    for drift in drifts {
        let cause = serde_json::to_value(drift.cause).ok();
        let row = Row::default()
            .text(cause.as_ref().and_then(|cause| cause.as_str()).unwrap_or_default())
            .text(drift.name.unwrap_or_default())
            .number(Some(drift.now.cost() as f64 / 1e9))
            .number(Some(drift.before.cost() as f64 / 1e9))
            .number(drift.share.map(|share| (share * 1_000.0).round() / 10.0))
            .number(Some(drift.flagged))
            .number(Some(dollars(drift.because.requests)))
            .number(Some(dollars(drift.because.length)))
            .number(Some(dollars(drift.because.price)))
            .number(Some(drift.now.requests()))
            .number(Some(drift.before.requests()));
        text.push_str(&row.end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(requests: u64, input: u64, output: u64, dollars: f64) -> Used {
        Used { requests, input, output, cost: (dollars * 1e9) as u64, ..Used::default() }
    }

    fn told(now: Used, before: Used) -> (Cause, bool) {
        let drift = drift(Some("x"), &now, &before, SHARE);
        (drift.cause, drift.flagged)
    }

    #[test]
    fn a_change_is_told_with_what_it_comes_from() {
        let before = || used(100, 10_000, 1_000, 1.0);

        assert_eq!(told(used(150, 15_000, 1_500, 1.5), before()), (Cause::MoreRequests, true));
        assert_eq!(told(used(100, 15_000, 1_000, 1.45), before()), (Cause::LongerPrompts, true));
        assert_eq!(told(used(100, 10_000, 6_500, 1.5), before()), (Cause::LongerAnswers, true));
        assert_eq!(told(used(100, 10_000, 1_000, 3.0), before()), (Cause::DearerModel, true));
        assert_eq!(told(used(130, 13_000, 1_300, 1.3), before()), (Cause::MoreRequests, false));
        assert_eq!(told(used(10, 1_000, 100, 0.1), before()), (Cause::FewerRequests, true));
        assert_eq!(told(before(), Used::default()), (Cause::New, true));
        assert_eq!(told(Used::default(), before()), (Cause::Gone, true));
        assert_eq!(told(used(2, 20, 2, 0.002), used(1, 10, 1, 0.001)), (Cause::MoreRequests, false));
    }

    #[test]
    fn what_pulls_the_other_way_is_not_the_cause() {
        let before = used(100, 10_000, 1_000, 2.0);
        let now = used(300, 30_000, 3_000, 1.0);

        let drift = drift(None, &now, &before, SHARE);

        assert_eq!(drift.cause, Cause::CheaperModel);
        assert!(drift.because.requests > 0 && drift.because.price < -1_000_000_000);
    }

    #[test]
    fn the_parts_add_up_to_the_change() {
        for (now, before) in [
            (used(7, 900, 31, 0.7), used(13, 100, 500, 0.2)),
            (used(1, 1, 0, 1e-9), used(1_000_000, 1, 1_000_000, 5.0)),
            (used(5, 0, 0, 3.0), used(5, 10, 10, 1.0)),
        ] {
            let Because { requests, length, price } = because(&now, &before);
            assert_eq!(requests + length + price, now.cost as i64 - before.cost as i64);
        }
        assert_eq!(because(&used(5, 5, 5, 1.0), &used(5, 5, 5, 1.0)), Because::default());
    }
}
