use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{Measure, Quota, Shape};
use crate::{Error, Kind};

/// Why a quota does not grant something; becomes an [`Error`] that tells the client.
pub(super) struct Refusal {
    pub(super) account: Arc<str>,
    pub(super) quota: Quota,
    pub(super) left: u64,
    pub(super) needed: u64,
    /// When it is worth asking again, as a time of day and counted from now.
    pub(super) again: Option<(SystemTime, Duration)>,
}

/// Which quota did not grant something: the source of the error that tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) account: Arc<str>,
    pub(crate) quota: Quota,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a quota of {}", self.account)
    }
}

impl std::error::Error for Refused {}

/// A budget that begins anew sooner than this is worth waiting for.
const SOON: Duration = Duration::from_secs(3_600);

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { account, quota, left, needed, again } = refusal;
        let Quota { measure, limit, period, .. } = quota;
        let (word, kind) = match measure {
            Measure::Usd => ("budget", Kind::BudgetExhausted),
            _ => ("limit", Kind::RateLimited),
        };
        let per = if measure == Measure::Concurrent { String::new() } else { period.in_words() };
        let (limit_shown, left, needed_shown) =
            (measure.show(limit), measure.amount(left), measure.amount(needed));
        let mut message = format!(
            "the {word} of {account} is used up: {limit_shown}{per}, {left} left, {needed_shown} needed"
        );
        if needed > limit {
            message.push_str(", which is more than it ever has");
        } else if let Some(at) = again.and_then(|(at, _)| Timestamp::try_from(at).ok()) {
            let until = match period.shape() {
                Shape::Calendar => "a new one begins",
                Shape::Bucket(_) | Shape::Rolling { .. } => "enough is given back",
            };
            message.push_str(&format!(", {until} {at}"));
        }
        let error = Self::new(kind, message).with_source(Refused { account, quota });
        match again {
            Some((_, wait)) if measure != Measure::Usd || wait < SOON => error.with_retry_after(wait),
            _ => error,
        }
    }
}
