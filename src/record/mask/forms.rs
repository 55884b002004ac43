use std::ops::Range;

use super::{Found, has_mixed_run, is_beginning, is_random, length};

/// How secrets of one issuer look: what they begin with, and how long they are.
pub(super) struct Form {
    pub(super) start: &'static str,
    /// How many characters follow at least.
    least: usize,
    rest: Rest,
}

/// What follows the beginning.
#[derive(Clone, Copy)]
enum Rest {
    /// Nobody writes such a beginning without a secret behind it.
    Any,
    /// A word could begin so: what follows has to be random.
    Random,
    /// A name could begin so too: what follows has to be random, and no [name](is_name).
    Unnamed,
    /// Exactly so many capital letters and digits.
    Capitals,
    /// Exactly so many digits of hexadecimal numbers, the letters small.
    Hex,
    /// Parts with full stops between.
    Parts,
    /// An address.
    Path,
}

const fn any(start: &'static str, least: usize) -> Form {
    Form { start, least, rest: Rest::Any }
}

const fn random(start: &'static str, least: usize) -> Form {
    Form { start, least, rest: Rest::Random }
}

const fn unnamed(start: &'static str, least: usize) -> Form {
    Form { start, least, rest: Rest::Unnamed }
}

/// As their issuers document them, and as the rules of gitleaks have them.
pub(super) const FORMS: &[Form] = &[
    // OpenAI, Anthropic, OpenRouter, DeepSeek and others.
    random("sk-", 16),
    // Keys of this gateway.
    random("bz-", 20),
    // Groq, xAI, Hugging Face, Replicate, Perplexity, NVIDIA, Fireworks, Tavily.
    unnamed("gsk_", 20),
    unnamed("xai-", 20),
    unnamed("hf_", 20),
    unnamed("api_org_", 20),
    unnamed("r8_", 20),
    unnamed("pplx-", 20),
    any("nvapi-", 20),
    unnamed("fw_", 20),
    unnamed("tvly-", 20),
    // Stripe, and the webhooks of several.
    any("sk_live_", 10),
    any("sk_test_", 10),
    any("rk_live_", 10),
    any("rk_test_", 10),
    any("whsec_", 16),
    // Google: keys, tokens, secrets of clients.
    any("AIza", 30),
    any("ya29.", 16),
    any("GOCSPX-", 20),
    // AWS and Alibaba.
    Form { start: "AKIA", least: 16, rest: Rest::Capitals },
    Form { start: "ASIA", least: 16, rest: Rest::Capitals },
    Form { start: "ABIA", least: 16, rest: Rest::Capitals },
    Form { start: "ACCA", least: 16, rest: Rest::Capitals },
    random("LTAI", 16),
    // GitHub and GitLab.
    any("ghp_", 20),
    any("gho_", 20),
    any("ghu_", 20),
    any("ghs_", 20),
    any("ghr_", 20),
    any("github_pat_", 20),
    any("glpat-", 16),
    any("gldt-", 16),
    any("glrt-", 16),
    any("glptt-", 16),
    any("glcbt-", 16),
    any("glsoat-", 16),
    // Slack.
    any("xoxa-", 10),
    any("xoxb-", 10),
    any("xoxc-", 10),
    any("xoxd-", 10),
    any("xoxe-", 10),
    any("xoxe.", 10),
    any("xoxo-", 10),
    any("xoxp-", 10),
    any("xoxr-", 10),
    any("xoxs-", 10),
    any("xapp-", 10),
    Form { start: "hooks.slack.com/services/", least: 20, rest: Rest::Path },
    // Twilio: accounts and keys.
    Form { start: "AC", least: 32, rest: Rest::Hex },
    Form { start: "SK", least: 32, rest: Rest::Hex },
    // Registries of packages and images.
    unnamed("npm_", 20),
    any("pypi-AgE", 20),
    any("rubygems_", 20),
    any("dckr_pat_", 16),
    // Grafana, Vault, DigitalOcean, Databricks, Shopify, SendGrid, Atlassian, Linear, Sentry, Tailscale, age.
    any("glsa_", 20),
    unnamed("glc_", 20),
    random("hvs.", 20),
    random("hvb.", 20),
    any("dop_v1_", 20),
    any("doo_v1_", 20),
    random("dapi", 30),
    any("shpat_", 20),
    any("shpss_", 20),
    any("shpca_", 20),
    Form { start: "SG.", least: 60, rest: Rest::Parts },
    any("ATATT3", 30),
    any("lin_api_", 20),
    any("sntrys_", 20),
    any("sntryu_", 20),
    any("tskey-", 16),
    any("AGE-SECRET-KEY-1", 30),
    // JSON Web Tokens: objects in base64.
    Form { start: "eyJ", least: 20, rest: Rest::Parts },
];

/// How much of what follows is judged: what only looks like a secret is not to be read again and again.
const JUDGED: usize = 512;
/// How far behind the id of a key of AWS its secret is looked for.
const NEAR: usize = 200;

impl Form {
    /// Adds where the secret is that begins in such a way, if it is one.
    pub(super) fn find(&self, text: &str, start: Range<usize>, found: &mut Found) {
        // Beginnings are looked for in any case.
        if text.get(start.clone()) != Some(self.start) || !is_beginning(text, start.start) {
            return;
        }
        let marks: &[u8] = match self.rest {
            Rest::Capitals | Rest::Hex => b"",
            Rest::Path => b"-_/",
            _ => b"-_.=",
        };
        let is_random_form = matches!(self.rest, Rest::Random | Rest::Unnamed);
        if is_random_form && start.start < found.judged {
            return;
        }
        let rest = &text[start.end..];
        let judged = &rest[..length(rest, marks, JUDGED)];
        let length = judged.len();
        if is_random_form && !is_random(judged) {
            // Of what begins there, enough was judged to tell a key.
            found.judged = start.end + length.min(JUDGED / 2);
            return;
        }
        let is_secret = length >= self.least
            && match self.rest {
                Rest::Any | Rest::Path | Rest::Random => true,
                Rest::Unnamed => !is_name(judged),
                Rest::Parts => judged.contains('.'),
                Rest::Hex => length == self.least && judged.bytes().all(is_hex),
                Rest::Capitals => {
                    length == self.least && judged.bytes().all(|byte| !byte.is_ascii_lowercase())
                }
            };
        if !is_secret {
            return;
        }
        let end = start.end + self::length(rest, marks, usize::MAX);
        found.secrets.push(start.end..end);
        if matches!(self.rest, Rest::Capitals) {
            found.secrets.extend(aws_secret(text, end));
        }
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Whether it is some words and an end that is no longer than one, as in `package_version_of_2026`.
fn is_name(text: &str) -> bool {
    const LONGEST_END: usize = 20;
    let Some((words, end)) = text.rsplit_once(['_', '-']) else { return false };
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = |word: &str| word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut known = 0;
    let is_made_of_words = words.split(['_', '-']).all(|word| {
        known += usize::from(word.len() >= 3 && is_word(word));
        is_word(word) || is_number(word)
    });
    is_made_of_words && known >= 2 && end.len() < LONGEST_END
}

/// The secret that belongs to the id of a key of AWS: forty characters, of capital and small letters and digits.
fn aws_secret(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let until = (from + NEAR).min(bytes.len());
    let mut at = from;
    while at < until {
        let run = bytes[at..].iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+/".contains(byte));
        let end = at + run.unwrap_or(bytes.len() - at);
        let found = &bytes[at..end];
        let has = |is: fn(&u8) -> bool| found.iter().any(is);
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        if found.len() == 40 && is_mixed {
            return Some(at..end);
        }
        at = end + 1;
    }
    None
}

/// Other places of secrets.
#[derive(Clone, Copy)]
pub(super) enum Scheme {
    /// A token behind its scheme, whatever its form.
    Bearer,
    /// A name and a password in base64.
    Basic,
    /// A password in an address: `postgres://name:password@host`.
    Address,
    /// A private key as PEM: no more than the lines of its base64.
    Pem,
}

const PEM_IS_PRIVATE: [&str; 2] = ["PRIVATE KEY-----", "PRIVATE KEY BLOCK-----"];
const PEM_ENDS: &str = "-----END ";
/// What says how the lines behind it are made.
const PEM_SAYS: [&str; 6] = ["Proc-Type:", "DEK-Info:", "Version:", "Comment:", "Hash:", "Charset:"];
/// A piece of base64 that is so long is no word.
const LONG_PIECE: usize = 16;
/// The longest part of an address that says who comes.
const LONGEST_USER: usize = 512;

impl Scheme {
    pub(super) const ALL: [Self; 4] = [Self::Bearer, Self::Basic, Self::Address, Self::Pem];

    pub(super) fn start(self) -> &'static str {
        match self {
            Self::Bearer => "bearer ",
            Self::Basic => "basic ",
            Self::Address => "://",
            Self::Pem => "-----BEGIN ",
        }
    }

    /// Where the secret is behind such a beginning; `None` if there is none.
    pub(super) fn find(self, text: &str, start: Range<usize>) -> Option<Range<usize>> {
        match self {
            Self::Bearer | Self::Basic => credential(text, start),
            Self::Address => password(text, start.end),
            Self::Pem => private_key(text, start),
        }
    }
}

fn credential(text: &str, start: Range<usize>) -> Option<Range<usize>> {
    let rest = &text[start.end..];
    let judged = length(rest, b"-_.=~+/", JUDGED);
    let is_secret = judged >= 16 && has_mixed_run(&rest[..judged])
        || judged >= 4 && is_authorization(&text[..start.start]);
    is_secret.then(|| start.end..start.end + length(rest, b"-_.=~+/", usize::MAX))
}

/// Whether the header `Authorization` begins behind this.
pub(super) fn is_authorization(before: &str) -> bool {
    let before = before.trim_end_matches([' ', ':', ',', '=', '"', '\'', '\\', '[', '`']);
    let name = before.len().checked_sub("authorization".len()).and_then(|at| before.get(at..));
    name.is_some_and(|name| name.eq_ignore_ascii_case("authorization"))
}

fn password(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = &text.as_bytes()[from..];
    let bytes = &bytes[..bytes.len().min(LONGEST_USER)];
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"@/?#\"'`<>\\,".contains(byte);
    let at = bytes.iter().position(is_end).filter(|at| bytes[*at] == b'@')?;
    let colon = memchr::memchr(b':', &bytes[..at])?;
    (colon + 1 < at).then(|| from + colon + 1..from + at)
}

fn private_key(text: &str, start: Range<usize>) -> Option<Range<usize>> {
    let rest = &text[start.end..];
    // `RSA `, `EC `, `OPENSSH `, `ENCRYPTED ` or nothing.
    let kind = rest.bytes().take(20).take_while(|byte| byte.is_ascii_uppercase() || *byte == b' ').count();
    let key = (0..=kind).find_map(|at| PEM_IS_PRIVATE.iter().find_map(|end| rest[at..].strip_prefix(end)))?;
    let begin = text.len() - key.len();
    // In source code its lines may be several texts.
    let end = base64_lines(key, b"\"'`+,>|\\#*;")
        .filter(|end| key[*end..].starts_with(PEM_ENDS))
        .or_else(|| base64_lines(key, b""))?;
    Some(begin..begin + end)
}

/// Where the lines of base64 end that a text begins with, and what may stand between them; `None` if there are none.
fn base64_lines(text: &str, marks: &[u8]) -> Option<usize> {
    let (mut end, mut is_line_wanted, mut was_long, mut found) = (0, true, false, false);
    loop {
        let (gap, breaks) = gap(&text[end..], marks);
        let rest = &text[end + gap..];
        if rest.starts_with(PEM_ENDS) {
            return found.then_some(end + gap);
        }
        if breaks > 0 && PEM_SAYS.iter().any(|name| rest.starts_with(name)) {
            end += gap + rest.find(['\n', '\\', '"']).unwrap_or(rest.len());
            (is_line_wanted, was_long, found) = (true, false, true);
            continue;
        }
        let piece = length(rest, b"+/=", usize::MAX);
        // Behind an empty line something else begins.
        let is_apart = breaks > 1 && !is_line_wanted && marks.is_empty();
        let is_line = breaks > 0 && is_line_end(&rest[piece..]);
        let is_part = piece > 0 && (piece >= LONG_PIECE || (is_line || was_long) && !is_apart);
        if !is_part {
            return found.then_some(end);
        }
        end += gap + piece;
        (is_line_wanted, was_long, found) = (false, piece >= LONG_PIECE, true);
    }
}

fn is_line_end(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t', '\r']);
    rest.is_empty() || rest.starts_with(['\n', '\\', '"', '\'', '`', '<']) || rest.starts_with(PEM_ENDS)
}

/// How long the space is that a text begins with, with escapes and marks in it, and how many ends of lines it has.
fn gap(text: &str, marks: &[u8]) -> (usize, usize) {
    let (bytes, mut at, mut breaks) = (text.as_bytes(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        let escapes = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
        match bytes.get(at + escapes) {
            Some(escaped @ (b'n' | b'r' | b't')) if escapes > 0 => {
                breaks += usize::from(*escaped == b'n');
                at += escapes + 1;
            }
            _ if byte.is_ascii_whitespace() || marks.contains(byte) => {
                breaks += usize::from(*byte == b'\n');
                at += escapes.max(1);
            }
            _ => break,
        }
    }
    (at, breaks)
}
