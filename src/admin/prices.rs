use serde_json::{Value, json};

use super::{entry::written, layer::Office, settings::InForce};
use crate::{
    Error, Kind,
    access::Pattern,
    config::{Config, Listed, Source, UsdPrice},
    directory::Section,
    query::Query,
};

/// The most prices of one answer.
const MOST: usize = 1_000;
/// Where a price may come from.
const SOURCES: [&str; 5] = ["list", "file", "api", "ceiling", "unknown"];

impl Office {
    /// What models cost, sorted by name; or what was set of it.
    pub(super) fn prices(&self, query: &Query) -> Result<Value, Error> {
        query.only(&["limit", "after", "prefix", "model", "source", "set"])?;
        match query.get("set") {
            Some("true") => return self.list(Section::Prices, &query.without(&["set"])),
            None | Some("false") => {}
            Some(_) => return Err(wrong("set", "expected true or false")),
        }
        let limit = query.number("limit", 100, MOST)?;
        let source = query.get("source");
        if source.is_some_and(|source| !SOURCES.contains(&source)) {
            return Err(wrong("source", "expected one of list, file, api, ceiling, unknown"));
        }
        let now = self.settings.now();
        let models = models(&now.config, query);
        let rows = now.config.price_list(models).map(|(listed, name)| row(&now, name, listed));
        let rows = rows.filter(|row| source.is_none_or(|source| row["source"] == source));
        let mut rows: Vec<Value> = rows.take(limit + 1).collect();
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|row| row["model"].clone());
        let mut page = json!({ "data": rows, "has_more": has_more });
        if let Some(next) = next {
            page["next"] = next;
        }
        Ok(page)
    }
}

/// The models that are asked for, sorted.
fn models(config: &Config, query: &Query) -> Vec<String> {
    let (prefix, after) = (query.get("prefix").unwrap_or_default(), query.get("after").unwrap_or_default());
    let model = query.get("model").map(Pattern::new);
    let mut models = config.priced_models();
    // A model that is in no list has a price all the same, where there is one for its provider.
    models.extend(query.get("model").filter(|name| !name.contains('*')).map(str::to_owned));
    let is_asked = |name: &String| {
        let is_it = model.as_ref().is_none_or(|model| model.matches(name));
        is_it && name.starts_with(prefix) && **name > *after
    };
    models.into_iter().filter(is_asked).collect()
}

fn row(now: &InForce, model: String, Listed { price, source }: Listed) -> Value {
    let (source, set_for) = match source {
        Source::Provider => ("file", None),
        Source::Set(name) => (now.source(Section::Prices, &name), Some(name)),
        Source::List => ("list", None),
        Source::Ceiling => ("ceiling", None),
        Source::Nobody => ("unknown", None),
    };
    let mut row = price.map_or_else(|| json!({}), |price| written(&UsdPrice::from(&price)));
    row["model"] = model.into();
    row["source"] = source.into();
    if let Some(set_for) = set_for {
        row["set_for"] = set_for.into();
    }
    row
}

fn wrong(name: &str, message: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{name}: {message}")).with_param(name)
}
