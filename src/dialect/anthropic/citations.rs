//! What texts cite, in both directions. Here a block cites as a whole: what cites in between is a block of its own.

use std::ops::Range;

use serde_json::value::RawValue;

use super::wire::{
    read,
    write::{Block, Citation as Wire},
};
use crate::dialect::{
    canonical::{Citation, Place, Source, Text},
    citation::place,
    measure::Measure,
};

/// The citations in a list of them; what can't be read is one that nobody knows.
pub(super) fn read(citations: &RawValue) -> Vec<Citation<'_>> {
    match serde_json::from_str::<Option<Vec<&RawValue>>>(citations.get()) {
        Ok(citations) => citations.unwrap_or_default().into_iter().map(one).collect(),
        Err(_) => vec![Citation::of(Source::Unknown)],
    }
}

/// One of them.
pub(super) fn one(citation: &RawValue) -> Citation<'_> {
    let known = serde_json::from_str::<read::Citation<'_>>(citation.get()).ok().and_then(known);
    known.unwrap_or_else(|| Citation::of(Source::Unknown))
}

fn known(wire: read::Citation<'_>) -> Option<Citation<'_>> {
    let blocks = place(wire.start_block_index, wire.end_block_index);
    let document = |place| Source::Document {
        index: wire.document_index.unwrap_or_default() as u64,
        place: Some(place),
        file: wire.file_id.map(Text::from),
    };
    let source = match wire.kind.as_deref()? {
        "web_search_result_location" => Source::Url {
            url: wire.url.filter(|url| !url.is_empty())?.into(),
            proof: wire.encrypted_index.filter(|proof| !proof.is_empty()).map(Text::from),
        },
        "search_result_location" => {
            let index = wire.search_result_index.unwrap_or_default() as u64;
            Source::SearchResult { source: wire.source.unwrap_or_default().into(), index, blocks }
        }
        "char_location" => document(Place::Characters(place(wire.start_char_index, wire.end_char_index))),
        "page_location" => document(Place::Pages(place(wire.start_page_number, wire.end_page_number))),
        "content_block_location" => document(Place::Blocks(blocks)),
        _ => return None,
    };
    Some(Citation {
        source,
        title: wire.title.or(wire.document_title).map(Text::from),
        quote: wire.cited_text.filter(|text| !text.is_empty()).map(Text::from),
        span: None,
    })
}

/// Whether a client can be told of it.
pub(super) fn is_said(citation: &Citation<'_>) -> bool {
    write(citation).is_some()
}

/// Whether Anthropic reads it again: what its own search has found, and what is in the request.
pub(super) fn is_taken(citation: &Citation<'_>) -> bool {
    !matches!(citation.source, Source::Url { proof: None, .. }) && is_said(citation)
}

/// A citation as it is written.
pub(super) fn write<'a>(citation: &'a Citation<'_>) -> Option<Wire<'a>> {
    let title = citation.title.as_deref();
    let cited_text = citation.quote.as_deref().unwrap_or_default();
    Some(match &citation.source {
        Source::Url { url, proof } => {
            let encrypted_index = proof.as_deref().unwrap_or_default();
            Wire::WebSearchResult { cited_text, url, title, encrypted_index }
        }
        Source::SearchResult { source, index, blocks } => Wire::SearchResult {
            cited_text,
            source,
            title,
            search_result_index: *index,
            start_block_index: blocks.start,
            end_block_index: blocks.end,
        },
        Source::Document { index, place: Some(place), file } => {
            self::document(cited_text, *index, title, place, file.as_deref())
        }
        _ => return None,
    })
}

fn document<'a>(
    cited_text: &'a str,
    document_index: u64,
    document_title: Option<&'a str>,
    place: &Place,
    file_id: Option<&'a str>,
) -> Wire<'a> {
    match place {
        Place::Characters(at) => Wire::Char {
            cited_text,
            document_index,
            document_title,
            file_id,
            start_char_index: at.start,
            end_char_index: at.end,
        },
        Place::Pages(at) => Wire::Page {
            cited_text,
            document_index,
            document_title,
            file_id,
            start_page_number: at.start,
            end_page_number: at.end,
        },
        Place::Blocks(at) => Wire::ContentBlock {
            cited_text,
            document_index,
            document_title,
            file_id,
            start_block_index: at.start,
            end_block_index: at.end,
        },
    }
}

/// The blocks of a text: what cites is one of its own, and where spans overlap they are one.
pub(super) fn blocks<'a>(text: &'a str, citations: &'a [Citation<'_>]) -> Vec<Block<'a>> {
    if text.is_empty() {
        return Vec::new();
    }
    let measure = if citations.is_empty() { Measure::default() } else { Measure::of(text) };
    let bytes = |citation: &Citation<'_>| {
        let span = citation.span.clone().and_then(|span| measure.bytes_of(span));
        let span = span.map(|span| span.start.min(text.len())..span.end.min(text.len()));
        span.filter(|span| span.start < span.end).unwrap_or(0..text.len())
    };
    let mut said: Vec<(Range<usize>, Wire<'a>)> =
        citations.iter().filter_map(|citation| Some((bytes(citation), write(citation)?))).collect();
    said.sort_by_key(|(span, _)| span.start);
    let mut cited: Vec<(Range<usize>, Vec<Wire<'a>>)> = Vec::new();
    for (span, citation) in said {
        match cited.last_mut() {
            Some((last, citations)) if span.start < last.end => {
                last.end = last.end.max(span.end);
                citations.push(citation);
            }
            _ => cited.push((span, vec![citation])),
        }
    }
    let mut blocks = Vec::with_capacity(2 * cited.len() + 1);
    let mut at = 0;
    for (span, citations) in cited {
        if at < span.start {
            blocks.push(Block::text(&text[at..span.start]));
        }
        blocks.push(Block::Text { text: text[span.clone()].into(), citations, cache_control: None });
        at = span.end;
    }
    if at < text.len() {
        blocks.push(Block::text(&text[at..]));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn at(url: &'static str, span: Option<Range<usize>>) -> Citation<'static> {
        Citation { span, ..Citation::of_url(url) }
    }

    fn written(text: &str, citations: &[Citation<'_>]) -> Vec<(String, usize)> {
        let blocks: Value = serde_json::to_value(blocks(text, citations)).unwrap();
        let block = |block: &Value| {
            let citations = block["citations"].as_array().map_or(0, Vec::len);
            (block["text"].as_str().unwrap().to_owned(), citations)
        };
        blocks.as_array().unwrap().iter().map(block).collect()
    }

    #[test]
    fn citations_come_out_as_they_went_in() {
        for citation in [
            json!({"type": "web_search_result_location", "cited_text": "q", "url": "https://e.x", "title": "E",
                "encrypted_index": "Eo8B"}),
            json!({"type": "search_result_location", "cited_text": "q", "source": "s", "title": null,
                "search_result_index": 1, "start_block_index": 0, "end_block_index": 2}),
            json!({"type": "char_location", "cited_text": "q", "document_index": 1, "document_title": "D",
                "start_char_index": 3, "end_char_index": 9}),
            json!({"type": "page_location", "cited_text": "q", "document_index": 0, "document_title": null,
                "file_id": "file_1", "start_page_number": 1, "end_page_number": 2}),
            json!({"type": "content_block_location", "cited_text": "q", "document_index": 0,
                "document_title": "D", "start_block_index": 0, "end_block_index": 1}),
        ] {
            let raw = to_raw_value(&citation).unwrap();

            let read = one(&raw);

            assert!(is_taken(&read), "{citation}");
            assert_eq!(serde_json::to_value(write(&read)).unwrap(), citation);
        }
        let odd = to_raw_value(
            &json!([7, {"type": "new_location"}, {"type": "char_location", "document_index": -1}]),
        );
        let odd = odd.unwrap();
        let read = read(&odd);
        assert_eq!(read[..2], [Citation::of(Source::Unknown), Citation::of(Source::Unknown)]);
        assert!(matches!(read[2].source, Source::Document { index: 0, .. }));
        assert!(!is_taken(&at("https://e.x", None)));
    }

    /// C83
    #[test]
    fn c83_what_cites_is_a_block_of_its_own() {
        let blocks = written("äb cd ef", &[at("v", Some(6..8)), at("u", Some(0..2)), at("w", Some(0..2))]);

        assert_eq!(blocks, [("äb".into(), 2), (" cd ".into(), 0), ("ef".into(), 1)]);
    }

    #[test]
    fn spans_that_overlap_are_one_and_odd_ones_are_the_whole_text() {
        let pair = |text: &str, count| (text.to_owned(), count);

        let overlapping = written("abcdef", &[at("u", Some(1..3)), at("v", Some(2..5))]);
        let odd = written("abc", &[at("u", Some(7..9)), at("v", None)]);

        assert_eq!(overlapping, [pair("a", 0), pair("bcde", 2), pair("f", 0)]);
        assert_eq!(odd, [pair("abc", 2)]);
        assert_eq!(written("abc", &[]), [pair("abc", 0)]);
        assert!(written("", &[at("u", None)]).is_empty());
    }
}
