use std::{borrow::Cow, ops::Range};

use super::{MASK, forms::is_authorization, has_mixed_run, is_random, length};

/// A name behind which a secret stands: `password: …`, `"api_key": "…"`, `--token …`.
pub(super) struct Name {
    pub(super) text: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// What people choose.
    Password,
    /// What machines make.
    Key,
    /// The same, of what is also a word for other things, as in `next_page_token`.
    Token,
}

const fn password(text: &'static str) -> Name {
    Name { text, kind: Kind::Password }
}

const fn key(text: &'static str) -> Name {
    Name { text, kind: Kind::Key }
}

/// The ends of names: `password` stands for `DB_PASSWORD` too.
pub(super) const NAMES: &[Name] = &[
    password("password"),
    password("passwd"),
    password("passphrase"),
    password("pwd"),
    key("api_key"),
    key("api-key"),
    key("apikey"),
    key("access_key"),
    key("access-key"),
    key("accesskey"),
    key("secret_key"),
    key("secret-key"),
    key("secretkey"),
    key("private_key"),
    key("private-key"),
    key("privatekey"),
    key("account_key"),
    key("accountkey"),
    key("subscription-key"),
    key("subscription_key"),
    key("signing_key"),
    key("encryption_key"),
    key("master_key"),
    key("auth_key"),
    key("secret"),
    key("authorization"),
    key("?key"),
    key("&key"),
    key("?sig"),
    key("&sig"),
    Name { text: "token", kind: Kind::Token },
];

/// Parts of names of tokens that open nothing.
const HARMLESS: [&str; 5] = ["page", "next", "cursor", "continuation", "sync"];
/// The longest name that is looked at, and the longest value.
const LONGEST_NAME: usize = 64;
const LONGEST: usize = 1024;

impl Name {
    /// Where the secret is behind such a name; `None` if there is none.
    pub(super) fn find(&self, text: &str, name: Range<usize>) -> Option<Range<usize>> {
        let value = match behind(text, &name) {
            Some(value) => Value::read(text, value)?,
            None => return self.scheme(text, name),
        };
        let found = &text[value.place.clone()];
        let read = readable(found);
        let found = &*read;
        let is_code = |text: &str| text.contains(['(', '[', '{']) || is_member(text);
        if is_placeholder(found) || !value.is_quoted && is_code(found) {
            return None;
        }
        let is_secret = match self.kind {
            Kind::Password => is_password(found, value.is_quoted),
            Kind::Key => is_key(found, value.is_quoted),
            Kind::Token => is_key(found, value.is_quoted) && !is_harmless(&text[..name.start]),
        };
        is_secret.then_some(value.place)
    }

    /// Where the secret is behind a word that is the scheme of a header: `Authorization: Token …`. One that has a name of
    /// its own, as in `Token token="…"`, is found by that.
    fn scheme(&self, text: &str, name: Range<usize>) -> Option<Range<usize>> {
        let is_scheme = matches!(self.kind, Kind::Token) && is_authorization(&text[..name.start]);
        let rest = text[name.end..].strip_prefix(' ').filter(|_| is_scheme)?.trim_start_matches(' ');
        let found = &rest[..length(rest, b"-_.~+/", usize::MAX)];
        let padding = rest[found.len()..].bytes().take_while(|byte| *byte == b'=').count();
        let has_digit = found.bytes().any(|byte| byte.is_ascii_digit());
        let is_secret = found.len() >= 8 && has_digit || found.len() >= 16 && is_random(found);
        let begin = text.len() - rest.len();
        is_secret.then(|| begin..begin + found.len() + padding)
    }
}

/// What stands behind a name.
pub(super) struct Value {
    pub(super) place: Range<usize>,
    is_quoted: bool,
}

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// What stands behind a name and what separates it from its value; `None` if there is nothing that does.
pub(super) fn behind<'t>(text: &'t str, name: &Range<usize>) -> Option<&'t str> {
    let begin = whole_name(text, name.start);
    let (is_tag, is_flag) = (text[..begin].ends_with('<'), text[begin..].starts_with("--"));
    let rest = &text[name.end..];
    // The quote at the end of the name, which is escaped in JSON inside of JSON.
    let rest = unquoted(rest).unwrap_or(rest);
    let rest = rest.strip_prefix(']').unwrap_or(rest);
    let separated = rest.trim_start_matches([' ', '\t']);
    let value = [":=", "=>", "==", "=", ":"]
        .iter()
        .find_map(|separator| separated.strip_prefix(separator))
        .or_else(|| separated.strip_prefix('>').filter(|_| is_tag))
        .or_else(|| Some(separated).filter(|it| is_flag && it.len() < rest.len()))?;
    Some(value.trim_start_matches([' ', '\t']))
}

impl Value {
    /// The value, in quotes or without, with which `value` begins: the rest of `text`.
    pub(super) fn read(text: &str, value: &str) -> Option<Self> {
        let escapes = value.bytes().take_while(|byte| *byte == b'\\').count();
        let quote = value[escapes..].chars().next().filter(|c| QUOTES.contains(c));
        let value = unquoted(value).unwrap_or(value);
        let begin = text.len() - value.len();
        let longest = (0..=value.len().min(LONGEST)).rev().find(|end| value.is_char_boundary(*end))?;
        let value = &value[..longest];
        let quoted = quote.and_then(|quote| end_of_quoted(value, quote, escapes));
        let end = quoted.unwrap_or_else(|| end_of_bare(value));
        Some(Self { place: begin..begin + end, is_quoted: quote.is_some() })
    }
}

/// Where the quote is that ends a value, of which the first one has so many escapes before it; `None` if there is none on
/// its line.
fn end_of_quoted(value: &str, quote: char, escapes: usize) -> Option<usize> {
    let is_end = |at: usize| {
        let before = value[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        before <= escapes || before % (2 * (escapes + 1)) == escapes
    };
    let (end, last) =
        value.char_indices().find(|(at, char)| *char == '\n' || *char == quote && is_end(*at))?;
    (last == quote).then(|| value[..end].trim_end_matches('\\').len())
}

/// Where a value ends that has no quotes.
fn end_of_bare(value: &str) -> usize {
    let mut begin = 0;
    loop {
        let is_end = |c: char| c.is_whitespace() || "\"'`<>,;&|)}]\\".contains(c);
        let Some(end) = value[begin..].find(is_end).map(|end| begin + end) else { return value.len() };
        match escaped(&value[end..]) {
            Some((char, length)) if !char.is_whitespace() => begin = end + length,
            _ => return end,
        }
    }
}

/// The character beyond ASCII that an escape at the beginning of a text stands for, or half of one, and how long it is.
fn escaped(text: &str) -> Option<(char, usize)> {
    let rest = text.trim_start_matches('\\');
    let escapes = text.len() - rest.len();
    let digits = rest.strip_prefix('u').filter(|_| escapes > 0)?.get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok().filter(|code| *code >= 0x80)?;
    Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), escapes + 5))
}

/// A value with its characters for their escapes.
fn readable(value: &str) -> Cow<'_, str> {
    if !value.contains("\\u") {
        return value.into();
    }
    let (mut read, mut rest) = (String::with_capacity(value.len()), value);
    while let Some(at) = rest.find('\\') {
        read.push_str(&rest[..at]);
        rest = &rest[at..];
        let run = rest.len() - rest.trim_start_matches('\\').len();
        let length = match escaped(rest) {
            Some((char, length)) => {
                read.push(char);
                length
            }
            None => {
                read.push_str(&rest[..run]);
                run
            }
        };
        rest = &rest[length..];
    }
    (read + rest).into()
}

/// What stands behind a quote.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    text.trim_start_matches('\\').strip_prefix(QUOTES)
}

/// Whether something is to be put there yet or was masked, or an address tells where it is.
pub(super) fn is_placeholder(text: &str) -> bool {
    text.starts_with(['$', '{', '<', '%', '*', '['])
        || is_path(text)
        || text.contains("://")
        || text.contains("...")
        // Without quotes a value ends before such a bracket.
        || text.contains(MASK.trim_end_matches(']'))
}

/// Whether it is the path of a file: its parts are small letters, or words as people write them.
fn is_path(text: &str) -> bool {
    let Some(path) = text.trim_start_matches(['.', '~']).strip_prefix('/') else { return false };
    let is_named = |part: &str| part.split(['.', '-', '_']).all(|word| word.is_empty() || is_word(word));
    !path.contains(|c: char| c.is_ascii_uppercase()) || path.contains('/') && path.split('/').all(is_named)
}

/// Whether it says where in a program a value is: `process.env.PASSWORD_2`.
fn is_member(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = |part: &str| {
        let first = part.trim_start_matches('_').split('_').next();
        part.bytes().all(is_part) && first.is_some_and(is_word)
    };
    text.contains('.') && text.split('.').all(is_name)
}

/// Letters, and at most a short number behind them.
fn is_word(text: &str) -> bool {
    let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
    !letters.is_empty() && text.len() - letters.len() < 4 && letters.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_harmless(before: &str) -> bool {
    let name = before[whole_name(before, before.len())..].to_ascii_lowercase();
    HARMLESS.iter().any(|part| name.contains(part))
}

/// Where a name begins of which something is found at this place.
fn whole_name(text: &str, at: usize) -> usize {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    at - text.as_bytes()[..at].iter().rev().take(LONGEST_NAME).take_while(is_part).count()
}

/// Whether somebody would choose it for a password: no word of a sentence, no name of a type.
fn is_password(text: &str, is_quoted: bool) -> bool {
    if text.len() < 6 || text.contains(char::is_whitespace) {
        return false;
    }
    let has_letter = text.contains(char::is_alphabetic);
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    let has_mark = text.contains(|c: char| c.is_ascii_punctuation() && !".-_:/".contains(c));
    let is_long = is_quoted && is_random(text);
    has_digit && (has_letter || text.len() >= 8) || has_mark && (has_letter || has_digit) || is_long
}

fn is_key(text: &str, is_quoted: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/=~:@%".contains(&byte);
    text.len() >= 16
        && text.bytes().all(is_part)
        && (has_mixed_run(text) || is_quoted && !text.contains('.') && is_random(text))
}
