use std::time::SystemTime;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::{entry::unknown, layer::Office};
use crate::{
    Error, Kind,
    config::account,
    directory::Section,
    labels::{Labels, account as account_of_label},
    ledger::{Day, REMEMBERED, Scope, Usage, Window, usage},
    query::Query,
};

/// What may be asked for, and the section that it has to be in.
const KINDS: [(&str, Option<Section>); 7] = [
    ("key", Some(Section::Keys)),
    ("team", Some(Section::Teams)),
    ("customer", Some(Section::Customers)),
    ("user", None),
    ("session", None),
    ("tag", None),
    ("provider", None),
];

impl Office {
    /// What one account has used, or the gateway; day by day too if `since` or `until` is given.
    pub(super) async fn usage(&self, query: &Query) -> Result<Value, Error> {
        let [key, team, customer, user, session, tag, provider] = KINDS.map(|(kind, _)| kind);
        query.only(&[key, team, customer, user, session, tag, provider, "since", "until"])?;
        // Users and sessions are those of a customer, or of keys that are of none.
        let of_customer = query.get(customer).filter(|_| query.get(user).or(query.get(session)).is_some());
        let mut asked = KINDS
            .iter()
            .filter(|(kind, _)| of_customer.is_none() || *kind != customer)
            .filter_map(|(kind, section)| Some((*kind, *section, query.get(kind)?)));
        let (first, None) = (asked.next(), asked.next()) else {
            let message = "say whose usage: one of `key`, `team`, `customer`, `user`, `session`, `tag` or `provider`; a `user` \
                 or a `session` may be of a `customer`";
            return Err(Error::new(Kind::InvalidRequest, message));
        };
        let period = period(query, SystemTime::now())?;
        let (kind, section, name) = first.unwrap_or(("gateway", None, ""));
        let scopes = match (kind, section) {
            // What was used stays known of what isn't there any more.
            (_, Some(section)) if period.is_some() => self.scopes(Some(section), name).unwrap_or_default(),
            (_, Some(section)) => self.scopes(Some(section), name)?,
            ("gateway", _) => self.scopes(None, name)?,
            ("provider", _) => self.scopes_of_provider(name)?,
            (kind, None) => self.settings.config().label_rules().scopes(of_customer, &labels(kind, name)?),
        };
        let mut answer = json!({ "usage": usage(&*self.ledger, &scopes).await? });
        if kind != "gateway" {
            answer[kind] = name.into();
        }
        if let Some(of_customer) = of_customer {
            answer[customer] = of_customer.into();
        }
        if let Some((since, until)) = period {
            let account = match section {
                None if kind != "gateway" => account_of_label(of_customer, kind, name),
                section => account(section, name),
            };
            let days = self.ledger.days(&account, since.window..=until.window).await?;
            let mut total = Day::default();
            days.iter().for_each(|day| total.add(day));
            answer["since"] = json!(since)["day"].take();
            answer["until"] = json!(until)["day"].take();
            // Whatever zone budgets have: one day is of many accounts, whose zones may differ and change.
            answer["timezone"] = "UTC".into();
            answer["days"] = json!(days);
            answer["total"] = json!(total);
            answer["total"].as_object_mut().map(|total| total.remove("day"));
        }
        Ok(answer)
    }

    /// What stands on the accounts of a key.
    pub(super) async fn usage_of_key(&self, name: &str) -> Result<Vec<Usage>, Error> {
        let scopes = self.scopes(Some(Section::Keys), name)?;
        usage(&*self.ledger, &scopes).await
    }

    fn scopes_of_provider(&self, name: &str) -> Result<Vec<Scope>, Error> {
        let config = self.settings.config();
        let provider = config.providers.get(name).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no provider `{name}`")).with_param("provider")
        })?;
        Ok(config.provider_scopes(name, provider))
    }

    fn scopes(&self, section: Option<Section>, name: &str) -> Result<Vec<Scope>, Error> {
        let config = self.settings.config();
        let holder = config.holder(section, name).map(|holder| holder.scopes());
        holder.ok_or_else(|| unknown(section.unwrap_or(Section::Keys), name))
    }
}

fn labels(kind: &str, name: &str) -> Result<Labels, Error> {
    let mut labels = Labels::default();
    match kind {
        "user" => labels.user = Some(name.into()),
        "session" => labels.session = Some(name.into()),
        _ => {
            let pair =
                name.split_once('=').ok_or_else(|| wrong("tag", "expected a tag such as feature=search"));
            labels.tags = pair.map(|(name, value)| vec![(name.into(), value.into())])?;
        }
    }
    Ok(labels)
}

/// The first and the last day that are asked for; the first that are remembered and today if only one is.
fn period(query: &Query, now: SystemTime) -> Result<Option<(Day, Day)>, Error> {
    let (first, today) = (Day::first(now), Day::of(now));
    let day = |name| {
        query.get(name).map(|text| {
            day(text, now)
                .ok_or_else(|| wrong(name, "expected a day such as 2026-11-01, or how many back such as 30d"))
        })
    };
    let (since, until) = (day("since").transpose()?, day("until").transpose()?);
    if since.or(until).is_none() {
        return Ok(None);
    }
    let (since, until) = (since.unwrap_or(first), until.unwrap_or(today));
    if since.window < first.window {
        return Err(wrong("since", &format!("is longer ago than the {REMEMBERED} days that are remembered")));
    }
    if until.window < since.window {
        return Err(wrong("until", "is before `since`"));
    }
    Ok(Some((since, until)))
}

fn day(text: &str, now: SystemTime) -> Option<Day> {
    if let Some(back) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        let today = Day::of(now).window.0;
        return Some(Day {
            window: Window(today.saturating_sub(i64::from(back) * 86_400)),
            ..Day::default()
        });
    }
    let date: Date = text.parse().ok().filter(|_| text.len() == "2026-11-01".len())?;
    let began = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Day::of(SystemTime::from(began.max(Timestamp::UNIX_EPOCH))))
}

fn wrong(name: &str, message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: {message}")).with_param(name)
}
