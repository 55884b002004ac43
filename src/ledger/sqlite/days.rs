use std::{collections::HashMap, ops::RangeInclusive, sync::Arc, time::SystemTime};

use rusqlite::{OptionalExtension, Transaction};

use super::{
    super::{Amounts, Day, Hold, Window, days::accounts},
    database::signed,
};
use crate::price::NanoUsd;

/// What is to be added to the days of accounts.
#[derive(Debug, Default)]
pub(super) struct Sums(HashMap<(Window, Arc<str>), Day>);

impl Sums {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn add(&mut self, holds: &[Hold], one: &Day) {
        for account in accounts(holds) {
            let of_none = Day { window: one.window, ..Day::default() };
            self.0.entry((one.window, account.clone())).or_insert(of_none).add(one);
        }
    }

    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        // A sum that overflows would become a floating point number.
        let mut add = transaction.prepare_cached(
            "INSERT INTO days (day, account, requests, usd, input, output) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET
             requests = min(requests, 9223372036854775807 - excluded.requests) + excluded.requests,
             usd = min(usd, 9223372036854775807 - excluded.usd) + excluded.usd,
             input = min(input, 9223372036854775807 - excluded.input) + excluded.input,
             output = min(output, 9223372036854775807 - excluded.output) + excluded.output",
        )?;
        for ((window, account), Day { requests, used, .. }) in &self.0 {
            let Amounts { cost, input, output } = used;
            let numbers = [*requests, cost.0, *input, *output].map(signed);
            add.execute((window.0, &**account, numbers[0], numbers[1], numbers[2], numbers[3]))?;
        }
        Ok(())
    }
}

/// The days of an account, one lookup for each: there are many more accounts than days.
pub(super) fn read(
    transaction: &Transaction<'_>,
    account: &str,
    days: RangeInclusive<Window>,
    now: SystemTime,
) -> rusqlite::Result<Vec<Day>> {
    let mut ask = transaction
        .prepare_cached("SELECT requests, usd, input, output FROM days WHERE day = ?1 AND account = ?2")?;
    let number = |row: &rusqlite::Row<'_>, index| row.get::<_, i64>(index).map(i64::unsigned_abs);
    // A clock that was set back hides nothing of what was written before.
    let from = days.start().0.max(Day::first(now).window.0);
    let until = days.end().0.min(Day::of(now).window.0.saturating_add(86_400));
    let mut found = Vec::new();
    for day in (from..=until).step_by(86_400) {
        let read = ask.query_row((day, account), |row| {
            let (input, output) = (number(row, 2)?, number(row, 3)?);
            let used = Amounts { cost: NanoUsd(number(row, 1)?), input, output };
            Ok(Day { window: Window(day), requests: number(row, 0)?, used })
        });
        found.extend(read.optional()?);
    }
    Ok(found)
}

/// Forgets the days that nobody is told any more.
pub(super) fn forget(transaction: &Transaction<'_>, now: SystemTime) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM days WHERE day < ?1", [Day::first(now).window.0]).map(drop)
}
