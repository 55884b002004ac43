//! What the address of a page says about which records are wanted.

use std::time::{Duration, SystemTime};

use crate::{
    Error, Kind,
    logs::{Filter, Place, Span, Status},
    query::Query,
};

/// All that records can be told by; `span` is how far back from now, such as `1h`, in place of `from` and `until`.
const FIELDS: [&str; 19] = [
    "span",
    "from",
    "until",
    "key",
    "team",
    "customer",
    "user",
    "session",
    "trace",
    "model",
    "target",
    "provider",
    "status",
    "error",
    "cost_above",
    "latency_above",
    "tag",
    "text",
    "after",
];

/// The filter of a query, which may have `others` besides.
pub(super) fn wanted(query: &Query, others: &[&str]) -> Result<Filter, Error> {
    query.only(&[&FIELDS, others].concat())?;
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(Box::<str>::from);
    let number = |name: &str, unit: f64| match text(name) {
        None => Ok(None),
        Some(text) => {
            let number: Option<f64> =
                text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
            number
                .map(|number| Some((number * unit).round() as u64))
                .ok_or_else(|| wrong(name, "expected a number"))
        }
    };
    let tag = text("tag").map(|tag| {
        let pair = tag.split_once('=').map(|(name, value)| (name.into(), value.into()));
        pair.ok_or_else(|| wrong("tag", "expected a tag such as feature=search"))
    });
    let after = text("after").map(|place| place.parse().map_err(|_| wrong("after", "expected a place")));
    Ok(Filter {
        span: span(query)?,
        key: text("key"),
        team: text("team"),
        customer: text("customer"),
        user: text("user"),
        session: text("session"),
        trace: text("trace"),
        model: text("model"),
        target: text("target"),
        provider: text("provider"),
        status: text("status").map(|text| status(&text)).transpose()?,
        error: text("error"),
        cost_above: number("cost_above", 1e9)?,
        latency_above: number("latency_above", 1e3)?.map(Duration::from_micros),
        tag: tag.transpose()?,
        text: text("text"),
        after: after.transpose()?.map(Place),
    })
}

/// From when until when; `None` if nothing is said.
pub(super) fn span(query: &Query) -> Result<Option<Span>, Error> {
    let moment = |name: &str| match query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => moment(text).map(Some).ok_or_else(|| {
            wrong(name, "expected a time such as 2026-11-01T08:00:00Z, or milliseconds of Unix time")
        }),
    };
    let back = match query.get("span").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(back(text).ok_or_else(|| wrong("span", "expected a time such as 15m, 6h or 30d"))?)
        }
    };
    let (from, until) = (moment("from")?, moment("until")?);
    if back.is_none() && from.is_none() && until.is_none() {
        return Ok(None);
    }
    let until = until.unwrap_or_else(SystemTime::now);
    let from = from.or_else(|| until.checked_sub(back?)).unwrap_or(SystemTime::UNIX_EPOCH);
    if from >= until {
        return Err(wrong("until", "is not after `from`"));
    }
    Ok(Some(Span { from, until }))
}

fn back(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    // A hundred years.
    (1..=3_155_760_000).contains(&seconds).then(|| Duration::from_secs(seconds))
}

fn moment(text: &str) -> Option<SystemTime> {
    if let Ok(milliseconds) = text.parse::<u64>() {
        return SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    }
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

fn status(text: &str) -> Result<Status, Error> {
    match text {
        "ok" => Ok(Status::Ok),
        "failed" => Ok(Status::Failed),
        "refused" => Ok(Status::Refused),
        code => match code.parse() {
            Ok(code @ 100..=599) => Ok(Status::Code(code)),
            _ => Err(wrong("status", "expected ok, failed, refused or a number such as 429")),
        },
    }
}

/// What is wrong with a field of the query.
pub(super) fn wrong(name: &str, message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: {message}")).with_param(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, Error> {
        wanted(&Query::new(query), &["limit"])
    }

    #[test]
    fn an_address_names_what_is_wanted() {
        let filter = read(
            "team=a+b&provider=&status=429&cost_above=0.25&latency_above=1500&tag=feature%3Dsearch&from=1000&until=2000\
             &after=7&limit=3",
        );

        let moment = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let expected = Filter {
            span: Some(Span { from: moment(1_000), until: moment(2_000) }),
            team: Some("a b".into()),
            status: Some(Status::Code(429)),
            cost_above: Some(250_000_000),
            latency_above: Some(Duration::from_millis(1_500)),
            tag: Some(("feature".into(), "search".into())),
            after: Some(Place(7)),
            ..Filter::default()
        };
        assert_eq!(filter.unwrap(), expected);
        assert_eq!(read("").unwrap(), Filter::default());
    }

    #[test]
    fn a_status_is_a_number_or_how_a_request_came_out() {
        for (text, status) in [
            ("ok", Status::Ok),
            ("failed", Status::Failed),
            ("refused", Status::Refused),
            ("503", Status::Code(503)),
        ] {
            assert_eq!(read(&format!("status={text}")).unwrap().status, Some(status));
        }
    }

    #[test]
    fn a_span_is_counted_back_from_now_or_from_its_end() {
        let span = read("span=2h&until=2026-11-01T08:00:00Z").unwrap().span.unwrap();
        let now = read("span=1d").unwrap().span.unwrap();

        assert_eq!(span.until.duration_since(span.from).unwrap(), Duration::from_secs(7_200));
        assert!(now.until.elapsed().unwrap() < Duration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_named_and_never_a_filter_that_finds_everything() {
        for (query, name) in [
            ("tema=a", "tema"),
            ("status=fine", "status"),
            ("status=42", "status"),
            ("cost_above=-1", "cost_above"),
            ("cost_above=NaN", "cost_above"),
            ("latency_above=long", "latency_above"),
            ("tag=search", "tag"),
            ("after=x", "after"),
            ("span=1y", "span"),
            ("span=\u{e9}", "span"),
            ("span=99999999999999999999d", "span"),
            ("span=0m", "span"),
            ("from=yesterday", "from"),
            ("from=2000&until=1000", "until"),
            ("from=18446744073709551615", "until"),
        ] {
            assert_eq!(read(query).unwrap_err().param(), Some(name), "{query}");
        }
    }
}
