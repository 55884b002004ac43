use std::collections::HashMap;

use super::{
    super::{Histogram, Used, row::Row},
    Groups, Level, Step,
};

/// Of what a sum is: the level and the step, the second that it begins with, and the group.
pub(in crate::logs) type Slot = (Level, Step, u64, i64);

/// What some records sum up to, before it is added to what a store has.
#[derive(Debug, Default)]
pub(in crate::logs) struct Rollups {
    /// By minute.
    minutes: HashMap<(u64, Groups), Used>,
}

impl Rollups {
    pub(in crate::logs) fn add(&mut self, row: &Row<'_>, groups: Groups) {
        let minute = Step::Minute.floor(row.place / 1_000_000);
        row.add_to(self.minutes.entry((minute, groups)).or_default());
    }

    /// Takes all of it, as it is to be written.
    pub(in crate::logs) fn take(&mut self) -> HashMap<Slot, Used> {
        let mut sums: HashMap<Slot, Used> = HashMap::new();
        for ((minute, groups), used) in self.minutes.drain() {
            for (level, group) in groups.all() {
                for step in Step::of(level) {
                    let sum = sums.entry((level, *step, step.floor(minute), group)).or_default();
                    add(sum, &used, level);
                }
            }
        }
        sums
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
