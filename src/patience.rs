//! How long the answer of a provider is waited for.

use std::time::Duration;

use http::Request;
use tokio::time::Instant;

use crate::{Payload, exchange::Deadline};

/// As long as clients usually wait: the SDKs of OpenAI and Anthropic do for ten minutes.
const LONGEST: Duration = Duration::from_secs(600);

/// How long it is waited for the head of an answer; a whole answer comes with its head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    said: Option<Duration>,
}

impl Patience {
    /// The same time for all requests.
    pub(crate) fn always(time: Duration) -> Self {
        Self { said: Some(time) }
    }

    /// The time for one request. If it isn't said: ten minutes, or its [share] of the time.
    pub(crate) fn with(self, req: &Request<Payload>) -> Duration {
        self.said.unwrap_or_else(|| share(req).unwrap_or(LONGEST))
    }
}

/// What a target that hangs may take where another one could be asked after it: half of what is left, so that the other
/// one has as much. The last one has all of it.
pub(crate) fn share(req: &Request<Payload>) -> Option<Duration> {
    let deadline = req.extensions().get::<Deadline>();
    let left = deadline.map_or(LONGEST, |deadline| deadline.0.saturating_duration_since(Instant::now()));
    req.body().has_others().then(|| (left / 2).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn asked(has_others: bool, left: Option<Duration>) -> Request<Payload> {
        let mut req = crate::testing::ask("m", None).map(|payload| payload.with_others(has_others));
        if let Some(left) = left {
            req.extensions_mut().insert(Deadline(Instant::now() + left));
        }
        req
    }

    /// C130
    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_may_take_as_long_as_clients_wait_for_it() {
        assert_eq!(Patience::default().with(&asked(false, None)), 10 * MINUTE);
        assert_eq!(Patience::default().with(&asked(false, Some(10 * MINUTE))), 10 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_hangs_leaves_another_one_as_much_time() {
        for (left, expected) in [(None, 5), (Some(10), 5), (Some(4), 2), (Some(60), 10)] {
            let req = asked(true, left.map(|minutes| minutes * MINUTE));

            assert_eq!(Patience::default().with(&req), expected * MINUTE, "{left:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_holds_for_all_requests() {
        for has_others in [false, true] {
            assert_eq!(Patience::always(MINUTE).with(&asked(has_others, Some(MINUTE))), MINUTE);
        }
    }
}
