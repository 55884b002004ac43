//! Where the text of one answer goes over into that of another: [`Seam`].

/// A repetition of the end that is shorter may be meant.
const SHORTEST: usize = 16;
/// One of all that was said, by somebody who wasn't told to go on: Mistral's models repeat their own turn.
const SHORTEST_WHOLE: usize = 4;
/// Nobody repeats more than this of the end.
const LONGEST: usize = 1_024;

/// Takes out of the rest of a text what was said before: all of it, if the one who goes on begins anew, or its end.
/// As long as it isn't clear whether something is repeated, it is held.
pub(super) struct Seam {
    said: String,
    held: String,
    /// Whether the one who goes on was told to, and may do it in its own way.
    is_told: bool,
    is_over: bool,
}

impl Seam {
    pub(super) fn new(said: &str, is_told: bool) -> Self {
        Self { said: said.to_owned(), held: String::new(), is_told, is_over: false }
    }

    /// What is new, up to here.
    pub(super) fn push(&mut self, more: &str) -> String {
        if self.is_over {
            return more.to_owned();
        }
        self.held.push_str(more);
        if self.is_open() { String::new() } else { self.flush() }
    }

    /// What is new, when nothing follows.
    pub(super) fn flush(&mut self) -> String {
        if std::mem::replace(&mut self.is_over, true) {
            return String::new();
        }
        let repeated = self.repeated();
        std::mem::take(&mut self.held).split_off(repeated)
    }

    /// Whether more of the text may show that something is repeated, or how much.
    fn is_open(&self) -> bool {
        let may_begin_anew = self.said.starts_with(&*self.held);
        let may_repeat_the_end = || self.is_told && ends(&self.said).any(|end| end.starts_with(&*self.held));
        let is_space = || self.said.ends_with(char::is_whitespace) && self.held.trim_start().is_empty();
        may_begin_anew || may_repeat_the_end() || is_space()
    }

    /// How much of what is held was said before.
    fn repeated(&self) -> usize {
        let (said, held) = (&*self.said, &*self.held);
        if held.starts_with(said) && (self.is_told || said.len() >= SHORTEST_WHOLE) {
            return said.len();
        }
        let end = || ends(said).find(|end| end.len() >= SHORTEST && held.starts_with(end));
        if let Some(end) = self.is_told.then(end).flatten() {
            return end.len();
        }
        // A space at the end may have been taken off for whoever goes on.
        let space = &said[said.trim_end().len()..];
        space.bytes().zip(held.bytes()).take_while(|(a, b)| a == b).count()
    }
}

/// The ends of a text, the longest one first.
fn ends(text: &str) -> impl Iterator<Item = &str> {
    let first = text.len().saturating_sub(LONGEST);
    (first..text.len()).filter_map(|at| text.get(at..))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "The quick brown fox jumps over ";

    /// What is new of a text, however it is cut.
    fn new(said: &str, rest: &str, is_told: bool) -> String {
        let mut all: Vec<String> = Vec::new();
        for size in [1, 3, rest.len().max(1)] {
            let mut seam = Seam::new(said, is_told);
            let pieces: Vec<char> = rest.chars().collect();
            let mut text: String =
                pieces.chunks(size).map(|piece| seam.push(&piece.iter().collect::<String>())).collect();
            text += &seam.flush();
            all.push(text);
        }
        assert!(all.iter().all(|text| *text == all[0]), "{all:?}");
        all.remove(0)
    }

    #[test]
    fn what_goes_on_stays_as_it_is() {
        for is_told in [true, false] {
            assert_eq!(new(SAID, "the lazy dog", is_told), "the lazy dog");
            assert_eq!(new("ha ", "ha ha", is_told), if is_told { "ha" } else { "ha ha" });
            assert_eq!(new("é", "è", is_told), "è");
            assert_eq!(new(SAID, "", is_told), "");
        }
    }

    #[test]
    fn a_repeated_head_is_dropped_and_so_is_a_repeated_end() {
        let anew = format!("{SAID}the lazy dog");

        assert_eq!(new(SAID, &anew, true), "the lazy dog");
        assert_eq!(new(SAID, &anew, false), "the lazy dog");
        assert_eq!(new(SAID, SAID, true), "");
        assert_eq!(new(SAID, "brown fox jumps over the lazy dog", true), "the lazy dog");
        assert_eq!(new(SAID, "over the lazy dog", true), "over the lazy dog");
    }

    #[test]
    fn a_space_that_was_said_is_not_said_again() {
        assert_eq!(new(SAID, " the lazy dog", false), "the lazy dog");
        assert_eq!(new("a\n\n", "\n\nb", false), "b");
        assert_eq!(new("a", " b", false), " b");
    }
}
