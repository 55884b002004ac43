use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Amounts, Hold, Measure, Window};
use crate::{hashing::Map, price::NanoUsd};

/// How many days are remembered, today included.
pub const REMEMBERED: u32 = 400;
/// The most days of accounts that are kept in memory.
const MOST: usize = 500_000;

const SECONDS: u64 = 86_400;

/// What was settled on an account on one day, in UTC: that of the end of a request, not of its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// The midnight with which it began.
    pub window: Window,
    /// How many requests.
    pub requests: u64,
    /// What they used.
    pub used: Amounts,
}

impl Day {
    /// No request, on the day of `at`.
    pub fn of(at: SystemTime) -> Self {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let began = i64::try_from(seconds - seconds % SECONDS).unwrap_or(i64::MAX);
        Self { window: Window(began), ..Self::default() }
    }

    /// The first of the days that are remembered at `now`.
    pub fn first(now: SystemTime) -> Self {
        let back = Duration::from_secs(u64::from(REMEMBERED - 1) * SECONDS);
        Self::of(now.checked_sub(back).unwrap_or(UNIX_EPOCH))
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        let Amounts { cost, input, output } = &mut self.used;
        self.requests = self.requests.saturating_add(other.requests);
        *cost = NanoUsd(cost.0.saturating_add(other.used.cost.0));
        *input = input.saturating_add(other.used.input);
        *output = output.saturating_add(other.used.output);
    }

    /// One request that ends now.
    pub(super) fn one(used: Amounts, now: SystemTime) -> Self {
        Self { requests: 1, used, ..Self::of(now) }
    }
}

/// Money is dollars, as a decimal text.
impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let day = Timestamp::from_second(self.window.0).map(|at| at.strftime("%Y-%m-%d").to_string());
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("day", &day.unwrap_or_default())?;
        map.serialize_entry("requests", &self.requests)?;
        map.serialize_entry("input", &self.used.input)?;
        map.serialize_entry("output", &self.used.output)?;
        map.serialize_entry("usd", &self.used.cost)?;
        map.end()
    }
}

/// What the names of accounts begin with of which no days are remembered.
pub(crate) const UNREMEMBERED: &str = "loop:";

/// The accounts of some holds whose days are remembered, each once.
pub(super) fn accounts(holds: &[Hold]) -> impl Iterator<Item = &Arc<str>> {
    let is_first = |(index, hold): &(usize, &Hold)| {
        !hold.account.starts_with(UNREMEMBERED)
            && holds[..*index].iter().rev().all(|before| before.account != hold.account)
    };
    holds.iter().enumerate().filter(is_first).map(|(_, hold)| &hold.account)
}

/// What a request uses that is charged as it was held, as far as it was held.
pub(super) fn held(holds: &[Hold]) -> Amounts {
    let most = |measure| {
        let of = holds.iter().filter(|hold| hold.measure == measure).map(|hold| hold.amount);
        of.max().unwrap_or_default()
    };
    Amounts { cost: NanoUsd(most(Measure::Usd)), input: most(Measure::Input), output: most(Measure::Output) }
}

/// Days in memory. When there are too many, the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Days {
    days: BTreeMap<Window, Map<Arc<str>, Day>>,
    count: usize,
}

impl Days {
    pub(super) fn add(&mut self, holds: &[Hold], one: &Day) {
        let today = self.days.entry(one.window).or_default();
        for account in accounts(holds) {
            let has_room = today.len() < MOST;
            match today.get_mut(account) {
                Some(day) => day.add(one),
                // Clients choose users as they like.
                None if !has_room => {}
                None => {
                    today.insert(account.clone(), *one);
                    self.count += 1;
                }
            }
        }
        while self.days.len() > 1 && (self.count > MOST || self.days.len() > REMEMBERED as usize) {
            self.count -= self.days.pop_first().map_or(0, |(_, accounts)| accounts.len());
        }
    }

    pub(super) fn of(&self, account: &str, days: RangeInclusive<Window>) -> Vec<Day> {
        if days.is_empty() {
            return Vec::new();
        }
        self.days.range(days).filter_map(|(_, accounts)| accounts.get(account).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Period;

    fn hold(account: &str, measure: Measure, amount: u64) -> Hold {
        Hold { account: account.into(), measure, period: Period::Total, window: Window(0), amount }
    }

    #[test]
    fn an_account_with_several_quotas_is_counted_once() {
        let holds = [hold("a", Measure::Usd, 5), hold("b", Measure::Usd, 5), hold("a", Measure::Input, 3)];

        assert_eq!(accounts(&holds).map(|account| &**account).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(held(&holds), Amounts { cost: NanoUsd(5), input: 3, output: 0 });
    }

    #[test]
    fn of_what_is_counted_for_a_while_no_days_are_remembered() {
        let holds = [hold("loop:0", Measure::Input, 1), hold("a", Measure::Usd, 5)];

        assert_eq!(accounts(&holds).map(|account| &**account).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_day_begins_at_midnight_and_the_first_is_not_the_last() {
        let now = "2026-11-21T23:59:59Z".parse::<Timestamp>().unwrap().into();

        let shown = |day: Day| serde_json::to_value(day).unwrap()["day"].clone();

        assert_eq!([shown(Day::of(now)), shown(Day::first(now))], ["2026-11-21", "2025-10-18"]);
        assert_eq!(Day::of(now).window, Period::Day.window(now).0);
    }

    #[test]
    fn too_many_days_are_forgotten_from_the_oldest_on() {
        let mut days = Days::default();
        let holds = [hold("a", Measure::Usd, 5)];

        for number in 0..500 {
            let at = UNIX_EPOCH + Duration::from_secs(number * SECONDS + 5);
            days.add(&holds, &Day::one(Amounts::default(), at));
        }

        let all = days.of("a", Window(0)..=Window(i64::MAX));
        assert_eq!((all.len(), all[0].window), (400, Window(100 * 86_400)));
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = days.of("a", Window(9)..=Window(0));
        assert!(backwards.is_empty());
    }
}
