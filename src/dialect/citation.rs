//! [`Citation`]: where something that is said comes from.

use std::ops::Range;

use super::{
    canonical::{Content, Part, Request, Role, Text},
    lost::Lost,
};

/// Where something that is said comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation<'a> {
    /// What is cited.
    pub source: Source<'a>,
    /// Its title, or the name of the file.
    pub title: Option<Text<'a>>,
    /// What stands there.
    pub quote: Option<Text<'a>>,
    /// Which characters cite it, in Unicode code points: of the part's text, or, in a stream, of all the text of
    /// the answer. `None` is the whole of it.
    pub span: Option<Range<usize>>,
}

/// What is cited.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source<'a> {
    /// A page of the web.
    Url {
        /// Its address.
        url: Text<'a>,
        /// Anthropic's proof that its search has found the page.
        proof: Option<Text<'a>>,
    },
    /// A result of a search that the client has given in its request.
    SearchResult {
        /// Its address, or whatever else the client calls it.
        source: Text<'a>,
        /// Which of several, counted from 0.
        index: u64,
        /// Which blocks of it.
        blocks: Range<u64>,
    },
    /// A document in the request.
    Document {
        /// Which of several, counted from 0.
        index: u64,
        /// Where in it.
        place: Option<Place>,
        /// Under which name it is stored at the provider.
        file: Option<Text<'a>>,
    },
    /// A file that the provider keeps, or that its tools have made. The citation's span is the place for a mark if it
    /// is empty.
    File {
        /// Its name there.
        id: Text<'a>,
        /// The container it is in.
        container: Option<Text<'a>>,
    },
    /// Something that no codec knows; it is reported as lost.
    Unknown,
}

/// A place in a document, its end excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Characters, counted from 0.
    Characters(Range<u64>),
    /// Pages, counted from 1.
    Pages(Range<u64>),
    /// Blocks of its content, counted from 0.
    Blocks(Range<u64>),
}

impl<'a> Citation<'a> {
    /// Of this source, with nothing else known.
    pub fn of(source: Source<'a>) -> Self {
        Self { source, title: None, quote: None, span: None }
    }

    /// Of a page of the web.
    pub(crate) fn of_url(url: impl Into<Text<'a>>) -> Self {
        Self::of(Source::Url { url: url.into(), proof: None })
    }

    /// The address of what is cited.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.source {
            Source::Url { url, .. } => Some(url),
            Source::SearchResult { source, .. } if source.contains("://") => Some(source),
            _ => None,
        }
    }

    /// With a span inside of a text of so many characters, or with none if it is not one.
    pub(crate) fn within(mut self, length: usize) -> Self {
        let is_mark = matches!(self.source, Source::File { .. });
        let span = self.span.take().map(|span| span.start.min(length)..span.end.min(length));
        self.span = span.filter(|span| span.start < span.end || is_mark && span.start == span.end);
        self
    }

    /// The span in a text that begins so many characters later.
    pub(crate) fn later(mut self, by: usize) -> Self {
        self.span = self.span.map(|span| span.start.saturating_add(by)..span.end.saturating_add(by));
        self
    }

    /// The span in a text that begins so many characters earlier.
    pub(crate) fn earlier(mut self, by: usize) -> Self {
        self.span = self.span.map(|span| span.start.saturating_sub(by)..span.end.saturating_sub(by));
        self
    }

    /// About how many bytes it takes to keep it.
    pub(crate) fn size(&self) -> usize {
        let length = |text: &Option<Text<'_>>| text.as_ref().map_or(0, |text| text.len());
        let source = match &self.source {
            Source::Url { url, proof } => url.len() + length(proof),
            Source::SearchResult { source, .. } => source.len(),
            Source::Document { file, .. } => length(file),
            Source::File { id, container } => id.len() + length(container),
            Source::Unknown => 0,
        };
        size_of::<Self>() + source + length(&self.title) + length(&self.quote)
    }

    /// The same with texts of its own.
    pub(crate) fn into_owned(self) -> Citation<'static> {
        let owned = |text: Text<'_>| Text::Owned(text.into_owned());
        let source = match self.source {
            Source::Url { url, proof } => Source::Url { url: owned(url), proof: proof.map(owned) },
            Source::SearchResult { source, index, blocks } => {
                Source::SearchResult { source: owned(source), index, blocks }
            }
            Source::Document { index, place, file } => {
                Source::Document { index, place, file: file.map(owned) }
            }
            Source::File { id, container } => Source::File { id: owned(id), container: container.map(owned) },
            Source::Unknown => Source::Unknown,
        };
        Citation { source, title: self.title.map(owned), quote: self.quote.map(owned), span: self.span }
    }
}

/// The span between two numbers of a provider's, which may be anything. Equal ones say nothing.
pub(crate) fn span(start: Option<f64>, end: Option<f64>) -> Option<Range<usize>> {
    let (start, end) = (start.unwrap_or_default(), end?);
    // Casts of floats saturate.
    (start >= 0.0 && start < end).then_some(start as usize..end as usize)
}

/// The same for places in what is cited.
pub(crate) fn place(start: Option<f64>, end: Option<f64>) -> Range<u64> {
    let number = |number: Option<f64>| number.unwrap_or_default() as u64;
    number(start)..number(end)
}

/// How many characters a text has.
pub(crate) fn characters(text: &str) -> usize {
    text.chars().count()
}

/// Gives citations of the texts in `parts`, taken together, to the texts that they are about. Where there is no text
/// the last part gets them, so that they are not lost in silence.
pub(crate) fn attach<'a>(citations: Vec<Citation<'a>>, parts: &mut [Part<'a>]) {
    if citations.is_empty() {
        return;
    }
    let mut texts = Vec::new();
    let mut total = 0;
    for (index, part) in parts.iter().enumerate() {
        if let Content::Text(text) = &part.content {
            let length = characters(text);
            texts.push((index, total, length));
            total += length;
        }
    }
    for citation in citations {
        let start = citation.span.as_ref().map_or(usize::MAX, |span| span.start);
        let place = texts.partition_point(|(_, begins, _)| *begins <= start);
        match texts.get(place.saturating_sub(1)) {
            Some((index, begins, length)) => {
                parts[*index].citations.push(citation.earlier(*begins).within(*length));
            }
            None => {
                if let Some(last) = parts.last_mut() {
                    last.citations.push(citation);
                }
            }
        }
    }
}

/// Whether any citation in an answer's parts is not `said`: those of what is no text have no place anywhere.
pub(crate) fn any_lost(parts: &[Part<'_>], said: impl Fn(&Citation<'_>) -> bool) -> bool {
    parts.iter().any(|part| {
        let is_text = matches!(part.content, Content::Text(_));
        part.citations.iter().any(|citation| !is_text || !said(citation))
    })
}

/// The name of citations in an answer that are lost.
pub(crate) const LOST_IN_ANSWER: &str = "answer.citations";

/// The name of what an earlier answer cites, where it is lost. Clients send back what they were told, and the model
/// knows what it has said: losses are refused without this one.
pub(crate) const LOST_OF_HISTORY: &str = "messages[].annotations";

/// The name of what others than the model cite, where it is lost.
const LOST: &str = "messages[].content[].citations";

/// Notes citations in a request that are not `said` of who has cited it.
pub(crate) fn lose(request: &Request<'_>, said: impl Fn(Role, &Citation<'_>) -> bool, lost: &mut Lost) {
    let is_lost = |role: Role, part: &Part<'_>| part.citations.iter().any(|citation| !said(role, citation));
    lost.push_if(request.system.iter().any(|part| is_lost(Role::System, part)), LOST);
    for turn in &request.turns {
        let any = turn.parts.iter().any(|part| match &part.content {
            Content::ToolResult { parts, .. } => parts.iter().any(|part| is_lost(turn.role, part)),
            _ => is_lost(turn.role, part),
        });
        lost.push_if(any, if turn.role == Role::Assistant { LOST_OF_HISTORY } else { LOST });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(span: Option<Range<usize>>) -> Citation<'static> {
        Citation { span, ..Citation::of_url("https://e.x") }
    }

    #[test]
    fn numbers_that_are_no_span_are_none() {
        assert_eq!(span(Some(1.0), Some(3.0)), Some(1..3));
        assert_eq!(span(None, Some(3.0)), Some(0..3));
        for (start, end) in [(0.0, 0.0), (-1.0, 3.0), (3.0, 1.0), (f64::NAN, 1.0), (1.0, f64::NAN)] {
            assert_eq!(span(Some(start), Some(end)), None);
        }
        assert_eq!(span(Some(1.0), Some(1e300)), Some(1..usize::MAX));
    }

    #[test]
    fn a_span_stays_inside_of_its_text() {
        assert_eq!(at(Some(1..9)).within(4).span, Some(1..4));
        assert_eq!(at(Some(7..9)).within(4).span, None);
        assert_eq!(at(Some(7..usize::MAX)).later(9).within(20).span, Some(16..20));
        let mark =
            Citation { span: Some(3..3), ..Citation::of(Source::File { id: "f".into(), container: None }) };
        assert_eq!(mark.within(9).span, Some(3..3));
    }

    #[test]
    fn citations_find_the_texts_that_they_are_about() {
        let texts = ["äb", "cd"].map(|text| Part::from(Content::Text(text.into())));
        let mut parts = texts.to_vec();
        parts.insert(1, Content::Refusal("no".into()).into());

        attach(vec![at(Some(0..2)), at(Some(3..99)), at(None)], &mut parts);

        assert_eq!(parts[0].citations, [at(Some(0..2))]);
        assert_eq!(parts[2].citations, [at(Some(1..2)), at(None)]);
    }

    #[test]
    fn what_cites_without_a_text_is_lost() {
        let mut parts = vec![Part::from(Content::Refusal("no".into()))];

        attach(vec![at(None)], &mut parts);

        assert!(any_lost(&parts, |_| true));
    }
}
