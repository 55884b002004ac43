use std::time::Duration;

use crate::{Error, Kind, headers};

/// When a target is asked again before the next one is tried. What a provider says of an error in
/// `x-should-retry` goes before its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What is worth asking again for.
    pub on: Vec<Cause>,
    /// How often one target is asked at most; at least once.
    pub attempts: u32,
    /// The shortest and the longest time between two attempts. The longest one doubles with each
    /// attempt up to this bound, and the time is drawn between it and nothing ("full jitter").
    pub backoff: (Duration, Duration),
}

/// What is worth asking again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The provider answered with this status.
    Status(u16),
    /// The provider can't be reached, or the connection broke.
    Connect,
    /// The provider took too long.
    Timeout,
}

impl Default for Retry {
    /// One more attempt after what passes by itself: 429, 5xx, a lost connection. Not after a timeout: the
    /// next target is asked at once then.
    fn default() -> Self {
        let status = [429, 500, 502, 503, 504, 529].map(Cause::Status);
        Self {
            on: status.into_iter().chain([Cause::Connect]).collect(),
            attempts: 2,
            backoff: (Duration::from_millis(200), Duration::from_secs(5)),
        }
    }
}

impl Retry {
    /// No second attempt at the same target.
    pub fn never() -> Self {
        Self { on: Vec::new(), attempts: 1, backoff: Default::default() }
    }

    /// How long to wait before asking the same target again, after `attempts` of them; `None` if that
    /// isn't worth it.
    pub(super) fn wait(&self, error: &Error, attempts: u32) -> Option<Duration> {
        let is_worth_it = said_by_provider(error).unwrap_or_else(|| self.is_on(error));
        if attempts >= self.attempts || !error.is_retryable() || !is_worth_it {
            return None;
        }
        let (shortest, longest) = self.backoff;
        if let Some(after) = error.retry_after() {
            // A target that is away for longer than any backoff has to be passed over.
            return (after <= longest).then(|| after.max(shortest));
        }
        let bound = shortest.saturating_mul(1 << (attempts - 1).min(16)).min(longest);
        Some(bound.mul_f64(random_fraction()))
    }

    fn is_on(&self, error: &Error) -> bool {
        let status = error.reply().map(|reply| reply.status.as_u16()).or(match error.kind() {
            Kind::RateLimited => Some(429),
            Kind::Overloaded => Some(503),
            Kind::Upstream => Some(502),
            _ => None,
        });
        self.on.iter().any(|cause| match cause {
            Cause::Status(wanted) => status == Some(*wanted),
            Cause::Connect => error.kind() == Kind::Unreachable,
            Cause::Timeout => error.kind() == Kind::Timeout && error.reply().is_none(),
        })
    }
}

/// OpenAI and Anthropic say of an error whether asking again is of use, whatever its status.
fn said_by_provider(error: &Error) -> Option<bool> {
    match error.reply()?.headers.get(headers::SHOULD_RETRY)?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn random_fraction() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::error::Reply;

    fn retry() -> Retry {
        let backoff = (Duration::from_millis(100), Duration::from_secs(2));
        Retry { on: vec![Cause::Status(429), Cause::Connect], attempts: 20, backoff }
    }

    #[test]
    fn the_bound_doubles_up_to_the_longest() {
        let error = Error::new(Kind::Unreachable, "gone");
        let longest = |attempts| (0..200).filter_map(|_| retry().wait(&error, attempts)).max().unwrap();

        assert!(longest(1) <= Duration::from_millis(100));
        assert!(longest(2) > Duration::from_millis(100) && longest(2) <= Duration::from_millis(200));
        assert!(longest(19) <= Duration::from_secs(2));
    }

    #[test]
    fn a_provider_that_says_when_is_obeyed_or_passed_over() {
        let after =
            |ms| Error::new(Kind::RateLimited, "slow down").with_retry_after(Duration::from_millis(ms));

        assert_eq!(retry().wait(&after(1500), 1), Some(Duration::from_millis(1500)));
        assert_eq!(retry().wait(&after(0), 1), Some(Duration::from_millis(100)));
        assert_eq!(retry().wait(&after(60_000), 1), None);
    }

    #[test]
    fn a_provider_that_says_whether_goes_before_its_status() {
        let worth = |status, says| {
            let headers = HeaderMap::from_iter([(headers::SHOULD_RETRY, HeaderValue::from_static(says))]);
            let reply = Reply { status, headers, body: "{}".into(), dialect: "openai-chat" };
            retry().wait(&Error::new(Kind::RateLimited, "").with_reply(reply), 1).is_some()
        };

        assert!(worth(StatusCode::CONFLICT, "true") && !worth(StatusCode::CONFLICT, "perhaps"));
        assert!(worth(StatusCode::TOO_MANY_REQUESTS, "perhaps"));
        assert!(!worth(StatusCode::TOO_MANY_REQUESTS, "false"));
    }

    #[test]
    fn only_what_is_listed_is_asked_for_again_and_not_for_ever() {
        let wait = |kind, attempts| retry().wait(&Error::new(kind, ""), attempts).is_some();

        assert!(wait(Kind::RateLimited, 19));
        assert!(!wait(Kind::RateLimited, 20));
        assert!(!wait(Kind::Timeout, 1));
        assert!(!wait(Kind::InvalidRequest, 1));
    }
}
