//! What scripts are told and what they answer.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{RedisError, Value, from_redis_value};

use super::{
    errand::At,
    keys::Keys,
    script::{Call, RESERVE},
};
use crate::{
    ledger::{
        Amounts, Day, Hold, HoldId, Measure, Period, Quota, Scope, Shape, Standing, Ticket, Window,
        refusal::Refusal,
    },
    price::NanoUsd,
};

/// The most that a single hold or settlement counts: sums of larger numbers are not exact in scripts.
pub(super) const MOST: u64 = (1 << 53) - 1;

/// What a script has to know of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Nothing,
    /// Microseconds.
    Of(u128),
    Steps {
        step: i64,
        steps: i64,
    },
    /// Where the window before the current one begins, the current one, the next one, and the one after.
    Boundaries([i64; 4]),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Of(micros) => micros.fmt(f),
            Self::Steps { step, steps } => write!(f, "{step}:{steps}"),
            Self::Boundaries([before, current, next, then]) => write!(f, "{before},{current},{next},{then}"),
        }
    }
}

/// How an account of `period` is kept, as far as it doesn't depend on the calendar.
pub(super) fn shape(period: Period) -> (&'static str, Setting) {
    match period.shape() {
        Shape::Calendar => ("calendar", Setting::Nothing),
        Shape::Bucket(of) => ("bucket", Setting::Of(of.as_micros())),
        Shape::Rolling { step, steps } => ("rolling", Setting::Steps { step, steps }),
    }
}

/// The same with the calendar around `now`. The server's clock may be in the window before or after.
pub(super) fn shape_at(period: Period, now: SystemTime) -> (&'static str, Setting) {
    let (kind, setting) = shape(period);
    let boundaries = || {
        let (current, next) = period.window(now);
        let next = next?;
        let before = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(current.0 - 1).ok()?))?;
        let (next, then) = (period.window(next).0, seconds(period.window(next).1?));
        Some(Setting::Boundaries([period.window(before).0.0, current.0, next.0, then]))
    };
    match setting {
        Setting::Nothing => (kind, boundaries().unwrap_or(Setting::Nothing)),
        setting => (kind, setting),
    }
}

fn seconds(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// What `scopes` need, before the store has said in which window.
pub(super) fn holds(scopes: &[Scope], amounts: Amounts) -> Vec<Hold> {
    let hold = |scope: &Scope| {
        let (measure, period) = scope.counted_as();
        let amount = amounts.held(measure).min(MOST);
        Hold { account: scope.account.clone(), measure, period, window: Window(0), amount }
    };
    scopes.iter().map(hold).collect()
}

/// What is used where `holds` are.
pub(super) fn used(holds: &[Hold], actual: Amounts) -> Vec<u64> {
    holds.iter().map(|hold| actual.on()(hold).min(MOST)).collect()
}

/// Asks for `holds` on `scopes`; `at` is now, if the server's clock does not count.
pub(super) fn reserve(
    keys: &Keys,
    id: HoldId,
    scopes: &[Scope],
    holds: &[Hold],
    (now, at): (SystemTime, Option<u64>),
    lease: Duration,
) -> Call {
    let mut call = Call::new(&RESERVE).key(keys.nodes()).key(keys.holds(id.node)).key(keys.mark(id));
    for hold in holds {
        call = call.key(keys.of_hold(hold));
    }
    let record = serde_json::to_string(holds).unwrap_or_default();
    call = call.arg(At(at)).arg(id.node).arg(id.number).arg(lease.as_millis()).arg(record);
    for (scope, hold) in scopes.iter().zip(holds) {
        let (kind, setting) = shape_at(hold.period, now);
        call = call.arg(kind).arg(setting).arg(hold.amount);
        call = match scope.quota {
            Some(Quota { limit, shadow, .. }) => call.arg(limit).arg(u8::from(shadow)),
            None => call.arg("").arg(0),
        };
    }
    call
}

/// What became of a reservation.
pub(super) enum Reserved {
    Granted(Ticket),
    Refused(Refusal),
    /// It was cancelled before it arrived.
    Gone,
}

/// Reads the answer to [`reserve`]. `None` if it is not one.
pub(super) fn reserved(answer: Value, id: HoldId, scopes: &[Scope], holds: Vec<Hold>) -> Option<Reserved> {
    let answer: Vec<String> = from_redis_value(answer).ok()?;
    let mut fields = answer.iter().map(String::as_str);
    let verdict = fields.next()?;
    if verdict == "gone" {
        return Some(Reserved::Gone);
    }
    let now = moment(fields.next()?)?;
    if verdict == "refused" {
        let index: usize = fields.next()?.parse().ok()?;
        let (left, again) = (number(fields.next()?), moment(fields.next()?));
        return Some(Reserved::Refused(refusal(scopes.get(index)?, holds.get(index)?, left, again, now)));
    }
    let mut ticket = Ticket::new(id, 0);
    ticket.holds = holds;
    for (i, scope) in scopes.iter().enumerate() {
        let hold = ticket.holds.get_mut(i)?;
        hold.window = Window(fields.next()?.parse().ok()?);
        let (left, over, at) = (number(fields.next()?), fields.next()? == "1", moment(fields.next()?));
        let Some(quota) = scope.quota else { continue };
        if quota.shadow {
            if over {
                ticket.shadowed.push(refusal(scope, hold, 0, at, now).into());
            }
        } else if !matches!(quota.measure, Measure::Usd | Measure::Concurrent) {
            let resets_in = at.and_then(|at| at.duration_since(now).ok());
            ticket.standings.push(Standing { measure: quota.measure, limit: quota.limit, left, resets_in });
        }
    }
    Some(Reserved::Granted(ticket))
}

fn refusal(scope: &Scope, hold: &Hold, left: u64, again: Option<SystemTime>, now: SystemTime) -> Refusal {
    let quota = scope.quota.unwrap_or(Quota::new(Measure::Usd, u64::MAX, Period::Total));
    Refusal { account: scope.account.clone(), quota, left, needed: hold.amount, again, now }
}

/// A number that a script wrote, which may be larger than any of ours.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

/// Microseconds since 1970; `None` for what never comes.
fn moment(text: &str) -> Option<SystemTime> {
    let micros = text.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}

/// The holds in a record, with the windows that the store put before them.
pub(super) fn record(text: &str) -> Option<Vec<Hold>> {
    let (windows, holds) = text.split_once('|')?;
    let mut holds: Vec<Hold> = serde_json::from_str(holds).ok()?;
    for (hold, window) in holds.iter_mut().zip(windows.split(',')) {
        hold.window = Window(window.parse().ok()?);
    }
    Some(holds)
}

/// The days of an account that are in a range, in order.
pub(super) fn days(answer: Value, range: &RangeInclusive<Window>) -> Result<Vec<Day>, RedisError> {
    let fields: Vec<(String, u64)> = from_redis_value(answer)?;
    let mut days = BTreeMap::new();
    for (field, amount) in fields {
        let Some((window, what)) = field.split_once(':') else { continue };
        let Some(window) = window.parse().ok().map(Window).filter(|window| range.contains(window)) else {
            continue;
        };
        let day = days.entry(window).or_insert(Day { window, ..Day::default() });
        match what {
            "requests" => day.requests = amount,
            "cost" => day.used.cost = NanoUsd(amount),
            "input" => day.used.input = amount,
            "output" => day.used.output = amount,
            _ => {}
        }
    }
    Ok(days.into_values().collect())
}

/// Whether this node had a lease, and which others have none any more.
pub(super) fn beaten(answer: Value) -> Result<(bool, Vec<u64>), RedisError> {
    let (had, dead): (u8, Vec<u64>) = from_redis_value(answer)?;
    Ok((had == 1, dead))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn a_script_learns_the_windows_on_both_sides_of_the_current_one() {
        for (period, expected) in [
            (Period::Day, ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]),
            (Period::Month, ["2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01"]),
            (Period::Quarter, ["2026-07-01", "2026-10-01", "2027-01-01", "2027-04-01"]),
        ] {
            let (_, setting) = shape_at(period, at("2026-11-21T12:00:00Z"));

            let expected = expected.map(|day| seconds(at(&format!("{day}T00:00:00Z"))));
            assert_eq!(setting, Setting::Boundaries(expected), "{period}");
        }
        assert_eq!(shape_at(Period::Total, at("2026-11-21T12:00:00Z")).1, Setting::Nothing);
    }

    #[test]
    fn a_record_has_the_windows_of_the_store() {
        let hold = |window| Hold {
            account: "team:a|b,c".into(),
            measure: Measure::Usd,
            period: Period::Day,
            window: Window(window),
            amount: 5,
        };
        let json = serde_json::to_string(&[hold(0), hold(0)]).unwrap();

        assert_eq!(record(&format!("86400,-1|{json}")), Some(vec![hold(86_400), hold(-1)]));
        assert_eq!(record("86400|[{}]"), None);
        assert_eq!(record(""), None);
    }
}
