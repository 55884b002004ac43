use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Config;

/// The sections whose members have names.
const NAMED: [&str; 7] = ["providers", "models", "prices", "customers", "teams", "tags", "keys"];

impl Config {
    /// What `newer` says otherwise: `models.chat: targets, retry`, `keys.app: made`, `teams.search: taken away`,
    /// `server: max_body`. No value is told, so no secret is either; that a secret is another one is told as `a secret`,
    /// beside the fields that differ.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let (old, new) = (value(self), value(newer));
        let mut said = Vec::new();
        for (section, new) in new.as_object().into_iter().flatten() {
            let old = &old[section];
            if NAMED.contains(&section.as_str()) {
                self.of_members(newer, section, (old, new), &mut said);
            } else {
                let is_other = self.secrets_of(section) != newer.secrets_of(section);
                said.extend(told(of_fields(old, new), is_other).map(|what| format!("{section}: {what}")));
            }
        }
        if said.is_empty() && self != newer {
            said.push("a secret".to_owned());
        }
        said
    }

    fn of_members(&self, newer: &Self, section: &str, (old, new): (&Value, &Value), said: &mut Vec<String>) {
        let (old, new) = (members(old), members(new));
        for (name, value) in &new {
            let what = match old.get(name) {
                None => Some("made".to_owned()),
                Some(before) => {
                    let is_other =
                        self.secrets_of_member(section, name) != newer.secrets_of_member(section, name);
                    told(of_fields(before, value), is_other)
                }
            };
            said.extend(what.map(|what| format!("{section}.{name}: {what}")));
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        said.extend(gone.map(|name| format!("{section}.{name}: taken away")));
    }
}

/// Which fields differ, and whether a secret does: these are not among what is written.
fn told(fields: Option<String>, is_other_secret: bool) -> Option<String> {
    let secret = is_other_secret.then(|| "a secret".to_owned());
    let told: Vec<_> = fields.into_iter().chain(secret).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn value(config: &impl Serialize) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

/// The members of a section by their names.
fn members(section: &Value) -> BTreeMap<&str, &Value> {
    match section {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        Value::Array(list) => {
            list.iter().filter_map(|value| Some((value["name"].as_str()?, value))).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// Which fields differ.
fn of_fields(old: &Value, new: &Value) -> Option<String> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some("another value".to_owned());
    };
    let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(value)).map(|(name, _)| name);
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    Some(changed.chain(gone).map(String::as_str).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        Config::read(text, "f", &|_| None).unwrap()
    }

    #[test]
    fn what_another_file_says_is_told_by_its_place_and_without_secrets() {
        let old = read(
            "admin: { key: 0123456789abcdee }\nserver: { max_in_flight: 7, secret: 0123456789abcdef }\n\
             store: { redis: { url: 'redis://:old@h' } }\nteams: { a: {}, b: {} }\nproviders: { d: { kind: openai, api_key: sk-hidden-1 } }\n\
             keys: [ { name: k, key: 0123456789abcdef }, { name: l, key: 0123456789abcdeg } ]",
        );
        let new = read(
            "admin: { key: 0123456789abcdeF }\nserver: { max_in_flight: 8, secret: 0123456789abcdeF }\n\
             store: { redis: { url: 'redis://:new@h', lease: 1m } }\nteams: { a: { budget: { usd: 7, per: day } }, c: {} }\n\
             providers: { d: { kind: openai, api_key: sk-hidden-2 } }\n\
             keys: [ { name: k, key: 0123456789abcdef }, { name: l, key: 0123456789abcdeh, disabled: true } ]",
        );

        let mut said = old.differences(&new);

        said.sort();
        let expected = [
            "admin: a secret",
            "keys.l: disabled, a secret",
            "providers.d: a secret",
            "server: max_in_flight, a secret",
            "store: redis, a secret",
            "teams.a: budget",
            "teams.b: taken away",
            "teams.c: made",
        ];
        assert_eq!(said, expected);
        assert!(old.differences(&old).is_empty());
    }
}
