use tokio_postgres::types::ToSql;

use super::{
    super::{Filter, Place, Span, Status, filter::in_sql, row::micros},
    at, signed,
    write::plain,
};

/// A condition in SQL, and its values in the order of their numbers.
#[derive(Default)]
pub(super) struct Condition {
    parts: Vec<String>,
    values: Vec<Box<dyn ToSql + Send + Sync>>,
}

impl Condition {
    /// Which records a filter lets through, but for its text and its span.
    pub(super) fn of(filter: &Filter) -> Self {
        let mut this = Self::default();
        for (column, name) in [
            ("key", &filter.key),
            ("team", &filter.team),
            ("customer", &filter.customer),
            ("end_user", &filter.user),
            ("session", &filter.session),
            ("trace", &filter.trace),
            ("model", &filter.model),
            ("target", &filter.target),
            ("provider", &filter.provider),
            ("error", &filter.error),
        ] {
            if let Some(name) = name {
                this.add(&format!("r.{column} = ?"), plain(name).into_owned());
            }
        }
        match filter.status {
            Some(Status::Ok) => this.parts.push("r.error IS NULL AND r.status < 400".to_owned()),
            // What is an error at all is in an index.
            Some(status @ (Status::Failed | Status::Refused)) => {
                let (failed, refused) = in_sql("r.error", "r.status", "r.target");
                let part = if status == Status::Failed { failed } else { refused };
                this.parts.extend([FAILED.to_owned(), part]);
            }
            Some(Status::Code(status)) => this.add("r.status = ?", i32::from(status)),
            None => {}
        }
        if let Some(cost) = filter.cost_above {
            this.add("r.cost > ?", signed(cost));
        }
        if let Some(latency) = filter.latency_above {
            this.add("r.duration > ?", signed(micros(latency)));
        }
        if let Some((name, value)) = &filter.tag {
            let (name, value) = (plain(name).into_owned(), plain(value).into_owned());
            this.add("r.tags @> jsonb_build_object(?::text, ?::text)", name);
            this.bind(value);
        }
        this
    }

    /// Adds a condition on a value, whose place is the first question mark.
    pub(super) fn add(&mut self, part: &str, value: impl ToSql + Send + Sync + 'static) {
        self.parts.push(part.to_owned());
        self.bind(value);
    }

    /// Puts a value to the next question mark of the last condition.
    pub(super) fn bind(&mut self, value: impl ToSql + Send + Sync + 'static) {
        self.values.push(Box::new(value));
        if let Some(part) = self.parts.last_mut() {
            *part = part.replacen('?', &format!("${}", self.values.len()), 1);
        }
    }

    pub(super) fn within(&mut self, span: Option<Span>) {
        if let Some(span) = span {
            self.add("r.ended >= ?", span.from);
            self.add("r.ended < ?", span.until);
        }
    }

    /// What stands before and after some places.
    pub(super) fn between(&mut self, after: Option<Place>, before: Option<Place>) {
        if let Some(after) = after {
            self.add("r.ended > ?", at(after.0));
        }
        if let Some(before) = before {
            self.add("r.ended < ?", at(before.0));
        }
    }

    /// All of it, for a `WHERE`.
    pub(super) fn sql(&self) -> String {
        if self.parts.is_empty() { "true".to_owned() } else { self.parts.join(" AND ") }
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// What makes a record one of an error.
pub(super) const FAILED: &str = "(r.error IS NOT NULL OR r.status >= 400)";
