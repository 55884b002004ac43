use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio_postgres::{Client, Row as Found};

use super::{
    super::{Entry, Filter, Line, Page, Place, row::micros_at},
    condition::Condition,
    unsigned,
    write::plain,
};
use crate::BoxError;

/// How long texts are looked through, from the newest on, and in how many records at a time.
const PATIENCE: Duration = Duration::from_secs(2);
const PART: usize = 5_000;
/// What ids of requests begin with.
const ID: &str = "req_";

const SELECT: &str = "\
SELECT r.ended, d.id, r.duration, r.first_event, r.overhead, r.status, r.ending, r.error, r.key, r.team, r.model,
    r.target, r.attempts, r.input, r.output, r.cost, r.estimated, r.stream, r.customer, r.end_user, r.session
FROM records r JOIN details d ON d.ended = r.ended";

pub(super) async fn find(
    client: &Client,
    filter: &Filter,
    before: Option<Place>,
    limit: usize,
) -> Result<Page, BoxError> {
    let condition = |before| {
        let mut condition = Condition::of(filter);
        condition.within(filter.span);
        condition.between(filter.after, before);
        condition
    };
    match &filter.text {
        Some(text) if !text.starts_with(ID) => containing(client, condition, text, before, limit).await,
        id => {
            let mut condition = condition(before);
            if let Some(id) = id {
                condition.add("d.id = ?", plain(id).into_owned());
            }
            Ok(Page::new(lines(client, &condition, limit).await?, limit))
        }
    }
}

/// The newest that pass.
async fn lines(client: &Client, condition: &Condition, limit: usize) -> Result<Vec<Line>, BoxError> {
    let sql = format!("{SELECT} WHERE {} ORDER BY r.ended DESC LIMIT {limit}", condition.sql());
    let rows = client.query(&sql, &condition.values()).await?;
    rows.iter().map(|row| Ok(read(row)?)).collect()
}

/// The newest that pass and have a text in what was said, or in their error.
async fn containing(
    client: &Client,
    condition: impl Fn(Option<Place>) -> Condition,
    text: &str,
    mut before: Option<Place>,
    limit: usize,
) -> Result<Page, BoxError> {
    let begun = Instant::now();
    let pattern = format!("%{}%", plain(text).replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_"));
    let mut found = Vec::new();
    while found.len() < limit && begun.elapsed() < PATIENCE {
        let mut part = condition(before);
        let Some(last) = last(client, &part).await? else { return Ok(Page { lines: found, next: None }) };
        let like = ["d.message", "d.request", "d.answer"].map(|column| format!("{column} ILIKE ?"));
        part.add(&format!("r.ended >= ? AND r.has_text AND ({})", like.join(" OR ")), super::at(last.0));
        (0..like.len()).for_each(|_| part.bind(pattern.clone()));
        found.extend(lines(client, &part, limit - found.len()).await?);
        before = Some(last);
    }
    let page = Page::new(found, limit);
    Ok(Page { next: page.next.or(before), ..page })
}

/// The oldest of the next few that have a text at all.
async fn last(client: &Client, part: &Condition) -> Result<Option<Place>, BoxError> {
    let sql = format!(
        "SELECT min(ended) FROM (SELECT r.ended FROM records r WHERE r.has_text AND {} ORDER BY r.ended DESC LIMIT {PART}) part",
        part.sql()
    );
    let row = client.query_one(&sql, &part.values()).await?;
    Ok(row.try_get::<_, Option<_>>(0)?.map(|ended| Place(micros_at(ended))))
}

fn read(row: &Found) -> Result<Line, tokio_postgres::Error> {
    let number = |column: usize| row.try_get(column).map(unsigned);
    let maybe =
        |column: usize| Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<i64>>(column)?.map(unsigned));
    let text = |column: usize| row.try_get::<_, &str>(column).map(Box::from);
    let name = |column: usize| row.try_get::<_, Option<&str>>(column).map(|name| name.map(Box::from));
    let (place, duration) = (micros_at(row.try_get(0)?), number(2)?);
    Ok(Line {
        place: Place(place),
        id: text(1)?,
        arrived_ms: place.saturating_sub(duration) / 1000,
        duration_ms: duration as f64 / 1000.0,
        first_event_ms: maybe(3)?.map(|micros| micros as f64 / 1000.0),
        overhead_us: maybe(4)?,
        status: row.try_get::<_, Option<i32>>(5)?.and_then(|status| status.try_into().ok()),
        end: text(6)?,
        error: name(7)?,
        key: name(8)?,
        team: name(9)?,
        customer: name(18)?,
        user: name(19)?,
        session: name(20)?,
        model: name(10)?,
        target: name(11)?,
        attempts: row.try_get::<_, i32>(12)?.unsigned_abs(),
        input: number(13)?,
        output: number(14)?,
        cost: number(15)?,
        estimated: row.try_get(16)?,
        stream: row.try_get(17)?,
    })
}

pub(super) async fn get(client: &Client, id: &str) -> Result<Option<Entry>, BoxError> {
    let sql = "SELECT record::text, request, answer, pieces::text, is_cut FROM details WHERE id = $1";
    let Some(row) = client.query_opt(sql, &[&plain(id)]).await? else { return Ok(None) };
    let text = |column: usize| row.try_get::<_, Option<&str>>(column);
    Ok(Some(Entry {
        record: RawValue::from_string(row.try_get(0)?)?,
        request: text(1)?.map(Box::from),
        answer: text(2)?.map(Box::from),
        pieces: text(3)?.map(serde_json::from_str).transpose()?.unwrap_or_default(),
        is_cut: row.try_get(4)?,
    }))
}
