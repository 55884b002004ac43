use std::collections::HashMap;

use rusqlite::{Row as Found, Transaction};

use super::{
    super::{Histogram, Used, row::Row},
    database::{signed, unsigned},
    group::{Groups, Level},
};

/// Of how long a time a sum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// In the table.
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    pub(super) const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// For how many days its sums are kept.
    pub(super) const fn days(self) -> u64 {
        match self {
            Self::Minute => 8,
            Self::Hour => 93,
            Self::Day => 400,
        }
    }

    /// The beginning of the step in which a second is.
    pub(super) fn floor(self, second: u64) -> u64 {
        second - second % self.seconds()
    }

    /// The steps of which there are sums of a level.
    pub(super) fn of(level: Level) -> &'static [Self] {
        match level {
            // Users are many.
            Level::User => &Self::ALL[1..],
            _ => &Self::ALL,
        }
    }
}

/// The columns that [`read`] reads, in this order.
pub(super) const COLUMNS: &str = "requests, attempts, input, cached, output, reasoning, cost, writing_ms, latency, \
                                  first_event, overhead";

/// What some records sum up to, before it is added to what is in the file.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    /// By minute.
    minutes: HashMap<(u64, Groups), Used>,
}

impl Rollups {
    pub(super) fn add(&mut self, row: &Row<'_>, groups: Groups) {
        let minute = Step::Minute.floor(row.place / 1_000_000);
        row.add_to(self.minutes.entry((minute, groups)).or_default());
    }

    /// Writes all of it, and forgets it.
    pub(super) fn write(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut sums: HashMap<(Level, Step, u64, i64), Used> = HashMap::new();
        for ((minute, groups), used) in self.minutes.drain() {
            for (level, group) in groups.all() {
                for step in Step::of(level) {
                    let sum = sums.entry((level, *step, step.floor(minute), group)).or_default();
                    add(sum, &used, level);
                }
            }
        }
        let mut find = transaction.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM rollups WHERE level = ?1 AND step = ?2 AND at = ?3 AND of = ?4"
        ))?;
        let mut put = transaction.prepare_cached(&format!(
            "INSERT OR REPLACE INTO rollups (level, step, at, of, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        ))?;
        for ((level, step, at, group), mut used) in sums {
            let place = (level.number(), step.number(), signed(at), group);
            if let Some(found) = find.query(place)?.next()? {
                read(found, 0, &mut used)?;
            }
            put.execute((
                place.0,
                place.1,
                place.2,
                place.3,
                signed(used.requests),
                signed(used.attempts),
                signed(used.input),
                signed(used.cached),
                signed(used.output),
                signed(used.reasoning),
                signed(used.cost),
                signed(used.writing_ms),
                pack(&used.latency),
                pack(&used.first_event),
                pack(&used.overhead),
            ))?;
        }
        Ok(())
    }
}

/// Of end users, who are many, only what they used is of interest, and not how long it took.
fn add(sum: &mut Used, used: &Used, level: Level) {
    if level == Level::User {
        let none = Histogram::default;
        let used = Used { latency: none(), first_event: none(), overhead: none(), ..used.clone() };
        return sum.merge(&used);
    }
    sum.merge(used);
}

/// Adds what is in a row, from the column `first` on.
pub(super) fn read(row: &Found<'_>, first: usize, used: &mut Used) -> rusqlite::Result<()> {
    let number = |column: usize| row.get(first + column).map(unsigned);
    used.requests += number(0)?;
    used.attempts += number(1)?;
    used.input += number(2)?;
    used.cached += number(3)?;
    used.output += number(4)?;
    used.reasoning += number(5)?;
    used.cost = used.cost.saturating_add(number(6)?);
    used.writing_ms += number(7)?;
    let histograms = [&mut used.latency, &mut used.first_event, &mut used.overhead];
    for (histogram, column) in histograms.into_iter().zip(8..) {
        unpack(row.get_ref(first + column)?.as_blob()?, histogram);
    }
    Ok(())
}

/// Each bucket and its number, seven bits a byte.
fn pack(histogram: &Histogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (bucket, mut number) in histogram.buckets() {
        bytes.push(bucket);
        while number > 0x7f {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes
}

fn unpack(bytes: &[u8], histogram: &mut Histogram) {
    let mut bytes = bytes.iter();
    while let Some(bucket) = bytes.next() {
        let (mut number, mut shift) = (0, 0);
        for byte in bytes.by_ref() {
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            shift += 7;
            if *byte < 0x80 {
                break;
            }
        }
        histogram.add(*bucket, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_added_up_when_it_is_unpacked() {
        let mut histogram = Histogram::default();
        for (bucket, number) in [(0, 1), (7, 127), (8, 128), (255, 1 << 40)] {
            histogram.add(bucket, number);
        }

        let (packed, mut twice) = (pack(&histogram), histogram.clone());
        unpack(&packed, &mut twice);

        histogram.merge(&histogram.clone());
        assert_eq!(twice, histogram);
    }
}
