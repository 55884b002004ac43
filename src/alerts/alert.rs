use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    figures::{amount, dollars, shown},
    rule::Held,
};
use crate::{
    Kind,
    ledger::{Amount, Measure, Period, Scope},
    price::NanoUsd,
};

/// Something that people want to be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Alert {
    /// A name of its own, by which who is told twice can tell.
    pub id: Box<str>,
    /// When it was found.
    pub at: SystemTime,
    /// What it is about.
    pub what: What,
}

/// What people want to be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// Much of a quota is used.
    Threshold(Crossed),
    /// An account spends much more than it used to.
    Velocity(Velocity),
    /// Somebody asks the same again and again, or a session spends very much.
    Loop(Runaway),
    /// A provider has refused a key of the gateway, which is left out for a while.
    KeyOut(KeyOut),
    /// A rule holds, or doesn't any more.
    Rule(Held),
}

/// A key of a provider that is left out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyOut {
    /// The provider.
    pub provider: Box<str>,
    /// The name of its key, in the configuration.
    pub key: Arc<str>,
    /// How many keys it has.
    pub of: usize,
    /// What was said of it.
    pub why: Kind,
    /// For how long it is left out.
    pub out_for: Duration,
}

impl KeyOut {
    pub(crate) fn text(&self) -> String {
        let Self { provider, key, of, why, out_for } = self;
        format!("the key `{key}`, one of {of} of `{provider}`, is left out for {}: {why}", time(*out_for))
    }

    fn body(&self) -> Value {
        let Self { provider, key, of, why, out_for } = self;
        json!({
            "type": "key_out", "provider": provider, "key": key, "of": of, "why": why,
            "out_for_seconds": out_for.as_secs(),
        })
    }
}

/// A quota of which a part is used that somebody wants to be told of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Crossed {
    /// The account and its quota.
    pub scope: Scope,
    /// The part in percent.
    pub threshold: u16,
    /// What is used, in the unit of the measure.
    pub used: u64,
    /// When the period ends, if that is a moment of the calendar.
    pub ends: Option<SystemTime>,
    /// Whether a request was refused because what is left did not suffice for it.
    pub refused: bool,
}

/// Spend that is unusual for an account.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Velocity {
    /// The account.
    pub account: Arc<str>,
    /// What it has spent lately.
    pub spent: NanoUsd,
    /// In what time.
    pub over: Duration,
    /// What it has spent in as much time before, in the mean.
    pub usual: NanoUsd,
}

/// A loop that is not meant to run, or runs too fast.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Runaway {
    /// By what all nodes know it, which says nothing of what it is about.
    pub name: Arc<str>,
    /// The name of the key.
    pub key: Arc<str>,
    /// What is repeated, and how much of it there was.
    pub of: Repeated,
    /// In what time.
    pub per: Duration,
    /// Whether it only is told, and nothing refused.
    pub shadow: bool,
}

/// What runs away.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Repeated {
    /// The same request for this model, so many times.
    Request {
        /// The model.
        model: Box<str>,
        /// How often.
        times: u64,
    },
    /// The spend of a session.
    Session {
        /// The session, as its client names it.
        session: Arc<str>,
        /// What it has spent.
        spent: NanoUsd,
        /// What it may spend.
        most: NanoUsd,
    },
}

impl What {
    /// What is marked in the ledger for it, and for how long, so that one node tells of it; thresholds and rules have marks
    /// of their own, and of a key each node tells that has found it out: at its place there may be another one soon.
    pub(super) fn mark(&self) -> Option<(String, Duration)> {
        match self {
            Self::Threshold(_) | Self::KeyOut(_) | Self::Rule(_) => None,
            Self::Velocity(Velocity { account, over, .. }) => {
                Some((format!("alert:{account}:velocity:{}", time(*over)), *over))
            }
            Self::Loop(Runaway { name, per, .. }) => Some((format!("alert:{name}:{}", time(*per)), *per)),
        }
    }
}

impl Crossed {
    /// What is used, in percent of the limit.
    pub fn percent(&self) -> u64 {
        let limit = self.scope.quota.map_or(u64::MAX, |quota| quota.limit.max(1));
        u64::try_from(u128::from(self.used) * 100 / u128::from(limit)).unwrap_or(u64::MAX)
    }

    fn is_shadow(&self) -> bool {
        self.scope.quota.is_some_and(|quota| quota.shadow)
    }

    fn text(&self) -> String {
        let (measure, period) = self.scope.counted_as();
        let word = if measure == Measure::Usd { "budget" } else { "limit" };
        let (used, limit) = (amount(measure, self.used), self.scope.quota.map_or(0, |quota| quota.limit));
        let refused = if self.refused { ", and what is left did not suffice for a request" } else { "" };
        let shadow = if self.is_shadow() { ", which refuses nothing" } else { "" };
        format!(
            "{} has used {} % of its {word}{shadow}: {used} of {}{}{refused}",
            self.scope.account,
            self.percent(),
            shown(measure, limit),
            period.in_words(),
        )
    }

    fn body(&self) -> Value {
        let (measure, period) = self.scope.counted_as();
        json!({
            "type": "threshold",
            "account": self.scope.account,
            "models": self.scope.models.as_ref().map(ToString::to_string),
            "measure": measure,
            "per": period,
            "threshold": self.threshold,
            "percent": self.percent(),
            "used": Amount(measure, self.used),
            "limit": self.scope.quota.map(|quota| Amount(measure, quota.limit)),
            "ends": self.ends.map(written),
            "refused": self.refused,
            "shadow": self.is_shadow(),
        })
    }
}

impl Velocity {
    fn text(&self) -> String {
        let Self { account, spent, over, usual } = self;
        let (spent, usual) = (dollars(*spent), dollars(*usual));
        format!("{account} has spent {spent} usd in {}, where {usual} usd is usual", time(*over))
    }

    fn body(&self) -> Value {
        json!({
            "type": "velocity",
            "account": self.account,
            "spent": self.spent.to_string(),
            "over_seconds": self.over.as_secs(),
            "usual": self.usual.to_string(),
        })
    }
}

impl Runaway {
    fn text(&self) -> String {
        let (key, per) = (&self.key, time(self.per));
        let refused = if self.shadow { "" } else { "; more of it is refused" };
        match &self.of {
            Repeated::Request { model, times } => {
                format!(
                    "the key `{key}` has sent the same request for `{model}` {times} times in {per}{refused}"
                )
            }
            Repeated::Session { session, spent, most } => format!(
                "the session `{session}` of the key `{key}` has spent {} usd in {per}, more than {} usd{refused}",
                dollars(*spent),
                dollars(*most),
            ),
        }
    }

    fn body(&self) -> Value {
        let (key, seconds, shadow) = (&self.key, self.per.as_secs(), self.shadow);
        match &self.of {
            Repeated::Request { model, times } => json!({
                "type": "loop", "loop": "same_request", "key": key, "model": model, "times": times,
                "per_seconds": seconds, "shadow": shadow,
            }),
            Repeated::Session { session, spent, most } => json!({
                "type": "loop", "loop": "session_usd", "key": key, "session": session,
                "spent": spent.to_string(), "limit": most.to_string(), "per_seconds": seconds, "shadow": shadow,
            }),
        }
    }
}

impl Alert {
    /// An alert that is found now.
    pub fn new(what: What) -> Self {
        let mut random = [0; 16];
        // Without randomness the time has to do.
        let at = SystemTime::now();
        if getrandom::fill(&mut random).is_err() {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            random = since.as_nanos().to_be_bytes();
        }
        let id = random.iter().fold("alert_".to_owned(), |id, byte| format!("{id}{byte:02x}"));
        Self { id: id.into(), at, what }
    }

    /// A sentence about it.
    pub fn text(&self) -> String {
        match &self.what {
            What::Threshold(crossed) => crossed.text(),
            What::Velocity(velocity) => velocity.text(),
            What::Loop(runaway) => runaway.text(),
            What::KeyOut(out) => out.text(),
            What::Rule(held) => held.text(),
        }
    }

    /// All of it as a JSON object. Amounts of money are dollars, as decimal texts; all others are whole
    /// numbers; what doesn't apply is `null`.
    pub fn body(&self) -> Value {
        let mut body = match &self.what {
            What::Threshold(crossed) => crossed.body(),
            What::Velocity(velocity) => velocity.body(),
            What::Loop(runaway) => runaway.body(),
            What::KeyOut(out) => out.body(),
            What::Rule(held) => held.body(),
        };
        body["id"] = (*self.id).into();
        body["at"] = written(self.at).into();
        body["text"] = self.text().into();
        body
    }

    pub(super) fn log(&self) {
        let (id, text) = (&*self.id, self.text());
        match &self.what {
            What::Threshold(crossed) => {
                let (measure, period) = crossed.scope.counted_as();
                let limit = crossed.scope.quota.map_or(0, |quota| quota.limit);
                tracing::warn!(
                    id,
                    account = %crossed.scope.account,
                    measure = measure.as_str(),
                    per = %period,
                    threshold = crossed.threshold,
                    percent = crossed.percent(),
                    used = measure.amount(crossed.used),
                    limit = measure.amount(limit),
                    shadow = crossed.is_shadow(),
                    "alert: {text}"
                );
            }
            What::Velocity(Velocity { account, spent, over, usual }) => {
                tracing::warn!(id, %account, %spent, ?over, %usual, "alert: {text}");
            }
            What::Loop(Runaway { key, per, shadow, .. }) => {
                tracing::warn!(id, %key, ?per, shadow, "alert: {text}");
            }
            What::Rule(Held { rule, value, resolved, .. }) => {
                tracing::warn!(id, rule = &*rule.name, value, resolved, "alert: {text}");
            }
            What::KeyOut(KeyOut { provider, key, why, .. }) => {
                tracing::warn!(id, %provider, %key, %why, "alert: {text}");
            }
        }
    }
}

/// A length of time for people: `5m`.
pub(crate) fn time(length: Duration) -> String {
    Period::Rolling(u32::try_from(length.as_secs()).unwrap_or(u32::MAX)).to_string()
}

fn written(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Quota;

    fn crossed(quota: Quota, used: u64, refused: bool) -> Alert {
        let ends = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let scope = Scope::new("key:a", quota);
        Alert::new(What::Threshold(Crossed { scope, threshold: 80, used, ends, refused }))
    }

    #[test]
    fn a_sentence_says_what_an_alert_is_about() {
        let usd = Quota::usd(NanoUsd::from_usd(10), Period::Month);
        let tokens = Quota::new(Measure::Tokens, 1_000, Period::Rolling(86_400)).shadow(true);
        let runaway = |of| {
            let per = Duration::from_secs(60);
            Alert::new(What::Loop(Runaway { name: "loop:0".into(), key: "a".into(), of, per, shadow: false }))
        };
        let velocity = Velocity {
            account: "key:a".into(),
            spent: NanoUsd::from_usd(6),
            over: Duration::from_secs(300),
            usual: NanoUsd::from_usd(1),
        };
        let session = Repeated::Session {
            session: "s".into(),
            spent: NanoUsd::from_usd(6),
            most: NanoUsd::from_usd(5),
        };

        for (alert, text) in [
            (
                crossed(usd, 8_120_000_000, false),
                "key:a has used 81 % of its budget: 8.12 of 10 usd per month",
            ),
            (
                crossed(usd, 9_900_000_000, true),
                "key:a has used 99 % of its budget: 9.9 of 10 usd per month, and what is left did not suffice for a \
                 request",
            ),
            (
                crossed(tokens, 2_000, false),
                "key:a has used 200 % of its limit, which refuses nothing: 2000 of 1000 tokens in 1d",
            ),
            (Alert::new(What::Velocity(velocity)), "key:a has spent 6 usd in 5m, where 1 usd is usual"),
            (
                runaway(Repeated::Request { model: "m".into(), times: 20 }),
                "the key `a` has sent the same request for `m` 20 times in 1m; more of it is refused",
            ),
            (
                runaway(session),
                "the session `s` of the key `a` has spent 6 usd in 1m, more than 5 usd; more of it is refused",
            ),
        ] {
            assert_eq!(alert.text(), text);
        }
    }

    #[test]
    fn the_body_has_all_that_programs_need() {
        let alert = crossed(Quota::usd(NanoUsd::from_usd(10), Period::Month), 8_120_000_000, false);

        let mut body = alert.body();

        assert_eq!(body["at"].take(), written(alert.at));
        assert_eq!(body["id"].take().as_str().map(str::len), Some(38));
        assert_eq!(
            body,
            json!({
                "id": null, "at": null, "type": "threshold", "account": "key:a", "models": null,
                "measure": "usd", "per": "month", "threshold": 80, "percent": 81, "used": "8.12", "limit": "10",
                "ends": "1970-01-01T00:00:01Z", "refused": false, "shadow": false,
                "text": "key:a has used 81 % of its budget: 8.12 of 10 usd per month",
            })
        );
    }
}
