use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::layer::Office;
use crate::{
    Error, Kind,
    audit::{EventKind, Filter, find},
    config::Unit,
    query::Query,
};

/// What a page may be narrowed by.
pub(super) const PARAMETERS: [&str; 6] = ["limit", "before", "kind", "who", "since", "until"];
/// The form of moments.
pub(super) const MOMENTS: &str = "a moment such as 2026-11-01T00:00:00Z, a day in UTC such as 2026-11-01, or how long ago such as 12h or 30d";
/// The most entries of one answer.
const MOST: usize = 1_000;

/// What entries may be about.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    EventKind::ALL.into_iter().map(EventKind::as_str)
}

impl Office {
    /// Who changed what and when, newest first, and how the chain ends.
    pub(super) async fn audit(&self, query: &Query) -> Result<Value, Error> {
        query.only(&PARAMETERS)?;
        let trail = self.settings.trail();
        let trail = trail.ok_or_else(|| Error::new(Kind::NotFound, "this gateway keeps no audit"))?;
        let wrong = |name: &str, expected: &str| {
            Error::new(Kind::InvalidRequest, format!("{name}: expected {expected}")).with_param(name)
        };
        let moment = |name: &str| {
            let text = query.get(name);
            text.map(|text| moment(text).ok_or_else(|| wrong(name, MOMENTS))).transpose()
        };
        let kind = query.get("kind");
        if kind.is_some_and(|kind| !kinds().any(|known| known == kind)) {
            return Err(wrong("kind", &format!("one of {}", kinds().collect::<Vec<_>>().join(", "))));
        }
        let filter = Filter {
            kind: kind.map(Into::into),
            who: query.get("who").map(Into::into),
            since: moment("since")?,
            until: moment("until")?,
        };
        let before = query
            .get("before")
            .map(|before| before.parse().map_err(|_| wrong("before", "the number of an entry")));
        let page = find(&**trail.store(), &filter, before.transpose()?, query.number("limit", 100, MOST)?);
        let page = page.await?;
        let mut answer = json!({
            "data": page.entries.iter().map(|entry| entry.value()).collect::<Value>(),
            "has_more": page.next.is_some(),
            "head": page.head.map(|head| json!({ "number": head.number, "hash": head.hash })),
        });
        if let Some(next) = page.next {
            answer["next"] = next.into();
        }
        Ok(answer)
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    let ago = || SystemTime::now().checked_sub(std::time::Duration::read(text)?);
    let at = |text: &str| text.parse::<Timestamp>().map(SystemTime::from).ok();
    ago().or_else(|| at(text)).or_else(|| at(&format!("{text}T00:00:00Z")))
}
