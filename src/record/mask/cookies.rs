use std::ops::Range;

use super::{
    length,
    pairs::{behind, is_placeholder, unquoted},
};

/// Shorter values open nothing: `theme=dark`.
const LEAST: usize = 6;
/// The longest name of a cookie that is looked at.
const LONGEST_NAME: usize = 256;

/// The cookies of a header `Cookie`, all of them: `sid=0123456; theme=dark`.
pub(super) fn sent(text: &str, name: Range<usize>) -> Option<Range<usize>> {
    let begin = text.len() - value(text, &name)?.len();
    let (mut end, mut has_secret) = (begin, false);
    loop {
        let gap = text[end..].bytes().take_while(|byte| b"; ".contains(byte)).count();
        let is_next = end == begin || text[end..].starts_with(';');
        let Some(cookie) = cookie(text, end + gap).filter(|_| is_next) else { break };
        has_secret |= is_secret(&text[cookie.value]);
        end = cookie.end;
    }
    has_secret.then_some(begin..end)
}

/// The value of the cookie of a header `Set-Cookie`, without what is said about it: `sid=0123456; Path=/`.
pub(super) fn set(text: &str, name: Range<usize>) -> Option<Range<usize>> {
    let begin = text.len() - value(text, &name)?.len();
    cookie(text, begin).map(|cookie| cookie.value).filter(|value| is_secret(&text[value.clone()]))
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
    value: Range<usize>,
    end: usize,
}

fn cookie(text: &str, at: usize) -> Option<Cookie> {
    let name = length(&text[at..], b"!#$%&*+-.^_|~", LONGEST_NAME);
    let rest = text[at + name..].strip_prefix('=').filter(|_| name > 0)?;
    let quoted = unquoted(rest).unwrap_or(rest);
    let is_end = |c: char| c.is_whitespace() || ";,\"'`\\".contains(c);
    let length = quoted.find(is_end).unwrap_or(quoted.len());
    let begin = text.len() - quoted.len();
    let behind = &quoted[length..];
    let closed = unquoted(behind).filter(|_| quoted.len() < rest.len()).unwrap_or(behind);
    Some(Cookie { value: begin..begin + length, end: text.len() - closed.len() })
}
