use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::{
    connection::{Connection, Failure},
    group::{Id, shown_to_people},
    statements::{DAYS, MARK},
};
use crate::{
    ledger::{Amounts, Day, Hold, Window, days},
    price::NanoUsd,
};

const SECONDS: i64 = 86_400;

/// What is to be added to the days of accounts: requests, cost, input and output.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<(i32, Id), (Arc<str>, [i64; 4])>);

/// The same in columns.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) days: Vec<i32>,
    pub(super) ids: Vec<Vec<u8>>,
    pub(super) accounts: Vec<String>,
    pub(super) numbers: [Vec<i64>; 4],
}

impl Sums {
    /// Counts a request on all accounts of `holds`.
    pub(super) fn add(&mut self, holds: &[Hold], day: Window, used: [u64; 3]) {
        let [cost, input, output] = used.map(stored);
        self.change(holds, day, [1, cost, input, output]);
    }

    /// Counts `used` instead of `before`, which was counted already.
    pub(super) fn correct(&mut self, holds: &[Hold], day: Window, before: [u64; 3], used: [u64; 3]) {
        let (before, used) = (before.map(stored), used.map(stored));
        self.change(holds, day, [0, used[0] - before[0], used[1] - before[1], used[2] - before[2]]);
    }

    fn change(&mut self, holds: &[Hold], day: Window, more: [i64; 4]) {
        for account in days::accounts(holds) {
            match self.0.entry((number(day), id(account))) {
                Entry::Vacant(entry) => {
                    entry.insert((account.clone(), more));
                }
                Entry::Occupied(mut entry) => {
                    let (_, sums) = entry.get_mut();
                    for (sum, more) in sums.iter_mut().zip(more) {
                        *sum = sum.saturating_add(more);
                    }
                }
            }
        }
    }

    pub(super) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for ((day, id), (account, sums)) in &self.0 {
            columns.days.push(*day);
            columns.ids.push(id.to_vec());
            columns.accounts.push(shown_to_people(account));
            for (column, sum) in columns.numbers.iter_mut().zip(sums) {
                column.push(*sum);
            }
        }
        columns
    }
}

fn id(text: &str) -> Id {
    Sha256::digest(text).into()
}

fn stored(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Which day since 1970.
fn number(Window(midnight): Window) -> i32 {
    i32::try_from(midnight.div_euclid(SECONDS)).unwrap_or(i32::MAX)
}

/// The days of an account, as far as any are remembered.
pub(super) async fn read(
    Connection { client, .. }: &Connection,
    account: &str,
    days: &RangeInclusive<Window>,
    now: SystemTime,
) -> Result<Vec<Day>, Failure> {
    // A clock that was set back hides nothing of what was written before.
    let last = Window(Day::of(now).window.0.saturating_add(SECONDS));
    let from = number(Window(days.start().0.saturating_add(SECONDS - 1)).max(Day::first(now).window));
    let until = number((*days.end()).min(last));
    let rows = client.query(DAYS, &[&id(account).as_slice(), &from, &until]).await?;
    rows.iter().map(day).collect()
}

fn day(row: &Row) -> Result<Day, Failure> {
    let amount = |index| Ok::<_, Failure>(u64::try_from(row.try_get::<_, i64>(index)?).unwrap_or(0));
    Ok(Day {
        window: Window(i64::from(row.try_get::<_, i32>(0)?) * SECONDS),
        requests: amount(1)?,
        used: Amounts { cost: NanoUsd(amount(2)?), input: amount(3)?, output: amount(4)? },
    })
}

/// Notes that something was done; says whether it was not noted before. `at` is now by another clock than the
/// server's.
pub(super) async fn mark(
    Connection { client, .. }: &Connection,
    name: &str,
    lasts: Duration,
    at: Option<u64>,
) -> Result<bool, Failure> {
    // Some thousand years are for ever.
    let lasts = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 4);
    let at = at.map(stored);
    let shown = shown_to_people(name);
    Ok(client.query_opt(MARK, &[&id(name).as_slice(), &shown, &lasts, &at]).await?.is_some())
}
