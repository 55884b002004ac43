use std::ops::Range;

use super::{has_mixed_run, is_random};

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
        let value = value(text, &name)?;
        let found = &text[value.place.clone()];
        if is_placeholder(found) || !value.is_quoted && found.contains(['(', '[', '{']) {
            return None;
        }
        let is_secret = match self.kind {
            Kind::Password => is_password(found, value.is_quoted),
            Kind::Key => is_key(found, value.is_quoted),
            Kind::Token => is_key(found, value.is_quoted) && !is_harmless(&text[..name.start]),
        };
        is_secret.then_some(value.place)
    }
}

/// What stands behind a name.
struct Value {
    place: Range<usize>,
    is_quoted: bool,
}

const QUOTES: [char; 3] = ['"', '\'', '`'];

fn value(text: &str, name: &Range<usize>) -> Option<Value> {
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
    let value = value.trim_start_matches([' ', '\t']);
    let quote = value.trim_start_matches('\\').chars().next().filter(|c| QUOTES.contains(c));
    let (value, is_quoted) = match unquoted(value) {
        Some(value) => (value, true),
        None => (value, false),
    };
    let begin = text.len() - value.len();
    let longest = (0..=value.len().min(LONGEST)).rev().find(|end| value.is_char_boundary(*end))?;
    let value = &value[..longest];
    let end = match quote {
        Some(quote) => value.find([quote, '\n']).map(|end| value[..end].trim_end_matches('\\').len()),
        None => value.find(|c: char| c.is_whitespace() || "\"'`<>,;&|)}]\\".contains(c)),
    };
    Some(Value { place: begin..begin + end.unwrap_or(value.len()), is_quoted })
}

/// What stands behind a quote.
fn unquoted(text: &str) -> Option<&str> {
    text.trim_start_matches('\\').strip_prefix(QUOTES)
}

/// Whether something is to be put there yet, or an address tells where it is.
fn is_placeholder(text: &str) -> bool {
    let is_path = text.starts_with('/') && !text.contains(|c: char| c.is_ascii_uppercase());
    text.starts_with(['$', '{', '<', '%', '*', '['])
        || is_path
        || text.contains("://")
        || text.contains("...")
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
