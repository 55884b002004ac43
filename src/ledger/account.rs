use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Balance, Period, Quota, Shape, Window};

/// What was used of one measure, and what is held of it.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "postgres", derive(serde::Deserialize, serde::Serialize))]
pub(super) struct Account {
    used: Used,
    held: u64,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "postgres", derive(serde::Deserialize, serde::Serialize))]
enum Used {
    /// What was used since the window began; the next one begins at `next`.
    Calendar { period: Period, window: Window, next: Option<SystemTime>, sum: u64 },
    /// What is not given back yet, in parts of the unit, as of a moment; all of it is in the whole seconds `of`.
    Bucket { of: Duration, limit: u64, parts: u128, at: Duration },
    /// What was used in each step that still counts, oldest first.
    Rolling { step: i64, steps: i64, sums: VecDeque<(i64, u64)> },
}

/// Into how many parts a unit is divided where it is given back bit by bit.
const PARTS: u64 = 1_000_000_000;

/// Why something is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    /// What is left.
    pub(super) left: u64,
    /// When it is worth asking again; `None` if that can't be told.
    pub(super) again: Option<SystemTime>,
}

impl Account {
    pub(super) fn new(period: Period, now: SystemTime) -> Self {
        let used = match period.shape() {
            Shape::Calendar => {
                let (window, next) = period.window(now);
                Used::Calendar { period, window, next, sum: 0 }
            }
            Shape::Bucket(of) => Used::Bucket { of, limit: 0, parts: 0, at: since_epoch(now) },
            Shape::Rolling { step, steps } => Used::Rolling { step, steps, sums: VecDeque::new() },
        };
        Self { used, held: 0 }
    }

    /// Forgets what no longer counts. A clock that is set back brings nothing back.
    fn turn(&mut self, now: SystemTime) {
        match &mut self.used {
            Used::Calendar { period, window, next, sum } => {
                if next.is_some_and(|next| now >= next) {
                    (*window, *next) = period.window(now);
                    (*sum, self.held) = (0, 0);
                }
            }
            Used::Bucket { of, limit, parts, at } => {
                let now = since_epoch(now);
                if *parts > 0 {
                    // There are as many parts in a unit as nanoseconds in a second.
                    let passed = now.saturating_sub(*at).as_nanos();
                    let given_back = divided(passed.saturating_mul((*limit).into()), of.as_secs());
                    *parts = parts.saturating_sub(given_back);
                }
                *at = now.max(*at);
            }
            Used::Rolling { step, steps, sums } => {
                let first = current(*step, now) - *steps;
                while sums.front().is_some_and(|(at, _)| *at < first) {
                    sums.pop_front();
                }
            }
        }
    }

    fn used(&self) -> u64 {
        match &self.used {
            Used::Calendar { sum, .. } => *sum,
            Used::Bucket { parts, .. } => u64::try_from(divided_up(*parts, PARTS)).unwrap_or(u64::MAX),
            Used::Rolling { sums, .. } => sums.iter().fold(0, |sum, (_, more)| sum.saturating_add(*more)),
        }
    }

    /// Holds `amount`, if there is as much left under `quota` or it only watches.
    pub(super) fn hold(
        &mut self,
        quota: Option<Quota>,
        amount: u64,
        now: SystemTime,
    ) -> Result<Window, Short> {
        self.turn(now);
        if let (Used::Bucket { limit, .. }, Some(quota)) = (&mut self.used, quota) {
            *limit = quota.limit;
        }
        if let Some(quota) = quota.filter(|quota| !quota.shadow)
            && let Some(short) = self.short(quota, amount)
        {
            return Err(short);
        }
        self.held = self.held.saturating_add(amount);
        Ok(self.window())
    }

    /// What is lacking for `amount`, as of the last turn.
    fn short(&self, quota: Quota, amount: u64) -> Option<Short> {
        let left = self.left(quota.limit);
        // Who has overspent gets nothing more, not even what is free.
        let is_over = self.used() > quota.limit;
        (left < amount || is_over).then(|| Short { left, again: self.again(quota.limit, amount) })
    }

    /// What is left of `limit`, as of the last turn.
    pub(super) fn left(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.used()).saturating_sub(self.held)
    }

    /// Whether more is used and held than `limit`, as of the last turn.
    pub(super) fn exceeds(&self, limit: u64) -> bool {
        self.used().saturating_add(self.held) > limit
    }

    /// When `amount` is granted if nothing else is asked for in the meantime.
    pub(super) fn again(&self, limit: u64, amount: u64) -> Option<SystemTime> {
        if amount > limit {
            return None;
        }
        match &self.used {
            Used::Calendar { next, .. } => *next,
            Used::Bucket { of, parts, at, .. } => {
                let wanted = parts_of(self.held.saturating_add(amount)) + parts;
                let lacking = wanted.saturating_sub(parts_of(limit));
                let nanos = divided_up(lacking.saturating_mul(of.as_secs().into()), limit.max(1));
                UNIX_EPOCH.checked_add(*at)?.checked_add(nanos_of(nanos))
            }
            Used::Rolling { step, steps, sums } => {
                let mut lacking = self.used().saturating_add(self.held).saturating_add(amount) - limit;
                let given_back = sums.iter().find(|(_, sum)| {
                    lacking = lacking.saturating_sub(*sum);
                    lacking == 0
                });
                let (at, _) = given_back?;
                UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from((at + steps + 1) * step).ok()?))
            }
        }
    }

    /// Replaces a hold of `window` by what was used, and says in which window that counts.
    pub(super) fn settle(&mut self, window: Window, held: u64, actual: u64, now: SystemTime) -> Window {
        self.turn(now);
        match &mut self.used {
            Used::Calendar { window: current, sum, .. } => {
                if *current == window {
                    self.held = self.held.saturating_sub(held);
                    *sum = sum.saturating_add(actual);
                }
                window
            }
            Used::Bucket { parts, .. } => {
                self.held = self.held.saturating_sub(held);
                *parts = parts.saturating_add(parts_of(actual));
                window
            }
            Used::Rolling { step, .. } => {
                let window = Window(current(*step, now) * *step);
                self.held = self.held.saturating_sub(held);
                self.post(window, actual);
                window
            }
        }
    }

    /// Counts what was used in `window`, as a store remembers it.
    pub(super) fn post(&mut self, in_window: Window, amount: u64) {
        match &mut self.used {
            Used::Calendar { window, sum, .. } if *window == in_window => *sum = sum.saturating_add(amount),
            Used::Rolling { step, sums, .. } if amount > 0 => {
                let at = in_window.0 / *step;
                let index = sums.partition_point(|(other, _)| *other < at);
                match sums.get_mut(index).filter(|(other, _)| *other == at) {
                    Some((_, sum)) => *sum = sum.saturating_add(amount),
                    None => sums.insert(index, (at, amount)),
                }
            }
            _ => {}
        }
    }

    /// Counts what was used and never held, in the window that is the current one.
    #[cfg(feature = "postgres")]
    pub(super) fn charge(&mut self, used: u64, now: SystemTime) {
        self.turn(now);
        self.settle(self.window(), 0, used, now);
    }

    /// Counts `used` in place of what was charged in `window` before.
    #[cfg(feature = "postgres")]
    pub(super) fn correct(&mut self, in_window: Window, charged: u64, used: u64, now: SystemTime) {
        self.turn(now);
        let corrected = |sum: u64| sum.saturating_sub(charged).saturating_add(used);
        match &mut self.used {
            Used::Calendar { window, sum, .. } if *window == in_window => *sum = corrected(*sum),
            Used::Calendar { .. } => {}
            Used::Bucket { parts, .. } => {
                let less = parts.saturating_sub(parts_of(charged));
                *parts = less.saturating_add(parts_of(used));
            }
            Used::Rolling { step, sums, .. } => {
                let at = in_window.0 / *step;
                match sums.iter_mut().find(|(other, _)| *other == at) {
                    Some((_, sum)) => *sum = corrected(*sum),
                    None => self.post(in_window, used),
                }
            }
        }
    }

    /// From when on forgetting it changes nothing, if nothing else happens; `None` is never.
    #[cfg(feature = "postgres")]
    pub(super) fn idle_from(&self, now: SystemTime) -> Option<SystemTime> {
        match &self.used {
            Used::Calendar { next: Some(next), .. } => Some(*next),
            _ if self.held > 0 => None,
            _ if self.used() == 0 => Some(now),
            Used::Calendar { .. } => None,
            Used::Bucket { limit, .. } => self.resets(*limit),
            Used::Rolling { .. } => self.resets(0),
        }
    }

    /// Holds again what was held in a window.
    #[cfg(feature = "sqlite")]
    pub(super) fn restore(&mut self, window: Window, amount: u64) {
        if window == self.window() {
            self.held = self.held.saturating_add(amount);
        }
    }

    fn window(&self) -> Window {
        match &self.used {
            Used::Calendar { window, .. } => *window,
            _ => Window(0),
        }
    }

    /// What stands on it now.
    pub(super) fn balance(&mut self, now: SystemTime) -> Balance {
        self.turn(now);
        Balance { posted: self.used(), held: self.held, window: self.window() }
    }

    /// When all that is used and held is given back, or the next window begins.
    pub(super) fn resets(&self, limit: u64) -> Option<SystemTime> {
        match &self.used {
            Used::Rolling { step, steps, sums } => {
                let (at, _) = sums.back()?;
                UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from((at + steps + 1) * step).ok()?))
            }
            _ => self.again(limit, limit),
        }
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_idle(&mut self, now: SystemTime) -> bool {
        self.turn(now);
        self.held == 0 && self.used() == 0
    }
}

#[cfg(feature = "sqlite")]
impl Period {
    /// The first window in which something counts now.
    pub(super) fn counts_from(self, now: SystemTime) -> Window {
        match self.shape() {
            Shape::Calendar => self.window(now).0,
            Shape::Bucket(_) => Window(i64::MAX),
            Shape::Rolling { step, steps } => Window((current(step, now) - steps) * step),
        }
    }
}

#[cfg(feature = "sqlite")]
impl Window {
    pub(super) fn began(self) -> SystemTime {
        let since = Duration::from_secs(self.0.try_into().unwrap_or(0));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

/// The step that `now` lies in.
fn current(step: i64, now: SystemTime) -> i64 {
    i64::try_from(since_epoch(now).as_secs()).unwrap_or(i64::MAX) / step
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn parts_of(amount: u64) -> u128 {
    u128::from(amount) * u128::from(PARTS)
}

/// What fits into 64 bits, as nearly everything does, is divided much quicker.
fn divided(number: u128, by: u64) -> u128 {
    let by = by.max(1);
    u64::try_from(number).map_or_else(|_| number / u128::from(by), |number| (number / by).into())
}

fn divided_up(number: u128, by: u64) -> u128 {
    let by = by.max(1);
    u64::try_from(number).map_or_else(|_| number.div_ceil(by.into()), |number| number.div_ceil(by).into())
}

fn nanos_of(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}
