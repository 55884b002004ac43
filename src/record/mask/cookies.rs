use std::ops::Range;

use super::{
    length,
    pairs::{behind, is_placeholder, unquoted},
};

/// Shorter values open nothing: `theme=dark`.
const LEAST: usize = 6;
/// The longest name of a cookie that is looked at.
const LONGEST_NAME: usize = 256;
/// How much is judged: what only looks like cookies is not to be read again and again.
const JUDGED: usize = 4096;

/// The cookies of a header `Cookie`, all of them: `sid=0123456; theme=dark`.
pub(super) fn sent(text: &str, name: Range<usize>) -> Option<Range<usize>> {
    let begin = text.len() - value(text, &name)?.len();
    let (mut end, mut has_secret) = (begin, false);
    while has_secret || end - begin < JUDGED {
        let gap = text[end..].bytes().take_while(|byte| b"; ".contains(byte)).count();
        let is_next = end == begin || text[end..].starts_with(';');
        let Some(cookie) = cookie(text, end + gap).filter(|_| is_next) else { break };
        has_secret |= is_secret(&text[cookie.judged.clone()]);
        if !has_secret && cookie.judged.len() > JUDGED / 2 {
            break;
        }
        end = cookie.end(text);
    }
    has_secret.then_some(begin..end)
}

/// The value of the cookie of a header `Set-Cookie`, without what is said about it: `sid=0123456; Path=/`.
pub(super) fn set(text: &str, name: Range<usize>) -> Option<Range<usize>> {
    let begin = text.len() - value(text, &name)?.len();
    let cookie = cookie(text, begin).filter(|cookie| is_secret(&text[cookie.judged.clone()]))?;
    Some(cookie.judged.start..cookie.end_of_value(text))
}

fn is_secret(value: &str) -> bool {
    value.len() >= LEAST && !is_placeholder(value)
}

/// What stands behind the name of the header, up to the end of the text.
fn value<'t>(text: &'t str, name: &Range<usize>) -> Option<&'t str> {
    let argument = || unquoted(&text[name.end..])?.trim_start().strip_prefix(',');
    let value = behind(text, name).or_else(argument)?.trim_start();
    // Headers that come several times are lists.
    let value = value.strip_prefix('[').unwrap_or(value);
    Some(unquoted(value).unwrap_or(value))
}

/// One pair of a name and a value.
struct Cookie {
    /// The value, as far as it is judged.
    judged: Range<usize>,
    is_quoted: bool,
}

impl Cookie {
    fn end_of_value(&self, text: &str) -> usize {
        self.judged.end + length_of_value(&text[self.judged.end..])
    }

    /// Behind the quote that ends it.
    fn end(&self, text: &str) -> usize {
        let end = self.end_of_value(text);
        let closed = unquoted(&text[end..]).filter(|_| self.is_quoted);
        closed.map_or(end, |rest| text.len() - rest.len())
    }
}

fn cookie(text: &str, at: usize) -> Option<Cookie> {
    let name = length(&text[at..], b"!#$%&*+-.^_|~", LONGEST_NAME);
    let rest = text[at + name..].strip_prefix('=').filter(|_| name > 0)?;
    let value = unquoted(rest).unwrap_or(rest);
    let begin = text.len() - value.len();
    let near = (0..=value.len().min(JUDGED)).rev().find(|end| value.is_char_boundary(*end))?;
    Some(Cookie {
        judged: begin..begin + length_of_value(&value[..near]),
        is_quoted: value.len() < rest.len(),
    })
}

fn length_of_value(text: &str) -> usize {
    let is_end = |c: char| c.is_whitespace() || ";,\"'`\\".contains(c);
    text.find(is_end).unwrap_or(text.len())
}
