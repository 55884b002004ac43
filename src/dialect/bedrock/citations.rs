//! What texts cite: a block cites as a whole, as Anthropic has it.

use serde_json::value::RawValue;

use super::wire::read;
use crate::dialect::{
    canonical::{Citation, Place, Source, Text},
    citation::place,
};

/// A citation; what can't be read is one that nobody knows.
pub(super) fn read(citation: &RawValue) -> Citation<'_> {
    let known = serde_json::from_str::<read::Citation<'_>>(citation.get()).ok().and_then(known);
    known.unwrap_or_else(|| Citation::of(Source::Unknown))
}

fn known(wire: read::Citation<'_>) -> Option<Citation<'_>> {
    let location = wire.location?;
    let document = |at: read::Range, place: fn(std::ops::Range<u64>) -> Place| Source::Document {
        index: at.document_index.unwrap_or_default() as u64,
        place: Some(place(self::place(at.start, at.end))),
        file: None,
    };
    let source = match location {
        read::Location { web: Some(web), .. } => {
            Source::Url { url: web.url.filter(|url| !url.is_empty())?.into(), proof: None }
        }
        read::Location { characters: Some(at), .. } => document(at, Place::Characters),
        read::Location { pages: Some(at), .. } => document(at, Place::Pages),
        read::Location { chunks: Some(at), .. } => document(at, Place::Blocks),
        read::Location { search_result: Some(at), .. } => Source::SearchResult {
            source: wire.source.unwrap_or_default().into(),
            index: at.document_index.unwrap_or_default() as u64,
            blocks: place(at.start, at.end),
        },
        _ => return None,
    };
    let quotes = wire.content.unwrap_or_default().into_iter().filter_map(|piece| piece.text.map(Text::from));
    let quote = quotes.reduce(|text, more| text + more).filter(|text| !text.is_empty());
    Some(Citation { title: wire.title.map(Text::from), quote, ..Citation::of(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(location: &str) -> Source<'static> {
        let json =
            format!(r#"{{"title":"T","source":"s","sourceContent":[{{"text":"q"}}],"location":{location}}}"#);
        read(&RawValue::from_string(json).unwrap()).into_owned().source
    }

    #[test]
    fn every_location_is_read() {
        let document = |place| Source::Document { index: 1, place: Some(place), file: None };
        let at = |name: &str| source(&format!(r#"{{"{name}":{{"documentIndex":1,"start":2,"end":4}}}}"#));

        assert_eq!(at("documentChar"), document(Place::Characters(2..4)));
        assert_eq!(at("documentPage"), document(Place::Pages(2..4)));
        assert_eq!(at("documentChunk"), document(Place::Blocks(2..4)));
        let url = || Source::Url { url: "https://e.x".into(), proof: None };
        assert_eq!(source(r#"{"web":{"url":"https://e.x","domain":"e.x"}}"#), url());
        let found = Source::SearchResult { source: "s".into(), index: 3, blocks: 0..1 };
        assert_eq!(source(r#"{"searchResultLocation":{"searchResultIndex":3,"start":0,"end":1}}"#), found);
        for odd in ["null", "7", "{}", r#"{"web":{}}"#, r#"{"documentChar":[]}"#] {
            assert_eq!(source(odd), Source::Unknown, "{odd}");
        }
    }
}
