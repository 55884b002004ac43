use std::{borrow::Cow, sync::Arc};

use serde::Serialize;

use super::invalid;
use crate::{Error, percent::decoded};

#[derive(Serialize)]
pub(super) struct Model<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    data: Vec<Model<'a>>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
}

impl<'a> Model<'a> {
    pub(super) fn new(id: &'a str) -> Self {
        Self { kind: "model", id, display_name: id, created_at: "1970-01-01T00:00:00Z" }
    }
}

/// The page of `models` that `query` asks for.
pub(super) fn list<'a>(models: &'a [Arc<str>], query: &str) -> Result<List<'a>, Error> {
    let (page, has_more) = Paging::read(query)?.cut(models)?;
    Ok(List {
        data: page.iter().map(|id| Model::new(id)).collect(),
        first_id: page.first().map(|id| &**id),
        last_id: page.last().map(|id| &**id),
        has_more,
    })
}

struct Paging<'q> {
    limit: usize,
    from: From<'q>,
}

enum From<'q> {
    Start,
    After(Cow<'q, str>),
    Before(Cow<'q, str>),
}

impl<'q> Paging<'q> {
    fn read(query: &'q str) -> Result<Self, Error> {
        let mut this = Self { limit: 20, from: From::Start };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decoded(value);
            let from = match name {
                "limit" => {
                    this.limit = limit(&value)?;
                    continue;
                }
                "after_id" => From::After(value),
                "before_id" => From::Before(value),
                _ => continue,
            };
            if !matches!(this.from, From::Start) {
                return Err(invalid(name, "only one of after_id and before_id may be given, and once"));
            }
            this.from = from;
        }
        Ok(this)
    }

    /// The page, and whether there are more models in the direction of reading.
    fn cut<'a>(&self, models: &'a [Arc<str>]) -> Result<(&'a [Arc<str>], bool), Error> {
        let place = |id: &str, name| {
            models.iter().position(|model| **model == *id).ok_or_else(|| {
                invalid(name, format!("{name} is not the id of a model that this key may use"))
            })
        };
        let rest = match &self.from {
            From::Start => models,
            From::After(id) => &models[place(id, "after_id")? + 1..],
            From::Before(id) => {
                let before = &models[..place(id, "before_id")?];
                let start = before.len().saturating_sub(self.limit);
                return Ok((&before[start..], start > 0));
            }
        };
        Ok((&rest[..rest.len().min(self.limit)], rest.len() > self.limit))
    }
}

fn limit(value: &str) -> Result<usize, Error> {
    value
        .parse()
        .ok()
        .filter(|limit| (1..=1_000).contains(limit))
        .ok_or_else(|| invalid("limit", "limit is not a number from 1 to 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn page(query: &str) -> Result<(Vec<String>, bool), Error> {
        let models: Vec<Arc<str>> = ["a", "b", "p/c", "d", "e"].map(Into::into).into();
        let list = list(&models, query)?;
        assert_eq!(list.first_id, list.data.first().map(|model| model.id));
        assert_eq!(list.last_id, list.data.last().map(|model| model.id));
        Ok((list.data.iter().map(|model| model.id.to_owned()).collect(), list.has_more))
    }

    fn ids(ids: &[&str], has_more: bool) -> (Vec<String>, bool) {
        (ids.iter().map(|id| (*id).to_owned()).collect(), has_more)
    }

    #[test]
    fn pages_go_forwards_and_backwards() {
        assert_eq!(page("").unwrap(), ids(&["a", "b", "p/c", "d", "e"], false));
        assert_eq!(page("limit=2").unwrap(), ids(&["a", "b"], true));
        assert_eq!(page("limit=2&after_id=b").unwrap(), ids(&["p/c", "d"], true));
        assert_eq!(page("after_id=p%2Fc&limit=2").unwrap(), ids(&["d", "e"], false));
        assert_eq!(page("after_id=e").unwrap(), ids(&[], false));
        assert_eq!(page("before_id=e&limit=2").unwrap(), ids(&["p/c", "d"], true));
        assert_eq!(page("before_id=p/c&limit=2").unwrap(), ids(&["a", "b"], false));
    }

    #[test]
    fn a_page_that_makes_no_sense_is_refused_by_name() {
        let cases = [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("after_id=z", "after_id"),
            ("before_id=z", "before_id"),
            ("after_id=a&before_id=b", "before_id"),
        ];

        for (query, param) in cases {
            let error = page(query).unwrap_err();
            assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(param)), "{query}");
        }
    }
}
