use std::{borrow::Cow, sync::Arc};

use serde::Serialize;

use super::invalid;
use crate::{Error, percent::decoded};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Model<'a> {
    name: String,
    display_name: &'a str,
    supported_generation_methods: [&'static str; 5],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<'a> {
    models: Vec<Model<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<&'a str>,
}

impl<'a> Model<'a> {
    pub(super) fn new(id: &'a str) -> Self {
        Self {
            name: format!("models/{id}"),
            display_name: id,
            // Which of them a model has is not known.
            supported_generation_methods: [
                "generateContent",
                "streamGenerateContent",
                "countTokens",
                "embedContent",
                "batchEmbedContents",
            ],
        }
    }
}

/// The page of `models` that `query` asks for. The token of a page is the last model before it.
pub(super) fn list<'a>(models: &'a [Arc<str>], query: &str) -> Result<List<'a>, Error> {
    let (mut size, mut after) = (50, Cow::Borrowed(""));
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "pageSize" | "page_size" => size = page_size(&decoded(value))?,
            "pageToken" | "page_token" => after = decoded(value),
            _ => {}
        }
    }
    let rest = if after.is_empty() {
        models
    } else {
        let place = models.iter().position(|model| **model == *after);
        let place = place.ok_or_else(|| invalid("pageToken", "pageToken is not one of this list"))?;
        &models[place + 1..]
    };
    let page = &rest[..rest.len().min(size)];
    Ok(List {
        models: page.iter().map(|id| Model::new(id)).collect(),
        next_page_token: page.last().filter(|_| rest.len() > page.len()).map(|id| &**id),
    })
}

/// Zero is the default, and more than a thousand are a thousand.
fn page_size(value: &str) -> Result<usize, Error> {
    match value.parse::<usize>() {
        Ok(0) => Ok(50),
        Ok(size) => Ok(size.min(1_000)),
        Err(_) => Err(invalid("pageSize", "pageSize is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<(Vec<String>, Option<String>), Error> {
        let models: Vec<Arc<str>> = ["a", "b", "p/c", "d"].map(Into::into).into();
        let list = list(&models, query)?;
        let names = list.models.into_iter().map(|model| model.name).collect();
        Ok((names, list.next_page_token.map(str::to_owned)))
    }

    #[test]
    fn pages_follow_each_other() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

        assert_eq!(
            page("pageSize=3").unwrap(),
            (names(&["models/a", "models/b", "models/p/c"]), Some("p/c".into()))
        );
        assert_eq!(page("pageToken=p%2Fc&pageSize=3").unwrap(), (names(&["models/d"]), None));
        assert_eq!(page("pageSize=0&pageToken=").unwrap().0.len(), 4);
        assert_eq!(page("pageSize=9999999").unwrap().1, None);
    }

    #[test]
    fn a_page_that_makes_no_sense_is_refused_by_name() {
        for (query, param) in
            [("pageSize=x", "pageSize"), ("pageSize=-1", "pageSize"), ("pageToken=z", "pageToken")]
        {
            assert_eq!(page(query).unwrap_err().param(), Some(param), "{query}");
        }
    }
}
