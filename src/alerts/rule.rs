use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{figures::rounded, time};
use crate::access::Pattern;

/// What people want to be told when it is so, and when it isn't any more.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: Arc<str>,
    pub(super) when: Condition,
    pub(super) of: Of,
    pub(super) over: Duration,
    pub(super) at_least: u64,
    pub(super) lasts: Duration,
    pub(super) severity: Arc<str>,
}

impl Rule {
    /// A rule with this name. It looks at all requests of the last five minutes, at least one of them.
    pub fn new(name: &str, when: Condition) -> Self {
        let over = Duration::from_secs(300);
        let (of, severity) = (Of::default(), "warning".into());
        Self { name: name.into(), when, of, over, at_least: 1, lasts: Duration::ZERO, severity }
    }

    /// Sets which requests, or which targets, it looks at.
    #[must_use]
    pub fn of(self, of: Of) -> Self {
        Self { of, ..self }
    }

    /// Sets the time that it looks back.
    #[must_use]
    pub fn over(self, over: Duration) -> Self {
        Self { over, ..self }
    }

    /// Sets how many requests there have to be in that time.
    #[must_use]
    pub fn at_least(self, requests: u64) -> Self {
        Self { at_least: requests, ..self }
    }

    /// Sets for how long it has to be so before anybody is told.
    #[must_use]
    pub fn lasts(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }

    /// Sets a word that receivers may go by.
    #[must_use]
    pub fn severity(self, severity: &str) -> Self {
        Self { severity: severity.into(), ..self }
    }

    /// For how long what was told of it is marked.
    pub(super) fn marked(&self) -> Duration {
        self.over.clamp(Duration::from_secs(10), Duration::from_secs(3_600))
    }
}

/// Which requests a rule looks at: those to which all that is given applies, with `*` for any run of characters.
#[derive(Clone, Debug, Default)]
pub struct Of {
    /// The model that was asked for.
    pub model: Option<Pattern>,
    /// Who was asked, `provider/model`: every attempt there counts instead of the request.
    pub target: Option<Pattern>,
    /// The name of the key.
    pub key: Option<Pattern>,
    /// The name of the team.
    pub team: Option<Pattern>,
    /// The name of the customer.
    pub customer: Option<Pattern>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measured {
    /// The share of requests that failed for another reason than that they were wrong.
    ErrorShare,
    /// How long the slowest twentieth of them took at least.
    P95,
    /// The same until the first event.
    FirstEventP95,
    /// What they cost, in dollars.
    Spend,
    /// By what share they cost more than those of as much time before.
    Drift,
    /// How many targets are passed over.
    BreakerOpen,
    /// How many records were lost, because their queue was full or they could not be kept.
    RecordsLost,
}

impl Measured {
    const ALL: [Self; 7] = [
        Self::ErrorShare,
        Self::P95,
        Self::FirstEventP95,
        Self::Spend,
        Self::Drift,
        Self::BreakerOpen,
        Self::RecordsLost,
    ];

    /// As it is called in conditions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrorShare => "error_share",
            Self::P95 => "p95",
            Self::FirstEventP95 => "first_event_p95",
            Self::Spend => "spend",
            Self::Drift => "drift",
            Self::BreakerOpen => "breaker_open",
            Self::RecordsLost => "records_lost",
        }
    }

    /// A value in its unit, for people.
    fn show(self, value: f64) -> String {
        match self {
            Self::ErrorShare | Self::Drift => format!("{} %", rounded(value * 100.0, 1)),
            Self::P95 | Self::FirstEventP95 if value < 1.0 => format!("{} ms", rounded(value * 1_000.0, 0)),
            Self::P95 | Self::FirstEventP95 => format!("{} s", rounded(value, 1)),
            Self::Spend => format!("{} usd", rounded(value, 2)),
            Self::BreakerOpen | Self::RecordsLost => format!("{value:.0}"),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::ErrorShare => "the share of errors",
            Self::P95 => "the 95th percentile of the time",
            Self::FirstEventP95 => "the 95th percentile of the time to the first event",
            Self::Spend => "the spend",
            Self::Drift => "the growth of the spend",
            Self::BreakerOpen => "the number of targets that are passed over",
            Self::RecordsLost => "the number of lost records",
        }
    }
}

/// When a rule holds: something is more than a limit. Written `error_share > 5%`, `p95 > 10s`, `spend > 50`,
/// `drift > 40%`, `records_lost > 0` or `breaker_open`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    pub(super) measured: Measured,
    /// Seconds, dollars, or a share of one.
    pub(super) limit: f64,
}

impl Condition {
    /// What is looked at.
    pub fn measured(self) -> Measured {
        self.measured
    }

    /// Whether it holds for a value; where it `held` before, until that is a tenth lower.
    pub(super) fn holds(self, value: f64, held: bool) -> bool {
        value > if held { self.limit * 0.9 } else { self.limit }
    }
}

impl std::str::FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = match text.split_once('>') {
            Some((name, limit)) => (name.trim(), Some(limit.trim())),
            None => (text.trim(), None),
        };
        let known = Measured::ALL.map(Measured::as_str).join(", ");
        let measured = Measured::ALL.into_iter().find(|measured| measured.as_str() == name);
        let measured = measured.ok_or_else(|| format!("expected one of {known}, then > and a limit"))?;
        let limit = match (measured, limit) {
            (Measured::BreakerOpen, None) => Some(0.0),
            (_, None) => return Err(format!("expected > and a limit behind {name}")),
            (Measured::ErrorShare | Measured::Drift, Some(limit)) => share(limit),
            (Measured::P95 | Measured::FirstEventP95, Some(limit)) => seconds(limit),
            (_, Some(limit)) => limit.parse().ok(),
        };
        let form = match measured {
            Measured::ErrorShare | Measured::Drift => "a share such as 5% or 0.05",
            Measured::P95 | Measured::FirstEventP95 => "a time such as 800ms, 10s or 2m",
            Measured::Spend => "dollars such as 50",
            Measured::BreakerOpen | Measured::RecordsLost => "a number such as 0",
        };
        let limit = limit.filter(|limit: &f64| limit.is_finite() && *limit >= 0.0);
        Ok(Self { measured, limit: limit.ok_or_else(|| format!("expected {form} behind {name} >"))? })
    }
}

fn share(text: &str) -> Option<f64> {
    match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
        None => text.parse().ok(),
    }
}

fn seconds(text: &str) -> Option<f64> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    units.into_iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(number * factor)
    })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measured, limit } = *self;
        match measured {
            Measured::BreakerOpen if limit == 0.0 => f.write_str(measured.as_str()),
            Measured::P95 | Measured::FirstEventP95 => write!(f, "{} > {limit}s", measured.as_str()),
            _ => write!(f, "{} > {limit}", measured.as_str()),
        }
    }
}

/// A rule that holds, or doesn't any more.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Held {
    /// The rule.
    pub rule: Arc<Rule>,
    /// What was measured; seconds, dollars, or a share of one.
    pub value: f64,
    /// The targets that are passed over and of which nobody was told yet, if it is about them.
    pub targets: Vec<Box<str>>,
    /// Whether it doesn't hold any more.
    pub resolved: bool,
    /// What is marked for it, so that of many nodes one tells: for each target, or once.
    pub(super) marks: Vec<String>,
}

impl Held {
    pub(super) fn text(&self) -> String {
        let Rule { name, when, over, .. } = &*self.rule;
        let (measured, state) = (when.measured, if self.resolved { "resolved: " } else { "" });
        let (words, value) = (measured.words(), measured.show(self.value));
        match measured {
            Measured::BreakerOpen if self.resolved => format!("resolved: {name}: targets answer again"),
            Measured::BreakerOpen => format!("{name}: passed over: {}", self.targets.join(", ")),
            _ => format!(
                "{state}{name}: {words} is {value} in {}, the limit is {}",
                time(*over),
                measured.show(when.limit)
            ),
        }
    }

    pub(super) fn body(&self) -> Value {
        let Rule { name, when, over, severity, .. } = &*self.rule;
        json!({
            "type": "rule", "rule": name, "state": if self.resolved { "resolved" } else { "firing" },
            "severity": severity, "when": when.to_string(), "measured": when.measured.as_str(),
            "value": self.value, "limit": when.limit, "over_seconds": over.as_secs(), "targets": self.targets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written_and_mistakes_say_what_was_expected() {
        for (text, limit, written) in [
            ("error_share > 5%", 0.05, "error_share > 0.05"),
            ("p95>800ms", 0.8, "p95 > 0.8s"),
            ("first_event_p95 > 2m", 120.0, "first_event_p95 > 120s"),
            ("spend > 12.5", 12.5, "spend > 12.5"),
            ("drift > 0.4", 0.4, "drift > 0.4"),
            ("breaker_open", 0.0, "breaker_open"),
            ("breaker_open > 2", 2.0, "breaker_open > 2"),
            ("records_lost > 0", 0.0, "records_lost > 0"),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!((condition.limit, condition.to_string().as_str()), (limit, written), "{text}");
            assert_eq!(written.parse(), Ok(condition));
        }
        for (text, expected) in [
            ("errors > 5%", "expected one of error_share, p95,"),
            ("p95", "expected > and a limit behind p95"),
            ("p95 > 10", "a time such as 800ms"),
            ("spend > -1", "dollars such as 50"),
            ("error_share > NaN", "a share such as 5%"),
        ] {
            assert!(text.parse::<Condition>().unwrap_err().contains(expected), "{text}");
        }
    }
}
