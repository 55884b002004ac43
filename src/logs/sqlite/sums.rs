use std::{
    collections::{BTreeMap, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    super::{
        Dimension, Filter, Histogram, Question, Status, Sum, Used,
        row::{has_failed, writing_ms},
    },
    condition::Condition,
    database::{signed, unsigned},
    find::places,
    group::Level,
    rollup::{COLUMNS, Step, read},
    write::STREAM,
};
use crate::BoxError;

pub(super) fn sums(
    connection: &Connection,
    question: &Question,
    now: SystemTime,
) -> Result<Vec<Sum>, BoxError> {
    let (from, until) = (seconds(question.span.from), seconds(question.span.until));
    let step = question.step.map(|step| step.as_secs().div_ceil(60).max(1) * 60);
    let mut sums = Sums { step, from, names: Names::default(), sums: BTreeMap::new() };
    let Some(level) = level(question) else {
        sums.add_records(connection, question)?;
        return Ok(sums.finish());
    };
    let pieces = pieces(from, until, step, level, seconds(now));
    // Both parts are of the same moment.
    let snapshot = connection.unchecked_transaction()?;
    sums.add_pieces(&snapshot, question, level, &pieces)?;
    if let Some((whole, level)) = whole(question) {
        let mut all = Sums { step, from, names: Names::default(), sums: BTreeMap::new() };
        all.add_pieces(&snapshot, &whole, level, &pieces)?;
        sums.add_nameless(all, question.by == Some(Dimension::User));
    }
    Ok(sums.finish())
}

/// The level with the fewest groups that tells apart all that is asked for; `None` if only records do.
fn level(question: &Question) -> Option<Level> {
    let Filter { key, team, customer, user, session, trace, model, target, provider, status, tag, .. } =
        &question.filter;
    let is_feature = tag.as_ref().is_some_and(|(name, _)| **name == *"feature");
    // End users are told apart without their times.
    if user.is_some() || session.is_some() || trace.is_some() || (tag.is_some() && !is_feature) {
        return None;
    }
    let by = |dimensions: &[Dimension]| question.by.is_some_and(|by| dimensions.contains(&by));
    let who = [key, team, customer].iter().any(|name| name.is_some())
        || by(&[Dimension::Key, Dimension::Team, Dimension::Customer]);
    let what = [model, target, provider].iter().any(|name| name.is_some())
        || matches!(status, Some(Status::Failed | Status::Refused))
        || by(&[Dimension::Model, Dimension::Target, Dimension::Provider]);
    let of_feature = is_feature || by(&[Dimension::Feature]);
    Some(match (by(&[Dimension::User]), of_feature, who, what) {
        (true, false, _, false) => Level::User,
        (true, ..) => return None,
        (_, true, ..) => Level::Feature,
        (_, _, true, true) => Level::Full,
        (_, _, true, false) => Level::Who,
        (_, _, false, true) => Level::What,
        (_, _, false, false) => Level::All,
    })
}

/// The question for all together, and its level, where the sums of a question leave out what has no name.
fn whole(question: &Question) -> Option<(Question, Level)> {
    let is_named = matches!(question.by, Some(Dimension::User | Dimension::Feature));
    let whole = Question { by: None, ..question.clone() };
    let level = level(&whole).filter(|level| is_named && *level != Level::Feature)?;
    Some((whole, level))
}

/// What is to be known of a group when its sums are added up.
struct Group {
    /// The number of its name.
    name: usize,
    outcome: Outcome,
}

/// Numbers of names, which are quicker to look up.
#[derive(Default)]
struct Names {
    numbers: HashMap<Option<Box<str>>, usize>,
}

impl Names {
    fn number(&mut self, name: Option<Box<str>>) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name).or_insert(next)
    }
}

/// How the records of a group came out.
struct Outcome {
    has_failed: bool,
    error: Option<Box<str>>,
    finish: Option<Box<str>>,
}

impl Outcome {
    fn note(&self, requests: u64, used: &mut Used) {
        if self.has_failed {
            used.errors += requests;
        }
        if let Some(error) = &self.error {
            *used.error_kinds.entry(error.clone()).or_default() += requests;
        }
        if let Some(finish) = &self.finish {
            *used.finish_reasons.entry(finish.clone()).or_default() += requests;
        }
    }
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
    names: &mut Names,
) -> rusqlite::Result<HashMap<i64, Group>> {
    let condition = Condition::groups(&question.filter, level);
    let mut find = connection.prepare_cached(&format!(
        "SELECT id, {}, status, error, finish FROM groups WHERE level = {} AND {}",
        column(question.by),
        level.number(),
        condition.sql()
    ))?;
    let found = find.query_map(params_from_iter(&condition.values), |row| {
        let (status, error): (Option<u16>, Option<Box<str>>) = (row.get(2)?, row.get(3)?);
        let outcome =
            Outcome { has_failed: has_failed(status, error.as_deref()), error, finish: row.get(4)? };
        Ok((row.get(0)?, Group { name: names.number(row.get(1)?), outcome }))
    })?;
    found.collect()
}

/// Sums of one step within a part of the span.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    step: Step,
    from: u64,
    until: u64,
}

/// What a span is put together from: as many long steps as fit, and short ones at the edges.
fn pieces(from: u64, until: u64, step: Option<u64>, level: Level, now: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut edge = u64::MAX;
    // What is older than the sums of a step is read from those of the next longer one.
    for finest in Step::of(level) {
        let oldest = Step::Day.floor(now.saturating_sub(finest.days() * Step::Day.seconds()));
        let (from, until) = (from.max(oldest), until.min(edge));
        if from < until {
            let until = if until == edge { until } else { ceil(*finest, until) };
            cover(finest.floor(from), until, step, *finest, Step::Day, &mut pieces);
        }
        edge = oldest;
    }
    pieces
}

fn ceil(step: Step, second: u64) -> u64 {
    second.next_multiple_of(step.seconds())
}

fn cover(from: u64, until: u64, step: Option<u64>, finest: Step, longest: Step, pieces: &mut Vec<Piece>) {
    if from >= until {
        return;
    }
    let shorter = match longest {
        _ if longest == finest => return pieces.push(Piece { step: finest, from, until }),
        Step::Day => Step::Hour,
        _ => Step::Minute,
    };
    let (begin, end) = (ceil(longest, from), longest.floor(until));
    if begin >= end || step.is_some_and(|step| !step.is_multiple_of(longest.seconds())) {
        return cover(from, until, step, finest, shorter, pieces);
    }
    cover(from, begin, step, finest, shorter, pieces);
    pieces.push(Piece { step: longest, from: begin, until: end });
    cover(end, until, step, finest, shorter, pieces);
}

struct Sums {
    step: Option<u64>,
    from: u64,
    names: Names,
    /// By the beginning of their step, and by the number of their name.
    sums: BTreeMap<u64, HashMap<usize, Used>>,
}

impl Sums {
    /// The one to which a second belongs.
    fn at(&mut self, second: u64, name: usize) -> &mut Used {
        let at = self.step.map_or(self.from, |step| second - second % step);
        self.sums.entry(at).or_default().entry(name).or_default()
    }

    fn add_pieces(
        &mut self,
        connection: &Connection,
        question: &Question,
        level: Level,
        pieces: &[Piece],
    ) -> rusqlite::Result<()> {
        let groups = groups(connection, question, level, &mut self.names)?;
        pieces.iter().try_for_each(|piece| self.add_rollups(connection, level, piece, &groups))
    }

    /// Adds what has no name: what is left of `all` without those that have one.
    fn add_nameless(&mut self, all: Self, is_timeless: bool) {
        let none = self.names.number(None);
        for (at, whole) in all.sums {
            let mut rest = whole.into_values().fold(Used::default(), |mut sum, used| {
                sum.merge(&used);
                sum
            });
            if is_timeless {
                (rest.latency, rest.first_event, rest.overhead) = Default::default();
            }
            let sums = self.sums.entry(at).or_default();
            sums.remove(&none);
            sums.values().for_each(|named| take_away(&mut rest, named));
            if rest.requests > 0 {
                sums.insert(none, rest);
            }
        }
    }

    fn add_rollups(
        &mut self,
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
            let used = self.at(unsigned(row.get(0)?), group.name);
            let before = used.requests;
            read(row, 2, used)?;
            group.outcome.note(used.requests - before, used);
        }
        Ok(())
    }

    /// What no rollup tells apart is summed up from the records themselves.
    fn add_records(&mut self, connection: &Connection, question: &Question) -> rusqlite::Result<()> {
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
            "SELECT r.place, {name}, g.status, g.error, g.finish, r.attempts, r.input, r.cached, r.output, r.reasoning,
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
            let (status, error): (Option<u16>, Option<Box<str>>) = (row.get(2)?, row.get(3)?);
            let outcome =
                Outcome { has_failed: has_failed(status, error.as_deref()), error, finish: row.get(4)? };
            let name = self.names.number(row.get(1)?);
            let used = self.at(number(0)? / 1_000_000, name);
            outcome.note(1, used);
            used.requests += 1;
            used.attempts += number(5)?;
            used.input += number(6)?;
            used.cached += number(7)?;
            used.output += number(8)?;
            used.reasoning += number(9)?;
            used.cost = used.cost.saturating_add(number(10)?);
            let (duration, first) = (number(11)?, row.get::<_, Option<i64>>(12)?.map(unsigned));
            let stream = row.get::<_, i64>(14)? & STREAM != 0;
            used.writing_ms += writing_ms(number(8)?, stream, duration, first);
            used.latency.count(duration);
            if let Some(first) = first {
                used.first_event.count(first);
            }
            if let Some(overhead) = row.get::<_, Option<i64>>(13)?.map(unsigned) {
                used.overhead.count(overhead);
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<Sum> {
        let mut names: Vec<_> = self.names.numbers.into_iter().collect();
        names.sort_unstable();
        let mut sums = Vec::new();
        for (at, mut of) in self.sums {
            let named = names.iter().filter_map(|(name, number)| Some((name, of.remove(number)?)));
            sums.extend(named.map(|(name, used)| Sum { at_ms: at * 1000, name: name.clone(), used }));
        }
        sums
    }
}

/// Takes a part away from what it is a part of.
fn take_away(from: &mut Used, part: &Used) {
    for (number, less) in [
        (&mut from.requests, part.requests),
        (&mut from.errors, part.errors),
        (&mut from.attempts, part.attempts),
        (&mut from.input, part.input),
        (&mut from.cached, part.cached),
        (&mut from.output, part.output),
        (&mut from.reasoning, part.reasoning),
        (&mut from.cost, part.cost),
        (&mut from.writing_ms, part.writing_ms),
    ] {
        *number = number.saturating_sub(less);
    }
    for (histogram, less) in [
        (&mut from.latency, &part.latency),
        (&mut from.first_event, &part.first_event),
        (&mut from.overhead, &part.overhead),
    ] {
        let less: HashMap<u8, u64> = less.buckets().collect();
        let mut rest = Histogram::default();
        for (bucket, number) in histogram.buckets() {
            let number = number.saturating_sub(less.get(&bucket).copied().unwrap_or_default());
            if number > 0 {
                rest.add(bucket, number);
            }
        }
        *histogram = rest;
    }
    for (names, less) in
        [(&mut from.error_kinds, &part.error_kinds), (&mut from.finish_reasons, &part.finish_reasons)]
    {
        for (name, number) in names.iter_mut() {
            *number = number.saturating_sub(less.get(name).copied().unwrap_or_default());
        }
        names.retain(|_, number| *number > 0);
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
