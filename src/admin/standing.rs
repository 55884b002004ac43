//! What stands on budgets and limits: `/admin/v1/budgets` and `/admin/v1/limits`.
//!
//! They are only read here. A budget is a field of its customer, team or key, and is set there: a second way
//! to it would be another version of the same entry, and two administrators could each take back what the
//! other has done, although both had said with `if-match` what they had seen.

use serde_json::{Value, json};

use super::{answer::Query, layer::Office, settings::InForce};
use crate::{
    Error, Kind,
    config::{Config, account},
    directory::Section,
    ledger::{Scope, usage},
    request_limit::Rate,
};

/// The most accounts of one answer.
const MOST: usize = 1_000;

/// Whose budgets and limits are listed; the gateway is in no section.
const HOLDERS: [(&str, Option<Section>); 4] = [
    ("customer", Some(Section::Customers)),
    ("gateway", None),
    ("key", Some(Section::Keys)),
    ("team", Some(Section::Teams)),
];

/// Which of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Budgets,
    Limits,
}

/// Somebody who is held to something.
struct Holder {
    scope: &'static str,
    section: Option<Section>,
    name: String,
    /// As the ledger calls it.
    account: String,
}

/// What somebody is held to: what the ledger counts, and what each node counts by itself.
type Held = (Vec<Scope>, Vec<Rate>);

impl Standing {
    fn of(self, config: &Config, holder: &Holder) -> Held {
        let (section, name) = (holder.section, &holder.name);
        let held = match self {
            Self::Budgets => config.budgets(section, name).map(|scopes| (scopes, Vec::new())),
            Self::Limits => config.limits(section, name),
        };
        held.unwrap_or_default()
    }
}

impl Office {
    /// What stands on the budgets or the limits of some accounts, sorted by the account.
    pub(super) async fn standing(&self, of: Standing, query: &Query) -> Result<Value, Error> {
        query.only(&["limit", "after", "scope", "name"])?;
        let limit = query.number("limit", 100, MOST)?;
        let now = self.settings.now();
        let mut holders = holders(&now.config, query)?;
        holders.sort_unstable_by(|one, other| one.account.cmp(&other.account));
        let after = query.get("after").unwrap_or_default();
        let holders = holders.into_iter().filter(|holder| *holder.account > *after);
        let held = holders.map(|holder| (of.of(&now.config, &holder), holder));
        let mut page: Vec<_> = held
            .filter(|((scopes, rates), _)| !(scopes.is_empty() && rates.is_empty()))
            .take(limit + 1)
            .collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        let mut answer = json!({ "data": self.rows(&now, &page).await?, "has_more": has_more });
        if let Some((_, last)) = page.last().filter(|_| has_more) {
            answer["next"] = last.account.as_str().into();
        }
        Ok(answer)
    }

    async fn rows(&self, now: &InForce, page: &[(Held, Holder)]) -> Result<Vec<Value>, Error> {
        let scopes: Vec<Scope> = page.iter().flat_map(|((scopes, _), _)| scopes).cloned().collect();
        let mut usage = usage(&*self.ledger, &scopes).await?.into_iter();
        let mut rows = Vec::new();
        for ((scopes, rates), holder) in page {
            let counted = usage.by_ref().take(scopes.len()).map(|usage| json!(usage));
            let rates = rates.iter().map(Rate::quota).map(|quota| {
                // Each node keeps these for itself.
                json!({ "account": holder.account, "measure": quota.measure, "per": quota.period,
                    "limit": quota.limit, "each_node": true })
            });
            rows.extend(counted.chain(rates).map(|mut row| {
                row["scope"] = holder.scope.into();
                if let Some(section) = holder.section {
                    row["name"] = holder.name.as_str().into();
                    row["source"] = now.source(section, &holder.name).into();
                }
                row
            }));
        }
        Ok(rows)
    }
}

/// All that are asked for.
fn holders(config: &Config, query: &Query) -> Result<Vec<Holder>, Error> {
    let wanted = query.get("scope");
    if wanted.is_some_and(|wanted| HOLDERS.iter().all(|(scope, _)| *scope != wanted)) {
        let message = "scope: expected one of customer, gateway, key, team";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("scope"));
    }
    let mut holders = Vec::new();
    for (scope, section) in
        HOLDERS.into_iter().filter(|(scope, _)| wanted.is_none_or(|wanted| wanted == *scope))
    {
        let names: Vec<&str> = match section {
            None => vec![""],
            Some(Section::Customers) => config.customers.keys().map(String::as_str).collect(),
            Some(Section::Teams) => config.teams.keys().map(String::as_str).collect(),
            Some(_) => config.keys.iter().map(|key| key.name.as_str()).collect(),
        };
        let names = names.into_iter().filter(|name| query.get("name").is_none_or(|wanted| wanted == *name));
        holders.extend(names.map(|name| Holder {
            scope,
            section,
            name: name.to_owned(),
            account: account(section, name),
        }));
    }
    Ok(holders)
}
