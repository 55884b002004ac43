//! [`Measure`]: where characters of a text begin.

use std::ops::Range;

use super::{buffer::MAX_BYTES, citation::characters};

/// So many bytes apart are the places at which the count of characters is known.
const STEP: usize = 1 << 10;

/// Translates places in a text between bytes and characters, which is added piece by piece.
///
/// What begins with plain ASCII is not kept so far: its bytes are its characters.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    ascii: usize,
    rest: String,
    /// How many characters of the rest begin before the end of each step.
    marks: Vec<usize>,
    /// How many there are in the rest.
    characters: usize,
    is_too_long: bool,
}

impl Measure {
    /// Of a whole text.
    pub(crate) fn of(text: &str) -> Self {
        let mut measure = Self::default();
        measure.push(text);
        measure
    }

    /// More of the text.
    pub(crate) fn push(&mut self, text: &str) {
        let mut text = text;
        if self.rest.is_empty() && !self.is_too_long {
            let plain = text.bytes().position(|byte| !byte.is_ascii()).unwrap_or(text.len());
            self.ascii += plain;
            text = &text[plain..];
        }
        self.characters += characters(text);
        self.is_too_long |= self.rest.len() + text.len() > MAX_BYTES;
        if self.is_too_long {
            (self.rest, self.marks) = Default::default();
            return;
        }
        self.rest.push_str(text);
        while self.rest.len() >= (self.marks.len() + 1) * STEP {
            let from = self.marks.len() * STEP;
            let before = self.marks.last().copied().unwrap_or_default();
            self.marks.push(before + starts(&self.rest.as_bytes()[from..from + STEP]));
        }
    }

    /// The length of the text in characters.
    pub(crate) fn characters(&self) -> usize {
        self.ascii + self.characters
    }

    /// The characters in a span of bytes, also of those that it cuts; `None` if the text is too long to say.
    pub(crate) fn characters_in(&self, bytes: Range<usize>) -> Option<Range<usize>> {
        if self.is_too_long {
            return None;
        }
        let before = self.characters_before(bytes.start);
        let is_inside = bytes
            .start
            .checked_sub(self.ascii)
            .and_then(|at| self.rest.as_bytes().get(at))
            .is_some_and(|byte| !is_start(byte));
        Some(before - usize::from(is_inside)..self.characters_before(bytes.end))
    }

    /// How many characters begin before a byte.
    fn characters_before(&self, byte: usize) -> usize {
        let Some(byte) = byte.checked_sub(self.ascii) else { return byte };
        let byte = byte.min(self.rest.len());
        let step = byte / STEP;
        let before = step.checked_sub(1).map_or(0, |last| self.marks[last]);
        self.ascii + before + starts(&self.rest.as_bytes()[step * STEP..byte])
    }

    /// The bytes of a span of characters; `None` if the text is too long to say.
    pub(crate) fn bytes_of(&self, characters: Range<usize>) -> Option<Range<usize>> {
        (!self.is_too_long).then(|| self.byte_of(characters.start)..self.byte_of(characters.end))
    }

    /// The first byte of a character.
    fn byte_of(&self, character: usize) -> usize {
        let Some(character) = character.checked_sub(self.ascii) else { return character };
        let step = self.marks.partition_point(|mark| *mark <= character);
        let before = step.checked_sub(1).map_or(0, |last| self.marks[last]);
        let from = step * STEP;
        let bytes = self.rest.as_bytes()[from..].iter().enumerate();
        let mut starts = bytes.filter(|(_, byte)| is_start(byte)).map(|(at, _)| from + at);
        self.ascii + starts.nth(character - before).unwrap_or(self.rest.len())
    }
}

fn is_start(byte: &u8) -> bool {
    byte & 0xc0 != 0x80
}

fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| is_start(byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_not_kept() {
        let measure = Measure::of(&"plain ".repeat(1000));

        assert_eq!((measure.ascii, measure.rest.capacity()), (6000, 0));
        assert_eq!(measure.characters_in(5..7000), Some(5..6000));
        assert_eq!(measure.bytes_of(5..7000), Some(5..6000));
    }

    #[test]
    fn a_byte_inside_of_a_character_means_all_of_it() {
        let measure = Measure::of("aä€b");

        assert_eq!(measure.characters_in(2..4), Some(1..3));
        assert_eq!(measure.characters_in(5..6), Some(2..3));
        assert_eq!(measure.characters_in(99..usize::MAX), Some(4..4));
    }

    #[test]
    fn a_text_that_is_too_long_is_measured_but_not_kept() {
        let mut measure = Measure::of("ä");

        (0..5).for_each(|_| measure.push(&"ä".repeat(MAX_BYTES / 8)));

        assert_eq!(measure.characters(), 5 * (MAX_BYTES / 8) + 1);
        assert_eq!((measure.bytes_of(0..1), measure.rest.capacity()), (None, 0));
    }

    proptest! {
        #[test]
        fn places_are_those_that_counting_finds(
            pieces in prop::collection::vec("[a-zä€\u{1f600}]{0,900}", 0..6), at in any::<prop::sample::Index>(),
        ) {
            let text = pieces.concat();
            let mut measure = Measure::default();
            pieces.iter().for_each(|piece| measure.push(piece));
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let character = at.index(starts.len());

            let byte = starts[character];

            prop_assert_eq!(measure.bytes_of(0..character), Some(0..byte));
            prop_assert_eq!(measure.characters_in(byte..text.len()), Some(character..starts.len() - 1));
            prop_assert_eq!(measure.characters(), starts.len() - 1);
        }
    }
}
