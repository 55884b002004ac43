use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, Row as Found};

use super::{
    super::{
        Dimension, Question, Span, Sum, Used,
        rollup::{Answer, Level, Outcome, Piece, level, pieces, seconds, step_of, unpack, whole},
    },
    condition::Condition,
    records,
    rollup::{HISTOGRAMS, NUMBERS},
    session::Session,
    unsigned,
};
use crate::BoxError;

pub(super) async fn sums(
    session: &Session,
    question: &Question,
    now: SystemTime,
) -> Result<Vec<Sum>, BoxError> {
    let mut answer = Answer::new(question);
    let client = &session.client;
    // All parts are of the same moment. A session in which something fails is not used again.
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    match level(question) {
        None => records::add(&mut answer, client, question).await?,
        Some(level) => add(&mut answer, session, question, level, now).await?,
    }
    client.batch_execute("COMMIT").await?;
    Ok(answer.finish())
}

/// Adds sums that were made when the records came, and of those that came before there were any.
async fn add(
    answer: &mut Answer,
    session: &Session,
    question: &Question,
    level: Level,
    now: SystemTime,
) -> Result<(), BoxError> {
    let Span { from, until } = question.span;
    let since = UNIX_EPOCH + Duration::from_secs(session.sums_since);
    let pieces = pieces(seconds(from.max(since)), seconds(until), step_of(question), level, seconds(now));
    add_pieces(answer, &session.client, question, level, &pieces).await?;
    if let Some((whole, level)) = whole(question) {
        let mut all = Answer::new(&whole);
        add_pieces(&mut all, &session.client, &whole, level, &pieces).await?;
        answer.add_nameless(all, question.by == Some(Dimension::User));
    }
    if from < since {
        let before = Question { span: Span { from, until: until.min(since) }, ..question.clone() };
        records::add(answer, &session.client, &before).await?;
    }
    Ok(())
}

async fn add_pieces(
    answer: &mut Answer,
    client: &Client,
    question: &Question,
    level: Level,
    pieces: &[Piece],
) -> Result<(), BoxError> {
    if pieces.is_empty() {
        return Ok(());
    }
    let condition = Condition::of_groups(&question.filter, level);
    let sql = summed(question, level, pieces, &condition);
    for row in client.query(&sql, &condition.values()).await? {
        read(answer, &row)?;
    }
    Ok(())
}

/// Sums with the names of their groups and how the records of these came out.
fn summed(question: &Question, level: Level, pieces: &[Piece], condition: &Condition) -> String {
    let at = step_of(question).map_or_else(|| "0::bigint".to_owned(), |step| format!("at / {step} * {step}"));
    let name = question.by.map_or("NULL::text".to_owned(), |by| format!("g.{}", column(by)));
    let most = i64::MAX;
    let numbers =
        NUMBERS.map(|column| format!("least(sum({column}), {most})::bigint AS {column}")).join(", ");
    let histograms =
        HISTOGRAMS.map(|column| format!("string_agg({column}, ''::bytea) AS {column}")).join(", ");
    let columns = NUMBERS.iter().chain(&HISTOGRAMS).map(|column| format!("s.{column}"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let within = match condition.is_empty() {
        true => String::new(),
        false => format!("WHERE group_id IN (SELECT g.id FROM groups g WHERE {})", condition.sql()),
    };
    let pieces = pieces.iter().map(|Piece { step, from, until }| {
        let (level, step) = (level.number(), step.number());
        format!(
            "SELECT * FROM sums WHERE level = {level} AND step = {step} AND at >= {from} AND at < {until}"
        )
    });
    let pieces = pieces.collect::<Vec<_>>().join(" UNION ALL ");
    // By numbers and not by names, which are slower to sort.
    format!(
        "SELECT s.begun, {name}, (g.error IS NOT NULL OR g.status >= 400) IS TRUE, g.failed, g.error, g.finish,
             {columns}
         FROM (
             SELECT {at} AS begun, group_id, {numbers}, {histograms} FROM ({pieces}) s {within} GROUP BY 1, 2
         ) s JOIN groups g ON g.id = s.group_id"
    )
}

/// The column of a dimension.
pub(super) fn column(by: Dimension) -> &'static str {
    match by {
        Dimension::Key => "key",
        Dimension::Team => "team",
        Dimension::Customer => "customer",
        Dimension::User => "end_user",
        Dimension::Feature => "feature",
        Dimension::Model => "model",
        Dimension::Target => "target",
        Dimension::Provider => "provider",
    }
}

fn read(answer: &mut Answer, row: &Found) -> Result<(), BoxError> {
    let number = |column: usize| row.try_get(column).map(unsigned);
    let text = |column: usize| row.try_get::<_, Option<&str>>(column).map(|text| text.map(Box::from));
    let outcome =
        Outcome { is_error: row.try_get(2)?, failed: row.try_get(3)?, error: text(4)?, finish: text(5)? };
    let name = answer.number(text(1)?);
    let used: &mut Used = answer.at(number(0)?, name);
    let requests = number(6)?;
    outcome.note(requests, used);
    used.add([
        requests,
        number(7)?,
        number(8)?,
        number(9)?,
        number(10)?,
        number(11)?,
        number(12)?,
        number(13)?,
    ]);
    for (histogram, column) in
        [&mut used.latency, &mut used.first_event, &mut used.overhead].into_iter().zip(14..)
    {
        unpack(row.try_get(column)?, histogram);
    }
    Ok(())
}
