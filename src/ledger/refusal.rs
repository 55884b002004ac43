use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{Measure, Quota, Shape, Standing};
use crate::{Error, Kind};

/// Why a quota does not grant something; becomes an [`Error`] that tells the client.
pub(super) struct Refusal {
    pub(super) account: Arc<str>,
    pub(super) quota: Quota,
    pub(super) left: u64,
    pub(super) needed: u64,
    /// When it is worth asking again.
    pub(super) again: Option<SystemTime>,
    pub(super) now: SystemTime,
}

/// Which quota did not grant something: the source of the error that tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) account: Arc<str>,
    pub(crate) quota: Quota,
    /// Whether it never has as much as was needed, so that asking again is of no use.
    pub(crate) is_final: bool,
    /// How the caller stands with it; nothing is known of what looks back.
    pub(crate) standing: Option<Standing>,
}

impl Refused {
    /// What refused, if it was a quota.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a quota of {}", self.account)
    }
}

impl std::error::Error for Refused {}

/// A budget that begins anew sooner than this is worth waiting for.
const SOON: Duration = Duration::from_secs(3_600);

impl Refusal {
    /// Whether there is never as much as is needed.
    fn is_final(&self) -> bool {
        self.needed > self.quota.limit
    }

    fn message(&self) -> String {
        let Self { account, quota: Quota { measure, limit, period, .. }, left, needed, again, .. } = self;
        let word = if *measure == Measure::Usd { "budget" } else { "limit" };
        let per = if *measure == Measure::Concurrent { String::new() } else { period.in_words() };
        let most = measure.show(*limit);
        let what_to_do = match measure {
            Measure::Requests | Measure::Concurrent => None,
            Measure::Input => Some("send less"),
            Measure::Output => Some("set a cap on its output, or a lower one"),
            Measure::Usd | Measure::Tokens => Some("set a cap on its output, or a lower one, or send less"),
        };
        if let Some(what_to_do) = what_to_do.filter(|_| self.is_final() && *limit > 0) {
            let needed = measure.show(*needed);
            return format!(
                "the request is too large for the {word} of {account}: it may use {needed}, and the {word} is \
                 {most}{per}; {what_to_do}"
            );
        }
        let (left, needed) = (measure.amount(*left), measure.amount(*needed));
        let mut message =
            format!("the {word} of {account} is used up: {most}{per}, {left} left, {needed} needed");
        if self.is_final() {
            message.push_str(", which is more than it ever has");
        } else if let Some(at) = again.and_then(|at| Timestamp::try_from(at).ok()) {
            let until = match period.shape() {
                Shape::Calendar => "a new one begins",
                Shape::Bucket(_) | Shape::Rolling { .. } => "enough is given back",
            };
            message.push_str(&format!(", {until} {at}"));
        }
        message
    }

    /// For the headers of the answer.
    fn standing(&self) -> Option<Standing> {
        let Quota { measure, limit, period, .. } = self.quota;
        let resets_in = match period.shape() {
            Shape::Calendar => {
                period.window(self.now).1.map(|at| at.duration_since(self.now).unwrap_or_default())
            }
            Shape::Bucket(of) => {
                let gone = u128::from(limit.saturating_sub(self.left));
                let nanos = of.as_nanos().saturating_mul(gone).div_ceil(limit.max(1).into());
                u64::try_from(nanos).ok().map(Duration::from_nanos)
            }
            Shape::Rolling { .. } => return None,
        };
        Some(Standing { measure, limit, left: self.left, resets_in })
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let wait = refusal.again.map(|at| at.duration_since(refusal.now).unwrap_or_default());
        let (message, is_final, standing) = (refusal.message(), refusal.is_final(), refusal.standing());
        let Refusal { account, quota, .. } = refusal;
        let kind = match quota.measure {
            Measure::Usd => Kind::BudgetExhausted,
            _ => Kind::RateLimited,
        };
        let error = Self::new(kind, message).with_source(Refused { account, quota, is_final, standing });
        match wait {
            Some(wait) if quota.measure != Measure::Usd || wait < SOON => error.with_retry_after(wait),
            _ => error,
        }
    }
}
