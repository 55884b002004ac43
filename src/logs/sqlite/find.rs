use std::{
    ops::Range,
    time::{Duration, Instant},
};

use aho_corasick::AhoCorasick;
use rusqlite::{Connection, OptionalExtension, Row as Found, params_from_iter, types::Value};
use serde_json::value::RawValue;

use super::{
    super::{Entry, Filter, Line, Page, Place, Span, rollup::Level, row::micros_at},
    condition::Condition,
    database::{signed, unsigned},
    write::{ESTIMATED, STREAM, TEXT},
};
use crate::BoxError;

/// The most groups whose records are looked for group by group. Where there are more, most records pass.
const MOST_GROUPS: usize = 1_000;
/// How long texts are looked through, from the newest on.
const PATIENCE: Duration = Duration::from_secs(2);
/// What ids of requests begin with.
const ID: &str = "req_";

/// Places from one on until another one.
pub(super) fn places(span: Option<Span>, before: Option<Place>) -> Range<i64> {
    let (from, until) =
        span.map_or((0, i64::MAX), |span| (signed(micros_at(span.from)), signed(micros_at(span.until))));
    from..until.min(before.map_or(i64::MAX, |place| signed(place.0)))
}

pub(super) fn find(
    connection: &Connection,
    filter: &Filter,
    before: Option<Place>,
    limit: usize,
) -> Result<Page, BoxError> {
    let mut within = places(filter.span, before);
    if let Some(after) = filter.after {
        within.start = within.start.max(signed(after.0.saturating_add(1)));
    }
    let search = Search::new(filter, within, limit)?;
    // What is found is still there when it is read.
    let snapshot = connection.unchecked_transaction()?;
    let (places, given_up) = match &filter.text {
        Some(id) if id.starts_with(ID) => (search.called(&snapshot, id)?, None),
        Some(text) => search.containing(&snapshot, text)?,
        None => (search.places(&snapshot)?, None),
    };
    let mut line = snapshot.prepare_cached(
        "SELECT r.place, d.id, r.duration, r.first_event, r.overhead, g.status, r.ending, g.error, g.key, g.team, g.model,
         g.target, r.attempts, r.input, r.output, r.cost, r.flags, g.customer, r.user, r.session
         FROM records r JOIN groups g ON g.id = r.of JOIN details d ON d.place = r.place WHERE r.place = ?1",
    )?;
    let lines = places.into_iter().map(|place| line.query_row([place], read)).collect::<Result<_, _>>()?;
    let page = Page::new(lines, limit);
    Ok(Page { next: page.next.or(given_up), ..page })
}

/// What is looked for, and where.
struct Search {
    groups: Condition,
    records: Condition,
    within: Range<i64>,
    limit: usize,
    /// Whether an index leads to few records, in their order.
    is_narrow: bool,
}

impl Search {
    fn new(filter: &Filter, within: Range<i64>, limit: usize) -> Result<Self, BoxError> {
        Ok(Self {
            groups: Condition::groups(filter, Level::Full),
            records: Condition::records(filter),
            within,
            limit,
            is_narrow: filter.user.is_some()
                || filter.session.is_some()
                || filter.trace.is_some()
                || filter.tag.is_some(),
        })
    }

    /// The newest that pass, without their texts.
    fn places(&self, connection: &Connection) -> rusqlite::Result<Vec<i64>> {
        if self.groups.is_empty() || self.is_narrow {
            return self.all(connection);
        }
        let mut ids = connection.prepare_cached(&format!(
            "SELECT id FROM groups WHERE level = {} AND {} LIMIT {}",
            Level::Full.number(),
            self.groups.sql(),
            MOST_GROUPS + 1
        ))?;
        let ids = ids.query_map(params_from_iter(&self.groups.values), |row| row.get(0))?;
        let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
        if ids.len() > MOST_GROUPS { self.all(connection) } else { self.of(connection, &ids) }
    }

    /// Goes through records from the newest on.
    fn all(&self, connection: &Connection) -> rusqlite::Result<Vec<i64>> {
        let (sql, values) = self.sql("SELECT r.place FROM records r", "", true);
        let mut find = connection.prepare_cached(&sql)?;
        find.query_map(params_from_iter(values), |row| row.get(0))?.collect()
    }

    /// Goes through the records of each group from the newest on, as far as they are newer than what was found.
    fn of(&self, connection: &Connection, groups: &[i64]) -> rusqlite::Result<Vec<i64>> {
        let mut find = connection.prepare_cached(&format!(
            "SELECT r.place FROM records r INDEXED BY records_by_group
             WHERE r.of = ? AND r.place >= ? AND r.place < ? AND {} ORDER BY r.place DESC LIMIT {}",
            self.records.sql(),
            self.limit
        ))?;
        let mut found: Vec<i64> = Vec::new();
        let mut from = self.within.start;
        for group in groups {
            let place = [*group, from, self.within.end].map(Value::from);
            let rows =
                find.query_map(params_from_iter(place.iter().chain(&self.records.values)), |row| row.get(0))?;
            found.extend(rows.collect::<Result<Vec<i64>, _>>()?);
            found.sort_unstable_by(|a, b| b.cmp(a));
            found.truncate(self.limit);
            if found.len() == self.limit {
                from = found.last().map_or(from, |last| from.max(*last));
            }
        }
        Ok(found)
    }

    /// The one that is called so, if it passes.
    fn called(&self, connection: &Connection, id: &str) -> rusqlite::Result<Vec<i64>> {
        let select = "SELECT r.place FROM records r";
        let one = "r.place = (SELECT place FROM details WHERE id = ?) AND ";
        let (sql, mut values) = self.sql(select, one, true);
        values.insert(0, id.to_owned().into());
        let mut find = connection.prepare_cached(&sql)?;
        find.query_map(params_from_iter(values), |row| row.get(0))?.collect()
    }

    /// The newest that pass and have a text in what was said, or in their error; and the last place that was looked at,
    /// if there are more.
    fn containing(&self, connection: &Connection, text: &str) -> Result<(Vec<i64>, Option<Place>), BoxError> {
        let begun = Instant::now();
        let text = AhoCorasick::builder().ascii_case_insensitive(true).build([text])?;
        // Where nothing else tells records apart, only texts are read.
        let (sql, values) = if self.records.is_empty() && self.groups.is_empty() {
            self.sql("SELECT r.place, r.message, r.request, r.answer FROM contents r", "", false)
        } else {
            self.sql(
                "SELECT r.place, c.message, c.request, c.answer
                 FROM records r CROSS JOIN contents c ON c.place = r.place",
                &format!("r.flags & {TEXT} AND "),
                false,
            )
        };
        let mut find = connection.prepare_cached(&sql)?;
        let mut rows = find.query(params_from_iter(values))?;
        let (mut found, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            if found.len() == self.limit || begun.elapsed() > PATIENCE {
                return Ok((found, last));
            }
            last = Some(Place(unsigned(row.get(0)?)));
            for column in 1..4 {
                if row.get_ref(column)?.as_str_or_null()?.is_some_and(|said| text.is_match(said)) {
                    found.push(row.get(0)?);
                    break;
                }
            }
        }
        Ok((found, None))
    }

    fn sql(&self, select: &str, and: &str, is_limited: bool) -> (String, Vec<Value>) {
        let mut values = vec![self.within.start.into(), self.within.end.into()];
        let mut sql = format!("{select} WHERE {and}r.place >= ? AND r.place < ? AND {}", self.records.sql());
        values.extend_from_slice(&self.records.values);
        if !self.groups.is_empty() {
            let (level, groups) = (Level::Full.number(), self.groups.sql());
            sql.push_str(&format!(
                " AND +r.of IN (SELECT id FROM groups WHERE level = {level} AND {groups})"
            ));
            values.extend_from_slice(&self.groups.values);
        }
        sql.push_str(" ORDER BY r.place DESC");
        if is_limited {
            sql.push_str(&format!(" LIMIT {}", self.limit));
        }
        (sql, values)
    }
}

fn read(row: &Found<'_>) -> rusqlite::Result<Line> {
    let number = |column: usize| row.get(column).map(unsigned);
    let maybe = |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(unsigned));
    let name = |column: usize| row.get::<_, Option<Box<str>>>(column);
    let (place, duration) = (number(0)?, number(2)?);
    let flags: i64 = row.get(16)?;
    Ok(Line {
        place: Place(place),
        id: row.get(1)?,
        arrived_ms: place.saturating_sub(duration) / 1000,
        duration_ms: duration as f64 / 1000.0,
        first_event_ms: maybe(3)?.map(|micros| micros as f64 / 1000.0),
        overhead_us: maybe(4)?,
        status: row.get(5)?,
        end: row.get(6)?,
        error: name(7)?,
        key: name(8)?,
        team: name(9)?,
        customer: name(17)?,
        user: name(18)?,
        session: name(19)?,
        model: name(10)?,
        target: name(11)?,
        attempts: row.get(12)?,
        input: number(13)?,
        output: number(14)?,
        cost: number(15)?,
        estimated: flags & ESTIMATED != 0,
        stream: flags & STREAM != 0,
    })
}

pub(super) fn get(connection: &Connection, id: &str) -> Result<Option<Entry>, BoxError> {
    let mut get = connection.prepare_cached(
        "SELECT d.record, c.request, c.answer, c.pieces, c.is_cut
         FROM details d LEFT JOIN contents c ON c.place = d.place
         WHERE d.id = ?1",
    )?;
    let found = get.query_row([id], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get::<_, Option<String>>(3)?,
            row.get::<_, Option<bool>>(4)?,
        ))
    });
    let Some((record, request, answer, pieces, is_cut)) = found.optional()? else { return Ok(None) };
    Ok(Some(Entry {
        record: RawValue::from_string(record)?,
        request,
        answer,
        pieces: pieces.map(|pieces| serde_json::from_str(&pieces)).transpose()?.unwrap_or_default(),
        is_cut: is_cut.unwrap_or_default(),
    }))
}
