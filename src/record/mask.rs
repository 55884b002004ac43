use std::{ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands in the place of a secret.
const MASK: &str = "[masked]";

/// What secrets of known forms begin with, and how many characters follow at least.
const FORMS: [(&str, usize); 28] = [
    // OpenAI, Anthropic, OpenRouter, DeepSeek and others.
    ("sk-", 16),
    // Stripe.
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    // Webhooks.
    ("whsec_", 16),
    // Keys of this gateway.
    ("bz-", 20),
    // Google.
    ("AIza", 30),
    ("ya29.", 16),
    // AWS.
    ("AKIA", 16),
    ("ASIA", 16),
    // GitHub and GitLab.
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    // Slack.
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxe-", 10),
    ("xoxp-", 10),
    ("xoxs-", 10),
    // Groq, xAI, Hugging Face, Replicate, Perplexity.
    ("gsk_", 20),
    ("xai-", 20),
    ("hf_", 20),
    ("r8_", 20),
    ("pplx-", 20),
    // JSON Web Tokens: an object in base64.
    ("eyJ", 20),
];
/// What is behind these is a credential, whatever its form.
const SCHEMES: [&str; 2] = ["Bearer ", "Basic "];
const LEAST_CREDENTIAL: usize = 16;
/// A private key as PEM, up to its end.
const PEM: &str = "-----BEGIN ";
const PEM_IS_PRIVATE: &str = "PRIVATE KEY-----";
const PEM_ENDS: &str = "-----END ";

/// Puts something else in the place of secrets: API keys and tokens of known forms, private keys, and what patterns of
/// one's own say.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    #[cfg(feature = "cel")]
    patterns: Vec<regex::Regex>,
}

impl Mask {
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
    pub fn apply(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for found in STARTS.find_iter(text) {
            if found.start() < done {
                continue;
            }
            let Some(secret) = secret(text, found.pattern().as_usize(), found.range()) else { continue };
            masked.push_str(&text[done..secret.start]);
            masked.push_str(MASK);
            done = secret.end;
        }
        masked.push_str(&text[done..]);
        #[cfg(feature = "cel")]
        for pattern in &self.patterns {
            if let std::borrow::Cow::Owned(text) = pattern.replace_all(&masked, regex::NoExpand(MASK)) {
                masked = text;
            }
        }
        masked
    }
}

/// What secrets begin with: the forms, then the schemes, then PEM.
static STARTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let starts = FORMS.iter().map(|(start, _)| *start).chain(SCHEMES).chain([PEM]);
    let searcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(starts);
    searcher.expect("a few short texts")
});

/// Where the secret is that begins in such a way; `None` if it is none.
fn secret(text: &str, form: usize, start: Range<usize>) -> Option<Range<usize>> {
    let rest = &text[start.end..];
    if let Some((_, least)) = FORMS.get(form) {
        let length = length(rest, |byte| matches!(byte, b'-' | b'_' | b'.' | b'='));
        let is_secret = length >= *least && has_digit(&rest[..length]) && is_beginning(text, start.start);
        return is_secret.then(|| start.end..start.end + length);
    }
    if form < FORMS.len() + SCHEMES.len() {
        let is_part = |byte| matches!(byte, b'-' | b'_' | b'.' | b'=' | b'~' | b'+' | b'/' | b'\\');
        // A backslash is a part of it before a slash only, as some write that in JSON.
        let length = length(rest, is_part);
        let length = rest[..length].find('\\').filter(|at| !rest[*at..].starts_with("\\/")).unwrap_or(length);
        let is_secret = length >= LEAST_CREDENTIAL && has_digit(&rest[..length]);
        return is_secret.then(|| start.end..start.end + length);
    }
    let (_, key) = rest.split_once(PEM_IS_PRIVATE).filter(|(kind, _)| kind.len() < 20)?;
    let begin = text.len() - key.len();
    Some(begin..begin + key.find(PEM_ENDS).unwrap_or(key.len()))
}

fn length(text: &str, is_mark: impl Fn(u8) -> bool) -> usize {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || is_mark(byte);
    text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len())
}

/// Words have none.
fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether no word goes on at this place: `ask-` begins no key.
fn is_beginning(text: &str, at: usize) -> bool {
    let before = &text.as_bytes()[..at];
    match before {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., last] if !last.is_ascii_alphanumeric() => true,
        // `\u000a` is a line feed.
        [.., b'\\', b'u', _, _, _, _] => true,
        other => other.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_known_forms_are_masked_and_the_rest_stays() {
        for (text, masked) in [
            ("use sk-ant-api03-abcDEF0123456789_xyz now", "use sk-[masked] now"),
            (r#"{"k":"sk-proj-0123456789abcdef"}"#, r#"{"k":"sk-[masked]"}"#),
            (r"one\nsk-0123456789abcdef0\ntwo", r"one\nsk-[masked]\ntwo"),
            (r"one\u000ask-0123456789abcdef0", r"one\u000ask-[masked]"),
            ("AIzaSyA0123456789abcdefghijklmnopqrstu", "AIza[masked]"),
            ("AKIAIOSFODNN7EXAMPLE", "AKIA[masked]"),
            ("ghp_0123456789abcdefghijABCDEFGHIJ, xoxb-123456789012-abc", "ghp_[masked], xoxb-[masked]"),
            ("Authorization: Bearer abc.def/0123456789+x==", "Authorization: Bearer [masked]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_9", "eyJ[masked]"),
            ("bz-0123456789abcdefghijklmnopq", "bz-[masked]"),
            (
                r"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
                r"-----BEGIN RSA PRIVATE KEY-----[masked]-----END RSA PRIVATE KEY-----\n",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", "-----BEGIN PRIVATE KEY-----[masked]"),
        ] {
            assert_eq!(Mask::default().apply(text), masked);
        }
    }

    #[test]
    fn what_is_no_secret_is_not_masked() {
        for text in [
            "",
            "a task-force-of-2026-and-its-members",
            "sk-learn-is-a-library-of-python",
            "Bearer of good news, 1234567890",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "sk-123 AIza eyJ hf_ größe",
        ] {
            assert_eq!(Mask::default().apply(text), text);
        }
    }

    #[cfg(feature = "cel")]
    #[test]
    fn patterns_of_ones_own_are_masked_too() {
        let mask = Mask::default().pattern(r"\b\d{3}-\d{2}-\d{4}\b").unwrap();

        assert_eq!(mask.apply("it is 078-05-1120, and $1"), "it is [masked], and $1");
        assert!(Mask::default().pattern("(").is_err());
    }
}
