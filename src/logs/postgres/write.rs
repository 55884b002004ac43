use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use tokio_postgres::types::ToSql;

use super::{
    super::{
        rollup::{Groups, Rollups, Step, seconds},
        row::{Row, micros_at, provider},
        sums::bucket,
    },
    at, rollup,
    session::Session,
    signed,
};
use crate::{BoxError, labels::Tags, record::Kept};

/// Records that end in the same microsecond stand one behind the other. So often their places may be taken.
const MOST_ROUNDS: usize = 100;

/// Keeps records, but for places that are taken; says which were free.
pub(super) const RECORDS: &str = "\
INSERT INTO records (ended, minute, duration, first_event, overhead, duration_bucket, first_event_bucket,
    overhead_bucket, status, ending, error, key, team, customer, end_user, session, trace, feature, model, target,
    provider, finish, tags, attempts, input, cached, output, reasoning, cost, estimated, stream, has_text)
SELECT ended, minute, duration, first_event, overhead, duration_bucket, first_event_bucket,
    overhead_bucket, status, ending, error, key, team, customer, end_user, session, trace, feature, model, target,
    provider, finish, tags::jsonb, attempts, input, cached, output, reasoning, cost, estimated, stream, has_text
FROM unnest($1::timestamptz[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[],
    $7::smallint[], $8::smallint[], $9::integer[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
    $23::text[], $24::integer[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
    $30::boolean[], $31::boolean[], $32::boolean[])
AS given (ended, minute, duration, first_event, overhead, duration_bucket, first_event_bucket,
    overhead_bucket, status, ending, error, key, team, customer, end_user, session, trace, feature, model, target,
    provider, finish, tags, attempts, input, cached, output, reasoning, cost, estimated, stream, has_text)
ON CONFLICT (ended) DO NOTHING RETURNING ended";

/// Keeps what is shown of them.
pub(super) const DETAILS: &str = "\
INSERT INTO details (ended, id, message, record, request, answer, pieces, is_cut)
SELECT ended, id, message, record::json, request, answer, pieces::json, is_cut
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[])
AS given (ended, id, message, record, request, answer, pieces, is_cut)";

/// Who stands between some places, and close behind. With a limit, which few reach, the table is not gone through as a
/// whole, whatever is guessed of how many that are.
pub(super) const TAKEN: &str = "\
SELECT DISTINCT d.ended, d.id FROM unnest($1::timestamptz[], $2::timestamptz[]) AS place (first, last)
CROSS JOIN LATERAL (
    SELECT ended, id FROM details WHERE ended >= place.first AND ended < place.last + INTERVAL '100 microseconds'
    ORDER BY ended LIMIT 10000) d";

/// A record, and the microsecond at which it stands.
struct Placed<'a> {
    place: u64,
    row: Row<'a>,
    groups: Groups,
    kept: &'a Kept,
}

impl<'a> Placed<'a> {
    fn new(row: Row<'a>, groups: Groups, kept: &'a Kept) -> Self {
        Self { place: row.place, row, groups, kept }
    }

    /// Goes on to the next place that isn't taken; `false` if the record stands there already. It may stand before the place
    /// that it has now, which depends on the others in its batch.
    fn advance(&mut self, taken: &HashMap<u64, String>) -> bool {
        for mut place in [self.row.place, self.place] {
            while let Some(id) = taken.get(&place) {
                if **id == *self.row.id {
                    return false;
                }
                place += 1;
            }
            self.place = self.place.max(place);
        }
        true
    }

    fn ended(&self) -> SystemTime {
        at(self.place)
    }
}

/// Keeps all of a batch. What is there already stays as it is, so that a batch may be tried again.
pub(super) async fn write(session: &mut Session, batch: &[Arc<Kept>]) -> Result<(), BoxError> {
    let rows: Vec<_> = batch.iter().map(|kept| Row::of(kept.record())).collect();
    let Session { client, statements, known, .. } = &mut *session;
    let day = i32::try_from(seconds(SystemTime::now()) / Step::Day.seconds())?;
    let groups = known.groups(client, statements, &rows, day).await?;
    let placed = rows.into_iter().zip(groups).zip(batch);
    let mut waiting: Vec<_> = placed.map(|((row, groups), kept)| Placed::new(row, groups, kept)).collect();
    for _ in 0..MOST_ROUNDS {
        spread(&mut waiting);
        let free = insert(session, &waiting).await?;
        waiting.retain(|record| !free.contains(&record.place));
        if waiting.is_empty() {
            return Ok(());
        }
        let taken = taken(session, &waiting).await?;
        waiting.retain_mut(|record| record.advance(&taken));
    }
    Err("too many records ended at the same time".into())
}

/// Sorts records, so that no two nodes wait for each other, and gives each a place of its own.
fn spread(records: &mut [Placed<'_>]) {
    records.sort_by_key(|record| record.place);
    let mut next = 0;
    for record in records {
        record.place = record.place.max(next);
        next = record.place + 1;
    }
}

/// Keeps those whose place is free, with their sums, and says which places were.
async fn insert(session: &mut Session, records: &[Placed<'_>]) -> Result<HashSet<u64>, BoxError> {
    let Session { client, statements, .. } = session;
    let transaction = client.transaction().await?;
    let columns = Columns::new(records);
    let found = transaction.query(&statements.records, &columns.params()).await?;
    let free = found.iter().map(|row| Ok(micros_at(row.try_get(0)?)));
    let free: HashSet<u64> = free.collect::<Result<_, tokio_postgres::Error>>()?;
    if !free.is_empty() {
        let details = Details::new(records.iter().filter(|record| free.contains(&record.place)));
        transaction.execute(&statements.details, &details.params()).await?;
        // Last, because other nodes add to the same sums and wait until this is done.
        let mut rollups = Rollups::default();
        let kept = records.iter().filter(|record| free.contains(&record.place));
        kept.for_each(|record| rollups.add(&record.row, record.groups));
        rollup::write(&transaction, statements, rollups.take()).await?;
    }
    transaction.commit().await?;
    Ok(free)
}

/// The ids of those that stand from where these should up to where they would now, and close behind.
async fn taken(session: &Session, records: &[Placed<'_>]) -> Result<HashMap<u64, String>, BoxError> {
    let first: Vec<_> = records.iter().map(|record| at(record.row.place)).collect();
    let last: Vec<_> = records.iter().map(Placed::ended).collect();
    let rows = session.client.query(&session.statements.taken, &[&first, &last]).await?;
    let taken = rows.iter().map(|row| Ok((micros_at(row.try_get(0)?), row.try_get(1)?)));
    Ok(taken.collect::<Result<_, tokio_postgres::Error>>()?)
}

type Text<'a> = Option<Cow<'a, str>>;

/// Columns of `records`, in the order of the statement.
#[derive(Default)]
struct Columns<'a> {
    ended: Vec<SystemTime>,
    minute: Vec<i32>,
    duration: Vec<i64>,
    first_event: Vec<Option<i64>>,
    overhead: Vec<Option<i64>>,
    duration_bucket: Vec<i16>,
    first_event_bucket: Vec<Option<i16>>,
    overhead_bucket: Vec<Option<i16>>,
    status: Vec<Option<i32>>,
    ending: Vec<&'a str>,
    error: Vec<Option<&'a str>>,
    /// Key, team, customer, end user, session, trace, feature, model, target, provider and finish reason.
    names: [Vec<Text<'a>>; 11],
    tags: Vec<Option<String>>,
    attempts: Vec<i32>,
    /// Input, cached, output, reasoning and cost.
    used: [Vec<i64>; 5],
    estimated: Vec<bool>,
    stream: Vec<bool>,
    has_text: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn new(records: &'a [Placed<'a>]) -> Self {
        let mut this = Self::default();
        for record in records {
            this.push(record);
        }
        this
    }

    fn push(&mut self, record: &'a Placed<'a>) {
        let row = &record.row;
        let small = |micros| i16::from(bucket(micros));
        self.ended.push(record.ended());
        self.minute.push(i32::try_from(record.place / 60_000_000).unwrap_or(i32::MAX));
        self.duration.push(signed(row.duration));
        self.first_event.push(row.first_event.map(signed));
        self.overhead.push(row.overhead.map(signed));
        self.duration_bucket.push(small(row.duration));
        self.first_event_bucket.push(row.first_event.map(small));
        self.overhead_bucket.push(row.overhead.map(small));
        self.status.push(row.status.map(i32::from));
        self.ending.push(row.end);
        self.error.push(row.error);
        let names = [row.key, row.team, row.customer, row.user(), row.session(), row.trace.as_deref()];
        let what = [row.feature(), row.model, row.target, row.target.map(provider), row.finish];
        for (column, name) in self.names.iter_mut().zip(names.into_iter().chain(what)) {
            column.push(name.map(plain));
        }
        self.tags.push(tags(&row.labels.tags));
        self.attempts.push(i32::try_from(row.attempts).unwrap_or(i32::MAX));
        let tokens = &row.tokens;
        let used = [tokens.input, tokens.cached, tokens.output, tokens.reasoning, row.cost];
        for (column, number) in self.used.iter_mut().zip(used) {
            column.push(signed(number));
        }
        self.estimated.push(row.estimated);
        self.stream.push(row.stream);
        self.has_text.push(row.has_message || record.kept.said().is_some());
    }

    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![
            &self.ended,
            &self.minute,
            &self.duration,
            &self.first_event,
            &self.overhead,
            &self.duration_bucket,
            &self.first_event_bucket,
            &self.overhead_bucket,
            &self.status,
            &self.ending,
            &self.error,
        ];
        params.extend(self.names.iter().map(|names| names as &(dyn ToSql + Sync)));
        params.extend([&self.tags as &(dyn ToSql + Sync), &self.attempts]);
        params.extend(self.used.iter().map(|used| used as &(dyn ToSql + Sync)));
        params.extend([&self.estimated as &(dyn ToSql + Sync), &self.stream, &self.has_text]);
        params
    }
}

/// Columns of `details`, in the order of the statement.
#[derive(Default)]
struct Details<'a> {
    ended: Vec<SystemTime>,
    id: Vec<&'a str>,
    message: Vec<Text<'a>>,
    record: Vec<&'a str>,
    request: Vec<Text<'a>>,
    answer: Vec<Text<'a>>,
    pieces: Vec<Option<String>>,
    is_cut: Vec<bool>,
}

impl<'a> Details<'a> {
    fn new(records: impl Iterator<Item = &'a Placed<'a>>) -> Self {
        let mut this = Self::default();
        for record in records {
            let said = record.kept.said();
            this.ended.push(record.ended());
            this.id.push(record.row.id);
            this.message.push(record.kept.record().message.as_deref().map(plain));
            this.record.push(record.kept.json());
            this.request.push(said.map(|said| plain(&said.request)));
            this.answer.push(said.and_then(|said| said.answer.as_deref()).map(plain));
            let pieces = said.map(|said| &said.pieces).filter(|pieces| !pieces.is_empty());
            this.pieces.push(pieces.and_then(|pieces| serde_json::to_string(pieces).ok()));
            this.is_cut.push(said.is_some_and(|said| said.is_cut));
        }
        this
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.ended,
            &self.id,
            &self.message,
            &self.record,
            &self.request,
            &self.answer,
            &self.pieces,
            &self.is_cut,
        ]
    }
}

/// Texts in Postgres have no zeros: what clients send may.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn tags(tags: &Tags) -> Option<String> {
    if tags.is_empty() {
        return None;
    }
    let tags = tags.iter().map(|(name, value)| (plain(name), plain(value)));
    serde_json::to_string(&tags.collect::<BTreeMap<_, _>>()).ok()
}
