use tokio_postgres::types::ToSql;

use super::{
    super::{Filter, Place, Span, Status, filter::in_sql, rollup::Level, row::micros},
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
        this.names("r", filter);
        for (column, name) in
            [("end_user", &filter.user), ("session", &filter.session), ("trace", &filter.trace)]
        {
            this.name("r", column, name);
        }
        match filter.status {
            Some(Status::Ok) => this.parts.push("r.error IS NULL AND r.status < 400".to_owned()),
            // What is an error at all is in an index.
            Some(status @ (Status::Failed | Status::Refused)) => {
                let (failed, refused) = in_sql("r.error", "r.status", "r.target");
                let part = if status == Status::Failed { failed } else { refused };
                this.parts.extend([ERROR.to_owned(), part]);
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

    /// Which groups of a level a filter lets through, as far as that depends on them.
    pub(super) fn of_groups(filter: &Filter, level: Level) -> Self {
        let mut this = Self::default();
        this.names("g", filter);
        match filter.status {
            Some(Status::Ok) => this.parts.push("g.error IS NULL AND g.status < 400".to_owned()),
            Some(Status::Failed) => this.parts.push("g.failed".to_owned()),
            Some(Status::Refused) => this.parts.push("g.error IS NOT NULL AND NOT g.failed".to_owned()),
            Some(Status::Code(status)) => this.add("g.status = ?", i32::from(status)),
            None => {}
        }
        if level == Level::Feature
            && let Some((name, value)) = &filter.tag
            && **name == *"feature"
        {
            this.add("g.feature = ?", plain(value).into_owned());
        }
        this
    }

    /// What records and groups have.
    fn names(&mut self, of: &str, filter: &Filter) {
        for (column, name) in [
            ("key", &filter.key),
            ("team", &filter.team),
            ("customer", &filter.customer),
            ("model", &filter.model),
            ("target", &filter.target),
            ("provider", &filter.provider),
            ("error", &filter.error),
        ] {
            self.name(of, column, name);
        }
    }

    fn name(&mut self, of: &str, column: &str, name: &Option<Box<str>>) {
        if let Some(name) = name {
            self.add(&format!("{of}.{column} = ?"), plain(name).into_owned());
        }
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

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All of it, for a `WHERE`.
    pub(super) fn sql(&self) -> String {
        if self.is_empty() { "true".to_owned() } else { self.parts.join(" AND ") }
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// What makes a record one of an error.
pub(super) const ERROR: &str = "(r.error IS NOT NULL OR r.status >= 400)";
