use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{answer::Fields, layer::Office, settings::InForce};
use crate::{
    Error, Kind,
    config::{Config, Key, LeftOut, tidy},
    directory::Section,
    query::Query,
};

/// The most entries of one answer.
const MOST: usize = 1_000;

impl InForce {
    /// What administrators are told of an entry. The key is not among it, nor is its hash.
    pub(super) fn entry(&self, section: Section, name: &str) -> Result<Value, Error> {
        let config = &self.config;
        let fields = match section {
            Section::Customers => config.customers.get(name).map(written),
            Section::Teams => config.teams.get(name).map(written),
            Section::Keys => self.key(name).map(key),
            Section::Prices => config.prices.get(name).map(written),
        };
        let left_out = self.left_out(section, name);
        let fields = fields.or_else(|| self.stored(section, &left_out?.name));
        let Some(mut entry) = fields else { return Err(unknown(section, name)) };
        entry["name"] = name.into();
        if let Some(left_out) = left_out {
            entry["out_of_force"] = left_out.why.as_str().into();
        }
        entry["source"] = self.source(section, name).into();
        if let Some(document) = self.document(section, name) {
            entry["version"] = document.version.0.into();
            let changed = Timestamp::try_from(document.changed).ok();
            entry["changed"] = changed.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).into();
        }
        Ok(entry)
    }

    /// What is stored of an entry that is not in force, which need not be of the form of one.
    fn stored(&self, section: Section, name: &str) -> Option<Value> {
        let stored: Fields = serde_json::from_str(&self.document(section, name)?.content).ok()?;
        let is_shown = |field: &str| !["key", "sha256", "previous", "seed"].contains(&field);
        Some(stored.into_iter().filter(|(field, _)| is_shown(field)).collect())
    }

    /// Whether an entry that is not in force says that it belongs to the team or the customer that is asked for.
    fn is_of(&self, one: &LeftOut, query: &Query) -> bool {
        let stored = self.stored(one.section, &one.name).unwrap_or_default();
        ["team", "customer"]
            .iter()
            .all(|field| query.get(field).is_none_or(|wanted| stored[*field] == wanted))
    }

    /// Where an entry is set.
    pub(super) fn source(&self, section: Section, name: &str) -> &'static str {
        if self.is_of_file(section, name) { "file" } else { "api" }
    }

    /// Whether there is an entry of this name, in force or not.
    pub(super) fn has(&self, section: Section, name: &str) -> bool {
        self.config.has(section, name) || self.left_out(section, name).is_some()
    }

    /// A key by its name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.config.keys.iter().find(|key| key.name == name)
    }
}

impl Office {
    /// Some entries, sorted by name.
    pub(super) fn list(&self, section: Section, query: &Query) -> Result<Value, Error> {
        query.only(&["limit", "after", "prefix", "team", "customer"])?;
        let limit = query.number("limit", 100, MOST)?;
        let now = self.settings.now();
        let prefix = query.get("prefix").unwrap_or_default();
        let mut names = names(&now.config, section, query);
        names.extend(
            now.left_out
                .iter()
                .filter(|one| one.section == section && now.is_of(one, query))
                .map(|one| &*one.name),
        );
        names.retain(|name| name.starts_with(prefix) && query.get("after").is_none_or(|after| *name > after));
        names.sort_unstable();
        let has_more = names.len() > limit;
        names.truncate(limit);
        let entries = names.iter().map(|name| now.entry(section, name)).collect::<Result<Vec<_>, _>>()?;
        let mut page = json!({ "data": entries, "has_more": has_more });
        if let Some(next) = names.last().filter(|_| has_more) {
            page["next"] = (*next).into();
        }
        Ok(page)
    }
}

/// The names that belong to the team or the customer that is asked for.
fn names<'c>(config: &'c Config, section: Section, query: &Query) -> Vec<&'c str> {
    let (team, customer) = (query.get("team"), query.get("customer"));
    let is = |wanted: Option<&str>, has: Option<&str>| wanted.is_none() || wanted == has;
    match section {
        Section::Customers => config.customers.keys().map(String::as_str).collect(),
        Section::Prices => config.prices.keys().map(String::as_str).collect(),
        Section::Teams => config
            .teams
            .iter()
            .filter(|(_, team)| is(customer, team.customer.as_deref()))
            .map(|(name, _)| name.as_str())
            .collect(),
        Section::Keys => config
            .keys
            .iter()
            .filter(|key| is(team, key.team.as_deref()) && is(customer, key.customer(config)))
            .map(|key| key.name.as_str())
            .collect(),
    }
}

/// A value as it may stand in a configuration.
pub(super) fn written(value: &impl Serialize) -> Value {
    match tidy(serde_json::to_value(value).unwrap_or_default()) {
        Value::Object(fields) => Value::Object(fields),
        _ => json!({}),
    }
}

fn key(key: &Key) -> Value {
    let mut shown = key.clone();
    (shown.key, shown.sha256, shown.seed) = (None, None, None);
    shown.previous = Default::default();
    let mut entry = written(&shown);
    let until: Vec<_> = key.previous.iter().map(|previous| written(previous)["until"].clone()).collect();
    if !until.is_empty() {
        entry["previous_until"] = until.into();
    }
    entry
}

pub(super) fn unknown(section: Section, name: &str) -> Error {
    let message = format!("there is no {} `{name}`", section.singular());
    Error::new(Kind::NotFound, message).with_param("name")
}
