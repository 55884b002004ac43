use std::time::{Duration, SystemTime};

use serde::Serialize;

#[cfg(any(feature = "postgres", test))]
use crate::Kind;

/// Which records are wanted: those for which all holds that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// When they ended; whenever, if it isn't set.
    pub span: Option<Span>,
    /// The name of their key.
    pub key: Option<Box<str>>,
    /// The name of their team.
    pub team: Option<Box<str>>,
    /// The name of their customer.
    pub customer: Option<Box<str>>,
    /// Their end user.
    pub user: Option<Box<str>>,
    /// Their session.
    pub session: Option<Box<str>>,
    /// The trace that they belong to.
    pub trace: Option<Box<str>>,
    /// The model that was asked for.
    pub model: Option<Box<str>>,
    /// Who answered, or was asked last: `provider/model`.
    pub target: Option<Box<str>>,
    /// The provider of that target.
    pub provider: Option<Box<str>>,
    /// How they came out.
    pub status: Option<Status>,
    /// The kind of their error.
    pub error: Option<Box<str>>,
    /// They cost more than this, in billionths of a dollar.
    pub cost_above: Option<u64>,
    /// They took longer than this.
    pub latency_above: Option<Duration>,
    /// A tag that they have.
    pub tag: Option<(Box<str>, Box<str>)>,
    /// Their whole id, or a text that occurs in the message of their error, or in what was asked or answered, as far as
    /// that was kept; large and small letters of ASCII are the same. A store may give up after some seconds with what it
    /// has found until then.
    pub text: Option<Box<str>>,
    /// They came after this place: what is new since a list was read.
    pub after: Option<Place>,
}

/// How a request came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The client had an answer, and nothing failed.
    Ok,
    /// Something doesn't work: it failed neither because of the request nor for a limit of its caller.
    Failed,
    /// It failed for what it was, or for what its caller may do.
    Refused,
    /// The answer had this status.
    Code(u16),
}

/// From one moment until another one, which doesn't belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: SystemTime,
    /// The moment after its last one.
    pub until: SystemTime,
}

impl Span {
    /// What there was within `past` until now.
    pub fn last(past: Duration) -> Self {
        let until = SystemTime::now();
        Self { from: until.checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH), until }
    }
}

/// Where a record stands among all others of a store: those that ended later have greater places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Place(pub u64);

/// Conditions in SQL on the kind of error, the status, and what is only there when somebody was asked, for
/// [`Status::Failed`] and [`Status::Refused`]; a status of an error without a kind is a failure. As
/// [`Record::has_failed`](crate::record::Record::has_failed) has it.
#[cfg(feature = "postgres")]
pub(super) fn in_sql(error: &str, status: &str, asked: &str) -> (String, String) {
    let list = |was_asked| {
        let kinds: Vec<_> = refusals(was_asked).map(|kind| format!("'{}'", kind.as_str())).collect();
        kinds.join(", ")
    };
    let (always, unasked) = (list(true), list(false));
    let failed = format!(
        "({error} IS NULL AND {status} >= 400 OR {error} NOT IN ({unasked})
         OR {asked} IS NOT NULL AND {error} NOT IN ({always}))"
    );
    let refused = format!("({error} IN ({always}) OR {asked} IS NULL AND {error} IN ({unasked}))");
    (failed, refused)
}

/// The kinds of error that say that a request was refused, where a provider was asked for it or was not.
#[cfg(any(feature = "postgres", test))]
fn refusals(was_asked: bool) -> impl Iterator<Item = Kind> {
    // Of these a provider's are failures of it.
    let by_gateway = |kind: &Kind| matches!(kind, Kind::RateLimited | Kind::NoRoute);
    Kind::ALL.into_iter().filter(move |kind| kind.is_refusal() && !(was_asked && by_gateway(kind)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Exchange, Target, body::End, record::Record};

    #[test]
    fn what_is_refused_is_what_has_not_failed() {
        for was_asked in [false, true] {
            let exchange = Exchange::default();
            if was_asked {
                exchange.begin(&Arc::new(Target::new("p", "m")));
            }
            let mut record = Record::new(&exchange, Default::default(), None, End::Failed);
            for kind in Kind::ALL {
                record.error = Some(kind);
                let is_refused = refusals(was_asked).any(|refusal| refusal == kind);
                assert_eq!(is_refused, !record.has_failed(), "{kind}, {was_asked}");
            }
        }
    }
}
