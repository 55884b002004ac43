//! [`Cited`]: what a streamed answer cites, until the text that it is about has come.

use super::{
    buffer::Buffered,
    citation::{Citation, characters},
};
use crate::Error;

/// Counts the characters of a streamed answer's text and keeps citations for later.
#[derive(Debug, Default)]
pub(crate) struct Cited {
    characters: usize,
    held: Vec<Citation<'static>>,
    buffered: Buffered,
}

impl Cited {
    /// More of the text.
    pub(crate) fn said(&mut self, text: &str) {
        self.characters += characters(text);
    }

    /// How many characters have been said.
    pub(crate) fn characters(&self) -> usize {
        self.characters
    }

    /// Keeps a citation.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`](crate::Kind::Upstream) if there are too many.
    pub(crate) fn hold(&mut self, citation: Citation<'_>) -> Result<(), Error> {
        self.buffered.keep(citation.size())?;
        self.held.push(citation.into_owned());
        Ok(())
    }

    /// Hands back a citation whose text is there, and keeps any other.
    ///
    /// # Errors
    ///
    /// [`Kind::Upstream`](crate::Kind::Upstream) if there are too many.
    pub(crate) fn ready<'a>(&mut self, citation: Citation<'a>) -> Result<Option<Citation<'a>>, Error> {
        if citation.span.as_ref().is_some_and(|span| span.end <= self.characters) {
            return Ok(Some(citation));
        }
        self.hold(citation).map(|()| None)
    }

    /// What was kept, with spans inside of the text.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Citation<'static>> + use<> {
        self.buffered = Buffered::default();
        let characters = self.characters;
        std::mem::take(&mut self.held).into_iter().map(move |citation| citation.within(characters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::buffer::MAX_BYTES;

    fn at(end: usize) -> Citation<'static> {
        Citation { span: Some(0..end), ..Citation::of_url("u") }
    }

    #[test]
    fn a_citation_waits_for_its_text() {
        let mut cited = Cited::default();
        cited.said("äö");

        let now = cited.ready(at(2)).unwrap();
        let later = cited.ready(at(3)).unwrap();
        cited.said("ü");

        assert_eq!((now, later), (Some(at(2)), None));
        assert_eq!(cited.take().collect::<Vec<_>>(), [at(3)]);
        assert_eq!(cited.take().count(), 0);
    }

    #[test]
    fn citations_that_are_kept_have_a_limit() {
        let mut cited = Cited::default();
        let long = Citation { title: Some("t".repeat(MAX_BYTES / 2).into()), ..at(9) };

        assert!(cited.hold(long.clone()).is_ok());
        assert!(cited.hold(long).is_err());
    }
}
