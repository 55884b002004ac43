//! What is left of a provider's limits, in the headers of its answers.
//!
//! OpenAI and those like it write `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, where the reset is
//! a time from now such as `6m0s`; Anthropic writes `anthropic-ratelimit-{requests,tokens}-…` with a date of
//! RFC 3339. A client reads only those of its own kind.
//!
//! Sources: OpenAI's and Anthropic's guides to rate limits.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::retry_after::in_units;
use crate::ledger::{Measure, Standings};

/// How the headers are called in which clients of a dialect read what is left of their provider's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitHeaders {
    /// `x-ratelimit-remaining-requests`.
    OpenAi,
    /// `anthropic-ratelimit-requests-remaining`.
    Anthropic,
    /// There are none.
    None,
}

/// The headers of the limit, of what remains of it, and of its reset.
type Names = (Measure, [&'static str; 3]);

const OPENAI_NAMES: [Names; 2] = [
    (
        Measure::Requests,
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ),
    (
        Measure::Tokens,
        ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    ),
];

/// Only Anthropic's clients know of the two kinds of tokens.
const ANTHROPIC_NAMES: [Names; 4] = [
    (
        Measure::Requests,
        [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
    ),
    (
        Measure::Tokens,
        [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
    ),
    (
        Measure::Input,
        [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
    ),
    (
        Measure::Output,
        [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
    ),
];

const OPENAI: &str = "x-ratelimit-";
const ANTHROPIC: &str = "anthropic-ratelimit-";

/// A number from here on is a date, in seconds since 1970.
const DATES: f64 = 1e9;
/// And from here on in milliseconds.
const DATES_IN_MILLISECONDS: f64 = 1e12;

impl LimitHeaders {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            name if name.starts_with(OPENAI) => Self::OpenAi,
            name if name.starts_with(ANTHROPIC) => Self::Anthropic,
            _ => Self::None,
        }
    }

    /// The header that says the same to clients of this kind, if they know it.
    fn named(self, property: &str, what: &str) -> Option<HeaderName> {
        if !matches!(what, "requests" | "tokens") || !matches!(property, "limit" | "remaining" | "reset") {
            return None;
        }
        let name = match self {
            Self::OpenAi => format!("{OPENAI}{property}-{what}"),
            Self::Anthropic => format!("{ANTHROPIC}{what}-{property}"),
            Self::None => return None,
        };
        HeaderName::try_from(name).ok()
    }

    /// A reset as clients of this kind read it.
    fn reset(self, after: Duration) -> Option<HeaderValue> {
        let text = match self {
            Self::OpenAi => units(after),
            _ => {
                let date = jiff::Timestamp::try_from(SystemTime::now() + after).ok()?;
                let second = jiff::TimestampRound::new().smallest(jiff::Unit::Second);
                date.round(second).ok()?.to_string()
            }
        };
        HeaderValue::try_from(text).ok()
    }

    /// Says how a caller stands with the gateway's limits, in the place of what a provider has said of
    /// its own.
    pub(crate) fn write(self, standings: &Standings, headers: &mut HeaderMap) {
        let names: &[Names] = match self {
            Self::OpenAi => &OPENAI_NAMES,
            Self::Anthropic => &ANTHROPIC_NAMES,
            Self::None => &[],
        };
        for (measure, [limit, remaining, reset]) in names {
            let Some(standing) = standings.of(*measure) else { continue };
            headers.insert(HeaderName::from_static(limit), standing.limit.into());
            headers.insert(HeaderName::from_static(remaining), standing.left.into());
            if let Some(value) = standing.resets_in.and_then(|after| self.reset(after)) {
                headers.insert(HeaderName::from_static(reset), value);
            }
        }
    }

    /// Calls the limits in `headers` by the names that clients of this kind know, and leaves out those for
    /// which there is none.
    pub(crate) fn rename(self, headers: &mut HeaderMap) {
        let is_foreign = |name: &HeaderName| ![Self::None, self].contains(&Self::of(name));
        let foreign: Vec<HeaderName> = headers.keys().filter(|name| is_foreign(name)).cloned().collect();
        for name in foreign {
            let Some(value) = headers.remove(&name) else { continue };
            let Some((property, what)) = parts(&name) else { continue };
            let Some(renamed) = self.named(property, what) else { continue };
            let value = match property {
                "reset" => value.to_str().ok().and_then(time_until).and_then(|after| self.reset(after)),
                _ => Some(value),
            };
            if let Some(value) = value {
                headers.entry(renamed).or_insert(value);
            }
        }
    }
}

/// What a header of either kind says of what.
fn parts(name: &HeaderName) -> Option<(&str, &str)> {
    if let Some(rest) = name.as_str().strip_prefix(OPENAI) {
        return rest.split_once('-');
    }
    let (what, property) = name.as_str().strip_prefix(ANTHROPIC)?.rsplit_once('-')?;
    Some((property, what))
}

/// When all limits that are used up are full again; `None` if none is.
pub(super) fn reset(headers: &HeaderMap) -> Option<Duration> {
    let used_up = |name: &HeaderName| {
        let remaining = name.as_str().replace("reset", "remaining");
        headers.get(remaining).is_some_and(|value| value == "0")
    };
    let resets = headers.iter().filter(|(name, _)| {
        LimitHeaders::of(name) != LimitHeaders::None && name.as_str().contains("reset") && used_up(name)
    });
    resets.filter_map(|(_, value)| time_until(value.to_str().ok()?)).max()
}

/// Reads `6m0s`, `2026-11-21T12:00:00Z`, seconds from now, and seconds or milliseconds since 1970.
fn time_until(text: &str) -> Option<Duration> {
    let text = text.trim();
    let until = |date: SystemTime| date.duration_since(SystemTime::now()).unwrap_or_default();
    if let Ok(number) = text.parse::<f64>() {
        let seconds = if number >= DATES_IN_MILLISECONDS { number / 1000.0 } else { number };
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        return if number < DATES { Some(time) } else { SystemTime::UNIX_EPOCH.checked_add(time).map(until) };
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(date) => Some(until(date.into())),
        Err(_) => in_units(text),
    }
}

/// `6m0s`, `1.5s`, `120ms`, as OpenAI writes a time.
fn units(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{}ms", time.as_millis()),
        (0, _) => format!("{}s", Duration::from_millis(time.as_millis() as u64).as_secs_f64()),
        (1..60, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Standing;

    fn headers<const N: usize>(headers: [(&'static str, &str); N]) -> HeaderMap {
        let named = |(name, value): (_, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        headers.into_iter().map(named).collect()
    }

    #[test]
    fn the_gateways_own_limits_go_before_those_of_a_provider() {
        let mut standings = Standings::default();
        let resets_in = Some(Duration::from_secs(6));
        let standing = |measure, limit, left| Standing { measure, limit, left, resets_in };
        standings.note(standing(Measure::Tokens, 100, 40));
        standings.note(standing(Measure::Tokens, 1_000, 30));
        standings.note(standing(Measure::Tokens, 10, 50));
        standings.note(standing(Measure::Input, 7, 3));
        let mut openai =
            headers([("x-ratelimit-remaining-tokens", "9"), ("x-ratelimit-remaining-requests", "5")]);
        let mut anthropic = headers([]);

        LimitHeaders::OpenAi.write(&standings, &mut openai);
        LimitHeaders::Anthropic.write(&standings, &mut anthropic);
        let mut none = headers([]);
        LimitHeaders::None.write(&standings, &mut none);

        assert_eq!(openai["x-ratelimit-limit-tokens"], "1000");
        assert_eq!(openai["x-ratelimit-remaining-tokens"], "30");
        assert_eq!(openai["x-ratelimit-reset-tokens"], "6s");
        assert_eq!(openai["x-ratelimit-remaining-requests"], "5");
        assert_eq!(openai.len(), 4);
        assert_eq!(anthropic["anthropic-ratelimit-tokens-remaining"], "30");
        assert_eq!(anthropic["anthropic-ratelimit-input-tokens-limit"], "7");
        let reset: jiff::Timestamp =
            anthropic["anthropic-ratelimit-tokens-reset"].to_str().unwrap().parse().unwrap();
        assert!(SystemTime::from(reset) > SystemTime::now());
        assert!(none.is_empty());
    }

    fn date(after: u64) -> String {
        let date = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(after)).unwrap();
        date.to_string()
    }

    #[test]
    fn openais_are_anthropics_for_a_client_of_anthropic() {
        let mut limits = headers([
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-tokens", "1m0s"),
            ("x-ratelimit-reset", "17"),
        ]);

        LimitHeaders::Anthropic.rename(&mut limits);

        assert_eq!(limits.len(), 4);
        assert_eq!(limits["anthropic-ratelimit-requests-limit"], "60");
        assert_eq!(limits["anthropic-ratelimit-requests-remaining"], "59");
        let reset = limits["anthropic-ratelimit-tokens-reset"].to_str().unwrap();
        assert!((55..=61).contains(&time_until(reset).unwrap().as_secs()), "{reset}");
    }

    #[test]
    fn anthropics_are_openais_for_a_client_of_openai() {
        let soon = date(90);
        let mut limits = headers([
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", &soon),
            ("anthropic-ratelimit-input-tokens-limit", "5"),
            ("x-ratelimit-limit-requests", "7"),
        ]);

        LimitHeaders::OpenAi.rename(&mut limits);

        assert_eq!(limits.len(), 3);
        assert_eq!(limits["x-ratelimit-limit-requests"], "7");
        assert_eq!(limits["x-ratelimit-remaining-tokens"], "0");
        assert!(limits["x-ratelimit-reset-tokens"].to_str().unwrap().starts_with("1m"));
    }

    #[test]
    fn a_client_of_its_own_provider_gets_all_and_one_without_such_headers_none() {
        let given = headers([("anthropic-ratelimit-unified-reset", "1"), ("anthropic-ratelimit-x", "2")]);
        let (mut own, mut others) = (given.clone(), given.clone());

        LimitHeaders::Anthropic.rename(&mut own);
        LimitHeaders::None.rename(&mut others);

        assert_eq!(own, given);
        assert!(others.is_empty());
    }

    #[test]
    fn what_is_used_up_tells_when_to_come_back() {
        let at = |given: HeaderMap| reset(&given).map(|time| time.as_millis());
        let soon = date(30);

        assert_eq!(
            at(headers([
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1m0.5s"),
                ("x-ratelimit-remaining-tokens", "3"),
                ("x-ratelimit-reset-tokens", "9h"),
            ])),
            Some(60_500)
        );
        let anthropics = headers([
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", &soon),
        ]);
        assert!((28_000..=30_000).contains(&at(anthropics).unwrap()));
        assert_eq!(at(headers([("x-ratelimit-reset", "5"), ("x-ratelimit-remaining", "0")])), Some(5000));
        assert_eq!(
            at(headers([("x-ratelimit-reset", "1700000000"), ("x-ratelimit-remaining", "0")])),
            Some(0)
        );
        assert_eq!(at(headers([("x-ratelimit-reset", "soon"), ("x-ratelimit-remaining", "0")])), None);
    }

    #[test]
    fn times_are_written_as_openai_does() {
        let written = [120, 1500, 360_000, 3_723_000].map(|time| units(Duration::from_millis(time)));

        assert_eq!(written, ["120ms", "1.5s", "6m0s", "1h2m3s"]);
    }
}
