use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use super::{Audit, Entry, Head};
use crate::Error;

/// How many entries are read at once, and at most for one page.
const STEP: u64 = 500;
const MOST: u64 = 20_000;

/// Which entries are wanted; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this [kind](super::EventKind::as_str).
    pub kind: Option<Box<str>>,
    /// Those of somebody whose name has this text in it.
    pub who: Option<Box<str>>,
    /// Those that were entered then or later.
    pub since: Option<SystemTime>,
    /// Those that were entered before.
    pub until: Option<SystemTime>,
}

/// Some entries, newest first.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Before which number it goes on; `None` if there are no more.
    pub next: Option<u64>,
    /// The end of the chain.
    pub head: Option<Head>,
}

impl Filter {
    /// Whether an entry is wanted. What was damaged always is.
    pub fn wants(&self, entry: &Entry) -> bool {
        let Some(fields) = entry.fields() else { return true };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let at = || text("at").parse::<Timestamp>().map(SystemTime::from).ok();
        self.kind.as_ref().is_none_or(|kind| text("kind") == &**kind)
            && self.who.as_ref().is_none_or(|who| text("who").contains(&**who))
            && self.since.is_none_or(|since| at().is_none_or(|at| at >= since))
            && self.until.is_none_or(|until| at().is_none_or(|at| at < until))
    }
}

/// The newest entries that `filter` wants, at most `limit`, of those before the number `before` if there is one. Of a
/// long chain a page may have fewer although there are more: see [`Page::next`].
///
/// # Errors
///
/// If the store could not be asked.
pub async fn find(
    audit: &dyn Audit,
    filter: &Filter,
    before: Option<u64>,
    limit: usize,
) -> Result<Page, Error> {
    let last = audit.last().await?;
    let head = last.as_ref().map(Head::from);
    let end = last.map_or(0, |last| last.number) + 1;
    let end = before.map_or(end, |before| before.min(end));
    let (mut next, mut entries) = (end, Vec::new());
    while next > 1 && end - next < MOST {
        let first = next.saturating_sub(STEP).max(1);
        let step = usize::try_from(next - first).unwrap_or(usize::MAX);
        // Where some are missing, others come in their place.
        for entry in audit.read(first, step).await?.into_iter().rev().filter(|entry| entry.number < next) {
            if entries.len() == limit {
                return Ok(Page { entries, next: Some(entry.number + 1), head });
            }
            if filter.wants(&entry) {
                entries.push(entry);
            }
        }
        next = first;
    }
    Ok(Page { entries, next: (next > 1).then_some(next), head })
}
