use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    units::{Backoff, Written},
};
use crate::{
    audit::Trail,
    breaker::{self, Rules},
    lock,
};

/// When a target that fails is passed over, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Breaker {
    /// After so many failures in a row: 5 if it isn't given; 0 is never.
    pub failures: Option<u32>,
    /// When so many percent of its requests fail: 50 if it isn't given; 0 is never.
    pub percent: Option<u8>,
    /// The percentage is looked at when there were at least so many requests: 20 if it isn't given.
    pub at_least: Option<u32>,
    /// The percentage is of the requests within this time: 30s if it isn't given.
    pub over: Option<Written<Duration>>,
    /// An answer that begins later than this counts as a failure in the percentage; none does if it isn't given.
    pub slow: Option<Written<Duration>>,
    /// How long it is passed over the first time, and at most: `2s..1m` if it isn't given. Then one request
    /// is sent, and shows whether it answers again.
    pub pause: Option<Written<Backoff>>,
    /// Over which time the share of the requests grows that it gets when it answers again, where a model has other
    /// targets: 30s if it isn't given; 0s gives it all of them at once.
    pub recovery: Option<Written<Duration>>,
}

impl Breaker {
    /// This, with what it doesn't say taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            failures: self.failures.or(other.failures),
            percent: self.percent.or(other.percent),
            at_least: self.at_least.or(other.at_least),
            over: self.over.or(other.over),
            slow: self.slow.or(other.slow),
            pause: self.pause.or(other.pause),
            recovery: self.recovery.or(other.recovery),
        }
    }

    pub(super) fn check(&self, path: &str, problems: &mut Vec<Problem>) {
        if self.percent.is_some_and(|percent| percent > 100) {
            problems.push(Problem::at(format!("{path}.percent"), "expected a percentage from 0 to 100"));
        }
        if self.over.is_some_and(|over| *over < Duration::from_secs(1)) {
            problems.push(Problem::at(format!("{path}.over"), "is shorter than a second"));
        }
        if self.pause.is_some_and(|pause| pause.first.is_zero()) {
            problems.push(Problem::at(format!("{path}.pause"), "can't be zero"));
        }
    }

    pub(super) fn rules(&self) -> Rules {
        let usual = Rules::default();
        Rules {
            in_a_row: self.failures.unwrap_or(usual.in_a_row),
            share: self.percent.map_or(usual.share, |percent| f64::from(percent) / 100.0),
            at_least: self.at_least.unwrap_or(usual.at_least),
            over: self.over.map_or(usual.over, |over| *over),
            slow: self.slow.map(|slow| *slow),
            pause: self.pause.map_or(usual.pause, |pause| (pause.first, pause.most)),
            recovery: self.recovery.map_or(usual.recovery, |recovery| *recovery),
            ..usual
        }
    }
}

/// The breakers of all targets, which outlive a reload and are the same for all routes to a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Breakers {
    known: Arc<Mutex<Remembered>>,
    trail: Option<Trail>,
}

#[derive(Debug, Default)]
struct Remembered {
    breakers: HashMap<Box<str>, breaker::Breaker>,
    /// What the configuration names, which is never forgotten.
    named: HashSet<Box<str>>,
}

impl Breakers {
    /// Clients name targets too, so only so many of those are remembered.
    const MOST: usize = 4096;

    /// Notes in `trail` which of them open and close, from those on that are made now.
    pub(super) fn audit(self, trail: Trail) -> Self {
        Self { trail: Some(trail), ..self }
    }

    /// All that are remembered.
    pub(super) fn all(&self) -> Vec<breaker::Breaker> {
        lock(&self.known).breakers.values().cloned().collect()
    }

    /// Remembers those of `targets` beside what else is named.
    pub(super) fn name<'a>(&self, targets: impl IntoIterator<Item = &'a str>) {
        lock(&self.known).named.extend(targets.into_iter().map(Box::from));
    }

    /// Has only `targets` named any more.
    pub(super) fn name_only<'a>(&self, targets: impl IntoIterator<Item = &'a str>) {
        lock(&self.known).named = targets.into_iter().map(Box::from).collect();
    }

    /// That of `target`; another one once its rules have changed.
    pub(super) fn of(&self, target: &str, rules: Rules) -> breaker::Breaker {
        let mut known = lock(&self.known);
        let Remembered { breakers, named } = &mut *known;
        if let Some(breaker) = breakers.get(target).filter(|breaker| *breaker.rules() == rules) {
            return breaker.clone();
        }
        let most = Self::MOST + named.len();
        if breakers.len() >= most {
            let is_open = |breaker: &breaker::Breaker| breaker.standing().open_for.is_some();
            breakers.retain(|target, breaker| named.contains(target) || is_open(breaker));
        }
        if breakers.len() >= most {
            breakers.retain(|target, _| named.contains(target));
        }
        let breaker = breaker::Breaker::new(target, rules);
        let breaker = self.trail.iter().fold(breaker, |breaker, trail| breaker.audit(trail.clone()));
        breakers.insert(target.into(), breaker.clone());
        breaker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_comes_from_the_defaults_and_then_from_the_built_in_rules() {
        let read = |yaml: &str| serde_saphyr::from_str::<Breaker>(yaml).unwrap();
        let own = read("{ failures: 0, slow: 5s }");
        let defaults = read("{ failures: 9, percent: 25, pause: 1s..10s }");

        let rules = own.or(&defaults).rules();

        assert_eq!((rules.in_a_row, rules.share), (0, 0.25));
        assert_eq!(rules.slow, Some(Duration::from_secs(5)));
        assert_eq!(rules.pause, (Duration::from_secs(1), Duration::from_secs(10)));
        assert_eq!((rules.at_least, rules.over), (20, Duration::from_secs(30)));
    }

    #[tokio::test]
    async fn all_routes_to_a_target_share_its_breaker_until_its_rules_change() {
        let breakers = Breakers::default();
        let rules = Rules::default();
        let (first, second) = (breakers.of("a/b", rules), breakers.of("a/b", rules));

        assert!(first.is_same(&second));
        assert!(!first.is_same(&breakers.of("a/c", rules)));
        assert!(!first.is_same(&breakers.of("a/b", Rules { probes: 7, ..rules })));
    }

    #[tokio::test]
    async fn names_that_clients_choose_are_not_remembered_for_ever() {
        let breakers = Breakers::default();

        for n in 0..2 * Breakers::MOST {
            breakers.of(&format!("a/{n}"), Rules::default());
        }

        assert!(breakers.all().len() <= Breakers::MOST);
    }

    #[tokio::test]
    async fn targets_of_the_configuration_keep_their_breakers_whatever_clients_name() {
        let (breakers, rules) = (Breakers::default(), Rules::default());
        breakers.name(["a/named", "a/failing"]);
        let named = breakers.of("a/named", rules);
        let ask_for_others = |but: &str| {
            for n in 0..2 * Breakers::MOST {
                let other = breakers.of(&format!("a/{but}{n}"), rules);
                // Those that are open are no reason to forget it either.
                (0..rules.in_a_row).for_each(|_| other.probed(Some(crate::Kind::Timeout), rules.pause.0));
            }
        };

        ask_for_others("x");
        assert!(breakers.of("a/named", rules).is_same(&named));
        assert!(breakers.all().len() <= Breakers::MOST + 2);
        breakers.name_only(["a/failing"]);
        ask_for_others("y");

        assert!(!breakers.of("a/named", rules).is_same(&named));
    }
}
