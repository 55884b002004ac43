use std::{collections::HashMap, time::SystemTime};

use rusqlite::Transaction;

use super::{
    super::{
        Day, HoldId, Measure, Period, Ticket, Window,
        books::{Books, Place},
        days::held,
    },
    database::{self, Database, signed},
    days::Sums,
    posts,
    queue::Post,
    seconds,
};
use crate::{BoxError, price::NanoUsd};

/// What a start found of requests whose outcome the process before didn't live to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many they are.
    pub requests: u64,
    /// What was held of money for them, and is charged.
    pub cost: NanoUsd,
}

/// What the process goes on with.
pub(super) struct Restored {
    pub(super) books: Books,
    /// The number of this start.
    pub(super) run: u64,
    pub(super) unfinished: Unfinished,
}

/// Reads what the processes before have left, and charges what has no outcome as it was held.
pub(super) fn restore(database: &mut Database, now: SystemTime) -> Result<Restored, BoxError> {
    let transaction = database.transaction()?;
    let run = transaction.query_row(
        "INSERT INTO runs (began) VALUES (?1) RETURNING run",
        [seconds(now)],
        |row| row.get::<_, i64>(0),
    )?;
    let mut books = Books::default();
    remember(&transaction, &mut books, now)?;
    marks(&transaction, &mut books, now)?;
    let unfinished = holds(&transaction, &mut books, now)?;
    transaction.commit()?;
    Ok(Restored { books, run: u64::try_from(run)?, unfinished })
}

/// Balances that still count.
fn remember(transaction: &Transaction<'_>, books: &mut Books, now: SystemTime) -> Result<(), BoxError> {
    let mut periods = transaction.prepare("SELECT DISTINCT period FROM balances")?;
    // The latest window first: a clock that was set back opens none that has passed.
    let mut counting = transaction.prepare(
        "SELECT account, measure, window, posted FROM balances WHERE period = ?1 AND window >= ?2
         ORDER BY window DESC",
    )?;
    let mut names = periods.query([])?;
    while let Some(row) = names.next()? {
        let name: String = row.get(0)?;
        let period: Period = name.parse()?;
        let mut rows = counting.query((&name, period.counts_from(now).0))?;
        while let Some(row) = rows.next()? {
            let (account, measure): (String, String) = (row.get(0)?, row.get(1)?);
            let measure = Measure::named(&measure).ok_or_else(|| format!("`{measure}` is not counted"))?;
            let place = Place { account: account.into(), measure, period };
            books.remember(place, Window(row.get(2)?), row.get::<_, i64>(3)?.unsigned_abs(), now);
        }
    }
    Ok(())
}

/// What was done once, as long as that is to be remembered.
fn marks(transaction: &Transaction<'_>, books: &mut Books, now: SystemTime) -> Result<(), BoxError> {
    transaction.execute("DELETE FROM marks WHERE until <= ?1", [seconds(now)])?;
    let mut marks = transaction.prepare("SELECT name, until FROM marks")?;
    let mut rows = marks.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        books.marks.make(&name, Window(row.get(1)?).began(), now);
    }
    Ok(())
}

/// Holds without an outcome: kept ones stay, others are charged and written down as such.
fn holds(transaction: &Transaction<'_>, books: &mut Books, now: SystemTime) -> Result<Unfinished, BoxError> {
    let mut unfinished = Unfinished::default();
    let mut sums: HashMap<Post, u64> = HashMap::new();
    let mut days = Sums::default();
    let mut left = transaction.prepare("SELECT run, number, made, scopes, kept_as FROM holds")?;
    let mut mark = transaction.prepare(
        "INSERT INTO unfinished (run, number, made, scopes, usd, charged) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut end = transaction.prepare("DELETE FROM holds WHERE run = ?1 AND number = ?2")?;
    let mut rows = left.query([])?;
    let mut charged = Vec::new();
    while let Some(row) = rows.next()? {
        let (node, number): (i64, i64) = (row.get(0)?, row.get(1)?);
        let id = HoldId { node: node.unsigned_abs(), number: number.unsigned_abs() };
        let mut ticket = Ticket::new(id, 0);
        let scopes: String = row.get(3)?;
        ticket.holds = serde_json::from_str(&scopes)?;
        books.restore(&ticket, now);
        let ticket = match row.get::<_, Option<String>>(4)? {
            Some(name) => match books.keep(ticket, &name) {
                Ok(()) => continue,
                Err(ticket) => ticket,
            },
            None => ticket,
        };
        days.add(&ticket.holds, &Day::one(held(&ticket.holds), now));
        for (post, amount) in posts(books, &ticket, ticket.held(), now) {
            let sum = sums.entry(post).or_default();
            *sum = sum.saturating_add(amount);
        }
        // The same on every account that counts it.
        let cost = held(&ticket.holds).cost.0;
        unfinished.requests += 1;
        unfinished.cost = NanoUsd(unfinished.cost.0.saturating_add(cost));
        mark.execute((node, number, row.get::<_, i64>(2)?, scopes, signed(cost), seconds(now)))?;
        charged.push((node, number));
    }
    for id in charged {
        end.execute(id)?;
    }
    database::post(transaction, &sums)?;
    days.write(transaction)?;
    Ok(unfinished)
}
