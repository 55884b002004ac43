use rusqlite::types::Value;

use super::{
    super::{Filter, Status, rollup::Level},
    database::signed,
};

/// A condition in SQL, and its values in the order of its question marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    parts: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Condition {
    pub(super) fn add(&mut self, part: &str, values: impl IntoIterator<Item = Value>) {
        self.parts.push(part.to_owned());
        self.values.extend(values);
    }

    fn equal(&mut self, column: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.add(&format!("{column} = ?"), [Value::from(name.to_owned())]);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All of it, for a `WHERE`.
    pub(super) fn sql(&self) -> String {
        if self.is_empty() { "true".to_owned() } else { self.parts.join(" AND ") }
    }

    /// Which groups of a level a filter lets through, as far as that depends on them.
    pub(super) fn groups(filter: &Filter, level: Level) -> Self {
        let mut this = Self::default();
        this.equal("key", filter.key.as_deref());
        this.equal("team", filter.team.as_deref());
        this.equal("customer", filter.customer.as_deref());
        this.equal("model", filter.model.as_deref());
        this.equal("target", filter.target.as_deref());
        this.equal("provider", filter.provider.as_deref());
        this.equal("error", filter.error.as_deref());
        match filter.status {
            Some(Status::Ok) => this.add("error IS NULL AND status < 400", []),
            Some(Status::Failed) => this.add("failed", []),
            Some(Status::Refused) => this.add("error IS NOT NULL AND NOT failed", []),
            Some(Status::Code(status)) => this.add("status = ?", [i64::from(status).into()]),
            None => {}
        }
        if level == Level::Feature {
            let feature = filter.tag.as_ref().filter(|(name, _)| **name == *"feature");
            this.equal("feature", feature.map(|(_, value)| &**value));
        }
        this
    }

    /// Which records a filter lets through, beside their groups and texts.
    pub(super) fn records(filter: &Filter) -> Self {
        let mut this = Self::default();
        this.equal("r.user", filter.user.as_deref());
        this.equal("r.session", filter.session.as_deref());
        this.equal("r.trace", filter.trace.as_deref());
        if let Some(cost) = filter.cost_above {
            this.add("r.cost > ?", [signed(cost).into()]);
        }
        if let Some(latency) = filter.latency_above {
            let micros = super::super::row::micros(latency);
            this.add("r.duration > ?", [signed(micros).into()]);
        }
        if let Some((name, value)) = &filter.tag {
            let values = [name, value].map(|text| Value::from(text.to_string()));
            this.add("r.place IN (SELECT place FROM tags WHERE name = ? AND value = ?)", values);
        }
        this
    }
}
