//! Secrets that must not be kept, wherever they stand in a text.

mod commands;
mod cookies;
mod escapes;
mod forms;
mod known;
mod pairs;

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

pub use self::known::KnownSecrets;
use self::{
    escapes::Plain,
    forms::{FORMS, Form, Scheme},
    pairs::{NAMES, Name},
};

/// What stands in the place of a secret.
const MASK: &str = "[masked]";
/// How a secret could go on of which the end is missing: by itself, and in an address.
const GOES_ON: [&str; 2] =
    ["0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3.4aB5cD6eF7gH8iJ9kL0mN1oP2qR3sT4", "0aB1cD2e@host"];
/// How much of the end of a text is looked at for a secret that goes on.
const LONGEST_BEGINNING: usize = 4096;

/// Puts something else in the place of secrets: API keys and tokens of known forms, private keys, passwords in
/// addresses and in arguments of `curl`, cookies, values of members such as `api_key` and `password`, the secrets that are [known](Self::known) word for
/// word, and what patterns of one's own say.
///
/// Text is looked at as it is and as JSON has it, in which each character may be written as an escape.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    known: KnownSecrets,
    #[cfg(feature = "cel")]
    patterns: Vec<regex::Regex>,
}

impl Mask {
    /// Takes these for secrets too; they may be replaced later.
    #[must_use]
    pub fn known(mut self, known: KnownSecrets) -> Self {
        self.known = known;
        self
    }

    /// Takes what a regular expression matches for a secret too.
    ///
    /// # Errors
    ///
    /// If it is no regular expression, or one that is too large.
    #[cfg(feature = "cel")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
    pub fn pattern(mut self, pattern: &str) -> Result<Self, String> {
        let pattern = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        self.patterns.push(pattern.map_err(|error| error.to_string())?);
        Ok(self)
    }

    /// The text with `[masked]` for each secret, of which only the beginning stays by which its form is known.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let secrets = self.secrets(text);
        if secrets.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without(text, 0, &secrets)) }
    }

    /// Whether there is no secret in any of these texts, as far as that is seen at once: what is found may be none in the
    /// end. Patterns are not looked for.
    pub(super) fn is_nothing_in(&self, texts: &str) -> bool {
        #[cfg(feature = "cel")]
        if !self.patterns.is_empty() {
            return false;
        }
        self.secrets(texts).is_empty()
    }

    /// The same for a text that stands in several places, one part after the other; `None` if there is no secret.
    pub(super) fn apply_across(&self, parts: &[&str]) -> Option<Vec<String>> {
        let whole = parts.concat();
        let secrets = self.secrets(&whole);
        let mut end = 0;
        let masked = parts.iter().map(|part| {
            end += part.len();
            without(part, end - part.len(), &secrets)
        });
        (!secrets.is_empty()).then(|| masked.collect())
    }

    /// The same for the end of a text that is missing: nothing is left of what may be the beginning of a secret.
    pub(super) fn apply_to_cut<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.=~+/\\%@:".contains(c);
        let plain = Plain::of(text);
        let known = self.known.find_beginning(&plain.text).map_or(text.len(), |at| plain.place(at));
        self.apply(&text[..text.trim_end_matches(is_part).len().min(known)])
    }

    /// The texts of an answer that was not said to its end, one behind the other, without what would be a secret if it
    /// went on; `None` if there is no such thing. Of other secrets nothing is masked.
    pub(super) fn apply_to_unended(&self, parts: &[&str]) -> Option<Vec<String>> {
        let whole = parts.concat();
        let secret = self.beginning(&whole)?..whole.len();
        let mut end = 0;
        let masked = parts.iter().map(|part| {
            end += part.len();
            without(part, end - part.len(), std::slice::from_ref(&secret))
        });
        Some(masked.collect())
    }

    /// Where the beginning of a secret is with which a text ends.
    fn beginning(&self, text: &str) -> Option<usize> {
        let from = text.len().saturating_sub(LONGEST_BEGINNING);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at))?;
        let end = &text[from..];
        let going_on = GOES_ON.iter().filter_map(|more| {
            let secrets = self.secrets(&[end, *more].concat());
            let is_open = |secret: &Range<usize>| secret.start < end.len() && secret.end > end.len();
            secrets.into_iter().find(is_open).map(|secret| from + secret.start)
        });
        let last = end.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "-_.=~+/".contains(c));
        let random = has_mixed_run(&end[last.len()..]).then_some(from + last.len());
        let found = going_on.min().or(random);
        found.into_iter().chain(self.known.find_beginning(text)).min()
    }

    /// Where secrets are, in order, of which none overlaps another.
    fn secrets(&self, text: &str) -> Vec<Range<usize>> {
        let plain = Plain::of(text);
        let mut secrets = find(&plain.text);
        self.known.find(&plain.text, &mut secrets);
        for secret in &mut secrets {
            *secret = plain.place(secret.start)..plain.place(secret.end);
        }
        #[cfg(feature = "cel")]
        for pattern in &self.patterns {
            secrets
                .extend(pattern.find_iter(text).map(|found| found.range()).filter(|found| !found.is_empty()));
        }
        secrets.sort_unstable_by_key(|secret| secret.start);
        secrets.dedup_by(|next, secret| {
            let overlaps = next.start < secret.end;
            if overlaps {
                secret.end = secret.end.max(next.end);
            }
            overlaps
        });
        secrets
    }
}

/// What a secret is found by.
enum Start {
    Form(&'static Form),
    Scheme(Scheme),
    Name(&'static Name),
    /// The name of a header with cookies, and where they are.
    Cookies(fn(&str, Range<usize>) -> Option<Range<usize>>),
    /// A command with secrets among its arguments.
    Curl,
}

static STARTS: LazyLock<(AhoCorasick, Vec<Start>)> = LazyLock::new(|| {
    let (mut texts, mut starts) = (Vec::new(), Vec::new());
    for form in FORMS {
        texts.push(form.start);
        starts.push(Start::Form(form));
    }
    for scheme in Scheme::ALL {
        texts.push(scheme.start());
        starts.push(Start::Scheme(scheme));
    }
    for name in NAMES {
        texts.push(name.text);
        starts.push(Start::Name(name));
    }
    let others = [
        ("cookie", Start::Cookies(cookies::sent)),
        ("set-cookie", Start::Cookies(cookies::set)),
        ("curl", Start::Curl),
    ];
    for (text, start) in others {
        texts.push(text);
        starts.push(start);
    }
    let mut searcher = AhoCorasick::builder();
    searcher
        .match_kind(MatchKind::LeftmostLongest)
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA));
    (searcher.build(texts).expect("some short texts"), starts)
});

/// What is found in a text.
#[derive(Default)]
struct Found {
    secrets: Vec<Range<usize>>,
    /// Up to where nothing is random: what begins there isn't judged once more.
    judged: usize,
}

/// Where secrets are, by their forms and by what stands before them.
fn find(text: &str) -> Vec<Range<usize>> {
    let (searcher, starts) = &*STARTS;
    let (mut found, mut done) = (Found::default(), 0);
    for start in searcher.find_iter(text) {
        if start.start() < done {
            continue;
        }
        let before = found.secrets.len();
        match &starts[start.pattern()] {
            Start::Form(form) => form.find(text, start.range(), &mut found),
            Start::Scheme(scheme) => found.secrets.extend(scheme.find(text, start.range())),
            Start::Name(name) => found.secrets.extend(name.find(text, start.range())),
            Start::Cookies(find) => found.secrets.extend(find(text, start.range())),
            Start::Curl => {
                // Other secrets may stand before these.
                found.secrets.extend(commands::curl(text, start.range()));
                continue;
            }
        }
        done = found.secrets.get(before).map_or(done, |secret| secret.end);
    }
    found.secrets
}

/// A part of a text that begins at this place of the whole one, without the secrets of the whole one.
fn without(part: &str, begin: usize, secrets: &[Range<usize>]) -> String {
    let (mut masked, mut done) = (String::with_capacity(part.len()), 0);
    for secret in secrets {
        let (from, to) =
            (secret.start.saturating_sub(begin), secret.end.saturating_sub(begin).min(part.len()));
        if from >= part.len() || to <= done {
            continue;
        }
        masked.push_str(&part[done..from.max(done)]);
        if secret.start >= begin {
            masked.push_str(MASK);
        }
        done = to;
    }
    masked.push_str(&part[done..]);
    masked
}

/// Whether a text is as only a machine writes it: a long run of letters and digits, or of letters alone.
fn is_random(text: &str) -> bool {
    has_mixed_run(text) || runs(text).any(|run| run.len() >= 16)
}

/// Whether letters and digits are mixed as in no word or number.
fn has_mixed_run(text: &str) -> bool {
    let is_mixed = |run: &str| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= 8 && digits > 0 && digits < run.len()
    };
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    runs(text).any(is_mixed) || (text.len() >= 32 && has_digit && text.bytes().all(is_base64))
}

fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

/// How many bytes at the beginning of a text are letters, digits or such marks; no more than `most` are looked at.
fn length(text: &str, marks: &[u8], most: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || marks.contains(byte);
    text.as_bytes().iter().take(most).take_while(|byte| is_part(byte)).count()
}

/// Whether no word goes on at this place: `ask-` begins no key.
fn is_beginning(text: &str, at: usize) -> bool {
    match &text.as_bytes()[..at] {
        [] => true,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        // `\u2028` is the end of a line; those of ASCII are undone.
        [.., b'\\', b'u', _, _, _, _] => true,
        // `%20` of an address.
        [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
        [before @ .., b'm'] => is_color(before),
        [.., last] => !last.is_ascii_alphanumeric(),
    }
}

/// Whether a color for terminals ends here but for its last letter: `ESC [ 1 ; 32`.
fn is_color(before: &[u8]) -> bool {
    const LONGEST: usize = 24;
    let number = before.iter().rev().take(LONGEST).take_while(|byte| byte.is_ascii_digit() || **byte == b';');
    before[..before.len() - number.count()].ends_with(b"[")
}

#[cfg(test)]
mod tests;
