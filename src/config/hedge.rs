//! When a second target is asked, because the first one takes long to begin.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    problem::Problem,
    units::{Unit, Written},
};
use crate::dispatch::{self, After};

/// Asks the next target as well where the first one takes long to begin: who answers first answers, and the other one is
/// given up and charged by an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hedge {
    /// After how long: a time such as `800ms`, or `p95`: the time within which 95 of a hundred of the target's last answers
    /// have begun.
    pub after: Written<After>,
    /// So many of a hundred requests are sent a second time at the most: 5 if it isn't given.
    #[serde(default)]
    pub percent: Option<u32>,
}

impl From<Hedge> for dispatch::Hedge {
    fn from(hedge: Hedge) -> Self {
        hedge.percent.into_iter().fold(Self::new(*hedge.after), Self::percent)
    }
}

impl Unit for After {
    const NAME: &'static str = "HedgeAfter";
    const FORM: &'static str = "a duration such as 800ms, or a percentile such as p95";

    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix('p') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| (1..100).contains(percent));
                percent.map(Self::Percentile)
            }
            None => Duration::read(text).map(Self::Time),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Time(time) => time.write(),
            Self::Percentile(percent) => format!("p{percent}"),
        }
    }
}

/// More than all requests can't be sent a second time.
pub(super) fn check(path: &str, hedge: Option<Hedge>, problems: &mut Vec<Problem>) {
    if hedge.and_then(|hedge| hedge.percent).is_some_and(|percent| percent == 0 || percent > 100) {
        problems.push(Problem::at(format!("{path}.hedge.percent"), "is not between 1 and 100"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(hedge: &str) -> Vec<String> {
        let mut problems = Vec::new();
        check("models.chat", Some(serde_saphyr::from_str(hedge).unwrap()), &mut problems);
        problems.iter().map(|problem| format!("{problem:?}")).collect()
    }

    #[test]
    fn a_time_and_a_percentile_are_read_and_written() {
        for text in ["800ms", "p95", "p1"] {
            assert_eq!(After::read(text).map(|after| after.write()).as_deref(), Some(text));
        }
        for text in ["p100", "p0", "95", "p"] {
            assert_eq!(After::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_beyond_all_requests_is_refused() {
        assert_eq!(problems("{ after: p95 }"), Vec::<String>::new());
        for percent in [0, 101] {
            let problems = problems(&format!("{{ after: p95, percent: {percent} }}"));
            assert!(problems[0].contains("models.chat.hedge.percent"), "{problems:?}");
        }
        assert!(serde_saphyr::from_str::<Hedge>("{ after: soon }").unwrap_err().to_string().contains("p95"));
    }
}
