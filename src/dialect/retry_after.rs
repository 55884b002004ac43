//! When a provider says it is worth trying again, in all the forms in which providers say it.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde::Deserialize;

use super::rate_limits;

/// The longest time that is believed.
const MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads `retry-after-ms`, `retry-after` (seconds or a date), google's `RetryInfo`, the resets of limits that
/// are used up, and the words of OpenAI, Azure and Gemini in the message; the first valid one wins.
pub(crate) fn retry_after(headers: &HeaderMap, body: &[u8], message: &str) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    header("retry-after-ms")
        .and_then(|text| seconds(text).map(|time| time / 1000))
        .or_else(|| header("retry-after").and_then(seconds_or_date))
        .or_else(|| retry_info(body))
        .or_else(|| rate_limits::reset(headers))
        .or_else(|| in_words(message))
        .map(|time| time.min(MAX))
}

fn seconds(text: &str) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number.clamp(0.0, 1e9)).ok()
}

/// A date that has passed is now.
fn seconds_or_date(text: &str) -> Option<Duration> {
    seconds(text).or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

/// `google.rpc.RetryInfo` in `error.details[]`.
fn retry_info(body: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Body {
        error: Details,
    }
    #[derive(Deserialize)]
    struct Details {
        details: Vec<Detail>,
    }
    #[derive(Deserialize)]
    struct Detail {
        #[serde(rename = "retryDelay")]
        retry_delay: Option<String>,
    }

    let body: Body = serde_json::from_slice(body).ok()?;
    let delay = body.error.details.into_iter().find_map(|detail| detail.retry_delay)?;
    in_units(&delay)
}

/// `Please try again in 6m0s`, `Please retry after 20 seconds`, `Please retry in 10.68s`.
fn in_words(message: &str) -> Option<Duration> {
    ["try again in ", "retry after ", "retry in "].iter().find_map(|words| {
        let (_, time) = message.split_once(words)?;
        in_units(time)
    })
}

/// `1h2m3.5s`, `120ms`, `20 seconds`; stops at what is neither number nor unit.
pub(super) fn in_units(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (None, text);
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let number = rest[..digits].trim_end_matches('.');
        let Ok(number) = number.parse::<f64>() else { return total };
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = match &rest[..letters] {
            "ms" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            _ => return total,
        };
        let time = Duration::try_from_secs_f64((number * unit).min(1e9)).ok()?;
        total = Some(total.unwrap_or_default() + time);
        rest = &rest[letters..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn headers_come_first() {
        let none = HeaderMap::new();
        let at = |headers: &HeaderMap, message: &str| {
            retry_after(headers, b"", message).map(|time| time.as_millis())
        };

        assert_eq!(at(&header("retry-after-ms", "1500"), "try again in 9s"), Some(1500));
        assert_eq!(at(&header("retry-after", "0.5"), ""), Some(500));
        assert_eq!(at(&header("retry-after", "Sat, 21 Nov 2015 01:35:49 GMT"), ""), Some(0));
        assert_eq!(at(&header("retry-after", "soon"), "Please try again in 6m0.5s. Visit"), Some(360_500));
        assert_eq!(at(&none, "Please retry after 20 seconds"), Some(20_000));
        assert_eq!(at(&none, "no hint"), None);
    }

    #[test]
    fn a_retry_info_is_understood() {
        let body = br#"{"error":{"details":[{"@type":"x"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"10.6s"}]}}"#;

        assert_eq!(retry_after(&HeaderMap::new(), body, ""), Some(Duration::from_millis(10_600)));
    }

    #[test]
    fn absurd_times_are_cut() {
        assert_eq!(retry_after(&header("retry-after", "1e300"), b"", ""), Some(MAX));
        assert_eq!(retry_after(&header("retry-after", "-5"), b"", ""), Some(Duration::ZERO));
    }
}
