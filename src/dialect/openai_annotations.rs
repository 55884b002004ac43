//! The annotations of OpenAI's texts: what they cite, in chats and in responses.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    canonical::{Citation, Source, Text},
    citation::{characters, span},
    object::object,
    text::Str,
    text_or::TextOr,
};

object! {
    /// An annotation as it is read, of whatever type.
    Read {
        "type" kind: Str<'a>,
        // Chats have the members of an address in here.
        "url_citation" inner: Address<'a>,
        "url" url: Str<'a>,
        "title" title: Str<'a>,
        "content" content: Str<'a>,
        "start_index" start: f64,
        "end_index" end: f64,
        "file_id" file_id: Str<'a>,
        "filename" filename: Str<'a>,
        "container_id" container_id: Str<'a>,
        "index" index: f64,
    }
}

object! {
    /// An address and what cites it; OpenRouter adds what stands there.
    Address {
        "url" url: Str<'a>,
        "title" title: Str<'a>,
        "content" content: Str<'a>,
        "start_index" start: f64,
        "end_index" end: f64,
    }
}

object! {
    /// A page that was found for an answer, as Perplexity has it.
    Found {
        "url" url: Str<'a>,
        "title" title: Str<'a>,
        "snippet" snippet: Str<'a>,
    }
}

/// The citations in a list of annotations; what can't be read is one that nobody knows.
pub(crate) fn read(annotations: &RawValue) -> Vec<Citation<'_>> {
    match serde_json::from_str::<Vec<&RawValue>>(annotations.get()) {
        Ok(annotations) => annotations.into_iter().map(one).collect(),
        Err(_) => vec![Citation::of(Source::Unknown)],
    }
}

/// The citation in one annotation.
pub(crate) fn one(annotation: &RawValue) -> Citation<'_> {
    let known = serde_json::from_str::<Read<'_>>(annotation.get()).ok().and_then(citation);
    known.unwrap_or_else(|| Citation::of(Source::Unknown))
}

fn citation(read: Read<'_>) -> Option<Citation<'_>> {
    let (title, place) = (read.filename.map(Text::from), read.index);
    let mark = || place.filter(|at| *at >= 0.0).map(|at| at as usize..at as usize);
    Some(match read.kind.as_deref()? {
        "url_citation" => address(read.inner.unwrap_or(Address {
            url: read.url,
            title: read.title,
            content: read.content,
            start: read.start,
            end: read.end,
        }))?,
        "file_citation" | "file_path" => {
            let source = Source::File { id: read.file_id?.into(), container: None };
            Citation { title, span: mark(), ..Citation::of(source) }
        }
        "container_file_citation" => {
            let container = Some(read.container_id?.into());
            let source = Source::File { id: read.file_id?.into(), container };
            Citation { title, span: span(read.start, read.end), ..Citation::of(source) }
        }
        _ => return None,
    })
}

fn address(address: Address<'_>) -> Option<Citation<'_>> {
    Some(Citation {
        title: address.title.filter(|title| !title.is_empty()).map(Text::from),
        quote: address.content.filter(|content| !content.is_empty()).map(Text::from),
        span: span(address.start, address.end),
        ..Citation::of_url(address.url.filter(|url| !url.is_empty())?)
    })
}

/// The pages beside an answer, of `citations` and `search_results`, without those that are `known`, which they
/// are from then on.
pub(crate) fn found<'a>(
    citations: Option<&'a RawValue>,
    results: Option<&'a RawValue>,
    known: &mut HashSet<Text<'a>>,
) -> Vec<Citation<'a>> {
    let list = |raw: Option<&'a RawValue>| match raw.filter(|raw| raw.get() != "null") {
        Some(raw) => serde_json::from_str::<Vec<TextOr<'a, Found<'a>>>>(raw.get()).map_err(|_| ()),
        None => Ok(Vec::new()),
    };
    let mut pages = Vec::new();
    for list in [list(results), list(citations)] {
        let Ok(list) = list else {
            pages.push(Citation::of(Source::Unknown));
            continue;
        };
        for page in list {
            let found = match page {
                TextOr::Text(url) => Found { url: Some(url), ..Found::default() },
                TextOr::Other(found) => found,
                TextOr::Null => continue,
            };
            let (title, content) = (found.title, found.snippet);
            let Some(page) = address(Address { url: found.url, title, content, ..Address::default() }) else {
                continue;
            };
            if let Source::Url { url, .. } = &page.source
                && known.insert(url.clone())
            {
                pages.push(page);
            }
        }
    }
    pages
}

/// An annotation as responses have it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written<'a> {
    UrlCitation {
        url: &'a str,
        title: &'a str,
        start_index: usize,
        end_index: usize,
    },
    FileCitation {
        file_id: &'a str,
        filename: &'a str,
        index: usize,
    },
    FilePath {
        file_id: &'a str,
        index: usize,
    },
    ContainerFileCitation {
        container_id: &'a str,
        file_id: &'a str,
        filename: &'a str,
        start_index: usize,
        end_index: usize,
    },
}

/// An annotation as chats have it.
#[derive(Debug, Serialize)]
pub(crate) struct InChat<'a> {
    /// OpenAI's SDK wants the pieces of every list numbered in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<usize>,
    r#type: &'static str,
    url_citation: UrlCitation<'a>,
}

#[derive(Debug, Serialize)]
struct UrlCitation<'a> {
    start_index: usize,
    end_index: usize,
    url: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl InChat<'_> {
    /// The same in a text that has so many characters before it.
    pub(crate) fn later(mut self, by: usize) -> Self {
        self.url_citation.start_index = self.url_citation.start_index.saturating_add(by);
        self.url_citation.end_index = self.url_citation.end_index.saturating_add(by);
        self
    }
}

/// Whether an annotation of a chat can say it.
pub(crate) fn is_said_in_chat(citation: &Citation<'_>) -> bool {
    citation.url().is_some()
}

/// A citation of `whole`, or of a span in it, as an annotation of a chat.
pub(crate) fn in_chat<'a>(citation: &'a Citation<'_>, whole: Range<usize>) -> Option<InChat<'a>> {
    let url = citation.url()?;
    let span = citation.span.clone().unwrap_or(whole);
    let url_citation = UrlCitation {
        start_index: span.start,
        end_index: span.end,
        url,
        title: citation.title.as_deref().unwrap_or(url),
        content: citation.quote.as_deref(),
    };
    Some(InChat { index: None, r#type: "url_citation", url_citation })
}

/// Whether an annotation of responses can say it.
pub(crate) fn is_said(citation: &Citation<'_>) -> bool {
    citation.url().is_some() || file(citation).is_some()
}

/// The name under which what is cited is stored, and its container.
fn file<'a>(citation: &'a Citation<'_>) -> Option<(&'a str, Option<&'a str>)> {
    match &citation.source {
        Source::File { id, container } if !id.is_empty() => Some((id, container.as_deref())),
        Source::Document { file: Some(id), .. } => Some((id, None)),
        _ => None,
    }
}

/// A citation of `whole`, or of a span in it, as an annotation of responses.
pub(crate) fn written(citation: &Citation<'_>, whole: Range<usize>) -> Option<Box<RawValue>> {
    let Range { start: start_index, end: end_index } = citation.span.clone().unwrap_or(whole);
    let title = citation.title.as_deref();
    let written = match (citation.url(), file(citation)) {
        (Some(url), _) => Written::UrlCitation { url, title: title.unwrap_or(url), start_index, end_index },
        (None, Some((file_id, Some(container_id)))) => {
            let filename = title.unwrap_or(file_id);
            Written::ContainerFileCitation { container_id, file_id, filename, start_index, end_index }
        }
        (None, Some((file_id, None))) => match title {
            Some(filename) => Written::FileCitation { file_id, filename, index: end_index },
            None => Written::FilePath { file_id, index: end_index },
        },
        (None, None) => return None,
    };
    to_raw_value(&written).ok()
}

/// The annotations of a whole text.
pub(crate) fn all<'a>(citations: &[Citation<'_>], text: &str) -> Vec<Cow<'a, RawValue>> {
    if citations.is_empty() {
        return Vec::new();
    }
    let length = characters(text);
    citations.iter().filter_map(|citation| written(citation, 0..length)).map(Cow::Owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_one(annotation: &Value) -> Citation<'static> {
        let raw = to_raw_value(annotation).unwrap();
        one(&raw).into_owned()
    }

    #[test]
    fn annotations_of_responses_come_out_as_they_went_in() {
        for annotation in [
            json!({"type": "url_citation", "url": "https://e.x", "title": "E", "start_index": 2, "end_index": 5}),
            json!({"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 7}),
            json!({"type": "file_path", "file_id": "file-1", "index": 7}),
            json!({"type": "container_file_citation", "container_id": "c", "file_id": "cfile_1",
                "filename": "a.csv", "start_index": 0, "end_index": 4}),
        ] {
            let citation = read_one(&annotation);

            let back = written(&citation, 0..9).unwrap();

            assert!(is_said(&citation));
            assert_eq!(serde_json::from_str::<Value>(back.get()).unwrap(), annotation);
        }
    }

    #[test]
    fn what_a_chat_cites_is_nested_and_may_be_quoted() {
        let inner =
            json!({"start_index": 2, "end_index": 5, "url": "https://e.x", "title": "E", "content": "q"});
        let annotation = json!({"type": "url_citation", "url_citation": inner});

        let citation = read_one(&annotation);

        assert_eq!((citation.quote.as_deref(), citation.span.clone()), (Some("q"), Some(2..5)));
        assert_eq!(serde_json::to_value(in_chat(&citation, 0..9)).unwrap(), annotation);
    }

    #[test]
    fn what_can_not_be_read_is_unknown_and_odd_numbers_are_no_span() {
        for odd in [
            json!(7),
            json!({"type": "url_citation"}),
            json!({"type": "url_citation", "url": ""}),
            json!({"type": "url_citation", "url": "https://e.x", "start_index": "2"}),
            json!({"type": "file", "file": {"hash": "h"}}),
        ] {
            assert_eq!(read_one(&odd), Citation::of(Source::Unknown), "{odd}");
        }
        let negative =
            json!({"type": "url_citation", "url": "https://e.x", "start_index": -2, "end_index": 1e99});
        assert_eq!(read_one(&negative), Citation::of_url("https://e.x"));
        assert_eq!(read(&to_raw_value("x").unwrap()), [Citation::of(Source::Unknown)]);
    }

    #[test]
    fn pages_beside_an_answer_are_each_found_once() {
        let citations = to_raw_value(&json!(["https://a.x", "https://b.x", "https://b.x"])).unwrap();
        let results = to_raw_value(&json!([{"url": "https://a.x", "title": "A", "date": null}])).unwrap();
        let mut known = HashSet::from(["https://c.x".into()]);

        let pages = found(Some(&citations), Some(&results), &mut known);

        let told: Vec<_> = pages.iter().map(|page| (page.url(), page.title.as_deref())).collect();
        assert_eq!(told, [(Some("https://a.x"), Some("A")), (Some("https://b.x"), None)]);
        assert!(found(Some(&citations), None, &mut known).is_empty());
    }
}
