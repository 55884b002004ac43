//! What stands on budgets and limits: `/admin/v1/budgets` and `/admin/v1/limits`.
//!
//! Those of end users, sessions and tags are shown as they are for each (`"each": true`); with `scope` and `name`, one
//! of them is shown with what it has used: of users and sessions those of keys that are of no customer, or with
//! `customer` those of one.
//!
//! They are only read here. A budget is a field of its customer, team or key, and is set there: a second way
//! to it would be another version of the same entry, and two administrators could each take back what the
//! other has done, although both had said with `if-match` what they had seen.

use serde_json::{Value, json};

use super::{layer::Office, settings::InForce};
use crate::{
    Error, Kind,
    config::{Holder, tidy},
    ledger::{Amount, Scope, usage},
    query::Query,
    request_limit::Rate,
};

/// The most accounts of one answer.
const MOST: usize = 1_000;

/// Whose budgets and limits are listed.
pub(super) const SCOPES: [&str; 8] =
    ["customer", "gateway", "key", "provider", "session", "tag", "team", "user"];

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Budgets,
    Limits,
}

/// What somebody is held to: what the ledger counts, and what each node counts by itself.
type Held = (Vec<Scope>, Vec<Rate>);

impl Standing {
    fn of(self, holder: &Holder<'_>) -> Held {
        match self {
            Self::Budgets => (holder.budgets(), Vec::new()),
            Self::Limits => holder.limits(),
        }
    }
}

impl Office {
    /// What stands on the budgets or the limits of some accounts, sorted by the account.
    pub(super) async fn standing(&self, of: Standing, query: &Query) -> Result<Value, Error> {
        query.only(&["limit", "after", "scope", "name", "customer"])?;
        if query.get("scope").is_some_and(|wanted| !SCOPES.contains(&wanted)) {
            let message = format!("scope: expected one of {}", SCOPES.join(", "));
            return Err(Error::new(Kind::InvalidRequest, message).with_param("scope"));
        }
        let limit = query.number("limit", 100, MOST)?;
        let now = self.settings.now();
        let after = query.get("after").unwrap_or_default();
        let one = query.get("scope").zip(query.get("name"));
        // Nobody has a list of all that clients have ever named; of one it is known what it has used.
        let customer = query.get("customer");
        if customer.is_some() && !one.is_some_and(|(kind, _)| ["user", "session"].contains(&kind)) {
            let message = "customer: stands beside the scope and the name of a user or a session";
            return Err(Error::new(Kind::InvalidRequest, message).with_param("customer"));
        }
        let one = one
            .and_then(|(kind, name)| now.config.labelled(kind, name, customer))
            .filter(|one| !one.name.ends_with('*'));
        let holders = now.config.holders().filter(|holder| one.is_none() && is_asked(holder, query));
        let holders = holders.chain(one.clone());
        let mut holders: Vec<_> = holders.map(|holder| (holder.account(), holder)).collect();
        holders.retain(|(account, _)| **account > *after);
        holders.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let held = holders.into_iter().map(|(account, holder)| (of.of(&holder), account, holder));
        let held = held.filter(|((scopes, rates), ..)| !(scopes.is_empty() && rates.is_empty()));
        let mut page: Vec<_> = held.take(limit + 1).collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        let mut answer = json!({ "data": self.rows(&now, &page).await?, "has_more": has_more });
        if let Some((_, account, _)) = page.last().filter(|_| has_more) {
            answer["next"] = account.as_str().into();
        }
        Ok(answer)
    }

    async fn rows(&self, now: &InForce, page: &[(Held, String, Holder<'_>)]) -> Result<Vec<Value>, Error> {
        let one = page.iter().filter(|(_, _, holder)| !holder.is_each);
        let scopes: Vec<Scope> = one.flat_map(|((scopes, _), ..)| scopes).cloned().collect();
        let mut usage = usage(&*self.ledger, &scopes).await?.into_iter();
        let mut rows = Vec::new();
        for ((scopes, rates), account, holder) in page {
            let of_all =
                scopes.iter().filter(|_| holder.is_each).filter_map(|scope| {
                    let quota = scope.quota?;
                    let models = scope.models.as_ref().map(ToString::to_string);
                    let limit = Amount(quota.measure, quota.limit);
                    Some(tidy(
                        json!({ "account": scope.account, "measure": quota.measure, "per": quota.period,
                    "models": models, "limit": limit, "shadow": quota.shadow.then_some(true), "each": true }),
                    ))
                });
            let own = if holder.is_each { 0 } else { scopes.len() };
            let counted = usage.by_ref().take(own).map(|usage| json!(usage));
            let rates = rates.iter().map(Rate::quota).map(|quota| {
                // Each node keeps these for itself.
                json!({ "account": account, "measure": quota.measure, "per": quota.period,
                    "limit": quota.limit, "each_node": true })
            });
            rows.extend(counted.chain(of_all).chain(rates).map(|mut row| {
                row["scope"] = holder.kind.into();
                if let Some(customer) = holder.customer {
                    row["customer"] = customer.into();
                }
                if !holder.name.is_empty() {
                    row["name"] = (*holder.name).into();
                    let source = holder.section.map(|section| now.source(section, &holder.name));
                    row["source"] = source.unwrap_or("file").into();
                }
                row
            }));
        }
        Ok(rows)
    }
}

fn is_asked(holder: &Holder<'_>, query: &Query) -> bool {
    let is = |name, has: &str| query.get(name).is_none_or(|wanted| wanted == has);
    is("scope", holder.kind) && is("name", &holder.name)
}
