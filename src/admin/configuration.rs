use jiff::Timestamp;
use serde_json::{Value, json};

use super::settings::InForce;
use crate::{Error, Kind, config::tidy};

/// Fields by which a short key could be guessed.
const HIDDEN: [&str; 2] = ["sha256", "seed"];

impl InForce {
    /// The configuration as administrators see it: what the file says, what was set besides, and what holds where
    /// neither says anything; without secrets.
    pub(super) fn shown(&self) -> Result<Value, Error> {
        let config = serde_json::to_value(&*self.config).map_err(|error| {
            Error::new(Kind::Internal, "the configuration can't be written").with_source(error)
        })?;
        let loaded = Timestamp::try_from(self.loaded).ok().map(|at| format!("{at:.0}"));
        let left_out = self
            .left_out
            .iter()
            .map(|one| json!({ "section": one.section.as_str(), "name": one.name, "why": one.why }));
        let left_out: Vec<_> = left_out.collect();
        Ok(json!({ "loaded": loaded, "config": tidy(without_secrets(config)), "out_of_force": left_out }))
    }
}

/// Keys and the like are shown as stars already; here goes what they could be found by.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !HIDDEN.contains(&name.as_str()))
            .map(|(name, value)| (name, without_secrets(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(|value| tidy(without_secrets(value))).collect(),
        other => other,
    }
}
