use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Balance, Ledger, Measure, Period, Scope};
use crate::{Error, price::NanoUsd};

/// How one account stands, for people and programs that ask.
///
/// Amounts of money are dollars, as decimal texts; all others are whole numbers.
#[derive(Clone, Debug, Serialize)]
#[serde(into = "Shown")]
pub struct Usage {
    /// The account.
    pub scope: Scope,
    /// What stands on it.
    pub balance: Balance,
    /// When that was.
    pub at: SystemTime,
}

/// How each of `scopes` stands in `ledger`.
///
/// # Errors
///
/// If the ledger could not be asked.
pub async fn usage(ledger: &dyn Ledger, scopes: &[Scope]) -> Result<Vec<Usage>, Error> {
    let at = SystemTime::now();
    let balances = ledger.balances(scopes).await?;
    Ok(scopes
        .iter()
        .zip(balances)
        .map(|(scope, balance)| Usage { scope: scope.clone(), balance, at })
        .collect())
}

impl Usage {
    /// What may still be used; `None` if there is no limit.
    pub fn left(&self) -> Option<u64> {
        let used = self.balance.posted.saturating_add(self.balance.held);
        self.scope.quota.map(|quota| quota.limit.saturating_sub(used))
    }

    /// When its period begins anew, if that is a moment of the calendar.
    pub fn resets(&self) -> Option<SystemTime> {
        self.scope.counted_as().1.window(self.at).1
    }
}

#[derive(Serialize)]
struct Shown {
    account: Arc<str>,
    measure: Measure,
    per: Period,
    #[serde(skip_serializing_if = "Option::is_none")]
    models: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Amount>,
    used: Amount,
    held: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Amount>,
    /// When the period began.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shadow: bool,
}

impl From<Usage> for Shown {
    fn from(usage: Usage) -> Self {
        let (measure, per) = usage.scope.counted_as();
        let amount = |amount| Amount(measure, amount);
        let began = Timestamp::from_second(usage.balance.window.0).ok();
        Self {
            measure,
            per,
            models: usage.scope.models.as_ref().map(ToString::to_string),
            limit: usage.scope.quota.map(|quota| amount(quota.limit)),
            used: amount(usage.balance.posted),
            held: amount(usage.balance.held),
            left: usage.left().map(amount),
            since: usage.resets().and(began).map(|at| at.to_string()),
            resets: usage.resets().and_then(|at| Timestamp::try_from(at).ok()).map(|at| at.to_string()),
            shadow: usage.scope.quota.is_some_and(|quota| quota.shadow),
            account: usage.scope.account,
        }
    }
}

/// So much of a measure, as programs are told of it.
pub(crate) struct Amount(pub(crate) Measure, pub(crate) u64);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Measure::Usd => NanoUsd(self.1).serialize(serializer),
            _ => serializer.serialize_u64(self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{MemoryLedger, Quota};

    #[tokio::test]
    async fn money_is_told_in_dollars_and_all_else_in_numbers() {
        let ledger = MemoryLedger::default();
        let month = Scope::new("key:a", Quota::usd(NanoUsd::from_usd(2), Period::Month));
        let scopes = [month, Scope::new("key:a", Quota::new(Measure::Requests, 5, Period::Total))];
        let ticket = ledger.reserve(&scopes, NanoUsd(1_500_000_000).into()).await.unwrap();
        ledger.settle(ticket, NanoUsd(250_000_000).into());
        let _held = ledger.reserve(&scopes, NanoUsd(1).into()).await.unwrap();

        let shown = serde_json::to_value(usage(&ledger, &scopes).await.unwrap()).unwrap();

        let money = &shown[0];
        assert_eq!([&money["limit"], &money["used"], &money["held"]], ["2", "0.25", "0.000000001"]);
        assert_eq!(money["left"], "1.749999999");
        assert!(money["since"].as_str() < money["resets"].as_str(), "{money}");
        let requests = serde_json::json!({ "account": "key:a", "measure": "requests", "per": "total",
            "limit": 5, "used": 1, "held": 1, "left": 3 });
        assert_eq!(shown[1], requests);
    }

    #[tokio::test]
    async fn what_was_never_asked_for_has_used_nothing() {
        let ledger = MemoryLedger::default();
        let scopes = [Scope::counted("key:new"), Scope::new("key:new", Quota::usd(NanoUsd(7), Period::Day))];

        let usage = usage(&ledger, &scopes).await.unwrap();

        assert_eq!([usage[0].left(), usage[1].left()], [None, Some(7)]);
        assert!(usage[0].resets().is_none() && usage[1].resets().is_some());
    }
}
