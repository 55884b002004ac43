use std::ops::Range;

use super::{
    is_beginning,
    pairs::{Value, is_placeholder, unquoted},
};

/// How much of a command is looked at.
const LONGEST: usize = 1024;
/// The flags of curl that are said with a name and a password behind them.
const LONG: [&str; 2] = ["--user", "--proxy-user"];
/// Those that take nothing, which may stand before the last one in a word of several: `-sSu`.
const PLAIN: &[u8] = b"0123469BGIJLMNOSZafgijklnpqsv#";

/// Where the passwords are among the arguments of curl: `curl -u name:password`.
pub(super) fn curl(text: &str, name: Range<usize>) -> Vec<Range<usize>> {
    if !is_beginning(text, name.start) {
        return Vec::new();
    }
    let bytes = &text.as_bytes()[name.end..];
    let command = &bytes[..end_of_command(&bytes[..bytes.len().min(LONGEST)])];
    let flags = memchr::memchr_iter(b'-', command).filter(|at| is_word(&command[..*at]));
    flags.filter_map(|at| password(text, behind_flag(text, name.end + at)?)).collect()
}

/// Where the line ends, unless it goes on in the next one; in JSON the ends of lines are escapes.
fn end_of_command(command: &[u8]) -> usize {
    let is_end = |at: &usize| {
        let escapes = command[..*at].iter().rev().take_while(|byte| **byte == b'\\').count();
        match command[*at] {
            b'\n' => escapes == 0,
            _ => (1..=2).contains(&escapes),
        }
    };
    memchr::memchr2_iter(b'\n', b'n', command).find(is_end).unwrap_or(command.len())
}

/// Whether a word begins behind this.
fn is_word(before: &[u8]) -> bool {
    before.last().is_some_and(|last| last.is_ascii_whitespace() || b"\"'`".contains(last))
        || before.ends_with(b"\\n")
        || before.ends_with(b"\\t")
}

/// What stands behind such a flag; `None` if it is another one.
fn behind_flag(text: &str, at: usize) -> Option<&str> {
    let long = LONG.iter().find_map(|flag| text[at..].strip_prefix(flag));
    if let Some(rest) = long {
        return Some(rest).filter(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-'));
    }
    let letters = &text[at + 1..];
    let plain = letters.bytes().take_while(|byte| PLAIN.contains(byte)).count();
    letters[plain..].strip_prefix(['u', 'U'])
}

/// Where the password is of a name and a password with which the rest of a text begins.
fn password(text: &str, rest: &str) -> Option<Range<usize>> {
    // The end of a word in quotes, and what stands between words.
    let rest = unquoted(rest).filter(|rest| rest.starts_with([',', ' '])).unwrap_or(rest);
    let Value { place, .. } = Value::read(text, rest.trim_start_matches([' ', '\t', ',', '=']))?;
    let (user, password) = text[place.clone()].split_once(':')?;
    // Of another command in the same line: `docker run -u 1000:1000`.
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_none = password.is_empty() || is_placeholder(password) || is_number(user) && is_number(password);
    (!is_none).then_some(place.start + user.len() + 1..place.end)
}
