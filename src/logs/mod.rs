//! Records that are kept, and found again: [`Logs`].
//!
//! A [`Sink`](crate::record::Sink) only takes records. What keeps them where they can be asked for is a [`Logs`]: the
//! dashboard at `/logs` asks it for all that it shows, and so may a program of your own.
//!
//! Three questions are all there is. [`find`](Logs::find) lists records, newest first; [`get`](Logs::get) shows one of
//! them with all that is known of it; [`sums`](Logs::sums) adds them up over time and by team, key, model or whatever
//! [`Dimension`] is wanted.
//!
//! | | who reads it | sums | what is old |
//! |---|---|---|---|
//! | `SqliteLogs` | one gateway | were made when the records came: a year is answered as quickly as an hour | is forgotten by age and size; its sums stay for 400 days |
//! | `PostgresLogs` | all gateways that write there | were made when the records came, for most questions | is forgotten by age; its sums stay for 400 days |
//!
//! Whoever writes another store runs the `conformance` suite over it, which comes with the feature `test-util`.

#[cfg(any(test, feature = "test-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod conformance;
mod filter;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod rollup;
#[cfg(any(feature = "clickhouse", feature = "postgres", feature = "sqlite", feature = "test-util", test))]
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "each store has a part of it in columns"))]
pub(crate) mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod sums;

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::postgres::{PostgresLogs, PostgresLogsOptions};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use self::sqlite::{Retention, SqliteLogs, SqliteLogsOptions};
pub use self::{
    filter::{Filter, Place, Span, Status},
    sums::{Dimension, Histogram, Question, Sum, Used},
};
use crate::{BoxFuture, Error};

/// Finds records.
pub trait Logs: fmt::Debug + Send + Sync + 'static {
    /// At most `limit` records that pass the filter and came before the `place`, newest first. A text is looked for as long
    /// as somebody may be kept waiting: [`Page::next`] says how far that was.
    ///
    /// # Errors
    ///
    /// If the store could not be asked.
    fn find<'a>(
        &'a self,
        filter: &'a Filter,
        place: Option<Place>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, Error>>;

    /// All that is known of the request of this id; `None` if there is no record of it.
    ///
    /// # Errors
    ///
    /// As above.
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Entry>, Error>>;

    /// What the records that pass a filter sum up to.
    ///
    /// # Errors
    ///
    /// As above; [`Kind::InvalidRequest`](crate::Kind::InvalidRequest) where it is asked for more steps than
    /// [`Question::MOST_STEPS`].
    fn sums<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Vec<Sum>, Error>>;
}

/// Some of the records that pass a filter.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Page {
    /// What was found, newest first.
    pub lines: Vec<Line>,
    /// The place before which to go on; `None` if there are no more.
    pub next: Option<Place>,
}

impl Page {
    /// What was found where at most `limit` were looked for: behind so many there may be more.
    pub fn new(lines: Vec<Line>, limit: usize) -> Self {
        let next = lines.last().filter(|_| lines.len() >= limit).map(|line| line.place);
        Self { lines, next }
    }
}

/// One record among others: what a list shows of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// Where it stands, to go on from there.
    pub place: Place,
    /// The request's name.
    pub id: Box<str>,
    /// When it came, in milliseconds of Unix time.
    pub arrived_ms: u64,
    /// How long it took until the answer had ended.
    pub duration_ms: f64,
    /// When its answer began, after its arrival.
    pub first_event_ms: Option<f64>,
    /// How long the gateway itself was at it until its answer began, in microseconds.
    pub overhead_us: Option<u64>,
    /// The status of the response; `None` if there was none, because the client left before.
    pub status: Option<u16>,
    /// How the response ended: `complete`, `failed` or `aborted`.
    pub end: Box<str>,
    /// The kind of error, if it is one.
    pub error: Option<Box<str>>,
    /// The name of the key.
    pub key: Option<Box<str>>,
    /// The name of the team.
    pub team: Option<Box<str>>,
    /// The name of the customer.
    pub customer: Option<Box<str>>,
    /// The end user.
    pub user: Option<Box<str>>,
    /// The session.
    pub session: Option<Box<str>>,
    /// The model that was asked for.
    pub model: Option<Box<str>>,
    /// Who answered, or was asked last: `provider/model`.
    pub target: Option<Box<str>>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the model read, in tokens.
    pub input: u64,
    /// What it wrote.
    pub output: u64,
    /// What it cost, in billionths of a dollar: `cost_nano_usd` in the JSON.
    #[serde(rename = "cost_nano_usd")]
    pub cost: u64,
    /// Whether a part of that is an estimate.
    pub estimated: bool,
    /// Whether the answer was a stream.
    pub stream: bool,
}

/// One record, with all that is known.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The record, as [`Record`](crate::record::Record) is in JSON.
    pub record: Box<RawValue>,
    /// What was asked, if that was kept: the client's JSON, with secrets masked.
    pub request: Option<Box<str>>,
    /// What was answered, likewise: one whole answer in the client's dialect, also where it was a stream.
    pub answer: Option<Box<str>>,
    /// How the answer came, if it was a stream: milliseconds after the request's arrival, and bytes of `answer`'s
    /// text that were there then.
    pub pieces: Vec<(u64, u64)>,
    /// Whether something is missing at the end of `request` or of `answer`, because it was too long to be kept.
    pub is_cut: bool,
}
