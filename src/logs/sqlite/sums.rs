use std::{collections::HashMap, time::SystemTime};

use rusqlite::{Connection, Row as Found, params_from_iter, types::Value};

use super::{
    super::{
        Dimension, Filter, Question, Sum,
        rollup::{Answer, Level, Outcome, Piece, level, pieces, seconds, step_of, whole},
        row::{is_error, writing_ms},
    },
    condition::Condition,
    database::{signed, unsigned},
    find::places,
    rollup::{COLUMNS, read},
    write::STREAM,
};
use crate::BoxError;

pub(super) fn sums(
    connection: &Connection,
    question: &Question,
    now: SystemTime,
) -> Result<Vec<Sum>, BoxError> {
    let mut answer = Answer::new(question);
    let Some(level) = level(question) else {
        add_records(&mut answer, connection, question)?;
        return Ok(answer.finish());
    };
    let (from, until) = (seconds(question.span.from), seconds(question.span.until));
    let pieces = pieces(from, until, step_of(question), level, seconds(now));
    // Both parts are of the same moment.
    let snapshot = connection.unchecked_transaction()?;
    add_pieces(&mut answer, &snapshot, question, level, &pieces)?;
    if let Some((whole, level)) = whole(question) {
        let mut all = Answer::new(&whole);
        add_pieces(&mut all, &snapshot, &whole, level, &pieces)?;
        answer.add_nameless(all, question.by == Some(Dimension::User));
    }
    Ok(answer.finish())
}

/// What is to be known of a group when its sums are added up.
struct Group {
    /// The number of its name.
    name: usize,
    outcome: Outcome,
}

/// How the records of a group came out, from the columns behind its name.
fn outcome(row: &Found<'_>) -> rusqlite::Result<Outcome> {
    let (status, error): (Option<u16>, Option<Box<str>>) = (row.get(2)?, row.get(3)?);
    Ok(Outcome {
        is_error: is_error(status, error.as_deref()),
        failed: row.get(5)?,
        error,
        finish: row.get(4)?,
    })
}

/// The column of a dimension.
fn column(by: Option<Dimension>) -> &'static str {
    match by {
        None => "NULL",
        Some(Dimension::Key) => "key",
        Some(Dimension::Team) => "team",
        Some(Dimension::Customer) => "customer",
        Some(Dimension::User) => "user",
        Some(Dimension::Feature) => "feature",
        Some(Dimension::Model) => "model",
        Some(Dimension::Target) => "target",
        Some(Dimension::Provider) => "provider",
    }
}

fn groups(
    connection: &Connection,
    question: &Question,
    level: Level,
    answer: &mut Answer,
) -> rusqlite::Result<HashMap<i64, Group>> {
    let condition = Condition::groups(&question.filter, level);
    let mut find = connection.prepare_cached(&format!(
        "SELECT id, {}, status, error, finish, failed FROM groups WHERE level = {} AND {}",
        column(question.by),
        level.number(),
        condition.sql()
    ))?;
    let found = find.query_map(params_from_iter(&condition.values), |row| {
        let outcome = outcome(row)?;
        Ok((row.get(0)?, Group { name: answer.number(row.get(1)?), outcome }))
    })?;
    found.collect()
}

fn add_pieces(
    answer: &mut Answer,
    connection: &Connection,
    question: &Question,
    level: Level,
    pieces: &[Piece],
) -> rusqlite::Result<()> {
    let groups = groups(connection, question, level, answer)?;
    pieces.iter().try_for_each(|piece| add_rollups(answer, connection, level, piece, &groups))
}

fn add_rollups(
    answer: &mut Answer,
    connection: &Connection,
    level: Level,
    piece: &Piece,
    groups: &HashMap<i64, Group>,
) -> rusqlite::Result<()> {
    let mut find = connection.prepare_cached(&format!(
        "SELECT at, of, {COLUMNS} FROM rollups WHERE level = ?1 AND step = ?2 AND at >= ?3 AND at < ?4"
    ))?;
    let mut rows =
        find.query((level.number(), piece.step.number(), signed(piece.from), signed(piece.until)))?;
    while let Some(row) = rows.next()? {
        let Some(group) = groups.get(&row.get(1)?) else { continue };
        let used = answer.at(unsigned(row.get(0)?), group.name);
        let before = used.requests;
        read(row, 2, used)?;
        group.outcome.note(used.requests - before, used);
    }
    Ok(())
}

/// What no rollup tells apart is summed up from the records themselves.
fn add_records(answer: &mut Answer, connection: &Connection, question: &Question) -> rusqlite::Result<()> {
    let filter = Filter { cost_above: None, latency_above: None, ..question.filter.clone() };
    let (records, groups) = (Condition::records(&filter), Condition::groups(&filter, Level::Full));
    let within = places(Some(question.span), None);
    let name = match question.by {
        Some(Dimension::User | Dimension::Feature) => "r",
        _ => "g",
    };
    let name = match question.by {
        None => "NULL".to_owned(),
        by => format!("{name}.{}", column(by)),
    };
    let mut find = connection.prepare_cached(&format!(
            "SELECT r.place, {name}, g.status, g.error, g.finish, g.failed, r.attempts, r.input, r.cached, r.output, r.reasoning,
             r.cost, r.duration, r.first_event, r.overhead, r.flags
             FROM records r CROSS JOIN groups g ON g.id = r.of
             WHERE r.place >= ? AND r.place < ? AND {} AND {}",
            records.sql(),
            groups.sql()
        ))?;
    let values = [within.start, within.end].map(Value::from);
    let mut rows =
        find.query(params_from_iter(values.iter().chain(&records.values).chain(&groups.values)))?;
    while let Some(row) = rows.next()? {
        let number = |column: usize| row.get(column).map(unsigned);
        let outcome = outcome(row)?;
        let name = answer.number(row.get(1)?);
        let used = answer.at(number(0)? / 1_000_000, name);
        outcome.note(1, used);
        let (duration, first) = (number(12)?, row.get::<_, Option<i64>>(13)?.map(unsigned));
        let stream = row.get::<_, i64>(15)? & STREAM != 0;
        let output = number(9)?;
        let writing = writing_ms(output, stream, duration, first);
        used.add([1, number(6)?, number(7)?, number(8)?, output, number(10)?, number(11)?, writing]);
        used.latency.count(duration);
        if let Some(first) = first {
            used.first_event.count(first);
        }
        if let Some(overhead) = row.get::<_, Option<i64>>(14)?.map(unsigned) {
            used.overhead.count(overhead);
        }
    }
    Ok(())
}
