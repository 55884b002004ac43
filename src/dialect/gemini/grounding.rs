//! What texts cite, in both directions: chunks that are cited and segments of the text that cite them, which are
//! counted in bytes.

use std::{collections::HashMap, ops::Range};

use serde_json::value::RawValue;

use super::wire::{
    read,
    write::{Chunk, GroundingMetadata, Page, Segment, Support},
};
use crate::dialect::{
    buffer::Buffered,
    canonical::{Citation, Content, Part, Source, Text},
    citation::span,
    measure::Measure,
};

/// A citation whose span is in bytes of the text of a part, or of all texts where there is no number of a part.
pub(super) type InBytes<'a> = (Option<usize>, Citation<'a>);

/// The citations in the metadata of a candidate, which may be said of grounding and of recitation.
pub(super) fn read<'a>(grounding: Option<&'a RawValue>, recited: Option<&'a RawValue>) -> Vec<InBytes<'a>> {
    let unknown = |_| vec![(None, Citation::of(Source::Unknown))];
    let mut citations = match grounding.map(|raw| serde_json::from_str(raw.get())) {
        Some(grounding) => grounding.map_or_else(unknown, grounded),
        None => Vec::new(),
    };
    if let Some(recited) = recited {
        let recited = serde_json::from_str::<read::CitationMetadata<'_>>(recited.get());
        let sources = recited.map(|recited| recited.sources.unwrap_or_default());
        citations.extend(sources.map_or_else(unknown, |all| all.into_iter().map(recitation).collect()));
    }
    citations
}

fn recitation(recited: read::Recitation<'_>) -> InBytes<'_> {
    let source = recited.uri.filter(|uri| !uri.is_empty()).map(Citation::of_url);
    let (title, span) = (recited.title.map(Text::from), span(recited.start, recited.end));
    (None, Citation { title, span, ..source.unwrap_or(Citation::of(Source::Unknown)) })
}

/// A chunk may be cited again and again: what that comes to has a limit.
fn grounded(grounding: read::Grounding<'_>) -> Vec<InBytes<'_>> {
    let chunks: Vec<Citation<'_>> = grounding.chunks.unwrap_or_default().into_iter().map(chunk).collect();
    let supports = grounding.supports.unwrap_or_default();
    if supports.is_empty() {
        return chunks.into_iter().map(|chunk| (None, chunk)).collect();
    }
    let (mut citations, mut kept) = (Vec::new(), Buffered::default());
    for support in supports {
        let segment = support.segment.unwrap_or_default();
        let part = segment.part.filter(|part| *part >= 0.0).map(|part| part as usize);
        for index in support.chunks.unwrap_or_default() {
            let chunk = chunks.get(index as usize).filter(|_| index >= 0.0);
            let unknown = Citation::of(Source::Unknown);
            let chunk = chunk.unwrap_or(&unknown);
            if kept.keep(chunk.size()).is_err() {
                citations.push((None, unknown));
                return citations;
            }
            citations.push((part, Citation { span: span(segment.start, segment.end), ..chunk.clone() }));
        }
    }
    citations
}

fn chunk(chunk: read::Chunk<'_>) -> Citation<'_> {
    let from = chunk.web.or(chunk.maps).or(chunk.retrieved).or(chunk.image).unwrap_or_default();
    let uri = from.uri.map(Text::from).filter(|uri| !uri.is_empty());
    let title = from.title.map(Text::from);
    let source = match uri.or(from.document.map(Text::from)) {
        Some(url) if url.contains("://") && !url.starts_with("gs://") => Source::Url { url, proof: None },
        Some(id) => Source::File { id, container: None },
        None if title.is_some() => Source::File { id: Text::default(), container: None },
        None => Source::Unknown,
    };
    Citation { source, title, quote: from.text.map(Text::from), span: None }
}

/// The same citations with spans in characters, where `measure` is that of all text.
pub(super) fn in_characters<'a>(citations: Vec<InBytes<'a>>, measure: &Measure) -> Vec<Citation<'a>> {
    let count = |citation: Citation<'a>| {
        let span = citation.span.clone().and_then(|span| measure.characters_in(span));
        Citation { span, ..citation }.within(measure.characters())
    };
    citations.into_iter().map(|(_, citation)| count(citation)).collect()
}

/// Gives the citations of a whole answer to its parts; `places` says where in `parts` the texts among the provider's
/// parts are.
pub(super) fn attach<'a>(citations: Vec<InBytes<'a>>, places: &[Option<usize>], parts: &mut [Part<'a>]) {
    if citations.is_empty() {
        return;
    }
    let texts: Vec<usize> = places.iter().flatten().copied().collect();
    let measures: Vec<Measure> = texts.iter().map(|at| Measure::of(text(&parts[*at]))).collect();
    let mut begins = Vec::with_capacity(texts.len());
    let mut total = 0;
    for at in &texts {
        begins.push(total);
        total += text(&parts[*at]).len();
    }
    for (part, citation) in citations {
        let named = part.and_then(|part| texts.binary_search(&(*places.get(part)?)?).ok());
        let start = citation.span.as_ref().map_or(usize::MAX, |span| span.start);
        let place = named.or_else(|| begins.partition_point(|begin| *begin <= start).checked_sub(1));
        let Some(place) = place else {
            if let Some(last) = parts.last_mut() {
                last.citations.push(citation);
            }
            continue;
        };
        let before = if named.is_some() { 0 } else { begins[place] };
        let citation = citation.earlier(before);
        let said = in_characters(vec![(None, citation)], &measures[place]);
        parts[texts[place]].citations.extend(said);
    }
}

fn text<'a>(part: &'a Part<'_>) -> &'a str {
    match &part.content {
        Content::Text(text) => text,
        _ => "",
    }
}

/// Whether a client can be told of it.
pub(super) fn is_said(citation: &Citation<'_>) -> bool {
    page(citation).is_some()
}

/// What is cited, and whether it is a page of the web.
fn page(citation: &Citation<'_>) -> Option<(bool, Page)> {
    let owned = |text: &Option<Text<'_>>| text.as_deref().map(str::to_owned);
    let (uri, title) = (citation.url().map(str::to_owned), owned(&citation.title));
    if let Source::Url { .. } = citation.source {
        // There is no place for what stands there.
        return Some((true, Page { uri, title, text: None }));
    }
    let page = Page { uri, title, text: owned(&citation.quote) };
    let says_something = page.uri.is_some() || page.title.is_some() || page.text.is_some();
    (citation.source != Source::Unknown && says_something).then_some((false, page))
}

/// What is cited in one candidate, in the making.
#[derive(Debug, Default)]
pub(super) struct Grounding {
    metadata: GroundingMetadata,
    known: HashMap<(bool, Page), usize>,
}

impl Grounding {
    /// Adds a citation by this segment.
    pub(super) fn add(&mut self, citation: &Citation<'_>, segment: Segment) {
        let Some(page) = page(citation) else { return };
        let chunks = &mut self.metadata.grounding_chunks;
        let index = *self.known.entry(page).or_insert_with_key(|(is_web, page)| {
            chunks.push(if *is_web {
                Chunk::Web(page.clone())
            } else {
                Chunk::RetrievedContext(page.clone())
            });
            chunks.len() - 1
        });
        match self.metadata.grounding_supports.last_mut() {
            Some(last) if last.segment == segment => last.grounding_chunk_indices.push(index),
            _ => {
                let grounding_chunk_indices = vec![index];
                self.metadata.grounding_supports.push(Support { segment, grounding_chunk_indices });
            }
        }
    }

    /// The whole of it, if there is anything.
    pub(super) fn finish(self) -> Option<GroundingMetadata> {
        (!self.metadata.grounding_chunks.is_empty()).then_some(self.metadata)
    }
}

/// The segment of bytes for a span of characters.
pub(super) fn segment(
    part_index: usize,
    span: Option<Range<usize>>,
    measure: &Measure,
    whole: usize,
) -> Segment {
    let bytes = span.and_then(|span| measure.bytes_of(span)).filter(|bytes| bytes.start < bytes.end);
    let bytes = bytes.map(|bytes| bytes.start.min(whole)..bytes.end.min(whole)).unwrap_or(0..whole);
    Segment { part_index, start_index: bytes.start, end_index: bytes.end }
}

/// Adds what a part cites, which is written as the one of this number.
pub(super) fn add(grounding: &mut Grounding, part: &Part<'_>, number: usize) {
    if part.citations.is_empty() {
        return;
    }
    let text = text(part);
    let measure = Measure::of(text);
    for citation in &part.citations {
        grounding.add(citation, segment(number, citation.span.clone(), &measure, text.len()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::dialect::testing::{text, thought};

    fn raw(value: serde_json::Value) -> Box<RawValue> {
        to_raw_value(&value).unwrap()
    }

    type Cited<'p> = (&'p str, Option<Range<usize>>);

    /// The addresses and spans that parts cite.
    fn cited<'p>(parts: &'p [Part<'_>]) -> Vec<Vec<Cited<'p>>> {
        let of = |citation: &'p Citation<'_>| (citation.url().unwrap_or("?"), citation.span.clone());
        parts.iter().map(|part| part.citations.iter().map(of).collect()).collect()
    }

    #[test]
    fn a_segment_finds_its_part_with_or_without_a_number() {
        let grounding = raw(
            serde_json::json!({"groundingChunks": [{"web": {"uri": "https://a.x"}}, {"maps": {"uri": "https://b.x"}}],
            "groundingSupports": [
                {"segment": {"endIndex": 3}, "groundingChunkIndices": [0]},
                {"segment": {"startIndex": 4, "endIndex": 6}, "groundingChunkIndices": [1]},
                {"segment": {"partIndex": 2, "startIndex": 1, "endIndex": 3}, "groundingChunkIndices": [0, 9]},
                {"segment": {"partIndex": 7, "startIndex": -1, "endIndex": 1e300}, "groundingChunkIndices": [0]}]}),
        );
        let mut parts = vec![thought("hm", None), text("äb"), text("cü")];

        attach(read(Some(&grounding), None), &[None, Some(1), Some(2)], &mut parts);

        assert_eq!(
            cited(&parts)[1..],
            [
                vec![("https://a.x", Some(0..2))],
                vec![
                    ("https://b.x", Some(1..2)),
                    ("https://a.x", Some(1..2)),
                    ("?", Some(1..2)),
                    ("https://a.x", None)
                ]
            ]
        );
    }

    #[test]
    fn chunks_that_nothing_refers_to_are_those_of_the_whole_text() {
        let grounding = raw(serde_json::json!({"groundingChunks": [{"web": {"uri": "https://a.x"}},
            {"retrievedContext": {"title": "D", "text": "q"}}, {"new": {}}]}));
        let recited = raw(
            serde_json::json!({"citationSources": [{"startIndex": 1, "endIndex": 4, "uri": "https://c.x"}]}),
        );
        let mut parts = vec![text("aöb")];

        attach(read(Some(&grounding), Some(&recited)), &[Some(0)], &mut parts);

        let [part] = &parts[..] else { panic!() };
        let said: Vec<bool> = part.citations.iter().map(is_said).collect();
        assert_eq!(said, [true, true, false, true]);
        assert_eq!(cited(&parts)[0][3], ("https://c.x", Some(1..3)));
    }

    #[test]
    fn what_can_not_be_read_is_unknown_and_may_be_empty() {
        for odd in [serde_json::json!(7), serde_json::json!({"groundingChunks": 7})] {
            assert_eq!(read(Some(&raw(odd)), None)[0].1.source, Source::Unknown);
        }
        assert!(read(Some(&raw(serde_json::json!({"webSearchQueries": ["q"]}))), None).is_empty());
    }
}
