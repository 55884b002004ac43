use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;

/// A text in which characters of ASCII stand for themselves, where JSON may have an escape for them: `\u0073` and
/// `\/`. Escapes of escapes, as in JSON inside of JSON, count like one.
///
/// Line feeds, quotes and the like stay as they are: secrets have none inside.
pub(super) struct Plain<'t> {
    pub(super) text: Cow<'t, str>,
    /// Where in the plain text one byte stands for more, and for how many more up to there.
    escapes: Vec<(usize, usize)>,
}

static UNICODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u00"));
static SLASH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\/"));

impl<'t> Plain<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        if UNICODE.find(bytes).is_none() && SLASH.find(bytes).is_none() {
            return Self { text: Cow::Borrowed(text), escapes: Vec::new() };
        }
        let (mut plain, mut escapes) = (String::with_capacity(text.len()), Vec::new());
        let (mut done, mut more) = (0, 0);
        while let Some(begin) = memchr::memchr(b'\\', &bytes[done..]).map(|at| done + at) {
            let run = bytes[begin..].iter().take_while(|byte| **byte == b'\\').count();
            plain.push_str(&text[done..begin]);
            done = begin + run;
            match escaped(&text[done..]) {
                Some((char, length)) => {
                    more += run + length - 1;
                    escapes.push((plain.len(), more));
                    plain.push(char);
                    done += length;
                }
                None => plain.push_str(&text[begin..done]),
            }
        }
        plain.push_str(&text[done..]);
        Self { text: Cow::Owned(plain), escapes }
    }

    /// Where in the text itself a place of the plain one is.
    pub(super) fn place(&self, at: usize) -> usize {
        let before = self.escapes.partition_point(|(escape, _)| *escape < at);
        at + before.checked_sub(1).map_or(0, |last| self.escapes[last].1)
    }
}

/// The character that is meant behind a backslash, if it is one of ASCII, and how many bytes it takes there.
fn escaped(rest: &str) -> Option<(char, usize)> {
    if rest.starts_with('/') {
        return Some(('/', 1));
    }
    let digits =
        rest.strip_prefix("u00")?.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let code = u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?;
    Some((char::from(code), 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_ascii_stand_for_themselves_and_their_places_are_known() {
        let text = r"a\u0073b\/c\\u006b\u00e4\nd";

        let plain = Plain::of(text);

        assert_eq!(plain.text, r"asb/ck\u00e4\nd");
        let places: Vec<_> = (0..=6).map(|at| &text[plain.place(at)..]).collect();
        let end = r"\u00e4\nd";
        assert_eq!(places[0], text);
        assert_eq!(places[1], &text[1..]);
        assert_eq!(places[2], &text[7..]);
        assert_eq!((places[3], places[4], places[6]), (&text[8..], &text[10..], end));
        assert_eq!(plain.place(plain.text.len()), text.len());
    }

    #[test]
    fn what_has_no_such_escape_is_not_copied() {
        assert!(matches!(Plain::of(r#"one\ntwo \"three\""#).text, Cow::Borrowed(_)));
    }
}
